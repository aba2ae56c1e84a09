"""``bench work``: items of a plan are carried out, on whatever machine this is typed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.basics.errors import BenchError
from bench.cli.app import Offline, app
from bench.cli.asking import say, there

LATER = 75
"""Exit code (EX_TEMPFAIL) where something of what was asked is left to do, and another attempt would go on."""


@app.command()
def work(
    plan: Annotated[Path, typer.Argument(help="A file that 'bench plan … --export FILE' wrote.")],
    index: Annotated[
        int | None,
        typer.Option(
            min=0, show_default="all", help="Only this item, or with --bundle N the N items from N times this."
        ),
    ] = None,
    bundle: Annotated[
        int | None,
        typer.Option(
            min=1,
            show_default="all, or one with --index",
            help="How many items; without --index, nobody being at them.",
        ),
    ] = None,
    until: Annotated[
        float | None,
        typer.Option(
            min=0.01,
            show_default="no limit, or a SLURM job's",
            help="Minutes this command has; it keeps one in hand, and begins nothing that would take longer.",
            metavar="MIN",
        ),
    ] = None,
    device: Annotated[str | None, typer.Option(show_default="the plan's", help="auto, cpu, cuda or cuda:1.")] = None,
    offline: Offline = False,
    data_dir: Annotated[
        Path | None,
        typer.Option(
            "--data-dir",
            show_default="the plan's, or $BENCH_DATA where that is not here",
            help="Folder with the raw data of datasets.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "--runs", show_default="the plan's", help="Folder of run records, on this machine."),
    ] = None,
) -> None:
    """Carry out runs of a plan: one, some, or whatever nobody is at.

    Any number of such commands may work on one plan at a time, on one machine or on several with a common folder; none
    does what another does. Exit code 0 when all it was asked for is done, 1 where a run failed, 75 where something is
    left to do: the same command again goes on.

    Examples:

      bench work plan.json

      bench work plan.json --index 3

      bench work plan.json --index "$SLURM_ARRAY_TASK_ID" --bundle 4

      bench work plan.json --until 55
    """
    import os
    import time
    from dataclasses import replace

    from bench.basics.progress import Reporter
    from bench.planning.plan_file import read_plan

    found = read_plan(plan)
    if data_dir is None and found.data_dir is not None and not Path(found.data_dir).is_dir():
        data_dir = Path(os.environ["BENCH_DATA"]) if "BENCH_DATA" in os.environ else None
    changed = {
        "device": device,
        "data_dir": str(folder.absolute()) if (folder := there(data_dir)) is not None else None,
        "out": str(out.absolute()) if out is not None else None,
    }
    found = replace(found, **{name: value for name, value in changed.items() if value is not None})  # type: ignore[arg-type]
    indices, most = chosen(len(found.items), index, bundle)

    from bench.running import working  # PyTorch with it, which takes seconds

    ends = [working.deadline(), None if until is None else time.time() + 60 * until]
    with Reporter() as reporter, working.signals_of_schedulers():
        did = working.work(
            found,
            indices,
            reporter,
            most=most,
            until=min((one for one in ends if one is not None), default=None),
            # A job that began nothing would be requeued for nothing; what it cannot end goes on in the next.
            at_least=1 if until is None else 0,
            own_process=len(indices) > 1,
        )
    done = sum(one.done for one in did)
    left = [one for one in did if one.later]
    say(f"{done} of {len(indices)} runs of {plan} are done")
    for one in did:
        if not one.done:
            say(f"[{one.index}] {one.item.name}, seed {one.item.seed}: {one.status}: {one.reason}")
    if any(not one.done and not one.later for one in did):
        raise typer.Exit(1)
    if left or (index is not None and done < len(indices)):
        raise typer.Exit(LATER)


def chosen(items: int, index: int | None, bundle: int | None) -> tuple[list[int], int | None]:
    """(the items to look at, how many of them may be begun)."""
    if index is None:
        return list(range(items)), bundle
    wanted = [index] if bundle is None else list(range(index * bundle, (index + 1) * bundle))
    found = [one for one in wanted if one < items]
    if not found:
        last = (items - 1) // (bundle or 1)
        raise BenchError(f"--index {index}: the plan has {items} items; --index goes from 0 to {last}")
    return found, None
