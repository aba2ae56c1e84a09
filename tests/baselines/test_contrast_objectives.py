"""Momentum contrast and PsCo: their formulas against loops in float64, teacher and queue against their definitions."""

import math

import pytest
import torch

from baselines.contrast.objectives import LEAST_EPS, info_nce, pseudo_shots, sinkhorn, task_loss
from baselines.contrast.teacher import Queue, follow
from bench.basics.seeds import Seed
from bench.learners.prototypes import unit

CPU = torch.device("cpu")


def directions(*shape, seed=0):
    return unit(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)))


def dot(a, b):
    return sum(float(x) * float(y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("temperature", [0.2, 1.0])
def test_contrast_with_a_queue_equals_a_loop(temperature):
    student, teacher, queue = directions(4, 5), directions(4, 5, seed=1), directions(9, 5, seed=2)
    losses = []
    for i in range(4):
        own = math.exp(dot(student[i], teacher[i]) / temperature)
        others = sum(math.exp(dot(student[i], item) / temperature) for item in queue)
        losses.append(-math.log(own / (own + others)))
    assert info_nce(student, teacher, queue, temperature).item() == pytest.approx(sum(losses) / 4, rel=1e-5)


def test_only_the_student_learns_from_the_contrast():
    student = directions(4, 5).double().requires_grad_()
    teacher, queue = directions(4, 5, seed=1).double(), directions(9, 5, seed=2).double()
    assert torch.autograd.gradcheck(lambda x: info_nce(x, teacher, queue, 0.2), (student,))


def plan_in_a_loop(similarity, eps, rounds):
    """Float64, logarithms: columns, then rows, are brought to equal sums."""
    log = similarity.double() / eps
    images, items = log.shape
    for _ in range(rounds):
        for j in range(items):
            log[:, j] += math.log(images / items) - torch.logsumexp(log[:, j], 0)
        for i in range(images):
            log[i] -= torch.logsumexp(log[i], 0)
    return log.exp()


@pytest.mark.parametrize("rounds", [1, 3, 200])
def test_the_plan_of_transport_equals_a_loop(rounds):
    similarity = directions(6, 4) @ directions(10, 4, seed=1).mT
    plan = sinkhorn(similarity, 0.05, rounds)
    torch.testing.assert_close(plan.double(), plan_in_a_loop(similarity, 0.05, rounds), rtol=1e-3, atol=1e-6)


def test_many_rounds_divide_the_queue_evenly_and_few_leave_every_image_whole():
    similarity = directions(6, 4) @ directions(10, 4, seed=1).mT
    plan = sinkhorn(similarity, 0.3, 300)
    torch.testing.assert_close(plan.sum(1), torch.ones(6))
    torch.testing.assert_close(plan.sum(0), torch.full((10,), 6 / 10), rtol=1e-4, atol=0)
    torch.testing.assert_close(sinkhorn(similarity, 0.05, 3).sum(1), torch.ones(6))


def test_a_plan_of_two_by_two_is_that_of_the_closed_form():
    a, b, c, d = 0.9, 0.2, 0.1, 0.3
    eps = 0.4
    odds = math.exp((a - b - c + d) / eps)  # of a matrix of that cross-ratio whose rows and columns sum to 1
    share = math.sqrt(odds) / (1 + math.sqrt(odds))
    plan = sinkhorn(torch.tensor([[a, b], [c, d]]), eps, 100)
    torch.testing.assert_close(plan, torch.tensor([[share, 1 - share], [1 - share, share]]))


def test_no_similarity_is_too_far_for_the_least_eps():
    rows = torch.tensor([[1.0, -1.0], [-1.0, -1.0], [1.0, 1.0]])
    plan = sinkhorn(rows, LEAST_EPS, 3)
    assert plan.isfinite().all()
    torch.testing.assert_close(plan.sum(1), torch.ones(3))


def test_an_item_that_resembles_everything_is_left_to_the_image_that_has_nothing_else():
    close = torch.tensor([[0.9, 0.89, 0.0], [0.9, 0.0, 0.0], [0.9, 0.0, 0.85]])
    assert close.argmax(1).tolist() == [0, 0, 0]
    assert sinkhorn(close, 0.05, 10).argmax(1).tolist() == [1, 0, 2]


@pytest.mark.parametrize("shots", [1, 3])
def test_pseudo_shots_are_the_items_with_the_largest_shares(shots):
    teacher, queue = directions(6, 4), directions(10, 4, seed=1)
    similarity = torch.tensor([[dot(a, b) for b in queue] for a in teacher])
    plan = plan_in_a_loop(similarity, 0.05, 3)
    expected = [sorted(range(10), key=lambda j, i=i: -plan[i, j])[:shots] for i in range(6)]
    assert pseudo_shots(teacher, queue, shots, 0.05, 3).tolist() == expected


@pytest.mark.parametrize("shots", [1, 3])
@pytest.mark.parametrize("temperature", [0.5, 1.0])
def test_the_loss_of_pseudo_tasks_equals_a_loop(shots, temperature):
    student, support = directions(4, 5), directions(4, shots, 5, seed=1)
    losses = []
    for i in range(4):
        scores = [[math.exp(dot(student[i], shot) / temperature) for shot in support[j]] for j in range(4)]
        total = sum(map(sum, scores))
        losses.append(-sum(math.log(score / total) for score in scores[i]) / shots)
    assert task_loss(student, support, temperature).item() == pytest.approx(sum(losses) / 4, rel=1e-5)


def test_a_teacher_is_the_exponential_average_of_its_students():
    first = torch.randn(3, 2, generator=torch.Generator().manual_seed(0))
    teacher, students = (
        first.clone(),
        [torch.randn(3, 2, generator=torch.Generator().manual_seed(i)) for i in range(1, 6)],
    )
    for student in students:
        follow([teacher], [student], 0.9)
    n = len(students)
    expected = 0.9**n * first + 0.1 * sum(0.9 ** (n - 1 - i) * student for i, student in enumerate(students))
    torch.testing.assert_close(teacher, expected)


def test_a_teacher_moves_to_one_student_along_the_closed_form():
    teacher, student = torch.ones(4), torch.zeros(4)
    for _ in range(50):
        follow([teacher], [student], 0.99)
    torch.testing.assert_close(teacher, torch.full((4,), 0.99**50))
    assert student.eq(0).all()


def test_a_queue_keeps_the_last_of_what_it_was_given_also_past_its_end():
    queue = Queue.of(7, 3, 2, Seed(0), CPU)
    at_first = queue.items.clone()
    torch.testing.assert_close(at_first.norm(dim=1), torch.ones(7))
    expected = [row.tolist() for row in at_first]
    for step in range(9):
        given = torch.full((3, 2), float(step)) + torch.arange(3)[:, None] / 10
        queue.given.copy_(given)
        queue.push()
        for row in given:
            expected = [*expected[1:], row.tolist()]
        oldest_first = queue.items.roll(-int(queue.next), 0)
        assert oldest_first.tolist() == expected


def test_a_queue_as_long_as_a_batch_is_all_new_after_each_step():
    queue = Queue.of(3, 3, 2, Seed(0), CPU)
    queue.given.copy_(torch.arange(6.0).view(3, 2))
    queue.push()
    assert torch.equal(queue.items, queue.given)
    assert int(queue.next) == 0
