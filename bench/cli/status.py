"""``bench status``: how far runs are, wherever they are carried out, by their files alone."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.cli import documents
from bench.cli.app import app
from bench.cli.documents import Json

if TYPE_CHECKING:
    from bench.planning.standing import Standing, State

EVERY = 2.0  # seconds between two looks on a terminal


@app.command()
def status(
    out: Annotated[
        Path | None,
        typer.Option("--out", "--runs", show_default="runs, or that of --plan", help="Folder of run records."),
    ] = None,
    plan: Annotated[
        Path | None,
        typer.Option(
            help="Only the runs of this file, which 'bench plan … --export FILE' wrote.",
            show_default="all runs of the folder",
            metavar="FILE",
        ),
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="On a terminal, say it once and end.")] = False,
    as_json: Json = False,
) -> None:
    """Say how far runs are: done, running and where, waiting, failed and why, and how long all will take.

    Without --plan, all runs below --out, and those that a 'bench run --executor' planned there. It reads files only, so
    it works beside any number of running commands, on every machine that sees the folder. On a terminal it looks again
    every two seconds until nothing is left to do, or until Ctrl-C; in a pipe it prints a line for each run, its status
    first, and last a summary. Exit code 1 where a run failed or its record is damaged, else 0.

    Examples:

      bench status

      bench status --plan plan.json

      bench status --out runs | grep ^failed

      bench status --json
    """
    from bench.cli.asking import console, warn
    from bench.planning.standing import BAD, Watcher

    watcher = Watcher(out, plan)
    found = watcher.look()
    if as_json:
        documents.write(document(found))
    elif sys.stdout.isatty() and not once:
        found = _followed(watcher, found)
    elif sys.stdout.isatty():
        console().print(shown(found, None))
    else:
        typer.echo("\n".join([*lines(found), summary(found)]))
    if not as_json:
        warn(found.problems)
    if any(one.status in BAD for one in found.runs):
        raise typer.Exit(1)


def _followed(watcher: Any, found: Standing) -> Standing:
    """Draw it again and again, as long as anything is to do."""
    import time

    from rich.live import Live

    from bench.cli.asking import console
    from bench.planning.standing import LATER

    screen = console()
    with Live(shown(found, screen.height), console=screen, auto_refresh=False) as live:
        while any(one.status == "running" or one.status in LATER for one in found.runs):
            time.sleep(EVERY)
            found = watcher.look()
            live.update(shown(found, screen.height), refresh=True)
    return found


def in_order(found: Standing) -> list[State]:
    """What a reader looks for first: what runs, what failed, what waits, what is done."""
    from bench.planning.standing import STATES

    return sorted(found.runs, key=lambda one: STATES.index(one.status))


def lines(found: Standing) -> Iterator[str]:
    """A line a run: status, name, seed, folder, and what is to say of it."""
    from bench.reporting.foreign import visible

    for one in in_order(found):
        number = "" if one.index is None else f"[{one.index}] "
        parts = [f"{one.status:<13} {number}{one.name}", f"seed {one.seed}", one.folder, said(one)]
        yield "  ".join(visible(" ".join(part.splitlines())) for part in parts if part)


def said(one: State) -> str:
    """Where it runs and how far it is, why it is not done, or how long it took or will take."""
    from bench.basics.progress import for_people

    if one.status == "running" and one.holder is not None:
        return f"{one.said or 'it has just begun'} ({one.holder})"
    if one.status == "done":
        return "" if one.seconds is None else f"in {for_people(one.seconds)}"
    if one.status == "waiting" and one.seconds is not None:
        return "; ".join(part for part in (one.said, f"about {for_people(one.seconds)}") if part)
    return one.said


def summary(found: Standing) -> str:
    """``12 runs: 1 running, 3 waiting, 8 done; about 12 min left, 1 at a time``."""
    from bench.basics.progress import for_people

    counts = ", ".join(f"{count} {status}" for status, count in found.counts().items())
    several = "s" if len(found.runs) != 1 else ""
    told = f"{len(found.runs)} run{several}{': ' + counts if counts else ''}"
    seconds, at_a_time, unknown = found.left()
    if seconds is None:
        return f"{told}; time left unknown: no plan and no finished run like them says it"
    if not seconds and not unknown:
        return told
    without = f", without {unknown} of which nothing is known" if unknown else ""
    return f"{told}; about {for_people(seconds)} left, {at_a_time} at a time{without}"


def shown(found: Standing, height: int | None) -> Any:
    """The same for a terminal, no higher than it: of what there is no room for, how many."""
    from rich.console import Group
    from rich.text import Text

    from bench.reporting.terminal_grid import text

    colours = {"running": "cyan", "done": "green", "waiting": "dim", "timeout": "yellow", "interrupted": "yellow"}
    runs = [one for one in in_order(found) if height is None or one.status != "done"]
    room = len(runs) if height is None else max(1, height - 4)
    rows = []
    for one in runs[:room]:
        row = Text(f"{one.status:<13} ", colours.get(one.status, "bold red"))
        row.append_text(text(f"{one.name}, seed {one.seed}{': ' if said(one) else ''}{said(one)}"))
        row.no_wrap, row.overflow = height is not None, "ellipsis"
        rows.append(row)
    if len(runs) > room:
        rows.append(text(f"and {len(runs) - room} more", "dim"))
    return Group(*rows, text(summary(found), "bold"))


def document(found: Standing) -> dict[str, Any]:
    """The same for programs."""
    seconds, at_a_time, unknown = found.left()
    return {
        "out": found.out,
        "counts": found.counts(),
        "seconds_left": seconds,
        "at_a_time": at_a_time,
        "of_unknown_length": unknown,
        "runs": found.runs,
        "problems": found.problems,
    }
