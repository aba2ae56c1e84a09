"""What the machines of the continuous integration cannot show: a CUDA device, and the official download."""

import json

import pandas as pd
import pytest
import torch
from commands import TINY, TINY_VAE, scores

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")


@pytest.mark.gpu
@needs_gpu
def test_the_gpu_answers_the_same_tasks_with_about_the_same_accuracy(bench):
    request = ("run", "--methods", "lasium,umtra", "--budget", "smoke", *TINY, *TINY_VAE, "budget.evaluation_tasks=200")
    bench(*request, "--device", "cpu", "--out", "cpu")
    bench(*request, "--device", "cuda", "--out", "cuda")
    on_cpu, on_gpu = scores(bench.folder / "cpu"), scores(bench.folder / "cuda")
    assert on_cpu.keys() == on_gpu.keys()
    for name, frame in on_cpu.items():
        pd.testing.assert_series_equal(frame["manifest"], on_gpu[name]["manifest"])
        # Other random streams and other rounding: the same method, not the same weights.
        assert abs((frame["correct"] / frame["total"] - on_gpu[name]["correct"] / on_gpu[name]["total"]).mean()) < 0.1


@pytest.mark.gpu
@needs_gpu
def test_sampling_and_predicting_stay_on_the_device():
    from bench.backbones import Conv4
    from bench.basics.seeds import Seed
    from bench.contracts import TaskSpec
    from bench.datasets.images import LabelledImages
    from bench.learners.adaptation import adaptation
    from bench.tasks.labelled import LabelledSampler

    pixels = torch.randint(0, 256, (400, 1, 28, 28), dtype=torch.uint8, device="cuda")
    sampler = LabelledSampler(LabelledImages(pixels, torch.arange(400) // 20, [str(i) for i in range(20)], ""))
    tasks = sampler.sample(4, TaskSpec(5, 1, 5), Seed(0).generator("cuda"))
    assert tasks.support.is_cuda
    backbone = Conv4(filters=8)
    params = {n: v.cuda() for n, v in backbone.init(Seed(0).generator(), (1, 28, 28), 5).items()}
    loss, gradient = adaptation(backbone, 2, 0.1, False).meta_gradient(params, tasks.support, tasks.query, False)
    assert loss.is_cuda
    assert all(value.is_cuda for value in gradient.values())


@pytest.mark.gpu
@needs_gpu
def test_a_gan_trained_on_the_gpu_feeds_rejection_and_meta_training_there(bench):
    request = ("run", "--methods", "lasium-n-gan-maml", "--no-references", "--budget", "smoke", *TINY)
    bench(*request, "generator.channels=16", "method.eps_sq=200", "budget.evaluation_tasks=100", "--device", "cuda")
    record = json.loads(next(bench.out.glob("glyphs/lasium-n-gan-maml*/*/run.json")).read_text())
    assert record["status"] == "done"
    assert record["notes"]["accepted_sets"] == 40
    assert record["notes"]["rejected_sets"] > 0


@pytest.mark.network
def test_the_official_omniglot_download(bench, request):
    if "network" not in request.config.getoption("-m"):
        pytest.skip("downloads 14 MB; select it with -m network")
    assert "24000 images of 1200 classes" in bench("prepare", "omniglot", "--download", "--data-dir", "data").stdout
