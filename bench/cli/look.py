"""``bench show`` and ``bench inspect``: what a method makes, as pictures and as measures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.basics.errors import BenchError
from bench.cli import completing, documents
from bench.cli.app import (
    BudgetOption,
    DataDir,
    DatasetOfExperiment,
    DatasetOption,
    Device,
    Experiment,
    Methods,
    Out,
    Seeds,
    Words,
    app,
)
from bench.cli.asking import console, say, sorted_out
from bench.cli.asking import request as asked
from bench.cli.documents import Json

WHAT = ("tasks", "strategies", "samples", "interpolations", "reconstructions", "clusters")


@app.command()
def show(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="METHOD|SETTINGS",
            help="An exact name from 'bench list methods'; and settings: method.alpha=0.4.",
            autocompletion=completing.methods(),
        ),
    ] = None,
    methods: Methods = None,
    what: Annotated[
        str,
        typer.Option(
            help="tasks, strategies, samples, interpolations, reconstructions or clusters.",
            autocompletion=completing.words(*WHAT),
        ),
    ] = "tasks",
    dataset: DatasetOption = None,
    budget: BudgetOption = None,
    seed: Annotated[
        int, typer.Option("--seeds", "--seed", min=0, help="Training seed of the generator, and of what is drawn.")
    ] = 0,
    count: Annotated[
        int | None,
        typer.Option(
            "--count",
            "--tasks",
            min=1,
            max=256,
            show_default="as many as fit on a page",
            help="How many tasks, latents a class, images or rows.",
        ),
    ] = None,
    device: Device = "auto",
    data_dir: DataDir = None,
    out: Out = Path("runs"),
    to: Annotated[
        Path | None, typer.Option(show_default="METHOD-WHAT.png", help="Picture to write (.png, .pdf or .svg).")
    ] = None,
) -> None:
    """Draw a method's synthetic tasks, support and query marked; or its generator, encoder or clusters.

    strategies: latents of the same classes, drawn in every way the method knows. samples: images of the prior,
    and reconstructions. interpolations: images along straight lines in latent space, or between the codes of two
    images. reconstructions: images, and what is decoded from their codes. clusters: a row of members for each.

    Examples:

      bench show umtra-maml

      bench show lasium-ro-vae-maml --dataset omniglot --data-dir DIR --to tasks.png

      bench show lasium-ro-vae-maml --what strategies

      bench show embedding-linear-acai --what interpolations

      bench show cactus-acai-maml --what clusters
    """
    from bench.basics.progress import Reporter
    from bench.datasets.prepare import default_cache
    from bench.looking.pictures import check, picture
    from bench.looking.task_sheet import check_ending, save

    check(what)
    method, overrides = sorted_out(words, methods)
    if method is None:
        raise BenchError("name the method to draw, for example 'bench show umtra-maml'")
    name = method if what == "tasks" else f"{method}-{what}"
    path = to or Path(f"{name}.png")
    check_ending(path)
    request = asked(method, dataset, None, str(seed), budget, None, False, data_dir, out, overrides, device)
    with Reporter() as reporter:
        drawn = picture(request, what, count, default_cache(), reporter)
    save(drawn, path)
    say(f"wrote {path}")


@app.command()
def inspect(
    words: Words = None,
    methods: Methods = None,
    dataset: DatasetOfExperiment = None,
    budget: BudgetOption = None,
    seeds: Seeds = "0",
    experiment: Experiment = None,
    tasks: Annotated[int, typer.Option(min=2, help="How many tasks to measure.")] = 1000,
    device: Device = "auto",
    data_dir: DataDir = None,
    out: Out = Path("runs"),
    as_json: Json = False,
) -> None:
    """Measure synthetic tasks: collisions of true classes, queries near their own class, diversity, realism.

    Generators are trained, or read from where 'bench run' keeps them; learners are not. The harness uses labels
    to measure; no method sees them. Results lie beside the run records, and 'bench report' shows them.

    Examples:

      bench inspect umtra-maml

      bench inspect lasium umtra --dataset omniglot --data-dir DIR --budget quick --seeds 0,1

      bench inspect --experiment gate
    """
    from bench.basics.progress import Reporter
    from bench.datasets.prepare import default_cache
    from bench.looking.inspection.inspect import inspect as inspect_methods
    from bench.reporting.inspections import sections
    from bench.reporting.terminal import inspection_table

    methods, overrides = sorted_out(words, methods)
    request = asked(
        *(methods, dataset, None, seeds, budget, experiment, False, data_dir, out, overrides, device),
        example="bench inspect lasium umtra",
    )
    with documents.alone(as_json), Reporter() as reporter:
        results = inspect_methods(request, tasks, default_cache(), reporter)
    failed = [one for one in results if one.inspection is None]
    if as_json:
        unmeasured = [{"method": one.run.name, "seed": one.run.seed, "reason": one.reason} for one in failed]
        measured = [one.inspection for one in results if one.inspection is not None]
        documents.write({"inspections": measured, "failed": unmeasured})
    else:
        for section in sections([one.inspection for one in results if one.inspection is not None]):
            console().print(inspection_table(section))
        for one in failed:
            say(f"{one.run.name}, seed {one.run.seed}: {one.reason}")
    if failed:
        raise typer.Exit(1)
