"""How to cite what a report rests on: entries for BibTeX."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from bench.leaderboard.table import Table
from bench.reporting.foreign import one_line
from bench.reporting.latex_text import escape

AUTHORS = "{The bench authors}"
TITLE = "The benchmark for unsupervised meta-learning"


def citations(tables: Sequence[Table]) -> tuple[str, ...]:
    """One entry for the report, and one for each data set whose records say where it comes from."""
    years = sorted(one[:4] for table in tables for one in (table.made.last,) if one)
    datasets = tuple(dict.fromkeys(table.dataset for table in tables))
    versions = dict.fromkeys(version for table in tables for version in table.made.versions)
    manifests = [one.manifest[:12] for table in tables for one in table.manifests.values()]
    note = f"Leaderboard of {', '.join(datasets)}; tasks {', '.join(manifests)}"
    found = [
        _entry(
            "misc",
            f"bench-{'-'.join(datasets)}",
            {
                "title": f"{TITLE}: {', '.join(datasets)}",
                "author": AUTHORS,
                "year": years[-1] if years else "",
                "note": note + (f"; version {', '.join(versions)}" if versions else ""),
            },
        )
    ]
    seen = set()
    for table in tables:
        name, made = table.dataset.partition(",")[0], table.made
        if (made.cite or made.homepage) and name not in seen:
            seen.add(name)
            address = made.homepage if re.fullmatch(r"https?://[!-~]+", made.homepage) else ""
            note = ", ".join(part for part in (made.cite, made.licence) if part)
            found.append(_entry("misc", f"data-{name}", {"title": name, "note": note, "howpublished": address}))
    return tuple(found)


def _entry(kind: str, key: str, fields: Mapping[str, str]) -> str:
    lines = [f"@{kind}{{{re.sub(r'[^A-Za-z0-9-]+', '-', key).strip('-')[:60]},"]
    for name, value in fields.items():
        if value == AUTHORS:
            lines.append(f"  {name} = {{{value}}},")
        elif name == "howpublished" and value:
            lines.append(f"  {name} = {{\\url{{{value.replace('{', '').replace('}', '')}}}}},")
        elif value:
            lines.append(f"  {name} = {{{escape(one_line(value))}}},")
    return "\n".join([*lines, "}"])
