"""What a user reads at once: that a request was understood, in what it was asked and in what comes of it.

Imports no PyTorch, so that the first line stands there before that is loaded.
"""

from __future__ import annotations

from collections.abc import Sequence

import bench
from bench.planning.composing import RunConfig
from bench.planning.plan import Request
from bench.planning.values import ways_of


def asked(request: Request) -> str:
    """``bench 0.2.0: methods umtra,lasium, budget smoke, seed 0; records in runs``: nothing has been looked up yet."""
    said = [
        f"{word} {value}"
        for word, value in (
            ("experiment", request.experiment),
            ("methods", request.methods),
            ("dataset", request.dataset),
            ("budget", request.budget),
        )
        if value
    ]
    said += request.overrides
    return f"bench {bench.__version__}: {', '.join([*said, _seeds(request.seeds)])}; records in {request.out}"


def understood(configs: Sequence[RunConfig], seeds: Sequence[int], device: str, threads: int) -> str:
    """``8 runs of 4 methods on glyphs, 5-way 1- and 5-shot, budget quick, seeds 0 to 1, on cpu (2 threads)``.

    configs: at least one. threads: of each run.
    """
    names = dict.fromkeys(one.method_name for one in configs)
    runs = len(configs) * len(seeds)
    ways = sorted({way for one in configs for way in ways_of(one.values)})
    shots = [f"{shot}-" for shot in configs[0].values["shots"]]
    budgets = list(dict.fromkeys(one.budget_name for one in configs))
    parts = (
        f"{_several(runs, 'run')} of {_several(len(names), 'method')} on {configs[0].dataset_name}",
        f"{_listed([f'{way}-' for way in ways])}way {_listed(shots)}shot",
        f"budget{'s' if len(budgets) > 1 else ''} {', '.join(budgets)}",
        _seeds(seeds),
        f"on {device} ({_several(threads, 'thread')})" if device == "cpu" else f"on {device}",
    )
    return ", ".join(parts)


def _several(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"


def _listed(parts: Sequence[str]) -> str:
    """``1-``; ``1- and 5-``; ``1-, 5- and 20-``, before the word that they share."""
    *first, last = parts
    return f"{', '.join(first)} and {last}" if first else last


def _seeds(seeds: Sequence[int]) -> str:
    if len(seeds) == 1:
        return f"seed {seeds[0]}"
    together = list(seeds) == list(range(seeds[0], seeds[0] + len(seeds)))
    return f"seeds {seeds[0]} to {seeds[-1]}" if together else f"seeds {', '.join(map(str, seeds))}"
