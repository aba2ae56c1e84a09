"""float32 means float32 on a GPU too: convolutions, matrix products, meta-gradients, and what the records say.

What a machine without one can show of it stands first.
"""

import json

import pytest
import torch
from commands import TINY, TINY_VAE
from meta_gradients import MOST, STRIDED, relative_error, to_10_bits

from bench.backbones import Conv4
from bench.running.precision import computing_in

NETWORKS = pytest.mark.parametrize("network", [{}, STRIDED], ids=["conv4", "conv4-strided"])
ORDERS = pytest.mark.parametrize("first_order", [True, False], ids=["first-order", "second-order"])


@NETWORKS
@ORDERS
def test_the_meta_gradient_in_float32_is_near_that_in_float64_and_rounded_factors_are_not(network, first_order):
    backbone = Conv4(16, **network)
    assert relative_error(backbone, first_order, torch.Tensor.float) < MOST / 10
    assert relative_error(backbone, first_order, to_10_bits) > 2 * MOST


def has_tf32():
    return torch.cuda.is_available() and torch.cuda.get_device_capability() >= (8, 0)


def on_gpu(x):
    return x.float().cuda()


needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
needs_tf32 = pytest.mark.skipif(not has_tf32(), reason="no CUDA device with TF32 on this machine")


@pytest.mark.gpu
@needs_gpu
@NETWORKS
@ORDERS
def test_the_meta_gradient_on_the_gpu_in_float32_is_near_that_in_float64(network, first_order):
    torch.backends.cudnn.allow_tf32 = True  # PyTorch's own default, which must not matter
    with computing_in("float32"):
        assert relative_error(Conv4(64, **network), first_order, on_gpu) < MOST


def errors_of_products(precision):
    """Relative errors of a matrix product and of convolutions, grouped and not, in float32 tensors on the GPU."""
    rng = torch.Generator().manual_seed(0)

    def randn(*shape):
        return torch.randn(*shape, generator=rng, dtype=torch.float64)

    def convolved(x, w, groups):
        return torch.nn.functional.conv2d(x, w, padding=1, groups=groups)

    cases = {
        "matrix product": (torch.matmul, randn(512, 512), randn(512, 512)),
        "convolution": (lambda x, w: convolved(x, w, 1), randn(32, 64, 28, 28), randn(64, 64, 3, 3)),
        "grouped convolution": (lambda x, w: convolved(x, w, 4), randn(8, 256, 28, 28), randn(256, 64, 3, 3)),
    }
    found = {}
    with computing_in(precision):
        for name, (product, a, b) in cases.items():
            wanted = product(a, b)
            got = product(on_gpu(a).contiguous(), on_gpu(b)).double().cpu()
            found[name] = float((got - wanted).norm() / wanted.norm())
    return found


@pytest.mark.gpu
@needs_tf32
def test_float32_and_tf32_are_what_they_are_called():
    exact, rounded = errors_of_products("float32"), errors_of_products("tf32")
    assert max(exact.values()) < 3e-5
    assert rounded["matrix product"] > 1e-4
    assert rounded["convolution"] > 1e-4
    assert torch.backends.cudnn.allow_tf32, "as PyTorch has it when nobody asks"


@pytest.mark.gpu
@needs_tf32
def test_runs_in_two_precisions_have_two_keys_artifacts_and_rows(bench):
    request = ("run", "--methods", "lasium-ro-vae-maml", "--no-references", "--budget", "smoke", *TINY, *TINY_VAE)
    bench(*request, "--device", "cuda", "precision=float32,tf32")
    records = [json.loads(path.read_text()) for path in sorted(bench.out.glob("*/*/*/run.json"))]
    assert [one["status"] for one in records] == ["done", "done"]
    assert sorted(one["config"]["precision"] for one in records) == ["float32", "tf32"]
    assert len({one["key"] for one in records}) == len({one["notes"]["artifacts"]["vae"] for one in records}) == 2
    bench("report", "--runs", bench.out, "--out", bench.folder / "report")
    assert "precision=tf32" in (bench.folder / "report" / "leaderboard.md").read_text()
