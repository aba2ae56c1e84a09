"""Every picture, and the refusal of those that a method has not."""

from pathlib import Path

import numpy as np
import pytest
import torch

from bench.basics.errors import BenchError
from bench.datasets.images import UnlabelledImages
from bench.looking.cluster_sheet import cluster_sheet
from bench.looking.pictures import PICTURES, picture
from bench.planning.plan import Request

TINY = ("budget.generator_epochs=0", "generator.channels=4")
NO_EPOCHS = "budget.encoder_epochs=0"
FEW = ("method.clusters=20", "method.partitions=1", "method.least_kept=0")


def draw(method, what, folder, cache, *overrides, count=2):
    request = Request(methods=method, budget="smoke", references=False, out=Path(folder), overrides=overrides)
    return picture(request, what, count, cache, lambda *_: None)


@pytest.mark.parametrize("method", ["lasium-n-vae-maml", "lasium-oc-gan-protonet"])
def test_every_picture_of_a_method_with_a_generator(method, tmp_path, cache, glyphs):
    missing = {"clusters", *(() if "vae" in method else ("reconstructions",))}
    for what in PICTURES.keys() - missing:
        figure = draw(method, what, tmp_path, cache, *TINY)
        assert figure.get_suptitle().startswith("LASIUM")
    for what in missing:
        with pytest.raises(BenchError, match=r"encodes and decodes images|makes clusters of images"):
            draw(method, what, tmp_path, cache, *TINY)
    assert [axis.get_title() for axis in draw(method, "strategies", tmp_path, cache, *TINY).axes] == ["N", "RO", "OC"]
    headings = [axis.get_title(loc="left") for axis in draw(method, "samples", tmp_path, cache, *TINY).axes]
    assert headings == ["from the prior", "real images and their reconstructions"][: 2 if "vae" in method else 1]


@pytest.mark.parametrize(
    ("method", "settings", "pictures"),
    [
        ("embedding-linear-acai", ("encoder.depth=2",), {"interpolations", "reconstructions"}),
        (
            "cactus-bigan-protonet-5way",
            ("encoder.width=16", *FEW),
            {"interpolations", "reconstructions", "tasks", "clusters"},
        ),
        ("embedding-knn-deepcluster", ("encoder.maps=2", "encoder.clusters=20"), {"clusters"}),
    ],
)
def test_every_picture_of_a_method_with_an_encoder(method, settings, pictures, tmp_path, cache, glyphs):
    headings = {"interpolations": "between encoded real images", "reconstructions": "real images and their reconstruct"}
    for what in PICTURES:
        if what in pictures:
            figure = draw(method, what, tmp_path, cache, NO_EPOCHS, *settings)
            assert figure.get_suptitle()
            assert figure.axes[0].get_title(loc="left").startswith(headings.get(what, ""))
        else:
            with pytest.raises(BenchError, match=r"makes no synthetic tasks|has no |does not sample|makes clusters"):
                draw(method, what, tmp_path, cache, NO_EPOCHS, *settings)


def test_a_row_shows_members_of_one_cluster_and_says_how_many_there_are():
    level = torch.tensor([40] * 3 + [120] * 20 + [250] * 5, dtype=torch.uint8)
    images = UnlabelledImages(level.view(-1, 1, 1, 1).repeat(1, 1, 4, 4), "levels")
    labels = torch.tensor([7] * 3 + [2] * 20 + [-1] * 5)
    figure = cluster_sheet(images, labels, 5, torch.Generator().manual_seed(0), "x")
    (axis,) = figure.axes
    rows = [label.get_text() for label in axis.get_yticklabels()]
    picture = axis.get_images()[0].get_array()
    assert sorted(rows) == ["20", "3"]
    assert 250 / 255 not in picture
    for text, band in zip(rows, np.split(np.asarray(picture), 2)):
        inside = {"3": 40, "20": 120}[text]
        assert np.isclose(band, inside / 255, atol=1e-6).all(2).sum() == 16 * min(int(text), 16)
        assert not np.isclose(band, (160 - inside) / 255, atol=1e-6).all(2).any()


@pytest.mark.parametrize(
    ("method", "what", "message"),
    [
        (
            "embedding-knn-pixels",
            "reconstructions",
            "has nothing that both encodes and decodes images, so it has no rec",
        ),
        ("umtra-maml", "clusters", "neither umtra-maml nor its encoder makes clusters of images"),
        ("embedding-knn-pixels", "samples", "embedding-knn-pixels makes no synthetic tasks"),
        (
            "umtra-maml",
            "samples",
            "umtra-maml has no generator, so it has no samples; methods with a generator: lasium-",
        ),
        ("umtra-maml", "interpolations", "has no interpolations; .*, for example 'lasium-n-vae-maml'"),
        ("supervised-maml", "strategies", "supervised-maml does not sample latents in several ways; methods with"),
        ("scratch", "tasks", "scratch makes no synthetic tasks"),
        ("umtr-maml", "tasks", "Did you mean 'umtra-maml'"),
        ("umtra-maml", "strategy", "unknown picture 'strategy'. Did you mean 'strategies'"),
    ],
)
def test_what_cannot_be_drawn_is_one_sentence(method, what, message, tmp_path, cache, glyphs):
    with pytest.raises(BenchError, match=message):
        draw(method, what, tmp_path, cache)
    assert list(tmp_path.iterdir()) == []
