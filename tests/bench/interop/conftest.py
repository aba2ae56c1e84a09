"""torchmeta 1.8.0 itself, in a folder of its own: no installer puts it beside a torch of today."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

WHEEL = "torchmeta==1.8.0"
NEEDED = ("h5py", "ordered_set", "tqdm")


@pytest.fixture(scope="session")
def torchmeta_home(cache):
    """A folder to put on PYTHONPATH; installed once, 0.2 MB.

    ``BENCH_TORCHMETA`` names one that is there already. Where neither can be had the tests are skipped with the reason,
    or, with ``BENCH_REQUIRE_TORCHMETA=1``, fail.
    """
    lacking = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if lacking:
        _give_up(f"{', '.join(lacking)} not installed; pip install -e '.[dev]'")
    if chosen := os.environ.get("BENCH_TORCHMETA"):
        return Path(chosen)
    home = cache / "torchmeta-1.8.0"
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{home}.lock"):
        if not (home / "torchmeta" / "__init__.py").is_file():
            pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            options = ["--no-deps", "--no-compile", "--timeout", "10", "--retries", "1", "--target", home]
            try:
                done = subprocess.run([*pip, *options, WHEEL], capture_output=True, text=True, timeout=120, check=False)
            except subprocess.TimeoutExpired:
                _give_up(f"the package index did not answer within two minutes when asked for {WHEEL}")
            if done.returncode:
                _give_up(f"{WHEEL} cannot be had from the package index: {done.stderr.strip().splitlines()[-1:]}")
    return home


def _give_up(reason):
    if os.environ.get("BENCH_REQUIRE_TORCHMETA") == "1":
        pytest.fail(reason)
    pytest.skip(reason)
