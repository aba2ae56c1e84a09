"""Training: one loop, its checkpoints, the store of what was trained. What a method of one's own needs is here.

:func:`train` runs the steps; :class:`Step` is a step that a GPU can capture. :class:`Checkpoint` and
:class:`ArtifactStore` come with ``context``. :class:`EpochBatches` says which images a step sees, :func:`initialised`
seeds the first weights of a module, :func:`settings_of` describes a component for the recipe of an artifact,
:func:`adam`, :func:`adamw`, :func:`sgd` are PyTorch's, as a GPU can capture them, :func:`set_rate` changes their
learning rate, and :func:`count` says how many images passed through a network. See "Your own training loop" in
methods/README.md.
"""

from bench.training.artifacts import Artifact, ArtifactStore, settings_of
from bench.training.checkpoint import Checkpoint
from bench.training.initial import initialised
from bench.training.loop import EpochBatches, train
from bench.training.optimizers import adam, adamw, set_rate, sgd
from bench.training.steps import Step
from bench.training.work import count

__all__ = [
    "Artifact",
    "ArtifactStore",
    "Checkpoint",
    "EpochBatches",
    "Step",
    "adam",
    "adamw",
    "count",
    "initialised",
    "set_rate",
    "settings_of",
    "sgd",
    "train",
]
