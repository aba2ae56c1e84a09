"""Against torchmeta 1.8.0 itself, never a mock. In a process of its own: torchmeta and what stands in for a
torchvision that is not installed change the whole process."""

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[2]


def in_a_process(home, tmp_path, *command):
    path = os.pathsep.join([str(ROOT), str(home), str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": path}
    return subprocess.run(
        [sys.executable, *command], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )


def test_everything_agrees_with_the_real_torchmeta(torchmeta_home, tmp_path):
    options = ("--rootdir", tmp_path, "-c", os.devnull, "-p", "no:cacheprovider", "-p", "no:xdist", "-W", "ignore")
    done = in_a_process(torchmeta_home, tmp_path, "-m", "pytest", "-q", *options, HERE / "real_torchmeta.py")
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout


def test_nothing_imports_torchmeta_unasked(torchmeta_home, tmp_path):
    code = (
        "import sys, bench.interop.torchmeta, bench.datasets.torchmeta_folders, bench.datasets.torchmeta; "
        "print(sorted({'torchmeta', 'torchvision', 'h5py'} & set(sys.modules)))"
    )
    done = in_a_process(torchmeta_home, tmp_path, "-c", code)
    assert done.stdout.strip() == "[]", done.stderr
