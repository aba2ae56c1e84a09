"""``bench list`` and ``bench weights``: what can be named, what can be fetched."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from bench.basics.errors import BenchError
from bench.cli import completing, documents
from bench.cli.app import Methods, app
from bench.cli.asking import console, say
from bench.cli.documents import Json


@app.command("list")
def list_(
    what: Annotated[
        str,
        typer.Argument(
            help="methods, datasets, budgets, experiments, plugins, or any other group; all: what one begins with.",
            autocompletion=completing.kinds(),
        ),
    ] = "all",
    group: Annotated[
        str | None,
        typer.Option(
            help="Only methods that are ranked there, comma-separated: unsupervised, floor, ceiling, transfer; or "
            "supervised, those that see labels.",
            show_default="all",
            autocompletion=completing.ranks(),
        ),
    ] = None,
    search: Annotated[
        str | None,
        typer.Option(help="Only what has this text in its name, title, family or citation.", show_default="all"),
    ] = None,
    long: Annotated[bool, typer.Option("--long", help="Also licence, citation and where to get a dataset.")] = False,
    as_json: Json = False,
) -> None:
    """List what can be named: methods, datasets, budgets and experiments; with the name of a group also generators,
    encoders, backbones, learners, classifiers and views.

    'bench list plugins' tries what installed packages bring, and says what of it cannot be used, and why. 'bench
    explain NAME' says more of one.

    Examples:

      bench list

      bench list methods

      bench list methods --group unsupervised --search acai

      bench list datasets --long

      bench list plugins
    """
    from bench.planning.listing import Wanted, document, listing

    wanted = Wanted(group, search)
    if as_json:
        with documents.alone(True):
            found = document(what, wanted)
        documents.write(found)
        return
    for part in listing(what, long, wanted):
        say(part) if isinstance(part, str) else console().print(part)


@app.command()
def explain(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME",
            help="A method, a family, or with --group another component.",
            autocompletion=completing.of_group(),
        ),
    ] = None,
    methods: Methods = None,
    group: Annotated[
        str | None,
        typer.Option(
            help="What NAME is: method, dataset, learner, backbone, generator, encoder, views, classifier, budget.",
            show_default="a method, or what else has that name",
            autocompletion=completing.groups(),
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Say what a method or component is: its paper, its settings with meaning and range, how to run it.

    Examples:

      bench explain lasium

      bench explain lasium-ro-vae-maml

      bench explain omniglot

      bench explain --group encoder moco
    """
    from bench.planning.telling import told
    from bench.planning.told_lines import lines

    named = [*(words or ()), *([methods] if methods is not None else ())]
    if len(named) != 1:
        raise BenchError(f"name one, for example 'bench explain lasium', not {', '.join(named) or 'none'}")
    with documents.alone(as_json):
        found = told(named[0], group)
    if as_json:
        documents.write(found)
        return
    for part in lines(found):
        say(part) if isinstance(part, str) else console().print(part)


@app.command()
def weights(
    name: Annotated[
        str | None,
        typer.Argument(help="vgg19, progan, …", show_default="all are listed", autocompletion=completing.weights()),
    ] = None,
    download: Annotated[bool, typer.Option("--download", help="Fetch the file.")] = False,
    to: Annotated[Path, typer.Option("--to", help="Folder for the file.")] = Path("weights"),
    sha256: Annotated[
        str | None, typer.Option(show_default="as published", help="What its checksum must be, or begin with.")
    ] = None,
    as_json: Json = False,
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
    if as_json and not download:
        documents.write({"weights": chosen})
    for one in () if as_json else chosen:
        say(f"{one.name}: {one.what} ({one.cite})")
        for label, text in (("from", one.url), ("licence", one.licence), ("note", one.note)):
            say(f"  {label}: {text}")
    if download:
        from bench.basics.progress import Reporter
        from bench.foreign.pretrained import digest
        from bench.planning.overrides import setting_text

        with Reporter() as reporter:
            path = public.fetch(chosen[0], to, sha256, reporter)
        setting, sha256 = setting_text(chosen[0].setting, str(path)), digest(str(path))
        if as_json:
            documents.write({"weights": chosen, "file": path, "sha256": sha256, "use": setting})
            return
        say(f"{path}, SHA-256 {sha256}")
        say(f"use it with {shlex.quote(setting)}")
