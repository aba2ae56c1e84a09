"""bench: the benchmark for unsupervised meta-learning.

Unlabelled images go in, a few-shot learner comes out, and every learner answers the same sealed tasks.

As a library, see bench/README.md: :func:`tasks` (also under the name ``sealed_tasks``), :func:`score`, :func:`compare`,
:func:`unlabelled`, :func:`load_run`, :func:`run`, :func:`results`. Each is imported when it is first asked for,
PyTorch with it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.basics.errors import BenchError
    from bench.library.finished import FinishedRun, Results, load_run, results, run
    from bench.library.scoring import Score, compare, score
    from bench.library.sealed import SealedTasks, Task, sealed_tasks, unlabelled
    from bench.library.sealed import sealed_tasks as tasks

__version__ = "0.2.0"

__all__ = [
    "BenchError",
    "FinishedRun",
    "Results",
    "Score",
    "SealedTasks",
    "Task",
    "compare",
    "load_run",
    "results",
    "run",
    "score",
    "sealed_tasks",
    "tasks",
    "unlabelled",
]

_HOMES = {
    "bench.basics.errors": ("BenchError",),
    "bench.library.finished": ("FinishedRun", "Results", "load_run", "results", "run"),
    "bench.library.scoring": ("Score", "compare", "score"),
    "bench.library.sealed": ("SealedTasks", "Task", "sealed_tasks", "unlabelled"),
}


def __getattr__(name: str) -> Any:
    if name == "tasks":  # a room of this package, which can be called
        return import_module("bench.tasks")
    home = next((home for home, names in _HOMES.items() if name in names), None)
    if home is None:
        raise AttributeError(f"module 'bench' has no attribute {name!r}")
    return getattr(import_module(home), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
