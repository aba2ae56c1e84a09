"""A request whose runs share GPUs, with GPUs that are only said to be there: every process computes on the CPU."""

import os
from dataclasses import replace
from unittest.mock import MagicMock

import pytest
import torch
from rich.console import Console

from bench.basics import cpus
from bench.basics.progress import Reporter
from bench.planning.plan import Request
from bench.running import placement, run, session
from bench.running.placement import Gpu
from bench.running.run import execute_run

TINY = ("backbone.filters=8", "budget.evaluation_tasks=5", "budget.meta_iterations=2")


@pytest.fixture
def reporter():
    return Reporter(Console(record=True, width=200, file=open(os.devnull, "w")))


@pytest.fixture
def two_gpus(monkeypatch):
    monkeypatch.setattr(placement, "visible_gpus", lambda: [Gpu(0, "0", 7000.0), Gpu(1, "GPU-17bc", 13_000.0)])


def prepared(tmp_path, cache, reporter, methods, *overrides, seeds=(0,), workers=3):
    request = Request(methods=methods, seeds=seeds, budget="smoke", references=False, out=tmp_path, overrides=overrides)
    return session.prepare(request, cache, reporter, workers)


def lacking_memory(job, progress):
    """In place of a run: it finds too little memory while it is not alone."""
    (job.artifacts.parent / f"{job.run.name}-{os.getpid()}.gpu").write_text(os.environ["CUDA_VISIBLE_DEVICES"])
    if not job.notes and job.run.seed == 1:

        def evaluate(*_, **__):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

        run.evaluate = evaluate  # this process is there for this run alone
    return execute_run(job, progress)


@pytest.mark.slow
def test_a_run_without_memory_ends_no_other_and_is_done_at_the_second_try(
    tmp_path, glyphs, cache, reporter, two_gpus, monkeypatch
):
    monkeypatch.setattr(session, "execute_run", lacking_memory)
    ready = prepared(tmp_path, cache, reporter, "chance", TINY[1], seeds=(0, 1, 2))
    # As if each had met the others, however quickly they are done.
    place = placement.Place
    monkeypatch.setattr(placement, "Place", lambda gpu, alone, shared: place(gpu, alone, not alone))
    outcomes = session.execute(ready, reporter, workers=3)
    assert [one.status for one in outcomes] == ["done"] * 3
    second = outcomes[1].record
    assert second.notes["second_try"].startswith("ran out of memory beside other runs on GPU ")
    assert "second_try" not in outcomes[0].record.notes
    log = (outcomes[1].run.folder / "log.txt").read_text()
    assert log.index("end out-of-memory") < log.index("tried once more, alone there") < log.index("end done")
    assert {path.read_text() for path in tmp_path.glob("*.gpu")} == {"0", "GPU-17bc"}
    assert "3 workers, at most 1 run at a time on GPU 0, 2 runs at a time on GPU 1" in reporter.console.export_text()


@pytest.mark.slow
def test_runs_that_wait_for_one_generator_do_not_block_the_one_that_trains_it(
    tmp_path, glyphs, cache, reporter, monkeypatch
):
    monkeypatch.setattr(placement, "visible_gpus", lambda: [Gpu(0, "0")])
    methods = "lasium-n-vae-protonet,lasium-ro-vae-protonet,lasium-oc-vae-protonet"
    vae = ("generator.channels=8", "generator.batch_size=1024")
    ready = prepared(tmp_path, cache, reporter, methods, *TINY, *vae)
    outcomes = session.execute(ready, reporter, workers=3, per_gpu=2)
    assert [one.status for one in outcomes] == ["done"] * 3
    assert len({str(one.record.notes["artifacts"]) for one in outcomes}) == 1
    assert len([*(tmp_path / "artifacts").glob("*.safetensors")]) == 1


def device_of(job, progress):
    """In place of a run."""
    raise ValueError(f"{job.device} is {os.environ['CUDA_VISIBLE_DEVICES']}")


@pytest.mark.parametrize(("device", "seen"), [("cuda:1", "cuda is GPU-17bc"), ("auto", "auto is GPU-17bc")])
def test_a_process_is_told_of_the_one_gpu_that_it_sees(
    tmp_path, glyphs, cache, reporter, two_gpus, monkeypatch, device, seen
):
    monkeypatch.setattr(session, "execute_run", device_of)
    monkeypatch.setattr(session, "follow", MagicMock())  # it asks which GPU that is
    ready = prepared(tmp_path, cache, reporter, "chance", TINY[1])
    ready = replace(ready, jobs=tuple(replace(job, device=device) for job in ready.jobs))
    (outcome,) = session.execute(ready, reporter, workers=2)
    assert outcome.reason == f"ValueError: {seen}"


@pytest.mark.parametrize(
    ("workers", "affinity", "quota", "expected"),
    [(1, 4, None, None), (1, 4, 8.0, None), (1, 4, 0.5, 1), (2, 4, None, 2), (2, 64, 6.0, 3), (8, 4, None, 1)],
)
def test_threads_follow_the_cpus_that_may_be_used(monkeypatch, workers, affinity, quota, expected):
    monkeypatch.setattr(cpus, "affinity", lambda: affinity)
    monkeypatch.setattr(cpus, "cpu_quota", lambda: quota)
    assert session.threads_of(workers) == expected
