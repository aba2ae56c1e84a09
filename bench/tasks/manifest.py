"""The sealed list of evaluation tasks: drawn once, stored as indices, known by its hash.

Every learner answers the same tasks, so the scores of different methods can be compared task by task.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import ArrayLike, NDArray

from bench.basics.errors import BenchError, did_you_mean
from bench.basics.files import check_regular, replacing
from bench.basics.seeds import Seed
from bench.contracts import TaskSpec
from bench.datasets.faults import no_fault_of_the_data
from bench.datasets.images import Attributes
from bench.datasets.sealing import sweep
from bench.datasets.source import Dataset, Split
from bench.tasks import attributes as of_attributes
from bench.tasks.images import TaskImages, difference, from_metadata, images_of, to_metadata
from bench.tasks.priority import priority

FORMAT_VERSION = 1
METADATA_KEY = b"bench.manifest"
MOST_IMAGES = 25_000_000
"""Images that a manifest may name, tasks x ways x images a class; a file of so many takes some gigabytes to make."""
_BLOCK = 2**22  # how many priorities to hold at once: bounds the memory of a draw, and changes nothing in it
SCHEMA = pa.schema(
    [
        ("task", pa.int32()),
        ("class_position", pa.int32()),
        ("role", pa.string()),
        ("position", pa.int32()),
        ("image_index", pa.int64()),
        ("class_name", pa.string()),
        ("file_id", pa.string()),
    ]
)


@dataclass(frozen=True, eq=False)
class Manifest:
    """T tasks of one split, as indices into the split's fixed image order.

    indices: int64 [T, N, K+Q], support first. class_names: str [T, N]. file_ids: str [T, N, K+Q], the
    identities of the images, so that a manifest can be checked against a dataset, and read without it.
    """

    dataset: str
    content_hash: str
    split: str
    spec: TaskSpec
    seed: int
    indices: NDArray[np.int64]
    class_names: NDArray[np.object_]
    file_ids: NDArray[np.object_]
    images: TaskImages | None = None
    """What the file that it was read from says of its images; no part of what is sealed."""

    def __post_init__(self) -> None:
        shape = (max(1, len(self.indices)), self.spec.way, self.spec.shot + self.spec.query)
        if not self.indices.shape == self.file_ids.shape == shape or self.class_names.shape != shape[:2]:
            raise BenchError(
                f"the indices of a manifest of {self.spec} must have shape [tasks, {shape[1]}, {shape[2]}], "
                f"not {list(self.indices.shape)}"
            )
        for array in (self.indices, self.class_names, self.file_ids):
            array.setflags(write=False)

    @property
    def tasks(self) -> int:
        """How many tasks."""
        return len(self.indices)

    @property
    def support(self) -> NDArray[np.int64]:
        """Image indices [T, N, K]."""
        return self.indices[:, :, : self.spec.shot]

    @property
    def query(self) -> NDArray[np.int64]:
        """Image indices [T, N, Q]."""
        return self.indices[:, :, self.spec.shot :]

    @cached_property
    def sha256(self) -> str:
        """SHA-256 (hex) of everything in the manifest.

        Hashed are, one after the other: the header as JSON (sorted keys, no spaces), the indices as
        little-endian 64-bit integers in row-major order, and the class names and the file ids as one JSON
        array of two flat arrays.
        """
        digest = hashlib.sha256(_canonical(self._header()))
        digest.update(np.ascontiguousarray(self.indices, dtype="<i8").tobytes())
        digest.update(_canonical([self.class_names.ravel().tolist(), self.file_ids.ravel().tolist()]))
        return digest.hexdigest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Manifest) and self.sha256 == other.sha256

    def __hash__(self) -> int:
        return hash(self.sha256)

    def _header(self) -> dict[str, Any]:
        return {
            "format_version": FORMAT_VERSION,
            "dataset": self.dataset,
            "content_hash": self.content_hash,
            "split": self.split,
            "way": self.spec.way,
            "shot": self.spec.shot,
            "query": self.spec.query,
            "seed": self.seed,
            "tasks": self.tasks,
        }

    def save(self, path: Path, dataset: Dataset | None = None) -> None:
        """Write a Parquet file, whole or not at all. dataset: what it was drawn from, to keep what its images are.

        One row per image of a task, ordered by task, class_position, role (support first) and position:

        ==============  ======  ================================================================
        task            int32   0 … tasks-1
        class_position  int32   0 … way-1: the label of the image within its task
        role            string  ``support`` or ``query``
        position        int32   0 … shot-1 or 0 … query-1, within class and role
        image_index     int64   index into the split's fixed image order
        class_name      string  the dataset's name of the class
        file_id         string  the dataset's identity of the image
        ==============  ======  ================================================================

        The key ``bench.manifest`` of the file's metadata holds a JSON object: format_version, dataset,
        content_hash, split, way, shot, query, seed, tasks, sha256. The key ``bench.images`` holds another, of the
        images: see :class:`bench.tasks.images.TaskImages`.
        """
        columns = _grid(self.tasks, self.spec)
        columns["image_index"] = self.indices.ravel()
        columns["class_name"] = np.repeat(self.class_names.ravel(), self.indices.shape[2])
        columns["file_id"] = self.file_ids.ravel()
        facts = _canonical({**self._header(), "sha256": self.sha256})
        images = self.images if dataset is None else images_of(dataset, self.split, self.indices)
        beside = {} if images is None else to_metadata(images, self.sha256)
        table = pa.table(columns, schema=SCHEMA.with_metadata({METADATA_KEY: facts, **beside}))
        sweep(path)
        with replacing(path) as temporary:
            pq.write_table(table, temporary, compression="zstd")

    def verify(self, dataset: Dataset) -> None:
        """Raise BenchError unless every index means the same image, of the same class, in ``dataset``."""
        if dataset.name != self.dataset:
            raise BenchError(f"the manifest is for dataset {self.dataset!r}, not {dataset.name!r}")
        split = _split(dataset, self.split)
        if dataset.content_hash != self.content_hash:
            why = difference(self.images, dataset, self.split, self.indices)
            raise BenchError(
                f"the manifest was drawn from {self.dataset} with content {self.content_hash[:12]}, but the images "
                f"here have content {dataset.content_hash[:12]}{why}; draw it again from these "
                "images"
            )
        self.check_classes(split.class_ids, split.class_names, split.attributes)
        wrong = np.asarray(split.image_ids, dtype=object)[self.indices] != self.file_ids
        if wrong.any():
            at = tuple(np.argwhere(wrong)[0])
            index = int(self.indices[at])
            raise BenchError(
                f"image {index} of {self.dataset}/{self.split} is {split.image_ids[index]!r}, "
                f"but the manifest says {self.file_ids[at]!r}"
            )

    def check_classes(
        self, class_ids: ArrayLike, class_names: Sequence[str], attributes: Attributes | None = None
    ) -> None:
        """Raise BenchError unless the indices fit a split with these labels.

        class_ids: [n], the class of every image in the split's order. attributes: what the images have, where tasks
        are made of that. Checked: the range of the indices, that classes are as named here, and that classes and
        images are distinct within every task.
        """
        of_image = np.asarray(class_ids)
        where = f"{self.dataset}/{self.split}"
        if self.indices.min() < 0 or self.indices.max() >= len(of_image):
            raise BenchError(f"the manifest names images outside the {len(of_image)} images of {where}")
        images = self.indices.reshape(self.tasks, -1)
        if attributes is None:
            self._check_named(of_image, class_names, where)
            distinct = {"class": of_image[self.indices[:, :, 0]], "image": images}
        else:
            of_attributes.check(self.indices, self.class_names, attributes, where)
            distinct = {"class": np.unique(self.class_names, return_inverse=True)[1].reshape(self.tasks, -1)}
            distinct["image"] = images
        for what, ids in distinct.items():
            ordered = np.sort(ids, axis=1)
            twice = (ordered[:, 1:] == ordered[:, :-1]).any(axis=1)
            if twice.any():
                raise BenchError(f"task {twice.argmax()} of the manifest for {where} has one {what} twice")

    def _check_named(self, of_image: NDArray[Any], class_names: Sequence[str], where: str) -> None:
        named = np.asarray(class_names, dtype=object)[of_image[self.indices]]
        wrong = named != self.class_names[:, :, None]
        if wrong.any():
            at = tuple(np.argwhere(wrong)[0])
            raise BenchError(
                f"image {self.indices[at]} of {where} is of class {named[at]!r}, "
                f"but the manifest says {self.class_names[at[:2]]!r}"
            )


def draw(dataset: Dataset, split: str, spec: TaskSpec, tasks: int, seed: int) -> Manifest:
    """Draw ``tasks`` tasks from the classes of ``split`` that have at least ``shot + query`` images.

    Task t gives every class and every image of the split a pseudo-random priority, which depends on nothing
    but the seed, the names of dataset and split, t, and the index of the class or image. The ``way``
    eligible classes of lowest priority are its classes. Of the images of a class in order of priority, the
    first ``query`` are the queries, the next ``shot`` the support. Tasks are therefore nested: fewer tasks,
    ways or shots are a part of the same tasks with the same queries, and the 1-shot support is the first
    image of the 5-shot support. (Across numbers of shots this holds as far as the same classes have enough
    images.)

    Classes and images are drawn independently for every task, as in Hsu et al. 2019. Of a split with attributes the
    tasks are those of :mod:`bench.tasks.attributes`, drawn by the same priorities.
    """
    check_size(spec, tasks)
    source = _split(dataset, split)
    if source.attributes is not None:
        root = Seed(seed).at("evaluation", dataset.name, split)
        indices, names = of_attributes.draw(source.attributes, spec, tasks, root, f"{dataset.name}/{split}")
        return _manifest(dataset, split, spec, seed, indices, names)
    class_ids = np.asarray(source.class_ids)
    per_class = spec.shot + spec.query
    counts = np.bincount(class_ids, minlength=len(source.class_names))
    eligible = np.flatnonzero(counts >= per_class)
    if len(eligible) < spec.way:
        raise BenchError(
            f"{spec.way}-way tasks need {spec.way} classes with at least {per_class} images each, "
            f"but {dataset.name}/{split} has {len(eligible)} of them (its classes: {len(source.class_names)}); "
            f"ask for less: --ways, --shots or query={spec.query}"
        )
    root = Seed(seed).at("evaluation", dataset.name, split)
    by_class, starts = class_ids.argsort(kind="stable"), counts.cumsum() - counts
    most = int(counts[eligible].max())
    classes = np.empty((tasks, spec.way), dtype=np.int64)
    indices = np.empty((tasks, spec.way, per_class), dtype=np.int64)
    block = max(1, _BLOCK // max(len(eligible), spec.way * most))
    for first in range(0, tasks, block):
        rows = np.arange(first, min(first + block, tasks))
        order = priority(root.at("classes"), rows, eligible[None]).argsort(axis=1, kind="stable")
        chosen = eligible[order[:, : spec.way]]
        # Of every chosen class all images, padded at the end to the size of the largest class.
        position, size = np.arange(most), counts[chosen][..., None]
        members = by_class[starts[chosen][..., None] + np.minimum(position, size - 1)]
        turn = priority(root.at("images"), rows, members)
        turn[position >= size] = np.iinfo(np.uint64).max
        best = turn.argsort(axis=2, kind="stable")[:, :, :per_class]
        classes[rows], indices[rows] = chosen, np.take_along_axis(members, best, axis=2)
    # Queries are taken first, so that they do not depend on the shot, and stored last.
    indices = np.concatenate([indices[:, :, spec.query :], indices[:, :, : spec.query]], axis=2)
    return _manifest(dataset, split, spec, seed, indices, np.asarray(source.class_names, dtype=object)[classes])


def check_size(spec: TaskSpec, tasks: int) -> None:
    """BenchError unless so many tasks can be drawn: at least one, and no more than fit into memory."""
    if tasks < 1:
        raise BenchError(f"a manifest needs at least 1 task, not {tasks}")
    each = spec.way * (spec.shot + spec.query)
    if tasks * each > MOST_IMAGES:
        at_most = f"ask for at most {MOST_IMAGES // each}" if each <= MOST_IMAGES else "ask for smaller ones"
        raise BenchError(
            f"{tasks} tasks of {spec} name {tasks * each} images, more than a list of tasks can, "
            f"{MOST_IMAGES}; {at_most}"
        )


def _manifest(
    dataset: Dataset, split: str, spec: TaskSpec, seed: int, indices: NDArray[np.int64], names: NDArray[np.object_]
) -> Manifest:
    return Manifest(
        dataset=dataset.name,
        content_hash=dataset.content_hash,
        split=split,
        spec=spec,
        seed=seed,
        indices=indices,
        class_names=names,
        file_ids=np.asarray(dataset.splits[split].image_ids, dtype=object)[indices],
    )


def load(path: Path) -> Manifest:
    """Read what :meth:`Manifest.save` wrote; BenchError names the file unless it is all as it was written."""
    try:
        check_regular(path)
        with pq.ParquetFile(path) as file:
            if file.metadata.num_rows > MOST_IMAGES:
                raise ValueError(f"it says that it has {file.metadata.num_rows} rows, more than {MOST_IMAGES}")
            table = file.read()
    except FileNotFoundError as error:
        raise BenchError(f"cannot read {path}: no such file") from error
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
        if what := no_fault_of_the_data(error):
            raise BenchError(f"cannot read {path}: {what}") from error
        reason = str(error).partition("\n")[0].rstrip(".")
        raise BenchError(
            f"{path} is not a readable Parquet file ({reason}); give one of 'bench tasks export', or draw it again"
        ) from error
    facts = (table.schema.metadata or {}).get(METADATA_KEY)
    if facts is None:
        key = METADATA_KEY.decode()
        raise BenchError(f"{path} is not a manifest: its Parquet metadata has no {key!r}; draw it again")
    try:
        header = json.loads(facts)
        version = header["format_version"]
    except (KeyError, TypeError, ValueError) as error:
        raise BenchError(f"{path} is damaged: its Parquet metadata is not readable; draw it again") from error
    if version != FORMAT_VERSION:
        raise BenchError(f"{path} has manifest format {version}, this program reads {FORMAT_VERSION}")
    try:
        return _unsealed(table, header)
    except KeyError as error:
        raise BenchError(f"{path} is damaged (its metadata has no {error}); draw it again") from error
    except (BenchError, TypeError, ValueError, AttributeError, pa.ArrowException) as error:
        raise BenchError(f"{path} is damaged or was edited ({error}); draw it again") from error


def _unsealed(table: pa.Table, header: dict[str, Any]) -> Manifest:
    """The manifest in a table; any exception says what is wrong with it."""
    spec = TaskSpec(header["way"], header["shot"], header["query"])
    shape = (header["tasks"], spec.way, spec.shot + spec.query)
    if not table.schema.equals(SCHEMA):
        raise ValueError(f"its columns are not {', '.join(SCHEMA.names)}")
    rows = shape[0] * shape[1] * shape[2]
    if table.num_rows != rows:
        raise ValueError(f"{table.num_rows} rows where {shape[0]} tasks have {rows}")
    if any(column.null_count for column in table.columns):
        raise ValueError("a value is missing")
    columns = {name: table.column(name).to_numpy() for name in SCHEMA.names}
    for name, expected in _grid(shape[0], spec).items():
        if not np.array_equal(columns[name], expected):
            raise ValueError(f"column {name} is not in order")
    names = columns["class_name"].reshape(shape)
    if (names != names[:, :, :1]).any():
        raise ValueError("a class has two names")
    manifest = Manifest(
        images=from_metadata(table.schema.metadata, header["sha256"]),
        dataset=header["dataset"],
        content_hash=header["content_hash"],
        split=header["split"],
        spec=spec,
        seed=header["seed"],
        indices=columns["image_index"].reshape(shape).astype(np.int64),
        class_names=names[:, :, 0].copy(),
        file_ids=columns["file_id"].reshape(shape).copy(),
    )
    if manifest.sha256 != header["sha256"]:
        raise ValueError("its contents do not have the SHA-256 it was sealed with")
    return manifest


def _split(dataset: Dataset, name: str) -> Split:
    if name not in dataset.splits:
        known = ", ".join(dataset.splits)
        hint = did_you_mean(name, dataset.splits)
        raise BenchError(f"dataset {dataset.name} has no split {name!r}, only {known}.{hint}")
    return dataset.splits[name]


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _grid(tasks: int, spec: TaskSpec) -> dict[str, NDArray[Any]]:
    """The columns that say where in which task a row stands."""
    shape = (tasks, spec.way, spec.shot + spec.query)
    task, class_position, image = np.indices(shape, dtype=np.int32).reshape(3, -1)
    support = image < spec.shot
    return {
        "task": task,
        "class_position": class_position,
        "role": np.where(support, "support", "query").astype(object),
        "position": np.where(support, image, image - spec.shot).astype(np.int32),
    }
