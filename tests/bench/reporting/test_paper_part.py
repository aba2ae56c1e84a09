"""What ``bench report --paper`` writes: true to the records, complete, the same every time, harmless in LaTeX."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from synthetic_runs import edit_record, manifest_hash, write_example, write_run
from test_reports import NASTY, contents

from bench.leaderboard.loading import load
from bench.leaderboard.table import build
from bench.planning import bibtex, catalogue
from bench.records.record import read_record
from bench.records.spent import in_all, spent, three_seeds
from bench.reporting.bibliography import clean, plain
from bench.reporting.paper_part import write_paper
from bench.reporting.report import write_report

RECORDS = Path(__file__).parents[3] / "reports" / "omniglot" / "records"
GROUPS = ("backbone", "classifier", "dataset", "encoder", "generator", "learner", "method", "views")

HARMFUL = r"""@article{evil,
  title = {100% \input{/etc/passwd} \write18{rm} $x_1^2$ & #1 ^^M ~ "q" <script>},
  author = {M{\"u}ller, \'Eva and \def\x{O}ther, B. and {\o}re, {\c{c}}},
  year = 2026, journal = "A \end{document} B", url = {https://example.org/a_b%20c}
}"""


def paper(out, folder):
    frames = load(out)
    write_paper(frames, build(frames), folder)
    return json.loads((folder / "paper.json").read_text())


# ------------------------------------------------------------------------------------------------ references
def test_every_card_of_ours_has_the_entries_that_it_cites():
    cited = {
        name
        for group in GROUPS
        for option in catalogue.options(group)
        for name in bibtex.NAME.findall(str(catalogue.raw(group, option).get("card", {}).get("cite", "")))
    }
    assert len(cited) > 20
    assert cited <= set(bibtex.own())
    keys = [one.key for one in bibtex.own().values()]
    assert len(set(keys)) == len(keys)
    for one in bibtex.own().values():
        assert {"title", "author", "year"} <= set(one.fields)
        assert {"journal", "booktitle", "howpublished"} & set(one.fields)
        assert clean(one.fields["author"]) == one.fields["author"], "what we wrote ourselves comes out as it is"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Finn et al. 2017", "no entry begins at 'Finn et al. 2017'"),
        ("@atricle{a, title={b}}", "Did you mean 'article'?"),
        ("@misc{a, title={b}", "is not closed"),
        ("@misc{a, title={b {c}}", "is not closed"),
        ("@misc{a, title=b}", "title must stand in braces"),
        ("@misc{a, title={b} year={2}}", "a comma is missing"),
        ("@misc{a, year=2}", "has no title"),
        ("@string{a = {b}}", "there is no entry @string"),
    ],
)
def test_what_is_no_bibtex_is_refused_in_words(text, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        bibtex.entries(text)


def test_of_a_value_only_letters_accents_and_braces_are_obeyed():
    (entry,) = bibtex.entries(HARMFUL)
    assert entry.fields["year"] == "2026"
    for value in entry.fields.values():
        told = clean(value)
        words = set(re.findall(r"\\(?:[A-Za-z]+|.)", told))
        harmless = {r"\textbackslash", r"\textasciicircum", r"\textless", r"\textgreater", r"\symbol", r"\o"}
        assert words <= harmless | {r"\%", r"\$", r"\_", r"\&", r"\#", r"\"", r"\'", r"\c"}
        assert not re.search(r"(?<!\\)[%$&#_^]", told)
        assert told.count("{") == told.count("}")
    assert plain(entry.fields["author"]).startswith("Müller, Éva and")
    assert "{" not in plain(clean("unbalanced } {"))


# ------------------------------------------------------------------------------------------------ time
def test_what_several_runs_share_is_counted_once(tmp_path):
    def run(seed, key, fit, **timings):
        path = write_run(tmp_path, f"m{key}-{fit}", seed=seed, notes={"artifacts": {"vae": key}})
        edit_record(path, timings={"fit": fit, "evaluate": 10.0, "total": 999.0, **timings})
        return read_record(path)

    two = [run(0, "k", 5.0, generator=100.0), run(0, "k", 7.0, generator=100.0)]
    other = run(0, "l", 1.0, generator=50.0)
    assert in_all(map(spent, two)) == 5 + 10 + 7 + 10 + 100
    assert in_all(map(spent, [*two, other])) == 132 + 1 + 10 + 50
    assert three_seeds(two) == 2 * 132
    edit_record(path := write_run(tmp_path, "silent"), timings={})
    assert three_seeds([*two, read_record(path)]) is None


def test_of_two_artifacts_the_named_one_is_told_apart(tmp_path):
    notes = {"artifacts": {"encoder-acai": "a", "encoder-partitions": "p"}, "acai": {"seconds": 30.0}}
    path = write_run(tmp_path, "cactus", notes=notes)
    edit_record(path, timings={"encoder": 35.0, "fit": 1.0})
    assert spent(read_record(path)).shared == {"a": 30.0, "p": 5.0}


# ------------------------------------------------------------------------------------------------ the files
def test_the_committed_records_as_a_paper(tmp_path):
    frames = load(RECORDS)
    board = build(frames)
    for name in ("one", "two"):
        write_paper(frames, board, tmp_path / name)
    found = json.loads((tmp_path / "one/paper.json").read_text())
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    text, bib = ((tmp_path / "one" / name).read_text(encoding="ascii") for name in ("paper.tex", "references.bib"))
    cited = {key for keys in re.findall(r"\\cite\{([^}]*)\}", text) for key in keys.split(",")}
    assert cited == set(re.findall(r"^@\w+\{([^,]+),", bib, re.MULTILINE))
    assert {"bench", "lake2015human", "finn2017model", "khodadadeh2020unsupervised"} <= cited

    first, other = found["tables"]
    rows = {(one["method"], one["lengths"][0] if one["lengths"] else ""): one for one in first["rows"]}
    umtra = rows["umtra-maml", "1,000* meta-iterations (budget paper: 30,000)"]
    assert umtra["seeds"] == [0, 1, 2]
    assert umtra["training_tasks"] == "5-way 1-shot, 5 queries"
    marks = {one["mark"]: one for one in found["components"]}
    maml = next(marks[mark] for mark in umtra["components"] if mark.startswith("L"))
    assert {"inner_lr=0.4", "inner_steps=5", "meta_batch=4", "meta_lr=0.001"} <= set(maml["settings"])
    gan = next(one for one in first["rows"] if one["method"] == "lasium-n-gan-maml")
    assert "40* epochs of MSGAN (its paper: 500)" in gan["lengths"]
    assert len(gan["tried"]) == 20
    cactus = next(one for one in first["rows"] if one["method"].startswith("cactus") and "=10" in one["method"])
    assert "partitions=10*" in cactus["settings"]
    assert "clusters=500" in cactus["settings"]
    said = " ".join(one["text"] for one in first["protocol"])
    assert "the same 1,000 tasks of 5-way 1-shot and 5-way 5-shot, with 15 queries per class" in said
    assert "licence is MIT" in said
    assert first["task_lists"]["5-way 1-shot"] in frames.evaluations["manifest"].unique()
    assert "invert=False" in " ".join(one["text"] for one in other["protocol"])
    assert len(found["unfinished"]) == (frames.runs["status"] != "done").sum() == 4
    assert sum(one["runs"] for one in found["machines"]) == len(frames.runs)


def test_seeds_failures_and_gaps_are_told(tmp_path):
    write_example(tmp_path / "runs")
    found = paper(tmp_path / "runs", tmp_path / "paper")
    told = " ".join(one["text"] for one in found["unfinished"])
    assert "gamma, quick, seed 3: diverged, loss became non-finite at step 17" in told
    assert "out-of-memory" in told
    single = [one["more_seeds"] for one in found["tables"]]
    assert [(one["rows"], one["of"]) for one in single] == [(1, 1), (1, 6)]
    # Each of these rows has one run: 100 s of a generator, 50 s of its own, both for two seeds more.
    assert all(one["seconds"] == 300.0 for one in single)
    assert all("--seeds 0-2" in line for one in single for line in one["commands"])
    text = (tmp_path / "paper/paper.md").read_text()
    assert "about 5 min" in text


def test_names_of_others_bring_their_own_entries(tmp_path):
    own = {"_target_": "mine.Mine", "card": {"title": "Mine", "cite": "Chen et al. 2020"}, "alpha": 1}
    write_run(tmp_path / "runs", "words", config={"method": own, "budget": {"meta_iterations": 3}})
    entry = {**own["card"], "bibtex": "@misc{finn2017model, title = {Another}, author = {A, B}, year = 2020}"}
    maml = {"_target_": "bench.learners.maml.MAML", "card": {"title": "MAML", "cite": "Finn et al. 2017"}}
    config = {"method": {**own, "card": entry}, "learner": maml, "budget": {"meta_iterations": 3}}
    write_run(tmp_path / "runs", "entry", config=config)
    found = paper(tmp_path / "runs", tmp_path / "paper")
    cites = {one["method"]: one["cites"] for one in found["tables"][0]["rows"]}
    assert cites == {"words": ["Chen-et-al.-2020"], "entry": ["finn2017model"]}
    assert found["components"][0]["cites"] == ["finn2017model-2"]
    bib = (tmp_path / "paper/references.bib").read_text()
    assert "SimCLR" not in bib
    assert "Simple Framework" not in bib
    assert bib.count("% To complete") == 1


def test_nothing_else_of_a_report_changes(tmp_path):
    write_run(tmp_path / "runs", "alpha", tasks=10)
    for name, flag in (("without", False), ("with", True)):
        write_report(tmp_path / "runs", tmp_path / name, ("md",), paper=flag)
    found = contents(tmp_path / "with")
    assert {name for name in found if name.startswith("paper/")} == {
        *("paper/paper.md", "paper/paper.tex", "paper/paper.json", "paper/references.bib")
    }
    assert {name: text for name, text in found.items() if not name.startswith("paper/")} == contents(
        tmp_path / "without"
    )


# ------------------------------------------------------------------------------------------------ LaTeX
def compiled(folder, columns):
    """pdflatex and BibTeX on a paper with the fragment; what the last pass says."""
    (folder / "main.tex").write_text(
        rf"\documentclass[10pt,{columns}]{{article}}\usepackage{{booktabs,array}}\begin{{document}}Text.\input{{paper}}"
        r"\bibliographystyle{plain}\bibliography{references}\end{document}"
    )
    for line in (["pdflatex"], ["bibtex"], ["pdflatex"], ["pdflatex"]):
        flags = ["-interaction=nonstopmode", "-halt-on-error", "-draftmode", "-no-shell-escape"]
        words = [*line, *(flags if line != ["bibtex"] else []), "main"]
        found = subprocess.run(words, cwd=folder, capture_output=True, check=False)
        said = found.stdout.decode("utf-8", "replace")
        assert found.returncode == 0, said[-2000:]
    assert "undefined" not in said
    assert "Float too large" not in said
    ours = said.partition("(./main.bbl")[0]  # in references words of others are not broken
    assert [x for x in re.findall(r"Overfull \\hbox \(([\d.]+)pt", ours) if float(x) > 3] == []


@pytest.mark.skipif(not (shutil.which("pdflatex") and shutil.which("bibtex")), reason="LaTeX is not installed here")
@pytest.mark.parametrize("columns", ["onecolumn", "twocolumn"])
def test_it_compiles_whatever_others_wrote(columns, tmp_path):
    for number, text in enumerate((NASTY, "x" * 120, "\\input{/etc/passwd}", "}{", "中文 ^^M%", "*", "[1pt]")):
        card = {"title": text, "cite": text[:40], "about": text, "licence": text, "homepage": text}
        brought = {**card, "bibtex": HARMFUL.replace("evil", f"evil{number % 2}")} if number else card
        config = {
            "method": {"_target_": "mine.Mine", "card": brought, "a_b": text, "_distribution_": text},
            "backbone": {"_target_": "mine.Net", "card": card, text: text},
            "dataset": {"_target_": "mine.Data", "card": card, "size": text},
            "budget": {"meta_iterations": 3},
            "train": {"way": text},
        }
        name = f"m{number}"
        write_run(tmp_path / "runs", name, shots=(1,), tasks=10, title=text, cite=text[:40], config=config)
    write_run(tmp_path / "runs", "failed", status="failed", reason=NASTY)
    paper(tmp_path / "runs", tmp_path)
    compiled(tmp_path, columns)
    if columns == "twocolumn":
        shutil.rmtree(tmp_path / "runs")
        paper(RECORDS, tmp_path)
        compiled(tmp_path, columns)


def test_manifest_hashes_stand_in_full(tmp_path):
    write_run(tmp_path / "runs", "alpha", shots=(1,))
    found = paper(tmp_path / "runs", tmp_path)
    assert found["tables"][0]["task_lists"] == {"5-way 1-shot": manifest_hash("omniglot", 1, 200)}
