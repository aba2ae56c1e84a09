"""``bench run`` and ``bench plan``."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from bench.cli import completing, documents
from bench.cli.app import (
    BudgetOption,
    DataDir,
    DatasetOfExperiment,
    Device,
    Experiment,
    Methods,
    Offline,
    Out,
    References,
    Seeds,
    Shots,
    Ways,
    Words,
    app,
)
from bench.cli.asking import console, say, sorted_out
from bench.cli.asking import request as asked
from bench.cli.documents import Json

Rerun = Annotated[
    bool,
    typer.Option("--rerun", help="Begin every run anew; the records that are there are kept beside the new ones."),
]


@app.command()
def run(
    words: Words = None,
    methods: Methods = None,
    dataset: DatasetOfExperiment = None,
    ways: Ways = None,
    shots: Shots = None,
    seeds: Seeds = "0",
    budget: BudgetOption = None,
    experiment: Experiment = None,
    references: References = True,
    device: Device = "auto",
    workers: Annotated[int, typer.Option(min=1, help="Runs at a time, each in a process of its own.")] = 1,
    per_gpu: Annotated[
        int | None,
        typer.Option(min=1, show_default="up to 4, as they fit", help="Of several workers, runs at a time on one GPU."),
    ] = None,
    time_limit: Annotated[
        float | None, typer.Option(min=0.01, show_default="none", help="Minutes a single run may take.")
    ] = None,
    rerun: Rerun = False,
    executor: Annotated[
        str | None,
        typer.Option(
            help="Where runs are carried out: inline, processes, slurm or ray; set by executor.partition=gpu.",
            show_default="inline, with --workers processes",
            autocompletion=completing.options("executor"),
        ),
    ] = None,
    detach: Annotated[
        bool, typer.Option("--detach", help="With slurm: leave as soon as the jobs are handed over.")
    ] = False,
    offline: Offline = False,
    data_dir: DataDir = None,
    out: Out = Path("runs"),
) -> None:
    """Train methods on unlabelled images and score them on the same sealed tasks.

    Finished runs are skipped; interrupted ones go on from their checkpoint. An edited method of another package is
    another run; --rerun is for what no key can know, such as another driver.

    Examples:

      bench run lasium umtra

      bench run lasium umtra --dataset omniglot --data-dir DIR --shots 1,5 --seeds 0,1,2

      bench run umtra-protonet --ways 5,20 --shots 1,5

      bench run 'lasium-*-protonet' --budget smoke method.alpha=0.4 backbone=conv4

      bench run --experiment table7 --data-dir DIR

      bench run lasium umtra --workers 8 --per-gpu 4

      bench run lasium --device cuda precision=tf32

      bench run --experiment table1-omniglot --seeds 0-4 --executor slurm executor.partition=gpu executor.gpus=1

      bench run --experiment figure5 --data-dir DIR budget.generator_epochs=0,10,30 budget.meta_iterations=300
    """
    from bench.basics.progress import Reporter
    from bench.basics.signals import until_done
    from bench.cli.executing import placed
    from bench.planning.executor_settings import scratch_in, split
    from bench.planning.opening import asked as what_was_asked

    methods, overrides = sorted_out(words, methods)
    own, overrides = split(overrides)
    where = placed(executor, own, workers, detach)
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
    request = replace(request, scratch=scratch_in(own), elsewhere=where is not None)
    with Reporter() as reporter:
        reporter.say(what_was_asked(request))
        with reporter.during("loading PyTorch"), until_done():
            from bench.datasets.prepare import default_cache
            from bench.leaderboard.loading import load
            from bench.leaderboard.selection import select
            from bench.leaderboard.table import build
            from bench.reporting.terminal import to_terminal
            from bench.running import seeds as more_seeds
            from bench.running import session
        ready = session.prepare(request, default_cache(), reporter, workers)
        if where is None:
            outcomes = session.execute(ready, reporter, workers, per_gpu)
        else:
            outcomes = where(request, ready, reporter)
    finished = [one.run.folder for one in outcomes if one.status == "done"]
    if finished:
        frames = select(load(out), finished, set(ready.manifests.values()))
        console().print(to_terminal(build(frames)))
    done = [(one.run.folder, one.record) for one in outcomes if one.status == "done" and one.record is not None]
    if len(done) == len(outcomes) and (advice := more_seeds.finished(done)):
        say(advice)
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
    words: Words = None,
    methods: Methods = None,
    dataset: DatasetOfExperiment = None,
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
    offline: Offline = False,
    export: Annotated[
        Path | None,
        typer.Option(
            help="Write the runs to do to this file, for 'bench work' on any machine.",
            metavar="FILE",
            show_default="not written",
        ),
    ] = None,
    time_limit: Annotated[
        float | None, typer.Option(min=0.01, show_default="no limit", help="Of --export: minutes a run may take.")
    ] = None,
    executor: Annotated[
        str | None, typer.Option(show_default="none", help="As of 'bench run'; it changes nothing of a plan.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Say what 'bench run' with the same flags would do: runs, what is there already and shared, how long it takes.

    Minutes are those of like runs in --out: same dataset and device, the lengths scaled.

    Examples:

      bench plan lasium umtra

      bench plan --experiment table7 --settings

      bench plan lasium umtra --workers 2 --estimate

      bench plan lasium umtra --json

      bench plan --experiment table7 --seeds 0-4 --export plan.json
    """
    from bench.basics.errors import BenchError
    from bench.cli.executing import exported
    from bench.planning.executor_settings import executor_settings, scratch_in, split
    from bench.running.executors import ELSEWHERE
    from bench.running.explain import explain
    from bench.running.outlook import document, look_ahead

    methods, overrides = sorted_out(words, methods)
    own, overrides = split(overrides)  # so that the flags of a 'bench run' can be given as they are
    if executor is not None:
        executor_settings(executor, own)
    if rerun and export is not None:
        raise BenchError(
            "--export writes down what is still to do, and --rerun begins anew what is done; leave one out"
        )
    request = asked(
        *(methods, dataset, shots, seeds, budget, experiment, references, data_dir, out, overrides, device),
        ways=ways,
        rerun=rerun,
    )
    elsewhere = export is not None or executor in ELSEWHERE
    limit = None if time_limit is None else 60 * time_limit
    request = replace(request, scratch=scratch_in(own), time_limit=limit, elsewhere=elsewhere)
    with documents.alone(as_json):
        outlook = look_ahead(request, workers, estimate)
        told = document(outlook) if as_json else None
    if told is not None:
        if export is not None:
            exported(outlook, export)
        documents.write(told)
        return
    for part in explain(outlook, settings):
        say(part) if isinstance(part, str) else console().print(part)
    if export is not None:
        say(exported(outlook, export))
