"""The shared language of the harness: plain data and protocols. No logic, no input or output.

Shapes: T tasks, N way, K shot, Q queries per class, M = N*Q queries of a whole task, C H W image.
Images are float32 in [0, 1] wherever a method or a learner sees them.

An unsupervised meta-learner is a *task sampler made from unlabelled images* plus a meta-learner. An embedding
baseline is an encoder plus a classifier. Training from scratch is MAML that was never trained.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from torch import Tensor

from bench.basics.errors import BenchError
from bench.basics.seeds import Seed

if TYPE_CHECKING:
    import torch

    from bench.datasets.images import LabelledImages, UnlabelledImages
    from bench.training.artifacts import ArtifactStore
    from bench.training.checkpoint import Checkpoint


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """The shape of a few-shot task: ``way`` classes, ``shot`` support and ``query`` query images per class."""

    way: int
    shot: int
    query: int

    def __post_init__(self) -> None:
        for name, least in (("way", 2), ("shot", 1), ("query", 1)):
            value = getattr(self, name)
            if not isinstance(value, int) or value < least:
                raise BenchError(f"{name} must be an integer of at least {least}, not {value!r}")

    def __str__(self) -> str:
        return f"{self.way}-way {self.shot}-shot, {self.query} queries per class"


@dataclass(frozen=True, slots=True)
class Tasks:
    """A batch of tasks. The class is an axis, so there is no label tensor.

    support: [T, N, K, C, H, W] and query: [T, N, Q, C, H, W], float32 in [0, 1], on one device.
    """

    support: Tensor
    query: Tensor


@runtime_checkable
class TaskSampler(Protocol):
    """Makes tasks: synthetic ones from a method, real ones from labels."""

    def sample(self, n: int, spec: TaskSpec, rng: torch.Generator) -> Tasks:
        """``n`` independent tasks; every draw comes from ``rng``, which lives on the images' device."""
        ...


@runtime_checkable
class Generator(Protocol):
    """A trained generator: latent -> image. May also offer ``encode(x)``, see :class:`PosteriorEncoder`.

    One with the attribute ``latent_norm = True`` looks at the direction of a latent only, not at its length.
    """

    latent_dim: int
    image_shape: tuple[int, int, int]

    def sample_prior(self, n: int, rng: torch.Generator) -> Tensor:
        """``n`` latents [n, latent_dim], on the generator's device."""
        ...

    def decode(self, z: Tensor) -> Tensor:
        """Latents [n, d] -> images [n, C, H, W], float32 in [0, 1]. A function of z alone, no gradient."""
        ...


@runtime_checkable
class PosteriorEncoder(Protocol):
    """The half that a VAE adds to a generator."""

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Images [n, C, H, W] in [0, 1] -> mean and log-variance of the posterior, each [n, d]."""
        ...


@runtime_checkable
class GeneratorRecipe(Protocol):
    """How to come by a generator: train it on the unlabelled images, or read a file."""

    def obtain(self, images: UnlabelledImages, context: Context) -> Generator:
        """The trained generator, from the artifact store where it is there already."""
        ...


@runtime_checkable
class Views(Protocol):
    """How to make another image of the same thing."""

    def __call__(self, images: Tensor, rng: torch.Generator) -> Tensor:
        """Images [B, C, H, W] in [0, 1] -> a view of each, of the same shape; every draw comes from ``rng``."""
        ...


@runtime_checkable
class Encoder(Protocol):
    """A frozen embedding: image -> vector."""

    dim: int

    def encode(self, x: Tensor) -> Tensor:
        """Images [B, C, H, W] in [0, 1] -> embeddings [B, dim]."""
        ...


@runtime_checkable
class Decoder(Protocol):
    """The half that some encoders have besides: back from an embedding to an image."""

    def decode(self, code: Tensor) -> Tensor:
        """Embeddings [n, dim] -> images [n, C, H, W], float32 in [0, 1]. No gradient."""
        ...


@runtime_checkable
class ClusteringEncoder(Protocol):
    """Optional: an encoder that was taught by clusters of the images that it was trained on."""

    clusters: Tensor
    """The cluster of every image, in their order: int64 [n]."""


@runtime_checkable
class EncoderRecipe(Protocol):
    """How to come by an encoder: train it on the unlabelled images, or read a file."""

    def obtain(self, images: UnlabelledImages, context: Context) -> Encoder:
        """The trained encoder, from the artifact store where it is there already."""
        ...


@runtime_checkable
class Learner(Protocol):
    """Answers tasks.

    ``transductive`` declares that the scores of one query may depend on the other queries of its task (batch
    statistics over the query batch, for example). A learner that does so without declaring it fails a test.
    """

    transductive: bool

    def predict(self, support: Tensor, query: Tensor) -> Tensor:
        """support [T, N, K, C, H, W] and shuffled queries [T, M, C, H, W] -> scores [T, M, N], higher is likelier."""
        ...


@runtime_checkable
class EmbeddingLearner(Learner, Protocol):
    """A learner that looks at images through a frozen encoder only.

    The harness then embeds every image that a manifest names once, and asks with embeddings instead of images.
    ``predict`` on images must give the same scores, up to rounding.
    """

    encoder: Encoder

    def predict_embedded(self, support: Tensor, query: Tensor) -> Tensor:
        """support [T, N, K, dim] and shuffled queries [T, M, dim] -> scores [T, M, N], higher is likelier."""
        ...


@runtime_checkable
class Classifier(Protocol):
    """Answers tasks given as embeddings, every query on its own."""

    def classify(self, support: Tensor, query: Tensor) -> Tensor:
        """support [T, N, K, dim] and queries [T, M, dim] -> scores [T, M, N], higher is likelier."""
        ...


@runtime_checkable
class ClassifierRecipe(Protocol):
    """How to come by a classifier: from its settings alone, or from the unlabelled embeddings too."""

    def obtain(self, encoder: Encoder, images: UnlabelledImages, context: Context) -> Classifier:
        """The classifier for embeddings of ``encoder``; what it learns from ``images`` is in the artifact store."""
        ...


@runtime_checkable
class MetaLearner(Protocol):
    """Learns from a stream of tasks (MAML, ProtoNets).

    One that cannot answer tasks of more classes than those it trained on has an attribute ``fixed_way = True``; it is
    not asked them, and a request for nothing else is refused before anything is trained.
    """

    def fit(self, sampler: TaskSampler, spec: TaskSpec, context: Context) -> Learner:
        """Train on ``context.budget.meta_iterations`` meta-batches of ``sampler`` and return the learner."""
        ...

    def untrained(self, image_shape: tuple[int, int, int], spec: TaskSpec, context: Context) -> Learner:
        """The learner at its random initialisation (training from scratch)."""
        ...


@runtime_checkable
class Method(Protocol):
    """A complete recipe: images -> learner. One row of a leaderboard.

    A method whose configuration says ``supervised: true`` receives :class:`LabelledImages`; every other method
    receives :class:`UnlabelledImages`, which carry no label, no class name and no class order.

    One that trains on no tasks, and whose ``fit`` costs nothing, may have an attribute ``any_way = True``: where its
    learner has a fixed way, ``fit`` is called once more for each larger number of classes that is asked.
    """

    def fit(self, images: UnlabelledImages | LabelledImages, spec: TaskSpec, context: Context) -> Learner:
        """Train on ``images``; ``spec`` is the shape of the tasks to meta-train on.

        Resumes from ``context.checkpoint`` where there is one: called again after its training is complete, it
        returns the same learner without training.
        """
        ...


@runtime_checkable
class ShowsSamples(Protocol):
    """What a method with a generator may offer besides: a few of its images, kept in the run's folder for reports."""

    def samples(self, images: UnlabelledImages | LabelledImages, context: Context) -> Tensor:
        """Images [n, C, H, W] in [0, 1], called after ``fit``. Trainings of one seed show the same latents."""
        ...


@runtime_checkable
class SamplingMethod(Protocol):
    """Optional: a method that meta-trains on tasks of a sampler, and hands that sampler out to be looked at."""

    def sampler(self, images: UnlabelledImages | LabelledImages, context: Context) -> TaskSampler:
        """The sampler that ``fit`` would train on, its generator or encoder trained or read from the store."""
        ...


@runtime_checkable
class EpisodicMethod(Protocol):
    """Optional: a method whose own training loop learns from tasks, without asking a sampler for them."""

    def trains_on(self, spec: TaskSpec) -> TaskSpec:
        """The shape of these tasks, which its ``sampler()`` makes too; ``spec`` is that of the settings."""
        ...


@runtime_checkable
class ClusteringMethod(Protocol):
    """Optional: a method that takes clusters of the unlabelled images for classes, and hands them out."""

    def clusterings(self, images: UnlabelledImages, spec: TaskSpec, context: Context) -> Tensor:
        """The clusterings that ``fit`` trains on, int64 [P, n]; -1 is in no cluster."""
        ...


@runtime_checkable
class LatentSampler(Protocol):
    """Optional: a task sampler that makes its classes in the latent space of a generator, in one of several ways.

    A sampler over a generator that has one way only may offer ``generator`` alone.
    """

    @property
    def generator(self) -> Generator:
        """What decodes the latents."""
        ...

    @property
    def strategies(self) -> Sequence[str]:
        """The names of the ways."""
        ...

    def latents(self, n: int, spec: TaskSpec, strategy: str, rng: torch.Generator) -> Tensor:
        """The latents of ``n`` tasks [n, N, K + Q, d], those of a class after its anchor.

        Equal states of ``rng`` give equal anchors, whatever the strategy.
        """
        ...


ProgressCallback = Callable[[str, int, int, Mapping[str, float]], None]
"""``progress(stage, done, total, metrics)``; cheap, throttled by the caller, never required."""

Monitor = Callable[[int, Learner], float]
"""``monitor(step, learner)`` -> accuracy in [0, 1] on labelled meta-validation tasks. Logged, never selected on."""


@dataclass(frozen=True, slots=True)
class Budget:
    """How long to train and how much to evaluate."""

    name: str
    meta_iterations: int
    generator_epochs: int
    encoder_epochs: int
    generator_snapshots: Sequence[int] = ()
    """Epochs at which a generator that can be trained on is kept too, as an artifact of its own."""
    evaluation_tasks: int = 1000
    validate_every: int = 0
    """Meta-iterations between two looks at the meta-validation tasks; 0 is never."""
    validation_tasks: int = 100
    checkpoint_seconds: float = 15.0

    def __post_init__(self) -> None:
        lengths = ("meta_iterations", "generator_epochs", "encoder_epochs", "validate_every")
        for name, least in (*((name, 0) for name in lengths), ("evaluation_tasks", 1), ("validation_tasks", 1)):
            value = getattr(self, name)
            if not isinstance(value, int) or value < least:
                raise BenchError(f"budget.{name} must be an integer of at least {least}, not {value!r}")
        for epoch in self.generator_snapshots:
            if not isinstance(epoch, int) or epoch < 0:
                raise BenchError(f"budget.generator_snapshots must be integers of at least 0, not {epoch!r}")
        if not self.checkpoint_seconds >= 0:
            raise BenchError(f"budget.checkpoint_seconds must be 0 or more, not {self.checkpoint_seconds!r}")


@dataclass(slots=True)
class Context:
    """What the harness hands to a method besides images. Nothing in it reveals a label."""

    seed: Seed
    """Root of this run's training randomness. Runs of different methods with one training seed share it, so a
    generator trained under it is the same generator for all of them."""
    device: torch.device
    budget: Budget
    artifacts: ArtifactStore
    checkpoint: Checkpoint
    """This run's training state; empty at first, complete when training is."""
    progress: ProgressCallback
    monitor: Monitor | None = None
    notes: dict[str, Any] | None = None
    """Facts a method wants in its record: acceptance rates, counts. JSON values only."""

    def note(self, **facts: Any) -> None:
        """Put facts into the run's record."""
        if self.notes is None:
            self.notes = {}
        self.notes.update(facts)
