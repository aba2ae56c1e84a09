"""Pictures of latents: the projection against an eigendecomposition, the images against the generator's own."""

import numpy as np
import pytest
import torch

from bench.basics.errors import BenchError
from bench.contracts import PosteriorEncoder
from bench.looking.latent_sheets import STEPS, interpolation_sheet, line, project, sample_sheet, strategy_sheet
from bench.looking.task_sheet import QUERY_COLOUR, SUPPORT_COLOUR

SIDE = 14 + 4  # an image, one pixel of colour and one of white all round


class Painter:
    """Decodes a latent to an image of one grey."""

    latent_dim = 3
    image_shape = (1, 14, 14)

    def sample_prior(self, n, rng):
        return torch.rand(n, 3, generator=rng)

    def decode(self, z):
        return z.mean(1)[:, None, None, None].expand(-1, 1, 14, 14)


class Encoding(Painter):
    """Its posterior mean is the image's mean grey."""

    def encode(self, x):
        mean = x.mean((1, 2, 3))[:, None].expand(-1, 3).contiguous()
        return mean, torch.zeros_like(mean)


def greys(panel, columns, gaps=()):
    """The middle pixel of every tile of a panel, and the colour of its frame."""
    rows = panel.shape[0] // SIDE
    lefts = [column * SIDE + 2 * sum(gap <= column for gap in gaps) for column in range(columns)]
    middles = np.array([[panel[r * SIDE + 9, left + 9, 0] for left in lefts] for r in range(rows)])
    frames = np.array([[panel[r * SIDE + 1, left + 9] for left in lefts] for r in range(rows)])
    return middles, frames


def rng():
    return torch.Generator().manual_seed(0)


def panels(figure):
    return [axis.images[0].get_array() for axis in figure.axes]


def test_samples_are_of_the_prior_and_reconstructions_stand_beside_their_images():
    real = torch.linspace(0.1, 0.9, 4)[:, None, None, None].expand(4, 1, 14, 14)
    (only,) = panels(sample_sheet(Painter(), real, 5, rng()))
    expected = Painter().sample_prior(5, rng()).mean(1)
    np.testing.assert_allclose(greys(only, 5)[0][0], expected, rtol=1e-6)

    assert isinstance(Encoding(), PosteriorEncoder)
    _, pairs = panels(sample_sheet(Encoding(), real, 5, rng()))
    middles, frames = greys(pairs, 8, gaps=range(1, 8))
    np.testing.assert_allclose(middles[0], real[:, 0, 0, 0].repeat_interleave(2), rtol=1e-6)
    np.testing.assert_allclose(frames[0], [SUPPORT_COLOUR, QUERY_COLOUR] * 4, rtol=1e-6)


def test_interpolations_are_straight_lines_with_the_real_images_at_their_ends():
    ends = Painter().sample_prior(4, rng()).view(2, 2, 3)
    steps = line(ends)
    assert steps.shape == (2, STEPS, 3)
    for row in range(2):
        for i in range(STEPS):
            share = i / (STEPS - 1)
            torch.testing.assert_close(steps[row, i], (1 - share) * ends[row, 0] + share * ends[row, 1])
    real = torch.tensor([0.0, 1.0, 0.6, 0.2])[:, None, None, None].expand(4, 1, 14, 14)
    prior, encoded = panels(interpolation_sheet(Encoding(), real, 2, rng()))
    np.testing.assert_allclose(greys(prior, STEPS)[0], steps.mean(2), rtol=1e-5)
    middles, frames = greys(encoded, STEPS + 2, gaps=(1, STEPS + 1))
    np.testing.assert_allclose(middles[0], [0, *np.linspace(0, 1, STEPS), 1], atol=1e-6)
    np.testing.assert_allclose(middles[1], [0.6, *np.linspace(0.6, 0.2, STEPS), 0.2], atol=1e-6)
    np.testing.assert_allclose(frames[0, [0, 1, -1]], [SUPPORT_COLOUR, QUERY_COLOUR, SUPPORT_COLOUR], rtol=1e-6)


def test_the_projection_is_that_of_the_covariance_matrix():
    latents = {name: torch.randn(4, 7, 5, generator=rng()) * torch.tensor([5, 1, 0.2, 3, 1]) for name in "ab"}
    latents["b"] = latents["b"] + 1.0
    plane, shares = project(latents)
    everything = torch.cat([one.flatten(0, 1) for one in latents.values()]).double().numpy()
    values, vectors = np.linalg.eigh(np.cov(everything.T))
    expected = (everything - everything.mean(0)) @ vectors[:, [-1, -2]]
    found = np.concatenate([one.reshape(-1, 2) for one in plane.values()])
    np.testing.assert_allclose(np.abs(found), np.abs(expected), atol=1e-9)
    np.testing.assert_allclose(shares, values[[-1, -2]] / values.sum())


@pytest.mark.parametrize("dim", [1, 2, 6])
def test_every_strategy_has_a_panel_with_its_anchors_and_latents(dim):
    latents = {name: torch.randn(3, 5, dim, generator=rng()) for name in ("n", "oc")}
    figure = strategy_sheet(latents)
    plane, _ = project(latents)
    assert [axis.get_title() for axis in figure.axes] == ["N", "OC"]
    for axis, points in zip(figure.axes, plane.values()):
        drawn = [np.asarray(one.get_offsets()) for one in axis.collections]
        for number in range(3):
            np.testing.assert_allclose(drawn[2 * number], points[number, 1:])
            np.testing.assert_allclose(drawn[2 * number + 1], points[number, :1])
        colours = {tuple(one.get_facecolor()[0][:3]) for one in axis.collections}
        assert len(colours) == 3


def test_two_channels_cannot_be_drawn():
    class TwoChannels(Painter):
        def decode(self, z):
            return torch.zeros(len(z), 2, 14, 14)

    with pytest.raises(BenchError, match="1 or 3 channels can be drawn, not of 2"):
        sample_sheet(TwoChannels(), torch.zeros(0, 2, 14, 14), 5, rng())
