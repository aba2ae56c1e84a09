"""Instance discrimination: its loss against a loop, what its turns do, and that it learns."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from baselines.instance import Instance
from bench.backbones import Conv4
from bench.basics.errors import BenchError
from bench.basics.seeds import Seed
from bench.contracts import Budget, Context, TaskSpec
from bench.datasets.images import UnlabelledImages
from bench.learners.imagewise import Embedding
from bench.learners.projection import project, projection
from bench.running.evaluate import evaluate
from bench.tasks.manifest import draw
from bench.training.artifacts import ArtifactStore
from bench.training.checkpoint import Checkpoint
from bench.views.strokes import Strokes

CPU, SPEC = torch.device("cpu"), TaskSpec(5, 1, 5)
SMALL = Instance(Conv4(filters=8, stride=2, pool=False), Strokes(), batch=8, projection=5)


def context(folder, steps):
    budget = Budget("test", steps, 1, 1, checkpoint_seconds=1e9)
    store = ArtifactStore(folder / "artifacts")
    return Context(Seed(0), CPU, budget, store, Checkpoint(folder / "w"), lambda *_: None)


def images(n=20):
    pixels = torch.randint(0, 256, (n, 1, 16, 16), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    return UnlabelledImages(pixels, "made")


def by_loop(z, temperature):
    """NT-Xent of [B, 2, d] in float64, pair by pair."""
    images = len(z)
    rows = z.double().transpose(0, 1).reshape(2 * images, -1)
    total = 0.0
    for i in range(2 * images):
        cosines = torch.nn.functional.cosine_similarity(rows[i], rows, dim=1) / temperature
        others = [k for k in range(2 * images) if k != i]
        total += float(cosines[others].logsumexp(0) - cosines[(i + images) % (2 * images)])
    return total / (2 * images)


@pytest.mark.parametrize("outputs", [0, 5])
def test_the_loss_is_the_mean_of_that_on_features_and_that_on_their_projection(outputs):
    method = replace(SMALL, projection=outputs)
    net = Embedding.initial(method.backbone, (1, 16, 16), Seed(0), CPU)
    head = projection(net.dim, outputs, Seed(1), CPU)
    views = torch.rand(6, 2, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    leaves = {**net.params, **head}
    found = float(method.loss(net, leaves, views))
    features = net.features(leaves, views.flatten(0, 1))
    expected = [by_loop(features.view(6, 2, -1), 0.1)]
    if outputs:
        expected.append(by_loop(project(leaves, features).view(6, 2, -1), 0.1))
    assert found == pytest.approx(sum(expected) / len(expected), rel=1e-4)


def test_only_square_drawings_are_turned(tmp_path, one_thread):
    def weights(pool, turns, name):
        learner = replace(SMALL, turns=turns).fit(pool, SPEC, context(tmp_path / name, 2))
        return learner.encoder.state()["conv1.weight"]

    assert not torch.equal(weights(images(), True, "a"), weights(images(), False, "b"))
    wide = UnlabelledImages(images().pixels.repeat(1, 1, 1, 2), "wide")
    assert torch.equal(weights(wide, True, "c"), weights(wide, False, "d"))


def test_it_learns_what_raw_pixels_do_not_know(glyphs, tmp_path):
    """Before the first step, and after 60 short ones."""
    pool, test = glyphs.splits["train"].unlabelled(), glyphs.splits["test"].labelled()
    tasks = draw(glyphs, "test", TaskSpec(5, 1, 15), 100, seed=0)
    method = Instance(Conv4(filters=16, stride=2, pool=False), Strokes(), batch=64, lr=5e-3)
    found = []
    for steps in (0, 60):
        correct, total = evaluate(method.fit(pool, SPEC, context(tmp_path / str(steps), steps)), test, tasks, CPU)
        found.append(correct.sum() / total.sum())
    assert found[1] > found[0] + 0.03


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"batch": 1}, "batch must be an integer of at least 2"),
        ({"copies": 1}, "copies must be an integer of at least 2"),
        ({"temperature": 0.0}, "temperature must be above 0"),
        ({"lr": -1.0}, "lr must be above 0"),
        ({"weight_decay": -0.1}, "weight_decay must be 0 or more"),
    ],
)
def test_settings_that_make_no_sense_are_refused_by_name(settings, words):
    with pytest.raises(BenchError, match=f"instance: {words}"):
        replace(SMALL, **settings)
