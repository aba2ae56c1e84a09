"""How long runs will take, by the records of runs like them, and how long all of them will on several workers.

A record counts where dataset and device are the same and so is what costs time: of a component's settings those that
are words, switches and whole numbers. Rates and weights cost none, so that a record with another learning rate serves.
"""

from __future__ import annotations

import heapq
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from bench.basics.errors import BenchError
from bench.planning import alike, components
from bench.planning.alike import Shape
from bench.records.record import RunRecord

LEAST_APART = 1.5  # two lengths nearer to each other than this say nothing of what is the same at every length


@dataclass(frozen=True, slots=True)
class Shared:
    """A training that several runs may rest on; equal keys are one. seconds: None where no record tells."""

    key: str
    seconds: float | None


@dataclass(frozen=True, slots=True)
class Duration:
    """Seconds of the parts of a run, in the order in which they come; None where no record tells."""

    shared: tuple[Shared, ...] = ()
    fit: float | None = 0.0
    evaluate: tuple[float | None, ...] = ()
    """Of each task list."""
    validate: float = 0.0
    """Looks at the meta-validation tasks, while it is fitted."""
    rest: float = 0.0
    """Opening the dataset, writing files."""
    sources: frozenset[str] = frozenset()
    """The records it was estimated from."""

    @property
    def known(self) -> bool:
        """Whether every part is."""
        return None not in (self.fit, *self.evaluate, *(one.seconds for one in self.shared))

    @property
    def own(self) -> float:
        """Seconds of what it shares with no other run, as far as they are known."""
        return (self.fit or 0.0) + sum(one or 0.0 for one in self.evaluate) + self.validate + self.rest


@dataclass(frozen=True, slots=True)
class Made:
    """What a run took from the artifact store. epochs: None for what is not trained in epochs, such as clusters."""

    group: str
    epochs: int | None
    seconds: float
    grows: bool = False
    """Whether a shorter training is the beginning of a longer one."""
    there: bool = True
    """Whether it is still in the store."""


@dataclass(frozen=True, slots=True)
class _Sample:
    """One part of one run. length: epochs, meta-iterations, work of answering; None where the part has none."""

    length: float | None
    seconds: float
    settings: Mapping[str, Any]
    threads: int | None
    source: str


@dataclass
class History:
    """What is known of the durations of runs on one dataset and one device.

    dataset: its content hash. device: as a record's environment has it. threads: those that the runs to come will have.
    """

    dataset: str
    device: str
    threads: int | None = None
    there: set[str] = field(default_factory=set)
    """Keys of shared trainings that are finished."""
    _samples: dict[str, list[_Sample]] = field(default_factory=lambda: defaultdict(list))
    _deriving: set[str] = field(default_factory=set)
    """Of methods that make something from a trained encoder, such as clusters."""
    _growing: set[str] = field(default_factory=set)
    """Parts of which a shorter training is the beginning of a longer one."""
    _settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Each once, however many records have the same: seeds of a row differ in nothing here."""
    _answers: dict[tuple[str, float | None, str], tuple[float | None, set[str]]] = field(default_factory=dict)
    """What was asked already; seeds of a row ask the same."""

    def add(self, record: RunRecord, made: Sequence[Made], source: str, trained: bool = True) -> None:
        """Learn from a finished run; from one of another dataset or device, or that makes no sense, nothing.

        trained: whether its learner was, so that its time grows with the meta-iterations.
        """
        if not record.done or record.dataset_hash != self.dataset or record.environment.get("device") != self.device:
            return
        try:
            self._add(record, made, source, trained)
        except (BenchError, KeyError, TypeError, ValueError, AttributeError):
            return  # of a version whose configurations looked otherwise

    def add_training(
        self, values: Mapping[str, Any], made: Made, seed: int, source: str, threads: int | None = None
    ) -> None:
        """Learn from one training of a generator or encoder."""
        if made.epochs is None:
            self._note(alike.derived_part(values), None, made.seconds, values, source, threads)
            self._deriving.add(alike.deriving(values))
        else:
            part = alike.trained_part(values, made.group)
            self._note(part, made.epochs, made.seconds, values, source, threads, grows=made.grows)
        if made.there:
            self.there.add(alike.identity(values, made.group if made.epochs is not None else "", made.epochs, seed))

    def _add(self, record: RunRecord, made: Sequence[Made], source: str, trained: bool) -> None:
        values, timings = {**record.config, "precision": record.precision}, record.timings
        threads = record.environment.get("threads")
        for one in made:
            if one.epochs != 0:
                self.add_training(values, one, record.seed, source, threads)
        spent = sum(one.seconds for one in made)
        unit = 0.0
        for answered in record.evaluations:
            shape = Shape(answered.way, answered.shot, answered.query)
            work, seconds = answered.tasks * alike.work(values, shape), answered.seconds
            self._note(alike.evaluate_part(values), work, seconds, values, source, threads, more=shape._asdict())
            unit = seconds / work
        fit, total = float(timings.get("fit", 0.0)), float(timings.get("total", 0.0))
        length = values["budget"]["meta_iterations"] if trained and alike.has_learner(values) else None
        key = alike.fit_part(values, record.method.family, record.method.supervised)
        if length != 0:
            self._note(key, length, fit, values, source, threads)
        rest = total - fit - float(timings.get("evaluate", 0.0))
        rest -= spent if rest >= spent else 0.0  # else another run had trained it
        looked = unit * alike.validation(values)
        rest -= looked if rest >= looked else 0.0  # else there were too few classes to validate on
        self._note(f"rest {key}", None, max(0.0, rest), values, source, threads)

    def duration(
        self,
        values: Mapping[str, Any],
        family: str,
        supervised: bool,
        seed: int,
        shapes: Iterable[Shape],
        trained: float = 0.0,
    ) -> Duration:
        """Of a run that answers ``budget.evaluation_tasks`` tasks of every shape.

        trained: how much of the learner is, in [0, 1]; at 1 nothing but the answers is to do.
        """
        sources: set[str] = set()

        def told(key: str, length: float | None, more: Mapping[str, Any] | None = None) -> float | None:
            return self._told(key, length, values, sources, more)

        budget = values["budget"]
        part, tasks = alike.evaluate_part(values), budget["evaluation_tasks"]
        evaluate = tuple(told(part, tasks * alike.work(values, one), one._asdict()) for one in shapes)
        if trained == 1.0:
            return Duration(evaluate=evaluate, sources=frozenset(sources))
        shared = [self._shared(values, group, seed, sources) for group in components.artifact_groups(values)]
        if alike.deriving(values) in self._deriving:
            shared.append(self._shared(values, "", seed, sources))
        key = alike.fit_part(values, family, supervised)
        length = budget["meta_iterations"] if alike.has_learner(values) else None
        fit = 0.0 if length == 0 else told(key, length)
        looked = (told(part, alike.validation(values), {"shot": 1}) or 0.0) if alike.validation(values) else 0.0
        todo = 1.0 - trained
        return Duration(
            tuple(shared),
            fit=None if fit is None else todo * fit,
            evaluate=evaluate,
            validate=todo * looked,
            rest=told(f"rest {key}", None) or 0.0,
            sources=frozenset(sources),
        )

    def _shared(self, values: Mapping[str, Any], group: str, seed: int, sources: set[str]) -> Shared:
        """Of a group, or, where that is empty, of what is derived from the encoder."""
        epochs = values["budget"][f"{group}_epochs"] if group else None
        mine = alike.identity(values, group, epochs, seed)
        if mine in self.there or epochs == 0:
            return Shared(mine, 0.0)
        part = alike.trained_part(values, group) if group else alike.derived_part(values)
        seconds = self._told(part, epochs, values, sources)
        return Shared(alike.identity(values, group, None, seed) if part in self._growing else mine, seconds)

    def _note(
        self,
        key: str,
        length: float | None,
        seconds: float,
        values: Mapping[str, Any],
        source: str,
        threads: int | None,
        grows: bool = False,
        more: Mapping[str, Any] | None = None,
    ) -> None:
        settings = {**alike.flat(values), **(more or {})}
        settings = self._settings.setdefault(_written(settings), settings)
        self._samples[key].append(_Sample(length, seconds, settings, threads, source))
        self._answers.clear()
        if grows:
            self._growing.add(key)

    def _told(
        self,
        key: str,
        length: float | None,
        values: Mapping[str, Any],
        sources: set[str],
        more: Mapping[str, Any] | None = None,
    ) -> float | None:
        """By the closest records: as many threads, then fewest settings apart, then nearest length."""
        samples = self._samples.get(key)
        if not samples:
            return None
        wanted = {**alike.flat(values), **(more or {})}
        asked = key, length, _written(wanted)
        if asked not in self._answers:
            best = self._closest(samples, wanted)
            seconds = median(one.seconds for one in best) if length is None else _at(length, best)
            self._answers[asked] = seconds, {one.source for one in best}
        sources |= self._answers[asked][1]
        return self._answers[asked][0]

    def _closest(self, samples: Sequence[_Sample], wanted: Mapping[str, Any]) -> list[_Sample]:
        far: dict[tuple[int, int | None], tuple[bool, int]] = {}
        for one in samples:
            if (what := (id(one.settings), one.threads)) not in far:
                differing = sum(one.settings.get(name) != value for name, value in wanted.items())
                far[what] = (None not in (one.threads, self.threads) and one.threads != self.threads, differing)
        least = min(far.values())
        return [one for one in samples if far[id(one.settings), one.threads] == least]


def schedule(
    durations: Sequence[Duration], workers: int = 1, trained: Mapping[str, float] | None = None
) -> tuple[list[float], float]:
    """(seconds that each run works, seconds until all are done), the runs taken in this order by whoever is free.

    What is shared is trained by the first that comes to it; the others wait for it. trained: key -> seconds of it that
    are behind us. Unknown parts count as nothing.
    """
    free = [0.0] * max(1, workers)
    ready = {key: (seconds, 0.0) for key, seconds in (trained or {}).items()}  # (seconds trained, when that is so)
    works = []
    for one in durations:
        now, waited = (began := heapq.heappop(free)), 0.0
        for part in one.shared:
            have, there = ready.get(part.key, (0.0, 0.0))
            waited += max(0.0, there - now)
            now = max(now, there) + max(0.0, (part.seconds or 0.0) - have)
            ready[part.key] = (max(have, part.seconds or 0.0), now)
        now += one.own
        works.append(now - began - waited)
        heapq.heappush(free, now)
    return works, max(free)


def _written(settings: Mapping[str, Any]) -> str:
    return repr(sorted(settings.items(), key=lambda item: item[0]))


def _at(length: float, samples: Sequence[_Sample]) -> float:
    """Seconds at a length: proportional, or where there are two lengths, on the line through them."""
    by_length: dict[float, list[float]] = defaultdict(list)
    for one in samples:
        by_length[one.length or 0.0].append(one.seconds)
    if set(by_length) == {0.0}:  # nothing in it grows with the length
        return median(by_length[0.0])
    points = sorted((at, median(seconds)) for at, seconds in by_length.items() if at)
    near = min(points, key=lambda point: abs(math.log(point[0] / length)))
    apart = [point for point in points if max(point[0], near[0]) >= LEAST_APART * min(point[0], near[0])]
    if apart:
        other = max(apart, key=lambda point: abs(math.log(point[0] / near[0])))
        slope = (near[1] - other[1]) / (near[0] - other[0])
        if slope > 0 and near[1] >= slope * near[0]:
            return near[1] + slope * (length - near[0])
    return near[1] * length / near[0]
