"""Anything that answers tasks gets the number that the harness would give it."""

import numpy as np
import pytest
import torch
from library_answers import Untidy, by_all_queries, nearest_image, nearest_mean, nearest_mean_of_arrays
from scipy import stats

import bench
from bench.learners.embedding import EmbeddingClassifier
from bench.learners.prototypes import Prototypes
from bench.library.sealed import true_labels


class Flat:
    dim = 784

    def encode(self, x):
        return x.flatten(1)


def test_every_way_of_saying_the_same_gives_the_same_answers(tasks):
    """Against labels counted by hand; scores, arrays, a module, an encoder and a learner of ours."""
    labels = true_labels(tasks)
    by_hand = [int((nearest_mean(one.support, one.query).argmax(1) == labels[one.number]).sum()) for one in tasks]
    learner = EmbeddingClassifier(Flat(), Prototypes("euclidean"))
    answers = [
        bench.score(nearest_mean, tasks),
        bench.score(lambda support, query: nearest_mean(support, query).argmax(1).tolist(), tasks),
        bench.score(nearest_mean_of_arrays, tasks, numpy=True),
        bench.score(torch.nn.Flatten(), tasks),
        bench.score(Flat(), tasks),
        bench.score(learner, tasks=tasks),
        bench.score(nearest_mean, "glyphs", way=5, shot=2, query=3, tasks=30),
    ]
    for one in answers:
        assert one.correct.tolist() == by_hand
        assert (one.manifest, one.transductive, one.fault) == (tasks.manifest, False, None)
    assert max(by_hand) > min(by_hand)


def test_mean_and_interval_are_those_of_papers(pixels):
    accuracy = pixels.correct / 15
    assert np.array_equal(pixels.accuracy, accuracy)
    assert pixels.mean == pytest.approx(accuracy.mean())
    assert pixels.interval == pytest.approx(1.96 * accuracy.std() / np.sqrt(30))
    assert str(pixels).startswith(f"{100 * accuracy.mean():.2f} ± {100 * pixels.interval:.2f} % on 30 tasks")


def test_a_comparison_is_the_paired_t_test(tasks, pixels):
    other = bench.score(nearest_mean, tasks)
    found = bench.compare(pixels, other)
    expected = stats.ttest_rel(pixels.accuracy, other.accuracy)
    assert found.mean == pytest.approx(pixels.mean - other.mean)
    assert found.p == pytest.approx(expected.pvalue)
    assert (found.low, found.high) == pytest.approx(tuple(expected.confidence_interval()))


def test_a_module_is_asked_in_evaluation_mode_and_left_as_it_was(tasks):
    module = Untidy().eval()
    module.dropout.train()
    found = bench.score(module, tasks)
    assert found.correct.tolist() == bench.score(torch.nn.Flatten(), tasks).correct.tolist()
    assert (module.training, module.dropout.training) == (False, True)


def test_what_a_function_makes_of_other_queries_is_measured(tasks):
    assert bench.score(by_all_queries, tasks).transductive is True
    only_all = bench.score(lambda support, query: nearest_mean(support, query.reshape(15, 1, 28, 28)), tasks)
    assert (only_all.transductive, only_all.fault) == (True, None)


def test_answers_that_differ_when_asked_twice_are_scored_but_not_saved(tasks, tmp_path):
    rng = torch.Generator().manual_seed(0)
    found = bench.score(lambda support, query: torch.rand(15, 5, generator=rng), tasks)
    assert "different scores when asked the same twice" in found.fault
    with pytest.raises(bench.BenchError, match="asked the same twice"):
        found.save(tmp_path, method="dice")


def wrong(shape, value=0.0):
    return lambda support, query: torch.full(shape, value)


@pytest.mark.parametrize(
    ("answer", "more", "sentence"),
    [
        (wrong((5, 15)), {}, r"scores \[15, 5\] or labels \[15\], not \[5, 15\]"),
        (wrong((15, 5), float("nan")), {}, "not finite"),
        (wrong((15,), 5), {}, "whole numbers from 0 to 4"),
        (wrong((15,), 0.5), {}, "whole numbers from 0 to 4"),
        (lambda support, query: "a", {}, "must answer a task with"),
        (lambda support, query: None, {}, "must answer a task with"),
        (3, {}, "int is none of these"),
        (torch.nn.Flatten, {}, "Flatten is a class"),
        (torch.nn.Linear(3, 4), {}, "Linear cannot embed images"),
        (torch.nn.Flatten(0), {}, r"Flatten must turn images \[10, 1, 28, 28\]"),
        (torch.nn.Flatten(), {"metric": "cosin"}, "Did you mean 'cosine'"),
        (nearest_image, {"ways": 5}, "ways belongs to bench.tasks"),
    ],
)
def test_misuse_is_one_sentence(tasks, answer, more, sentence):
    with pytest.raises(bench.BenchError, match=sentence):
        bench.score(answer, tasks, **more)


def test_scores_of_other_tasks_are_not_compared(pixels):
    with pytest.raises(bench.BenchError, match="different tasks"):
        bench.compare(pixels, bench.score(nearest_image, "glyphs", tasks=5))
    with pytest.raises(bench.BenchError, match="Did you mean 'way'"):
        bench.score(nearest_image, "glyphs", ways=5)
    with pytest.raises(bench.BenchError, match="must come from"):
        bench.score(nearest_image, tasks=5)
    with pytest.raises(bench.BenchError, match="two scores"):
        bench.compare(pixels, 0.5)
