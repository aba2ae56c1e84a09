"""``bench new``: the package of a method or component of one's own."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from bench.cli import completing
from bench.cli.app import app
from bench.cli.asking import say


@app.command()
def new(
    kind: Annotated[
        str,
        typer.Argument(
            help="method, generator, encoder, dataset or backbone.",
            autocompletion=completing.words("method", "generator", "encoder", "dataset", "backbone"),
        ),
    ],
    name: Annotated[str, typer.Argument(help="What it is called on the command line: my-method.")],
    out: Annotated[Path, typer.Option(help="Folder for the package's folder.")] = Path(),
) -> None:
    """Write a package with a method or component of one's own that works at once, to change from there.

    Class, settings, test, and the entry point that makes it known. Nothing is installed.

    Examples:

      bench new method my-method

      bench new encoder my-encoder --out ~/code
    """
    from bench.planning.new import write

    folder, run = write(kind, name, out)
    say(f"{folder} is written; this installs it, so that edits count at once, and runs it:")
    say(f"  pip install -e {shlex.quote(str(folder))}")
    say(f"  {run}")
