"""``bench explain`` for people: what :mod:`bench.planning.telling` found, as tables and lines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

MOST_NAMES = 12


def lines(found: Mapping[str, Any]) -> Iterator[Table | str]:
    """Parts to print; texts of files are shown as they are, without anything that moves a cursor."""
    yield shown(f"{found['name']}: {found['title']}" if found["title"] != found["name"] else found["name"])
    yield from (f"  {shown(found[key])}" for key in ("what", "about") if found[key])
    yield ""
    told = list(_facts(found))
    facts = Table.grid(padding=(0, 2))
    facts.add_column(min_width=max(len(name) for name, _ in told))
    facts.add_column(overflow="fold")
    for name, text in told:
        facts.add_row(Text(name), Text(shown(text)))
    yield facts
    if parts := found.get("parts"):
        yield ""
        rows = [(one["group"], f"{one['title']}. {one['what']}".strip(), one["length"] or "") for one in parts]
        yield _table(("made of", "what it is", "how long it is trained"), rows)
    if settings := found["settings"]:
        yield ""
        each = [(one["name"], value_text(one["value"]), one["type"], _meaning(one)) for one in settings]
        yield _table(("setting", "now", "type", "meaning"), each)
    yield ""
    yield f"run it with: {shown(found['run'])}"
    for group in found["also"]:
        yield f"{shown(found['name'])} is of group {group} too: bench explain --group {group} {shown(found['name'])}"


def _facts(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    kind = found["kind"]
    if kind == "method":
        yield "kind", f"method of family {found['family']}, ranked as {found['group']}"
        yield "labels", "of meta-train" if found["supervised"] else "none"
        some = [f"{word} (some of its names)" for word in found["side_of_some"]]
        yield "side information", ", ".join([*found["side"], *some]) or "none"
        names = found["names"]
        if len(names) > 1:
            more = f" and {len(names) - MOST_NAMES} more, see 'bench list methods'" if len(names) > MOST_NAMES else ""
            yield "names", ", ".join(names[:MOST_NAMES]) + more
            if found["headline"]:
                yield f"{found['name']} alone", f"stands for {', '.join(found['headline'])}"
    else:
        yield "kind", kind
        if found["used_by"]:
            yield "chosen by", f"methods of {', '.join(found['used_by'])}"
    if found["needs"]:
        yield "needs", f"{' and '.join(found['needs'])}, yours to give"
    if found["cite"]:
        yield "paper", found["cite"]
    for paper in found["papers"]:
        yield "", " ".join(filter(None, (paper["title"] + ".", paper["url"])))
    for key in ("licence", "homepage", "class", "file"):
        if found[key]:
            yield key, found[key]


def _meaning(one: Mapping[str, Any]) -> str:
    return f"{one['meaning']} (fixed by the name)".strip() if one["fixed"] else one["meaning"]


def value_text(value: Any) -> str:
    """As it would be typed: ``true``, ``null``, ``[0.0, 1.0]``."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(value_text, value))}]"
    return str(value)


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(shown(cell)) for cell in row))
    return table


def shown(text: str) -> str:
    """In one line, of what can be printed."""
    return " ".join("".join(one if one.isprintable() else " " for one in text).split())
