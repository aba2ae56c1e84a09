"""What the process holds that commands are forked from: all that most of them import."""

import contextlib
import gc
import importlib

MODULES = (
    *("bench.cli.entry", "bench.running.session", "bench.running.expected", "bench.running.seeds"),
    *("bench.reporting.report", "bench.reporting.comparisons", "bench.leaderboard.gate"),
    *("hydra", "hydra.core.global_hydra", "matplotlib.font_manager", "scipy.stats", "torch._dynamo", "typer._adapters"),
)

for name in MODULES:
    with contextlib.suppress(ImportError):  # another version of a library may lack one, and is only slower
        importlib.import_module(name)
# A run collects garbage before it counts its memory; what is imported here is none.
gc.collect()
gc.freeze()
