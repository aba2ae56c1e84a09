"""One run from start to record: train on the images, answer the sealed tasks, write down what happened."""

from __future__ import annotations

import contextlib
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from bench.basics.claims import Claim, Lost
from bench.basics.errors import BenchError
from bench.basics.files import remove_leftovers
from bench.basics.progress import Pace
from bench.basics.seeds import Seed
from bench.basics.signals import Interrupts, Stopped
from bench.contracts import Budget, Context, Method, Monitor, ProgressCallback, ShowsSamples, TaskSpec
from bench.datasets.images import LabelledImages, UnlabelledImages
from bench.datasets.source import Dataset
from bench.learners.embeddings import Pool
from bench.planning import components, side
from bench.planning.plan import PlannedRun
from bench.planning.values import ways_of
from bench.records.arrays import CURVE, write_curve, write_images
from bench.records.record import Evaluation, MethodCard, RunRecord, Status, write_record
from bench.records.scores import read_scores, scores_digest
from bench.records.seal import plain
from bench.running.answers import keep_answers, kept_answers
from bench.running.cost import cost_of_run, noted
from bench.running.crowding import making_way
from bench.running.endings import UNFINISHED, TimeLimit, ending, resuming
from bench.running.environment import environment, peak_memory_mib, reset_peak_memory, resolve_device
from bench.running.evaluate import accuracy_and_interval, evaluate, validation_monitor
from bench.running.fitting import Fitted, check_answers, fit
from bench.running.inputs import open_dataset, training_images
from bench.running.job import Job, append_log
from bench.running.precision import check_precision_of, computing_in
from bench.tasks import manifest as manifests
from bench.tasks.left_out import left_out, uneven_shots
from bench.training.artifacts import ArtifactStore
from bench.training.checkpoint import Checkpoint
from bench.training.work import Cost


def execute_run(job: Job, progress: ProgressCallback, wait: bool = True) -> RunRecord:
    """Execute one run unless its record is there already; returns a record, whatever happened to the run.

    Of KeyboardInterrupt, which passes through, the record ``interrupted`` is written before. Raises Claimed where
    another process is at work on it and this may not ``wait``, and Lost where another took it over because this process
    was taken for dead: then what is there is the other's.
    """
    job = job.absolute()

    def told(line: str) -> None:
        progress(line, 0, 0, {})
        append_log(job.run.folder, line)

    try:
        claim = Claim.take(job.run.folder / ".claim", wait, told)
    except OSError as error:
        raise BenchError(f"cannot write to {job.run.folder}: {error.strerror or error}") from error
    with claim:
        return _Execution(job, progress, claim).finish()


def record_forced_end(run: PlannedRun, status: Status, reason: str) -> RunRecord | None:
    """The record of a run whose process is gone without having said how it ended: say it now. None without one.

    Where another process has taken the run over by now, how it ends is for that one to say.
    """
    if not run.folder.exists():
        return None
    with contextlib.suppress(BenchError, OSError), Claim.take(run.folder / ".claim", wait=False) as claim:
        record = run.record()
        said_nothing = record is not None and record.reason == UNFINISHED
        if record is not None and record.status == "interrupted" and (said_nothing or status == "timeout"):
            record = replace(record, status=status, reason=reason)
            write_record(run.folder, record, claim.replacing)
            append_log(run.folder, f"end {status} {reason}")
        return record
    return None


class _Execution:
    """The state of one execution, so that a failure at any point can still be recorded in full."""

    def __init__(self, job: Job, progress: ProgressCallback, claim: Claim) -> None:
        self.job, self.run, self.claim = job, job.run, claim
        self.began, self.fit_began = time.monotonic(), float("inf")
        self.show = progress
        self.logged: dict[str, int] = {}
        self.pace = Pace()
        self.timings: dict[str, float] = {}
        self.evaluations: list[Evaluation] = []
        self.scores: list[pd.DataFrame] = []
        self.answers: list[Path] = []
        self.specs: list[TaskSpec] = []
        self.peak_memory = 0.0
        self.notes: dict[str, Any] = dict(job.notes)
        self.transductive: bool | None = None
        self.dataset_hash = ""
        self.device = torch.device("cpu")
        self.store = ArtifactStore(
            job.artifacts, self.run.values["precision"], **components.artifact_code(self.run.values)
        )
        self.store.told = self.log
        self.pool: Pool | None = None
        self.interrupts = Interrupts()

    def finish(self) -> RunRecord:
        """Run, and turn every way a run can end into a status with a reason."""
        earlier = self.run.record()
        wanted = {manifests.load(path).sha256: path for path in self.job.manifests}
        if earlier is not None and earlier.done:
            have = {one.manifest for one in earlier.evaluations}
            if set(wanted) <= have:
                return earlier
            wanted = {sha: path for sha, path in wanted.items() if sha not in have}
        with self.interrupts:
            return self._finish(earlier, list(wanted.values()))

    def _finish(self, earlier: RunRecord | None, wanted: Sequence[Path]) -> RunRecord:
        status: Status = "done"
        reason: str | None = None
        try:
            self.log(f"start {self.run.name} seed {self.run.seed} key {self.run.key}")
            remove_leftovers(self.run.folder)
            if earlier is not None and earlier.done:
                self._keep(earlier)
            else:
                write_record(self.run.folder, self._record("interrupted", UNFINISHED), self.claim.replacing)
            with computing_in(self.run.values["precision"]), making_way(self.job.threads):
                self._train_and_answer(wanted)
        except BaseException as error:  # also sys.exit() in somebody's code: it must not end the other runs
            # Whatever a library made of a signal to stop, it was one.
            own = self.timings.get("fit", time.monotonic() - self.fit_began - self.store.seconds)
            again = resuming(self.run.folder, self.store, own)
            end = ending(self.interrupts.stopped or error, self.job.time_limit, again, self.device)
            status, reason = end.status, end.reason
            self.notes |= end.notes
            if end.unexpected:
                self.log(traceback.format_exc())
        self.timings["total"] = self.timings.get("total", 0.0) + time.monotonic() - self.began
        record = self._record(status, reason)
        try:
            self.claim.hold()
            # A failed extra evaluation must not take away the results that are there.
            if earlier is None or not earlier.done or status == "done":
                self._write(record)
        except Lost as error:
            self.log(f"end {error}")
            raise self.interrupts.stopped or error from error
        self.log(f"end {status} {reason or ''}".rstrip())
        if status == "interrupted" or self.interrupts.asked:
            raise self.interrupts.stopped or Stopped()
        return record

    def _train_and_answer(self, paths: Sequence[Path]) -> None:
        values = self.run.values
        self.device = resolve_device(self.job.device)
        check_precision_of(self.device, values["precision"])
        reset_peak_memory(self.device)
        if self.job.threads:
            torch.set_num_threads(self.job.threads)
        if self.job.scratch is not None:
            open_dataset(values, self.job.cache, self.progress, self.job.scratch)
            self.began = time.monotonic()
        dataset = open_dataset(values, self.job.cache, self.progress, self.job.scratch)
        self.dataset_hash = dataset.content_hash
        self._note_images(dataset)
        method: Method = components.build(values["method"], values)
        budget = Budget(**values["budget"])
        weights = self.run.folder / "weights.safetensors"
        context = Context(
            seed=Seed(self.run.seed),
            device=self.device,
            budget=budget,
            artifacts=self.store,
            checkpoint=Checkpoint(weights, budget.checkpoint_seconds, self.run.key, self.claim.replacing),
            progress=self.progress,
            monitor=self._monitor(dataset, budget),
            notes=self.notes,
        )
        images = training_images(self.run, dataset, self.device)
        # While a method trains, the labels of what it trains on are not in its process, unless it is supervised.
        del dataset
        self.fit_began = began = time.monotonic()
        fitted = fit(method, images, values, context)
        self.transductive = fitted.learner.transductive
        self._note_training(context, max(0.0, time.monotonic() - began - self.store.seconds), fitted.cost)
        check_answers(fitted, images, values, self.specs, context)
        self._keep_samples(method, images, context)
        del images
        dataset = open_dataset(values, self.job.cache, self.progress, self.job.scratch)
        for path in paths:
            self._answer(fitted, dataset, path)

    def _note_images(self, dataset: Dataset) -> None:
        """What a reader of the numbers must know of the images: how many, warnings, and what no task is made of."""
        self.notes["splits"] = {name: [len(one.class_names), len(one)] for name, one in dataset.splits.items()}
        self.notes |= {"preprocessing": dict(dataset.preprocessing)} if dataset.preprocessing else {}
        shapes = [("train", TaskSpec(**self.run.values["train"]))] if self.run.variant.supervised else []
        sealed = [manifests.load(path) for path in self.job.manifests]
        self.specs = [one.spec for one in sealed]
        left = [said for split, spec in shapes for said in left_out(dataset, split, spec)]
        left += [said for one in sealed for said in left_out(dataset, one.split, one.spec)]
        left += uneven_shots(dataset, self.run.values["split"], [one.spec for one in sealed])
        self.notes["images"] = {"preprocessing": dict(dataset.preprocessing), "made_with": dict(dataset.made_with)}
        for name, said in (("warnings", dataset.warnings), ("left_out", left)):
            if said:
                self.notes[name] = list(dict.fromkeys(said))

    def _keep_samples(self, method: Method, images: UnlabelledImages | LabelledImages, context: Context) -> None:
        """``samples.npy``, uint8 [n, C, H, W], of a method that has samples to show."""
        path = self.run.folder / "samples.npy"
        if not isinstance(method, ShowsSamples) or path.exists():
            return
        try:
            made = method.samples(images, context)
            pixels = (255 * made).round().clamp(0, 255).to(torch.uint8).cpu().numpy()
            write_images(path, pixels, self.claim.replacing)
        except Exception:  # pictures must not cost a run its results
            self.log(f"no samples: {traceback.format_exc()}")

    def _monitor(self, dataset: Dataset, budget: Budget) -> Monitor | None:
        split = dataset.splits.get("val")
        if not budget.validate_every or split is None or not len(split.pixels):
            return None
        spec = TaskSpec(self.run.values["way"], 1, self.run.values["train"]["query"])
        try:
            tasks = manifests.draw(dataset, "val", spec, budget.validation_tasks, self.run.values["evaluation_seed"])
        except BenchError:
            return None  # too few meta-validation classes for such a task: there is no curve then
        return validation_monitor(split.labelled(self.device), tasks, self.device)

    def _answer(self, fitted: Fitted, dataset: Dataset, path: Path) -> None:
        tasks = manifests.load(path)
        tasks.verify(dataset)
        # What is answered is kept at once, in case the next manifest is interrupted.
        kept = self.run.folder / f"answers-{tasks.sha256[:12]}.safetensors"
        owner = f"{self.run.key}/{tasks.sha256}"
        weights = self.run.folder / "weights.safetensors"
        if (earlier := kept_answers(kept, owner, weights, self.log)) is not None:
            correct, total, seconds = earlier
        else:
            began = time.monotonic()
            images = dataset.splits[tasks.split].labelled(self.device)
            self.pool = self.pool or Pool(self.device)
            facts: dict[str, Any] = {}
            asked = fitted.others.get(tasks.spec.way, fitted.learner), images, tasks, self.device
            correct, total = evaluate(*asked, progress=self.progress, pool=self.pool, facts=facts)
            if facts:
                several = len(ways_of(self.run.values)) > 1
                name = f"{f'{tasks.spec.way}-way ' if several else ''}{tasks.spec.shot}-shot"
                self.notes.setdefault("evaluation", {})[name] = facts
            seconds = time.monotonic() - began
            keep_answers(kept, owner, (correct, total, seconds), self.claim.replacing)
        self.answers.append(kept)
        accuracy, interval = accuracy_and_interval(correct, total)
        spec = tasks.spec
        self.evaluations.append(
            Evaluation(
                manifest=tasks.sha256,
                split=tasks.split,
                way=spec.way,
                shot=spec.shot,
                query=spec.query,
                tasks=tasks.tasks,
                accuracy=accuracy,
                ci95=interval,
                seconds=seconds,
            )
        )
        self.timings["evaluate"] = self.timings.get("evaluate", 0.0) + seconds
        self.scores.append(
            pd.DataFrame(
                {
                    "manifest": tasks.sha256,
                    "shot": np.int32(spec.shot),
                    "task": np.arange(tasks.tasks, dtype=np.int32),
                    "correct": correct.astype(np.int32),
                    "total": total.astype(np.int32),
                }
            )
        )
        self.log(f"{spec}: {100 * accuracy:.2f} ± {100 * interval:.2f} in {seconds:.1f} s")

    def _note_training(self, context: Context, seconds: float, fitted: Cost) -> None:
        """Training times survive interruptions: they are read back from the checkpoints, not from this process.

        seconds: what this process spent on the method itself, for a method that has no checkpoint. fitted: what the
        method itself cost, in this process and before.
        """
        if cost := noted(cost_of_run(self.run.values, fitted, self.store.used.values())):
            self.notes["cost"] = cost
        tensors, meta = context.checkpoint.load() or ({}, {})
        curves = []
        self.timings["fit"] = float(meta.get("seconds", seconds))
        if "losses" in tensors:
            curves += _curve(meta["stage"], tensors["losses"].tolist(), meta.get("validation", ()))
        for artifact in self.store.used.values():
            kind = artifact.kind
            spent = float(artifact.meta.get("seconds", 0.0))
            group = "encoder" if kind.startswith("encoder") else "generator"
            self.timings[group] = self.timings.get(group, 0.0) + spent
            self.notes.setdefault("artifacts", {})[kind] = artifact.key
            if "precision" in artifact.meta["recipe"]:  # of its own, bfloat16 for one, chosen by the processor
                self.notes.setdefault("precision", {})[kind] = artifact.meta["recipe"]["precision"]
            if "losses" in artifact.tensors:
                curves += _curve(kind, artifact.tensors["losses"].tolist(), [])
        rows = [dict(zip(CURVE.names, row)) for row in curves]
        table = pa.Table.from_pylist(rows, schema=CURVE)
        write_curve(self.run.folder / "train.parquet", table, self.claim.replacing)

    def _keep(self, earlier: RunRecord) -> None:
        self.evaluations = list(earlier.evaluations)
        self.timings["evaluate"] = float(earlier.timings.get("evaluate", 0.0))
        self.notes.update(earlier.notes)
        self.peak_memory = earlier.peak_memory_mib or 0.0
        self.timings["total"] = float(earlier.timings.get("total", 0.0))
        self.scores = [read_scores(self.run.folder, earlier).to_pandas()]

    def _record(self, status: Status, reason: str | None) -> RunRecord:
        run, variant = self.run, self.run.variant
        outside = variant.outside_data or components.outside_data(run.values)
        return RunRecord(
            key=run.key,
            status=status,
            reason=plain(reason),
            method=MethodCard(
                name=run.name,
                family=variant.family,
                title=run.title,
                group=variant.group,
                supervised=variant.supervised,
                transductive=self.transductive,
                outside_data=outside,
                cite=variant.cite,
                side=side.of_run(run.values, variant.group, outside, self.transductive, self.notes),
            ),
            dataset=run.dataset,
            dataset_hash=self.dataset_hash,
            seed=run.seed,
            budget=run.budget,
            config=run.values,
            evaluations=tuple(self.evaluations),
            timings={name: round(value, 3) for name, value in self.timings.items()},
            peak_memory_mib=max(self.peak_memory, peak_memory_mib(self.device) or 0.0) or None,
            notes=plain(self.notes),
            environment=environment(self.device),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            scores=scores_digest(self._scores()) if self.scores else "",
        )

    def _scores(self) -> pa.Table:
        return pa.Table.from_pandas(pd.concat(self.scores, ignore_index=True), preserve_index=False)

    def _write(self, record: RunRecord) -> None:
        if self.scores:
            with self.claim.replacing(self.run.folder / "tasks.parquet") as temporary:
                pq.write_table(self._scores(), temporary)
        write_record(self.run.folder, record, self.claim.replacing)
        if record.done:
            for path in self.answers:
                path.unlink(missing_ok=True)

    def progress(self, stage: str, done: int, total: int, metrics: Mapping[str, float]) -> None:
        """Forward progress, log every tenth, and keep to the time limit. Raises an interrupt that a library caught."""
        if self.interrupts.stopped is not None:
            raise self.interrupts.stopped
        self.claim.check()
        self.show(stage, done, total, metrics)
        tenth = 10 * done // total if total else 0
        left = self.pace.left(stage, done, total)
        if self.logged.get(stage) != tenth:
            self.logged[stage] = tenth
            shown = " ".join(f"{name} {value:.4f}" for name, value in metrics.items())
            self.log(" ".join(part for part in (f"{stage} {done}/{total}", shown, left) if part))
        if self.job.time_limit is not None and time.monotonic() - self.began > self.job.time_limit:
            raise TimeLimit

    def log(self, line: str) -> None:
        """A line of log.txt."""
        append_log(self.run.folder, line)


def _curve(
    stage: str, losses: Sequence[float], validation: Sequence[Sequence[float]]
) -> list[tuple[str, int, str, float]]:
    rows = [(stage, step + 1, "loss", value) for step, value in enumerate(losses)]
    return rows + [(stage, int(step), "validation", value) for step, value in validation]
