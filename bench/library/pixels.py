"""The sealed tasks with their pixels in one file, for code that knows nothing of this harness; checked when read."""

from __future__ import annotations

import hashlib
import inspect
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

import bench
from bench.basics.errors import BenchError
from bench.basics.files import check_regular, replacing
from bench.contracts import TaskSpec
from bench.datasets.source import Dataset
from bench.library.sealed import SealedTasks, behind, true_labels
from bench.planning import components
from bench.planning.catalogue import RESERVED
from bench.running.evaluate import ShuffledTasks
from bench.tasks.images import TaskImages, difference
from bench.tasks.manifest import draw

SUFFIXES = (".npz", ".safetensors")
KEY = "bench.tasks"
"""Of the metadata of a .safetensors file; in an .npz file the array ``metadata`` holds the same JSON text."""
MOST_BYTES = 2**33
ASKED = (
    "Queries of a task are shuffled, as in every run. The label of a query is the place of its class on the second "
    "axis of support."
)


def check_name(path: Path) -> None:
    """BenchError unless the name says which kind of file it is to be."""
    if path.suffix not in SUFFIXES:
        raise BenchError(f"tasks with pixels are written as {' or '.join(SUFFIXES)}, not {path.name!r}")


def write(tasks: SealedTasks, path: Path, labels: bool = False) -> None:
    """``support`` uint8 [T, N, K, C, H, W] and ``query`` uint8 [T, M, C, H, W], with ``label`` int64 [T, M] if asked.

    The metadata are JSON: dataset, content_hash, split, way, shot, query, seed, tasks, manifest (SHA-256), arrays
    (SHA-256 of each), pixels (see :class:`bench.tasks.images.TaskImages`), preprocessing (steps in their order, words,
    settings, code, versions). The same tasks, prepared by the same versions, give the same bytes.
    """
    check_name(path)
    images, manifest = behind(tasks)
    each = manifest.indices[0].size * images.pixels[0].numel()
    if len(tasks) * each > MOST_BYTES:
        raise BenchError(
            f"{len(tasks)} such tasks have {len(tasks) * each / 2**30:.0f} GiB of pixels; ask for at most "
            f"{MOST_BYTES // each}, or export the list without --pixels"
        )
    shuffled = ShuffledTasks(lambda index: images.pixels[index], manifest, torch.device("cpu"))
    support, query, _ = shuffled.at(slice(None))
    arrays: dict[str, Any] = {"support": support.numpy(), "query": query.numpy()}
    if labels:
        arrays["label"] = true_labels(tasks).cpu().numpy()
    text = json.dumps(_facts(tasks, arrays), ensure_ascii=False)
    with replacing(path) as temporary:
        if path.suffix == ".npz":
            with open(temporary, "wb") as file:
                np.savez_compressed(file, **arrays, metadata=np.array(text))
        else:
            save_file({name: np.ascontiguousarray(one) for name, one in arrays.items()}, temporary, {KEY: text})


def verify(path: Path) -> dict[str, Any]:
    """The metadata of a file that :func:`write` wrote; BenchError unless its arrays are as they were written."""
    check_name(path)
    try:
        check_regular(path)
        arrays, text = _read_npz(path) if path.suffix == ".npz" else _read_safetensors(path)
        facts: dict[str, Any] = json.loads(text)
        if facts["arrays"] != {name: _digest(one) for name, one in sorted(arrays.items())}:
            raise ValueError("its arrays do not have the SHA-256 that they were written with")
    except FileNotFoundError as error:
        raise BenchError(f"cannot read {path}: no such file") from error
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, SafetensorError) as error:
        told = " ".join(str(error).split())[:120]
        raise BenchError(f"{path} is damaged or no file of tasks with pixels ({told}); export it again") from error
    return facts


def check_here(path: Path, facts: Mapping[str, Any], dataset: Dataset) -> None:
    """BenchError unless the tasks of a file that :func:`verify` found whole are the ones drawn from ``dataset``."""
    spec = TaskSpec(facts["way"], facts["shot"], facts["query"])
    drawn = draw(dataset, facts["split"], spec, facts["tasks"], facts["seed"])
    if drawn.sha256 == facts["manifest"]:
        return
    made = facts["preprocessing"]
    there = None
    if "pixels" in facts:
        shape = dataset.image_shape
        there = TaskImages(facts["pixels"], 0, shape, made["steps"], made["made_with"])
    why = difference(there, dataset, facts["split"], drawn.indices)
    raise BenchError(
        f"the tasks of {path} are of {facts['dataset']} with content {facts['content_hash'][:12]}, but the images here "
        f"are {dataset.name} with content {dataset.content_hash[:12]}{why}; export them again"
    )


def _facts(tasks: SealedTasks, arrays: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    spec = tasks.spec
    source = tasks.source
    settings = {key: value for key, value in source.items() if key not in RESERVED and key != "data_dir"}
    words = inspect.getdoc(components.resolve(str(source["_target_"]))) or ""
    images = tasks.images
    return {
        "dataset": tasks.dataset,
        "content_hash": tasks.content_hash,
        "split": tasks.split,
        "way": spec.way,
        "shot": spec.shot,
        "query": spec.query,
        "seed": tasks.evaluation_seed,
        "tasks": len(tasks),
        "manifest": tasks.manifest,
        "arrays": {name: _digest(one) for name, one in sorted(arrays.items())},
        "pixels": images.pixels,
        "preprocessing": {
            "steps": dict(images.preprocessing),
            "words": f"{words}\n\n{ASKED}",
            "settings": settings,
            "code": f"{source['_target_']} of bench {bench.__version__}",
            "made_with": dict(images.made_with),
        },
    }


def _digest(array: NDArray[Any]) -> str:
    whole = np.ascontiguousarray(array)
    return hashlib.sha256(f"{whole.dtype} {list(whole.shape)}\n".encode() + whole.tobytes()).hexdigest()


def _read_npz(path: Path) -> tuple[dict[str, NDArray[Any]], str]:
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    return arrays, str(arrays.pop("metadata"))


def _read_safetensors(path: Path) -> tuple[dict[str, NDArray[Any]], str]:
    with safe_open(path, framework="np") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, (file.metadata() or {})[KEY]  # noqa: SIM118
