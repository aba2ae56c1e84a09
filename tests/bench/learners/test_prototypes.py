"""Nearest prototype and ProtoTune against plain loops in float64."""

import pytest
import torch

from bench.basics.errors import BenchError
from bench.basics.seeds import Seed
from bench.contracts import Classifier
from bench.learners.prototypes import Prototypes, TunedPrototypes, unit

WAY, SHOT, QUERIES, DIM = 4, 3, 9, 6


def tasks(dtype=torch.float64, shot=SHOT, shift=0.0):
    rng = torch.Generator().manual_seed(1)
    support = torch.randn(5, WAY, shot, DIM, generator=rng, dtype=torch.float64) + shift
    query = torch.randn(5, QUERIES, DIM, generator=rng, dtype=torch.float64) + shift
    return support.to(dtype), query.to(dtype)


def length(x):
    return sum(float(v) ** 2 for v in x) ** 0.5


@pytest.mark.parametrize("shot", [1, SHOT])
def test_cosine_scores_equal_a_loop_over_classes_and_queries(shot):
    support, query = tasks(torch.float32, shot)
    assert isinstance(Prototypes(), Classifier)
    scores = Prototypes("cosine").classify(support, query)
    assert scores.shape == (5, QUERIES, WAY)
    for t, m, c in [(0, 0, 0), (2, 5, 3), (4, QUERIES - 1, WAY - 1), (3, 1, 2)]:
        shots = [one.double() / length(one) for one in support[t, c]]
        prototype = sum(shots) / len(shots)
        q = query[t, m].double()
        expected = float(q @ prototype) / (length(q) * length(prototype))
        assert scores[t, m, c].item() == pytest.approx(expected, abs=1e-6)


def test_cosine_scores_do_not_depend_on_the_length_of_an_embedding():
    support, query = tasks()
    longer = support * (1 + torch.arange(SHOT, dtype=torch.float64))[:, None]
    torch.testing.assert_close(
        Prototypes("cosine").classify(longer, 7 * query), Prototypes("cosine").classify(support, query)
    )


@pytest.mark.parametrize("shift", [0.0, 1000.0])
def test_euclidean_scores_equal_a_loop_also_far_from_the_origin(shift):
    support, query = tasks(torch.float32, shift=shift)
    scores = Prototypes("euclidean").classify(support, query)
    for t in range(5):
        for m in range(QUERIES):
            for c in range(WAY):
                prototype = sum(one.double() for one in support[t, c]) / SHOT
                expected = -(length(query[t, m].double() - prototype) ** 2)
                assert scores[t, m, c].item() == pytest.approx(expected, rel=1e-3 if shift else 1e-5)


def test_an_embedding_of_nothing_but_zeros_has_scores():
    support, query = torch.zeros(1, WAY, 1, DIM), torch.zeros(1, 2, DIM)
    assert Prototypes("cosine").classify(support, query).eq(0).all()
    assert unit(torch.zeros(3)).eq(0).all()


def tuned_by_autograd(support, query, seed, epochs, lr):
    """One task in float64, by autograd and torch.optim.Adam."""
    support, query = support.double(), query.double()
    way, shot, dim = support.shape
    prototypes = support.mean(1)
    head = torch.nn.Linear(dim, way).double()
    with torch.no_grad():
        head.weight.copy_(2 * prototypes)
        head.bias.copy_(-(prototypes**2).sum(1))
    x, y = support.flatten(0, 1), torch.arange(way).repeat_interleave(shot)
    optimizer = torch.optim.Adam(head.parameters(), lr=lr)
    for epoch in range(epochs):
        order = torch.randperm(way * shot, generator=seed.at("order", epoch).generator())
        for first in range(0, way * shot, way):
            rows = order[first : first + way]
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(head(x[rows]), y[rows]).backward()
            optimizer.step()
    return head(query).detach()


@pytest.mark.parametrize("shot", [1, SHOT])
def test_a_tuned_head_equals_a_loop_of_autograd_and_adam_over_tasks(shot):
    support, query = tasks(torch.float64, shot)
    seed = Seed(3)
    scores = TunedPrototypes(seed, epochs=4, lr=0.05).classify(support, query)
    for t in range(5):
        expected = tuned_by_autograd(support[t], query[t], seed, epochs=4, lr=0.05)
        torch.testing.assert_close(scores[t], expected, rtol=1e-6, atol=1e-6)


def test_a_head_that_is_not_tuned_ranks_as_the_nearest_euclidean_prototype():
    support, query = tasks()
    scores = TunedPrototypes(Seed(0), epochs=0).classify(support, query)
    nearest = Prototypes("euclidean").classify(support, query)
    torch.testing.assert_close(scores - scores[:, :, :1], nearest - nearest[:, :, :1])
    assert not torch.equal(scores, TunedPrototypes(Seed(0), epochs=3).classify(support, query))


def test_a_task_is_tuned_as_if_it_were_alone():
    support, query = tasks()
    tuned = TunedPrototypes(Seed(0))
    torch.testing.assert_close(tuned.classify(support, query)[2:3], tuned.classify(support[2:3], query[2:3]))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Prototypes("cosin"), "metric must be one of cosine, euclidean, not 'cosin'. Did you mean 'cosine'?"),
        (lambda: TunedPrototypes(Seed(0), epochs=-1), "epochs must be an integer of at least 0, not -1"),
        (lambda: TunedPrototypes(Seed(0), lr=float("nan")), "lr must be above 0, not nan"),
    ],
)
def test_settings_that_mean_nothing_are_refused(make, said):
    with pytest.raises(BenchError) as error:
        make()
    assert said in str(error.value)
