"""``bench report``, ``bench compare`` and ``bench check``: what came out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.basics.errors import BenchError, did_you_mean
from bench.cli import completing, documents
from bench.cli.app import Runs, RunsToRead, app, dataset_option
from bench.cli.asking import console, numbers, say, warn
from bench.cli.documents import Json

if TYPE_CHECKING:
    from bench.leaderboard.baseline import Baseline
    from bench.leaderboard.table import Leaderboard


@app.command()
def report(
    runs: Runs = Path("runs"),
    out: Annotated[Path, typer.Option(help="Folder to write to.")] = Path("reports"),
    format: Annotated[
        str,
        typer.Option(
            "--format",
            help="md, html, tex, csv, png, svg; comma-separated.",
            autocompletion=completing.words("md", "html", "tex", "csv", "png", "svg", several=True),
        ),
    ] = "md,html,tex,csv,png,svg",
    experiment: Annotated[
        str | None,
        typer.Option(
            "--experiment",
            "-e",
            help="Only this table or figure of a paper, from 'bench list experiments'.",
            show_default="the leaderboard, and all of which there are runs",
            autocompletion=completing.options("experiment"),
        ),
    ] = None,
    records: Annotated[
        bool,
        typer.Option(
            "--records",
            help="Also keep what the report rests on in OUT/records: small, without weights and paths.",
        ),
    ] = False,
    side: Annotated[
        str | None,
        typer.Option(
            show_default="all rows", help="Only rows that use no side information but this; 'none' is none at all."
        ),
    ] = None,
    without: Annotated[
        str | None,
        typer.Option(show_default="all rows", help="Only rows that do not use this side information, comma-separated."),
    ] = None,
    select: Annotated[
        str,
        typer.Option(
            help="Which setting stands for a method: the usual rule, or val, the best on meta-validation tasks.",
            autocompletion=completing.words("usual", "val"),
        ),
    ] = "usual",
    paper: Annotated[
        bool,
        typer.Option(
            "--paper",
            help="Also write what a paper must say to OUT/paper: protocol, settings, compute, BibTeX (LaTeX, text).",
        ),
    ] = False,
    since: Annotated[
        Path | None,
        typer.Option(
            show_default="nothing",
            help="Also say what changed since these records, or those of this report: OUT/changes.md, .csv.",
        ),
    ] = None,
    index: Annotated[
        Path | None,
        typer.Option(
            show_default="a report is written",
            help="Only write index.html over the reports in this folder: what each says first, its pages.",
        ),
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

      bench report --select val

      bench report --runs runs --out paper-report --paper --format tex

      bench report --out reports/omniglot --records --since reports/omniglot

      bench report --index reports
    """
    if index is not None:
        from bench.reporting.index import write_index

        say(str(write_index(index)))
        return
    from bench.leaderboard.selection import wanted
    from bench.reporting import changes
    from bench.reporting.report import write_report
    from bench.reporting.terminal import TOP, to_terminal

    def summary(board: Leaderboard) -> None:
        console().print(to_terminal(board, TOP))

    formats = [part.strip() for part in format.split(",") if part.strip()]
    chosen = wanted(side, without)
    if experiment is not None and (since is not None or select != "usual" or paper):
        raise BenchError("--since, --select and --paper are of the leaderboard, which --experiment leaves out")
    # Read first: the records of the last report are replaced by those of this one.
    before = None if since is None else changes.read(since, chosen, select)
    paths = write_report(runs, out, formats, experiment, records, warn, chosen, select, summary, paper)
    for folder in dict.fromkeys(path.parent for path in paths):
        say(f"{folder}: {' '.join(path.name for path in paths if path.parent == folder)}")
    if before is not None:
        found, paths = changes.write(before, changes.read(runs, chosen, select), out)
        for path in paths:
            say(str(path))
        console().print(changes.to_terminal(found))


@app.command()
def compare(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="METHODS",
            help="Methods as records name them; METHOD@BUDGET where one has several.",
            autocompletion=completing.methods(several=False),
        ),
    ] = None,
    methods: Annotated[
        list[str] | None,
        typer.Option(
            "--methods",
            "-m",
            help="One of them, as an option; may be given several times.",
            show_default="those that are named",
            autocompletion=completing.methods(several=False),
        ),
    ] = None,
    runs: RunsToRead = Path("runs"),
    dataset: Annotated[str | None, dataset_option("all on which both were scored")] = None,
    all_pairs: Annotated[
        bool, typer.Option("--all-pairs", help="Every two of them, instead of the first with each of the others.")
    ] = False,
    format: Annotated[
        str,
        typer.Option(
            "--format",
            help="table, md, csv or json.",
            autocompletion=completing.words("table", "md", "csv", "json"),
        ),
    ] = "table",
    as_json: Json = False,
) -> None:
    """Compare methods task by task: difference, 95 % interval, p-value.

    The first with each of the others; runs that were trained equally long, unless budgets are named. Of several
    comparisons on the same tasks there is also a p-value that is corrected for their number.

    Examples:

      bench compare lasium-ro-vae-maml umtra-maml

      bench compare lasium-ro-vae-maml umtra-maml --dataset omniglot

      bench compare umtra-maml@paper umtra-maml@paper,meta_iterations=5000

      bench compare lasium-ro-vae-maml lasium-oc-vae-maml umtra-maml --all-pairs --format csv
    """
    from bench.leaderboard.compare import compare_several
    from bench.leaderboard.loading import load
    from bench.reporting import comparisons
    from bench.reporting.terminal import comparison_table

    methods = [*(names or ()), *(methods or ())]
    if len(methods) < 2:
        raise BenchError("name two methods or more, for example 'bench compare lasium-ro-vae-maml umtra-maml'")
    if as_json and format not in ("table", "json"):
        raise BenchError(f"--json and --format {format} are two formats; give one of them")
    format = "json" if as_json else format
    texts = {"md": comparisons.as_markdown, "csv": comparisons.as_csv, "json": comparisons.as_json}
    if format not in ("table", *texts):
        raise BenchError(f"--format {format!r} is none of table, {', '.join(texts)}.{did_you_mean(format, texts)}")
    frames = load(runs)
    warn(frames.problems)
    found, problems = compare_several(methods, frames, all_pairs)
    warn(problems)
    if dataset is not None:
        shared = {one.evaluation.dataset for one in found}
        found = [one for one in found if one.evaluation.dataset == dataset]
        if not found:
            hint = did_you_mean(dataset, shared)
            raise BenchError(f"{' and '.join(methods)} have no tasks of dataset {dataset!r} in common.{hint}")
    if format == "table":
        console().print(comparison_table(found))
    else:
        typer.echo(texts[format](found), nl=False)


@app.command()
def check(
    baseline: Annotated[Path, typer.Option(help="The baseline file.")],
    runs: RunsToRead = Path("runs"),
    update: Annotated[bool, typer.Option("--update", help="Write the baseline from the runs instead.")] = False,
    margin: Annotated[
        float | None,
        typer.Option(
            min=0,
            show_default="the baseline's own; with --update 1",
            help="Points of accuracy a method may lose; kept in the baseline.",
        ),
    ] = None,
    margins_from: Annotated[
        Path | None,
        typer.Option(
            show_default="--margin for all",
            help="With --update: honest re-runs with other seeds; a drop counts that their spread does not explain.",
        ),
    ] = None,
    seeds: Annotated[
        str | None,
        typer.Option(
            show_default="the baseline's own; with --update all",
            help="Training seeds to judge or record: 0,1,2 or 0-2.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """The regression gate: fail when a method has become worse than a baseline says, or makes other tasks.

    Exit code 1 when the lower bound of a paired drop exceeds the margin, or the drop itself that which the baseline's
    re-runs allow; when a measure of 'bench inspect' moved by more than its margin; and when a run or an inspection of
    the baseline is missing.

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
        reruns: list[margins.Reruns] = []
        expected = drift.expected(inspections)
        if margins_from is not None:
            known = {str(method) for method in frames.finished["method"]}
            again, others = load(margins_from), read_inspections(margins_from)
            warn((*again.problems, *others[1]))
            reruns = margins.of_accuracy(again, known)
            judged = len(reruns) + len(expected)
            expected = margins.of_synthetic(others[0], inspections, judged, drift.DEFAULT_MARGIN)
        before = _earlier(baseline)
        write_baseline(frames, baseline, least, expected, reruns)
        own = [
            row for row in gate.check(frames, baseline, None, inspections, chosen) if row.verdict not in ("OK", "NEW")
        ]
        warn([f"{row.method}: {row.measure} of these very runs is {row.verdict} beside the re-runs" for row in own])
        gone = missing(before, read_baseline(baseline)) if before is not None else []
        if as_json:
            documents.write({"wrote": baseline, "no_longer_judged": gone})
        else:
            say(f"wrote {baseline}")
        if gone:
            warn([f"{baseline} no longer judges {'; '.join(gone)}"])
        return
    recorded = read_baseline(baseline)
    warn((*recorded.problems, *frames.problems, *damaged))
    rows = gate.check(frames, recorded, margin, inspections, chosen)
    if as_json:
        documents.write({"failed": gate.failed(rows), "rows": rows})
    else:
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
