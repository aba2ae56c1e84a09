"""What a report rests on, small enough to be committed beside it: the report can be rendered from it again.

<reports>/records/<dataset>/<method>/<seed>-<key8>/
    run.json          as it was, without the folders of the machine it was made on
    tasks.parquet     the scores, compressed
    train.parquet     the learning curve, compressed, where there is one
    samples.npy       as many images as a figure of an experiment shows, for runs that are in one
    inspect.json      where ``bench inspect`` measured this run
    synthetic.npy     a synthetic task of its sampler
<reports>/records/damaged.json   what could not be kept, in sentences; where there is such a thing
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from bench.basics.errors import BenchError
from bench.basics.files import read_json, replacing_folder, write_json
from bench.basics.typed import fitting
from bench.leaderboard import loading
from bench.leaderboard.loading import Frames
from bench.leaderboard.paper_tables import FilledLayout, PaperCell, fill
from bench.looking.inspection.example import EARLIER_FILE as EARLIER_EXAMPLE
from bench.looking.inspection.example import FILE as EXAMPLE
from bench.looking.inspection.example import file_of as example_of
from bench.looking.inspection.records import FILE as INSPECTION
from bench.looking.inspection.records import inspection_files, read_inspection
from bench.planning.paper_layout import paper_layout, paper_layouts
from bench.records.arrays import read_curve, read_images, write_curve, write_images
from bench.records.scores import seal_folder
from bench.records.seal import check_seal, sealed

DAMAGED = "damaged.json"
KEPT = ("run.json", "tasks.parquet", "train.parquet", "samples.npy", INSPECTION, EXAMPLE, EARLIER_EXAMPLE, DAMAGED)

RESULTS = ("failed", "diverged", "out-of-memory")
"""How a run may end that says something of the method. What was interrupted says nothing."""

_FOLDERS = re.compile(r"(?<![\w.:/\\~-])(?:file://|~|[A-Za-z]:)?(?:[/\\][^\s/\\'\"`,;:()\[\]<>|]+){2,}")
"""An absolute path within a text. Not the address of a page, whose slashes follow a colon."""

_ENCODINGS = {
    **dict.fromkeys(("task", "total", "shot", "step"), "DELTA_BINARY_PACKED"),
    **dict.fromkeys(("correct", "value"), "BYTE_STREAM_SPLIT"),
}


@contextmanager
def kept(outs: Path | Sequence[Path], folder: Path, experiment: str | None = None) -> Iterator[Path]:
    """Write the records of every finished run below ``outs`` (of those of ``experiment``) to ``folder``.

    Runs that ended for a reason of their own (see RESULTS) come along: that no anchors are accepted is a result.

    Yields the folder where they lie for now; they replace the old ``folder``, in one step, when the block succeeds.
    What is damaged is not among them, but in a list of sentences, see :func:`damaged`. Raises BenchError
    where no run is finished, and where ``folder`` holds the runs themselves or files that are no such records.
    """
    outs = [outs] if isinstance(outs, Path) else list(outs)
    _check_place(outs, folder)
    frames = loading.load(outs)
    runs = _chosen(frames, experiment)
    pictures = _pictures(frames)
    problems = list(frames.problems)
    with replacing_folder(folder) as temporary:
        for run, place, path in zip(*(runs[name] for name in ("run", "folder", "path"))):
            problems += _keep_run(Path(path), temporary / place, pictures.get(int(run), 0))
        for out in outs if experiment is None else ():
            problems += _keep_inspections(out, temporary)
        problems += [one for out in outs for one in damaged(out)]
        if problems:
            write_json(temporary / DAMAGED, sealed({"damaged": _plain(list(dict.fromkeys(problems)))}))
        yield temporary


def damaged(folder: Path) -> list[str]:
    """What was damaged where the records in ``folder`` were taken from: a report from them must say so too."""
    path = folder / DAMAGED
    if not path.exists():
        return []
    try:
        document = read_json(path, "write the records anew")
        check_seal(document)
        found: list[str] = fitting(list[str], document["damaged"], "damaged")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return [f"{DAMAGED} is damaged ({error}); write the records anew"]
    except BenchError as error:
        return [str(error).replace(f"{folder}/", "")]
    return found


def _check_place(outs: Sequence[Path], folder: Path) -> None:
    place = folder.resolve()
    for out in (out.resolve() for out in outs):
        if out == place or place in out.parents:
            raise BenchError(
                f"--records would replace {out}, which the report is made from; leave the flag out to render from it"
            )
    for path in sorted(folder.rglob("*")) if folder.exists() else ():
        if path.is_file() and path.name not in KEPT and not path.name.startswith("."):
            raise BenchError(f"--records would delete {path}, which it did not write; move it, or choose another --out")


def _chosen(frames: Frames, experiment: str | None) -> Any:
    """The finished runs that a table shows, and those that ended for a reason."""
    finished = frames.finished
    shown = set(frames.evaluations["run"])
    if experiment is not None:
        found = paper_layout(experiment.removeprefix("experiment/"))
        filled = None if found is None else fill(found, frames, everywhere=True)
        if filled is not None:
            shown &= {run for cell in _cells(filled) if cell.answer is not None for run in cell.answer.runs}
    chosen = finished[finished["run"].isin(shown)]
    if chosen.empty:
        raise BenchError(f"no run is finished among {len(frames.runs)}, so there are no records to keep")
    if experiment is not None:
        return chosen
    runs = frames.runs
    return runs[runs["run"].isin(chosen["run"]) | runs["status"].isin(RESULTS)]


def _cells(filled: FilledLayout) -> Iterator[PaperCell]:
    for table in filled.tables:
        yield from table.cells
    yield from (cell for cell, _ in filled.singles)


def _pictures(frames: Frames) -> dict[int, int]:
    """Run -> how many of its sample images a figure shows, whichever experiments are asked for later."""
    found: dict[int, int] = {}
    numbers = {Path(path): int(run) for run, path in zip(frames.runs["run"], frames.runs["path"])}
    for one in paper_layouts():
        if one.figure is None or not one.figure.samples:
            continue
        filled = fill(one, frames, everywhere=True)
        for cell in _cells(filled) if filled is not None else ():
            if cell.samples is not None:
                run = numbers[cell.samples.parent]
                found[run] = max(found.get(run, 0), one.figure.samples)
    return found


def _keep_run(source: Path, target: Path, pictures: int) -> list[str]:
    """A sentence for each file that is none of the run's own: what a link leads to is not for others to see."""
    target.mkdir(parents=True)
    seal_folder(source, target, without_folders)
    found = []
    for name in ("tasks.parquet", "train.parquet", *(["samples.npy"] if pictures else [])):
        path = source / name
        if path.is_symlink():
            found.append(_link("/".join(path.parts[-4:])))
        elif path.is_file():
            _compress(path, target / name) if name != "samples.npy" else _keep_samples(path, target / name, pictures)
    return found


def _keep_inspections(out: Path, target: Path) -> list[str]:
    """A sentence for each that is damaged."""
    found = []
    for path in inspection_files(out):
        folder = path.relative_to(out).parent
        try:
            read_inspection(path)
        except BenchError as error:
            found.append(str(error).replace(f"{out}/", ""))
            continue
        document = without_folders(read_json(path))
        write_json(target / folder / INSPECTION, sealed(document) if "seal" in document else document)
        example = example_of(path.parent)
        if example is not None and example.is_symlink():
            found.append(_link(f"{folder.as_posix()}/{example.name}"))
        elif example is not None and example.is_file():
            shutil.copyfile(example, target / folder / EXAMPLE, follow_symlinks=False)
    return found


def _link(place: str) -> str:
    return f"{place} is damaged (it is a link, not a file); it is left out"


def _compress(source: Path, target: Path) -> None:
    """The same table, in fewer bytes where that can be; what cannot be read is copied, so that the report tells."""
    try:
        curve = source.name == "train.parquet"
        if curve:
            table = read_curve(source)
        else:
            with pq.ParquetFile(source) as file:
                table = file.read(use_threads=False).replace_schema_metadata(None)
        (write_curve if curve else _write_table)(
            target,
            table,
            compression="zstd",
            compression_level=19,
            write_statistics=False,
            use_dictionary=[name for name in table.column_names if name not in _ENCODINGS],
            column_encoding={name: _ENCODINGS[name] for name in table.column_names if name in _ENCODINGS},
        )
        smaller = target.stat().st_size < source.stat().st_size
    except (OSError, ValueError, KeyError, pa.ArrowException):
        smaller = False
    if not smaller:
        shutil.copyfile(source, target)


def _write_table(target: Path, table: pa.Table, **options: Any) -> None:
    pq.write_table(table, target, **options)


def _keep_samples(source: Path, target: Path, count: int) -> None:
    try:
        images = read_images(source, 4, "")[:count]
    except BenchError:
        shutil.copyfile(source, target)
    else:
        write_images(target, images)


def without_folders(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record in which no file has more than its name: not the user's own, nor any with an absolute path."""
    config = dict(record.get("config") or {})
    for group, node in config.items():
        own = node.get("own") if isinstance(node, Mapping) else None
        if own and isinstance(node.get(own), str):
            config[group] = {**node, own: _name(node[own])}
    if isinstance(config.get("dataset"), Mapping) and "data_dir" in config["dataset"]:
        config["dataset"] = {**config["dataset"], "data_dir": None}
    changed = {**record, "config": config} if "config" in record else dict(record)
    return {key: _plain(value) for key, value in changed.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if not isinstance(value, str):
        return value
    if len(PurePosixPath(value).parts) > 2 and PurePosixPath(value).is_absolute():
        return _name(value)
    if PureWindowsPath(value).drive and PureWindowsPath(value).is_absolute():
        return _name(value)
    return _FOLDERS.sub(lambda found: _name(found.group()), value)


def _name(path: str) -> str:
    """The last part of a path of any system."""
    return PureWindowsPath(path).name or path
