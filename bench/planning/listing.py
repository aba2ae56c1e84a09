"""``bench list``: what can be named. Reads YAML only, but for plugins, whose classes are tried."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
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

RANKS = ("unsupervised", "floor", "ceiling", "transfer", "supervised")
"""What ``--group`` takes of methods: among whom they are ranked; supervised are those that labels are given to."""

FIELDS = ("title", "about", "licence", "cite", "homepage")


def plural(kind: str) -> str:
    """``datasets``, ``views``."""
    return kind if kind.endswith("s") else f"{kind}s"


def kinds() -> list[str]:
    """What can be listed, in the singular."""
    return sorted({*catalogue.groups(), "experiment", "executor", "plugin"})


@dataclass(frozen=True, slots=True)
class Wanted:
    """What of it is listed. group: words of :data:`RANKS`, of methods only. search: a text in a name or a card."""

    group: str | None = None
    search: str | None = None

    def __post_init__(self) -> None:
        for word in self.groups:
            if word not in RANKS:
                raise BenchError(f"--group {word!r} is none of {', '.join(RANKS)}.{did_you_mean(word, RANKS)}")

    @property
    def groups(self) -> list[str]:
        """The words of ``group``."""
        return [] if self.group is None else [one.strip() for one in self.group.split(",")]

    def has(self, entry: Mapping[str, Any]) -> bool:
        """Whether an entry of :func:`document` is wanted."""
        ranked = {entry.get("group"), "supervised" if entry.get("supervised") else None}
        if self.groups and ranked.isdisjoint(self.groups):
            return False
        return self.search is None or self.search.casefold() in _searched(entry).casefold()


def document(what: str, wanted: Wanted = Wanted()) -> dict[str, list[dict[str, Any]]]:
    """Plain values: the options of one group (singular or plural), or of everything a user starts with.

    BenchError for what cannot be listed, and for a group of anything but methods.
    """
    chosen = _kinds_of(what)
    if wanted.group is not None and chosen not in (["method"], list(_ALL)):
        raise BenchError(f"--group parts methods, and {what} have none; for example 'bench list methods --group floor'")
    if wanted.group is not None:
        chosen = ["method"]
    return {plural(kind): [one for one in _entries(kind) if wanted.has(one)] for kind in chosen}


def listing(what: str, long: bool = False, wanted: Wanted = Wanted()) -> Iterator[Table | str]:
    """The same as tables and lines."""
    if _kinds_of(what) == ["plugin"]:
        yield from _plugin_lines(document(what, wanted)["plugins"])
        return
    entries = document(what, wanted)
    if not any(entries.values()) and wanted != Wanted():
        yield f"nothing is found{_said(wanted)}; 'bench list {what}' shows all"
        return
    for kind in (one for one in _kinds_of(what) if plural(one) in entries):
        if (some := entries[plural(kind)]) or wanted == Wanted():
            yield _methods(some) if kind == "method" else _table(kind, some, long)


_ALL = ("method", "dataset", "budget", "experiment")


def _kinds_of(what: str) -> list[str]:
    if what == "all":
        return list(_ALL)
    found = [kind for kind in kinds() if what in (kind, plural(kind))]
    if not found:
        names = [plural(one) for one in kinds()]
        raise BenchError(f"nothing to list under {what!r}.{did_you_mean(what, names)} There are: {', '.join(names)}")
    return found


def _said(wanted: Wanted) -> str:
    group = f" in group {wanted.group}" if wanted.group is not None else ""
    return group + (
        f" with {wanted.search!r} in a name, title, family or citation" if wanted.search is not None else ""
    )


def _searched(entry: Mapping[str, Any]) -> str:
    return "\n".join(str(entry.get(key, "")) for key in ("name", "title", "family", "cite", "about", "what"))


def _entries(kind: str) -> Iterator[dict[str, Any]]:
    if kind == "method":
        yield from _method_entries()
    elif kind == "plugin":
        yield from _plugin_entries()
    else:
        for name in catalogue.options(kind):
            shown = _described(kind, catalogue.raw(kind, name))
            yield {"name": name, **{key: str(shown.get(key, "")) for key in FIELDS}}


def _method_entries() -> Iterator[dict[str, Any]]:
    families = {family: catalogue.raw("method", family) for family in catalogue.options("method")}
    headline = {name for one in families.values() for names in (one.get("headline") or {}).values() for name in names}
    for one in catalogue.variants().values():
        yield {
            "name": one.name,
            "title": one.title,
            "family": one.family,
            "group": one.group,
            "supervised": one.supervised,
            "headline": one.name in headline,
            "side": list(of_variant(one)),
            "needs": list(one.own),
            "cite": one.cite,
            "about": str(families[one.family].get("card", {}).get("about", "")),
        }


def _table(kind: str, entries: Sequence[Mapping[str, Any]], long: bool) -> Table:
    fields = FIELDS if long else FIELDS[:2]
    table = _empty(plural(kind), ("name", *fields))
    for entry in entries:
        _add(table, entry["name"], *(entry[key] for key in fields))
    return _noted(table, kind)


def _methods(entries: Sequence[Mapping[str, Any]]) -> Table:
    table = _empty("methods", ("name", "group", "labels", "side information", "needs", "from"))
    for one in entries:
        mark = " *" if one["headline"] else ""
        labels = "meta-train" if one["supervised"] else "other images" if one["group"] == "transfer" else "none"
        _add(
            table,
            one["name"] + mark,
            one["group"],
            labels,
            ", ".join(one["side"]),
            ", ".join(one["needs"]),
            one["cite"],
        )
    table.caption = (
        "* what the family's name alone stands for; globs work too: 'lasium-*-protonet'. Methods that need a "
        "setting of your own come by name, or by a glob with their word: 'lasium-*-file-*' generator.path=my.pt2. "
        "'bench explain NAME' says what one is"
    )
    return _noted(table, "method")


def _described(kind: str, values: Mapping[str, Any]) -> Mapping[str, Any]:
    if kind != "budget":
        return {**values, **values.get("card", {})}
    epochs = values["generator_epochs"]
    own = "as many generator epochs as its paper" if isinstance(epochs, str) else f"{epochs} generator epochs"
    tasks = values.get("evaluation_tasks", 1000)
    return {"about": f"{values['meta_iterations']} meta-iterations, {own}, {tasks} evaluation tasks"}


def _plugin_entries() -> Iterator[dict[str, Any]]:
    """What every plugin brings, and the reason for all that cannot be used; last the project's own, if need be."""
    brought: dict[Path, list[str]] = defaultdict(list)
    wrong: dict[Path, list[dict[str, str]]] = defaultdict(list)
    own = catalogue.config_folders()[0]
    for kind in (*catalogue.groups(), "experiment"):
        for file in catalogue.files(kind):
            folder = file.path.parents[1]
            reason = file.reason or (None if folder == own else _fault(kind, file.name))
            if reason is None:
                brought[folder].append(f"{kind} {file.name}")
            else:
                wrong[folder].append({"file": str(file.path), "reason": reason})
    for one in catalogue.plugins():
        found = {"name": one.name, "where": None if one.where is None else str(one.where), "problem": one.problem}
        configs = one.configs or Path()
        yield {**found, "brings": brought[configs], "unusable": wrong[configs]} if one.configs else found
    if wrong[own]:
        yield {"name": "", "where": str(own), "problem": None, "brings": [], "unusable": wrong[own]}


def _plugin_lines(entries: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for one in entries:
        if one["problem"] is not None:
            yield _plain(f"{one['name']} ({one['where']}) cannot be used: {one['problem']}")
            continue
        if one["name"]:
            yield _plain(f"{one['name']} ({one['where']}): {', '.join(one['brings']) or 'nothing that can be used'}")
        yield from (_plain(f"  {fault['file']} cannot be used: {fault['reason']}") for fault in one["unusable"])
    installed = "" if entries else "none is installed; "
    yield f"{installed}plugins are packages that register the entry point 'bench.plugins' and hold a folder 'configs'"


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
