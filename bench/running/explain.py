"""``bench plan``: what a request would run, what is there already, and what its runs share."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

import yaml
from rich.table import Table
from rich.text import Text

from bench.basics.errors import BenchError
from bench.basics.keys import content_key
from bench.basics.precision import FLOAT32
from bench.contracts import TaskSpec
from bench.datasets.source import Dataset
from bench.planning import code, components
from bench.planning.plan import PlannedRun
from bench.running.outlook import Outlook
from bench.running.ways import unanswered
from bench.tasks.manifest import draw

MANY = 1000  # runs above which they are not folded into the width of the terminal


def explain(outlook: Outlook, settings: bool = False) -> Iterator[str | Table]:
    """Parts to print."""
    configs, dataset, runs, expected = outlook.configs, outlook.dataset, outlook.runs, outlook.expected
    yield from outlook.measured
    columns = ("run", "seed", "budget", "labels", "state", "minutes", "folder")
    rows = []
    for run, minutes in zip(runs, expected.minutes()):
        labels = "meta-train" if run.variant.supervised else "none"
        rows.append((run.name, str(run.seed), run.budget, labels, outlook.states[run.folder], minutes, str(run.folder)))
    yield _table(columns, rows) if len(rows) <= MANY else _aligned([columns, *rows])
    yield from unanswered(configs)
    yield from _codes(runs)
    yield from _precisions(runs)
    yield from _not_validated(dataset, runs)
    shared: dict[tuple[str, int], list[str]] = defaultdict(list)
    for run in runs:
        for group in components.artifact_groups(run.values):
            node = run.values[group]
            key = content_key(components.artifact_settings(group, run.values))[:8]
            name = str(node.get("card", {}).get("title", group))
            shared[f"{group} {name} ({key})", run.seed].append(run.name)
    for (name, seed), users in shared.items():
        yield f"{name}, seed {seed}: trained once for {', '.join(dict.fromkeys(users))}"
    for manifest in outlook.manifests:
        where = f"{dataset.name}/{manifest.split}"
        yield f"tasks: {manifest.tasks} of {manifest.spec}, {where}, SHA-256 {manifest.sha256[:16]}"
    yield f"{outlook.to_do} of {len(runs)} runs to do"
    yield from expected.in_all(outlook.request.out)
    yield from outlook.advice
    if settings:
        for one in configs:
            yield f"\n# {one.method_name}\n" + yaml.safe_dump(dict(one.values), sort_keys=False)


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=column == "minutes")
    for row in rows:
        table.add_row(*map(Text, row))  # names may look like markup
    return table


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    """One line a row, however wide: a table would take a second for a thousand of them to be folded."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def _codes(runs: Sequence[PlannedRun]) -> Iterator[str]:
    """Whose code stands in the keys of which runs."""
    users: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for run in runs:
        for node in run.values.values():
            if isinstance(node, Mapping) and code.CODE in node:
                package = str(node["_target_"]).partition(".")[0]
                users[package, str(node.get(code.DISTRIBUTION, "")), node[code.CODE][:8]].append(run.name)
    for (package, distribution, sha256), names in users.items():
        known = f" ({distribution})" if distribution else ""
        yield f"code of {package}{known}: {sha256}, in the keys of {', '.join(dict.fromkeys(names))}"


def _precisions(runs: Sequence[PlannedRun]) -> Iterator[str]:
    """In what the runs compute that do not in float32."""
    for precision in dict.fromkeys(run.values["precision"] for run in runs):
        if precision != FLOAT32:
            names = dict.fromkeys(run.name for run in runs if run.values["precision"] == precision)
            yield f"precision {precision} instead of {FLOAT32}: {', '.join(names)}"


def _not_validated(dataset: Dataset, runs: Sequence[PlannedRun]) -> Iterator[str]:
    """That ``budget.validate_every`` has no effect, where the classes of meta-validation are too few for it."""
    trained = [run.values for run in runs if "learner" in components.used_groups(run.values)]
    values = next((one for one in trained if one["budget"]["validate_every"]), None)
    if values is None:
        return
    try:
        spec = TaskSpec(values["way"], 1, values["train"]["query"])
        draw(dataset, "val", spec, values["budget"]["validation_tasks"], values["evaluation_seed"])
    except BenchError as error:
        every = values["budget"]["validate_every"]
        yield f"budget.validate_every={every} has no effect, there is no validation: {error}"
