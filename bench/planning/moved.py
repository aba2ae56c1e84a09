"""Where the modules of version 0.1 are now, for the error message of code that still imports them."""

from __future__ import annotations

MOVED = {
    "bench.allocator": "bench.basics.allocator",
    "bench.errors": "bench.basics.errors",
    "bench.files": "bench.basics.files",
    "bench.progress": "bench.basics.progress",
    "bench.seeds": "bench.basics.seeds",
    "bench.records": "bench.records.record",
    "bench.scores": "bench.records.scores",
    "bench.training": "bench.training.loop",
    "bench.checkpoint": "bench.training.checkpoint",
    "bench.artifacts": "bench.training.artifacts",
    "bench.catalogue": "bench.planning.catalogue",
    "bench.config": "bench.planning.composing",
    "bench.plan": "bench.planning.plan",
    "bench.embeddings": "bench.learners.embeddings",
    "bench.clustering": "bench.learners.clustering",
    "bench.pretrained": "bench.foreign.pretrained",
    "bench.session": "bench.running.session",
    "bench.run": "bench.running.run",
    "bench.evaluate": "bench.running.evaluate",
    "bench.executors": "bench.running.executors",
    "bench.showing": "bench.looking.task_sheet",
    "bench.inspection": "bench.looking.inspection",
}
"""Of those that became packages, such as ``bench.training``, the names moved into the module given."""


def hint(error: ImportError) -> str:
    """Where the module is that an import asked for in vain. Starts with a space; empty where that is not known."""
    new = MOVED.get(error.name or "")
    return f" {error.name} is {new} since version 0.2." if new else ""
