"""The training loop: resumed equals uninterrupted, bit for bit; divergence is found; artifacts are made once."""

import multiprocessing
import time

import pytest
import torch

from bench.basics.errors import BenchError, Diverged
from bench.basics.seeds import Seed
from bench.training.artifacts import ArtifactStore
from bench.training.checkpoint import Checkpoint, load_tensors, save_tensors
from bench.training.loop import train
from bench.training.work import count


class Stop(Exception):
    pass


def quiet(*_):
    pass


def regression(path, total=40, stop_at=None, every=0.0, poison=None, executed=None, growing=False):
    """A small regression with Adam whose batches come from named seeds; ``executed`` collects the steps taken.

    path: of the checkpoint, or the checkpoint itself.
    """
    weight = torch.nn.Parameter(torch.linspace(-1, 1, 6).reshape(2, 3))
    optimizer = torch.optim.Adam([weight], lr=0.1)

    def step(i):
        if i == stop_at:
            raise Stop
        if executed is not None:
            executed.append(i)
        rng = Seed(0).at("batch", i).generator()
        x = torch.randn(5, 3, generator=rng)
        count(len(x))
        loss = (x @ weight.T - x.sum(1, keepdim=True)).square().mean()
        if i == poison:
            loss = loss * float("nan")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.detach()

    checkpoint = path if isinstance(path, Checkpoint) else Checkpoint(path, every)
    result = train(step, {"weight": weight.data}, optimizer, total, checkpoint, quiet, "test", growing=growing)
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


def test_a_growing_training_goes_on_from_a_shorter_one_complete_or_not(tmp_path):
    whole, expected = regression(tmp_path / "a.safetensors", 40)
    path, executed = tmp_path / "b.safetensors", []
    regression(path, 10, growing=True, executed=executed)
    regression(path, 10, growing=True, executed=executed)
    with pytest.raises(Stop):
        regression(path, 60, stop_at=25, growing=True, executed=executed)
    at_25, _ = regression(path, 25, growing=True, executed=executed)
    assert executed == list(range(25)), "what was there already was not done again"
    grown, got = regression(path, 40, growing=True, executed=executed)
    assert executed == list(range(40))
    assert torch.equal(at_25, regression(tmp_path / "c.safetensors", 25)[0])
    assert torch.equal(grown, whole)
    assert got["loss"] == expected["loss"]
    assert got["seconds"] > 0


def test_a_growing_training_is_not_turned_back(tmp_path):
    regression(tmp_path / "a.safetensors", 10, growing=True)
    with pytest.raises(BenchError, match="10 steps, not test of 9"):
        regression(tmp_path / "a.safetensors", 9, growing=True)
    regression(tmp_path / "b.safetensors", 10)
    with pytest.raises(BenchError, match="10 steps, not test of 11"):
        regression(tmp_path / "b.safetensors", 11)


def test_a_growing_training_of_no_steps_is_a_beginning(tmp_path):
    start, result = regression(tmp_path / "a.safetensors", 0, growing=True)
    assert torch.equal(start, torch.linspace(-1, 1, 6).reshape(2, 3))
    assert result["loss"] == []
    grown, _ = regression(tmp_path / "a.safetensors", 5, growing=True)
    assert torch.equal(grown, regression(tmp_path / "b.safetensors", 5)[0])


def test_progress_counts_images_a_second_without_looks_and_saves(tmp_path, monkeypatch):
    """On a clock of our own: a step takes 0.25 s, a look 100 s, a save 1000 s."""
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    seen = []

    def step(_):
        clock[0] += 0.25
        return torch.zeros(())

    def look(*_):
        clock[0] += 100
        return 0.5

    class Slow(Checkpoint):
        def save(self, tensors, meta):
            clock[0] += 1000
            super().save(tensors, meta)

    def run(total, **settings):
        seen.clear()
        path = Slow(tmp_path / f"{total}.safetensors", 0.6)
        progress = lambda stage, done, total, metrics: seen.append((done, metrics))  # noqa: E731
        train(step, {"w": torch.zeros(1)}, None, total, path, progress, "t", **settings)
        return seen

    rates = [(done, m["images/s"]) for done, m in run(9, items=32, learner=lambda: None, monitor=look, monitor_every=4)]
    assert [done for done, _ in rates][-1] == 9
    assert len(rates) >= 4
    assert {rate for _, rate in rates} == {128.0}
    assert all(m["tasks/s"] == 8.0 for _, m in run(8, items=2, unit="tasks"))
    assert all(set(m) == {"loss"} for _, m in run(7))


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
    assert [path.suffix for path in sorted(tmp_path.iterdir())] == [".safetensors"]


def test_artifacts_of_different_recipes_do_not_mix(tmp_path):
    store = ArtifactStore(tmp_path)
    one = store.get("thing", {"a": 1}, lambda _: ({"x": torch.ones(1)}, {}))
    two = store.get("thing", {"a": 2}, lambda _: ({"x": torch.zeros(1)}, {}))
    assert one.path != two.path
    two.path.write_bytes(one.path.read_bytes())
    with pytest.raises(BenchError, match="another training"):
        store.get("thing", {"a": 2}, lambda _: ({}, {}))


def grown(store, epochs, snapshots=(), executed=None, recipe=None):
    """A regression of four steps an epoch that :meth:`ArtifactStore.grow` keeps."""

    def make(checkpoint, target):
        weight, result = regression(checkpoint, 4 * target, executed=executed, growing=True)
        return {"weight": weight, "losses": torch.tensor(result["loss"])}, {"epochs": target}

    return store.grow("toy", recipe or {"lr": 0.1}, epochs, 4, make, snapshots, checkpoint_seconds=0.0)


def test_an_artifact_grows(tmp_path):
    store, executed = ArtifactStore(tmp_path / "a"), []
    two = grown(store, 2, executed=executed)
    three = grown(store, 3, executed=executed)
    assert grown(store, 2, executed=executed).path == two.path
    assert executed == list(range(12)), "each step once"
    alone = grown(ArtifactStore(tmp_path / "b"), 3)
    assert three.key == alone.key
    assert torch.equal(three.tensors["weight"], alone.tensors["weight"])
    for one in (three, alone):
        assert one.meta.pop("cpu_seconds") > 0
        assert one.meta == {"epochs": 3, "recipe": {"lr": 0.1, "epochs": 3}, "images": 60, "gpu_seconds": 0.0}
    assert set(store.used) == {two.key, three.key}
    grown(store, 1, recipe={"lr": 0.2}, executed=executed)
    assert executed[12:] == list(range(4)), "another recipe has a training of its own"


def test_snapshots_are_artifacts_as_if_asked_for_and_those_beyond_the_end_are_not_made(tmp_path):
    store, executed = ArtifactStore(tmp_path / "a"), []
    last = grown(store, 3, snapshots=[2, 0, 2, 7], executed=executed)
    assert executed == list(range(12))
    assert set(store.used) == {last.key}, "a run rests on the last, not on the snapshots"
    for epochs in (0, 2, 3):
        kept = grown(store, epochs, executed=executed)
        alone = grown(ArtifactStore(tmp_path / str(epochs)), epochs)
        assert kept.key == alone.key
        assert torch.equal(kept.tensors["weight"], alone.tensors["weight"])
    assert executed == list(range(12))
    assert len(list((tmp_path / "a").glob("toy-????????????.safetensors"))) == 3


def test_a_shorter_artifact_does_not_disturb_the_longer_training(tmp_path):
    store, executed = ArtifactStore(tmp_path), []
    grown(store, 3)
    (line,) = tmp_path.glob("*.training.safetensors")
    before = line.read_bytes()
    one = grown(store, 1, executed=executed)
    assert executed == list(range(4))
    assert line.read_bytes() == before
    assert torch.equal(one.tensors["weight"], regression(tmp_path / "alone.safetensors", 4)[0])
    assert not list(tmp_path.glob("*.partial.safetensors"))
    grown(store, 4, executed=executed)
    assert executed[4:] == list(range(12, 16))


def test_an_interrupted_artifact_goes_on_growing(tmp_path):
    store, executed = ArtifactStore(tmp_path), []

    def interrupted(checkpoint, target):
        weight, _ = regression(checkpoint, 4 * target, stop_at=6, executed=executed, growing=True)
        return {"weight": weight}, {}

    with pytest.raises(Stop):
        store.grow("toy", {"lr": 0.1}, 3, 4, interrupted, [1], 0.0)
    assert store.used == {}
    two = grown(store, 2, executed=executed)
    assert executed == [0, 1, 2, 3, 4, 5, 6, 7]
    assert torch.equal(two.tensors["weight"], regression(tmp_path / "alone.safetensors", 8)[0])


def _grow_in_a_process(root, epochs):
    grown(ArtifactStore(root), epochs)


def test_processes_may_ask_for_different_lengths_at_once(tmp_path):
    context = multiprocessing.get_context("fork")
    lengths = (5, 1, 3, 3)
    workers = [context.Process(target=_grow_in_a_process, args=(tmp_path / "a", epochs)) for epochs in lengths]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0, 0, 0]
    for epochs in {*lengths}:
        alone = regression(tmp_path / f"{epochs}.safetensors", 4 * epochs)[0]
        assert torch.equal(grown(ArtifactStore(tmp_path / "a"), epochs).tensors["weight"], alone)
