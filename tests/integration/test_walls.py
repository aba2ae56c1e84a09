"""The three walls that make the numbers honest, for every method there is (labels, queries, randomness)."""

import dataclasses
import itertools
from functools import cache

import numpy as np
import pytest
import torch
from own_generators import COVERED, SIDE, Seer, Tiny, own_settings, save_pt2

from bench.basics.seeds import Seed
from bench.contracts import Budget, Context, TaskSpec
from bench.datasets.images import LabelledImages, UnlabelledImages
from bench.datasets.source import Split
from bench.planning import catalogue, components, composing, overrides
from bench.planning.plan import planned_runs
from bench.running.evaluate import check_declaration, evaluate
from bench.running.inputs import training_images
from bench.tasks.manifest import draw
from bench.training.artifacts import ArtifactStore
from bench.training.checkpoint import Checkpoint

CPU = torch.device("cpu")
METHODS = COVERED
SMALL = (
    *("backbone.filters=4", "learner.eval_steps=2", "generator.channels=4", "generator.batch_size=200"),
    *("classifier.clusters=20", "classifier.restarts=1", "classifier.epochs=5", "classifier.units=16"),
    *("encoder.depth=2", "encoder.latent=2", "encoder.width=16", "encoder.batch_size=200", "method.clusters=20"),
    *(
        "method.hidden=32",
        "encoder.hidden=32",
        "encoder.maps=2",
        "encoder.clusters=20",
        "encoder.size=32",
        "encoder.channels=2",
    ),
)


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A generator of the user's own, for the methods that need one, and an encoder beside it."""
    folder = tmp_path_factory.mktemp("own")
    save_pt2(folder / "encoder.pt2", Seer().eval(), shape=(1, SIDE, SIDE))
    return save_pt2(folder / "tiny.pt2", Tiny().eval())


def composed(name, own):
    variant = catalogue.variants()[name]
    return composing.compose(
        variant, "glyphs", "smoke", overrides.parse_overrides([*SMALL, *own_settings(variant, own)])
    )


def fitted(name, dataset, folder, own, seed=0):
    """The learner of a method trained for two steps, through the same door as in a run."""
    one = composed(name, own)
    run = planned_runs([one], "content", (seed,), folder)[0]
    method = components.build(one.values["method"], one.values)
    budget = Budget("test", meta_iterations=2, generator_epochs=1, encoder_epochs=1)
    context = Context(
        Seed(seed), CPU, budget, ArtifactStore(folder / "artifacts"), Checkpoint(folder / name, 1e9), lambda *_: None
    )
    return method.fit(training_images(run, dataset, CPU), TaskSpec(5, 1, 2), context)


def state(learner):
    """Every tensor of the learner, and of its encoder where it has one that tells."""
    told = {}
    for part in (learner, getattr(learner, "encoder", None)):
        if hasattr(part, "state"):
            told |= {name: tensor.cpu().numpy().tobytes() for name, tensor in part.state().items()}
    return told


@pytest.fixture(scope="module")
def small(glyphs):
    """A dataset with 30 meta-train classes, and the same with its meta-train labels permuted over the images."""

    def part(split, classes):
        rows = np.flatnonzero(split.class_ids < classes)
        return Split(
            split.dataset,
            split.name,
            np.ascontiguousarray(split.pixels[rows]),
            split.class_ids[rows],
            split.class_names[:classes],
            tuple(split.image_ids[row] for row in rows),
        )

    splits = {name: part(split, 30) for name, split in glyphs.splits.items()}
    train = splits["train"]
    shuffled = dataclasses.replace(train, class_ids=np.random.default_rng(0).permutation(train.class_ids))
    return (
        dataclasses.replace(glyphs, splits=splits),
        dataclasses.replace(glyphs, splits={**splits, "train": shuffled}),
    )


@pytest.fixture(scope="module")
def trained(small, own, tmp_path_factory):
    """``trained(name)`` and ``trained(name, "permuted")``: the learner, trained once for all tests.

    What is trained from the same images is shared, as in a folder of runs; true and permuted labels share nothing.
    """
    folders = {labels: tmp_path_factory.mktemp(labels) for labels in ("true", "permuted")}

    @cache
    def learner(name, labels="true"):
        return fitted(name, small[labels == "permuted"], folders[labels], own)

    return learner


@pytest.mark.parametrize("name", METHODS)
def test_labels_reach_only_the_methods_that_declare_them(name, small, own, trained, tmp_path, one_thread):
    true = small[0]
    supervised = catalogue.variants()[name].supervised
    run = planned_runs([composed(name, own)], "content", (0,), tmp_path)[0]
    assert isinstance(training_images(run, true, CPU), LabelledImages if supervised else UnlabelledImages)
    first, second = trained(name), trained(name, "permuted")
    if supervised:
        assert state(first) != state(second)
    else:
        assert state(first) == state(second)
        tasks = draw(true, "test", TaskSpec(5, 1, 3), 4, seed=0)
        images = true.splits["test"].labelled()
        assert (evaluate(first, images, tasks, CPU)[0] == evaluate(second, images, tasks, CPU)[0]).all()


def test_unlabelled_images_carry_nothing_but_pixels_in_an_order_free_of_labels(small):
    images = small[0].splits["train"].unlabelled()
    assert [field.name for field in dataclasses.fields(images)] == ["pixels", "fingerprint", "home"]
    assert torch.equal(images.pixels, small[1].splits["train"].unlabelled().pixels)
    class_of = {row.tobytes(): c for row, c in zip(small[0].splits["train"].pixels, small[0].splits["train"].class_ids)}
    classes = [class_of[row.numpy().tobytes()] for row in images.pixels]
    neighbours = np.mean([a == b for a, b in itertools.pairwise(classes)])
    assert neighbours < 0.1, "images of one class must not stand together"


@pytest.mark.parametrize("name", METHODS)
def test_every_learner_declares_how_it_uses_the_queries(name, small, trained, one_thread):
    learner = trained(name)
    tasks = draw(small[0], "test", TaskSpec(5, 1, 5), 4, seed=0)
    behaviour = check_declaration(learner, small[0].splits["test"].labelled(), tasks, CPU)
    assert behaviour.fault(learner) is None


@pytest.mark.parametrize(
    "name",
    [
        "umtra-maml",
        "supervised-protonet",
        "lasium-oc-vae-maml",
        "lasium-n-file-protonet",
        "instance",
        "neighbours",
        "protoclr-hms",
        "psco",
        "uflst-triplet",
    ],
)
def test_training_depends_on_the_training_seed_and_on_nothing_drawn_before(name, small, own, tmp_path, one_thread):
    first = state(fitted(name, small[0], tmp_path / "a", own))
    torch.manual_seed(123)
    np.random.seed(5)  # noqa: NPY002  the point is that global state is not used
    torch.rand(7)
    assert state(fitted(name, small[0], tmp_path / "b", own)) == first
    assert state(fitted(name, small[0], tmp_path / "c", own, seed=1)) != first


def test_the_task_list_does_not_depend_on_anything_but_data_spec_and_seed(small):
    before = draw(small[0], "test", TaskSpec(5, 1, 3), 10, seed=0).sha256
    torch.manual_seed(1)
    assert draw(small[0], "test", TaskSpec(5, 1, 3), 10, seed=0).sha256 == before
    assert draw(small[0], "test", TaskSpec(5, 1, 3), 10, seed=1).sha256 != before
    assert draw(small[0], "val", TaskSpec(5, 1, 3), 10, seed=0).sha256 != before
