"""Real engines, started and ended here; by ``make test-slurm`` and ``make test-ray``, for they take minutes."""

import contextlib
import os
import subprocess
import tempfile
from pathlib import Path

import pytest
import slurm_cluster
from commands import Bench
from filelock import FileLock
from slow_plugin import install_slow


def pytest_collection_modifyitems(items):
    here = [item for item in items if Path(__file__).parent in item.path.parents]
    for item in here:
        item.add_marker(pytest.mark.cluster)
        if not os.environ.get("BENCH_CLUSTERS"):
            item.add_marker(pytest.mark.skip(reason="real engines: make test-slurm, make test-ray"))


@pytest.fixture(scope="session")
def slurm():
    """A SLURM of one node, for one process of this machine at a time."""
    if (why := slurm_cluster.missing()) is not None:
        pytest.skip(why)
    with FileLock(Path(tempfile.gettempdir()) / "bench-test-slurm.lock"):
        cluster = slurm_cluster.Cluster()
        try:
            cluster.start()
            yield cluster
        finally:
            cluster.end()


@pytest.fixture(scope="session")
def command_line(slurm, cache, tmp_path_factory):
    """``command_line()``: the command line beside that SLURM, in a folder that has it all: a space, an umlaut."""
    site = tmp_path_factory.mktemp("site")
    install_slow(site)
    path = os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])
    # A variable that an interpreter reads as it starts: so each command has one of its own, which sees the plugin.
    environment = {**slurm.environment, "PYTHONPATH": path, "PYTHONHASHSEED": "0"}
    return lambda: Bench(cache, tmp_path_factory.mktemp("große Läufe"), dict(environment))


@pytest.fixture
def bench(command_line):
    """One of its own."""
    return command_line()


@pytest.fixture
def small_disk():
    """``with small_disk(folder) as fill:`` a megabyte is mounted there; ``fill()`` leaves nothing of it free."""

    @contextlib.contextmanager
    def mounted(folder):
        folder.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
        if subprocess.run(mount, capture_output=True, check=False).returncode:
            pytest.skip("cannot mount a tmpfs here")

        def fill():
            filler = folder / "filler"
            with pytest.raises(OSError, match="No space"), open(filler, "wb", buffering=0) as file:
                while True:
                    file.write(b"x" * 4096)
            return filler

        try:
            yield fill
        finally:
            subprocess.run(["umount", "-l", str(folder)], check=True)

    return mounted
