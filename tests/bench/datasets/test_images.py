import pytest
import torch

from bench.datasets.images import take


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 84, 84), (1, 5, 5), (3, 7, 3)])
@pytest.mark.parametrize("layout", ["whole", "part", "strided"])
def test_take_is_indexing_and_scaling_whatever_the_size_and_layout(shape, layout):
    pixels = torch.randint(0, 256, (13, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    pixels = {"whole": pixels, "part": pixels[3:], "strided": pixels[::2]}[layout]
    index = torch.tensor([[0, 3], [3, 1], [4, 0]])
    expected = pixels[index].to(torch.float64) / 255
    found = take(pixels, index)
    assert found.dtype == torch.float32
    assert found.shape == (3, 2, *shape)
    torch.testing.assert_close(found.to(torch.float64), expected, rtol=0, atol=1e-7)
    assert take(pixels, torch.empty(0, dtype=torch.int64)).shape == (0, *shape)
