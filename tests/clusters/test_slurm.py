"""A request carried out by a real SLURM: what comes of it is what comes of it here, whatever happens on the way."""

import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from small_runs import by_seed, ended, in_training, records, request, slow, undisturbed

SLURM = (
    *("--executor", "slurm", "executor.cpus=1", "executor.memory=300M", "executor.poll=1"),
    *("executor.time=00:05:00", "executor.signal=30"),
)


def logs(out):
    return {path.name: path.read_text() for path in sorted((out / "slurm").glob("*.out"))}


@pytest.fixture(scope="module", autouse=True)
def overtime(request: pytest.FixtureRequest, slurm, command_line):
    """A run that takes longer than its task may, while the other tests go on."""
    if not any("overtime" in item.fixturenames and "over_its" in item.name for item in request.session.items):
        return None
    bench = command_line()
    command = slow(350)
    bench.environment["SLOW_SECONDS"] = "0.3"  # all of them take longer than the 100 s until it is told
    driver = bench.start(*command, *SLURM, "executor.time=00:02:00", "executor.signal=20")
    slurm.wait_for(slurm.running)
    slurm.aside = [*slurm.running()]
    del bench.environment["SLOW_SECONDS"]
    return bench, driver, command


def test_an_array_of_12_runs_keeps_its_cap_and_gives_the_same_bytes(bench, slurm):
    driver = bench.start(*request(seeds="0-11"), *SLURM, "executor.parallel=3")
    most, seen = 0, set()
    while driver.poll() is None:
        running = slurm.running()
        most, seen = max(most, len(running)), seen | set(running)
        time.sleep(0.3)
    code, out, err = ended(driver)
    assert code == 0, err
    assert "12 of 12 runs done" in out
    assert re.search(r"handed over to SLURM as job \d+: 12 tasks of 1 run, 3 at a time; logs in .*große Läufe", err)
    assert most == 3
    assert len({one.partition("_")[0] for one in seen}) == 1, "one array"
    bench(*request(seeds="0-11"), "--out", "inline", "--executor", "inline")
    assert by_seed(bench.out) == by_seed(bench.folder / "inline")
    assert len(by_seed(bench.out)) == 12


def test_bundles_are_left_to_slurm_and_found_again(bench, slurm):
    bench.environment["SLOW_SECONDS"] = "0.2"
    command = slow(20, "--out", "runs", seeds="0-3"), SLURM, ("executor.bundle=2",)
    words = [word for part in command for word in part]
    told = bench(*words, "--detach")
    job = re.search(r"scancel (\d+)", told.stdout)[1]
    for what in ("bench status --out runs", "bench report --runs runs --out reports"):
        assert what in told.stdout
    again = bench(*words)
    assert f"4 runs are in jobs that SLURM has already: {job}" in again.stderr
    assert "handed over" not in again.stderr
    assert "4 of 4 runs done" in again.stdout
    assert list(logs(bench.out)) == [f"{job}_0_0_log.out", f"{job}_1_0_log.out"]
    assert slurm.ask("scontrol", "-o", "show", "job", job).count("ArrayTaskId=") == 2
    third = bench(*words)
    assert "SLURM" not in third.stderr


@pytest.mark.brief
def test_a_run_that_is_told_of_its_end_is_saved_requeued_and_ends_as_if_undisturbed(bench, slurm):
    expected = undisturbed(bench, slow(60, seeds="0-1"))
    bench.environment["SLOW_SECONDS"] = "0.3"
    driver = bench.start(*slow(60, seeds="0-1"), *SLURM)
    slurm.wait_for(lambda: in_training(bench.out, "01"))
    first, second = sorted(slurm.running())
    slurm.ask("scancel", "--signal=USR2", first)
    slurm.ask("scancel", "--signal=USR1", second)
    slurm.wait_for(lambda: len(slurm.running()) < 2)
    slurm.wait_for(
        lambda: sum('"status": "interrupted"' in p.read_text() for p in bench.out.glob("glyphs/*/*/run.json"))
    )
    code, _, err = ended(driver)
    assert code == 0, err
    assert by_seed(bench.out) == expected
    assert all("Requeued job" in text and "is told to save" in text for text in logs(bench.out).values())
    for log in bench.out.glob("glyphs/*/*/log.txt"):
        lines = log.read_text().splitlines()
        assert [line.split()[1] for line in lines].count("start") == 2
        assert any("SIGTERM" in line and "interrupted" in line for line in lines), lines


def test_what_is_cancelled_or_fails_touches_no_other(bench, slurm):
    bench.environment["SLOW_SECONDS"] = "0.2"
    driver = bench.start(*slow(60, "method.fails=false,true", seeds="0-1"), *SLURM)
    slurm.wait_for(lambda: in_training(bench.out, "01"))
    task = sorted(slurm.running())[0]
    slurm.ask("scancel", task)
    code, out, _ = ended(driver)
    assert code == 1
    assert "1 of 4 runs done" in out
    assert f"its SLURM job {task} was cancelled; the same command goes on where it was; the job's log is" in out
    assert out.count("it is told to fail") == 2
    bench.environment["SLOW_SECONDS"] = "0"
    again = bench(*slow(60, seeds="0-1"), *SLURM)
    assert "2 of 2 runs done" in again.stdout


def test_a_node_whose_daemon_dies_and_comes_back(bench, slurm):
    expected = undisturbed(bench, slow(60, seeds="0-1"))
    bench.environment["SLOW_SECONDS"] = "0.2"
    driver = bench.start(*slow(60, seeds="0-1"), *SLURM)
    slurm.wait_for(lambda: in_training(bench.out, "01"))
    slurm.kill("slurmd")
    slurm.kill("slurmctld")
    time.sleep(3)
    slurm.start_controller()
    slurm.start_node()
    code, _, err = ended(driver)
    assert code == 0, err
    assert by_seed(bench.out) == expected


def test_a_full_output_disk_is_one_sentence_and_the_command_goes_on(bench, slurm, small_disk):
    bench.environment["SLOW_SECONDS"] = "0.2"
    with small_disk(bench.folder / "small") as fill:
        driver = bench.start(*slow(40), *SLURM, "--out", "small")
        slurm.wait_for(lambda: in_training(bench.folder / "small", "0"))
        filler = fill()
        code, out, _ = ended(driver)
        assert code == 1
        assert "No space left on device" in out
        filler.unlink()
        again = bench(*slow(40), *SLURM, "--out", "small")
        assert "1 of 1 runs done" in again.stdout


def test_two_drivers_with_overlapping_requests_do_no_run_twice(bench, slurm):
    bench.environment["SLOW_SECONDS"] = "0.1"
    drivers = [bench.start(*slow(20, seeds=seeds), *SLURM) for seeds in ("0-3", "2-5")]
    for driver in drivers:
        code, out, err = ended(driver)
        assert code == 0, err
        assert "4 of 4 runs done" in out
    assert len(by_seed(bench.out)) == 6
    for log in bench.out.glob("glyphs/*/*/log.txt"):
        assert log.read_text().count(" end done") == 1


class Watched:
    """A command whose messages are read as they come; with ``terminal`` somebody could answer it."""

    def __init__(self, bench, words, terminal):
        self.ours, theirs = pty.openpty() if terminal else os.pipe()
        stdin = theirs if terminal else subprocess.DEVNULL
        command = [sys.executable, "-m", "bench", *words]
        how = {"cwd": bench.folder, "env": bench._environment(), "stdout": subprocess.DEVNULL}
        self.process = subprocess.Popen(command, stdin=stdin, stderr=theirs, **how)
        os.close(theirs)
        self.told = ""

    def until(self, pattern):
        while (found := re.search(pattern, self.told)) is None:
            more = os.read(self.ours, 4096)
            assert more, self.told
            self.told += more.decode(errors="replace")
        return found


@pytest.mark.parametrize("answer", [None, "l", "c"])
def test_ctrl_c_leaves_the_jobs_or_cancels_them(bench, slurm, answer):
    bench.environment["SLOW_SECONDS"] = "0.2"
    driver = Watched(bench, [*slow(60), *SLURM], terminal=answer is not None)
    job = driver.until(r"as job (\d+)")[1]
    slurm.wait_for(lambda: in_training(bench.out, "0"))
    driver.process.send_signal(signal.SIGINT)
    if answer is not None:
        driver.until("leave them running")
        os.write(driver.ours, f"{answer}\n".encode())
    driver.until(
        f"cancelled SLURM job {job}; what was running is saved" if answer == "c" else f"'scancel {job}' ends it"
    )
    driver.until("interrupted; to go on: ")
    assert driver.process.wait(60) == 130
    if answer == "c":
        slurm.wait_for(lambda: not slurm.running())
        assert records(bench.out)["0"]["status"] == "interrupted"
    elif answer == "l":
        assert slurm.running()
        slurm.ask("scancel", job)
    else:
        again = bench(*slow(60), *SLURM)
        assert "handed over" not in again.stderr
        assert "1 of 1 runs done" in again.stdout


def test_what_sbatch_refuses_is_said_in_its_words(bench):
    said = bench.error(*request(), *SLURM, "executor.partition=nowhere")
    assert said.startswith("sbatch does not take the jobs: ")
    assert "Invalid partition name specified" in said
    assert "unrecognized option" in bench.error(*request(), *SLURM, "executor.options={froblicate: 3}")


def test_jobs_have_their_setup_and_no_threads_of_the_login_node(bench):
    lines = "['export SEEN=$OMP_NUM_THREADS-$BENCH_CACHE', 'echo seen $SEEN with $SLURM_CPUS_PER_TASK']"
    bench(*request(), *SLURM, f"executor.setup={lines}")
    (log,) = logs(bench.out).values()
    assert f"seen -{bench.cache} with 1" in log
    code, out, _ = ended(bench.start(*request(seeds="1"), *SLURM, "executor.setup=['exit 3']"))
    assert code == 1
    assert re.search(r"its SLURM job \d+ ended \(FAILED\) without a word of the run; the same command goes on", out)
    code, out, _ = ended(bench.start(*request(seeds="1"), *SLURM, "executor.container=nowhere.sqsh"))
    assert code == 1
    assert "unrecognized option '--container-image=nowhere.sqsh'" in out


def test_a_run_over_its_time_limit_goes_on_in_the_next(overtime):
    bench, driver, command = overtime
    code, _, err = ended(driver, seconds=900)
    assert code == 0, err
    (log,) = logs(bench.out).values()
    assert "Requeued job" in log
    assert by_seed(bench.out) == undisturbed(bench, command)


def test_the_array_of_the_page_saves_is_requeued_and_ends(bench, slurm):
    page = Path(__file__).parents[2] / "reports" / "README.md"
    script = re.search(r"```sh\n(#!/bin/bash\n#SBATCH --array.*?)```", page.read_text(), re.S)[1]
    assert len(script.splitlines()) == 8
    for ours, here in (("0-71%16", "0-2%2"), ("4G", "300M"), (".venv/bin/bench", f"{sys.executable} -m bench")):
        assert script.count(ours) == 1
        script = script.replace(ours, here)
    (bench.folder / "array.sh").write_text(script)
    expected = undisturbed(bench, slow(60, seeds="0-2"))
    bench("plan", *slow(60, seeds="0-2")[1:], "--export", "plan.json")
    how = {"cwd": bench.folder, "env": {**bench._environment(), "SLOW_SECONDS": "0.2"}, "text": True}
    done = subprocess.run(["sbatch", "--parsable", "array.sh"], capture_output=True, check=True, **how)
    job = done.stdout.strip()
    slurm.wait_for(lambda: in_training(bench.out, "0"))
    slurm.ask("scancel", "--signal=USR1", f"{job}_0")
    slurm.wait_for(lambda: by_seed(bench.out).keys() == expected.keys(), 300)
    assert by_seed(bench.out) == expected
    (log,) = bench.out.glob("glyphs/*/0-*/log.txt")
    assert [line.split()[1] for line in log.read_text().splitlines()].count("start") == 2
