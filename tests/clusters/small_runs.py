"""Requests of seconds, and what lies on the disk afterwards: for every engine the same."""

import json
import subprocess

TINY = ("--no-references", "--budget", "smoke", "backbone.filters=8", "budget.evaluation_tasks=20")


def request(*more, method="umtra-protonet", seeds="0"):
    return "run", "--methods", method, "--seeds", seeds, *TINY, *more


def slow(steps, *more, seeds="0"):
    """Runs that can be stopped in the middle, and go on from there."""
    return request(
        f"budget.meta_iterations={steps}", "budget.checkpoint_seconds=0.5", *more, method="slow", seeds=seeds
    )


def by_seed(out):
    """Seed -> the bytes of its scores."""
    return {path.parent.name.split("-")[0]: path.read_bytes() for path in sorted(out.glob("glyphs/*/*/tasks.parquet"))}


def records(out):
    """Seed -> its record."""
    found = [json.loads(path.read_text()) for path in sorted(out.glob("glyphs/*/*/run.json"))]
    return {str(one["seed"]): one for one in found}


def run_logs(out):
    """Seed -> what its run has written down of its way."""
    return {path.parent.name.split("-")[0]: path.read_text() for path in sorted(out.glob("glyphs/*/*/log.txt"))}


def in_training(out, seeds):
    """Whether each of these runs has saved a checkpoint."""
    return all(any(out.glob(f"glyphs/*/{seed}-*/weights*.safetensors")) for seed in seeds)


def undisturbed(bench, command):
    """The bytes of the scores of the same runs that nobody disturbs, on no cluster."""
    bench(*command, "--out", "alone")
    return by_seed(bench.folder / "alone")


def ended(process, seconds=300):
    """(exit code, standard output, standard error) of a command that ends in time, and without a traceback."""
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    assert "Traceback" not in out + err, err
    return process.returncode, out, err
