"""Nearest neighbours in one tensor program against scikit-learn in a loop."""

import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier

from bench.basics.errors import BenchError
from bench.contracts import Classifier, EmbeddingLearner, Learner
from bench.learners.embedding import EmbeddingClassifier, NearestNeighbours, nearest


class Flat:
    """The identity embedding."""

    dim = 16

    def encode(self, x):
        return x.flatten(1)


class Halves:
    """An embedding that is not the identity: sums over two halves of the image."""

    dim = 2

    def encode(self, x):
        flat = x.flatten(1)
        return torch.stack([flat[:, :8].sum(1), flat[:, 8:].sum(1)], dim=1)


def tasks(seed, way=5, shot=4, queries=30, coarse=False):
    rng = np.random.default_rng(seed)
    support = rng.random((6, way, shot, 1, 4, 4))
    query = rng.random((6, queries, 1, 4, 4))
    if coarse:  # black and white: many equal distances
        support, query = support > 0.5, query > 0.5
    return torch.tensor(support, dtype=torch.float32), torch.tensor(query, dtype=torch.float32)


@pytest.mark.parametrize("k", [1, 3, 5, 20])
@pytest.mark.parametrize("encoder", [Flat(), Halves()])
@pytest.mark.parametrize("coarse", [False, True])
def test_votes_equal_scikit_learns_in_a_plain_loop(k, encoder, coarse):
    support, query = tasks(k, coarse=coarse)
    scores = EmbeddingClassifier(encoder, NearestNeighbours(k)).predict(support, query)
    assert scores.shape == (6, 30, 5)
    for t in range(6):
        x = encoder.encode(support[t].flatten(0, 1)).double().numpy()
        q = encoder.encode(query[t]).double().numpy()
        y = np.repeat(np.arange(5), 4)
        theirs = KNeighborsClassifier(k, algorithm="brute").fit(x, y)
        distance = np.sort(np.linalg.norm(q[:, None] - x[None], axis=2), axis=1)
        # Which of equally near images are among the k is left open by scikit-learn.
        defined = np.ones(30, dtype=bool) if k == 20 else distance[:, k] > distance[:, k - 1] + 1e-9
        assert defined.any()
        np.testing.assert_allclose(scores[t].numpy()[defined], theirs.predict_proba(q)[defined], atol=1e-6)
        np.testing.assert_array_equal(scores[t].argmax(1).numpy()[defined], theirs.predict(q)[defined])


def test_ties_go_to_the_first_class_and_equal_images_are_found():
    support = torch.zeros(1, 3, 2, 1, 4, 4)
    support[0, 1, 1] = support[0, 2, 0] = 1.0
    learner = EmbeddingClassifier(Flat(), NearestNeighbours())
    assert learner.predict(support, torch.zeros(1, 1, 1, 4, 4)).argmax(2).item() == 0
    assert learner.predict(support, torch.ones(1, 1, 1, 4, 4)).argmax(2).item() == 1
    even = EmbeddingClassifier(Flat(), NearestNeighbours(6)).predict(support, torch.ones(1, 1, 1, 4, 4))
    torch.testing.assert_close(even, torch.full((1, 1, 3), 1 / 3))
    near = torch.rand(1, 5, 1, 1, 4, 4, generator=torch.Generator().manual_seed(0)) * 1e-4 + 0.5
    assert learner.predict(near, near[:, :, 0]).argmax(2).tolist() == [[0, 1, 2, 3, 4]]


def test_an_answer_depends_on_its_own_task_and_query_alone():
    support, query = tasks(3)
    learner = EmbeddingClassifier(Flat(), NearestNeighbours(3))
    whole = learner.predict(support, query)
    for t in range(6):
        for m in (0, 29):
            alone = learner.predict(support[t : t + 1], query[t : t + 1, m : m + 1])
            assert torch.equal(alone[0, 0], whole[t, m])


def test_it_is_an_inductive_learner_with_a_sensible_k():
    learner = EmbeddingClassifier(Flat(), NearestNeighbours(21))
    assert isinstance(learner, Learner)
    assert isinstance(learner, EmbeddingLearner)
    assert isinstance(learner.classifier, Classifier)
    assert not learner.transductive
    with pytest.raises(BenchError, match=r"21 nearest neighbours need .* but a task has 20"):
        learner.predict(*tasks(0))
    with pytest.raises(BenchError, match="k of at least 1, not 0"):
        NearestNeighbours(k=0)


@pytest.mark.parametrize("k", [1, 2, 4])
@pytest.mark.parametrize("spread", [1e-3, 1e-6, 1e-9])
def test_nearly_equal_distances_are_told_apart_as_by_float64(k, spread):
    """Distances that a float32 matrix product cannot tell apart, far from the origin."""
    rng = np.random.default_rng(k)
    support = torch.from_numpy(10 + spread * rng.random((4, 5, 2, 64)))
    query = torch.from_numpy(10 + spread * rng.random((4, 40, 64)))
    for dtype in (torch.float32, torch.float64):
        s, q = support.to(dtype), query.to(dtype)
        exact = torch.cdist(q.double(), s.double().flatten(1, 2), compute_mode="donot_use_mm_for_euclid_dist").sort(
            dim=2, stable=True
        )
        found = nearest(s.flatten(1, 2), q, k)
        assert torch.equal(found.sort(2).values, exact.indices[:, :, :k].sort(2).values)
