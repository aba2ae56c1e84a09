"""What users keep in their working directory stands in for nothing of ours, also where Python looks there first."""

import pytest
from commands import TINY


@pytest.mark.slow
def test_no_name_in_the_working_directory_is_taken_for_ours(bench):
    for name in ("bench", "methods", "baselines", "configs", "tests", "torch", "numpy"):
        package = bench.folder / name
        package.mkdir()
        (package / "__init__.py").write_text(f"raise RuntimeError('{name} of the user')\n")
    (bench.folder / "bench" / "__init__.py").write_text("")  # Python itself imports it before ours has a say
    (bench.folder / "configs" / "method").mkdir()
    (bench.folder / "configs" / "method" / "umtra.yaml").write_text("{broken: [\n")
    # Workers are spawned: they import everything once more.
    process = bench.start(
        *("run", "--methods", "umtra-maml,pixels", "--no-references", "--budget", "smoke", *TINY, "--workers", "2")
    )
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert "2 of 2 runs done" in out
    first, *_ = err.splitlines()
    assert first.startswith("bench ")
    assert first.endswith("seed 0; records in runs")
    assert [line for line in err.splitlines() if line.startswith("2 runs of 2 methods on glyphs, 5-way 1-shot, ")]
