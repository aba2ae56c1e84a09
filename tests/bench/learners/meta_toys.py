"""Toy tasks and contexts for the tests of meta-learners."""

import torch

from bench.basics.seeds import Seed
from bench.contracts import Budget, Context, Tasks, TaskSpec
from bench.training.artifacts import ArtifactStore
from bench.training.checkpoint import Checkpoint

SPEC = TaskSpec(way=3, shot=1, query=4)


class Blobs:
    """A class is a random pattern of 16x16 pixels, an image its pattern with noise. Fails at call ``fail_at``."""

    def __init__(self, fail_at=None):
        self.calls, self.fail_at = 0, fail_at

    def sample(self, n, spec, rng):
        self.calls += 1
        if self.calls == self.fail_at:
            raise KeyboardInterrupt
        patterns = torch.rand(n, spec.way, 1, 1, 16, 16, generator=rng)
        noise = torch.rand(n, spec.way, spec.shot + spec.query, 1, 16, 16, generator=rng)
        images = 0.65 * patterns + 0.35 * noise
        return Tasks(images[:, :, : spec.shot], images[:, :, spec.shot :])


def context(folder, iterations, seed=0, every_seconds=1e9, monitor=None, validate_every=0):
    return Context(
        seed=Seed(seed),
        device=torch.device("cpu"),
        budget=Budget("toy", iterations, 0, 0, validate_every=validate_every),
        artifacts=ArtifactStore(folder / "artifacts"),
        checkpoint=Checkpoint(folder / "weights.safetensors", every_seconds),
        progress=lambda *_: None,
        monitor=monitor,
    )


def held_out(spec=SPEC, n=100):
    return Blobs().sample(n, spec, torch.Generator().manual_seed(12345))


def accuracy(learner, tasks):
    scores = learner.predict(tasks.support, tasks.query.flatten(1, 2))
    way, queries = tasks.query.shape[1:3]
    return float((scores.argmax(2) == torch.arange(way).repeat_interleave(queries)).float().mean())


def losses(folder):
    state, meta = Checkpoint(folder / "weights.safetensors").load()
    assert meta["complete"]
    return state["losses"]


def in_double(learner):
    """The same learner in float64, where equal mathematics is equal to many digits."""
    for tensors in (learner.params, getattr(learner, "buffers", {})):
        for name, value in tensors.items():
            tensors[name] = value.double()
    return learner


def assert_queries_do_not_meet(learner, tasks):
    """The scores of shuffled and of single queries are those of the whole query batch."""
    support, query = tasks.support.double(), tasks.query.flatten(1, 2).double()
    scores = learner.predict(support, query)
    order = torch.randperm(query.shape[1], generator=torch.Generator().manual_seed(0))
    close = {"rtol": 1e-9, "atol": 1e-9}
    torch.testing.assert_close(learner.predict(support, query[:, order]), scores[:, order], **close)
    for m in range(query.shape[1]):
        torch.testing.assert_close(learner.predict(support, query[:, m : m + 1]), scores[:, m : m + 1], **close)
