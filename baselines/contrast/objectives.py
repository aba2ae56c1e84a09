"""What a student is asked: which embedding of a teacher is its own, among a queue of others."""

from __future__ import annotations

import torch
from torch import Tensor


def info_nce(student: Tensor, teacher: Tensor, queue: Tensor, temperature: float) -> Tensor:
    """Contrast with a queue (He et al. 2020, eq. 1): student and teacher [B, d], queue [Q, d], all of unit length.

    The mean over the images of -log(exp s_i / (exp s_i + sum over the queue of exp s_ij)), s the inner products divided
    by ``temperature``, s_i with the teacher's embedding of the same image.
    """
    own = (student * teacher).sum(1) / temperature
    others = (student @ queue.mT / temperature).logsumexp(1)
    return (torch.logaddexp(own, others) - own).mean()


def sinkhorn(similarity: Tensor, eps: float, rounds: int) -> Tensor:
    """A plan of transport between images and the queue (Cuturi 2013): similarities [B, Q] in [-1, 1] -> [B, Q].

    exp(similarity / eps), of which ``rounds`` times first the columns and then the rows are scaled to equal sums; so
    every row sums to 1, and every column, the better the more rounds, to B / Q. ``eps`` of at least ``LEAST_EPS``.
    """
    images, items = similarity.shape
    kernel = ((similarity - similarity.amax()) / eps).exp()
    rows = kernel.new_full((images,), 1 / images)
    columns = kernel.new_full((items,), 1 / items)
    for _ in range(rounds):
        columns = (images / items) / (rows @ kernel)
        rows = 1 / (kernel @ columns)
    return rows[:, None] * kernel * columns


LEAST_EPS = 0.03
"""Of :func:`sinkhorn`: exp(-2 / eps) has to be a float32."""


def pseudo_shots(teacher: Tensor, queue: Tensor, shots: int, eps: float, rounds: int) -> Tensor:
    """For teacher [B, d], of unit length, the ``shots`` items of the queue that most of each image is carried to.

    Indices int64 [B, K], the largest share first (Jang et al. 2023).
    """
    return sinkhorn(teacher @ queue.mT, eps, rounds).topk(shots, dim=1).indices


def task_loss(student: Tensor, support: Tensor, temperature: float) -> Tensor:
    """The loss of PsCo on its tasks (Jang et al. 2023): student [B, d], shots of all images [B, K, d], of unit length.

    The supervised contrast of an image's embedding with all B * K shots: the mean over its own K of
    -log(exp s_k / sum over all of exp s), s the inner products divided by ``temperature``; the mean over the images.
    """
    images, shots, _ = support.shape
    scores = student @ support.flatten(0, 1).mT / temperature
    log_p = scores.log_softmax(1).view(images, images, shots)
    return -log_p.diagonal().mean()  # [K, B]
