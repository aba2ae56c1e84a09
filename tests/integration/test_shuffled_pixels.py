"""The program that trains on shuffled pixels shuffles them, and the commands it is documented with run."""

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import torch
from shuffled_pixels import shuffled

from bench.datasets.images import UnlabelledImages


def test_each_image_keeps_its_pixels_in_another_order():
    pixels = torch.randint(0, 256, (20, 3, 9, 9), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    moved = shuffled(UnlabelledImages(pixels, "made")).pixels
    assert not (moved == pixels).all((1, 2, 3)).any()
    order = (pixels.long() * torch.tensor([65536, 256, 1]).view(3, 1, 1)).sum(1).flatten(1).sort(1).values
    again = (moved.long() * torch.tensor([65536, 256, 1]).view(3, 1, 1)).sum(1).flatten(1).sort(1).values
    assert torch.equal(order, again), "colours stay together"


def test_what_is_trained_on_them_answers_the_same_tasks_worse(bench, tmp_path):
    arguments = ["supervised-protonet", "--dataset", "glyphs", "--budget", "smoke", "--no-references"]
    arguments += ["dataset.size=16", "backbone.filters=32", "budget.meta_iterations=60"]
    environment = {**os.environ, "BENCH_CACHE": str(bench.cache), "OMP_NUM_THREADS": "1"}
    program = Path(__file__).with_name("shuffled_pixels.py")
    means = []
    for start in ([sys.executable, "-m", "bench"], [sys.executable, str(program)]):
        out = tmp_path / str(len(means))
        subprocess.run([*start, "run", *arguments, "--out", str(out)], env=environment, cwd=tmp_path, check=True)
        (table,) = out.glob("*/*/*/tasks.parquet")
        means.append(pd.read_parquet(table).eval("correct / total").mean())
    assert means[1] < means[0] - 0.05
