"""Each wrong learner is found out, with the sentence that mends it; the right ones pass, however ill-conditioned."""

import dataclasses

import pytest
import torch
from wrong_learners import RIGHT, WRONG, Changed, NearestMean, some_images

from bench.basics.errors import BenchError, Diverged
from bench.checks import learners
from bench.checks.finding import demand, noted
from bench.checks.probe import PER_CLASS, TASKS, probe
from bench.contracts import TaskSpec
from bench.learners.embedding import EmbeddingClassifier, NearestNeighbours
from bench.running.containment import contained

SPEC = TaskSpec(5, 1, 15)


def examined(learner, spec=SPEC):
    with contained():
        return demand(learners.examine(learner, probe(some_images(), spec)))


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_learner_is_refused_in_one_sentence(name):
    learner, sentence = WRONG[name]
    with pytest.raises(BenchError) as refused:
        examined(learner)
    assert sentence in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", RIGHT)
@pytest.mark.parametrize("spec", [SPEC, TaskSpec(2, 3, 1), TaskSpec(20, 1, 15)], ids=str)
def test_a_right_learner_passes(name, spec):
    names = examined(RIGHT[name], spec)
    assert {"shape", "finite", "order", "other queries", "other tasks", "repeatable"} <= set(names)


def test_it_is_asked_two_tasks_twice_and_more_only_where_something_is_odd():
    asked = []
    examined(Changed(lambda scores, support, query: (asked.append(len(support)), scores)[1]))
    assert asked == [2, 2]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_scores_that_are_not_finite_are_a_divergence(bad):
    with pytest.raises(Diverged, match=r"Changed.predict gives scores that are not finite"):
        examined(Changed(lambda scores, *_: scores * bad))


@dataclasses.dataclass
class Pixels:
    change: object = staticmethod(lambda x: x)
    dim: int = 64

    def encode(self, x):
        return self.change(x.flatten(1))


def embedding(change):
    return EmbeddingClassifier(Pixels(change), NearestNeighbours())


def test_a_learner_on_embeddings_is_asked_with_embeddings():
    names = examined(embedding(lambda x: x))
    assert names.index("image by image") < names.index("shape")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda x: x - x.mean(0), "Pixels.encode gives an image another embedding when other images are beside it"),
        (lambda x: x + torch.rand(x.shape), "or when asked twice; put the network into evaluation mode"),
        (lambda x: x[:, :3], "encoder Pixels must turn images [38, 1, 8, 8] into embeddings [38, 64], not [38, 3]"),
        (lambda x: x.mul_(0.5), "Pixels.encode changed the images that it was given"),
        (lambda x: (torch.rand(()), x)[1], "Pixels.encode draws from, or seeds, the global generator of PyTorch"),
    ],
)
def test_a_wrong_encoder_is_refused(change, sentence):
    with pytest.raises(BenchError) as refused:
        examined(embedding(change))
    assert sentence.replace("38", str(TASKS * PER_CLASS * 5)) in str(refused.value)


def test_questions_are_of_meta_train_images_each_once_and_the_same_whoever_asks():
    images = some_images(200)
    one, two = (probe(images, SPEC) for _ in range(2))
    assert torch.equal(one.support, two.support)
    every = torch.cat([one.support.flatten(0, 2), one.query.flatten(0, 1), one.others]).flatten(1)
    assert len(every.unique(dim=0)) == len(every) == TASKS * 5 + TASKS * 10 + 10
    assert probe(some_images(7), SPEC).query.shape == one.query.shape  # fewer images than places


def test_what_was_checked_is_kept_unless_other_checks_were_made():
    first = noted(None, "fit", ["learner"])
    assert noted(first, "sampler", ["tasks"]) == {"version": 1, "fit": ["learner"], "sampler": ["tasks"]}
    assert noted({**first, "version": 0}, "sampler", []) == {"version": 1, "sampler": []}


def test_a_learner_may_raise_what_it_likes():
    def broken(*_):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="mat1"):
        examined(Changed(broken))
    assert isinstance(NearestMean().predict(*probe_of()), torch.Tensor)


def probe_of():
    asked = probe(some_images(), SPEC)
    return asked.support, asked.query
