"""Run folders with made-up scores, written through bench.records.record as real runs are."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from bench.basics.files import read_json, write_json
from bench.records.record import Evaluation, MethodCard, RunRecord, write_record
from bench.records.scores import scores_digest
from bench.records.seal import sealed

QUERIES = 75
LENGTHS = {"quick": 1000, "long": 5000}
"""Meta-iterations of made-up budgets."""


def manifest_hash(*parts: object) -> str:
    return hashlib.sha256("/".join(map(str, parts)).encode()).hexdigest()


def task_difficulty(manifest: str, tasks: int) -> np.ndarray:
    """The same for every method: what pairing by task takes out."""
    return np.random.default_rng(int(manifest[:8], 16)).normal(0, 0.08, tasks)


def correct_answers(level: float, manifest: str, tasks: int, rng: np.random.Generator) -> np.ndarray:
    probability = np.clip(level + task_difficulty(manifest, tasks), 0.02, 0.98)
    return rng.binomial(QUERIES, probability)


def of_omniglot(**config: Any) -> dict[str, Any]:
    """A configuration whose images are those of Omniglot."""
    return {"dataset": {"_target_": "bench.datasets.omniglot.Omniglot"}, **config}


def _on(dataset: str, config: Mapping[str, Any]) -> Mapping[str, Any]:
    return of_omniglot(**config) if dataset.partition(",")[0] == "omniglot" else config


def write_run(
    out: Path,
    method: str = "alpha-one",
    level: float = 0.8,
    seed: int = 0,
    *,
    title: str | None = None,
    group: str = "unsupervised",
    dataset: str = "omniglot",
    budget: str = "quick",
    ways: tuple[int, ...] = (5,),
    shots: tuple[int, ...] = (1, 5),
    tasks: int = 200,
    status: str = "done",
    reason: str | None = None,
    config: Mapping[str, Any] | None = None,
    manifests: Mapping[int, str] | None = None,
    key: str | None = None,
    created: str = "2026-01-01T00:00:00+00:00",
    curve: int = 0,
    answers: Mapping[int, np.ndarray] | None = None,
    folder: str | None = None,
    notes: Mapping[str, Any] | None = None,
    **card: Any,
) -> Path:
    """One run; its accuracy at 5 shots is 0.1 above ``level``."""
    key = key or manifest_hash(method, seed, budget, sorted((config or {}).items()))
    key = key if len(key) == 64 else manifest_hash(key)
    path = out / dataset / (folder or method) / f"{seed}-{key[:8]}"
    path.mkdir(parents=True)
    rng = np.random.default_rng(int(manifest_hash(method, budget, seed)[:8], 16))
    evaluations, frames = [], []
    if status == "done":
        for way, shot in ((way, shot) for way in ways for shot in shots):
            shape = (dataset, shot, tasks) if way == 5 else (dataset, way, shot, tasks)
            manifest = (manifests or {}).get(shot) or manifest_hash(*shape)
            correct = (answers or {}).get(shot)
            if correct is None:
                correct = correct_answers(level + 0.1 * (shot > 1), manifest, tasks, rng)
            accuracy = correct / QUERIES
            interval = float(1.96 * accuracy.std() / np.sqrt(len(correct)))
            evaluations.append(
                Evaluation(manifest, "test", way, shot, 15, len(correct), float(accuracy.mean()), interval, 1.5)
            )
            frames.append(
                pd.DataFrame(
                    {
                        "manifest": manifest,
                        "shot": np.int32(shot),
                        "task": np.arange(len(correct), dtype=np.int32),
                        "correct": correct.astype(np.int32),
                        "total": np.int32(QUERIES),
                    }
                )
            )
        if frames:
            pd.concat(frames, ignore_index=True).to_parquet(path / "tasks.parquet", index=False)
    scores = scores_digest(pa.Table.from_pandas(pd.concat(frames, ignore_index=True))) if frames else ""
    if curve:
        steps = np.arange(1, curve + 1)
        loss = 1.6 * np.exp(-steps / (curve / 3)) + 0.2 + 0.05 * rng.standard_normal(curve)
        looks = steps[9::10]
        validation = level - 0.4 * np.exp(-looks / (curve / 4)) + 0.01 * rng.standard_normal(len(looks))
        parts = [("meta-train", steps, "loss", loss), ("meta-train", looks, "validation", validation)]
        parts.append(("generator-x", steps, "loss", 5 + loss))
        pd.concat([pd.DataFrame({"stage": s, "step": x, "name": n, "value": v}) for s, x, n, v in parts]).to_parquet(
            path / "train.parquet", index=False
        )
    write_record(
        path,
        RunRecord(
            key=key,
            status=status,  # type: ignore[arg-type]
            reason=reason,
            method=MethodCard(
                name=method,
                family=method.split("-")[0],
                title=method.upper() if title is None else title,
                group=group,
                **{"supervised": group == "ceiling", "transductive": False, "side": (), **card},
            ),
            dataset=dataset,
            dataset_hash=manifest_hash(dataset),
            seed=seed,
            budget=budget,
            config=_on(
                dataset,
                config
                or {
                    "budget": {"name": budget, "meta_iterations": LENGTHS.get(budget, 1000)},
                    "method": {"alpha": 0.2},
                },
            ),
            evaluations=tuple(evaluations),
            timings={"generator": 100.0, "fit": 50.0 + seed, "total": 200.0},
            peak_memory_mib=512.0 + seed,
            notes={"artifacts": {"generator-x": "k"}} if notes is None else notes,
            created=created,
            scores=scores,
        ),
    )
    return path


def edit_record(path: Path, **changes: Any) -> None:
    """Change fields of ``run.json`` as if it had been written so: with a seal that fits."""
    write_json(path / "run.json", sealed({**read_json(path / "run.json"), **changes}))


def write_example(out: Path, curve: int = 0, unfinished: bool = True) -> None:
    """Two datasets, three groups, several seeds, two budgets, failures: something of everything."""
    for seed in range(3):
        for method, level in (("alpha-one", 0.60), ("alpha-two", 0.601), ("beta", 0.50), ("gamma", 0.45)):
            shift = 0.01 * np.random.default_rng(seed).standard_normal()
            write_run(out, method, level + shift, seed, curve=curve)
        write_run(out, "ceiling-one", 0.75, seed, group="ceiling", curve=curve, transductive=True)
    write_run(out, "floor-one", 0.25, 0, group="floor", title="Floor one")
    write_run(out, "beta", 0.55, 0, budget="long", curve=curve)
    write_run(out, "beta", 0.55, 0, dataset="glyphs", outside_data=True)
    if not unfinished:
        return
    write_run(out, "gamma", seed=3, status="diverged", reason="loss became non-finite at step 17")
    write_run(out, "delta", seed=0, status="out-of-memory", reason="cuda: out of memory")
