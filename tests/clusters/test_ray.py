"""A request carried out by a real Ray: what comes of it is what comes of it here, whatever happens on the way."""

import signal
import sys
import tempfile
from pathlib import Path

import pytest
from commands import Bench
from filelock import FileLock
from ray_cluster import RayCluster, wait_for
from slow_plugin import install_slow
from small_runs import by_seed, ended, in_training, records, request, run_logs, slow

pytest.importorskip("ray", reason="ray is not installed: pip install ray")

STEPS = 40  # of the runs that are disturbed


@pytest.fixture(scope="module")
def alone():
    """One Ray at a time on this machine: starting it takes all of its CPUs."""
    with FileLock(Path(tempfile.gettempdir()) / "bench-test-ray.lock"):
        yield


@pytest.fixture(scope="module")
def cluster(alone):
    """For the tests that leave it as it was."""
    found = RayCluster()
    yield found
    found.end()


@pytest.fixture
def mortal(alone):
    """One to be damaged."""
    found = RayCluster()
    yield found
    found.end()


@pytest.fixture
def bench(cache, tmp_path):
    """The command line in a folder that has it all: a space, an umlaut; runs take ``slowly`` seconds a step."""
    folder = tmp_path / "große Läufe"
    folder.mkdir()
    install_slow(tmp_path / "site")
    return Bench(cache, folder, {"PYTHONPATH": str(tmp_path / "site"), "BENCH_GRACE": "10"})


def on(cluster, slowly=0.0):
    address = getattr(cluster, "address", cluster)
    return (
        *("--executor", "ray", f"executor.address={address}", "executor.cpus=1"),
        f"executor.environment={{SLOW_SECONDS: {slowly}, PYTHONHASHSEED: 0}}",
    )


def at_once(process, seconds=200):
    found = ended(process, seconds)
    assert "raylet" not in "".join(found[1:]), "Ray's own messages stay with Ray"
    return found


@pytest.fixture(scope="module")
def undisturbed(cache, tmp_path_factory):
    """Seed -> the bytes of the scores of runs that nobody disturbs, on no cluster."""
    folder = tmp_path_factory.mktemp("undisturbed")
    install_slow(folder / "site")
    # A variable that an interpreter reads as it starts: so it has one of its own, which sees the plugin.
    Bench(cache, folder, {"PYTHONPATH": str(folder / "site"), "PYTHONHASHSEED": "0"})(*slow(STEPS, seeds="0-4"))
    return by_seed(folder / "runs")


def test_twelve_runs_give_the_same_bytes_as_inline_and_processes(bench, cluster):
    bench(*request(seeds="0-11"), "--out", "inline", "--executor", "inline")
    bench(*request(seeds="0-3"), "--out", "processes", "--executor", "processes", "--workers", "2")
    code, out, err = at_once(bench.start(*request(seeds="0-11"), *on(cluster)))
    assert code == 0, err
    assert "12 of 12 runs done" in out
    assert f"the Ray cluster at {cluster.address}: 2 machines, 4 CPUs, 1 GPUs" in err
    assert "executor.gpus=0: no run will use a GPU" in err
    assert len(by_seed(bench.out)) == 12
    assert by_seed(bench.out) == by_seed(bench.folder / "inline")
    assert by_seed(bench.folder / "processes").items() <= by_seed(bench.out).items()
    assert {one["environment"]["threads"] for one in records(bench.out).values()} == {1}


def test_a_run_that_fails_touches_no_other(bench, cluster):
    code, out, _ = at_once(bench.start(*slow(4, "method.fails=true,false", seeds="0-1"), *on(cluster)))
    assert code == 1
    assert "2 of 4 runs done" in out
    assert out.count("it is told to fail") == 2


def test_two_drivers_with_overlapping_requests_do_no_run_twice(bench, cluster):
    drivers = [bench.start(*slow(20, seeds=seeds), *on(cluster, slowly=0.1)) for seeds in ("0-3", "2-5")]
    for driver in drivers:
        code, out, err = at_once(driver)
        assert code == 0, err
        assert "4 of 4 runs done" in out
    assert len(by_seed(bench.out)) == 6
    for log in run_logs(bench.out).values():
        assert log.count(" end done") == 1


def test_a_full_output_disk_is_one_sentence_and_the_command_goes_on(bench, cluster, small_disk):
    with small_disk(bench.folder / "small") as fill:
        driver = bench.start(*slow(STEPS), *on(cluster, slowly=0.2), "--out", "small")
        wait_for(lambda: in_training(bench.folder / "small", "0"))
        filler = fill()
        code, out, _ = at_once(driver)
        assert code == 1
        assert "No space left on device" in out
        filler.unlink()
        code, out, err = at_once(bench.start(*slow(STEPS), *on(cluster), "--out", "small"))
        assert code == 0, err


def test_ctrl_c_saves_what_is_running_and_the_same_command_goes_on(bench, cluster, undisturbed):
    # Also where these tests are run in the background, and ignore it.
    heeding = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}
    driver = bench.start(*slow(STEPS, seeds="0-4"), *on(cluster, slowly=1), **heeding)
    wait_for(lambda: in_training(bench.out, "0123"))
    driver.send_signal(signal.SIGINT)
    code, _, err = at_once(driver, seconds=40)
    assert code == 130
    assert "5 runs in Ray's hands: told to save and to end" in err
    assert "gave no answer" not in err
    assert "interrupted; to go on: " in err
    assert {one["status"] for one in records(bench.out).values()} == {"interrupted"}
    assert all("SIGTERM" in one["reason"] for one in records(bench.out).values()), "each has said so itself"
    assert not list(bench.out.glob("glyphs/*/*/.claim"))
    code, _, err = at_once(bench.start(*slow(STEPS, seeds="0-4"), *on(cluster)))
    assert code == 0, err
    assert by_seed(bench.out) == undisturbed


def test_a_driver_that_is_killed_leaves_nothing_running(bench, cluster):
    driver = bench.start(*slow(STEPS), *on(cluster, slowly=1))
    wait_for(lambda: in_training(bench.out, "0"))
    driver.kill()
    wait_for(lambda: " end interrupted" in run_logs(bench.out)["0"], 40)
    driver.communicate()


def test_a_machine_lost_in_mid_training_is_made_up_for_by_the_other(bench, mortal, undisturbed):
    driver = bench.start(*slow(STEPS, seeds="0-3"), *on(mortal, slowly=0.7))
    wait_for(lambda: in_training(bench.out, "0123"))
    mortal.kill_the_other_raylet()
    code, out, err = at_once(driver)
    assert code == 0, err
    assert "4 of 4 runs done" in out
    assert sorted(log.count(" start ") for log in run_logs(bench.out).values()) == [1, 1, 2, 2]
    assert by_seed(bench.out).items() <= undisturbed.items()


def test_a_lost_head_is_said_in_one_sentence_and_the_same_command_goes_on_elsewhere(
    bench, mortal, cluster, undisturbed
):
    driver = bench.start(*slow(STEPS, seeds="0-1"), *on(mortal, slowly=2))
    wait_for(lambda: in_training(bench.out, "01"))
    mortal.kill_the_head()
    code, out, err = at_once(driver, seconds=60)
    assert code == 1
    assert err.count(f"the head of the Ray cluster at {mortal.address} does not answer any more; nothing is lost") == 1
    assert "the head of its Ray cluster was lost; the same command goes on where it was" in out
    mortal.end()
    code, _, err = at_once(bench.start(*slow(STEPS, seeds="0-1"), *on(cluster)))
    assert code == 0, err
    assert by_seed(bench.out).items() <= undisturbed.items()


def test_what_no_machine_has_is_refused_at_once(bench, cluster):
    said = bench.error(*request(), *on(cluster), "executor.cpus=3")
    assert said == "executor.cpus=3: the largest machine of the Ray cluster has 2 CPUs"
    assert "of the Ray cluster has" in bench.error(*request(), *on(cluster), "executor.memory=900T")


def test_several_runs_on_one_gpu_see_that_one_and_others_see_none(bench, cluster):
    python = bench.folder / "python"
    python.write_text(
        f'#!/bin/sh\necho "-$CUDA_VISIBLE_DEVICES-" >> "{bench.folder}/seen"\nexec {sys.executable} "$@"\n'
    )
    python.chmod(0o755)
    bench(*request(seeds="0-1"), *on(cluster), f"executor.python='{python}'", "executor.gpus=0.5")
    bench(*request(seeds="2"), *on(cluster), f"executor.python='{python}'")
    assert (bench.folder / "seen").read_text().split() == ["-0-", "-0-", "--"]


def test_without_a_cluster_a_local_one_is_started_and_ended(bench, alone):
    before = set(Path(tempfile.gettempdir()).glob("ray-*"))
    done = bench(*request(seeds="0-1"), *on("local"))
    assert "the local Ray cluster: 1 machine" in done.stderr
    assert "2 of 2 runs done" in done.stdout
    said = bench.error(*request(seeds="2"), *on("local"), "executor.gpus=0.25")
    assert said == "executor.gpus=0.25: the largest machine of the Ray cluster has 0 GPUs"
    assert set(Path(tempfile.gettempdir()).glob("ray-*")) == before
