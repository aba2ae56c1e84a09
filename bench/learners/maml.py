"""Model-agnostic meta-learning, second and first order."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from torch import Tensor

from bench.backbones import Backbone, ImageShape, Params
from bench.basics.errors import BenchError
from bench.contracts import Context, Tasks, TaskSampler, TaskSpec
from bench.learners.adaptation import Adaptation, adaptation
from bench.learners.meta_training import check_training, chunk_size, image_shape, initial_params, meta_train


@dataclass(frozen=True, slots=True)
class MAML:
    """MAML (Finn et al. 2017) with the settings of Khodadadeh et al. 2020, Table 5 and the authors' programs.

    Inner loop: full-batch gradient descent on the mean cross-entropy; every parameter adapts, the offsets of
    the normalisation and the classifier too. Outer loss: mean cross-entropy of the query images after the
    last inner step, mean over the meta-batch; its exact gradient, or with ``first_order`` the one without
    Hessians. Meta-validation adapts for ``inner_steps``, evaluation for ``eval_steps``.

    inner_lr: step size on the *mean* loss; one quoted for a loss summed over N classes is N times larger
    here. batch_stats: ``transductive``, as the authors: the query images of a task are one batch with
    statistics of its own. ``inductive``: they are normalised with the statistics of the support images at the
    last inner step, in meta-training and in evaluation, so that a query's score does not depend on the other
    queries; the meta-gradient includes the path through these statistics.
    """

    backbone: Backbone
    inner_lr: float = 0.4
    inner_steps: int = 5
    eval_steps: int = 50
    meta_lr: float = 0.001
    meta_batch: int = 4
    first_order: bool = False
    batch_stats: Literal["transductive", "inductive"] = "transductive"

    fixed_way: ClassVar[bool] = True
    """The classifier has an output for every class of a training task, and cannot answer tasks of more."""

    def __post_init__(self) -> None:
        check_training("learner", self.meta_lr, self.meta_batch)
        if not self.inner_lr > 0:
            raise BenchError(f"learner.inner_lr must be above 0, not {self.inner_lr}")
        for name in ("inner_steps", "eval_steps"):
            if getattr(self, name) < 1:
                raise BenchError(f"learner.{name} must be at least 1, not {getattr(self, name)}")
        if self.batch_stats not in ("transductive", "inductive"):
            raise BenchError(f"learner.batch_stats must be 'transductive' or 'inductive', not {self.batch_stats!r}")

    def fit(self, sampler: TaskSampler, spec: TaskSpec, context: Context) -> MAMLLearner:
        """Train the initialisation. Raises Diverged when the loss becomes non-finite."""
        shape = image_shape(sampler, spec, context)
        params = initial_params(self.backbone, shape, spec.way, context)
        inner = adaptation(self.backbone, self.inner_steps, self.inner_lr, self.batch_stats == "inductive")

        def gradient(tasks: Tasks) -> tuple[Tensor, Params]:
            return inner.meta_gradient(params, tasks.support, tasks.query, self.first_order)

        watched = self._learner(params, self.inner_steps, shape)
        meta_train(
            gradient,
            params,
            {},
            sampler,
            spec,
            context,
            self.meta_batch,
            self.meta_lr,
            lambda: watched,
        )
        return self._learner(params, self.eval_steps, shape)

    def untrained(self, image_shape: ImageShape, spec: TaskSpec, context: Context) -> MAMLLearner:
        """The random initialisation that :meth:`fit` would start from: training from scratch."""
        params = initial_params(self.backbone, image_shape, spec.way, context)
        return self._learner(params, self.eval_steps, image_shape)

    def _learner(self, params: Params, steps: int, shape: ImageShape) -> MAMLLearner:
        device = next(iter(params.values())).device
        transductive = self.batch_stats == "transductive"
        # Eight: the last size at which a step's maps stay in the cache.
        at_once = chunk_size(8, shape, device)
        return MAMLLearner(self.backbone, params, steps, self.inner_lr, transductive, at_once)


@dataclass(slots=True)
class MAMLLearner:
    """An initialisation that is adapted to every task for ``steps`` steps.

    ``tasks_at_once``: how many tasks one program adapts; :meth:`predict` splits longer batches itself.
    """

    backbone: Backbone
    params: Params
    steps: int
    inner_lr: float
    transductive: bool
    tasks_at_once: int
    _inner: Adaptation | None = field(default=None, init=False, repr=False)

    @property
    def program(self) -> str:
        """How the inner steps of the last :meth:`predict` ran; empty where nothing can be captured."""
        return self._inner.program if self._inner is not None else ""

    def predict(self, support: Tensor, query: Tensor) -> Tensor:
        """support [T, N, K, C, H, W], query [T, M, C, H, W] -> logits [T, M, N].

        A classifier of more ways than the tasks have keeps its first N outputs; one of fewer is a BenchError.
        """
        way = support.shape[1]
        params = self.params
        if "head.weight" in params:
            trained = len(params["head.weight"])
            if way > trained:
                raise BenchError(
                    f"a MAML learner of {trained} ways cannot answer {way}-way tasks; train it on at least {way} ways"
                )
            params = {n: value[:way] if n.startswith("head.") else value for n, value in params.items()}
        if self._inner is None:
            self._inner = adaptation(self.backbone, self.steps, self.inner_lr, inductive=not self.transductive)
        inner = self._inner
        at_once = self.tasks_at_once
        chunks = zip(torch.split(support, at_once), torch.split(query, at_once), strict=True)
        return torch.cat([inner.scores(params, *chunk) for chunk in chunks])

    def state(self) -> dict[str, Tensor]:
        """The trained tensors by name."""
        return dict(self.params)
