"""What is handed to Ray, and what is made of its answers, without Ray: the real one stands in tests/clusters."""

import importlib.util
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "leaderboard"))
from synthetic_runs import manifest_hash, write_run

from bench.basics.claims import Claim
from bench.basics.errors import BenchError
from bench.planning.executor_settings import executor_settings
from bench.planning.plan_file import Item, PlanFile
from bench.running.elsewhere import keep_plan
from bench.running.executors import ray, ray_supervisor
from bench.running.executors.ray import RayExecutor
from bench.running.executors.ray_settings import (
    address_of,
    cannot,
    checked,
    environment,
    needed,
    options,
    reached,
    short_folder,
)

GIB = 2.0**30


def settings(*texts):
    return checked(executor_settings("ray", texts))


def until(true):
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end, "it never came to that"
        time.sleep(0.02)


class Link:
    """In place of the process that speaks with Ray: what it was told, and what it shall say."""

    def __init__(self, settings):
        self.name, self.local = "the Ray cluster at h:1", False
        self.machines = [{"CPU": 4.0, "GPU": 1.0, "memory": 8 * GIB}]
        self.told, self.says, self.gone, self.ended = [], [], False, False

    def tell(self, line):
        self.told.append(line)

    def heard(self, seconds):
        if self.says:
            return self.says.pop(0)
        time.sleep(min(seconds, 0.01))
        return None

    def lost(self):
        return self.gone

    def end(self):
        self.ended = True

    def begun(self):
        return [line["run"] for line in self.told if "run" in line]


class Stand:
    def __init__(self, out, **changed):
        self.out, self.said = out, []
        self.pool = RayExecutor({**executor_settings("ray"), **changed}, out, self.said.append)
        self.link = self.pool._link

    def submit(self, *shared, device="cpu"):
        """One run for each: the trainings that it shares."""
        items = []
        for seed, words in enumerate(shared):
            key = manifest_hash("umtra", seed, "quick", [])
            items.append(
                Item("umtra", (), seed, key, "umtra", f"omniglot/umtra/{seed}-{key[:8]}", None, tuple(words.split()))
            )
        shape = ((), (1,), None, str(self.out), "cache", device, None, None, "h", ())
        self.plan = PlanFile("omniglot", "quick", *shape, items=tuple(items))
        path = keep_plan(self.out, self.plan)
        return [self.pool.submit(print, str(path), index) for index in range(len(items))]

    def says(self, **line):
        self.link.says.append(line)


@pytest.fixture
def stand(tmp_path, monkeypatch):
    monkeypatch.setattr(ray, "Link", Link)
    monkeypatch.setattr(ray, "needed", lambda _: None)
    monkeypatch.setattr(ray, "AGAIN", 0.1)
    made = []

    def make(**changed):
        made.append(Stand(tmp_path / "runs", **changed))
        return made[-1]

    yield make
    for one in made:
        one.pool._end.set()
        one.pool.shutdown(wait=False)
        assert one.link.ended


def test_what_several_share_is_trained_by_one_and_there_as_soon_as_that_one_is_past_it(stand):
    one = stand()
    futures = one.submit("a", "a", "", "a b", "b")
    until(lambda: one.link.begun() == [0, 2, 4])
    folder = one.plan.folder(0)
    folder.mkdir(parents=True)
    (folder / "weights.partial.safetensors").touch()
    until(lambda: one.link.begun() == [0, 2, 4, 1])
    one.says(ended=4, code=1, said="[4] umtra, seed 4: failed: it burst")
    until(lambda: one.link.begun() == [0, 2, 4, 1, 3])  # nobody trains b any more: another tries
    assert str(futures[4].exception(5)) == "it burst"


def test_a_task_is_words_and_numbers_with_the_variables_of_this_project_only(stand, monkeypatch):
    for name, value in {"BENCH_DATA": "/d", "BENCH_HOST": "login", "OMP_NUM_THREADS": "64", "SECRET": "x"}.items():
        monkeypatch.setenv(name, value)
    one = stand(cpus=3, gpus=0.25, memory="2G", retries=1, environment={"HF_HOME": "/h"})
    one.submit("", device="cuda:1")
    until(one.link.begun)
    (line,) = one.link.told
    assert json.loads(json.dumps(line)) == line
    assert line["options"] == {"num_cpus": 3, "num_gpus": 0.25, "memory": 2 * 2**30, "max_retries": 1}
    _, words, unset, given, _ = line["task"]
    assert words[:5] == ["", "-P", "-m", "bench", "work"]
    assert words[6:] == ["--index", "0", "--device", "cuda"]
    assert "MKL_NUM_THREADS" in unset
    assert given["OMP_NUM_THREADS"] == "3"
    assert (given["BENCH_DATA"], given["HF_HOME"]) == ("/d", "/h")
    assert not {"BENCH_HOST", "SECRET", "PATH", "CUDA_VISIBLE_DEVICES"} & set(given)


def test_a_run_that_another_process_is_at_is_waited_for_and_not_begun(stand):
    one = stand()
    key = manifest_hash("umtra", 0, "quick", [])
    folder = one.out / f"omniglot/umtra/0-{key[:8]}"
    with Claim.take(folder / ".claim"):
        (future,) = one.submit("")
        time.sleep(0.5)
        assert not one.link.begun()
    until(one.link.begun)
    folder.rmdir()
    write_run(one.out, "umtra", seed=0)
    one.says(ended=0, code=0, said="")
    assert future.result(5) == "done"


def test_a_run_that_was_ended_from_outside_is_begun_again_so_often(stand):
    one = stand(retries=1)
    (future,) = one.submit("")
    until(lambda: one.link.begun() == [0])
    one.says(ended=0, code=143, said="")
    until(lambda: one.link.begun() == [0, 0])
    one.says(ended=0, code=-9, said="")
    assert "ended by SIGKILL, which is often for lack of memory, 2 times" in str(future.exception(5))


def test_a_lost_machine_a_lost_head_and_no_machine_left_are_a_sentence_each(stand, monkeypatch):
    one = stand()
    first, second = one.submit("", "")
    until(lambda: len(one.link.begun()) == 2)
    one.says(lost=0, why="NodeDiedError: gone")
    assert "its machine or its Ray worker was lost 4 times: NodeDiedError: gone" in str(first.exception(5))
    one.link.gone = True
    assert "the head of its Ray cluster was lost" in str(second.exception(5))
    assert sum("the head of the Ray cluster at h:1 does not answer any more" in line for line in one.said) == 1
    monkeypatch.setattr(ray, "MACHINES", 0.1)
    other = stand()
    (third,) = other.submit("")
    other.link.machines = [{"CPU": 1.0}]
    assert "executor.cpus=2: the largest machine of the Ray cluster has 1 CPUs" in str(third.exception(5))


def test_stopping_begins_nothing_and_waits_for_what_is_running(stand):
    one = stand()
    futures = one.submit("a", "a")
    until(lambda: one.link.begun() == [0])
    one.says(cancelled=0)
    one.pool._stopping.set()
    one.pool.cancel()
    assert futures[0].result(5) == "interrupted"
    assert one.link.begun() == [0]
    with pytest.raises(BenchError, match="no run would see a GPU"):
        one.submit("", device="cuda")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("cpus=0", "give a number from 1"),
        ("gpus=1.5", "a run uses one GPU or a part of one"),
        ("memory=4X", "write it as in 8G or 500M"),
        ("address=here", "write auto, local, host:6379 or ray://host:10001"),
        ("environment={1a: 2}", "is no variable"),
        ("retries=-1", "give a number from 0"),
    ],
)
def test_what_ray_could_not_take_is_refused(text, said):
    with pytest.raises(BenchError, match=said):
        settings(f"executor.{text}")


def test_what_no_machine_could_ever_do_is_said_before_anything_waits_for_it():
    machines = [{"CPU": 8.0, "memory": 4 * GIB}, {"CPU": 2.0, "GPU": 1.0, "memory": 64 * GIB}]
    assert cannot(settings("executor.gpus=0.25", "executor.memory=32G"), machines) is None
    assert cannot(settings("executor.cpus=9"), machines) == (
        "executor.cpus=9: the largest machine of the Ray cluster has 8 CPUs"
    )
    assert "has 64.0 GiB" in cannot(settings("executor.memory=100G"), machines)
    assert cannot(settings("executor.cpus=8", "executor.gpus=1"), machines) == (
        "no machine of the Ray cluster has all of executor.cpus=8, executor.gpus=1"
    )
    assert "has 0 GPUs" in cannot(settings("executor.gpus=0.5"), machines[:1])


def test_what_is_needed_and_nobody_at_an_address_are_one_sentence(monkeypatch):
    with pytest.raises(BenchError, match=r"no Ray cluster answers at 127\.0\.0\.1:1 \(Connection refused\); executor"):
        reached("127.0.0.1:1")
    monkeypatch.setenv("RAY_ADDRESS", "ray://h:1")
    assert address_of(settings()) == "ray://h:1"
    assert address_of(settings("executor.address=local")) == "local"
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BenchError, match=r"^--executor ray needs ray: pip install 'unsupervised-meta-bench\[ray\]'$"):
        needed(settings())


def test_a_local_cluster_has_a_folder_short_enough_for_its_sockets(monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / ("x" * 60)))
    folder = Path(short_folder())
    assert folder.parent == Path("/tmp")
    folder.rmdir()


def supervised(code, grace="5"):
    """Beside what stands in for a Ray worker: this process holds the other end."""
    words = json.dumps([sys.executable, "-c", code])
    source = Path(ray_supervisor.__file__).read_text()
    how = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    process = subprocess.Popen([sys.executable, "-c", source, words, grace], **how)
    assert process.wait(10) == 0, "it is no child of the worker"
    return process


def test_the_supervisor_says_how_the_command_ended_and_its_last_line():
    process = supervised("print('first'); print(' last '); raise SystemExit(3)")
    assert json.loads(process.stdout.read()) == {"code": 3, "said": "last"}


def test_the_end_of_the_worker_is_told_to_the_command_and_after_the_grace_it_is_ended(tmp_path):
    ready = tmp_path / "ready"
    for handler, expected in (("lambda *_: exit(7)", 7), ("signal.SIG_IGN", -signal.SIGKILL)):
        code = (
            f"import signal, time, pathlib; signal.signal(signal.SIGTERM, {handler}); "
            f"pathlib.Path({str(ready)!r}).touch(); time.sleep(60)"
        )
        process = supervised(code, "0.3")
        until(ready.exists)
        ready.unlink()
        process.stdin.close()
        assert json.loads(process.stdout.read())["code"] == expected


def test_the_options_of_a_run_without_a_gpu_hide_all():
    assert environment(settings())["CUDA_VISIBLE_DEVICES"] == ""
    assert options(settings()) == {"num_cpus": 2, "num_gpus": 0.0, "max_retries": 3}
