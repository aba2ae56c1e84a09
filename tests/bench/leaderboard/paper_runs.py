"""Made-up records of the experiments of a paper: what their configurations look like, without composing them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from synthetic_runs import QUERIES, write_run

TITLES = {"gan": "MSGAN", "vae": "VAE"}


def values(
    iterations: int = 1000,
    epochs: int | None = 500,
    generator: str = "gan",
    floor: bool = False,
    precision: str = "float32",
    **method: Any,
) -> dict[str, Any]:
    """The parts of a resolved configuration that tables look at."""
    found: dict[str, Any] = {
        "budget": {"name": "paper", "meta_iterations": iterations, "generator_epochs": epochs, "evaluation_tasks": 40},
        "learner": {"card": {"title": "MAML"}, "eval_steps": 50},
        "method": {"noise_std": 0.5, "alpha": 0.2, "eps_sq": 0.0, "query_shift": 5, **method},
        "precision": precision,
    }
    if floor:
        found["method"]["card"] = {"group": "floor"}
    if epochs is not None:
        paper = {"paper_epochs": 500} if generator == "gan" else {}
        found["generator"] = {"card": {"title": TITLES[generator], **paper}}
    return found


def constant(accuracy: float, tasks: int = 40) -> dict[int, np.ndarray]:
    """Scores whose mean is known: two halves that are 3 queries above and below."""
    middle = round(accuracy * QUERIES)
    return {shot: np.array([middle + 3, middle - 3] * (tasks // 2)) for shot in (1, 5)}


def write_cell(out: Path, name: str, accuracy: float = 0.8, seed: int = 0, tasks: int = 40, **more: Any) -> Path:
    """One run. ``more`` goes to :func:`values` and, where it is known there, to ``write_run``."""
    known = ("status", "reason", "notes", "budget", "dataset", "shots", "group", "created", "manifests")
    run = {key: more.pop(key) for key in known if key in more}
    config = values(**more)
    budget = run.pop("budget", f"paper,{config['budget']['meta_iterations']},{config['budget']['generator_epochs']}")
    answers = constant(accuracy, tasks)
    return write_run(
        out,
        name,
        seed=seed,
        config=config,
        tasks=tasks,
        budget=budget,
        answers=answers,
        shots=run.pop("shots", (1,)),
        notes=run.pop("notes", {}),
        folder=f"{name},{budget}",
        **run,
    )
