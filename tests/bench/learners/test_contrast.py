"""The normalised-temperature cross-entropy against a loop in float64."""

import math

import pytest
import torch

from bench.learners.contrast import contrast, nt_xent


def cosine(a, b):
    return float(a @ b) / (math.sqrt(float(a @ a)) * math.sqrt(float(b @ b)))


def in_a_loop(features, temperature, classes=None):
    """Mean over the views of the mean over their positives of -log(exp s / sum of exp s)."""
    rows = features.double().flatten(0, 1)
    views = features.shape[1]
    of = [i // views if classes is None else int(classes[i // views]) for i in range(len(rows))]
    losses = []
    for i in range(len(rows)):
        others = [j for j in range(len(rows)) if j != i]
        total = sum(math.exp(cosine(rows[i], rows[j]) / temperature) for j in others)
        positives = [j for j in others if of[j] == of[i]]
        shares = [math.exp(cosine(rows[i], rows[j]) / temperature) / total for j in positives]
        losses.append(-sum(math.log(share) for share in shares) / len(shares))
    return sum(losses) / len(losses)


def features(images=5, views=2, seed=0):
    return torch.randn(images, views, 7, generator=torch.Generator().manual_seed(seed)) * 3


@pytest.mark.parametrize("views", [2, 3])
@pytest.mark.parametrize("temperature", [0.2, 1.0])
def test_the_loss_of_views_equals_a_loop(views, temperature):
    given = features(views=views)
    assert nt_xent(given, temperature).item() == pytest.approx(in_a_loop(given, temperature), rel=1e-5)


@pytest.mark.parametrize("views", [2, 3])
def test_images_of_one_class_are_to_be_found_too(views):
    given, classes = features(images=6, views=views), torch.tensor([4, 1, 4, 0, 1, 4])
    found = nt_xent(given, 0.3, classes).item()
    assert found == pytest.approx(in_a_loop(given, 0.3, classes), rel=1e-5)
    assert found != pytest.approx(nt_xent(given, 0.3).item(), rel=1e-3)


def test_two_views_that_agree_on_orthogonal_images_have_the_loss_of_the_formula():
    images = torch.eye(4)[:, None].expand(-1, 2, -1)
    expected = -math.log(math.exp(1 / 0.5) / (math.exp(1 / 0.5) + 6))
    assert nt_xent(images, 0.5).item() == pytest.approx(expected, rel=1e-6)


def test_a_row_without_positive_does_not_count():
    z = features(images=6, views=1)[:, 0]
    positive = torch.zeros(6, 6, dtype=torch.bool)
    positive[0, 1] = positive[1, 0] = positive[2, 3] = True
    expected = 0.0
    for i, j, others in [(0, 1, (1, 2, 3, 4, 5)), (1, 0, (0, 2, 3, 4, 5)), (2, 3, (0, 1, 3, 4, 5))]:
        scores = {k: math.exp(cosine(z[i].double(), z[k].double()) / 0.4) for k in others}
        expected -= math.log(scores[j] / sum(scores.values())) / 3
    assert contrast(z, positive, 0.4).item() == pytest.approx(expected, rel=1e-5)


def test_its_gradient_is_that_of_finite_differences():
    given = features(images=3, views=3).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: nt_xent(x, 0.5), (given,))
    assert torch.autograd.gradcheck(lambda x: nt_xent(x, 0.5, torch.tensor([0, 0, 1])), (given,))
