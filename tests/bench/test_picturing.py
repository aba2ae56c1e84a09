"""Every picture, and the refusal of those that a method has not."""

from pathlib import Path

import pytest

from bench.errors import BenchError
from bench.picturing import PICTURES, picture
from bench.plan import Request

TINY = ("budget.generator_epochs=0", "generator.channels=4")


def draw(method, what, folder, cache, *overrides, count=2):
    request = Request(methods=method, budget="smoke", references=False, out=Path(folder), overrides=overrides)
    return picture(request, what, count, cache, lambda *_: None)


@pytest.mark.parametrize("method", ["lasium-n-vae-maml", "lasium-oc-gan-protonet"])
def test_every_picture_of_a_method_with_a_generator(method, tmp_path, cache, glyphs):
    for what in PICTURES:
        figure = draw(method, what, tmp_path, cache, *TINY)
        assert figure.get_suptitle().startswith("LASIUM")
    assert [axis.get_title() for axis in draw(method, "strategies", tmp_path, cache, *TINY).axes] == ["N", "RO", "OC"]
    headings = [axis.get_title(loc="left") for axis in draw(method, "samples", tmp_path, cache, *TINY).axes]
    assert headings == ["from the prior", "real images and their reconstructions"][: 2 if "vae" in method else 1]


@pytest.mark.parametrize(
    ("method", "what", "message"),
    [
        (
            "umtra-maml",
            "samples",
            "umtra-maml has no generator, so it has no samples; methods with a generator: lasium-",
        ),
        ("umtra-maml", "interpolations", "has no interpolations; .*, for example 'lasium-n-vae-maml'"),
        ("supervised-maml", "strategies", "supervised-maml does not sample latents in several ways; methods with"),
        ("scratch", "tasks", "scratch invents no tasks"),
        ("umtr-maml", "tasks", "Did you mean 'umtra-maml'"),
        ("umtra-maml", "strategy", "unknown picture 'strategy'. Did you mean 'strategies'"),
    ],
)
def test_what_cannot_be_drawn_is_one_sentence(method, what, message, tmp_path, cache, glyphs):
    with pytest.raises(BenchError, match=message):
        draw(method, what, tmp_path, cache)
    assert list(tmp_path.iterdir()) == []
