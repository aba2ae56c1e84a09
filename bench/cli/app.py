"""The application that the commands join, and the options that they share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import bench

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


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"bench {bench.__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """The benchmark for unsupervised meta-learning: every method on the same sealed few-shot tasks."""


Methods = Annotated[
    str | None,
    typer.Option("--methods", "-m", help="Families, exact names or globs, comma-separated: lasium,'umtra-*'."),
]
DatasetOption = Annotated[str | None, typer.Option("--dataset", "-d", help="A name from 'bench list datasets'.")]
Ways = Annotated[
    str | None, typer.Option(help="Classes per task, comma-separated: 5,20. Methods train on tasks of the smallest.")
]
Shots = Annotated[str | None, typer.Option(help="Support images per class, comma-separated: 1,5.")]
Seeds = Annotated[str, typer.Option(help="Training seeds, comma-separated, or from-to: 0,1,2 or 0-2.")]
BudgetOption = Annotated[str | None, typer.Option(help="How long to train: smoke, quick or paper.")]
Device = Annotated[
    str, typer.Option(help="auto, cpu, cuda or cuda:1; on a GPU in float32, unless precision=tf32 is given.")
]
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
