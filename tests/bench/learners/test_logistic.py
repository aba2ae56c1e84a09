"""The batched logistic regression against scikit-learn in a loop, and against the definition of an optimum."""

import warnings

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression as Reference

from bench.basics.errors import BenchError, Diverged
from bench.contracts import Classifier
from bench.learners import logistic
from bench.learners.logistic import LogisticRegression

CASES = ("plain", "separable", "overlapping", "ill-conditioned", "duplicates", "contradictions", "offset", "one point")


def tasks(case, way, shot, dim, seed=0, count=6, queries=7):
    """Support [T, N, K, d] and queries [T, M, d], float64."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(count, way, 1, dim))
    support = 0.7 * centres + rng.normal(size=(count, way, shot, dim))
    query = rng.normal(size=(count, queries, dim))
    if case == "separable":
        support = 10 * centres + rng.normal(size=support.shape)
    elif case == "overlapping":
        support = rng.normal(size=support.shape)
    elif case == "ill-conditioned":
        scale = np.logspace(3, -3, dim)
        support, query = support * scale, query * scale
    elif case == "duplicates":
        support[:, :, -1] = support[:, :, 0]
    elif case == "contradictions":  # one image, two labels
        support[:, 1] = support[:, 0]
    elif case == "offset":
        support, query = support + 100, query + 100
    elif case == "one point":
        support = np.broadcast_to(support[:, :1, :1], support.shape).copy()
    return torch.from_numpy(support), torch.from_numpy(query)


def gradients(support, weights, intercepts, c):
    """The gradient of the objective by autograd, in float64."""
    way, shot = support.shape[1:3]
    w, b = weights.clone().requires_grad_(), intercepts.clone().requires_grad_()
    logits = torch.einsum("tid,tnd->tin", support.flatten(1, 2), w) + b[:, None]
    labels = torch.arange(way).repeat_interleave(shot).repeat(len(support))
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels, reduction="sum")
    return torch.autograd.grad(loss + w.square().sum() / (2 * c), [w, b])


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("c", [1e-3, 1.0, 100.0, 1e5])
@pytest.mark.parametrize(("way", "shot", "dim"), [(5, 1, 12), (5, 5, 8), (3, 6, 40), (2, 5, 6)])
def test_the_objective_is_stationary(case, c, way, shot, dim):
    support, _ = tasks(case, way, shot, dim)
    weights, intercepts = LogisticRegression(c).solve(support)
    assert weights.shape == (6, way, dim)
    g_w, g_b = gradients(support, weights, intercepts, c)
    size = support.abs().sum((1, 2)).max() + 1  # of the terms that cancel in the gradient
    assert g_w.abs().max() <= 1e-8 * size
    assert g_b.abs().max() <= 1e-8
    torch.testing.assert_close(intercepts.sum(1), torch.zeros(6, dtype=torch.float64), atol=1e-6, rtol=0)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("c", [0.01, 1.0, 100.0])
@pytest.mark.parametrize(("way", "shot", "dim"), [(5, 1, 30), (5, 4, 6), (3, 3, 20)])
def test_scikit_learn_finds_the_same_solution(case, c, way, shot, dim):
    support, query = tasks(case, way, shot, dim, seed=1, count=3)
    learner = LogisticRegression(c)
    weights, intercepts = learner.solve(support)
    scores = learner.classify(support, query)
    compared = 0
    for t in range(3):
        x, y = support[t].flatten(0, 1).numpy(), np.repeat(np.arange(way), shot)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs = Reference(C=c, solver="newton-cholesky", tol=1e-10, max_iter=1000).fit(x, y)
        coef, intercept = theirs.coef_, theirs.intercept_
        given = torch.from_numpy(coef)[None], torch.from_numpy(intercept)[None]
        if max(g.abs().max() for g in gradients(support[t : t + 1], *given, c)) > 1e-6 * (1 + abs(x).max()):
            assert case == "ill-conditioned"  # where scikit-learn itself gives up
            continue
        compared += 1
        np.testing.assert_allclose(scores[t].softmax(1), theirs.predict_proba(query[t].numpy()), atol=1e-5)
        np.testing.assert_allclose(weights[t], coef, atol=1e-5 * (1 + abs(coef).max()))
        np.testing.assert_allclose(intercepts[t], intercept - intercept.mean(), rtol=1e-4, atol=1e-4)
    assert compared > 0 or case == "ill-conditioned"


def test_two_classes_have_scikit_learns_scores_at_twice_its_c():
    support, query = tasks("plain", 2, 5, 9)
    scores = LogisticRegression(0.7).classify(support, query)
    for t in range(6):
        theirs = Reference(C=1.4, tol=1e-10, max_iter=1000).fit(support[t].flatten(0, 1).numpy(), [0] * 5 + [1] * 5)
        np.testing.assert_allclose(scores[t].softmax(1)[:, 1], theirs.predict_proba(query[t].numpy())[:, 1], atol=1e-5)


def test_a_task_is_solved_alike_alone_and_in_pieces(monkeypatch):
    easy, q = tasks("separable", 5, 3, 10)
    hard, r = tasks("ill-conditioned", 5, 3, 10)
    support, query = torch.cat([easy, hard]), torch.cat([q, r])
    learner = LogisticRegression(10.0)
    whole = learner.classify(support, query)
    monkeypatch.setattr(logistic, "_SOLVED", {"cpu": 1})
    monkeypatch.setattr(logistic, "_ANSWERED", {"cpu": 1})
    torch.testing.assert_close(learner.classify(support, query), whole, rtol=1e-6, atol=1e-6)
    one = learner.classify(support[7:8].float(), query[7:8, 2:3].float())
    torch.testing.assert_close(one[0, 0], whole[7, 2], rtol=1e-3, atol=1e-3)


def test_nothing_to_learn_is_a_tie_and_bad_settings_are_refused():
    assert isinstance(LogisticRegression(), Classifier)
    scores = LogisticRegression().classify(torch.ones(2, 3, 4, 5), torch.rand(2, 6, 5))
    torch.testing.assert_close(scores, torch.zeros_like(scores), atol=1e-12, rtol=0)
    for c in (0, -1.0, float("nan"), float("inf"), "1", True):
        with pytest.raises(BenchError, match="needs C above 0"):
            LogisticRegression(c)


def test_a_task_that_cannot_be_solved_is_said_to_be_so(monkeypatch):
    monkeypatch.setattr(logistic, "NEWTON_STEPS", 2)
    with pytest.raises(Diverged, match="6 tasks are not solved after 2 Newton steps"):
        LogisticRegression(1e5).solve(tasks("separable", 5, 3, 10)[0])
