"""``bench conform``: does a method, or a component, keep the contracts?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from bench.basics.errors import BenchError
from bench.cli.app import DataDir, DatasetOption, app
from bench.cli.asking import console, say, there

if TYPE_CHECKING:
    from bench.conform.kit import Verdict

MOST_TABLES = 3


@app.command()
def conform(
    names: Annotated[
        list[str] | None, typer.Argument(help="Methods, or options of --group; and settings: generator.path=my.pt2.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All methods, or all options of --group.")] = False,
    group: Annotated[
        str, typer.Option(help="method, generator, encoder, learner, backbone, views or dataset.")
    ] = "method",
    dataset: DatasetOption = None,
    time_limit: Annotated[float, typer.Option(min=0.01, help="Minutes for each of them.")] = 5.0,
    data_dir: DataDir = None,
) -> None:
    """Check that methods keep the contracts, on a miniature of a few images, in a process of their own.

    Labels, order of the queries, other tasks, seeds, shapes, resuming, what is left behind in the process: a table of
    what was demanded, and for each fault one sentence that says what to do. Exit code 1 where there is a fault.

    Examples:

      bench conform umtra-maml

      bench conform lasium-ro-file-maml generator.path=my.pt2

      bench conform --group encoder acai

      bench conform --all
    """
    from bench.basics.progress import Reporter
    from bench.conform.kit import conform as verdicts
    from bench.conform.subject import Subject, chosen
    from bench.datasets.prepare import default_cache

    words = names or []
    settings = tuple(word for word in words if "=" in word)
    asked = [word for word in words if "=" not in word]
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
            _show(verdict, whole=len(subjects) <= MOST_TABLES)
    if len(unable) > MOST_TABLES:
        say(f"left out: {len(unable)} that need something of your own, for example {unable[0]}")
    else:
        for one in unable:
            say(f"left out: {one}")
    wrong = [one.subject.title for one in found if one.faults]
    say(f"{len(found) - len(wrong)} of {len(found)} conform" + (f"; not {', '.join(wrong)}" if wrong else ""))
    if wrong:
        raise typer.Exit(1)


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
        state, said = ("FAIL", one.fault) if one.fault else ("told", one.told) if one.told else ("pass", one.demands)
        table.add_row(*map(Text, (one.name, state, said or "")))
    console().print(table)
