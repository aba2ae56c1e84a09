"""Random parts of drawings and photographs."""

import pytest
import torch

from bench.basics.errors import BenchError
from bench.contracts import Views
from bench.views.crops import Crops
from bench.views.photographs import Photographs


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def images(channels):
    return torch.rand(8, channels, 12, 12, generator=rng(1))


def test_photographs_are_cut_and_recoloured_as_photographs_are():
    assert isinstance(Crops(), Views)
    assert torch.equal(Crops()(images(3), rng()), Photographs()(images(3), rng()))


def test_drawings_are_cut_and_mirrored_and_keep_their_ink():
    expected = Photographs(colour=0.0, greyscale=0.0)(images(1), rng())
    assert torch.equal(Crops()(images(1), rng()), expected)
    black_and_white = (images(1) > 0.5).float() * 0.5
    assert Crops()(black_and_white, rng()).max() <= 0.5, "no pixel is brighter than the brightest"


@pytest.mark.parametrize("channels", [1, 3])
def test_the_weak_form_is_cut_only(channels):
    weak = Crops(area=0.5, flip=1.0).weak()
    expected = Photographs(area=0.5, flip=1.0, colour=0.0, greyscale=0.0)(images(channels), rng())
    assert torch.equal(weak(images(channels), rng()), expected)


def test_settings_that_mean_nothing_are_refused():
    with pytest.raises(BenchError, match=r"views.area must be above 0 and at most views.most_area, not 0"):
        Crops(area=0.0)
    with pytest.raises(BenchError, match=r"views.hue must be from 0 to 0.5, not 1"):
        Crops(hue=1.0)
