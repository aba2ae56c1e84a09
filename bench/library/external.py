"""Scores of what was trained elsewhere, kept as records like those of runs, so that a board shows them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bench.basics.claims import Claim
from bench.basics.errors import BenchError, did_you_mean
from bench.basics.keys import content_key
from bench.basics.side import OUTSIDE_DATA, OUTSIDE_LABELS, SIDE, TRANSDUCTION, UNDECLARED, ordered
from bench.planning import catalogue, naming
from bench.records.record import Evaluation, MethodCard, RunRecord, folder_name, read_record, write_record
from bench.records.scores import read_scores, scores_digest

if TYPE_CHECKING:
    from bench.library.scoring import Score

BUDGET = "external"
"""What stands where runs of the harness have the name of their budget."""
MOST_LETTERS = 80


@dataclass(frozen=True, slots=True)
class Declared:
    """What its author says of it, see :meth:`bench.library.scoring.Score.save`."""

    method: str
    title: str
    cite: str
    supervised: bool
    side: tuple[str, ...]
    transductive: bool | None
    meta_iterations: int | None
    seed: int


def save(score: Score, out: Path, declared: Declared) -> Path:
    """Write the record, or put the score into the one that is there; returns its folder."""
    _check(declared)
    if score.fault is not None:
        raise BenchError(f"such a score cannot stand on a board: {score.fault}")
    if out.exists() and not out.is_dir():
        raise BenchError(f"{out} is a file; give a folder")
    key = content_key(
        {"external": declared.method, "dataset": score.content_hash, "seed": declared.seed, "name": score.dataset}
    )
    folder = naming.folder(out, (score.dataset, declared.method)) / folder_name(declared.seed, key)
    try:
        with Claim.take(folder / ".claim") as claim:
            _write(folder, key, score, declared, claim)
    except OSError as error:
        raise BenchError(f"cannot write to {folder}: {error.strerror or error}") from error
    return folder


def _check(declared: Declared) -> None:
    name = declared.method
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name) or len(name) > MOST_LETTERS:
        raise BenchError(
            f"method must have letters, digits, '.', '_' and '-' only, at most {MOST_LETTERS}, not {name!r}; what "
            "people read is the title"
        )
    if name in catalogue.variants() or name in catalogue.options("method"):
        raise BenchError(f"{name!r} is a method of 'bench list methods'; give yours another name, such as my-{name}")
    for what, value in (("seed", declared.seed), ("meta_iterations", declared.meta_iterations)):
        whole = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63
        if not whole and not (what == "meta_iterations" and value is None):
            raise BenchError(f"{what} must be a whole number of at least 0, not {value!r}")
    for what in ("supervised", "transductive"):
        value = getattr(declared, what)
        if not isinstance(value, bool) and not (what == "transductive" and value is None):
            raise BenchError(f"{what} must be True or False, not {value!r}")
    for what in ("title", "cite"):
        if not isinstance(getattr(declared, what), str):
            raise BenchError(f"{what} must be a text, not {getattr(declared, what)!r}")
    known = [word for word in SIDE if word != UNDECLARED]
    for word in declared.side:
        if word not in known:
            raise BenchError(
                f"there is no side information {word!r}.{did_you_mean(str(word), known)} There are {', '.join(known)}"
            )
    if declared.transductive is False and TRANSDUCTION in declared.side:
        raise BenchError(f"transductive=False and side={TRANSDUCTION!r} contradict each other; leave one out")


def _write(folder: Path, key: str, score: Score, declared: Declared, claim: Claim) -> None:
    kept = read_record(folder) if (folder / "run.json").exists() else None
    earlier = () if kept is None else tuple(one for one in kept.evaluations if one.manifest != score.manifest)
    tables = [_table(score)]
    if kept is not None and earlier:
        rest = read_scores(folder, kept)
        tables.append(rest.filter(pc.not_equal(rest["manifest"], score.manifest)))
    scores = pa.concat_tables(tables)
    spec = score.spec
    own = Evaluation(
        manifest=score.manifest,
        split=score.split,
        way=spec.way,
        shot=spec.shot,
        query=spec.query,
        tasks=len(score.total),
        accuracy=score.mean,
        ci95=score.interval or 0.0,
        seconds=round(score.seconds, 3),
    )
    evaluations = sorted((*earlier, own), key=lambda one: (one.way, one.shot, one.manifest))
    record = RunRecord(
        key=key,
        status="done",
        reason=None,
        method=_card(score, declared, kept),
        dataset=score.dataset,
        dataset_hash=score.content_hash,
        seed=declared.seed,
        budget=BUDGET,
        config=_config(score, declared),
        evaluations=tuple(evaluations),
        timings={"evaluate": round(sum(one.seconds for one in evaluations), 3)},
        environment=score.environment,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        scores=scores_digest(scores),
    )
    with claim.replacing(folder / "tasks.parquet") as temporary:
        pq.write_table(scores, temporary)
    write_record(folder, record, claim.replacing)


def _card(score: Score, declared: Declared, kept: RunRecord | None) -> MethodCard:
    transductive = score.transductive if declared.transductive is None else declared.transductive
    if TRANSDUCTION in declared.side:
        transductive = True
    if declared.transductive is None and kept is not None and kept.method.transductive:
        transductive = True  # on other tasks it was
    side = {*declared.side} - {TRANSDUCTION} | ({TRANSDUCTION} if transductive else set())
    if OUTSIDE_LABELS in side:
        side.add(OUTSIDE_DATA)
    group = "ceiling" if declared.supervised else "transfer" if OUTSIDE_LABELS in side else "unsupervised"
    return MethodCard(
        name=declared.method,
        family=declared.method,
        title=f"{declared.title} (external)",
        group=group,
        supervised=declared.supervised,
        transductive=transductive,
        outside_data=OUTSIDE_DATA in side,
        cite=declared.cite,
        side=ordered(side),
    )


def _config(score: Score, declared: Declared) -> dict[str, Any]:
    """A length of training stands in it only where it was told: what is not known is not made up."""
    told = declared.meta_iterations
    length = {} if told is None else {"budget": {"name": BUDGET, "meta_iterations": told}}
    dataset = {"dataset": {"card": dict(score.card)}} if score.card else {}  # licence and source, for the board
    return {"external": True, "evaluation_seed": score.evaluation_seed, **dataset, **length}


def _table(score: Score) -> pa.Table:
    count = len(score.total)
    return pa.table(
        {
            "manifest": [score.manifest] * count,
            "shot": np.full(count, score.spec.shot, dtype=np.int32),
            "task": np.arange(count, dtype=np.int32),
            "correct": score.correct.astype(np.int32),
            "total": score.total.astype(np.int32),
        }
    )
