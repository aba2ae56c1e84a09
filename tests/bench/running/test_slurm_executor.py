"""What is asked of SLURM and made of its answers, with stand-ins for its commands; the real ones: tests/clusters."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "leaderboard"))
from synthetic_runs import manifest_hash, write_run

from bench.basics.errors import BenchError
from bench.basics.signals import Interrupts, Stopped
from bench.planning.executor_settings import executor_settings
from bench.planning.plan_file import Item, PlanFile, read_plan
from bench.running.elsewhere import keep_plan, planned
from bench.running.executors import slurm, slurm_commands, slurm_following, slurm_task
from bench.running.executors.slurm import SlurmExecutor
from bench.running.executors.slurm_settings import checked, parameters, seconds_of
from bench.running.working import signals_of_schedulers

pytest.importorskip("submitit")

STAND_INS = {
    "sbatch": 'echo "$@" >> {folder}/sbatch.txt; cp "$1" {folder}/script.sh\n'
    "if [ -s {folder}/refusals ]; then head -1 {folder}/refusals >&2; sed -i 1d {folder}/refusals; exit 1; fi\n"
    'echo "Submitted batch job 7"',
    "squeue": 'echo "$@" >> {folder}/asked.txt\n'
    'if [ -e {folder}/down ]; then echo "squeue: error: no answer" >&2; exit 1; fi\n'
    "cat {folder}/queue",
    "scancel": 'echo "$@" >> {folder}/cancelled.txt',
    "scontrol": 'if [ "$2" = config ]; then echo "MaxArraySize = 11"; else cat {folder}/job; fi',
    "srun": "exit 1",
}


class Stand:
    """A folder with the commands; ``queue`` says what squeue prints, a line a task: id, state, reason."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.out = folder, folder / "runs"
        self.told: list[str] = []
        (folder / "bin").mkdir()
        for name, text in STAND_INS.items():
            path = folder / "bin" / name
            path.write_text("#!/bin/sh\n" + text.replace("{folder}", str(folder)) + "\n")
            path.chmod(0o755)
        self.queue()

    def queue(self, *lines: str, name: str = "") -> None:
        rows = [f"{task}|{state}|{reason}|node1|{name}" for task, state, reason in map(str.split, lines)]
        (self.folder / "new").write_text("".join(f"{row}\n" for row in rows))
        (self.folder / "new").rename(self.folder / "queue")

    def plan(self, count: int) -> Path:
        items = []
        for seed in range(count):
            key = manifest_hash("umtra", seed, "quick", [])
            items.append(Item("umtra", (), seed, key, "umtra", f"omniglot/umtra/{seed}-{key[:8]}"))
        shape = ((), (1,), None, str(self.out), "cache", "cpu", None, None, "h", ())
        return keep_plan(self.out, PlanFile("omniglot", "quick", *shape, items=tuple(items)))

    def executor(self, **settings) -> SlurmExecutor:
        return SlurmExecutor({**executor_settings("slurm"), "poll": 0.02, **settings}, self.out, self.told.append)

    def name(self, size: int = 1) -> str:
        """Of a job for the only plan."""
        return f"bench-{next((self.out / 'plans').iterdir()).stem}-{size}"

    def read(self, name: str) -> str:
        path = self.folder / name
        return path.read_text() if path.exists() else ""


@pytest.fixture
def stand(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setattr(slurm, "PAUSES", (0.05, 0.05))
    return Stand(tmp_path)


def handed_over(stand, count=2, **settings):
    pool, plan = stand.executor(**settings), stand.plan(count)
    futures = [pool.submit(print, str(plan), index) for index in range(count)]
    pool.flush()
    return pool, futures


def until(true):
    for _ in range(500):
        if true():
            return
        time.sleep(0.02)
    pytest.fail("it never came to that")


def end(pool):
    pool.shutdown(wait=False)


def test_what_is_submitted_becomes_one_capped_array_of_bundles(stand):
    pool, _ = handed_over(stand, 7, bundle=2, parallel=3, gpus="a100:1", partition="gpu", memory="4G")
    script = stand.read("script.sh")
    for line in (
        *("--array=0-3%3", f"--job-name={stand.name(2)}", "--partition=gpu", "--gpus-per-node=a100:1", "--mem=4G"),
        *("--time=60", "--signal=USR2@90", "--requeue", "--cpus-per-task=2", "--ntasks-per-node=1"),
    ):
        assert f"#SBATCH {line}\n" in script
    assert "--wckey" not in script
    assert "unset OMP_NUM_THREADS" in script
    assert "srun" in script
    assert "--cpus-per-task=2" in script.partition("srun")[2]
    assert pool.jobs == ["7"]
    assert stand.told == [
        f"handed over to SLURM as job 7: 4 tasks of 2 runs, 3 at a time; logs in {stand.out / 'slurm'}"
    ]
    end(pool)


def test_a_pause_hands_over_too_and_a_refusal_is_in_every_future(stand, monkeypatch):
    monkeypatch.setattr(slurm, "PAUSE", 0.05)
    (stand.folder / "refusals").write_text("sbatch: error: Batch job submission failed: Invalid account\n")
    pool, plan = stand.executor(), stand.plan(2)
    futures = [pool.submit(print, str(plan), index) for index in range(2)]
    for one in futures:
        with pytest.raises(BenchError, match=r"^sbatch does not take the jobs: Batch job submission failed: Inv"):
            one.result(10)
    pool.submit(print, str(plan), 0)
    until(lambda: stand.told)
    assert "job 7: 1 task of 1 run" in stand.told[0]
    end(pool)


def test_a_busy_controller_is_asked_again_but_not_for_ever(stand):
    busy = "sbatch: error: Slurm temporarily unable to accept job\n"
    (stand.folder / "refusals").write_text(busy * 2)
    pool, _ = handed_over(stand)
    assert len(stand.read("sbatch.txt").splitlines()) == 3
    assert sum("trying again" in line for line in stand.told) == 2
    end(pool)
    (stand.folder / "refusals").write_text(busy * 9)
    with pytest.raises(BenchError, match="temporarily unable"):
        handed_over(stand)


def test_more_tasks_than_an_array_may_have_are_refused_with_what_to_type(stand):
    with pytest.raises(BenchError, match=r"30 runs are 30 tasks, .* at most 10: .* executor.bundle=3"):
        handed_over(stand, 30)
    assert not stand.read("sbatch.txt")


def test_a_record_ends_its_future_before_its_task_ends(stand):
    pool, (first, second) = handed_over(stand)
    name = stand.name()
    stand.queue("7_0 RUNNING None", "7_1 RUNNING None", name=name)
    write_run(stand.out, "umtra", seed=1)
    assert second.result(10) == "done"
    assert not first.done()
    write_run(stand.out, "umtra", seed=0, status="failed", reason="it is told to")
    time.sleep(0.2)
    assert not first.done(), "its task is on the node still"
    stand.queue("7_0 FAILED NonZeroExitCode", name=name)
    assert first.result(10) == "failed", "what the run said itself"
    asked = stand.read("asked.txt").splitlines()
    assert asked[-1].endswith(f"--name={name}"), "one call for all"
    pool.shutdown()
    assert not stand.read("cancelled.txt")


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("TIMEOUT", "came to the end of its time; give it more, executor.time=…"),
        ("OUT_OF_MEMORY", "needed more memory than it had; give it more, executor.memory=…"),
        ("CANCELLED", "was cancelled; the same command goes on"),
        ("NODE_FAIL", r"lost its place \(NODE_FAIL, node1\)"),
        ("FAILED", r"ended \(FAILED\) without a word of the run: ImportError: no such thing; the same command"),
    ],
)
def test_a_task_that_ends_without_a_record_says_why_and_what_to_type(stand, state, said):
    pool, (only,) = handed_over(stand, 1)
    log = stand.out / "slurm" / "7_0_log.out"
    log.write_text("submitit INFO - Starting\nImportError: no such thing\nsrun: error: localhost: task 0: Exited\n")
    stand.queue(f"7 {state} None", name=stand.name())
    with pytest.raises(BenchError, match=rf"^its SLURM job 7 {said}.*the job's log is {log}$"):
        only.result(10)
    end(pool)


def test_what_the_record_of_an_earlier_attempt_says_is_not_taken_for_this_one(stand):
    os.utime(write_run(stand.out, "umtra", seed=0, status="failed", reason="long ago") / "run.json", (1e9, 1e9))
    pool, (only,) = handed_over(stand, 1)
    stand.queue("7 CANCELLED None", name=stand.name())
    with pytest.raises(BenchError, match="its SLURM job 7 was cancelled"):
        only.result(10)
    end(pool)


def test_a_requeued_task_is_followed_on(stand):
    pool, (only,) = handed_over(stand, 1)
    pool._end.set()  # looks are made here
    for state in ("RUNNING", "PREEMPTED", "PENDING", "NODE_FAIL", "RUNNING"):
        stand.queue(f"7 {state} None", name=stand.name())
        pool._following.look()
        assert not only.done()
    stand.queue()
    pool._following.look()
    pool._following.look()
    assert "is not in the queue any more" in str(only.exception())


def test_a_queue_that_does_not_answer_ends_no_run(stand, monkeypatch):
    monkeypatch.setattr(slurm_following, "RARELY", 1)
    pool, (first, second) = handed_over(stand)
    (stand.folder / "down").touch()
    write_run(stand.out, "umtra", seed=0)
    assert first.result(10) == "done"
    assert sum("SLURM does not answer (no answer)" in line for line in stand.told) == 1
    assert not second.done()
    pool._following._silence = 0.0
    with pytest.raises(BenchError, match=r"SLURM has not answered .* the same command follows it"):
        second.result(10)
    end(pool)


def test_a_reason_to_wait_that_does_not_end_by_itself_is_said_once(stand):
    pool, _ = handed_over(stand)
    rows = "7_0 PENDING PartitionTimeLimit", "7_1 PENDING Priority"
    stand.queue(*rows, name=stand.name())
    until(lambda: len(stand.told) > 1)
    time.sleep(0.1)
    assert stand.told[1:] == ["job 7_0 waits, and SLURM gives as the reason: PartitionTimeLimit"]
    end(pool)


def test_runs_that_jobs_in_the_queue_will_do_are_followed_and_others_handed_over(stand):
    end(handed_over(stand, 4, bundle=2)[0])
    earlier = stand.name(2)
    stand.queue("5_0 RUNNING None", "5_1 CANCELLED None", name=earlier)
    pool, futures = handed_over(stand, 4, poll=1.0)
    stand.queue(*(f"{task} RUNNING None" for task in ("5_0", "7_0", "7_1")), name=earlier)
    assert stand.told[1] == "2 runs are in jobs that SLURM has already: 5"
    assert "job 7: 2 tasks of 1 run" in stand.told[2]
    assert pool.jobs == ["5", "7"]
    write_run(stand.out, "umtra", seed=0)
    assert futures[0].result(10) == "done"
    pool.cancel()
    assert stand.read("cancelled.txt").split() == ["5_0", "7_0", "7_1"]
    end(pool)


def test_at_the_end_tasks_that_would_find_nothing_to_do_leave_the_queue(stand):
    pool, _ = handed_over(stand)
    stand.queue("7_0 RUNNING None", "7_1 PENDING Resources", name=stand.name())
    for seed in range(2):
        write_run(stand.out, "umtra", seed=seed)
    pool.shutdown()
    assert stand.read("cancelled.txt").split() == ["7_1"]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"time": 5400}, "executor.time=5400: write .days-.hours:minutes:seconds; 90 minutes are 01:30:00"),
        ({"time": "1:30"}, "executor.time=1:30"),
        ({"time": "00:00:00"}, "executor.time"),
        ({"time": "00:01:00", "signal": 60}, "executor.signal=60: .* has only executor.time=00:01:00"),
        ({"memory": "8 gigs"}, "executor.memory=8 gigs: write it as in 8G"),
        ({"gpus": "a100"}, "executor.gpus=a100"),
        ({"parallel": 0}, "executor.parallel=0: give a number from 1"),
        ({"options": {"array": "0-9"}}, "executor.options cannot set array"),
        ({"options": {"x\n#SBATCH --uid": 0}}, "is no long option"),
        ({"options": {"comment": "a\nrm -rf x"}}, "is no long option"),
        ({"partition": "a\nb"}, "executor.partition="),
        ({"setup": [3]}, "executor.setup"),
    ],
)
def test_settings_that_slurm_would_take_for_something_else_are_refused(changed, said):
    with pytest.raises(BenchError, match=said):
        checked({**executor_settings("slurm"), **changed})


def test_times_are_read_as_they_are_written():
    assert seconds_of({"time": "1-02:03:04"}) == 93784
    settings = executor_settings("slurm", ["executor.time=02:00:30", "executor.options={constraint: a100}"])
    found = parameters(checked(settings))
    assert found["time"] == 121, "SLURM counts in minutes"
    assert found["additional_parameters"] == {"requeue": True, "constraint": "a100"}
    assert "mem" in found
    assert "gpus_per_node" not in found


def test_what_is_refused_leaves_no_plan_behind_and_what_was_there_stays(stand):
    settings = {"memory": "9G", "partition": "gpu"}
    (stand.folder / "refusals").write_text("sbatch: error: Memory specification can not be satisfied\n" * 2)
    with pytest.raises(BenchError) as error:
        handed_over(stand, **settings)
    asked = "executor.partition=gpu, executor.time=01:00:00, executor.memory=9G, executor.cpus=2"
    assert str(error.value).endswith(f"Memory specification can not be satisfied; asked for {asked}")
    before = stand.plan(2)
    with pytest.raises(BenchError), planned(stand.out, read_plan(before)):
        raise BenchError("refused")
    assert before.exists(), "jobs may be reading it"
    other = replace(read_plan(before), budget="paper")
    with pytest.raises(BenchError), planned(stand.out, other) as path:
        assert path.exists()
        raise BenchError("refused")
    assert not path.exists()


def test_the_end_of_a_task_is_its_own_and_not_that_of_another_of_its_array(stand, monkeypatch):
    monkeypatch.delenv("SLURM_JOB_END_TIME", raising=False)
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    assert slurm_commands.end_of_job() is None
    (stand.folder / "job").write_text(
        "JobId=9 ArrayTaskId=0 JobState=COMPLETED EndTime=2020-01-01T00:00:00 Command=a b\n"
        "JobId=7 ArrayTaskId=1 JobState=RUNNING EndTime=2026-01-01T10:00:00\n"
    )
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    assert slurm_commands.end_of_job() == time.mktime((2026, 1, 1, 10, 0, 0, 0, 0, -1))
    (stand.folder / "job").write_text("JobId=7 JobState=RUNNING EndTime=Unknown\n")
    assert slurm_commands.end_of_job() is None
    monkeypatch.setenv("SLURM_JOB_END_TIME", "123")
    assert slurm_commands.end_of_job() == 123


TASK = """
import signal, sys
from bench.running.executors import slurm_task
child = [sys.executable, "-c", sys.argv[1]]
slurm_task.Bundle.command = lambda self: child
signal.signal(signal.SIGUSR2, lambda *_: (print("requeued", flush=True), sys.exit(255)))
print("begun", flush=True)
slurm_task.Bundle("plan.json", 0, 1, 600.0, int(sys.argv[2]))()
"""

WAITS = "import time; print('child', flush=True); time.sleep(60)"


@pytest.mark.parametrize(
    ("child", "sent", "state", "requeues", "code"),
    [
        ("", None, "RUNNING", 3, 0),
        ("raise SystemExit(1)", None, "RUNNING", 3, 1),
        ("raise SystemExit(75)", None, "RUNNING", 3, 255),
        ("raise SystemExit(75)", None, "RUNNING", 0, 75),
        (WAITS, signal.SIGUSR2, "RUNNING", 3, 255),
        (WAITS, signal.SIGUSR1, "RUNNING", 3, 255),
        (WAITS, signal.SIGTERM, "RUNNING", 3, 255),
        (WAITS, signal.SIGTERM, "CANCELLED", 3, 143),
    ],
    ids=["done", "failed", "left", "left too often", "its end", "its end, USR1", "preempted", "cancelled"],
)
def test_a_task_passes_signals_on_and_is_requeued_unless_it_is_over(stand, child, sent, state, requeues, code):
    (stand.folder / "job").write_text(f"JobId=7 JobState={state} EndTime=Unknown\n")
    process = subprocess.Popen(
        [sys.executable, "-c", TASK, child, str(requeues)],
        env={**os.environ, "SLURM_JOB_ID": "7"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    if sent is not None:
        while process.stdout.readline() != "child\n":
            pass
        process.send_signal(sent)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == code
    assert ("requeued" in out) == (code == 255)


def test_a_requeued_task_may_be_so_once_less():
    bundle = slurm_task.Bundle("plan.json", 2, 3, 600.0, 1)
    assert bundle.checkpoint().function == slurm_task.Bundle("plan.json", 2, 3, 600.0, 0)
    assert bundle.command()[1:] == ["-P", "-m", "bench", "work", "plan.json", "--index", "2", "--bundle", "3"]


@pytest.mark.parametrize("number", slurm_task.ANNOUNCED)
def test_a_worker_takes_an_announcement_for_sigterm_unless_another_process_tells_it(number):
    with Interrupts() as interrupts, signals_of_schedulers(), pytest.raises(Stopped):
        os.kill(os.getpid(), number)
        time.sleep(1)
    assert interrupts.stopped.by == "SIGTERM"
    before = signal.signal(number, signal.SIG_IGN)
    try:
        with signals_of_schedulers():
            os.kill(os.getpid(), number)
            time.sleep(0.01)
        assert signal.getsignal(number) == signal.SIG_IGN
    finally:
        signal.signal(number, before)
