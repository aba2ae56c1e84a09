"""What a training costs: images counted in closed form, whoever trains and however often it is interrupted."""

import contextlib
import time
from dataclasses import dataclass

import pytest
import torch

from bench.backbones import Conv4
from bench.basics.seeds import Seed
from bench.contracts import Budget, Context, Tasks, TaskSpec
from bench.learners.maml import MAML
from bench.learners.protonet import ProtoNet
from bench.training.artifacts import ArtifactStore
from bench.training.checkpoint import Checkpoint, save_tensors
from bench.training.loop import train
from bench.training.rehearsal import rehearsed, rehearsing
from bench.training.steps import Step, Steps
from bench.training.work import UNKNOWN, Cost, count, include, metered

CPU = torch.device("cpu")
WAY, SHOT, QUERY, META_BATCH, STEPS = 3, 2, 4, 2, 5
SUPPORT, QUERIES = WAY * SHOT, WAY * QUERY


class Noise:
    image_shape = (1, 16, 16)

    def sample(self, n, spec, rng):
        images = torch.rand(n, spec.way, spec.shot + spec.query, 1, 16, 16, generator=rng)
        return Tasks(images[:, :, : spec.shot], images[:, :, spec.shot :])


@dataclass(frozen=True)
class Somebodys(Conv4):
    """Not Conv4 itself, so that MAML differentiates it by autograd."""


def context(folder, iterations, progress=lambda *_: None, monitor=None, every=0):
    budget = Budget("toy", iterations, 0, 0, validate_every=every)
    checkpoint = Checkpoint(folder / "weights.safetensors", 0.0)
    return Context(Seed(0), CPU, budget, ArtifactStore(folder / "artifacts"), checkpoint, progress, monitor)


MAML_STEP = META_BATCH * (3 * SUPPORT + QUERIES)  # three inner steps, then the queries
LEARNERS = [
    (MAML(Conv4(filters=2), inner_steps=3, meta_batch=META_BATCH), MAML_STEP),
    (MAML(Conv4(filters=2), inner_steps=3, meta_batch=META_BATCH, first_order=True), MAML_STEP),
    (MAML(Conv4(filters=2), inner_steps=3, meta_batch=META_BATCH, batch_stats="inductive"), MAML_STEP),
    (MAML(Somebodys(filters=2), inner_steps=3, meta_batch=META_BATCH), MAML_STEP),
    (ProtoNet(Conv4(filters=2), meta_batch=META_BATCH), META_BATCH * (SUPPORT + QUERIES)),
    (ProtoNet(Conv4(filters=2), meta_batch=META_BATCH, batch_stats="transductive"), META_BATCH * (SUPPORT + QUERIES)),
]


@pytest.mark.parametrize(("learner", "a_step"), LEARNERS)
def test_meta_training_counts_support_and_queries_and_looking_at_validation_counts_nothing(tmp_path, learner, a_step):
    def look(step, trained):
        tasks = Noise().sample(1, TaskSpec(WAY, SHOT, QUERY), torch.Generator())
        trained.predict(tasks.support, tasks.query.flatten(1, 2))
        return 0.5

    with metered() as spent:
        trained = learner.fit(Noise(), TaskSpec(WAY, SHOT, QUERY), context(tmp_path, STEPS, monitor=look, every=2))
    assert spent.images == 0, "what train() counted is included as a whole"
    assert spent.cost.images == STEPS * a_step
    look(0, trained)
    assert spent.cost.images == STEPS * a_step, "nor does it count when it is over"


@pytest.mark.parametrize("stop", [1, 3, 5])
def test_a_resumed_training_has_the_count_of_an_uninterrupted_one(tmp_path, stop):
    learner, a_step = LEARNERS[0]

    def ending(stage, done, total, metrics):
        if done >= stop:
            raise KeyboardInterrupt

    def fit(progress):
        one = context(tmp_path, STEPS, progress)
        one.checkpoint.due = lambda: True  # progress after every step
        with metered() as spent:
            learner.fit(Noise(), TaskSpec(WAY, SHOT, QUERY), one)
        return spent.cost

    with pytest.raises(KeyboardInterrupt):
        fit(ending)
    begun = Cost.told(Checkpoint(tmp_path / "weights.safetensors").load()[1])
    assert begun.images == stop * a_step
    whole = fit(lambda *_: None)
    again = fit(lambda *_: None)
    assert whole.images == again.images == STEPS * a_step
    assert whole.cpu_seconds >= begun.cpu_seconds > 0
    assert whole.gpu_seconds == 0


def test_a_checkpoint_of_before_there_was_a_count_makes_the_whole_unknown(tmp_path):
    weight = torch.zeros(1)
    path = tmp_path / "w.safetensors"
    meta = {"stage": "walk", "step": 2, "total": 4, "validation": [], "seconds": 1.0, "complete": False}
    save_tensors(path, {"tensor.weight": weight, "losses": torch.zeros(2)}, meta)

    def step(i):
        count(10)
        return torch.zeros(())

    outcome = train(step, {"weight": weight}, None, 4, Checkpoint(path), lambda *_: None, "walk")
    assert outcome["cost"].images is None
    assert outcome["cost"].cpu_seconds is None
    assert "images" not in Checkpoint(path).load()[1]


class Replaying:
    """Stands in for a GPU: what is captured is computed by a replay, of which Python counts nothing."""

    def __init__(self, fails):
        self.fails, self.replays = fails, 0

    def stream(self):
        return contextlib.nullcontext()

    def watched(self):
        return contextlib.nullcontext([])

    def capture(self, compute, rng=None):
        result = compute()
        if self.fails:
            self.fails -= 1
            raise RuntimeError("not permitted")

        def replay():
            self.replays += 1
            with metered():
                result.copy_(compute())

        return replay, result


@pytest.mark.parametrize("fails", [0, 1, 2])
def test_a_replayed_step_counts_as_one_that_is_written_out(fails):
    def inputs(i):
        count(3)
        return (torch.ones(1),)

    def compute(rng, x):
        count(7)
        return x.sum()

    small = Step(lambda i: i, inputs, compute, "a part")
    whole = Step(lambda i: i, lambda i: (), lambda rng: compute(rng, *inputs(0)), "all", otherwise=small)
    graphs = Replaying(fails)
    steps = Steps(whole, CPU, graphs)
    with steps.running(), metered() as spent:
        for i in range(9):
            steps(i)
    assert graphs.replays == (6 if fails < 2 else 0)
    assert spent.cost.images == 9 * 10


def test_what_is_metered_within_is_apart_until_it_is_included():
    with metered() as outer:
        count(5)
        with metered() as inner:
            count(7)
            began = time.process_time()
            while time.process_time() - began < 0.05:
                pass
        assert (outer.cost.images, inner.cost.images) == (5, 7)
        assert inner.cost.cpu_seconds >= 0.05
        before = outer.cost.cpu_seconds
        include(inner.cost)
        assert outer.cost.images == 12
        assert outer.cost.cpu_seconds >= before + 0.05
        include(Cost(images=1))
    assert outer.cost.images == 13
    count(99)
    include(UNKNOWN)
    assert outer.cost.images == 13


def test_an_unknown_part_makes_the_whole_unknown_and_is_absent():
    assert Cost(3, 1.5, 0.0) + Cost(4, None, 2.0) == Cost(7, None, 2.0)
    assert (Cost(3, 1.5, 0.0) + Cost(4, None, 2.0)).facts() == {"images": 7, "gpu_seconds": 2.0}
    assert Cost.told({"images": 7, "gpu_seconds": 2.0}) == Cost(7, None, 2.0)


def test_an_artifact_keeps_its_own_cost_and_the_first_to_ask_does_not_pay_twice(tmp_path):
    def make(checkpoint):
        count(40)
        return {"w": torch.zeros(1)}, {"seconds": 1.0}

    store = ArtifactStore(tmp_path)
    with metered() as spent:
        count(2)
        first, again = (store.get("encoder", {"a": 1}, make) for _ in range(2))
    assert spent.cost.images == 2
    assert first.meta["images"] == again.meta["images"] == 40
    assert first.meta["cpu_seconds"] >= 0


@pytest.mark.parametrize(
    ("others", "expected"), [((), 5 * 10), ((0, 3), 5 * 10 + 2 * 100), (None, None), ((9,), 5 * 10)]
)
def test_a_rehearsal_takes_two_steps_for_all(others, expected):
    taken = []

    def inputs(i):
        taken.append(i)
        if others and i in others:
            count(100)
        return ()

    def compute(rng):
        count(10)
        return torch.zeros(())

    step = Step(lambda i: i, inputs, compute, others=lambda total: others)
    assert rehearsed(step, 5, CPU).images == expected
    assert len(taken) == {None: 0, (0, 3): 4}.get(others, 2)


def test_steps_that_differ_unannounced_are_not_extrapolated():
    step = Step(lambda i: i, lambda i: count(i) or (), lambda rng: torch.zeros(()))
    assert rehearsed(step, 5, CPU) == UNKNOWN


def test_a_rehearsed_training_changes_no_file_and_costs_what_the_training_costs(tmp_path):
    for learner, a_step in LEARNERS[::4]:
        with rehearsing(), metered() as spent:
            learner.fit(Noise(), TaskSpec(WAY, SHOT, QUERY), context(tmp_path, 1000))
        assert spent.cost.images == 1000 * a_step
        assert spent.cost.cpu_seconds is None
        assert list(tmp_path.iterdir()) == []
