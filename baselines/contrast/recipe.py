"""What SimCLR, MoCo and PsCo share: one training, as a method of its own and as an encoder under others."""

from __future__ import annotations

import dataclasses
import math
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, is_dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from baselines.contrast.networks import Networks
from bench.backbones import Conv4, Params
from bench.basics.errors import BenchError
from bench.basics.seeds import Seed
from bench.contracts import Context, TaskSpec, Views
from bench.datasets.images import UnlabelledImages
from bench.learners.embedding import EmbeddingClassifier
from bench.learners.imagewise import (
    ConvEncoder,
    Course,
    Embedding,
    ImageTraining,
    Loss,
    Schedule,
    batch_of,
    image_batches,
)
from bench.learners.prototypes import Prototypes
from bench.training.checkpoint import Checkpoint
from bench.training.optimizers import sgd

SHARED_VERSION = 1
"""``VERSION`` of all three: raised whenever the same settings would train other networks."""

REFERENCE_BATCH = 256
"""For which a learning rate is given."""


@dataclass(frozen=True, slots=True)
class Objective:
    """What is asked of a student in every step. after: what happens once it has learned. kept: what that changes."""

    loss: Loss
    after: Callable[[torch.Generator], None] = lambda rng: None
    kept: Params = field(default_factory=dict)


@dataclass(frozen=True)
class Contrast(ABC):
    """Contrastive learning on batches of unlabelled images: a backbone, wide heads on it, SGD.

    The recipe is that of Jang et al. 2023 for all that they compare, as are the defaults: heads of ``hidden`` and
    ``projection`` units, SGD with momentum 0.9 at the rate ``lr`` for 256 images, and in proportion for more, falling
    along half a cosine. The network is the one that all methods have here, and images are not turned.

    At test the nearest normalised mean of the backbone's normalised features. As an encoder it is the backbone.
    """

    name: ClassVar[str]
    predicts: ClassVar[bool] = False
    """Whether the student has a predictor behind its projector."""

    backbone: Conv4
    views: Views
    batch: int = 256
    temperature: float = 0.2
    hidden: int = 4096
    projection: int = 256
    lr: float = 0.03
    weight_decay: float = 5e-4

    def __post_init__(self) -> None:
        self._check_integers(batch=2, hidden=1, projection=1)
        self._check_positive("temperature", "lr")
        if not 0 <= self.weight_decay < math.inf:
            raise BenchError(f"{self.name}: weight_decay must be 0 or more, not {self.weight_decay}")

    @abstractmethod
    def objective(self, networks: Networks, images: UnlabelledImages, context: Context, seed: Seed) -> Objective:
        """What it asks of ``networks`` in training; random numbers of its own come from ``seed``."""

    def learner(self, networks: Networks) -> EmbeddingClassifier:
        """How it answers; shares the tensors of ``networks``."""
        return EmbeddingClassifier(networks.encoder(), Prototypes("cosine"))

    def fit(self, images: UnlabelledImages, spec: TaskSpec, context: Context) -> EmbeddingClassifier:
        """Train for ``context.budget.meta_iterations`` batches; ``spec`` is not looked at."""
        networks = self._networks(images, context.seed)
        learner = self.learner(networks)
        self._train(networks, images, context, context.seed, Course.of_run(context, lambda: learner))
        return learner

    def obtain(self, images: UnlabelledImages, context: Context) -> ConvEncoder:
        """The backbone after ``context.budget.encoder_epochs`` epochs of ``images``, stored or trained."""
        seed, epochs = context.seed.at("encoder"), context.budget.encoder_epochs
        networks = self._networks(images, seed)
        recipe = {
            "encoder": self.name,
            "version": SHARED_VERSION,
            **{name: _told(value) for name, value in vars(self).items()},
            "images": images.fingerprint,
            "shape": list(images.shape),
            "epochs": epochs,
            "seed": seed.value(),
        }

        def make(checkpoint: Checkpoint) -> tuple[Mapping[str, Tensor], Mapping[str, Any]]:
            per_epoch = len(images) // self.batch
            course = Course(epochs * per_epoch, checkpoint, self.name, seed.at("train"))
            outcome = self._train(networks, images, dataclasses.replace(context, notes={}), seed, course)
            last = outcome["loss"][-per_epoch:]
            facts = {"loss": sum(last) / len(last) if last else None, "epochs": epochs, "seconds": outcome["seconds"]}
            return {**networks.encoder().state(), "losses": torch.tensor(outcome["loss"])}, facts | outcome["facts"]

        artifact = context.artifacts.get(f"encoder-{self.name}", recipe, make, context.budget.checkpoint_seconds)
        encoder = networks.encoder()
        for name, tensor in encoder.state().items():
            tensor.copy_(artifact.tensors[name])
        context.note(**{self.name: {name: value for name, value in artifact.meta.items() if name != "recipe"}})
        return encoder

    def _networks(self, images: UnlabelledImages, seed: Seed) -> Networks:
        image_batches(images, self.batch, seed.at("batches"), self.name)  # refuses before anything is made
        net = Embedding.initial(self.backbone, images.shape, seed.at("init"), images.device)
        return Networks.initial(net, self.hidden, self.projection, self.predicts, seed.at("heads"))

    def _train(
        self, networks: Networks, images: UnlabelledImages, context: Context, seed: Seed, course: Course
    ) -> dict[str, Any]:
        rate = self.lr * self.batch / REFERENCE_BATCH
        objective = self.objective(networks, images, context, seed)
        training = ImageTraining(
            networks.params,
            {**networks.net.buffers, **networks.statistics, **objective.kept},
            sgd(networks.params.values(), rate, momentum=0.9, weight_decay=self.weight_decay),
            Schedule(rate),
            objective.after,
        )
        batches = image_batches(images, self.batch, seed.at("batches"), self.name)
        return training.run(objective.loss, batch_of(images, batches), course, context, self.batch)

    def _check_integers(self, **least: int) -> None:
        for name, smallest in least.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < smallest:
                raise BenchError(f"{self.name}: {name} must be an integer of at least {smallest}, not {value!r}")

    def _check_positive(self, *names: str) -> None:
        for name in names:
            if not 0 < getattr(self, name) < math.inf:
                raise BenchError(f"{self.name}: {name} must be above 0, not {getattr(self, name)}")


def _told(value: object) -> object:
    """A setting for the key of an artifact: a component by its class, version and settings."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    kind = type(value)
    settings = asdict(value) if is_dataclass(value) and not isinstance(value, type) else {"is": repr(value)}
    version = getattr(sys.modules.get(kind.__module__), "VERSION", 1)
    return {"class": f"{kind.__module__}.{kind.__qualname__}", "version": version, **settings}
