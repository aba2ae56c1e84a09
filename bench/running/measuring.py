"""``bench plan --estimate``: a few steps of runs that no record is like, made in a temporary folder and timed."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from bench.basics.keys import content_key
from bench.basics.progress import Reporter
from bench.contracts import TaskSpec
from bench.datasets.source import Dataset
from bench.planning import components
from bench.planning.durations import History, Made
from bench.planning.plan import PlannedRun
from bench.records.record import RunRecord, folder_name
from bench.running.containment import has_outside_code
from bench.running.endings import TimeLimit
from bench.running.estimate import MEASURED, duration, learn
from bench.running.executors import executor
from bench.running.inputs import seal_manifests
from bench.running.job import Job
from bench.running.run import execute_run
from bench.running.whole import DERIVED, EVALUATE, FIT, PASSING

FIRST = 2, 4  # meta-iterations and tasks that warm up, and tell how many can be measured
SECONDS = 1.0  # that those may take
WATCHED = 3.0  # seconds for which the training of a generator or encoder is looked at
LIMIT = 20.0  # seconds for one execution


class _Watch:
    """Times a shared training by its progress, and ends the run when enough of it, or too much of all, was seen."""

    def __init__(self, reporter: Reporter) -> None:
        self.reporter, self.began = reporter, time.monotonic()
        self.stage, self.total, self.fitted = "", 0, False
        self.first, self.last = (0, 0.0), (0, 0.0)

    def __call__(self, stage: str, done: int, total: int, metrics: Mapping[str, float]) -> None:
        self.reporter(stage, done, total, metrics)
        now = time.monotonic()
        self.fitted |= stage == FIT
        if total and stage not in (FIT, EVALUATE, *DERIVED) and not stage.startswith(PASSING):
            if stage != self.stage:
                self.stage, self.total, self.first = stage, total, (done, now)
            self.last = done, now
            if now - self.first[1] > WATCHED and done < total:
                raise TimeLimit
        if now - self.began > LIMIT:
            raise TimeLimit

    @property
    def steps(self) -> int:
        """How many were timed."""
        return self.last[0] - self.first[0]

    @property
    def whole(self) -> float:
        """Seconds of the whole training at that pace."""
        return (self.last[1] - self.first[1]) / self.steps * self.total


@dataclass(frozen=True)
class Measuring:
    """Measures runs of one request. history: learns what comes out. threads: None for those of this process."""

    dataset: Dataset
    cache: Path
    device: str
    threads: int | None
    history: History
    reporter: Reporter

    def measure(self, runs: Sequence[PlannedRun], specs: Mapping[str, TaskSpec]) -> Iterator[str]:
        """For each run whose duration is not known when its turn comes: what was measured of it, or why nothing was."""
        threads = torch.get_num_threads()
        tried: set[str] = set()
        try:
            for run in runs:
                name = content_key({"run": run.name, "train": run.values["train"]})  # whatever its seed and length
                if name in tried or duration(run, specs, self.history).known:
                    continue
                tried.add(name)
                self.reporter.begin(f"measuring {run.name}")
                with TemporaryDirectory(prefix="bench-estimate-") as folder:
                    yield f"{run.name}: {self._measure(run, Path(folder))}"
        finally:
            torch.set_num_threads(threads)

    def _measure(self, run: PlannedRun, folder: Path) -> str:
        budget = run.values["budget"]
        most = budget["meta_iterations"], budget["evaluation_tasks"]
        lengths = (min(FIRST[0], most[0]), min(FIRST[1], most[1]))
        shared = duration(run, {}, self.history).shared
        # Where it is known what generator and encoder take, they need not be trained: learner and answers are timed.
        epochs, told, watch = int(any(one.seconds is None for one in shared)), [], _Watch(self.reporter)
        record = self._execute(run, folder, epochs, lengths, watch)
        if not record.done and watch.steps > 0:
            told.append(f"{watch.steps} of the {watch.total} steps of an epoch of {watch.stage}")
            self._learn_training(run, watch)
            epochs, watch = 0, _Watch(self.reporter)
            record = self._execute(run, folder, epochs, lengths, watch)
        elif watch.stage:
            told.append(f"an epoch of {watch.stage}")
        if record.done:
            spent = record.timings["fit"], record.timings["evaluate"] / len(record.evaluations)
            lengths = (_fitting(most[0], lengths[0], spent[0]), _fitting(most[1], lengths[1], spent[1]))
            # Two lengths on a GPU, where a part of it all, such as capturing a step, is the same at any length.
            for part in (1,) if self.history.device == "cpu" else (1, 3):
                shorter = (-(-lengths[0] // part), -(-lengths[1] // part))
                if record.done:
                    record = self._execute(run, folder, epochs, shorter, _Watch(self.reporter))
                if record.done:
                    learn(
                        self.history, record, self._folder(run, folder, record.key), folder / "artifacts", measured=True
                    )
        if not record.done:
            limit = f"it did not get through a few steps in {LIMIT:g} s"
            return f"could not be measured: {limit if record.status == 'timeout' else record.reason}"
        told += [f"{lengths[0]} meta-iterations"] if watch.fitted else []
        return f"measured on {', '.join([*told, f'{lengths[1]} tasks'])}"

    def _execute(
        self, run: PlannedRun, folder: Path, epochs: int, lengths: tuple[int, int], watch: _Watch
    ) -> RunRecord:
        """One execution below ``folder``; of generators and encoders that train at all, ``epochs``."""
        budget = dict(run.values["budget"])
        for name in ("generator_epochs", "encoder_epochs"):
            budget[name] = min(budget[name], epochs)
        budget |= {"meta_iterations": lengths[0], "evaluation_tasks": lengths[1]}
        budget |= {"validate_every": 0, "generator_snapshots": []}
        values = {**run.values, "budget": budget}
        key = content_key({"run": run.key, "budget": budget})
        short = replace(run, values=values, key=key, folder=self._folder(run, folder, key))
        sealed = tuple(seal_manifests(self.dataset, values, values["shots"], folder))
        job = Job(short, sealed, self.cache, folder / "artifacts", self.device, self.threads, LIMIT)
        if not has_outside_code(values):
            return execute_run(job, watch)
        with executor(1, own_process=True, limit=LIMIT) as alone:
            return alone.submit(execute_run, job, _silent).result()

    def _learn_training(self, run: PlannedRun, watch: _Watch) -> None:
        """What an epoch takes, of which a part was seen."""
        unknown = [group for group in components.artifact_groups(run.values) if run.values["budget"][f"{group}_epochs"]]
        made = Made(unknown[0], 1, watch.whole, there=False)
        self.history.add_training(run.values, made, run.seed, MEASURED)

    def _folder(self, run: PlannedRun, folder: Path, key: str) -> Path:
        return folder / "dataset" / "method" / folder_name(run.seed, key)


def _fitting(most: int, length: int, seconds: float) -> int:
    """How many are done in :data:`SECONDS`, where ``length`` took ``seconds``."""
    return min(most, max(length, round(length * SECONDS / max(seconds, 1e-3))))


def _silent(*_: object) -> None:
    """Of a process of its own nothing is seen but its end."""
