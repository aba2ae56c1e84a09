"""How long runs took by the clock on the wall, what several of them rest on counted once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from bench.records.record import RunRecord

SHARED = ("generator", "encoder")


@dataclass(frozen=True, slots=True)
class Spent:
    """Seconds of one run."""

    own: float
    """Its own training, and the answers."""
    shared: Mapping[str, float] = field(default_factory=dict)
    """Key of a generator or an encoder that it rests on -> seconds of its training, whoever made it."""


def spent(record: RunRecord) -> Spent | None:
    """What a record says of it; None where it says nothing."""
    timings = {name: float(value) for name, value in record.timings.items()}
    if not timings:
        return None
    if not record.done and "fit" not in timings:
        return Spent(timings.get("total", 0.0))
    return Spent(timings.get("fit", 0.0) + timings.get("evaluate", 0.0), dict(_shared(record, timings)))


def _shared(record: RunRecord, timings: Mapping[str, float]) -> Iterable[tuple[str, float]]:
    noted = record.notes.get("artifacts")
    made = {str(kind): str(key) for kind, key in noted.items()} if isinstance(noted, Mapping) else {}
    for group in SHARED:
        if group not in timings:
            continue
        kinds = [kind for kind in made if kind.startswith("encoder") == (group == "encoder")]
        known = {kind: told for kind in kinds if (told := _told(record, kind)) is not None}
        rest = [kind for kind in kinds if kind not in known]
        yield from ((made[kind], seconds) for kind, seconds in known.items())
        # What is told of them together is the sum; of two that say nothing apart it stands under the name of both.
        left = timings[group] - sum(known.values())
        if rest or not kinds:
            yield "+".join(sorted(made[kind] for kind in rest)) or f"{group} of {record.key}", max(0.0, left)


def _told(record: RunRecord, kind: str) -> float | None:
    """Seconds of one artifact, as its training noted them under its own name: ``acai`` of ``encoder-acai``."""
    noted = record.notes.get(kind.removeprefix("encoder-"))
    seconds = noted.get("seconds") if isinstance(noted, Mapping) else None
    right = isinstance(seconds, int | float) and not isinstance(seconds, bool) and seconds >= 0
    return float(seconds) if right else None  # type: ignore[arg-type]


def in_all(runs: Iterable[Spent]) -> float:
    """Seconds of all of them, one after the other."""
    found = list(runs)
    shared = {key: seconds for one in found for key, seconds in one.shared.items()}
    return sum(one.own for one in found) + sum(shared.values())


def three_seeds(runs: Iterable[RunRecord]) -> float | None:
    """Seconds of the two further trainings of each of these runs, of which each is the only one of its row.

    A generator or an encoder is trained anew for each seed. None where a record does not say how long it took.
    """
    found = [spent(one) for one in runs]
    known = [one for one in found if one is not None]
    return 2 * in_all(known) if known and len(known) == len(found) else None
