"""The training loop: resumed equals uninterrupted, bit for bit; divergence is found; artifacts are made once."""

import multiprocessing
import time

import pytest
import torch

from bench.artifacts import ArtifactStore
from bench.checkpoint import Checkpoint, load_tensors, save_tensors
from bench.errors import BenchError, Diverged
from bench.seeds import Seed
from bench.training import train


class Stop(Exception):
    pass


def quiet(*_):
    pass


def regression(path, total=40, stop_at=None, every=0.0, poison=None, executed=None):
    """A small regression with Adam whose batches come from named seeds; ``executed`` collects the steps taken."""
    weight = torch.nn.Parameter(torch.linspace(-1, 1, 6).reshape(2, 3))
    optimizer = torch.optim.Adam([weight], lr=0.1)

    def step(i):
        if i == stop_at:
            raise Stop
        if executed is not None:
            executed.append(i)
        rng = Seed(0).at("batch", i).generator()
        x = torch.randn(5, 3, generator=rng)
        loss = (x @ weight.T - x.sum(1, keepdim=True)).square().mean()
        if i == poison:
            loss = loss * float("nan")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.detach()

    result = train(step, {"weight": weight.data}, optimizer, total, Checkpoint(path, every), quiet, "test")
    return weight.detach().clone(), result


@pytest.mark.parametrize("stop_at", [1, 7, 39])
def test_resumed_training_equals_uninterrupted_training_bit_for_bit(tmp_path, stop_at):
    whole, expected = regression(tmp_path / "a.safetensors")
    with pytest.raises(Stop):
        regression(tmp_path / "b.safetensors", stop_at=stop_at)
    executed = []
    resumed, got = regression(tmp_path / "b.safetensors", executed=executed)
    assert executed == list(range(stop_at, 40)), "it went on from the checkpoint, and did not begin anew"
    assert torch.equal(whole, resumed)
    assert got["loss"] == expected["loss"]


def test_a_complete_training_is_not_repeated(tmp_path):
    weight, first = regression(tmp_path / "a.safetensors")
    again, second = regression(tmp_path / "a.safetensors", stop_at=0)
    assert torch.equal(weight, again)
    assert first["loss"] == second["loss"]


def test_a_non_finite_loss_is_reported_with_its_step(tmp_path):
    with pytest.raises(Diverged, match="non-finite at step 13"):
        regression(tmp_path / "a.safetensors", poison=13, every=1e9)


def test_a_checkpoint_of_another_training_is_refused(tmp_path):
    regression(tmp_path / "a.safetensors")
    with pytest.raises(BenchError, match="40 steps, not test of 41"):
        regression(tmp_path / "a.safetensors", total=41)


def test_validation_is_logged_and_survives_a_resume(tmp_path):
    def run(stop_at=None):
        weight = torch.zeros(1)

        def step(i):
            if i == stop_at:
                raise Stop
            weight.add_(1)
            return weight.sum()

        return train(
            step,
            {"w": weight},
            None,
            10,
            Checkpoint(tmp_path / "c.safetensors", 0.0),
            quiet,
            "t",
            learner=lambda: None,
            monitor=lambda done, _: done / 10,
            monitor_every=3,
        )

    with pytest.raises(Stop):
        run(stop_at=5)
    assert run()["validation"] == [[3, 0.3], [6, 0.6], [9, 0.9], [10, 1.0]]


def test_a_time_limit_keeps_what_is_done(tmp_path):
    class Limit(Exception):
        pass

    def impatient(*_):
        raise Limit

    def run(progress, executed):
        weight = torch.zeros(1)

        def step(i):
            executed.append(i)
            weight.add_(1)
            return weight.sum()

        train(step, {"w": weight}, None, 1, Checkpoint(tmp_path / "t.safetensors", 1e9), progress, "t")
        return weight

    with pytest.raises(Limit):
        run(impatient, [])
    executed = []
    assert run(quiet, executed) == 1
    assert executed == []


def test_damaged_tensors_are_one_sentence(tmp_path):
    path = tmp_path / "w.safetensors"
    save_tensors(path, {"a": torch.ones(3)}, {"x": 1})
    assert load_tensors(path)[1] == {"x": 1}
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(BenchError, match="is damaged"):
        load_tensors(path)


def _make_slowly(root, queue):
    def make(_):
        queue.put("made")
        time.sleep(0.5)
        return {"x": torch.ones(2)}, {"seconds": 1.0}

    ArtifactStore(root).get("thing", {"a": 1}, make)


def test_two_processes_make_an_artifact_once(tmp_path):
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    workers = [context.Process(target=_make_slowly, args=(tmp_path, queue)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    assert queue.get(timeout=5) == "made"
    assert queue.empty()


def test_a_failed_artifact_is_not_kept_but_its_checkpoint_is(tmp_path):
    store = ArtifactStore(tmp_path)

    def fail(checkpoint):
        checkpoint.save({"x": torch.ones(1)}, {"step": 3})
        raise Diverged("no")

    with pytest.raises(Diverged):
        store.get("thing", {"a": 1}, fail)

    def resume(checkpoint):
        saved = checkpoint.load()
        assert saved is not None
        assert saved[1] == {"step": 3}
        return saved[0], {}

    assert torch.equal(store.get("thing", {"a": 1}, resume).tensors["x"], torch.ones(1))
    assert [path.suffix for path in sorted(tmp_path.iterdir())] == [".lock", ".safetensors"]


def test_artifacts_of_different_recipes_do_not_mix(tmp_path):
    store = ArtifactStore(tmp_path)
    one = store.get("thing", {"a": 1}, lambda _: ({"x": torch.ones(1)}, {}))
    two = store.get("thing", {"a": 2}, lambda _: ({"x": torch.zeros(1)}, {}))
    assert one.path != two.path
    two.path.write_bytes(one.path.read_bytes())
    with pytest.raises(BenchError, match="another recipe"):
        store.get("thing", {"a": 2}, lambda _: ({}, {}))
