"""LASIUM: classes out of the neighbourhoods of a generator's latent space."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.basics.errors import BenchError, did_you_mean
from bench.contracts import (
    Context,
    Generator,
    GeneratorRecipe,
    Learner,
    MetaLearner,
    PosteriorEncoder,
    Tasks,
    TaskSpec,
)
from bench.datasets.images import UnlabelledImages
from bench.tasks.draw import distinct
from bench.views.augment import random_shift

STRATEGIES = ("n", "ro", "oc")
ANCHORS = ("auto", "posterior", "prior")
SELF_TARGET_STD = 1.0  # OC: noise where the other class would be the class itself, from the authors' code
CANDIDATES = 8192  # anchor sets begun at a time when eps_sq > 0
CHUNK = 1024  # images encoded at a time
SAMPLES = 16  # images kept with a run, to see what the generator makes


@dataclass(frozen=True)
class Lasium:
    """Unsupervised meta-learning by latent-space interpolation (Khodadadeh et al. 2020, §3.1, Algorithm 1).

    1. A task of N classes starts from N anchors in latent space, all further apart than eps_sq.
    2. Each class gets K + Q - 1 more latents near its anchor z, new noise for every one (``strategy``):
       n   z + s*n, n ~ N(0, I), s = noise_std (noise);
       ro  z + alpha*(v - z), v ~ prior (towards a random out-of-class sample);
       oc  z + alpha*(z_j - z), z_j the anchor of class c + w mod N for the w-th latent of class c (towards
           the other classes). Where w mod N = 0 the class would meet itself: z + n instead, as the authors'
           code does.
    3. All are decoded. The first K images of a class, its anchor first, are support; the other Q are query.
    4. Each query image moves by whole pixels dx, dy ~ U{-query_shift, …, query_shift}; what it uncovers gets the
       value query_fill: 0, as in the authors' code, whose Omniglot has paper at 1, so that black bars appear there.

    anchors: ``posterior`` takes N distinct real images, whose anchors are one sample each of their
    posteriors; the real image itself is then the class's first image (§3.1, VAE). For oc the posteriors are
    sampled afresh before every w, as in the authors' code. ``prior`` draws the anchors from the prior and
    decodes them too (§3.1, GAN). ``auto`` is posterior where the generator can encode, else prior.
    noise_std: the paper prints it as sigma^2, the authors' code uses that number as the standard deviation;
    noise_is_variance reads it as a variance.
    alpha: below 0 it leads away from the other latent, as the authors' program for RO with a VAE did until they
    corrected it (alpha=-0.2 for their 0.2), for sensitivity runs.
    eps_sq: least *squared* Euclidean distance between the anchors of a task, as in the authors' code. A set
    with any pair not above it is rejected whole and drawn again, at most max_retries times a task; 0 rejects
    nothing.

    A generator with ``latent_norm`` (ProGAN, which looks at the direction of a latent only) has, as in the
    authors' code, anchors of length 1: n rescales its results to length 1 too, ro its v; oc rescales nothing.
    """

    generator: GeneratorRecipe
    learner: MetaLearner
    strategy: str = "ro"
    alpha: float = 0.2
    noise_std: float = 0.5
    noise_is_variance: bool = False
    eps_sq: float = 0.0
    max_retries: int = 200_000
    query_shift: int = 5
    query_fill: float = 0.0
    anchors: str = "auto"

    def __post_init__(self) -> None:
        for name, known in (("strategy", STRATEGIES), ("anchors", ANCHORS)):
            if (value := getattr(self, name)) not in known:
                hint = did_you_mean(value, known)
                raise BenchError(f"lasium: {name} must be one of {', '.join(known)}, not {value!r}.{hint}")
        if not math.isfinite(self.alpha):
            raise BenchError(f"lasium: alpha must be a finite number, not {self.alpha}")
        for name in ("noise_std", "eps_sq", "query_shift", "max_retries"):
            if not 0 <= (value := getattr(self, name)) < math.inf:
                raise BenchError(f"lasium: {name} must be 0 or more, not {value}")
        if not 0 <= self.query_fill <= 1:
            raise BenchError(f"lasium: query_fill must be between 0 and 1, not {self.query_fill}")

    def fit(self, images: UnlabelledImages, spec: TaskSpec, context: Context) -> Learner:
        """Meta-train on synthetic tasks. The record says how many anchor sets were rejected, also of a failure."""
        sampler = self.sampler(images, context)
        try:
            return self.learner.fit(sampler, spec, context)
        finally:
            if (tried := sampler.accepted + sampler.rejected) > 0:
                context.note(
                    accepted_sets=sampler.accepted,
                    rejected_sets=sampler.rejected,
                    acceptance_rate=sampler.accepted / tried,
                )

    def samples(self, images: UnlabelledImages, context: Context) -> Tensor:
        """Images of SAMPLES latents of the prior [n, C, H, W]; one seed gives the same latents at every epoch."""
        generator = self.generator.obtain(images, context)
        return generator.decode(generator.sample_prior(SAMPLES, context.seed.at("samples").generator(images.device)))

    def sampler(self, images: UnlabelledImages, context: Context) -> LasiumSampler:
        """The task sampler over the trained generator."""
        generator = self.generator.obtain(images, context)
        if tuple(generator.image_shape) != images.shape:
            raise BenchError(
                f"lasium: the generator makes {_size(generator.image_shape)} images but the dataset has "
                f"{_size(images.shape)} ones; use a generator of that size"
            )
        if self.anchors == "posterior" and not isinstance(generator, PosteriorEncoder):
            raise BenchError("lasium: anchors=posterior needs a generator that can encode; use anchors=prior")
        posterior = None
        if isinstance(generator, PosteriorEncoder) and self.anchors != "prior":
            posterior = _posterior(generator, images)
        return LasiumSampler(self, images, generator, posterior)


@dataclass
class LasiumSampler:
    """A :class:`bench.contracts.TaskSampler` and :class:`bench.contracts.LatentSampler`. T tasks, N way,
    S = K + Q - 1 samples beside the anchor, d latent.

    posterior: mean and standard deviation [n, d] of every unlabelled image, or None for anchors from the
    prior.
    """

    recipe: Lasium
    images: UnlabelledImages
    generator: Generator
    posterior: tuple[Tensor, Tensor] | None
    state: dict[str, Tensor] = field(init=False)
    """What a checkpoint keeps: the anchor sets so far. Empty unless eps_sq > 0; without it none is rejected."""

    def __post_init__(self) -> None:
        counted = ("accepted_sets", "rejected_sets") if self.recipe.eps_sq > 0 else ()
        self.state = {name: torch.zeros((), dtype=torch.int64) for name in counted}
        self.unit = bool(getattr(self.generator, "latent_norm", False)) and self.recipe.strategy != "oc"

    @property
    def accepted(self) -> int:
        """Anchor sets that became tasks; 0 where nothing is rejected."""
        return int(self.state.get("accepted_sets", 0))

    @property
    def rejected(self) -> int:
        """Anchor sets with a pair that was too close."""
        return int(self.state.get("rejected_sets", 0))

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return self.images.shape

    @property
    def capturable(self) -> bool:
        """Whether sampling launches the same kernels whatever it draws: see ``meta_train``.

        Rejection does not: how many anchors it draws depends on them.
        """
        capturable = bool(getattr(self.generator, "capturable", False))
        return capturable and self.recipe.eps_sq == 0 and self.images.resident

    def sample(self, n: int, spec: TaskSpec, rng: torch.Generator) -> Tasks:
        """``n`` tasks: one draw, one decoding for all of them."""
        if self.posterior is not None and len(self.images) < spec.way:
            raise BenchError(f"lasium: {len(self.images)} images are too few for {spec.way}-way tasks")
        index, z = self._anchors(n, spec.way, rng)  # [T, N], [T, N, d]
        if self.unit:
            z = F.normalize(z, dim=-1)
        near = self._in_class(index, z, spec.shot + spec.query - 1, rng)  # [T, N, S, d]
        if index is None:
            made = self._decode(torch.cat([z[:, :, None], near], dim=2))
        else:
            made = torch.cat([self.images.take(index)[:, :, None], self._decode(near)], dim=2)
        support, query = made[:, :, : spec.shot].contiguous(), made[:, :, spec.shot :].contiguous()
        if self.recipe.query_shift:
            recipe = self.recipe
            query = random_shift(query.flatten(0, 2), recipe.query_shift, rng, recipe.query_fill).view_as(query)
        return Tasks(support, query)

    @property
    def strategies(self) -> tuple[str, ...]:
        """What :meth:`latents` takes."""
        return STRATEGIES

    def latents(self, n: int, spec: TaskSpec, strategy: str, rng: torch.Generator) -> Tensor:
        """Anchors and in-class latents of ``n`` tasks [n, N, K + Q, d]; the anchors are drawn first."""
        index, z = self._anchors(n, spec.way, rng)
        other = replace(self, recipe=replace(self.recipe, strategy=strategy))
        z = F.normalize(z, dim=-1) if other.unit else z
        return torch.cat([z[:, :, None], other._in_class(index, z, spec.shot + spec.query - 1, rng)], dim=2)

    def _in_class(self, index: Tensor | None, z: Tensor, extra: int, rng: torch.Generator) -> Tensor:
        """Anchors [T, N, d] -> S = ``extra`` more latents of each class [T, N, S, d]."""
        recipe, (tasks, way, dim) = self.recipe, z.shape
        shape = tasks, way, extra, dim
        z = z[:, :, None].expand(shape)
        if recipe.strategy == "n":
            std = math.sqrt(recipe.noise_std) if recipe.noise_is_variance else recipe.noise_std
            near = z + std * _normal(shape, rng)
            return F.normalize(near, dim=-1) if self.unit else near
        if recipe.strategy == "ro":
            v = self.generator.sample_prior(tasks * way * extra, rng).view(shape)
            if self.unit:
                v = F.normalize(v, dim=-1)
            return z + recipe.alpha * (v - z)
        if index is not None:
            z = self._sample_posterior(index[:, :, None].expand(shape[:3]), rng)
        w = torch.arange(1, extra + 1, device=z.device)
        other = (torch.arange(way, device=z.device)[:, None] + w) % way  # [N, S]
        towards_other = z + recipe.alpha * (z[:, other, w - 1] - z)
        itself = (w % way == 0)[:, None]
        return torch.where(itself, z + SELF_TARGET_STD * _normal(shape, rng), towards_other)

    def _anchors(self, tasks: int, way: int, rng: torch.Generator) -> tuple[Tensor | None, Tensor]:
        """Anchors [T, N, d] and, where they are posterior samples, their images [T, N]."""
        if self.recipe.eps_sq == 0:
            return self._draw(tasks, way, rng)
        # One candidate set for each pending task, then two, four, …: the first accepted one is the task's,
        # those before it are its rejected ones, exactly as if they had been drawn one after the other.
        pending = torch.arange(tasks, device=rng.device)
        z = torch.empty(tasks, way, self.generator.latent_dim, device=rng.device)
        index = None if self.posterior is None else torch.empty(tasks, way, dtype=torch.int64, device=rng.device)
        tried, count = 0, 1
        while len(pending):
            count = min(count, max(1, CANDIDATES // len(pending)), self.recipe.max_retries + 1 - tried)
            if count == 0:
                raise BenchError(
                    f"lasium: no set of {way} anchors was accepted in {tried} tries; eps_sq={self.recipe.eps_sq:g} is "
                    "above the least squared distance of each of them; use a smaller eps_sq"
                )
            which, images, sets = self._far_apart(len(pending) * count, way, rng)
            first = torch.full((len(pending),), count, device=rng.device)
            first.scatter_reduce_(0, which // count, which % count, "amin")
            hit = first < count
            chosen = torch.searchsorted(which, torch.arange(len(pending), device=rng.device)[hit] * count + first[hit])
            z[pending[hit]] = sets[chosen]
            if index is not None and images is not None:
                index[pending[hit]] = images[chosen]
            self.state["accepted_sets"] += int(hit.sum())
            self.state["rejected_sets"] += int(first.sum())
            pending, tried, count = pending[~hit], tried + count, 2 * count
        return index, z

    def _far_apart(self, sets: int, way: int, rng: torch.Generator) -> tuple[Tensor, Tensor | None, Tensor]:
        """Draw ``sets`` anchor sets and keep the A in which all are further apart than eps_sq.

        Returns their numbers [A], ascending, their images [A, N] or None, and the anchors [A, N, d]. An anchor is
        drawn only for sets that are still in the race: most are out after two, and are rejected whole all the same.
        """
        which = torch.arange(sets, device=rng.device)
        index = None if self.posterior is None else distinct(sets, way, len(self.images), rng)
        z = torch.empty(sets, 0, self.generator.latent_dim, device=rng.device)
        for j in range(way):
            if index is None:
                drawn = self.generator.sample_prior(len(which), rng)
            else:
                drawn = self._sample_posterior(index[:, j], rng)
            distance = (z - drawn[:, None]).square().sum(dim=-1)  # [A, j]
            z = torch.cat([z, drawn[:, None]], dim=1)
            if j:
                kept = (distance > self.recipe.eps_sq).all(dim=1)
                which, z = which[kept], z[kept]
                index = None if index is None else index[kept]
        return which, index, z

    def _draw(self, sets: int, way: int, rng: torch.Generator) -> tuple[Tensor | None, Tensor]:
        """``sets`` unchecked anchor sets."""
        if self.posterior is None:
            return None, self.generator.sample_prior(sets * way, rng).view(sets, way, -1)
        index = distinct(sets, way, len(self.images), rng)
        return index, self._sample_posterior(index, rng)

    def _sample_posterior(self, index: Tensor, rng: torch.Generator) -> Tensor:
        """One posterior sample of each image: index of any shape -> [*shape, d]."""
        assert self.posterior is not None
        mean, std = self.posterior
        return mean[index] + std[index] * _normal((*index.shape, mean.shape[1]), rng)

    def _decode(self, z: Tensor) -> Tensor:
        """Latents [T, N, S, d] -> images [T, N, S, C, H, W]."""
        return self.generator.decode(z.flatten(0, 2)).unflatten(0, z.shape[:3])


def _posterior(generator: PosteriorEncoder, images: UnlabelledImages) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation [n, d] of every image's posterior, encoded once for the whole training."""
    everything = torch.arange(len(images), device=images.device)
    parts = [generator.encode(images.take(part)) for part in everything.split(CHUNK)]
    return torch.cat([mean for mean, _ in parts]), torch.cat([torch.exp(logvar / 2) for _, logvar in parts])


def _normal(shape: tuple[int, ...], rng: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=rng, device=rng.device)


def _size(shape: tuple[int, int, int]) -> str:
    return "x".join(map(str, shape))
