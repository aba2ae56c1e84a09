"""From run folders to tidy frames. A damaged file is one sentence in ``problems`` and never hides another
run.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from bench.basics.errors import BenchError
from bench.basics.precision import UNDECLARED
from bench.leaderboard.reruns import SUPERSEDED, supersede
from bench.planning import catalogue, side
from bench.planning.catalogue import RESERVED
from bench.planning.code import CODE
from bench.planning.overrides import UNNAMED
from bench.records.aside import belongs
from bench.records.record import Evaluation, RunRecord, folder_name, read_record, run_folders, strays
from bench.records.scores import read_scores

ROW = ["dataset", "dataset_hash", "method", "budget", "variant"]
"""What makes runs one row of a leaderboard; they may then differ by their training seed only."""

COST_COLUMNS = ("images", "cpu_seconds", "gpu_seconds")
"""What training cost, see :mod:`bench.training.work`; NaN is unknown."""

RUN_COLUMNS = [
    *(
        "run",
        "folder",
        "path",
        "status",
        "reason",
        *ROW,
        "seed",
        "title",
        "group",
        "supervised",
        "transductive",
    ),
    *("outside_data", "side", "cite", "train_seconds", "peak_memory_mib", "created", "artifacts", "config", "notes"),
    "environment",
    *COST_COLUMNS,
]
SCORE_COLUMNS = ["run", "manifest", "shot", "task", "correct", "total", "accuracy"]
EVALUATION_COLUMNS = ["run", "manifest", "split", "way", "shot", "query", "tasks"]

# Settings of the evaluation, not of the training: they do not make two runs two configurations.
_EVALUATION_ONLY = frozenset({*UNNAMED, "ways", "shots"})


@dataclass(frozen=True, eq=False)
class Frames:
    """All runs below one or more folders.

    runs: one row per run of any status, see :data:`RUN_COLUMNS`; ``variant`` is empty unless runs of one
    method and budget were trained with different settings, which it then lists. evaluations: one row per
    finished run and manifest. scores: one row per finished run, manifest and task; accuracy in [0, 1].
    problems: one sentence each.
    """

    runs: pd.DataFrame
    evaluations: pd.DataFrame
    scores: pd.DataFrame
    problems: tuple[str, ...] = ()

    @property
    def finished(self) -> pd.DataFrame:
        """The runs that have scores."""
        return self.runs[self.runs["status"] == "done"]

    @cached_property
    def facts(self) -> dict[int, dict[str, Any]]:
        """Run -> its row of ``runs``."""
        columns = {str(name): self.runs[name].tolist() for name in self.runs.columns}
        rows = zip(*columns.values())
        return {int(run): dict(zip(columns, row)) for run, row in zip(columns["run"], rows)}

    @cached_property
    def answered(self) -> frozenset[tuple[int, str]]:
        """(run, manifest) of every evaluation."""
        return frozenset(zip(self.evaluations["run"], self.evaluations["manifest"]))

    def task_scores(self) -> Mapping[tuple[int, str], NDArray[np.float64]]:
        """(run, manifest) -> accuracy [T] in the order of the tasks."""
        return self._task_scores

    @cached_property
    def _task_scores(self) -> dict[tuple[int, str], NDArray[np.float64]]:
        frame = self.scores
        if frame.empty:
            return {}
        manifest = frame["manifest"].astype("category").cat
        columns = frame["run"].to_numpy(), manifest.codes.to_numpy(), frame["task"].to_numpy()
        accuracy = frame["accuracy"].to_numpy()
        if not _in_order(columns):  # as it is when it comes from records, and there may be millions of rows
            order = np.lexsort(columns[::-1])
            columns, accuracy = (columns[0][order], columns[1][order], columns[2][order]), accuracy[order]
        run, code, _ = columns
        starts = np.flatnonzero(np.r_[True, (run[1:] != run[:-1]) | (code[1:] != code[:-1])])
        names = [str(name) for name in manifest.categories]
        return {
            (int(run[start]), names[code[start]]): accuracy[start:end]
            for start, end in zip(starts, [*starts[1:], len(run)])
        }


def load(outs: Path | Sequence[Path]) -> Frames:
    """Read every run below the folders ``outs``. BenchError when there is none at all.

    Of several finished runs of one row and seed (another version of the code, say) the latest counts; the
    others are kept with the status ``superseded``.
    """
    outs = [outs] if isinstance(outs, Path) else list(outs)
    runs: list[dict[str, Any]] = []
    evaluations: list[dict[str, Any]] = []
    scores: list[pa.Table] = []
    problems: list[str] = []
    for out in outs:
        for folder in run_folders(out):
            try:
                record = read_record(folder)
                if not belongs(folder, record.seed, record.key):
                    name = folder_name(record.seed, record.key)
                    raise BenchError(f"{folder} holds the record of another run, {name}; move it away and run again")
                run = _run(len(runs), folder, out, record)
                if record.done:
                    scores.append(_numbered(read_scores(folder, record), len(runs)))
                    evaluations += [_evaluation(len(runs), one) for one in record.evaluations]
            except BenchError as error:
                # Reports must not depend on where the runs are kept: name the path below the folder.
                problems.append(str(error).replace(f"{out}/", ""))
            else:
                runs.append(run)
        problems += [problem.replace(f"{out}/", "") for problem in strays(out)]
    supersede(runs)
    if not runs:
        where = ", ".join(str(out) for out in outs)
        if missing := [str(out) for out in outs if not out.exists()]:
            raise BenchError(f"there is no folder {missing[0]}; make some with bench run, or name another with --runs")
        damaged = f"; {len(problems)} are damaged, the first: {problems[0]}" if problems else ""
        raise BenchError(f"no readable run below {where}{damaged or '; make some with bench run'}")
    return frames(runs, evaluations, scores, problems)


def _numbered(table: pa.Table, run: int) -> pa.Table:
    """With the number of its run, and every name of a manifest once instead of in each row."""
    table = table.set_column(0, "manifest", table["manifest"].dictionary_encode())
    return table.append_column("run", pa.array(np.full(len(table), run, dtype=np.int32)))


def frames(
    runs: Sequence[Mapping[str, Any]],
    evaluations: Sequence[Mapping[str, Any]],
    scores: Sequence[pa.Table],
    problems: Iterable[str] = (),
) -> Frames:
    """Assemble :class:`Frames` from rows."""
    run_frame = _supersede(_variants(pd.DataFrame(list(runs), columns=RUN_COLUMNS)))
    kept = set(run_frame.loc[run_frame["status"] == "done", "run"])
    return Frames(
        runs=run_frame,
        evaluations=of_runs(pd.DataFrame(list(evaluations), columns=EVALUATION_COLUMNS), kept),
        scores=of_runs(_score_frame(scores), kept),
        problems=tuple(problems),
    )


def of_runs(frame: pd.DataFrame, runs: Collection[int]) -> pd.DataFrame:
    """The rows of these runs, numbered from 0; the frame itself where that is all of them."""
    wanted = frame["run"].isin(runs)
    return frame if wanted.all() else frame[wanted].reset_index(drop=True)


def _in_order(columns: Sequence[NDArray[Any]]) -> bool:
    """Whether rows are sorted by the first column, equal ones by the next, and so on."""
    equal = np.ones(max(0, len(columns[0]) - 1), dtype=bool)
    for column in columns:
        if (equal & (column[1:] < column[:-1])).any():
            return False
        equal &= column[1:] == column[:-1]
    return True


def with_seeds(one: Frames, seeds: Sequence[int]) -> Frames:
    """The runs with these training seeds. BenchError where none of them is finished."""
    runs = one.runs[one.runs["seed"].isin(list(seeds))]
    if not (runs["status"] == "done").any():
        raise BenchError(f"no run with training seed {', '.join(map(str, seeds))} is finished")
    kept = set(runs["run"])
    return replace(
        one,
        runs=runs.reset_index(drop=True),
        evaluations=of_runs(one.evaluations, kept),
        scores=of_runs(one.scores, kept),
    )


def _score_frame(scores: Sequence[pa.Table]) -> pd.DataFrame:
    """Column by column, each freed once it is there: of many runs this is most of what a report keeps in memory."""
    if not scores:
        return pd.DataFrame(columns=SCORE_COLUMNS)
    tables = list(scores)
    numbers: dict[str, int] = {}
    codes = []
    for place, table in enumerate(tables):
        own = table["manifest"].combine_chunks()
        own = own if isinstance(own, pa.DictionaryArray) else own.dictionary_encode()
        named = [numbers.setdefault(str(name), len(numbers)) for name in own.dictionary.to_pylist()]
        codes.append(np.asarray(named, dtype=np.int32)[own.indices.to_numpy()])
        tables[place] = table.drop_columns(["manifest"])
    columns: dict[str, Any] = {"manifest": pd.Categorical.from_codes(np.concatenate(codes), list(numbers))}
    del codes
    for name in ("run", "shot", "task", "correct", "total"):
        columns[name] = np.concatenate([table[name].to_numpy() for table in tables])
        tables = [table.drop_columns([name]) for table in tables]
    columns["accuracy"] = columns["correct"] / columns["total"]
    return pd.DataFrame({name: columns[name] for name in SCORE_COLUMNS}, copy=False)


def _run(run: int, folder: Path, out: Path, record: RunRecord) -> dict[str, Any]:
    card, timings = record.method, record.timings
    trained = [float(timings[name]) for name in ("generator", "encoder", "fit") if name in timings]
    return {
        "run": run,
        "folder": folder.relative_to(out).as_posix(),
        "path": folder,
        "status": record.status,
        "reason": record.reason or "",
        "dataset": record.dataset,
        "dataset_hash": record.dataset_hash,
        "method": card.name,
        "budget": record.budget,
        "variant": "",
        "seed": int(record.seed),
        "title": card.title,
        "group": "ceiling" if card.supervised and card.group in ("unsupervised", "floor") else card.group,
        "supervised": bool(card.supervised),
        "transductive": card.transductive,
        "outside_data": bool(card.outside_data),
        "side": side.of_record(record),
        "cite": card.cite,
        "train_seconds": sum(trained) if trained else float("nan"),
        **_cost(record),
        "peak_memory_mib": float("nan") if record.peak_memory_mib is None else float(record.peak_memory_mib),
        "created": record.created,
        "artifacts": tuple(sorted(record.notes.get("artifacts", ()))),
        "config": {**catalogue.of_today(record.config), "precision": record.precision},
        "notes": record.notes,
        "environment": record.environment,
    }


def _cost(record: RunRecord) -> dict[str, float]:
    """What training cost, by measures that do not depend on what else the machine did; NaN is unknown."""
    noted = record.notes.get("cost")
    told: Mapping[str, Any] = noted if isinstance(noted, Mapping) else {}

    def number(name: str) -> float:
        value = told.get(name)
        right = isinstance(value, int | float) and not isinstance(value, bool) and value >= 0
        return float(value) if right else float("nan")  # type: ignore[arg-type]

    return {name: number(name) for name in COST_COLUMNS}


def _evaluation(run: int, one: Evaluation) -> dict[str, Any]:
    return {
        "run": run,
        "manifest": one.manifest,
        "split": one.split,
        "way": one.way,
        "shot": one.shot,
        "query": one.query,
        "tasks": one.tasks,
    }


def _variants(runs: pd.DataFrame) -> pd.DataFrame:
    """Name the settings by which finished runs of one method and budget differ: they never share a row."""
    labels = {}
    for _, group in runs[runs["status"] == "done"].groupby(["dataset", "dataset_hash", "method", "budget"]):
        computed = _computed_in(group["notes"])
        # Most groups have one configuration; the cheap comparison comes first.
        if len({_canonical(config) for config in group["config"]}) == 1 and not computed:
            continue
        settings = {
            index: {**dict(_leaves(config)), **computed.get(index, {})} for index, config in group["config"].items()
        }
        names = sorted({name for one in settings.values() for name in one})
        differing = [n for n in names if len({_canonical(one.get(n)) for one in settings.values()}) > 1]
        for index, one in settings.items():
            labels[index] = ", ".join(f"{name}={one.get(name)}" for name in differing)
    runs = runs.copy()
    if labels:
        runs["variant"] = pd.Series(labels).reindex(runs.index).fillna("")
    return runs


def _computed_in(notes: pd.Series) -> dict[Any, dict[str, str]]:
    """``vae.precision`` of each run, where runs differ in what their processors chose for ``precision: auto``.

    Runs of before this was noted do not differ from those that do not differ from each other.
    """
    noted = {
        index: {f"{kind}.precision": str(chosen) for kind, chosen in found.items()}
        for index, one in notes.items()
        if isinstance(found := one.get("precision"), Mapping)
    }
    several = len({_canonical(one) for one in noted.values()}) > 1
    unknown = {name: UNDECLARED for one in noted.values() for name in one}
    return {index: {**unknown, **noted.get(index, {})} for index in notes.index} if several else {}


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def settings_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted name -> value, of every setting that a training may depend on, but for the name of its budget."""
    return dict(_leaves(config))


def _leaves(config: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for key, value in config.items():
        name = f"{prefix}{key}"
        if name in _EVALUATION_ONLY or name == "budget.name":
            continue
        if key == "_target_":  # the class may have moved since; what it is has not
            value = config.get("identity", value)
        elif key == CODE:
            name, value = f"{prefix}code", str(value)[:8]
        elif key in RESERVED:  # what people read, not what a run depends on
            continue
        if key == config.get("own"):  # where a file of the user's own was; its SHA-256 says what it was
            continue
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{name}.")
        else:
            yield name, value


def _supersede(runs: pd.DataFrame) -> pd.DataFrame:
    """Keep the latest of several finished runs of one row and seed."""
    done = runs[runs["status"] == "done"].sort_values(["created", "folder"], kind="stable")
    old = done.index[done.duplicated([*ROW, "seed"], keep="last")]
    runs.loc[old, "status"] = SUPERSEDED
    runs.loc[old, "reason"] = "a later run of the same method, settings and seed counts"
    return runs
