"""``bench conform``: does a method, or a component, keep the contracts?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.basics.errors import BenchError
from bench.cli import completing, documents
from bench.cli.app import DataDir, DatasetOption, Methods, app
from bench.cli.asking import console, say, sorted_out, there
from bench.cli.documents import Json

if TYPE_CHECKING:
    from bench.checks.finding import Finding
    from bench.conform.kit import Verdict

GROUPS = ("method", "generator", "encoder", "learner", "backbone", "views", "dataset")
MOST_TABLES = 3


@app.command()
def conform(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="METHODS|SETTINGS",
            help="Methods, or options of --group; and settings: generator.path=my.pt2.",
            autocompletion=completing.of_group(),
        ),
    ] = None,
    methods: Methods = None,
    everything: Annotated[bool, typer.Option("--all", help="All methods, or all options of --group.")] = False,
    group: Annotated[
        str,
        typer.Option(
            help="method, generator, encoder, learner, backbone, views or dataset.",
            autocompletion=completing.words(*GROUPS),
        ),
    ] = "method",
    dataset: DatasetOption = None,
    time_limit: Annotated[float, typer.Option(min=0.01, help="Minutes for each of them.")] = 5.0,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Check that methods keep the contracts, on a miniature of a few images, in a process of their own.

    Labels, order of the queries, other tasks, seeds, shapes, resuming, what is left behind in the process: a table of
    what was demanded, and for each fault one sentence that says what to do. Exit code 1 where there is a fault.

    Examples:

      bench conform umtra-maml

      bench conform lasium-ro-file-maml generator.path=my.pt2

      bench conform --group encoder acai

      bench conform umtra lasium --json

      bench conform --all
    """
    from bench.basics.progress import Reporter
    from bench.conform.kit import conform as verdicts
    from bench.conform.subject import Subject, chosen
    from bench.datasets.prepare import default_cache

    if group == "method":
        named, given = sorted_out(words, methods)
        asked, settings = [one.strip() for one in (named or "").split(",") if one.strip()], tuple(given)
    else:
        if methods is not None:
            raise BenchError(f"--methods names methods, and --group {group} is asked for; name its options without it")
        settings = tuple(word for word in words or () if "=" in word)
        asked = [word for word in words or () if "=" not in word]
    if everything == bool(asked):
        raise BenchError("name what to check, for example 'bench conform umtra-maml', or give --all, not both")
    on, folder = dataset or "glyphs", there(data_dir)
    able, unable = chosen(group, asked, on, settings)
    subjects = [
        Subject(group, name, on, settings, None if folder is None else str(folder), default_cache()) for name in able
    ]
    found = []
    with Reporter() as reporter:
        for verdict in verdicts(subjects, 60 * time_limit, reporter):
            found.append(verdict)
            if not as_json:
                _show(verdict, whole=len(subjects) <= MOST_TABLES)
    wrong = [one.subject.title for one in found if one.faults]
    if as_json:
        documents.write({"subjects": [_document(one) for one in found], "left_out": unable})
    else:
        _summary(found, wrong, unable)
    if wrong:
        raise typer.Exit(1)


def _summary(found: Sequence[Verdict], wrong: Sequence[str], unable: Sequence[str]) -> None:
    if len(unable) > MOST_TABLES:
        say(f"left out: {len(unable)} that need something of your own, for example {unable[0]}")
    else:
        for one in unable:
            say(f"left out: {one}")
    say(f"{len(found) - len(wrong)} of {len(found)} conform" + (f"; not {', '.join(wrong)}" if wrong else ""))


def _document(verdict: Verdict) -> dict[str, Any]:
    checks = [
        {"name": one.name, "state": _state(one), "demands": one.demands, "said": one.fault or one.told}
        for one in verdict.findings
    ]
    subject = verdict.subject
    return {
        "group": subject.group,
        "name": subject.name,
        "dataset": subject.dataset,
        "settings": subject.overrides,
        "conforms": not verdict.faults,
        "checks": checks,
    }


def _state(one: Finding) -> str:
    return "fail" if one.fault else "told" if one.told else "pass"


def _show(verdict: Verdict, whole: bool) -> None:
    """A table of everything, or of the faults alone."""
    from rich.table import Table
    from rich.text import Text

    shown = verdict.findings if whole else verdict.faults
    if not shown:
        return
    table = Table(title=Text(verdict.subject.title), box=None, pad_edge=False, title_justify="left")
    table.add_column("check", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("what is demanded, and why it fails", overflow="fold")
    for one in shown:
        state = _state(one).replace("fail", "FAIL")
        table.add_row(*map(Text, (one.name, state, one.fault or one.told or one.demands)))
    console().print(table)
