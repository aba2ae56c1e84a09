"""Each wrong sampler is refused before a training step is taken; a right one loses nothing by having been looked at."""

import numpy as np
import pytest
import torch

from bench.backbones import Conv4
from bench.basics.errors import BenchError
from bench.basics.seeds import Seed
from bench.contracts import Budget, Context, Tasks, TaskSpec
from bench.learners.maml import MAML
from bench.learners.protonet import ProtoNet
from bench.training.artifacts import ArtifactStore
from bench.training.checkpoint import Checkpoint

SPEC = TaskSpec(3, 1, 2)
STRIDED = Conv4(filters=4, stride=2, pool=False)


class Noise:
    """Right; ``change`` is what is wrong: (images [n, N, K + Q, C, H, W], rng) -> images."""

    image_shape = (1, 16, 16)

    def __init__(self, change=lambda images, rng: images):
        self.change = change
        self.state = {"drawn": torch.zeros((), dtype=torch.int64)}

    def sample(self, n, spec, rng):
        self.state["drawn"] += n
        shape = n, spec.way, spec.shot + spec.query, *self.image_shape
        images = self.change(torch.rand(shape, generator=rng), rng)
        return Tasks(images[:, :, : spec.shot], images[:, :, spec.shot :])


class Copies(Noise):
    def sample(self, n, spec, rng):
        tasks = super().sample(n, spec, rng)
        return Tasks(tasks.support, tasks.support.expand(-1, -1, spec.query, -1, -1, -1))


class Bare(Noise):
    def sample(self, n, spec, rng):
        return torch.rand(n, spec.way)


def flipped(images, rng):
    return images if float(torch.rand(())) < 2 else images.flip(-1)


WRONG = {
    "way": (Noise(lambda x, _: x[:, :2]), "support must have shape [2, 3, 1, 1, 16, 16] for 2 tasks of 3-way 1-shot"),
    "shot": (Noise(lambda x, _: x[:, :, :2]), "query must have shape [2, 3, 2, 1, 16, 16]"),
    "size": (Noise(lambda x, _: x[..., :8]), "support must have shape [2, 3, 1, 1, 16, 16]"),
    "dtype": (Noise(lambda x, _: x.double()), "support must be float32, not float64"),
    "range": (Noise(lambda x, _: 2 * x - 1), "they must be in [0, 1]"),
    "nan": (Noise(lambda x, _: x / 0 * 0), "values from nan to nan; they must be in [0, 1]"),
    "equal": (Noise(lambda x, _: x[:1].expand_as(x)), "makes equal tasks; draw each of them from rng"),
    "global": (Noise(flipped), "draws from, or seeds, the global generator of PyTorch; take every draw from the rng"),
    "numpy": (Noise(lambda x, _: (np.random.rand(), x)[1]), "the global generator of NumPy"),  # noqa: NPY002
    "own": (Noise(lambda x, _: torch.rand(x.shape, generator=OWN)), "makes other tasks from an equal rng"),
    "copies": (Copies(), "hands out its support images as queries too"),
    "bare": (Bare(), "must return bench.contracts.Tasks(support, query), not Tensor"),
    "process": (Noise(lambda x, _: (torch.set_grad_enabled(False), x)[1]), "changed whether gradients are on"),
}
OWN = torch.Generator().manual_seed(0)


def context(folder, steps):
    budget = Budget("toy", 3, 0, 0)
    checkpoint = Checkpoint(folder / "weights.safetensors", 1e9)
    store = ArtifactStore(folder / "artifacts")
    return Context(Seed(0), torch.device("cpu"), budget, store, checkpoint, lambda *call: steps.append(call))


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_sampler_is_refused_before_it_is_trained_on(name, tmp_path):
    sampler, sentence = WRONG[name]
    steps = []
    with torch.random.fork_rng(), torch.enable_grad(), pytest.raises(BenchError) as refused:
        ProtoNet(STRIDED).fit(sampler, SPEC, context(tmp_path, steps))
    assert sentence in str(refused.value)
    assert not steps


@pytest.mark.parametrize("learner", [MAML(STRIDED, inner_steps=1, eval_steps=1), ProtoNet(STRIDED)])
def test_a_right_sampler_counts_and_trains_as_if_nobody_had_looked(learner, tmp_path, monkeypatch):
    def fitted(name):
        sampler, given = Noise(), context(tmp_path / name, [])
        return learner.fit(sampler, SPEC, given).state(), int(sampler.state["drawn"]), given.notes

    looked_at, drawn, notes = fitted("looked at")
    monkeypatch.setattr("bench.learners.meta_training.samplers.examine", lambda *_: iter(()))
    alone, drawn_alone, _ = fitted("alone")
    assert drawn == drawn_alone == 3 * learner.meta_batch
    assert all(torch.equal(value, alone[name]) for name, value in looked_at.items())
    assert notes["checked"]["sampler"][0] == "tasks"
