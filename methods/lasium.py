"""LASIUM: classes out of the neighbourhoods of a generator's latent space."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

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
from bench.errors import BenchError, did_you_mean
from bench.tasks.draw import distinct
from methods.augment import random_shift

STRATEGIES = ("n", "ro", "oc")
ANCHORS = ("auto", "posterior", "prior")
SELF_TARGET_STD = 1.0  # OC: noise where the other class would be the class itself, from the authors' code
CANDIDATES = 4096  # anchor sets tested at a time when eps_sq > 0
CHUNK = 1024  # images encoded at a time


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
    4. Each query image moves by whole pixels dx, dy ~ U{-query_shift, …, query_shift}.

    anchors: ``posterior`` takes N distinct real images, whose anchors are one sample each of their
    posteriors; the real image itself is then the class's first image (§3.1, VAE). For oc the posteriors are
    sampled afresh before every w, as in the authors' code. ``prior`` draws the anchors from the prior and
    decodes them too (§3.1, GAN). ``auto`` is posterior where the generator can encode, else prior.
    noise_std: the paper prints it as sigma^2, the authors' code uses that number as the standard deviation;
    noise_is_variance reads it as a variance.
    eps_sq: least *squared* Euclidean distance between the anchors of a task, as in the authors' code. A set
    with any pair not above it is rejected whole and drawn again, at most max_retries times a task; 0 rejects
    nothing.
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
    anchors: str = "auto"

    def __post_init__(self) -> None:
        for name, known in (("strategy", STRATEGIES), ("anchors", ANCHORS)):
            if (value := getattr(self, name)) not in known:
                hint = did_you_mean(value, known)
                raise BenchError(f"lasium: {name} must be one of {', '.join(known)}, not {value!r}.{hint}")
        for name in ("alpha", "noise_std", "eps_sq", "query_shift", "max_retries"):
            if not 0 <= (value := getattr(self, name)) < math.inf:
                raise BenchError(f"lasium: {name} must be 0 or more, not {value}")

    def fit(self, images: UnlabelledImages, spec: TaskSpec, context: Context) -> Learner:
        """Meta-train on synthetic tasks. An uninterrupted training notes how many anchor sets were rejected."""
        sampler = self.sampler(images, context)
        whole = not context.checkpoint.path.exists()  # else only the rest of a training is sampled, or nothing
        learner = self.learner.fit(sampler, spec, context)
        if self.eps_sq > 0 and whole:
            context.note(
                accepted_sets=sampler.accepted,
                rejected_sets=sampler.rejected,
                acceptance_rate=sampler.accepted / (sampler.accepted + sampler.rejected),
            )
        return learner

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
    accepted, rejected: anchor sets so far; counted only when eps_sq > 0.
    """

    recipe: Lasium
    images: UnlabelledImages
    generator: Generator
    posterior: tuple[Tensor, Tensor] | None
    accepted: int = field(default=0, init=False)
    rejected: int = field(default=0, init=False)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return self.images.shape

    def sample(self, n: int, spec: TaskSpec, rng: torch.Generator) -> Tasks:
        """``n`` tasks: one draw, one decoding for all of them."""
        if self.posterior is not None and len(self.images) < spec.way:
            raise BenchError(f"lasium: {len(self.images)} images are too few for {spec.way}-way tasks")
        index, z = self._anchors(n, spec.way, rng)  # [T, N], [T, N, d]
        near = self._in_class(index, z, spec.shot + spec.query - 1, rng)  # [T, N, S, d]
        if index is None:
            made = self._decode(torch.cat([z[:, :, None], near], dim=2))
        else:
            made = torch.cat([self.images.take(index)[:, :, None], self._decode(near)], dim=2)
        support, query = made[:, :, : spec.shot].contiguous(), made[:, :, spec.shot :].contiguous()
        if self.recipe.query_shift:
            query = random_shift(query.flatten(0, 2), self.recipe.query_shift, rng).view_as(query)
        return Tasks(support, query)

    @property
    def strategies(self) -> tuple[str, ...]:
        """What :meth:`latents` takes."""
        return STRATEGIES

    def latents(self, n: int, spec: TaskSpec, strategy: str, rng: torch.Generator) -> Tensor:
        """Anchors and in-class latents of ``n`` tasks [n, N, K + Q, d]; the anchors are drawn first."""
        index, z = self._anchors(n, spec.way, rng)
        other = replace(self, recipe=replace(self.recipe, strategy=strategy))
        return torch.cat([z[:, :, None], other._in_class(index, z, spec.shot + spec.query - 1, rng)], dim=2)

    def _in_class(self, index: Tensor | None, z: Tensor, extra: int, rng: torch.Generator) -> Tensor:
        """Anchors [T, N, d] -> S = ``extra`` more latents of each class [T, N, S, d]."""
        recipe, (tasks, way, dim) = self.recipe, z.shape
        shape = tasks, way, extra, dim
        z = z[:, :, None].expand(shape)
        if recipe.strategy == "n":
            std = math.sqrt(recipe.noise_std) if recipe.noise_is_variance else recipe.noise_std
            return z + std * _normal(shape, rng)
        if recipe.strategy == "ro":
            v = self.generator.sample_prior(tasks * way * extra, rng).view(shape)
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
        index, z = self._draw(tasks, way, rng)
        if self.recipe.eps_sq == 0:
            return index, z
        # One candidate set for each pending task, then two, four, …: the first accepted one is the task's,
        # those before it are its rejected ones, exactly as if they had been drawn one after the other.
        pending = torch.arange(tasks, device=z.device)
        tried, count, largest = 0, 1, 0.0
        while len(pending):
            count = min(count, max(1, CANDIDATES // len(pending)), self.recipe.max_retries + 1 - tried)
            if count == 0:
                raise BenchError(
                    f"lasium: no anchor set was accepted in {tried} tries; eps_sq={self.recipe.eps_sq:g} is "
                    f"larger than the least squared distance in each of them (at most {largest:.4g}); "
                    "use a smaller eps_sq"
                )
            ids, candidates = self._draw(len(pending) * count, way, rng)
            candidates = candidates.unflatten(0, (-1, count))  # [P, count, N, d]
            distance = least_squared_distance(candidates)  # [P, count]
            accepted = distance > self.recipe.eps_sq
            hit, first = accepted.any(dim=1), accepted.int().argmax(dim=1)
            z[pending[hit]] = candidates[hit, first[hit]]
            if index is not None and ids is not None:
                index[pending[hit]] = ids.unflatten(0, (-1, count))[hit, first[hit]]
            self.accepted += int(hit.sum())
            self.rejected += int(torch.where(hit, first, count).sum())
            largest = max(largest, float(distance.max()))
            pending, tried, count = pending[~hit], tried + count, 2 * count
        return index, z

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


def least_squared_distance(z: Tensor) -> Tensor:
    """The squared Euclidean distance of the closest pair of N points: [..., N, d] -> [...]."""
    first, second = torch.triu_indices(z.shape[-2], z.shape[-2], offset=1, device=z.device)
    return (z[..., first, :] - z[..., second, :]).square().sum(dim=-1).amin(dim=-1)


def _posterior(generator: PosteriorEncoder, images: UnlabelledImages) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation [n, d] of every image's posterior, encoded once for the whole training."""
    everything = torch.arange(len(images), device=images.device)
    parts = [generator.encode(images.take(part)) for part in everything.split(CHUNK)]
    return torch.cat([mean for mean, _ in parts]), torch.cat([torch.exp(logvar / 2) for _, logvar in parts])


def _normal(shape: tuple[int, ...], rng: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=rng, device=rng.device)


def _size(shape: tuple[int, int, int]) -> str:
    return "x".join(map(str, shape))
