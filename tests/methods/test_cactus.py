"""CACTUs: its tasks are pure in the clusters they come from, its partitions those of the paper."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers_methods import RecordingLearner, make_context
from sklearn.cluster import KMeans

from bench.basics.errors import BenchError, Diverged
from bench.contracts import TaskSpec
from bench.datasets.images import UnlabelledImages
from bench.planning.plan import Request, run_configs
from bench.tasks.labelled import LabelledSampler
from methods.cactus import NOBODY, Cactus


class Given:
    """Blobs in the plane: image i belongs to blob i // ``size``; its number is in its pixels."""

    def __init__(self, blobs: int = 6, size: int = 20, spread: float = 0.05, broken: bool = False) -> None:
        rng = torch.Generator().manual_seed(0)
        centres = torch.randn(blobs, 5, generator=rng) * 10
        self.points = centres.repeat_interleave(size, 0) + spread * torch.randn(blobs * size, 5, generator=rng)
        if broken:
            self.points[3, 2] = float("nan")
        self.dim = 5
        number = torch.arange(blobs * size)
        pixels = torch.stack([number // 256, number % 256], 1).to(torch.uint8).view(-1, 1, 1, 2)
        self.images = UnlabelledImages(pixels, f"blobs-{blobs}-{size}-{broken}")

    def obtain(self, images, context):
        return self

    def encode(self, x):
        value = (x * 255).round().long().flatten(1)
        return self.points[value[:, 0] * 256 + value[:, 1]]


def cactus(given, **settings) -> Cactus:
    return Cactus(given, RecordingLearner(), **{"clusters": 6, "partitions": 3, **settings})


def numbers(images: torch.Tensor) -> torch.Tensor:
    value = (images * 255).round().long().flatten(-3)
    return value[..., 0] * 256 + value[..., 1]


def test_tasks_are_drawn_within_clusters_and_use_no_image_twice(tmp_path):
    given = Given()
    learner = cactus(given).fit(given.images, TaskSpec(4, 1, 5), make_context(tmp_path))
    for tasks in learner.tasks:
        index = numbers(torch.cat([tasks.support, tasks.query], dim=2))  # [T, N, K + Q]
        blob = index // 20
        assert (blob == blob[..., :1]).all(), "well separated blobs are the clusters"
        assert all(len(set(row.tolist())) == 4 for row in blob[..., 0])
        assert all(len(set(row.flatten().tolist())) == 24 for row in index)


def test_the_first_partition_is_k_means_of_the_embedding_and_others_are_of_scaled_dimensions(tmp_path):
    given = Given(spread=3.0)
    method = cactus(given, clusters=4, partitions=2, least_kept=0.0)
    context = make_context(tmp_path)
    labels = method.labels(given.images, context, 5)
    points = given.points.numpy()
    for number in range(2):
        seed = context.seed.at("partitions", number)
        scale = np.ones(5) if number == 0 else seed.at("scale").numpy().random(5)
        state = seed.at("k-means", 0).value() % 2**32
        scaled = points * scale.astype(np.float32)
        expected = KMeans(4, n_init=1, max_iter=3000, random_state=state).fit(scaled).labels_
        np.testing.assert_array_equal(labels[number], expected)
    assert (labels[0] != labels[1]).any()


def test_small_clusters_are_never_drawn_and_a_bad_k_means_is_repeated_until_it_is_given_up(tmp_path):
    given = Given(blobs=3, size=20)
    lonely = given.points.clone()
    lonely[0] = 1000.0  # a cluster of one
    given.points = lonely
    method = cactus(given, clusters=4, partitions=1, least_kept=0.5)
    labels = method.labels(given.images, make_context(tmp_path), 3)[0]
    assert (labels == labels[0]).sum() == 1
    sampler = method.sampler(given.images, make_context(tmp_path))
    drawn = numbers(sampler.sample(200, TaskSpec(3, 1, 5), torch.Generator().manual_seed(0)).support)
    assert 0 not in drawn
    with pytest.raises(BenchError, match=r"in 3 runs of k-means never more than 80 % of the 4 clusters had 6 images"):
        cactus(given, clusters=4, partitions=1, least_kept=0.8, max_retries=2).labels(
            given.images, make_context(tmp_path / "strict"), 3
        )


def test_partitions_are_made_once_and_kept(tmp_path, monkeypatch):
    given = Given()
    first = cactus(given).labels(given.images, make_context(tmp_path), 5)
    monkeypatch.setattr("methods.cactus.KMeans", None)
    np.testing.assert_array_equal(cactus(given).labels(given.images, make_context(tmp_path), 5), first)
    with pytest.raises(TypeError):
        cactus(given, clusters=5).labels(given.images, make_context(tmp_path), 5)


def test_random_labels_are_uniform_and_know_nothing_of_the_images(tmp_path):
    given = Given(blobs=20, size=50)
    labels = cactus(given, partition="random", clusters=10, partitions=40).labels(
        given.images, make_context(tmp_path), 5
    )
    counts = np.bincount(labels.ravel(), minlength=10)
    assert abs(counts - labels.size / 10).max() < 5 * np.sqrt(labels.size * 0.09)
    same_blob = np.mean(labels[:, ::2] == labels[:, 1::2])
    assert abs(same_blob - 0.1) < 0.01


@pytest.mark.parametrize("margin", [0.0, 0.5])
def test_hyperplanes_cut_cells_of_enough_images_and_leave_out_those_near_a_plane(tmp_path, margin):
    given = Given(blobs=1, size=2000, spread=1.0)
    method = cactus(given, partition="hyperplanes", planes=20, partitions=5, margin=margin)
    labels = method.labels(given.images, make_context(tmp_path), 4)
    assert labels.max() < 4  # two planes
    for row in labels:
        sizes = np.bincount(row[row >= 0], minlength=4)
        assert (sizes >= 6).sum() >= 4
        # A cell is convex: the middle of two of its images lies on its side of every plane.
        middles = {cell: given.points.numpy()[row == cell].mean(0) for cell in range(4)}
        assert len({tuple(m.round(3)) for m in middles.values()}) == 4
    assert (labels == NOBODY).any() == (margin > 0)
    sampler = LabelledSampler.of(given.images.pixels, torch.from_numpy(labels))
    drawn = numbers(sampler.sample(50, TaskSpec(4, 1, 5), torch.Generator().manual_seed(0)).query)
    nobody = set(np.flatnonzero((labels == NOBODY).all(0)))
    assert not nobody & set(drawn.flatten().tolist())


def test_bad_input_is_one_sentence(tmp_path):
    given = Given()
    with pytest.raises(BenchError, match=r"120 images cannot make 500 clusters; lower method\.clusters"):
        cactus(given, clusters=500).labels(given.images, make_context(tmp_path), 5)
    with pytest.raises(Diverged, match="the embeddings of 1 of 120 images are not finite"):
        broken = Given(broken=True)
        cactus(broken).labels(broken.images, make_context(tmp_path), 5)
    with pytest.raises(BenchError, match="Did you mean 'kmeans'"):
        cactus(given, partition="kmean")
    given.dim = 7
    with pytest.raises(BenchError, match=r"must turn images .* into embeddings \[120, 7\], not \[120, 5\]"):
        cactus(given).labels(given.images, make_context(tmp_path), 5)


class InterruptedRun(Exception):
    """As a time limit ends a run."""


@pytest.mark.parametrize("checkpoint_seconds", [0.0, 1e9])
def test_a_time_limit_keeps_the_partitions_that_are_made(tmp_path, checkpoint_seconds):
    """Otherwise a limit below what all of them take would never be passed, however often it is run again."""
    given = Given(spread=3.0)
    method = cactus(given, clusters=4, partitions=5, least_kept=0.0)
    whole = method.labels(given.images, make_context(tmp_path / "whole"), 5)
    made = []

    def two_at_a_time(stage, done, total, metrics):
        if stage == "k-means":
            made.append(done)
            if len(made) % 2 == 0:
                raise InterruptedRun

    context = make_context(tmp_path / "stopped", progress=two_at_a_time)
    context = replace(context, budget=replace(context.budget, checkpoint_seconds=checkpoint_seconds))
    for _ in range(2):
        with pytest.raises(InterruptedRun):
            method.labels(given.images, context, 5)
    np.testing.assert_array_equal(method.labels(given.images, context, 5), whole)
    assert made == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("way", [20, 5, 2])
def test_its_protonets_are_those_of_its_authors_whatever_the_default_is(way):
    """Hsu et al. 2019, Table 6 and their program: one task an iteration, 15 queries, the sum of squares."""
    name = "cactus-acai-protonet" if way == 20 else f"cactus-acai-protonet-{way}way"
    for dataset in ("omniglot", "glyphs"):
        (config,) = run_configs(Request(name, dataset, references=False))
        learner, train = config.values["learner"], config.values["train"]
        assert (learner["distance"], learner["meta_batch"]) == ("sum", 1)
        assert (train["way"], train["query"]) == (way, 15)
