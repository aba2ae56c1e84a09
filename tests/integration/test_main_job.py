"""The main job from the command line: train, answer the sealed tasks, compare, report, gate."""

import json
import os
import shlex
import shutil
import signal
import time

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from commands import TINY, TINY_VAE, Bench, scores

from bench.records.scores import scores_digest
from bench.records.seal import sealed
from bench.running.endings import UNFINISHED

FLOORS = {"chance", "pixels", "scratch", "supervised-maml", "supervised-protonet"}


def test_train_compare_report_and_check(bench):
    request = ("run", "--methods", "lasium,umtra", "--shots", "1,5", "--budget", "smoke", *TINY, *TINY_VAE)
    first = bench(*request)
    for title in ("LASIUM-RO-VAE-MAML", "LASIUM-OC-VAE-ProtoNets", "UMTRA-MAML", "Supervised ProtoNets", "Raw pixels"):
        assert title in first.stdout
    found = scores(bench.out)
    assert {name.split(",")[0] for name in found} == FLOORS | {
        "lasium-ro-vae-maml",
        "lasium-oc-vae-protonet",
        "umtra-maml",
    }
    manifests = {tuple(frame["manifest"].unique()) for frame in found.values()}
    assert len(manifests) == 1, "every method answers the same tasks"
    assert all(len(frame) == 40 for frame in found.values())
    records = [json.loads(path.read_text()) for path in bench.out.glob("*/*/*/run.json")]
    assert {record["status"] for record in records} == {"done"}
    assert {r["method"]["name"].split(",")[0] for r in records if r["method"]["supervised"]} == {
        "supervised-maml",
        "supervised-protonet",
    }
    assert len(list((bench.out / "artifacts").glob("vae-*.safetensors"))) == 1, "one VAE serves both LASIUM methods"

    again = bench(*request)
    assert again.stderr.count("there already") == len(found)

    plan = bench("plan", *request[1:])
    assert "0 of 8 runs to do" in plan.stdout
    assert "trained once for lasium-ro-vae-maml" in plan.stdout

    report = bench("report", "--out", "reports")
    html = (bench.folder / "reports" / "leaderboard.html").read_text()
    assert "LASIUM-RO-VAE-MAML" in html
    assert "http" not in html.replace("http://www.w3.org", "") or "src=" not in html
    assert {"leaderboard.md", "leaderboard.tex", "leaderboard.csv"} <= {
        p.name for p in (bench.folder / "reports").iterdir()
    }
    assert "leaderboard.html" in report.stdout

    names = {record["method"]["name"] for record in records}
    lasium = next(name for name in names if name.startswith("lasium-ro"))
    umtra = next(name for name in names if name.startswith("umtra"))
    assert "20 tasks" in bench("compare", lasium, umtra).stdout

    bench("check", "--baseline", "b.parquet", "--update", "--margin", "2")
    assert "OK" in bench("check", "--baseline", "b.parquet").stdout
    victim = next(bench.out.glob("*/umtra-maml*/*"))
    broken = pd.read_parquet(victim / "tasks.parquet")
    broken["correct"] = 0
    broken.to_parquet(victim / "tasks.parquet", index=False)
    record = json.loads((victim / "run.json").read_text())
    for one in record["evaluations"]:
        one["accuracy"] = 0.0
    record["scores"] = scores_digest(pa.Table.from_pandas(broken))
    (victim / "run.json").write_text(json.dumps(sealed(record)))
    assert "WORSE" in bench("check", "--baseline", "b.parquet", code=1).stdout


def test_a_missing_shot_is_evaluated_without_training_again(bench):
    request = ("run", "--methods", "umtra", "--no-references", "--budget", "smoke", *TINY)
    bench(*request)
    weights = next(bench.out.glob("*/*/*/weights.safetensors"))
    before = weights.stat().st_mtime_ns
    bench(*request, "--shots", "1,5")
    assert weights.stat().st_mtime_ns == before
    (frame,) = scores(bench.out).values()
    assert sorted(frame["shot"].unique()) == [1, 5]


def test_a_kill_between_the_two_files_of_a_record_loses_nothing(bench):
    request = ("run", "--methods", "umtra", "--no-references", "--budget", "smoke", *TINY)
    bench(*request)
    path = next(bench.out.glob("*/*/*/tasks.parquet"))
    (before,) = scores(bench.out).values()
    half = before.assign(manifest="f" * 64, shot=before["shot"] + 4)
    pd.concat([before, half]).to_parquet(path, index=False)
    assert (
        "UMTRA-MAML" in bench("report", "--format", "md").stdout + (bench.folder / "reports/leaderboard.md").read_text()
    )
    bench(*request, "--shots", "1,5")
    (after,) = scores(bench.out).values()
    assert len(after) == 40
    pd.testing.assert_frame_equal(after.iloc[:20].reset_index(drop=True), before)


def test_floors_stand_beside_the_methods_of_every_budget(bench):
    bench("run", "--methods", "chance", "--no-references", "--budget", "smoke", "budget.evaluation_tasks=20")
    bench("run", "--methods", "chance", "--no-references", "--budget", "quick", "budget.evaluation_tasks=20")
    budgets = {json.loads(path.read_text())["budget"] for path in bench.out.glob("*/chance/*/run.json")}
    assert budgets == {"smoke", "quick"}


def test_workers_end_when_their_parent_is_killed(bench):
    request = ("run", "--methods", "umtra-maml,umtra-protonet", "--no-references", "--budget", "smoke", *TINY)
    process = bench.start(*request, "--workers", "2", "budget.meta_iterations=100000")
    logs = bench.out.glob
    _wait_for(lambda: len(list(logs("*/*/*/log.txt"))) == 2, process)
    process.kill()
    process.communicate(timeout=60)
    deadline = time.monotonic() + 60
    stopped = ("interrupted", "stopped by SIGTERM; run again to go on")
    while [_end(path) for path in logs("*/*/*/run.json")] != [stopped] * 2:
        assert time.monotonic() < deadline, "the workers train on without a parent"
        time.sleep(0.1)


def test_results_do_not_depend_on_order_workers_or_hash_seed(bench):
    options = ("--no-references", "--budget", "smoke", *TINY)
    bench("run", "--methods", "umtra-maml,umtra-protonet", *options, "--out", "a")
    bench.environment["PYTHONHASHSEED"] = "77"
    bench("run", "--methods", "umtra-protonet,umtra-maml", *options, "--out", "b", "--workers", "2")
    a, b = scores(bench.folder / "a"), scores(bench.folder / "b")
    assert a.keys() == b.keys()
    for name in a:
        pd.testing.assert_frame_equal(a[name], b[name])


def _end(record):
    """(status, reason) of a run.json."""
    read = json.loads(record.read_text())
    return read["status"], read["reason"]


def _wait_for(condition, process, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.02)


STOPPABLE = (
    *("run", "--methods", "lasium-n-vae-maml", "--no-references", "--budget", "smoke", *TINY),
    *("budget.checkpoint_seconds=0.0", "budget.meta_iterations=60"),
    *("generator.channels=8", "generator.batch_size=256"),
)


@pytest.fixture(scope="module")
def whole(cache, glyphs, tmp_path_factory):
    """The folder of a run that nothing stopped."""
    bench = Bench(cache, tmp_path_factory.mktemp("whole"))
    bench(*STOPPABLE)
    return bench.out


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
@pytest.mark.parametrize("where", ["generator", "meta-training"])
def test_a_stopped_run_goes_on_and_ends_with_the_same_scores(bench, whole, how, where):
    if where == "meta-training":
        shutil.copytree(whole / "artifacts", bench.out / "artifacts")
    process = bench.start(*STOPPABLE)
    pattern = "artifacts/*.partial.safetensors" if where == "generator" else "*/*/*/weights.safetensors"
    _wait_for(lambda: list(bench.out.glob(pattern)), process)
    process.send_signal(how)
    _, err = process.communicate(timeout=60)
    if how == signal.SIGINT:
        said, *command = err.splitlines()[-1].partition("python -m bench run --methods ")
        assert said.startswith("interrupted: 0 of 1 runs done, stopped: lasium-n-vae-maml,")
        assert said.endswith(" seed 0 (goes on); to go on: ")
        assert shlex.split(command[1]) == [*STOPPABLE[2:]]
    assert process.returncode == (130 if how == signal.SIGINT else -signal.SIGKILL)
    finished = list(bench.out.glob("*/*/*/tasks.parquet"))
    assert not finished, "it was stopped too late for this test to mean anything"
    (record,) = bench.out.glob("*/*/*/run.json")
    told = "stopped by the user; run again to go on" if how == signal.SIGINT else UNFINISHED
    assert _end(record) == ("interrupted", told), "reports must know of it"
    bench(*STOPPABLE)
    log = next(bench.out.glob("*/*/*/log.txt")).read_text()
    begun = log.split(" start ")[-1].splitlines()[1]
    stage = "vae" if where == "generator" else "meta-train"
    assert f" {stage} " in begun
    assert f" {stage} 1/" not in begun, "it began anew instead of going on"
    (expected,), (resumed,) = scores(whole).values(), scores(bench.out).values()
    pd.testing.assert_frame_equal(expected, resumed)


def test_ctrl_c_stops_runs_side_by_side(bench):
    request = ("run", "--methods", "umtra-maml,umtra-protonet", "--no-references", "--budget", "smoke", *TINY)
    process = bench.start(*request, "--workers", "2", "budget.meta_iterations=100000")
    _wait_for(lambda: len(list(bench.out.glob("*/*/*/log.txt"))) == 2, process)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, out + err
    assert "Traceback" not in out + err
    names = [path.parent.parent.name for path in sorted(bench.out.glob("*/*/*/run.json"))]
    both = f"stopped: {names[0]} seed 0 and {names[1]} seed 0 (goes on)"
    assert err.count("interrupted") == 1
    assert err.splitlines()[-1].startswith(f"interrupted: 0 of 2 runs done, {both}; to go on: python -m bench run ")
    assert f"run 1 of 2, {names[0]} seed 0: begun" in err
    ends = [_end(path) for path in bench.out.glob("*/*/*/run.json")]
    assert ends == [("interrupted", "stopped by the user; run again to go on")] * 2


def test_two_commands_on_one_folder_share_the_work(bench):
    request = ("run", "--methods", "lasium-n-vae-maml,umtra", "--no-references", "--budget", "smoke", *TINY, *TINY_VAE)
    both = [bench.start(*request) for _ in range(2)]
    results = [process.communicate(timeout=300) for process in both]
    assert [process.returncode for process in both] == [0, 0], results
    logs = [path.read_text() for path in bench.out.glob("*/*/*/log.txt")]
    assert [text.count(" start ") for text in logs] == [1, 1], "each run was executed once"
    bench(*request)


def test_one_failing_method_neither_stops_nor_hides_the_others(bench):
    options = ("--no-references", "--budget", "smoke", *TINY)
    result = bench(
        "run",
        "--methods",
        "umtra-maml,umtra-protonet",
        *options,
        "learner.inner_lr=1e30",
        "learner.meta_lr=1e-3",
        code=1,
    )
    assert "1 of 2 runs done" in result.stdout
    assert "diverged" in result.stdout
    statuses = {
        path.parent.parent.name.split(",")[0]: json.loads(path.read_text())["status"]
        for path in bench.out.glob("*/*/*/run.json")
    }
    assert statuses == {"umtra-maml": "diverged", "umtra-protonet": "done"}


def test_a_run_over_its_time_limit_says_so_and_keeps_its_checkpoint(bench):
    request = ("run", "--methods", "umtra", "--no-references", "--budget", "smoke", *TINY)
    limit = ("budget.meta_iterations=100000", "budget.checkpoint_seconds=0.5", "--time-limit", "0.05")
    result = bench(*request, *limit, code=1)
    assert "timeout: stopped after 3 s; run again to go on" in result.stdout
    assert list(bench.out.glob("*/*/*/weights.safetensors"))


UNTRAINED = ("budget.generator_epochs=0", "generator.channels=4")


def test_show_draws_synthetic_tasks(bench):
    options = ("--budget", "smoke", "--count", "3", *UNTRAINED)
    bench("show", "lasium-oc-vae-maml", "--what", "strategies", *options)
    bench("show", "lasium-oc-vae-maml", "--what", "samples", *options)
    bench("show", "lasium-n-gan-maml", "--what", "interpolations", "--to", "line.pdf", *options)
    drawn = {path.name: path.read_bytes() for path in bench.folder.iterdir() if path.is_file()}
    assert set(drawn) == {"lasium-oc-vae-maml-strategies.png", "lasium-oc-vae-maml-samples.png", "line.pdf"}
    assert [name for name, picture in drawn.items() if not picture.startswith((b"\x89PNG", b"%PDF"))] == []
    assert len(list((bench.out / "artifacts").glob("vae-*.safetensors"))) == 1, "one VAE serves both pictures"


def test_inspect_measures_synthetic_tasks(bench):
    request = (
        *("inspect", "umtra-maml,lasium-ro-*-protonet,supervised-protonet,chance", "--budget", "smoke"),
        *("--tasks", "40", *UNTRAINED),
    )
    first = bench(*request)
    assert "chance makes no synthetic tasks: skipped" in first.stderr
    for title in ("UMTRA-MAML", "LASIUM-RO-VAE-ProtoNets", "LASIUM-RO-GAN-ProtoNets", "Supervised ProtoNets"):
        assert title in first.stdout
    assert "no class begins with a real image): LASIUM-RO-GAN-ProtoNets" in first.stdout
    files = {path.parent.parent.name.split(",")[0]: path for path in bench.out.glob("*/*/*/inspect.json")}
    found = {name: json.loads(path.read_text()) for name, path in files.items()}
    assert set(found) == {"umtra-maml", "lasium-ro-vae-protonet", "lasium-ro-gan-protonet", "supervised-protonet"}
    assert len(list((bench.out / "artifacts").glob("embedding-*.safetensors"))) == 1
    assert {one["ruler"]["iterations"] for one in found.values()} == {10}
    assert {name for name, one in found.items() if one["collisions"] is None} == {"lasium-ro-gan-protonet"}
    assert {name for name, one in found.items() if one["frechet"]["generator"] is not None} == {
        "lasium-ro-vae-protonet",
        "lasium-ro-gan-protonet",
    }
    assert found["supervised-protonet"]["collisions"]["certain"] == 0
    before = {path: path.stat().st_mtime_ns for path in files.values()}
    assert bench(*request).stdout == first.stdout
    assert {path: path.stat().st_mtime_ns for path in before} == before, "what is there is not measured again"
    shown = {path.parent: np.load(path.parent / "synthetic.npy") for path in before}
    assert {images.shape for images in shown.values()} == {(5, 6, 1, 28, 28)}
    lost = min(shown)
    (lost / "synthetic.npy").unlink()
    assert bench(*request).stdout == first.stdout
    assert np.array_equal(np.load(lost / "synthetic.npy"), shown[lost])
    assert {path: path.stat().st_mtime_ns for path in before} == before, "a picture alone is only drawn again"


def test_one_method_that_cannot_be_inspected_stops_no_other(bench):
    impossible = ("method.eps_sq=1e9", "method.max_retries=3")
    result = bench(
        "inspect", "lasium-ro-gan-maml,umtra-maml", "--budget", "smoke", "--tasks", "5", *UNTRAINED, *impossible, code=1
    )
    assert "lasium: no set of 5 anchors was accepted in 4 tries" in result.stdout
    assert [path.parent.parent.name for path in bench.out.glob("*/*/*/inspect.json")] == ["umtra-maml"]


def test_show_draws_the_tasks_of_a_method_without_a_generator(bench):
    bench("show", "umtra-maml", "--tasks", "2", "--to", "t.svg")
    assert b"<svg" in (bench.folder / "t.svg").read_bytes()
    assert "chance makes no synthetic tasks" in bench.error("show", "chance")
