"""``bench list``: what can be named. Reads YAML only."""

from __future__ import annotations

from collections.abc import Iterator

from rich.table import Table

from bench.basics.errors import BenchError, did_you_mean
from bench.planning import catalogue


def listing(what: str, long: bool = False) -> Iterator[Table]:
    """Tables of the options of one group (singular or plural), or of everything a user starts with."""
    kinds = sorted({*catalogue.groups(), "experiment"})
    if what == "all":
        for kind in ("method", "dataset", "budget", "experiment"):
            yield _table(kind, long)
        return
    kind = what.removesuffix("s")
    if kind not in kinds:
        names = [f"{one}s" for one in kinds]
        raise BenchError(f"nothing to list under {what!r}.{did_you_mean(what, names)} There are: {', '.join(names)}")
    yield _table(kind, long)


def _table(kind: str, long: bool) -> Table:
    table = Table(title=f"{kind}s", title_justify="left", title_style="bold", pad_edge=False, box=None)
    if kind == "method":
        for column in ("name", "group", "labels", "needs", "from"):
            table.add_column(column, overflow="fold")
        for one in catalogue.variants().values():
            family = catalogue.raw("method", one.family)
            headline = {name for names in (family.get("headline") or {}).values() for name in names}
            mark = " *" if one.name in headline else ""
            labels = "meta-train" if one.supervised else "other images" if one.group == "transfer" else "none"
            table.add_row(one.name + mark, one.group, labels, ", ".join(one.own), one.cite)
        table.caption = (
            "* what the family's name alone stands for; globs work too: 'lasium-*-protonet'. Methods that need a "
            "setting of your own come by name, or by a glob with their word: 'lasium-*-file-*' generator.path=my.pt2"
        )
        table.caption_justify = "left"
        return table
    fields = ("title", "about", "licence", "cite", "homepage") if long else ("title", "about")
    for column in ("name", *fields):
        table.add_column(column, overflow="fold")
    for name in catalogue.options(kind):
        values = catalogue.raw(kind, name)
        card = {**values, **values.get("card", {})}
        shown = {key: str(card.get(key, "")) for key in fields}
        if kind == "budget":
            epochs = values["generator_epochs"]
            own = "as many generator epochs as its paper" if isinstance(epochs, str) else f"{epochs} generator epochs"
            shown["about"] = (
                f"{values['meta_iterations']} meta-iterations, {own}, {values['evaluation_tasks']} evaluation tasks"
            )
        table.add_row(name, *(" ".join(shown[key].split()) for key in fields))
    return table
