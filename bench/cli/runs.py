"""``bench run`` and ``bench plan``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from bench.cli.app import (
    BudgetOption,
    DataDir,
    DatasetOption,
    Device,
    Experiment,
    Methods,
    Out,
    Overrides,
    References,
    Seeds,
    Shots,
    Ways,
    app,
)
from bench.cli.asking import console, say
from bench.cli.asking import request as asked

Rerun = Annotated[
    bool,
    typer.Option("--rerun", help="Begin every run anew; the records that are there are kept beside the new ones."),
]


@app.command()
def run(
    methods: Methods = None,
    dataset: DatasetOption = None,
    ways: Ways = None,
    shots: Shots = None,
    seeds: Seeds = "0",
    budget: BudgetOption = None,
    experiment: Experiment = None,
    references: References = True,
    device: Device = "auto",
    workers: Annotated[int, typer.Option(min=1, help="Runs at a time, each in a process of its own.")] = 1,
    per_gpu: Annotated[
        int | None, typer.Option(min=1, help="Of several workers, runs at a time on one GPU; by default up to 4.")
    ] = None,
    time_limit: Annotated[float | None, typer.Option(min=0.01, help="Minutes a single run may take.")] = None,
    rerun: Rerun = False,
    data_dir: DataDir = None,
    out: Out = Path("runs"),
    overrides: Overrides = None,
) -> None:
    """Train methods on unlabelled images and score them on the same sealed tasks.

    Finished runs are skipped; interrupted ones go on where they were. An edited method of another package is another
    run; --rerun is for what no key can know, such as another driver.

    Examples:

      bench run --methods lasium,umtra

      bench run --methods lasium,umtra --dataset omniglot --data-dir DIR --shots 1,5 --seeds 0,1,2

      bench run --methods umtra-protonet --ways 5,20 --shots 1,5

      bench run --methods 'lasium-*-protonet' --budget smoke method.alpha=0.4 backbone=conv4

      bench run --experiment table7 --data-dir DIR

      bench run --methods lasium,umtra --workers 8 --per-gpu 4

      bench run --methods lasium --device cuda precision=tf32

      bench run --experiment figure5 --data-dir DIR budget.generator_epochs=0,10,30 budget.meta_iterations=300
    """
    from bench.basics.progress import Reporter
    from bench.datasets.prepare import default_cache
    from bench.leaderboard.loading import load
    from bench.leaderboard.selection import select
    from bench.leaderboard.table import build
    from bench.reporting.terminal import to_terminal
    from bench.running import session

    limit = None if time_limit is None else 60 * time_limit
    request = asked(
        methods,
        dataset,
        shots,
        seeds,
        budget,
        experiment,
        references,
        data_dir,
        out,
        overrides,
        device,
        limit,
        ways=ways,
        rerun=rerun,
    )
    with Reporter() as reporter:
        ready = session.prepare(request, default_cache(), reporter, workers)
        outcomes = session.execute(ready, reporter, workers, per_gpu)
    finished = [one.run.folder for one in outcomes if one.status == "done"]
    if finished:
        frames = select(load(out), finished, set(ready.manifests.values()))
        console().print(to_terminal(build(frames)))
    unfinished = [one for one in outcomes if one.status != "done"]
    for one in unfinished:
        say(f"{one.run.name}, seed {one.run.seed}: {one.status}: {one.reason}")
    say(
        f"{len(finished)} of {len(outcomes)} runs done; records in {out}; "
        f"this writes the leaderboard: bench report --runs {shlex.quote(str(out))} --out reports"
    )
    if unfinished:
        raise typer.Exit(1)


@app.command()
def plan(
    methods: Methods = None,
    dataset: DatasetOption = None,
    ways: Ways = None,
    shots: Shots = None,
    seeds: Seeds = "0",
    budget: BudgetOption = None,
    experiment: Experiment = None,
    references: References = True,
    device: Device = "auto",
    data_dir: DataDir = None,
    out: Out = Path("runs"),
    workers: Annotated[int, typer.Option(min=1, help="Runs at a time, for how long all will take.")] = 1,
    estimate: Annotated[
        bool, typer.Option("--estimate", help="Where no record says how long a run takes, measure a few steps.")
    ] = False,
    rerun: Rerun = False,
    settings: Annotated[bool, typer.Option("--settings", help="Print every setting of every run.")] = False,
    overrides: Overrides = None,
) -> None:
    """Say what 'bench run' with the same flags would do: runs, what is there already and shared, how long it takes.

    Minutes are those of like runs in --out: same dataset and device, the lengths scaled.

    Examples:

      bench plan --methods lasium,umtra

      bench plan --experiment table7 --settings

      bench plan --methods lasium,umtra --workers 2 --estimate
    """
    from bench.running.explain import explain

    request = asked(
        *(methods, dataset, shots, seeds, budget, experiment, references, data_dir, out, overrides, device),
        ways=ways,
        rerun=rerun,
    )
    for part in explain(request, settings, workers, estimate):
        say(part) if isinstance(part, str) else console().print(part)
