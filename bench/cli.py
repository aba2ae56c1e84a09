"""The command line: parse, call, print. Everything heavy is imported inside the commands."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from bench.allocator import keep_temporaries
from bench.errors import BenchError, did_you_mean

app = typer.Typer(
    name="bench",
    help="The benchmark for unsupervised meta-learning: every method on the same sealed few-shot tasks.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
tasks_app = typer.Typer(help="The sealed evaluation tasks as files that any code can read.", no_args_is_help=True)
app.add_typer(tasks_app, name="tasks")

Methods = Annotated[
    str | None,
    typer.Option("--methods", "-m", help="Families, exact names or globs, comma-separated: lasium,'umtra-*'."),
]
DatasetOption = Annotated[str | None, typer.Option("--dataset", "-d", help="A name from 'bench list datasets'.")]
Shots = Annotated[str | None, typer.Option(help="Support images per class, comma-separated: 1,5.")]
Seeds = Annotated[str, typer.Option(help="Training seeds, comma-separated, or from-to: 0,1,2 or 0-2.")]
BudgetOption = Annotated[str | None, typer.Option(help="How long to train: smoke, quick or paper.")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
Out = Annotated[Path, typer.Option(help="Folder of run records.")]
Experiment = Annotated[str | None, typer.Option(help="A table of a paper, from 'bench list experiments'.")]
References = Annotated[
    bool,
    typer.Option("--references/--no-references", help="Also run the floors and ceilings of every leaderboard."),
]
DataDir = Annotated[
    Path | None, typer.Option("--data-dir", envvar="BENCH_DATA", help="Folder with the raw data of datasets.")
]
Overrides = Annotated[
    list[str] | None, typer.Argument(help="Settings, as Hydra overrides: method.alpha=0.2,0.4 backbone=conv4.")
]


def _console() -> Any:
    from rich.console import Console

    # Not $COLUMNS in a pipe: it is that of some terminal, and names that are searched for would be folded.
    return Console(width=None if sys.stdout.isatty() else 160, highlight=False)


_MOST = 2**63 - 1  # what Parquet files hold


def _warn(problems: Sequence[str]) -> None:
    """Damaged files never hide other runs, and are never hidden."""
    for problem in problems:
        sys.stderr.write(f"warning: {problem}\n")


def _there(data_dir: Path | None) -> Path | None:
    """A typing error in the folder of the raw data must not go unseen where a dataset is prepared already."""
    if data_dir is not None and not data_dir.is_dir():
        raise BenchError(f"--data-dir {data_dir} (or $BENCH_DATA) is not a folder")
    return data_dir


def _numbers(text: str | None, flag: str, example: str) -> tuple[int, ...] | None:
    if text is None:
        return None
    try:
        values = tuple(dict.fromkeys(number for part in text.split(",") if part.strip() for number in _range(part)))
    except ValueError:
        values = ()
    if not values or min(values) < 0 or max(values) > _MOST:
        raise BenchError(f"{flag} takes whole numbers from 0 to {_MOST}, for example {flag} {example}, not {text!r}")
    return values


def _range(text: str) -> range:
    """``3`` or ``1-10``."""
    first, dash, last = text.strip().partition("-")
    found = range(int(first), int(last if dash else first) + 1)
    if len(found) > 10_000:
        raise ValueError(text)
    return found


def _request(
    methods: str | None,
    dataset: str | None,
    shots: str | None,
    seeds: str,
    budget: str | None,
    experiment: str | None,
    references: bool,
    data_dir: Path | None,
    out: Path,
    overrides: list[str] | None,
    device: str = "auto",
    time_limit: float | None = None,
    example: str = "--methods lasium,umtra",
) -> Any:
    from bench.plan import Request

    if methods is None and experiment is None:
        raise BenchError(f"nothing to run: name methods, for example {example}, or give --experiment")
    return Request(
        methods=methods,
        dataset=dataset,
        shots=_numbers(shots, "--shots", "1,5"),
        seeds=_numbers(seeds, "--seeds", "0,1,2 or 0-2") or (0,),
        budget=budget,
        overrides=tuple(overrides or ()),
        experiment=experiment,
        references=references,
        data_dir=str(folder) if (folder := _there(data_dir)) is not None else None,
        out=out,
        device=device,
        time_limit=time_limit,
    )


@app.command()
def run(
    methods: Methods = None,
    dataset: DatasetOption = None,
    shots: Shots = None,
    seeds: Seeds = "0",
    budget: BudgetOption = None,
    experiment: Experiment = None,
    references: References = True,
    device: Device = "auto",
    workers: Annotated[int, typer.Option(min=1, help="Runs at a time, each in a process of its own.")] = 1,
    time_limit: Annotated[float | None, typer.Option(min=0.01, help="Minutes a single run may take.")] = None,
    data_dir: DataDir = None,
    out: Out = Path("runs"),
    overrides: Overrides = None,
) -> None:
    """Train methods on unlabelled images and score them on the same sealed tasks.

    Finished runs are skipped; interrupted ones go on where they were.

    Examples:

      bench run --methods lasium,umtra

      bench run --methods lasium,umtra --dataset omniglot --data-dir DIR --shots 1,5 --seeds 0,1,2

      bench run --methods 'lasium-*-protonet' --budget smoke method.alpha=0.4 backbone=conv4

      bench run --experiment table7 --data-dir DIR

      bench run --experiment figure5 --data-dir DIR budget.generator_epochs=0,10,30 budget.meta_iterations=300
    """
    from bench import session
    from bench.datasets.prepare import default_cache
    from bench.leaderboard.loading import load
    from bench.leaderboard.selection import select
    from bench.leaderboard.table import build
    from bench.progress import Reporter
    from bench.reporting.terminal import to_terminal

    limit = None if time_limit is None else 60 * time_limit
    request = _request(
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
    )
    with Reporter() as reporter:
        ready = session.prepare(request, default_cache(), reporter, workers)
        outcomes = session.execute(ready, reporter, workers)
    console = _console()
    finished = [one.run.folder for one in outcomes if one.status == "done"]
    if finished:
        frames = select(load(out), finished, set(ready.manifests.values()))
        console.print(to_terminal(build(frames)))
    unfinished = [one for one in outcomes if one.status != "done"]
    for one in unfinished:
        console.print(f"{one.run.name}, seed {one.run.seed}: {one.status}: {one.reason}", markup=False, soft_wrap=True)
    console.print(
        f"{len(finished)} of {len(outcomes)} runs done; records in {out}; "
        f"'bench report --runs {out} --out reports' writes the leaderboard",
        markup=False,
        soft_wrap=True,
    )
    if unfinished:
        raise typer.Exit(1)


@app.command()
def plan(
    methods: Methods = None,
    dataset: DatasetOption = None,
    shots: Shots = None,
    seeds: Seeds = "0",
    budget: BudgetOption = None,
    experiment: Experiment = None,
    references: References = True,
    device: Device = "auto",
    data_dir: DataDir = None,
    out: Out = Path("runs"),
    settings: Annotated[bool, typer.Option("--settings", help="Print every setting of every run.")] = False,
    overrides: Overrides = None,
) -> None:
    """Say what 'bench run' with the same flags would do: runs, what is there already, what they share.

    Examples:

      bench plan --methods lasium,umtra

      bench plan --experiment table7 --settings
    """
    from bench.explain import explain

    request = _request(methods, dataset, shots, seeds, budget, experiment, references, data_dir, out, overrides, device)
    console = _console()
    for part in explain(request, settings=settings):
        console.print(part, markup=False) if isinstance(part, str) else console.print(part)


@app.command("list")
def list_(
    what: Annotated[str, typer.Argument(help="methods, datasets, budgets, experiments, or any other group.")] = "all",
    long: Annotated[bool, typer.Option("--long", help="Also licence, citation and where to get a dataset.")] = False,
) -> None:
    """List what can be named: methods, datasets, budgets, learners, backbones, generators, experiments.

    Examples:

      bench list

      bench list methods

      bench list datasets --long
    """
    from bench.listing import listing

    console = _console()
    for part in listing(what, long):
        console.print(part)


@app.command()
def prepare(
    name: Annotated[str, typer.Argument(help="A name from 'bench list datasets'.")],
    data_dir: DataDir = None,
    download: Annotated[bool, typer.Option("--download", help="Fetch the official files first.")] = False,
    overrides: Overrides = None,
) -> None:
    """Prepare a dataset: read, resize and check its images once.

    Examples:

      bench prepare glyphs

      bench prepare omniglot --download --data-dir data

      bench prepare folder --data-dir photos dataset.name=photos dataset.size=84
    """
    from bench.config import dataset_values, parse_overrides
    from bench.datasets.prepare import default_cache
    from bench.progress import Reporter
    from bench.run import open_dataset

    with Reporter() as reporter:
        values = dataset_values(name, parse_overrides(overrides or ()), None if download else _there(data_dir))
        if download:
            from importlib import import_module

            from bench.config import resolve

            target = data_dir or Path("data")
            module = import_module(resolve(values["dataset"]["_target_"]).__module__)
            fetch = getattr(module, "download", None)
            if fetch is None:
                raise BenchError(f"dataset {name!r} has no download; 'bench list datasets --long' says where to get it")
            fetch(target, progress=reporter)
            values["dataset"]["data_dir"] = str(target)
        dataset = open_dataset(values, default_cache(), reporter)
    console = _console()
    channels, height, width = dataset.image_shape
    for split in dataset.splits.values():
        console.print(
            f"{dataset.name} {split.name}: {len(split)} images of {len(split.class_names)} classes, "
            f"{height}x{width}x{channels}"
        )
    console.print(f"content {dataset.content_hash[:16]}, prepared in {dataset.folder}", markup=False, soft_wrap=True)


@app.command()
def weights(
    name: Annotated[str | None, typer.Argument(help="vgg19, progan, …; without it, all are listed.")] = None,
    download: Annotated[bool, typer.Option("--download", help="Fetch the file.")] = False,
    to: Annotated[Path, typer.Option("--to", help="Folder for the file.")] = Path("weights"),
    sha256: Annotated[str | None, typer.Option(help="What its checksum must be, or begin with.")] = None,
) -> None:
    """Show where public weights are and under which licence, or fetch them.

    Examples:

      bench weights

      bench weights vgg19 --download --to weights
    """
    from bench import weights as public

    chosen = [public.find(name)] if name else list(public.published().values())
    if download and name is None:
        raise BenchError("--download takes one name, for example: bench weights vgg19 --download")
    console = _console()
    for one in chosen:
        console.print(f"{one.name}: {one.what} ({one.cite})", markup=False, soft_wrap=True)
        for label, text in (("from", one.url), ("licence", one.licence), ("note", one.note)):
            console.print(f"  {label}: {text}", markup=False, soft_wrap=True)
    if download:
        from bench.pretrained import digest
        from bench.progress import Reporter

        with Reporter() as reporter:
            path = public.fetch(chosen[0], to, sha256, reporter)
        console.print(f"{path}, SHA-256 {digest(str(path))}", markup=False, soft_wrap=True)
        console.print(f"use it with {chosen[0].setting}={path}", markup=False, soft_wrap=True)


@app.command()
def show(
    method: Annotated[str, typer.Argument(help="An exact name from 'bench list methods'.")],
    what: Annotated[
        str, typer.Option(help="tasks, strategies, samples, interpolations, reconstructions or clusters.")
    ] = "tasks",
    dataset: DatasetOption = None,
    budget: BudgetOption = None,
    seed: Annotated[int, typer.Option(min=0, help="Training seed of the generator, and of what is drawn.")] = 0,
    count: Annotated[
        int | None,
        typer.Option("--count", "--tasks", min=1, max=256, help="How many tasks, latents a class, images or rows."),
    ] = None,
    device: Device = "auto",
    data_dir: DataDir = None,
    out: Out = Path("runs"),
    to: Annotated[Path | None, typer.Option(help="Picture to write (.png, .pdf or .svg).")] = None,
    overrides: Overrides = None,
) -> None:
    """Draw what a method invents: its tasks, support and query marked; or its generator, encoder or clusters.

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
    from bench.datasets.prepare import default_cache
    from bench.picturing import check, picture
    from bench.progress import Reporter
    from bench.showing import check_ending, save

    check(what)
    name = method if what == "tasks" else f"{method}-{what}"
    path = to or Path(f"{name}.png")
    check_ending(path)
    request = _request(method, dataset, None, str(seed), budget, None, False, data_dir, out, overrides, device)
    with Reporter() as reporter:
        drawn = picture(request, what, count, default_cache(), reporter)
    save(drawn, path)
    _console().print(f"wrote {path}", markup=False, soft_wrap=True)


@app.command()
def inspect(
    methods: Annotated[
        str | None, typer.Argument(help="Families, exact names or globs, comma-separated: lasium,'umtra-*'.")
    ] = None,
    dataset: DatasetOption = None,
    budget: BudgetOption = None,
    seeds: Seeds = "0",
    experiment: Experiment = None,
    tasks: Annotated[int, typer.Option(min=2, help="How many tasks to measure.")] = 1000,
    device: Device = "auto",
    data_dir: DataDir = None,
    out: Out = Path("runs"),
    overrides: Overrides = None,
) -> None:
    """Measure what methods invent: collisions of true classes, queries near their own class, diversity, realism.

    Generators are trained, or read from where 'bench run' keeps them; learners are not. The harness uses labels
    to measure; no method sees them. Results lie beside the run records, and 'bench report' shows them.

    Examples:

      bench inspect umtra-maml

      bench inspect lasium,umtra --dataset omniglot --data-dir DIR --budget quick --seeds 0,1

      bench inspect --experiment gate
    """
    from bench.datasets.prepare import default_cache
    from bench.inspection.inspect import inspect as inspect_methods
    from bench.progress import Reporter
    from bench.reporting.inspections import sections
    from bench.reporting.terminal import inspection_table

    # A setting given before any method would be taken for its name.
    if methods is not None and "=" in methods:
        overrides = [methods, *(overrides or [])]
        methods = None
    request = _request(
        *(methods, dataset, None, seeds, budget, experiment, False, data_dir, out, overrides, device),
        example="'bench inspect lasium,umtra'",
    )
    with Reporter() as reporter:
        results = inspect_methods(request, tasks, default_cache(), reporter)
    console = _console()
    for section in sections([one.inspection for one in results if one.inspection is not None]):
        console.print(inspection_table(section))
    failed = [one for one in results if one.inspection is None]
    for one in failed:
        console.print(f"{one.run.name}, seed {one.run.seed}: {one.reason}", markup=False, soft_wrap=True)
    if failed:
        raise typer.Exit(1)


@app.command()
def report(
    runs: Annotated[Path, typer.Option(help="Folder of run records.")] = Path("runs"),
    out: Annotated[Path, typer.Option(help="Folder to write to.")] = Path("reports"),
    format: Annotated[
        str, typer.Option("--format", help="md, html, tex, csv, png; comma-separated.")
    ] = "md,html,tex,csv,png",
    experiment: Annotated[
        str | None, typer.Option(help="Only this table or figure of a paper, from 'bench list experiments'.")
    ] = None,
    records: Annotated[
        bool,
        typer.Option(
            "--records",
            help="Also keep what the report rests on in OUT/records: small, without weights and paths.",
        ),
    ] = False,
) -> None:
    """Write the leaderboard of all finished runs: tables with intervals, seed spread and ties, and figures.

    Experiments of a paper of which there are runs come in the paper's own arrangement too, beside its numbers.

    Examples:

      bench report

      bench report --runs runs --out reports/omniglot --format md,html

      bench report --experiment table7

      bench report --runs runs --out reports/omniglot --records
    """
    from bench.reporting.report import write_report

    formats = [part.strip() for part in format.split(",") if part.strip()]
    for path in write_report(runs, out, formats, experiment, records):
        _console().print(str(path), markup=False, soft_wrap=True)


@app.command()
def compare(
    a: Annotated[str, typer.Argument(help="A method as a record names it; METHOD@BUDGET where it has several.")],
    b: Annotated[str, typer.Argument(help="Another one.")],
    runs: Annotated[Path, typer.Option(help="Folder of run records.")] = Path("runs"),
    dataset: DatasetOption = None,
) -> None:
    """Compare two methods task by task: difference, 95 % interval, p-value.

    Examples:

      bench compare lasium-ro-vae-maml umtra-maml

      bench compare lasium-ro-vae-maml umtra-maml --dataset omniglot

      bench compare umtra-maml@paper umtra-maml@paper,meta_iterations=5000
    """
    from bench.leaderboard.compare import compare as compare_methods
    from bench.leaderboard.loading import load
    from bench.reporting.terminal import comparison_table

    frames = load(runs)
    _warn(frames.problems)
    found = compare_methods(a, b, frames)
    if dataset is not None:
        shared = {one.evaluation.dataset for one in found}
        found = [one for one in found if one.evaluation.dataset == dataset]
        if not found:
            hint = did_you_mean(dataset, shared)
            raise BenchError(f"{a} and {b} have no tasks of dataset {dataset!r} in common.{hint}")
    _console().print(comparison_table(found))


@app.command()
def check(
    baseline: Annotated[Path, typer.Option(help="The baseline file.")],
    runs: Annotated[Path, typer.Option(help="Folder of run records.")] = Path("runs"),
    update: Annotated[bool, typer.Option("--update", help="Write the baseline from the runs instead.")] = False,
    margin: Annotated[
        float | None, typer.Option(min=0, help="Points of accuracy a method may lose; kept in the baseline.")
    ] = None,
    margins_from: Annotated[
        Path | None,
        typer.Option(help="With --update: honest re-runs with other seeds; wider margins where they differ more."),
    ] = None,
    seeds: Annotated[str | None, typer.Option(help="Training seeds to judge or record: 0,1,2 or 0-2.")] = None,
) -> None:
    """The regression gate: fail when a method has become worse than a baseline says, or invents other tasks.

    Exit code 1 when the lower bound of a paired drop exceeds the margin, when a measure of 'bench inspect' moved by
    more than its margin, or when a run or an inspection of the baseline is missing.

    Examples:

      bench check --baseline baseline.parquet --runs runs --update --margin 2

      bench check --baseline baseline.parquet --runs runs --update --margins-from reruns

      bench check --baseline baseline.parquet --runs runs
    """
    from bench.inspection.records import read_inspections
    from bench.leaderboard import drift, gate, margins
    from bench.leaderboard.loading import load, with_seeds
    from bench.reporting.terminal import gate_table

    console = _console()
    chosen = _numbers(seeds, "--seeds", "0,1,2 or 0-2")
    frames, inspections = load(runs), read_inspections(runs)
    _warn(frames.problems)
    if margins_from is not None and not update:
        raise BenchError("--margins-from goes with --update: a baseline keeps its margins")
    if update:
        if chosen is not None:
            frames = with_seeds(frames, chosen)
            inspections = [one for one in inspections if one.seed in chosen]
        least = gate.DEFAULT_MARGIN if margin is None else margin
        of_accuracy: dict[str, float] = {}
        of_inventions: Any = {}
        if margins_from is not None:
            known = {str(method) for method in frames.finished["method"]}
            of_accuracy = margins.of_accuracy(load(margins_from), least, known)
            of_inventions = margins.of_inventions(read_inspections(margins_from), drift.DEFAULT_MARGIN)
        expected = drift.expected(inspections, margins=of_inventions)
        gate.write_baseline(frames, baseline, least, of_accuracy, expected)
        console.print(f"wrote {baseline}", markup=False, soft_wrap=True)
        return
    rows = gate.check(frames, baseline, margin, inspections, chosen)
    console.print(gate_table(rows))
    if gate.failed(rows):
        raise typer.Exit(1)


@tasks_app.command("export")
def tasks_export(
    to: Annotated[Path, typer.Argument(help="File to write (.parquet).")],
    dataset: DatasetOption = None,
    shot: Annotated[int, typer.Option(min=1)] = 1,
    way: Annotated[int, typer.Option(min=2)] = 5,
    query: Annotated[int, typer.Option(min=1, help="Queries per class.")] = 15,
    tasks: Annotated[int, typer.Option(min=1)] = 1000,
    split: Annotated[str, typer.Option(help="train, val or test.")] = "test",
    seed: Annotated[int, typer.Option(help="Evaluation seed.")] = 0,
    data_dir: DataDir = None,
    overrides: Overrides = None,
) -> None:
    """Write a list of evaluation tasks as Parquet: indices and file identities, one row an image.

    Example:

      bench tasks export omniglot-5way-1shot.parquet --dataset omniglot --data-dir DIR --shot 1
    """
    from bench.config import dataset_values, parse_overrides
    from bench.contracts import TaskSpec
    from bench.datasets.prepare import default_cache
    from bench.progress import Reporter
    from bench.run import open_dataset
    from bench.tasks.manifest import draw

    values = dataset_values(dataset or "glyphs", parse_overrides(overrides or ()), _there(data_dir))
    with Reporter() as reporter:
        opened = open_dataset(values, default_cache(), reporter)
    manifest = draw(opened, split, TaskSpec(way, shot, query), tasks, seed)
    manifest.save(to)
    _console().print(
        f"wrote {to}: {tasks} tasks, {manifest.spec}, SHA-256 {manifest.sha256}", markup=False, soft_wrap=True
    )


@tasks_app.command("verify")
def tasks_verify(
    file: Annotated[Path, typer.Argument(help="A file written by 'bench tasks export' or 'bench run'.")],
    dataset: DatasetOption = None,
    data_dir: DataDir = None,
    overrides: Overrides = None,
) -> None:
    """Check that a list of tasks is whole and means the same images here.

    Example:

      bench tasks verify omniglot-5way-1shot.parquet --dataset omniglot --data-dir DIR
    """
    from bench.catalogue import options
    from bench.config import dataset_values, parse_overrides
    from bench.datasets.prepare import default_cache
    from bench.progress import Reporter
    from bench.run import open_dataset
    from bench.tasks.manifest import load

    manifest = load(file)
    if dataset is None and manifest.dataset not in options("dataset"):
        raise BenchError(
            f"the tasks are of {manifest.dataset!r}; say with --dataset, and settings, how to read that here"
        )
    values = dataset_values(dataset or manifest.dataset, parse_overrides(overrides or ()), _there(data_dir))
    with Reporter() as reporter:
        manifest.verify(open_dataset(values, default_cache(), reporter))
    _console().print(
        f"{file} is whole: {manifest.tasks} tasks, {manifest.spec}, SHA-256 {manifest.sha256}",
        markup=False,
        soft_wrap=True,
    )


def main() -> None:
    """Entry point: one sentence and exit code 2 for what the user can mend, 130 for Ctrl-C."""
    keep_temporaries()
    # Typer used to build on click and now carries its own copy; both have this class there.
    usage_error: type[Any] = typer.BadParameter.__mro__[2]
    try:
        code = app(standalone_mode=False)
    except BenchError as error:
        sys.stderr.write(f"error: {error}\n")
        code = 2
    except usage_error as error:
        if what := error.format_message().strip():  # empty where a bare 'bench' has shown its help
            help_ = "'bench --help' and 'bench COMMAND --help' show what there is"
            sys.stderr.write(f"error: {what.removesuffix('.')}. {help_}\n")
        code = error.exit_code
    except (typer.Abort, KeyboardInterrupt):
        sys.stderr.write("interrupted; run the same command again to go on\n")
        code = 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    raise SystemExit(code if isinstance(code, int) else 0)
