"""ProtoCLR's losses against loops in float64, and what its settings promise."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from helpers_methods import make_context, make_images

from bench.backbones import Conv4
from bench.basics.errors import BenchError
from bench.contracts import TaskSpec
from bench.learners.prototypes import Prototypes, TunedPrototypes
from bench.tasks.draw import distinct
from bench.views.strokes import Strokes
from methods.protoclr import ProtoCLR

PLAIN = ProtoCLR(Conv4(filters=4, stride=2, pool=False), Strokes(), images=6, copies=3)
SES = replace(PLAIN, episodes=5, way=4, untouched=False, tune=False)
SNS = replace(SES, normalise=True)


def features(images=6, copies=3, dim=7):
    return torch.randn(images, copies, dim, generator=torch.Generator().manual_seed(0))


def cross_entropy(scores, target):
    return float(scores.logsumexp(0) - scores[target])


def test_one_task_is_the_loop_over_queries():
    x = features()
    expected = []
    for image in range(6):
        for copy in (1, 2):
            query = x[image, copy].double()
            scores = torch.stack([-(query - x[other, 0].double()).square().sum() for other in range(6)])
            expected.append(cross_entropy(scores, image))
    assert float(PLAIN.of_one_task(x)) == pytest.approx(sum(expected) / len(expected), rel=1e-5)


@pytest.mark.parametrize("method", [SES, SNS, replace(SNS, mixed=4)], ids=["ses", "sns", "hms"])
def test_episodes_are_the_loop_over_tasks_classes_and_queries(method):
    x = features()
    found = float(method.of_episodes(x, torch.Generator().manual_seed(3)))
    rng = torch.Generator().manual_seed(3)
    of = distinct(5, 4, 6, rng)
    view = torch.rand(5, 4, 3, generator=rng).argsort(2)
    hard = method.hard_negatives(x, rng) if method.mixed else None
    expected = []
    for task in range(5):
        assert len(set(of[task].tolist())) == 4, "the classes of a task are different images"
        support = [x[of[task, c], view[task, c, 0]].double() for c in range(4)]
        for c in range(4):
            for v in view[task, c, 1:].tolist():
                query = x[of[task, c], v].double()
                if method.normalise:
                    scores = torch.stack([query @ s / s.norm() for s in support])
                else:
                    scores = torch.stack([-(query - s).square().sum() for s in support])
                if hard is not None:
                    scores = torch.cat([scores, hard[of[task, c], v].double()])
                expected.append(cross_entropy(scores, c))
    assert len(expected) == 5 * 4 * 2
    assert found == pytest.approx(sum(expected) / len(expected), rel=1e-5)


def test_mixed_negatives_are_of_the_most_similar_other_images_and_on_the_way_to_the_query():
    x = features()
    method = replace(SNS, mixed=4)
    found = method.hard_negatives(x, torch.Generator().manual_seed(2))
    shares = torch.rand(18, 4, 1, generator=torch.Generator().manual_seed(2)).double() * 0.5
    for image in range(6):
        for copy in range(3):
            query = x[image, copy].double()
            others = [x[i, c].double() for i in range(6) if i != image for c in range(3)]
            others.sort(key=lambda o: -float(o @ query / o.norm() / query.norm()))
            for j, other in enumerate(others[:4]):
                mixed = (1 - shares[3 * image + copy, j]) * other + shares[3 * image + copy, j] * query
                assert float(found[image, copy, j]) == pytest.approx(float(mixed @ query / mixed.norm()), rel=1e-4)


def test_the_support_is_the_image_itself_only_where_that_is_asked_for(tmp_path):
    seen = []

    class Watching:
        def __call__(self, images, rng):
            seen.append(len(images))
            return Strokes()(images, rng)

    spec, images = TaskSpec(5, 1, 5), make_images(20, (1, 16, 16))
    replace(PLAIN, views=Watching()).fit(images, spec, make_context(tmp_path / "a"))
    replace(SES, views=Watching()).fit(images, spec, make_context(tmp_path / "b"))
    assert seen == [12, 12, 18, 18]  # two steps of each: 2 views of 6 images, then 3


def test_what_answers_at_test_follows_from_the_settings(tmp_path):
    context = make_context(tmp_path)
    assert isinstance(PLAIN._classifier(context), TunedPrototypes)
    assert SES._classifier(context) == Prototypes("euclidean")
    assert SNS._classifier(context) == Prototypes("cosine")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"images": 1}, "images must be an integer of at least 2"),
        ({"copies": 1}, "copies must be an integer of at least 2"),
        ({"episodes": 3, "way": 7}, "6 images are too few for 7-way tasks"),
        ({"mixed": 2}, "mixed negatives need"),
        ({"mixed": 99, "normalise": True, "episodes": 2}, "no 99 views of other images"),
        ({"lr": 0.0}, "lr must be above 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused_by_name(settings, words):
    with pytest.raises(BenchError, match=f"protoclr: .*{words}|protoclr: {words}"):
        replace(PLAIN, **settings)
