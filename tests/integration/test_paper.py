"""``bench report --paper`` on real runs, through the real command line."""

import json

from commands import TINY


def test_a_run_of_ours_as_a_paper(bench):
    done = bench("run", "--methods", "umtra-maml", "--no-references", "--budget", "smoke", "--out", bench.out, *TINY)
    assert "--seeds 0-2 takes about" in done.stdout + done.stderr
    planned = bench(
        "plan", "--methods", "umtra-maml", "--no-references", "--budget", "smoke", "--out", bench.out, *TINY
    )
    assert "--seeds 0-2 takes about" in planned.stdout
    bench("report", "--runs", bench.out, "--out", "rep", "--format", "csv", "--paper")
    found = json.loads((bench.folder / "rep/paper/paper.json").read_text())
    (table,) = found["tables"]
    protocol = " ".join(one["text"] for one in table["protocol"])
    assert "meta-test" in protocol
    assert "classes with" in protocol  # counted by the run itself
    backbone = next(one for one in found["components"] if one["group"] == "backbone")
    # Four 3 x 3 convolutions with 8 filters on one channel, without offsets; 8 offsets of each normalisation.
    assert backbone["parameters"] == 9 * 8 + 3 * 9 * 8 * 8 + 4 * 8
    assert "filters=8*" in backbone["settings"]
    assert table["rows"][0]["cites"] == ["khodadadeh2019unsupervised"]
    assert table["more_seeds"]["rows"] == 1
    assert "--paper" in bench.error("report", "--runs", bench.out, "--paper", "--experiment", "table7")
