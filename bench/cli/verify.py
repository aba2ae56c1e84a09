"""``bench verify``: is everything below a folder of runs what it was when it was written?"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from bench.basics.errors import BenchError
from bench.cli import documents
from bench.cli.app import RunsToRead, app
from bench.cli.asking import say
from bench.cli.documents import Json


@app.command()
def verify(
    runs: RunsToRead = Path("runs"),
    rescore: Annotated[
        bool, typer.Option("--rescore", help="Also answer the sealed tasks again from the kept weights, and compare.")
    ] = False,
    seal: Annotated[
        bool, typer.Option("--seal", help="Seal the whole records of version 0.1, which had no seals.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Check records, scores, weights, artifacts and task lists against their digests.

    A digest finds accidents: flipped bits, files of other runs, numbers edited by hand. Exit code 1 where something is
    damaged or comes out otherwise.

    Examples:

      bench verify

      bench verify --runs reports/omniglot/records

      bench verify --runs runs --rescore
    """
    from bench.basics.progress import Reporter
    from bench.datasets.prepare import default_cache
    from bench.looking.inspection.records import inspection_files, read_inspection
    from bench.running.verify import Finding
    from bench.running.verify import verify as findings

    found: list[Finding] = []
    with documents.alone(as_json), Reporter() as reporter:
        for one in findings(runs, default_cache(), reporter, again=rescore, seal=seal):
            found.append(one)
            if one.said and not as_json:
                say(f"{one.state}: {one.said}")
    for path in inspection_files(runs):
        try:
            read_inspection(path)
            found.append(Finding("file", path, "whole"))
        except BenchError as error:
            found.append(Finding("file", path, "damaged", str(error)))
            if not as_json:
                say(f"damaged: {error}")
    states = Counter(one.state for one in found)
    if not found:
        raise BenchError(f"there is nothing of bench below {runs}")
    if as_json:
        documents.write({"checked": len(found), "states": states, "findings": found})
    else:
        say(f"{len(found)} checked: {', '.join(f'{count} {state}' for state, count in states.most_common())}")
    if states["damaged"] or states["otherwise"]:
        raise typer.Exit(1)
