"""A plan is written down and carried out elsewhere: the runs are those that 'bench run' does, each once."""

import json
import os
import shutil
import signal
import time

import pytest
from commands import TINY, Bench
from own_generators import LATENT, Tiny, save_torchscript
from plugin_packages import install
from test_edited_and_rerun import write

SMALL = ("--no-references", "--budget", "smoke", TINY[-1])
REQUEST = ("--methods", "umtra-protonet,pixels", *SMALL, "--seeds", "0,1", TINY[0])


def files(out, name="tasks.parquet"):
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.glob(f"*/*/*/{name}"))}


@pytest.fixture(scope="module")
def usual(cache, glyphs, tmp_path_factory):
    """What 'bench run' makes of the request."""
    bench = Bench(cache, tmp_path_factory.mktemp("usual"))
    bench("run", *REQUEST)
    return files(bench.out)


def test_items_alone_bundled_and_unclaimed_are_the_runs_of_bench_run(bench, usual):
    told = bench("plan", *REQUEST, "--export", "plan.json", "--executor", "slurm", "executor.partition=gpu").stdout
    assert "wrote 4 runs (--index 0 to 3) to plan.json" in told
    assert not bench.out.exists()
    waiting = bench("status", "--plan", "plan.json").stdout
    assert [line.split()[0] for line in waiting.splitlines()[:-1]] == ["waiting"] * 4
    assert waiting.splitlines()[-1].startswith("4 runs: 4 waiting; time left unknown")

    assert "1 of 1 runs" in bench("work", "plan.json", "--index", 2).stdout
    assert "2 of 2 runs" in bench("work", "plan.json", "--bundle", 2, "--index", 1).stdout
    assert len(files(bench.out)) == 2
    bench("work", "plan.json", "--bundle", 1)
    assert len(files(bench.out)) == 3
    assert "4 of 4 runs" in bench("work", "plan.json").stdout
    assert files(bench.out) == usual
    assert bench("status", "--plan", "plan.json").stdout.splitlines()[-1] == "4 runs: 4 done"
    assert "all 4 runs are done" in bench("plan", *REQUEST, "--export", "again.json").stdout
    document = json.loads(bench("status", "--json").stdout)
    assert document["counts"] == {"done": 4}
    assert {one["folder"] for one in document["runs"]} == {os.path.dirname(name) for name in usual}


def test_two_workers_share_a_plan_that_lies_elsewhere_and_a_killed_one_loses_nothing(bench, usual):
    bench("plan", *REQUEST, "--export", "plan.json")
    there = bench.folder / "another place"
    there.mkdir()
    shutil.move(bench.folder / "plan.json", there / "p.json")
    command = ("work", there / "p.json", "--out", there / "records")
    killed = bench.start(*command)
    began, holders = time.monotonic(), []
    while not holders and time.monotonic() - began < 100:
        time.sleep(0.02)
        holders = list(there.glob("records/*/*/*/.claim/*/holder.json"))
    os.kill(killed.pid, signal.SIGSTOP)  # so that it says nothing of how its run ended
    os.kill(json.loads(holders[0].read_text())["pid"], signal.SIGKILL)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.communicate()
    seen = bench("status", "--plan", there / "p.json", "--out", there / "records").stdout
    assert seen.startswith("interrupted   [0] umtra-protonet")
    assert "is gone; the same command " in seen
    assert seen.splitlines()[-1].startswith("4 runs: 1 interrupted, 3 waiting")

    workers = [bench.start(*command) for _ in range(2)]
    told = [worker.communicate(timeout=300) for worker in workers]
    assert not any("Traceback" in out + err for out, err in told)
    assert all(worker.returncode in (0, 75) for worker in workers), told
    assert 0 in [worker.returncode for worker in workers]
    assert files(there / "records") == usual
    assert not list(there.glob("records/**/.claim"))
    assert not bench.out.exists()
    ends = [text.count(" end done") for text in map(bytes.decode, files(there / "records", "log.txt").values())]
    assert ends == [1] * 4


def test_what_is_not_as_planned_is_a_sentence(bench):
    bench.environment |= {"PYTHONPATH": str(bench.folder / "site"), "PYTHONHASHSEED": "0"}
    write(bench, "mean(2)")
    bench("plan", "--methods", "mine,pixels", *SMALL, "--export", "plan.json")
    items = json.loads((bench.folder / "plan.json").read_text())["items"]
    mine = next(one["index"] for one in items if one["method"] == "mine")
    write(bench, "amax(2)")
    told = bench("work", "plan.json", code=1).stdout
    assert "1 of 2 runs of plan.json are done" in told
    assert "would be another run here than was planned, code or settings are others" in told
    shutil.rmtree(bench.folder / "site")
    assert "unknown method 'mine'" in bench("work", "plan.json", "--index", mine, code=1).stdout
    install(bench.folder / "site", "edited", files={"configs/method/mine.yaml": "_target_: edited.code.Mine\n"})
    assert "failed: " in bench("work", "plan.json", "--index", mine, code=1).stdout

    shutil.rmtree(bench.out)
    assert (
        "left: how long it takes is not known, 60 s are kept in hand, and "
        in bench("work", "plan.json", "--until", 0.5, code=75).stdout
    )
    assert "--index goes from 0 to 1" in bench.error("work", "plan.json", "--index", 2)
    assert "--index goes from 0 to 0" in bench.error("work", "plan.json", "--index", 1, "--bundle", 5)
    text = (bench.folder / "plan.json").read_text()
    (bench.folder / "plan.json").write_text(text.replace('"seed": 0', '"seed": 7'))
    assert "was changed after it was written" in bench.error("work", "plan.json")
    assert "was changed after it was written" in bench.error("status", "--plan", "plan.json")
    assert "there is no folder nowhere" in bench.error("status", "--out", "nowhere")
    assert "leave one out" in bench.error("plan", *REQUEST, "--rerun", "--export", "other.json")


def test_status_names_a_failure_in_harmless_words_and_ends_with_1(bench):
    bench("run", "--methods", "pixels", *SMALL)
    (path,) = bench.out.glob("*/*/*/run.json")
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, "status": "failed", "reason": "no [bold]\x1b[31m disk\nleft"}))
    said = bench("status", code=1).stdout.splitlines()
    assert said[0].startswith("failed        pixels")
    assert said[0].endswith(r"no [bold]\x1b[31m disk left")
    assert said[1] == "1 run: 1 failed"


def test_a_login_node_without_a_gpu_plans_for_machines_that_have_one(bench):
    """What a node has, the node says; what no machine could do is refused at once."""
    on_gpus = (*SMALL, "precision=tf32", "--export", "gpu.json")
    told = bench("plan", "--methods", "umtra-protonet", *on_gpus)
    assert "wrote 1 run" in told.stdout
    assert "wrote 1 run" in bench("plan", "--methods", "umtra-protonet", *on_gpus, "--device", "cuda:1").stdout
    said = bench.error("plan", "--methods", "umtra-protonet", *on_gpus, "--device", "cpu")
    assert said.startswith("precision=tf32 needs a GPU")
    assert "'gpu'" in bench.error(
        "plan", "--methods", "umtra-protonet", *SMALL, "--export", "x.json", "--device", "gpu"
    )
    said = bench("work", "gpu.json", "--device", "cpu", code=1).stdout
    assert "umtra-protonet" in said
    assert "failed: precision=tf32 needs a GPU" in said


def test_a_file_of_the_user_is_found_from_whatever_folder_a_worker_stands_in(bench, tmp_path):
    save_torchscript(bench.folder / "my own.pt", Tiny())
    words = (
        "--methods",
        "lasium-n-file-protonet",
        *SMALL,
        TINY[0],
        "generator.path='my own.pt'",
        f"generator.latent_dim={LATENT}",
    )
    bench("plan", *words, "--export", "plan.json")
    elsewhere = Bench(bench.cache, tmp_path / "elsewhere")
    elsewhere.folder.mkdir()
    assert "1 of 1 runs" in elsewhere("work", bench.folder / "plan.json").stdout
    assert "cached" in bench("plan", *words).stdout
