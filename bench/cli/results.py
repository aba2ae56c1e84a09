"""``bench report``, ``bench compare`` and ``bench check``: what came out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.basics.errors import BenchError, did_you_mean
from bench.cli.app import DatasetOption, app
from bench.cli.asking import console, numbers, say, warn

if TYPE_CHECKING:
    from bench.leaderboard.baseline import Baseline


@app.command()
def report(
    runs: Annotated[Path, typer.Option(help="Folder of run records.")] = Path("runs"),
    out: Annotated[Path, typer.Option(help="Folder to write to.")] = Path("reports"),
    format: Annotated[
        str, typer.Option("--format", help="md, html, tex, csv, png; comma-separated.")
    ] = "md,html,tex,csv,png",
    experiment: Annotated[
        str | None, typer.Option(help="Only this table or figure of a paper, from 'bench list experiments'.")
    ] = None,
    records: Annotated[
        bool,
        typer.Option(
            "--records",
            help="Also keep what the report rests on in OUT/records: small, without weights and paths.",
        ),
    ] = False,
    side: Annotated[
        str | None, typer.Option(help="Only rows that use no side information but this; 'none' is none at all.")
    ] = None,
    without: Annotated[
        str | None, typer.Option(help="Only rows that do not use this side information, comma-separated.")
    ] = None,
) -> None:
    """Write the leaderboard of all finished runs: tables with intervals, seed spread and ties, and figures.

    Experiments of a paper of which there are runs come in the paper's own layout too, beside its numbers.

    Examples:

      bench report

      bench report --runs runs --out reports/omniglot --format md,html

      bench report --experiment table7

      bench report --runs runs --out reports/omniglot --records

      bench report --side none

      bench report --without transduction,class-size-prior
    """
    from bench.leaderboard.selection import wanted
    from bench.reporting.report import write_report

    formats = [part.strip() for part in format.split(",") if part.strip()]
    for path in write_report(runs, out, formats, experiment, records, warn, wanted(side, without)):
        say(str(path))


@app.command()
def compare(
    a: Annotated[str, typer.Argument(help="A method as a record names it; METHOD@BUDGET where it has several.")],
    b: Annotated[str, typer.Argument(help="Another one.")],
    runs: Annotated[Path, typer.Option(help="Folder of run records.")] = Path("runs"),
    dataset: DatasetOption = None,
) -> None:
    """Compare two methods task by task: difference, 95 % interval, p-value.

    Examples:

      bench compare lasium-ro-vae-maml umtra-maml

      bench compare lasium-ro-vae-maml umtra-maml --dataset omniglot

      bench compare umtra-maml@paper umtra-maml@paper,meta_iterations=5000
    """
    from bench.leaderboard.compare import compare as compare_methods
    from bench.leaderboard.loading import load
    from bench.reporting.terminal import comparison_table

    frames = load(runs)
    warn(frames.problems)
    found = compare_methods(a, b, frames)
    if dataset is not None:
        shared = {one.evaluation.dataset for one in found}
        found = [one for one in found if one.evaluation.dataset == dataset]
        if not found:
            hint = did_you_mean(dataset, shared)
            raise BenchError(f"{a} and {b} have no tasks of dataset {dataset!r} in common.{hint}")
    console().print(comparison_table(found))


@app.command()
def check(
    baseline: Annotated[Path, typer.Option(help="The baseline file.")],
    runs: Annotated[Path, typer.Option(help="Folder of run records.")] = Path("runs"),
    update: Annotated[bool, typer.Option("--update", help="Write the baseline from the runs instead.")] = False,
    margin: Annotated[
        float | None, typer.Option(min=0, help="Points of accuracy a method may lose; kept in the baseline.")
    ] = None,
    margins_from: Annotated[
        Path | None,
        typer.Option(help="With --update: honest re-runs with other seeds; wider margins where they differ more."),
    ] = None,
    seeds: Annotated[str | None, typer.Option(help="Training seeds to judge or record: 0,1,2 or 0-2.")] = None,
) -> None:
    """The regression gate: fail when a method has become worse than a baseline says, or makes other tasks.

    Exit code 1 when the lower bound of a paired drop exceeds the margin, when a measure of 'bench inspect' moved by
    more than its margin, or when a run or an inspection of the baseline is missing.

    Examples:

      bench check --baseline baseline.parquet --runs runs --update --margin 2

      bench check --baseline baseline.parquet --runs runs --update --margins-from reruns

      bench check --baseline baseline.parquet --runs runs
    """
    from bench.leaderboard import drift, gate, margins
    from bench.leaderboard.baseline import DEFAULT_MARGIN, missing, read_baseline, write_baseline
    from bench.leaderboard.loading import load, with_seeds
    from bench.looking.inspection.records import read_inspections
    from bench.reporting.terminal import gate_table

    chosen = numbers(seeds, "--seeds", "0,1,2 or 0-2")
    frames, (inspections, damaged) = load(runs), read_inspections(runs)
    if margins_from is not None and not update:
        raise BenchError("--margins-from goes with --update: a baseline keeps its margins")
    if update:
        if damaged:
            raise BenchError(f"a baseline is written from whole inspections only: {damaged[0]}")
        if chosen is not None:
            frames = with_seeds(frames, chosen)
            inspections = [one for one in inspections if one.seed in chosen]
        least = DEFAULT_MARGIN if margin is None else margin
        of_accuracy: dict[str, float] = {}
        of_synthetic: Any = {}
        if margins_from is not None:
            known = {str(method) for method in frames.finished["method"]}
            again, others = load(margins_from), read_inspections(margins_from)
            warn((*again.problems, *others[1]))
            of_accuracy = margins.of_accuracy(again, least, known)
            of_synthetic = margins.of_synthetic(others[0], drift.DEFAULT_MARGIN)
        before = _earlier(baseline)
        expected = drift.expected(inspections, margins=of_synthetic)
        write_baseline(frames, baseline, least, of_accuracy, expected)
        say(f"wrote {baseline}")
        if before is not None and (gone := missing(before, read_baseline(baseline))):
            warn([f"{baseline} no longer judges {'; '.join(gone)}"])
        return
    recorded = read_baseline(baseline)
    warn((*recorded.problems, *frames.problems, *damaged))
    rows = gate.check(frames, recorded, margin, inspections, chosen)
    console().print(gate_table(rows))
    if gate.failed(rows):
        raise typer.Exit(1)


def _earlier(path: Path) -> Baseline | None:
    """The baseline that is about to be replaced, if it can be read."""
    from bench.leaderboard.baseline import read_baseline

    try:
        return read_baseline(path) if path.exists() else None
    except BenchError:
        return None
