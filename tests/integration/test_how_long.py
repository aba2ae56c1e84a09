"""How long a request will take, before it is run: from records, and measured where there are none."""

import json
import re

from commands import TINY, TINY_VAE

REQUEST = ("--methods", "umtra", "--no-references", "--budget", "smoke", *TINY)
LASIUM = ("--methods", "lasium-ro-vae-maml", "--no-references", "--budget", "smoke", *TINY, *TINY_VAE)


def minutes(plan):
    """The column of that name, row by row."""
    header, *rows = [line for line in plan.splitlines() if re.search(r" (minutes|new|cached|evaluate) ", line)]
    at = header.index("minutes")
    return [row[at:].split("  ")[0] for row in rows]


def test_a_record_tells_how_long_a_longer_run_takes(bench):
    bench("run", *REQUEST)
    path = next(bench.out.glob("*/*/*/run.json"))
    told = json.loads(path.read_text())["timings"]
    iterations = 6000 * json.loads(path.read_text())["config"]["budget"]["meta_iterations"]
    longer = (*REQUEST, f"budget.meta_iterations={iterations}")
    plan = bench("plan", *longer).stdout
    expected = 6000 * told["fit"] / 60
    (found,) = minutes(plan)
    assert abs(float(found) - expected) < 0.15 * expected + 0.5
    assert "in all with one worker (1 of 1 runs estimated from 1 record in " in plan
    both = bench("plan", *longer, "--seeds", "0-3", "--workers", "2").stdout
    assert "in all with 2 workers (4 of 4 runs" in both
    assert minutes(both) == [found] * 4
    assert minutes(bench("plan", *REQUEST).stdout) == ["0"]


def test_what_no_record_tells_is_said_and_can_be_measured(bench, tmp_path):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    bench.environment["TMPDIR"] = str(temporary)
    plan = bench("plan", *LASIUM, "--seeds", "0,1").stdout
    assert minutes(plan) == ["unknown"] * 2
    name = re.search(r"^(lasium\S+) ", plan, re.MULTILINE)[1]
    assert f"no record to go by for 2 of 2 runs; --estimate measures: {name}\n" in plan

    measured = bench("plan", *LASIUM, "--seeds", "0,1", "--estimate")
    trained = r"(an epoch|\d+ of the \d+ steps of an epoch) of vae"  # as fast as the machine is
    assert re.search(
        rf"^{re.escape(name)}: measured on {trained}, \d+ meta-iterations, \d+ tasks$", measured.stdout, re.MULTILINE
    )
    assert "no record" not in measured.stdout
    assert "unknown" not in minutes(measured.stdout)
    assert "in all with one worker (2 of 2 from a few steps measured now)" in measured.stdout
    assert f"measuring {name}: " in measured.stderr
    assert not list(temporary.glob("bench-*")), "it leaves nothing behind"
    assert not bench.out.exists()


def test_what_cannot_be_measured_is_said_in_one_line(bench):
    plan = bench("plan", *LASIUM, "method.eps_sq=1e9", "method.max_retries=5", "--estimate").stdout
    assert re.search(r"^lasium\S+: could not be measured: lasium: no set of 5 anchors was accepted", plan, re.MULTILINE)
    assert "no record to go by for 1 of 1 runs" in plan
