"""The picture of tasks: every image is in it, in the frame of its role."""

import numpy as np
import pytest
import torch
from PIL import Image

from bench.basics.errors import BenchError
from bench.contracts import Tasks
from bench.looking.task_sheet import QUERY_COLOUR, SUPPORT_COLOUR, save, task_sheet


def tasks(channels: int, count: int = 3) -> Tasks:
    rng = torch.Generator().manual_seed(0)
    return Tasks(
        torch.rand(count, 4, 1, channels, 14, 14, generator=rng),
        torch.rand(count, 4, 2, channels, 14, 14, generator=rng),
    )


@pytest.mark.parametrize("channels", [1, 3])
def test_every_image_is_drawn_in_the_frame_of_its_role(channels):
    shown = tasks(channels)
    figure = task_sheet(shown, "a title")
    panels = [axis.images[0].get_array() for axis in figure.axes if axis.images]
    assert len(panels) == 3
    side = 14 + 4  # an image, one pixel of colour and one of white all round
    for task, panel in enumerate(panels):
        assert panel.shape == (4 * side, 3 * side + 2, 3)
        for row in range(4):
            for column in range(3):
                left = column * side + (2 if column else 0)
                tile = panel[row * side : (row + 1) * side, left : left + side]
                image = shown.support[task, row, 0] if column == 0 else shown.query[task, row, column - 1]
                expected = image.expand(3, 14, 14).movedim(0, -1).numpy()
                np.testing.assert_array_equal(tile[2:-2, 2:-2], expected)
                colour = SUPPORT_COLOUR if column == 0 else QUERY_COLOUR
                np.testing.assert_allclose(tile[1, 1:-1], np.tile(colour, (16, 1)), rtol=1e-6)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["support", "query"]


def test_the_file_is_an_image_and_its_ending_is_checked(tmp_path):
    save(task_sheet(tasks(1), "umtra"), tmp_path / "new" / "tasks.png")
    with Image.open(tmp_path / "new" / "tasks.png") as image:
        assert min(image.size) > 200
    with pytest.raises(BenchError, match=r"cannot draw to .*tasks\.gifx: its ending must be one of .*png"):
        save(task_sheet(tasks(1)), tmp_path / "tasks.gifx")
    with pytest.raises(BenchError, match="1 or 3 channels can be drawn, not of 2"):
        task_sheet(tasks(2))
