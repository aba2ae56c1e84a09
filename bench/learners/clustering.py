"""k-means on embeddings: scikit-learn's on a CPU, :mod:`bench.learners.lloyd` on a GPU."""

from __future__ import annotations

import hashlib
import time
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

from bench.basics.errors import BenchError
from bench.basics.seeds import Seed
from bench.contracts import Context
from bench.learners import lloyd
from bench.training.rehearsal import is_rehearsal
from bench.training.work import hold

VERSION = 1
"""Raised whenever the same settings would give other clusters."""


def algorithm(device: torch.device) -> dict[str, str]:
    """What the recipe of a clustering says of where it is computed; of a CPU nothing."""
    return {"algorithm": "lloyd"} if device.type == "cuda" else {}


def kmeans(
    embeddings: Tensor, clusters: int, context: Context, seed: Seed, *, restarts: int = 10, max_iter: int = 3000
) -> Tensor:
    """Centroids [clusters, d], float32, of embeddings [n, d], started by k-means++.

    The best of ``restarts`` starts; where it was computed is part of what it is called. The centroids are an artifact
    that is found again by the content of the embeddings, the settings and the seed; on a CPU the fit runs on one
    thread, because several add up in no fixed order. Raises BenchError when there are fewer embeddings than clusters.
    """
    if clusters > len(embeddings):
        raise BenchError(f"{clusters} clusters need at least as many images, but there are {len(embeddings)}")
    data = embeddings.detach().float().cpu().contiguous().numpy()
    random_state = seed.value() % 2**32
    recipe: dict[str, Any] = {
        "encoder": "kmeans",
        "version": VERSION,
        "embeddings": hashlib.sha256(data.tobytes()).hexdigest(),
        "shape": list(data.shape),
        "clusters": clusters,
        "restarts": restarts,
        "max_iter": max_iter,
        "seed": random_state,
        **algorithm(embeddings.device),
    }

    def make(_: object) -> tuple[Mapping[str, Tensor], Mapping[str, Any]]:
        from sklearn.cluster import KMeans
        from sklearn.exceptions import ConvergenceWarning

        if is_rehearsal():  # no image goes through a network here
            return {"centroids": torch.from_numpy(data[:clusters])}, {}
        context.progress("k-means", 0, 1, {})
        began = time.monotonic()
        if embeddings.is_cuda:
            rng = torch.Generator(embeddings.device).manual_seed(random_state)
            points = embeddings.detach().float()
            found = lloyd.kmeans(points, clusters, rng, restarts=restarts, max_iter=max_iter)
            facts = {"inertia": float(found.inertia), "seconds": time.monotonic() - began}
            hold(embeddings.device, facts["seconds"])
            return {"centroids": found.centroids}, facts
        model = KMeans(clusters, init="k-means++", n_init=restarts, max_iter=max_iter, random_state=random_state)
        with threadpool_limits(1), warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct images than clusters
            model.fit(data)
        facts = {"inertia": float(model.inertia_), "seconds": time.monotonic() - began}
        return {"centroids": torch.from_numpy(model.cluster_centers_).float()}, facts

    artifact = context.artifacts.get("encoder-kmeans", recipe, make, context.budget.checkpoint_seconds)
    return artifact.tensors["centroids"].to(embeddings.device)
