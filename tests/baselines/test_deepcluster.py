"""DeepCluster: what it clusters, draws and looks at, each against a plain computation of its own."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.signal import correlate2d
from sklearn.decomposition import PCA
from test_encoders import context, images, rng

from baselines.encoders.deepcluster import DeepCluster, embedded, evenly, fill_empty, random_parts
from baselines.encoders.deepcluster_networks import AlexNet, Conv, initialise, sobel
from baselines.encoders.whitening import Whitening
from bench.basics.errors import BenchError, Diverged

SMALL = DeepCluster(maps=2, clusters=5, dim=8, batch_size=20)


def test_features_are_whitened_as_by_scikit_learn_and_have_unit_length():
    features = torch.randn(200, 30, generator=rng()) @ torch.randn(30, 30, generator=rng(1)) + 5
    whitening = Whitening.of("x", features, 12)
    expected = PCA(12, whiten=True, svd_solver="full").fit_transform(features.double().numpy())
    found = ((features - whitening.mean) @ whitening.projection).numpy()
    signs = np.sign((found * expected).sum(0))
    np.testing.assert_allclose(found * signs, expected * np.sqrt(200 / 199), rtol=0, atol=2e-4)
    np.testing.assert_allclose(whitening.apply(features).norm(dim=1), np.ones(200), rtol=1e-5)


def test_components_that_are_rounding_errors_are_left_out_and_a_collapse_is_told():
    flat = torch.randn(50, 3, generator=rng()) @ torch.randn(3, 20, generator=rng(1))
    assert Whitening.of("x", flat, 10).projection.shape == (20, 3)
    assert Whitening.of("x", flat + 1e3, 10).projection.shape[1] <= 4
    with pytest.raises(Diverged, match="x: it collapsed, all images have the same features"):
        Whitening.of("x", torch.full((50, 4), 0.1), 4)
    with pytest.raises(Diverged, match="x: its features are not finite"):
        Whitening.of("x", torch.full((50, 4), torch.nan), 4)


@given(
    sizes=st.lists(st.integers(0, 30), min_size=1, max_size=12).filter(lambda one: sum(one) > 0),
    seed=st.integers(0, 99),
)
def test_every_cluster_is_drawn_equally_often(sizes, seed):
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))
    drawn = evenly(labels, np.random.default_rng(seed))
    assert drawn.shape == labels.shape
    present = np.flatnonzero(sizes)
    counts = np.bincount(labels[drawn], minlength=len(sizes))[present]
    assert counts.max() - counts.min() <= 1
    for cluster, count in zip(present, counts):
        of_cluster = drawn[labels[drawn] == cluster]
        if count <= sizes[cluster] and -(-len(labels) // len(present)) <= sizes[cluster]:
            assert len(set(of_cluster)) == count, "no image twice while there are others"


def test_an_empty_cluster_takes_the_near_side_of_another_and_keeps_all_else():
    points = np.random.default_rng(0).standard_normal((90, 4)).astype(np.float32)
    labels = np.repeat([0, 2, 4], 30)
    filled = fill_empty(points, labels, 5, np.random.default_rng(1))
    assert set(filled) == {0, 1, 2, 3, 4}
    for new in (1, 3):
        assert len(set(labels[filled == new])) <= 2  # one cluster, or a cluster that was split before
    moved = filled != labels
    assert set(filled[moved]) == {1, 3}
    same = fill_empty(np.ones((6, 2), np.float32), np.zeros(6, np.int64), 3, np.random.default_rng(0))
    assert (same == 0).all(), "equal points cannot be divided"


def test_sobel_is_the_derivative_of_the_grey_image():
    x = torch.rand(2, 3, 9, 8, generator=rng())
    kernel = np.array([[1, 0, -1], [2, 0, -2], [1, 0, -1]])
    for image, found in zip(x.double().numpy(), sobel(x).numpy()):
        for k, one in zip((kernel, kernel.T), found):
            np.testing.assert_allclose(one, correlate2d(image.mean(0), k, mode="same"), atol=1e-5)


def test_random_parts_are_inside_the_image_and_the_whole_when_nothing_is_cut():
    ramp = torch.linspace(0.2, 0.8, 28).expand(1, 1, 28, 28).repeat(400, 1, 1, 1)
    parts = random_parts(ramp, 0.3, 0.0, rng())
    assert float(parts.min()) >= 0.2 - 1e-6
    assert float(parts.max()) <= 0.8 + 1e-6
    slopes = (parts[:, 0, 14, 20] - parts[:, 0, 14, 7]) / (0.6 / 27 * 13)  # the width that is seen
    assert bool((slopes > 0).all())
    assert 0.3 * 0.75 < float(slopes.min()) ** 2 < float(slopes.max()) ** 2 <= 1.01
    assert (random_parts(ramp, 0.3, 1.0, rng())[:, 0, 14, 20] < random_parts(ramp, 0.3, 1.0, rng())[:, 0, 14, 7]).all()
    again = random_parts(ramp, 0.3, 0.5, rng(2))
    assert torch.equal(again, random_parts(ramp, 0.3, 0.5, rng(2)))


@pytest.mark.parametrize(
    ("network", "shape", "sides"), [(Conv, (1, 28, 28), 4), (Conv, (3, 84, 84), 3), (AlexNet, (3, 84, 84), 6)]
)
def test_networks_end_with_few_pixels_and_an_image_is_embedded_by_itself(network, shape, sides):
    made = network(shape, 2) if network is Conv else network(2)
    initialise(made, rng())
    x = torch.rand(5, *shape, generator=rng(1))
    assert made.layers(sobel(x if network is Conv else x[..., :64, :64])).shape[2:] == (sides, sides)
    made.eval()
    together = made(x)
    assert together.shape == (5, made.features)
    torch.testing.assert_close(together, torch.cat([made(one[None]) for one in x]), rtol=1e-4, atol=1e-6)
    if network is AlexNet:
        assert [m.out_channels for m in AlexNet(64).layers if isinstance(m, torch.nn.Conv2d)] == [
            96,
            256,
            384,
            384,
            256,
        ]
        assert not torch.equal(made(x, rng(3)), made(x, rng(4)))


@pytest.mark.parametrize("network", ["conv", "alexnet"])
def test_training_is_kept_grows_and_resumes_bit_for_bit_within_an_epoch(network, tmp_path, one_thread):
    recipe = dataclasses.replace(SMALL, network=network)
    data = images(60) if network == "conv" else images(60, (3, 40, 40))

    def outcome(folder, epochs, progress=lambda *_: None):
        found = recipe.obtain(data, context(folder, epochs, progress))
        state = {**found.network.state_dict(), "w": found.whitening.projection, "clusters": found.clusters}
        return {name: value.numpy().tobytes() for name, value in state.items()}

    whole = outcome(tmp_path / "whole", 3)
    assert whole != outcome(tmp_path / "parts", 1)
    assert outcome(tmp_path / "none", 0) != whole

    def stop(stage, done, total, metrics):
        if done == 5:  # of 9: in the middle of the second epoch
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        outcome(tmp_path / "parts", 3, stop)
    assert outcome(tmp_path / "parts", 3) == whole

    def never(*_):
        raise AssertionError("it is in the store, nothing is to be trained")

    assert outcome(tmp_path / "whole", 3, never) == whole


def test_the_embedding_is_that_of_its_clusters(tmp_path):
    data = images(60)
    noted = context(tmp_path, 1)
    encoder = SMALL.obtain(data, noted)
    x = data.take(torch.arange(60))
    found = encoder.encode(x)
    assert found.shape == (60, encoder.dim)
    assert encoder.dim == 8
    assert not found.requires_grad
    torch.testing.assert_close(found.norm(dim=1), torch.ones(60))
    torch.testing.assert_close(encoder.whitening.apply(embedded(encoder.network, data)), found)
    assert encoder.clusters.shape == (60,)
    assert set(encoder.clusters.tolist()) == set(range(5))
    assert noted.notes["deepcluster"]["epochs"] == 1
    # Members of a cluster are nearer to its centre than to the others', for most: k-means ends after a few rounds.
    centres = torch.stack([found[encoder.clusters == one].mean(0) for one in range(5)])
    assert (torch.cdist(found, centres).argmin(1) == encoder.clusters).float().mean() > 0.8


def test_it_learns_what_its_clusters_have_in_common(tmp_path):
    """Five patterns under noise: no cluster mixes two of them."""
    patterns = torch.rand(5, 1, 7, 7, generator=rng(5)).repeat_interleave(4, 2).repeat_interleave(4, 3)
    pixels = patterns.repeat(24, 1, 1, 1) * 0.9 + 0.1 * torch.rand(120, 1, 28, 28, generator=rng(6))
    data = dataclasses.replace(images(60), pixels=(pixels * 255).byte(), fingerprint="patterns")
    recipe = dataclasses.replace(SMALL, maps=8, clusters=10, least_area=0.9)
    encoder = recipe.obtain(data, context(tmp_path, 4))
    truth = torch.arange(5).repeat(24)
    agree = [torch.bincount(truth[encoder.clusters == one], minlength=5).max() for one in range(10)]
    assert sum(map(int, agree)) > 0.9 * 120


def test_what_cannot_be_trained_is_refused(tmp_path):
    with pytest.raises(BenchError, match=r"encoder deepcluster: 4 images cannot make 5 clusters; lower encoder\.clus"):
        SMALL.obtain(images(4), context(tmp_path))
    with pytest.raises(BenchError, match="Did you mean 'alexnet'"):
        dataclasses.replace(SMALL, network="alexnett")
    for wrong in ({"clusters": 1}, {"maps": 0}, {"lr": 0.0}, {"least_area": 0.0}, {"flip": 2.0}):
        with pytest.raises(BenchError, match="deepcluster: "):
            dataclasses.replace(SMALL, **wrong)
    with pytest.raises(Diverged, match="deepcluster: "):
        dataclasses.replace(SMALL, lr=1e30).obtain(images(), context(tmp_path, epochs=3))
    flat = dataclasses.replace(images(), pixels=torch.zeros(60, 1, 28, 28, dtype=torch.uint8))
    with pytest.raises(Diverged, match="deepcluster: it collapsed"):
        SMALL.obtain(flat, context(tmp_path / "flat"))
