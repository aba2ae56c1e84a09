"""``--json``: one document on the standard output and nothing else, whatever happens."""

import json

from plugin_packages import install

RUN = ("chance", "pixels", "--no-references", "--budget", "smoke", "--seeds", "0,1", "budget.evaluation_tasks=20")


def document(bench, *arguments, code=0):
    return json.loads(bench(*arguments, "--json", code=code).stdout)


def test_the_documents_of_a_few_runs(bench):
    before = document(bench, "plan", *RUN)
    assert [(one["method"], one["seed"], one["status"], one["minutes"]) for one in before["runs"]] == [
        (method, seed, "new", None) for seed in (0, 1) for method in ("chance", "pixels")
    ]
    assert (before["to_do"], before["minutes"], before["tasks"][0]["tasks"]) == (4, None, 20)
    assert before["runs"][1]["settings"]["method"]["k"] == 1
    bench("run", *RUN)
    after = document(bench, "plan", *RUN, "--out", "runs")
    assert [one["status"] for one in after["runs"]] == ["cached"] * 4
    assert (after["to_do"], after["minutes"]) == (0, 0)
    for one in after["runs"]:
        record = json.loads((bench.folder / one["folder"] / "run.json").read_text())
        assert (record["key"], record["seed"]) == (one["key"], one["seed"])

    compared = bench("compare", "pixels", "-m", "chance", "--json", "--out", "runs").stdout
    assert compared == bench("compare", "pixels", "chance", "--format", "json").stdout
    assert json.loads(compared)[0]["a"] == "pixels"

    baseline = bench.folder / "baseline.parquet"
    assert document(bench, "check", "--baseline", baseline, "--update") == {
        "wrote": str(baseline),
        "no_longer_judged": [],
    }
    judged = document(bench, "check", "--baseline", baseline)
    assert (judged["failed"], [one["verdict"] for one in judged["rows"]]) == (False, ["OK", "OK"])
    assert judged["rows"][0]["drop"]["mean"] == 0

    whole = document(bench, "verify")
    assert set(whole["states"]) == {"whole"}
    score = next(bench.out.glob("*/pixels/0-*/tasks.parquet"))
    score.write_bytes(score.read_bytes()[:-5])
    damaged = document(bench, "verify", code=1)
    assert damaged["states"]["damaged"] >= 1
    assert any("pixels" in one["path"] for one in damaged["findings"] if one["state"] == "damaged")
    assert document(bench, "check", "--baseline", baseline, code=1)["failed"]


def test_a_refusal_is_a_document_too_and_foreign_words_are_none(bench, tmp_path):
    refused = bench("plan", "umtar", "--json", code=2)
    said = json.loads(refused.stdout)["error"]
    assert f"error: {said}" in refused.stderr
    assert "Did you mean 'umtra'?" in said
    assert "Did you mean '--seeds'?" in document(bench, "plan", "umtra", "--sede", "1", code=2)["error"]

    loud = "print('loud')\nfrom dataclasses import dataclass\n\n\n@dataclass\nclass Mine:\n    strength: float = 2.0\n"
    yaml = "_target_: loud_one.code.Mine\ncard: {title: '[b]Mine'}\nstrength: 2.0  # how loud, above 0\n"
    install(tmp_path / "site", "loud_one", files={"code.py": loud, "configs/method/mine.yaml": yaml})
    bench.environment["PYTHONPATH"] = str(tmp_path / "site")
    (plugin,) = document(bench, "list", "plugins")["plugins"]
    assert (plugin["brings"], plugin["unusable"]) == (["method mine"], [])
    found = document(bench, "explain", "mine")
    assert [(one["name"], one["type"], one["meaning"]) for one in found["settings"]] == [
        ("method.strength", "number", "how loud, above 0")
    ]
    assert found["title"] == "[b]Mine"
