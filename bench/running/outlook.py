"""What a request would run, found out without running it. For people: :mod:`bench.running.explain`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.basics.progress import Reporter
from bench.datasets.prepare import default_cache
from bench.datasets.source import Dataset
from bench.planning import code
from bench.planning.catalogue import RESERVED
from bench.planning.components import used_groups
from bench.planning.composing import RunConfig
from bench.planning.plan import PlannedRun, Request, planned_runs
from bench.planning.plan_file import PlanFile, Sealed, plan_for
from bench.planning.values import ways_of
from bench.records.record import RunRecord
from bench.running import seeds
from bench.running.estimate import duration, history_of
from bench.running.expected import Expected
from bench.running.inputs import draw_manifests, file_of, open_dataset
from bench.running.measuring import Measuring
from bench.running.session import checked, order, threads_of
from bench.running.ways import answered, unanswered
from bench.tasks.manifest import Manifest


@dataclass(frozen=True)
class Outlook:
    """states: of each run, by folder, a word of :meth:`bench.planning.plan.PlannedRun.status`. measured: sentences."""

    request: Request
    configs: Sequence[RunConfig]
    dataset: Dataset
    manifests: Sequence[Manifest]
    runs: Sequence[PlannedRun]
    states: Mapping[Path, str]
    expected: Expected
    measured: Sequence[str]
    advice: Sequence[str] = ()

    @property
    def to_do(self) -> int:
        """How many runs are not there yet."""
        return sum(state != "cached" for state in self.states.values())

    def plan(self) -> PlanFile:
        """What is to do of it, those first that train what others share."""
        todo = [run for run in self.runs if self.states[run.folder] != "cached"]
        seconds = {run.key: one for run, one in zip(self.runs, self.expected.seconds())}
        sealed = [Sealed(file_of(self.dataset, one), one.sha256, one.spec.way) for one in self.manifests]
        runs = [todo[index] for index in order(todo, workers=2)]
        return plan_for(
            self.request, self.runs[0].asked, runs, sealed, default_cache(), self.dataset.content_hash, seconds
        )


def look_ahead(request: Request, workers: int = 1, measure: bool = False) -> Outlook:
    """Prepares the dataset if need be and writes nothing to the output folder.

    workers: runs at a time, for how long all will take. measure: where no record tells that, run a few steps; nothing
    is trained otherwise.
    """
    configs = checked(request)
    first = configs[0].values
    with Reporter() as reporter:
        dataset = open_dataset(first, default_cache(), reporter)
    manifests = draw_manifests(dataset, first, first["shots"], answered(configs))
    runs = planned_runs(configs, dataset.content_hash, request.seeds, request.out, request.rerun)
    records: dict[Path, RunRecord] = {}
    states = {
        run.folder: run.status([one.sha256 for one in manifests if one.spec.way in ways_of(run.values)], records)
        for run in runs
    }
    specs = {one.sha256: one.spec for one in manifests}
    threads = threads_of(workers)
    history = history_of(request.out, dataset.content_hash, request.device, threads, records, request.elsewhere)
    measured: list[str] = []
    if measure:
        with Reporter() as reporter:
            measuring = Measuring(dataset, default_cache(), request.device, threads_of(workers), history, reporter)
            measured += measuring.measure(runs, specs)

    def expect(found: Sequence[PlannedRun], states: Mapping[Path, str]) -> Expected:
        durations = [duration(run, specs, history, states.get(run.folder)) for run in found]
        return Expected(found, durations, order(found, workers), workers)

    advice = []
    if len(request.seeds) == 1:
        two = [request.seeds[0] + 1, request.seeds[0] + 2]
        more = expect(planned_runs(configs, dataset.content_hash, two, request.out, request.rerun), {})
        advice = [said] if (said := seeds.planned(more, request.seeds)) else []
    return Outlook(request, configs, dataset, manifests, runs, states, expect(runs, states), measured, advice)


def document(outlook: Outlook) -> dict[str, Any]:
    """Plain values for ``bench plan --json``; minutes are None where nothing is known of them."""
    seconds = outlook.expected.seconds()
    return {
        "dataset": outlook.dataset.name,
        "content": outlook.dataset.content_hash,
        "tasks": [
            {
                "way": one.spec.way,
                "shot": one.spec.shot,
                "query": one.spec.query,
                "split": one.split,
                "tasks": one.tasks,
                "sha256": one.sha256,
            }
            for one in outlook.manifests
        ],
        "runs": [
            {
                "method": run.name,
                "title": run.title,
                "group": run.variant.group,
                "supervised": run.variant.supervised,
                "budget": run.budget,
                "seed": run.seed,
                "key": run.key,
                "folder": str(run.folder),
                "status": outlook.states[run.folder],
                "minutes": None if some is None else some / 60,
                "code": code.behind(run.values),
                "settings": _settings(run),
            }
            for run, some in zip(outlook.runs, seconds, strict=True)
        ],
        "to_do": outlook.to_do,
        "minutes": None if None in seconds else outlook.expected.total() / 60,
        "notes": [*unanswered(outlook.configs), *outlook.measured, *outlook.advice],
    }


def _settings(run: PlannedRun) -> dict[str, Any]:
    """What can be set: of the method, the components that it uses, the dataset, the budget, and of the tasks."""
    used = {"method", "dataset", *used_groups(run.values)}
    found: dict[str, Any] = {}
    for key, value in run.values.items():
        if not (isinstance(value, Mapping) and "_target_" in value):
            found[key] = value
        elif key in used:
            settings = {name: one for name, one in value.items() if name not in RESERVED}
            found[key] = {"_target_": value["_target_"], **settings}
    return found
