"""One request, carried out by all four executors."""

import pytest
from small_runs import TINY

pytest.importorskip("ray", reason="ray is not installed: pip install ray")

REQUEST = (
    *("run", "--methods", "lasium-n-vae-maml,lasium-ro-vae-maml,umtra-protonet", "--seeds", "0-1", "--shots", "1,5"),
    *(*TINY, "learner.eval_steps=5", "generator.channels=8", "generator.batch_size=1024"),
)

EXECUTORS = {
    "inline": (),
    "processes": ("--workers", "2"),
    "slurm": ("executor.cpus=1", "executor.memory=500M", "executor.poll=1"),
    "ray": ("executor.address=local", "executor.cpus=1"),
}


def test_they_give_the_same_bytes_whatever_lies_in_the_working_directory(bench):
    for name in ("bench", "methods", "baselines", "torch", "numpy", "ray", "submitit"):
        (bench.folder / name).mkdir()
        (bench.folder / name / "__init__.py").write_text(f"raise RuntimeError('{name} of the user')\n")
    (bench.folder / "bench" / "__init__.py").write_text("")  # Python itself imports it before ours has a say
    found = {}
    for name, settings in EXECUTORS.items():
        bench(*REQUEST, "--executor", name, *settings, "--out", name)
        out = bench.folder / name
        found[name] = {
            path.parent.relative_to(out).as_posix(): path.read_bytes() for path in out.glob("glyphs/*/*/tasks.parquet")
        }
    assert len(found["inline"]) == 6
    for name in EXECUTORS:
        assert found[name] == found["inline"], name
