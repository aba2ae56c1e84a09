"""``bench list`` and ``bench weights``: what can be named, what can be fetched."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from bench.basics.errors import BenchError
from bench.cli.app import app
from bench.cli.asking import console, say


@app.command("list")
def list_(
    what: Annotated[
        str, typer.Argument(help="methods, datasets, budgets, experiments, plugins, or any other group.")
    ] = "all",
    long: Annotated[bool, typer.Option("--long", help="Also licence, citation and where to get a dataset.")] = False,
) -> None:
    """List what can be named: methods, datasets, budgets, learners, backbones, generators, experiments.

    'bench list plugins' tries what installed packages bring, and says what of it cannot be used, and why.

    Examples:

      bench list

      bench list methods

      bench list datasets --long

      bench list plugins
    """
    from bench.planning.listing import listing

    for part in listing(what, long):
        say(part) if isinstance(part, str) else console().print(part)


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
    from bench.foreign import weights as public

    chosen = [public.find(name)] if name else list(public.published().values())
    if download and name is None:
        raise BenchError("--download takes one name, for example: bench weights vgg19 --download")
    for one in chosen:
        say(f"{one.name}: {one.what} ({one.cite})")
        for label, text in (("from", one.url), ("licence", one.licence), ("note", one.note)):
            say(f"  {label}: {text}")
    if download:
        from bench.basics.progress import Reporter
        from bench.foreign.pretrained import digest
        from bench.planning.overrides import setting_text

        with Reporter() as reporter:
            path = public.fetch(chosen[0], to, sha256, reporter)
        say(f"{path}, SHA-256 {digest(str(path))}")
        say(f"use it with {shlex.quote(setting_text(chosen[0].setting, str(path)))}")
