"""What 'bench status' says, by folders that are written as runs, claims and logs write them."""

import json
import os
import time

import pytest

from bench.basics.errors import BenchError
from bench.basics.holders import HOLDER, SILENT, facts_of_this_process
from bench.planning.plan_file import Item, PlanFile, Sealed, write_plan
from bench.planning.standing import Watcher
from tests.bench.leaderboard.synthetic_runs import manifest_hash, write_run

PLACE = "omniglot/alpha/{}-0000000{}"


def claim(folder, age=0.0, **facts):
    own = folder / ".claim" / "0123456789abcdef"
    own.mkdir(parents=True)
    (own / HOLDER).write_text(json.dumps({**facts_of_this_process(), **facts}))
    os.utime(own / HOLDER, (time.time() - age,) * 2)


def log(folder, *lines):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "log.txt").write_text("".join(f"2026-01-01T00:00:00+00:00 {line}\n" for line in lines))


def seen(out, plan=None):
    found = Watcher(out, plan).look()
    return found, {(one.name, one.seed): one for one in found.runs}


def plan_of(out, seeds, manifests=("a" * 64,), seconds=None):
    items = [
        Item("alpha", (), seed, f"{seed:064}", "alpha", PLACE.format(seed, seed), seconds, (), (5,)) for seed in seeds
    ]
    sealed = tuple(Sealed(f"manifests/{sha[:4]}", sha, 5) for sha in manifests)
    shared = ("omniglot", "quick", (), (1,), None, str(out), str(out / "cache"), "cpu", None, None, "0" * 64)
    return PlanFile(*shared, sealed, tuple(items))


def test_every_state_has_its_word_and_its_sentence(tmp_path):
    done = write_run(tmp_path, "alpha", seed=0, tasks=20)
    write_run(tmp_path, "alpha", seed=1, status="failed", reason="ValueError: no\nsuch thing")
    write_run(tmp_path, "alpha", seed=2, status="timeout", reason="stopped after 9 s; run again to go on")
    waits = write_run(tmp_path, "alpha", seed=3, status="interrupted", reason="still running, or ended by force")
    claim(waits, host="node7", machine="another")
    log(waits, "start", "meta-train 40/100 loss 1.2 12 min left")
    dead = write_run(tmp_path, "alpha", seed=4, status="interrupted", reason="still running, or ended by force")
    claim(dead, host="node8", pid=2**22 + 1)  # no process of this machine
    (dead / "weights.safetensors").touch()
    silent = write_run(tmp_path, "alpha", seed=5, status="interrupted", reason="still running, or ended by force")
    claim(silent, age=SILENT * 15 + 10, host="node9", machine="another")
    torn = write_run(tmp_path, "alpha", seed=6, tasks=20)
    (torn / "run.json").write_text("{")
    (done.parent / "0-00000000.1").mkdir()  # kept aside by --rerun
    (tmp_path / "omniglot" / ".hidden").mkdir()
    (tmp_path / "file").touch()

    found, runs = seen(tmp_path)
    words = ["done", "failed", "timeout", "running", "interrupted", "interrupted", "damaged"]
    assert [runs["alpha", seed].status for seed in range(7)] == words
    assert runs["alpha", 1].said == "ValueError: no such thing"
    assert runs["alpha", 3].said == "meta-train 40/100 loss 1.2 12 min left"
    assert runs["alpha", 3].holder.host == "node7"
    assert "node8" in runs["alpha", 4].said
    assert "goes on at its checkpoint" in runs["alpha", 4].said
    assert "node9" in runs["alpha", 5].said
    assert "begins it anew" in runs["alpha", 5].said
    assert runs["alpha", 6].said.startswith("omniglot/alpha/")
    assert found.counts() == {"running": 1, "failed": 1, "damaged": 1, "timeout": 1, "interrupted": 2, "done": 1}


def test_time_left_is_of_the_plan_of_the_log_or_of_like_runs(tmp_path):
    path = tmp_path / "plan.json"
    write_plan(path, plan_of(tmp_path / "runs", range(4), seconds=100.0))
    at = tmp_path / "runs" / PLACE.format(0, 0)
    log(at, "meta-train 40/100 loss 1.2 1 h 10 min left")
    since = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(time.time() - 30))
    claim(at, host="node7", machine="another", since=since)
    found, runs = seen(None, path)
    assert found.out == tmp_path / "runs"
    assert runs["alpha", 0].left == 4200.0  # what the log says of the stage is more than the 70 s of the plan
    log(at, "evaluate 1/2 accuracy 0.5 4 s left")
    found, runs = seen(None, path)
    assert runs["alpha", 0].left == pytest.approx(70, abs=5)
    seconds, at_a_time, unknown = found.left()
    assert (at_a_time, unknown) == (1, 0)
    assert seconds == pytest.approx(370, abs=5)

    write_plan(path, plan_of(tmp_path / "runs", range(1, 4)))
    assert seen(None, path)[0].left() == (None, 1, 3)
    assert all(one.left is None for one in seen(None, path)[1].values())
    write_run(tmp_path / "runs", "alpha", seed=1, key=f"{1:064}"[::-1], tasks=20)
    os.rename(next((tmp_path / "runs/omniglot/alpha").glob("1-*")), tmp_path / "runs" / PLACE.format(1, 1))
    found, runs = seen(None, path)
    assert runs["alpha", 1].status == "waiting"  # it is trained, and has answered other tasks
    assert "1 lists of tasks" in runs["alpha", 1].said
    mine = manifest_hash("omniglot", 1, 20)
    write_plan(path, plan_of(tmp_path / "runs", range(1, 4), (mine,)))
    found, runs = seen(None, path)
    assert runs["alpha", 1].status == "done"
    assert found.left() == (400.0, 1, 0)  # each of the other seeds as long as that one


def test_kept_plans_say_what_waits_and_a_record_that_changes_is_read_again(tmp_path):
    plan = plan_of(tmp_path, (0, 1))
    write_plan(tmp_path / "plans" / "0123456789ab.json", plan)
    (tmp_path / "plans" / "0123456789ac.json").write_text("{")
    (tmp_path / "plans" / "jobs.json").write_text("{")
    watcher = Watcher(tmp_path, None)
    found = watcher.look()
    assert [one.status for one in found.runs] == ["waiting", "waiting"]
    assert len(found.problems) == 1
    assert "0123456789ac.json is damaged" in found.problems[0]
    folder = tmp_path / plan.items[0].folder
    folder.mkdir(parents=True)
    for status in ("failed", "interrupted", "failed"):
        (folder / "run.json").write_text(json.dumps({"status": status, "reason": f"because {status}"}))
        assert watcher.look().runs[0].status == status
    (folder / "run.json").write_text('{"status": "odd"}')
    assert watcher.look().runs[0].status == "damaged"


def test_no_folder_is_one_sentence(tmp_path):
    with pytest.raises(BenchError, match=r"there is no folder .*none; name the one"):
        Watcher(tmp_path / "none", None).look()
