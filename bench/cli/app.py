"""The application that the commands join, and the options that they share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

import bench
from bench.cli import completing

app = typer.Typer(
    name="bench",
    help="The benchmark for unsupervised meta-learning: every method on the same sealed few-shot tasks.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="rich",
)
tasks_app = typer.Typer(help="The sealed evaluation tasks as files that any code can read.", no_args_is_help=True)
app.add_typer(tasks_app, name="tasks")


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"bench {bench.__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", "-V", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """The benchmark for unsupervised meta-learning: every method on the same sealed few-shot tasks."""


Methods = Annotated[
    str | None,
    typer.Option(
        "--methods",
        "-m",
        help="Families, exact names or globs, comma-separated: lasium,'umtra-*'. The same as naming them without it.",
        show_default="those that are named",
        autocompletion=completing.methods(),
    ),
]
Words = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="METHODS|SETTINGS",
        help="Families, exact names or globs: lasium 'umtra-*'; and settings, as Hydra overrides: "
        "method.alpha=0.2,0.4 backbone=conv4.",
        autocompletion=completing.methods(),
    ),
]


def dataset_option(default: str) -> Any:
    """``--dataset``, with what it is without it."""
    return typer.Option(
        "--dataset",
        "-d",
        help="A name from 'bench list datasets'.",
        show_default=default,
        autocompletion=completing.options("dataset"),
    )


DatasetOption = Annotated[str | None, dataset_option("glyphs")]
DatasetOfExperiment = Annotated[str | None, dataset_option("glyphs, or that of --experiment")]
Ways = Annotated[
    str | None,
    typer.Option(
        help="Classes per task, comma-separated: 5,20. Methods train on tasks of the smallest.",
        show_default="5, or what is usual on the dataset or in --experiment",
    ),
]
Shots = Annotated[
    str | None,
    typer.Option(
        help="Support images per class, comma-separated: 1,5.",
        show_default="1, or what is usual on the dataset or in --experiment",
    ),
]
Seeds = Annotated[str, typer.Option(help="Training seeds, comma-separated, or from-to: 0,1,2 or 0-2.")]
BudgetOption = Annotated[
    str | None,
    typer.Option(
        help="How long to train: smoke, quick or paper.",
        show_default="quick, or that of --experiment",
        autocompletion=completing.options("budget"),
    ),
]
Device = Annotated[
    str,
    typer.Option(
        help="auto, cpu, cuda or cuda:1; on a GPU in float32, unless precision=tf32 is given.",
        autocompletion=completing.words("auto", "cpu", "cuda"),
    ),
]
Runs = Annotated[Path, typer.Option("--runs", help="Folder of run records.")]
RunsToRead = Annotated[Path, typer.Option("--runs", "--out", help="Folder of run records.")]
Out = Annotated[Path, typer.Option("--out", "--runs", help="Folder of run records.")]
Experiment = Annotated[
    str | None,
    typer.Option(
        "--experiment",
        "-e",
        help="A table of a paper, from 'bench list experiments'.",
        show_default="none",
        autocompletion=completing.options("experiment"),
    ),
]
References = Annotated[
    bool,
    typer.Option("--references/--no-references", help="Also run the floors and ceilings of every leaderboard."),
]
DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        envvar="BENCH_DATA",
        help="Folder with the raw data of datasets.",
        show_default="none, which is enough for glyphs",
    ),
]


def _offline(asked: bool) -> bool:
    if asked:
        from bench.basics.offline import go_offline

        go_offline()
    return asked


Offline = Annotated[
    bool,
    typer.Option("--offline", callback=_offline, help="Never touch the network, workers neither; or BENCH_OFFLINE=1."),
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="SETTINGS", help="Settings, as Hydra overrides: method.alpha=0.2,0.4 backbone=conv4."),
]
