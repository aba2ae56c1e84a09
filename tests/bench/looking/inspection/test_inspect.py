"""The whole inspection on a small dataset, against numbers computed from the same tasks all at once."""

import dataclasses
import json
from itertools import combinations

import numpy as np
import pytest
import torch

from bench.basics.errors import BenchError
from bench.basics.seeds import Seed
from bench.contracts import Budget, Context, Tasks, TaskSpec
from bench.looking.inspection import inspect as inspecting
from bench.looking.inspection.embedding import supervised_embedding
from bench.looking.inspection.inspect import Yardstick, cluster_agreement
from bench.looking.inspection.measures import frechet_distance
from bench.looking.inspection.origins import Origins
from bench.looking.inspection.records import Clusters, Ruler, read_inspection, write_inspection
from bench.looking.subject import TaskSource
from bench.tasks.labelled import LabelledSampler
from bench.training.artifacts import ArtifactStore
from bench.training.checkpoint import Checkpoint

CPU = torch.device("cpu")
SPEC = TaskSpec(3, 2, 4)


class Halves:
    """An embedding that can be checked by eye: the means of the upper and the lower half of an image."""

    ruler = Ruler("0" * 64, "halves", "none", 2, 3, 1, 1, 0, 0)

    def encode(self, x):
        return torch.stack([x[..., :14, :].mean((-3, -2, -1)), x[..., 14:, :].mean((-3, -2, -1))], dim=-1)


class Sequence:
    """Hands out tasks in order, whatever the chunks."""

    def __init__(self, tasks):
        self.tasks, self.next = tasks, 0

    def sample(self, n, spec, rng):
        here = slice(self.next, self.next + n)
        self.next += n
        return Tasks(self.tasks.support[here], self.tasks.query[here])


class Dark:
    latent_dim, image_shape = 2, (1, 28, 28)

    def sample_prior(self, n, rng):
        return torch.rand(n, 2, generator=rng)

    def decode(self, z):
        return z.mean(1)[:, None, None, None].expand(-1, *self.image_shape)


@dataclasses.dataclass
class Run:
    name: str = "made-up"
    title: str = "Made up"
    dataset: str = "glyphs"
    budget: str = "smoke"
    seed: int = 3


@pytest.fixture(scope="module")
def labelled(glyphs):
    return glyphs.splits["train"].labelled()


def inspected(labelled, sampler, tasks, generator=None):
    if generator is not None:
        sampler.generator = generator
    source = TaskSource(Run(), sampler, labelled, SPEC, CPU)
    return Yardstick(labelled, Halves(), tasks, Origins(labelled)).inspect(source, "k", "h", lambda *_: None)


@pytest.mark.parametrize("bytes_at_once", [1, 10**6, 10**9])
def test_every_number_is_that_of_all_tasks_at_once(labelled, monkeypatch, bytes_at_once):
    monkeypatch.setattr(inspecting, "CHUNK_BYTES", bytes_at_once)
    rng, count = Seed(1).generator(), 20
    made = torch.rand(count, 3, 6, 1, 28, 28, generator=rng) * torch.rand(count, 3, 1, 1, 1, 1, generator=rng)
    one = inspected(labelled, Sequence(Tasks(made[:, :, :2], made[:, :, 2:])), count, Dark())
    vectors = {"pixels": made.flatten(3), "embedding": Halves().encode(made)}
    spread = {}
    for space, found in (("pixels", one.pixels), ("embedding", one.embedding)):
        x = vectors[space].double().numpy()
        means = x[:, :, :2].mean(2)
        distance = np.linalg.norm(x[:, :, 2:, None] - means[:, None, None], axis=-1)  # [T, N, Q, N]
        hits = (distance.argmin(3) == np.arange(3)[:, None]).mean((1, 2))
        assert found.nearest == pytest.approx(hits.mean(), abs=1e-12)
        assert found.nearest_ci95 == pytest.approx(1.96 * hits.std() / np.sqrt(count), abs=1e-12)
        pairs = np.linalg.norm(x[:, :, 2:, None] - x[:, :, None, 2:], axis=-1)
        spread[space] = pairs.sum((2, 3)).mean() / (4 * 3)
    if bytes_at_once == 10**9:  # true classes are drawn a chunk at a time; this is one chunk
        true = LabelledSampler(labelled).sample(count, SPEC, Seed(0).at("inspect real", 0).generator()).query
        for space, x in (("pixels", true.flatten(3)), ("embedding", Halves().encode(true))):
            apart = [
                np.linalg.norm(a - b) for of_class in x.numpy().reshape(60, 4, -1) for a, b in combinations(of_class, 2)
            ]
            assert getattr(one, space).diversity == pytest.approx(spread[space] / np.mean(apart), rel=1e-5)
    rescaled = inspected(labelled, Sequence(Tasks(made[:, :, :2] / 2, made[:, :, 2:] / 2)), count)
    for space in ("pixels", "embedding"):
        assert getattr(rescaled, space).diversity == pytest.approx(getattr(one, space).diversity / 2, rel=1e-6)
        assert getattr(rescaled, space).nearest_real == getattr(one, space).nearest_real
    assert one.frechet.images == count * 3 * 4
    order = Seed(0).at("inspect halves").numpy().permutation(len(labelled))[: 2 * one.frechet.images]
    real = Halves().encode(labelled.take(torch.from_numpy(order))).numpy()
    half, other = np.split(real, 2)
    assert one.frechet.floor == pytest.approx(frechet_distance(half, other), rel=1e-6)
    queries = vectors["embedding"][:, :, 2:].reshape(-1, 2).numpy()
    assert one.frechet.queries == pytest.approx(frechet_distance(queries, half), rel=1e-6)
    rng = Seed(3).at("inspect prior").generator()
    generated = Halves().encode(Dark().decode(Dark().sample_prior(one.frechet.images, rng))).numpy()
    assert one.frechet.generator == pytest.approx(frechet_distance(generated, half), rel=1e-6)
    assert one.collisions is None
    assert rescaled.frechet.generator is None


def test_true_classes_are_as_diverse_and_as_near_as_true_classes(labelled):
    one = inspected(labelled, LabelledSampler(labelled), 300)
    assert one.collisions.certain == 0
    for space in (one.pixels, one.embedding):
        assert space.diversity == pytest.approx(1, abs=0.05)
        assert space.nearest == pytest.approx(space.nearest_real, abs=3 * space.nearest_ci95)
    assert one.frechet.queries < 20 * one.frechet.floor


def test_one_query_has_no_diversity_and_pixels_that_are_no_numbers_are_told(labelled):
    made = torch.rand(4, 3, 6, 1, 28, 28, generator=Seed(1).generator())
    source = TaskSource(Run(), Sequence(Tasks(made[:, :, :2], made[:, :, 2:3])), labelled, TaskSpec(3, 2, 1), CPU)
    yardstick = Yardstick(labelled, Halves(), 4, Origins(labelled))
    assert yardstick.inspect(source, "k", "h", lambda *_: None).pixels.diversity is None
    made[2, 1, 4, 0, 3, 3] = float("nan")
    with pytest.raises(BenchError, match="no finite numbers"):
        inspected(labelled, Sequence(Tasks(made[:, :, :2], made[:, :, 2:])), 4)


def test_the_embedding_is_trained_once_and_tells_true_classes_apart(labelled, tmp_path):
    said = []
    budget = Budget("test", meta_iterations=30, generator_epochs=0, encoder_epochs=0)

    def obtained():
        store = ArtifactStore(tmp_path / "artifacts")
        context = Context(
            Seed(7), CPU, budget, store, Checkpoint(tmp_path / "no"), lambda stage, *_: said.append(stage)
        )
        return supervised_embedding(labelled, "glyphs", "hash", "conv4-strided", context)

    first = obtained()
    assert set(said) == {"supervised embedding"}
    said.clear()
    again = obtained()
    assert said == []
    some = labelled.take(torch.arange(300))
    assert torch.equal(first.encode(some), again.encode(some))
    torch.testing.assert_close(first.encode(some)[7:9], first.encode(some[7:9]))
    assert first.encode(some.view(30, 2, 5, *labelled.shape)).shape == (30, 2, 5, first.ruler.dim)
    assert (first.ruler.iterations, first.ruler.way) == (30, 20)
    assert "30 meta-iterations of one 20-way 1-shot task each" in str(first.ruler)
    real = Yardstick(labelled, first, 100, Origins(labelled))._real_tasks(TaskSpec(5, 1, 5), lambda *_: None)
    assert real.share("embedding")[0] > real.share("pixels")[0] + 0.05


def test_an_inspection_is_read_as_it_was_written(labelled, tmp_path):
    for generator in (None, Dark()):
        one = inspected(labelled, LabelledSampler(labelled), 5, generator)
        clusters = Clusters(3, 20.5, 0.9, 0.8, 0.1, 0.7, 0.2)
        for wanted in (
            one,
            dataclasses.replace(one, clusters=clusters),
            dataclasses.replace(one, collisions=None, no_collisions="why"),
        ):
            path = write_inspection(tmp_path, wanted)
            assert read_inspection(path) == wanted
    whole = path.read_text()
    unsealed = {**json.loads(whole), "schema_version": 1}
    del unsealed["seal"]
    path.write_text(json.dumps(unsealed))
    assert read_inspection(path) == dataclasses.replace(wanted, schema_version=1)
    pixels = unsealed["pixels"]
    for broken, message in (
        (whole[:99], "damaged .not valid JSON"),
        (whole.replace('"seed": 0', '"seed": 1'), "it was changed after it was written"),
        ({**unsealed, "schema_version": 3}, "schema version 3, this program reads 1 and 2"),
        ([], "it is no mapping"),
        ({name: value for name, value in unsealed.items() if name != "ruler"}, "ruler is missing"),
        ({**unsealed, "seed": "0"}, "seed must be a whole number"),
        ({**unsealed, "pixels": {**pixels, "nearest": float("nan")}}, "NaN is no number"),
        ({**unsealed, "pixels": {**pixels, "nearest": 1.5}}, "pixels.nearest is 1.5, which is no share"),
        ({**unsealed, "tasks": 0}, "0 tasks of 3 ways"),
    ):
        path.write_text(broken if isinstance(broken, str) else json.dumps(broken))
        with pytest.raises(BenchError, match=message):
            read_inspection(path)


def test_clusters_are_measured_with_the_class_of_every_image_in_the_methods_order(glyphs):
    split = glyphs.splits["train"]
    images, order = split.unlabelled(), split.unlabelled_order()
    assert torch.equal(images.pixels, torch.from_numpy(split.pixels[order]))
    classes = split.class_ids[order]
    guess = np.random.default_rng(0).integers(50, size=len(classes))
    true = cluster_agreement(classes[None], classes)
    assert (true.purity, true.information, true.kept) == pytest.approx((1, 1, 1))
    assert true.clusters == len(split.class_names)
    assert true.purity_chance < 0.2
    none = cluster_agreement(guess[None], classes)
    assert none.purity == pytest.approx(none.purity_chance, rel=0.1)
    assert none.information == pytest.approx(none.information_chance, rel=0.02)
    half = np.where(np.arange(len(classes)) % 2, classes, -1)
    both = cluster_agreement(np.stack([half, guess]), classes)
    assert both.clusterings == 2
    assert both.kept == pytest.approx(0.75, abs=1e-3)
    assert both.purity == pytest.approx((1 + none.purity) / 2)
    with pytest.raises(BenchError, match="no image in any cluster"):
        cluster_agreement(np.full((1, len(classes)), -1), classes)
