"""``bench list``: what can be named. Reads YAML only, but for plugins, whose classes are tried."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from bench.basics.errors import BenchError, did_you_mean
from bench.planning import catalogue
from bench.planning.components import check_choices, resolve, unknown_setting
from bench.planning.lines import line_of
from bench.planning.paper_layout import paper_layout
from bench.planning.side import of_variant


def listing(what: str, long: bool = False) -> Iterator[Table | str]:
    """Tables and lines: the options of one group (singular or plural), or of everything a user starts with."""
    kinds = sorted({*catalogue.groups(), "experiment", "plugin"})
    if what == "all":
        for kind in ("method", "dataset", "budget", "experiment"):
            yield _table(kind, long)
        return
    kind = what.removesuffix("s")
    if kind not in kinds:
        names = [f"{one}s" for one in kinds]
        raise BenchError(f"nothing to list under {what!r}.{did_you_mean(what, names)} There are: {', '.join(names)}")
    if kind != "plugin":
        yield _table(kind, long)
        return
    lines = list(_plugins())
    yield from lines
    installed = "" if lines else "none is installed; "
    yield f"{installed}plugins are packages that register the entry point 'bench.plugins' and hold a folder 'configs'"


def _table(kind: str, long: bool) -> Table:
    if kind == "method":
        return _methods()
    fields = ("title", "about", "licence", "cite", "homepage") if long else ("title", "about")
    table = _empty(f"{kind}s", ("name", *fields))
    for name in catalogue.options(kind):
        values = catalogue.raw(kind, name)
        shown = _described(kind, values)
        _add(table, name, *(str(shown.get(key, "")) for key in fields))
    return _noted(table, kind)


def _methods() -> Table:
    table = _empty("methods", ("name", "group", "labels", "side information", "needs", "from"))
    families = [catalogue.raw("method", family) for family in catalogue.options("method")]
    headline = {name for family in families for names in (family.get("headline") or {}).values() for name in names}
    for one in catalogue.variants().values():
        mark = " *" if one.name in headline else ""
        labels = "meta-train" if one.supervised else "other images" if one.group == "transfer" else "none"
        _add(table, one.name + mark, one.group, labels, ", ".join(of_variant(one)), ", ".join(one.own), one.cite)
    table.caption = (
        "* what the family's name alone stands for; globs work too: 'lasium-*-protonet'. Methods that need a "
        "setting of your own come by name, or by a glob with their word: 'lasium-*-file-*' generator.path=my.pt2"
    )
    return _noted(table, "method")


def _described(kind: str, values: Mapping[str, Any]) -> Mapping[str, Any]:
    if kind != "budget":
        return {**values, **values.get("card", {})}
    epochs = values["generator_epochs"]
    own = "as many generator epochs as its paper" if isinstance(epochs, str) else f"{epochs} generator epochs"
    tasks = values.get("evaluation_tasks", 1000)
    return {"about": f"{values['meta_iterations']} meta-iterations, {own}, {tasks} evaluation tasks"}


def _plugins() -> Iterator[str]:
    """What every plugin brings, and a line with the reason for everything that cannot be used."""
    kinds = (*catalogue.groups(), "experiment")
    brought: dict[Path, list[str]] = defaultdict(list)
    wrong: dict[Path, list[str]] = defaultdict(list)
    for kind in kinds:
        for file in catalogue.files(kind):
            folder = file.path.parents[1]
            ours = folder == catalogue.config_folders()[0]
            reason = file.reason or (None if ours else _fault(kind, file.name))
            if reason is None:
                brought[folder].append(f"{kind} {file.name}")
            else:
                wrong[folder].append(f"  {file.path} cannot be used: {reason}")
    for one in catalogue.plugins():
        if one.configs is None:
            yield _plain(f"{one.name} ({one.where}) cannot be used: {one.problem}")
            continue
        yield _plain(f"{one.name} ({one.where}): {', '.join(brought[one.configs]) or 'nothing that can be used'}")
        yield from map(_plain, wrong[one.configs])
    yield from map(_plain, wrong[catalogue.config_folders()[0]])


def _fault(kind: str, name: str) -> str | None:
    """Why a file that reads well cannot be used: its class is tried, or the layout of an experiment."""
    try:
        if kind == "experiment":
            paper_layout(name)
        elif kind != "budget":
            values, path = catalogue.raw(kind, name), catalogue.options(kind)[name]
            settings = [key for key in values if key not in catalogue.RESERVED] + list(values.get("uses", ()))
            if unknown := unknown_setting(resolve(str(values["_target_"])), settings):
                return f"line {line_of(path, unknown[0]) or line_of(path, 'uses')}: {values['_target_']} {unknown[1]}"
            if kind == "method":
                check_choices(name)
    except BenchError as error:
        return str(error).removeprefix(f"{catalogue.options(kind)[name]}, ")
    return None


def _empty(title: str, columns: tuple[str, ...]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", pad_edge=False, box=None)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _add(table: Table, *cells: str) -> None:
    """Words of files are shown as they are: no markup of the terminal's, nothing that moves its cursor."""
    table.add_row(*(Text(" ".join(_plain(cell).split())) for cell in cells))


def _plain(text: str) -> str:
    return "".join(one if one.isprintable() else " " for one in text)


def _noted(table: Table, kind: str) -> Table:
    """Say beneath that there is more which cannot be used."""
    if broken := catalogue.problems(kind):
        note = f"{len(broken)} more cannot be used: 'bench list plugins' says why"
        table.caption = f"{table.caption}. {note}" if table.caption else note
    table.caption_justify = "left"
    return table
