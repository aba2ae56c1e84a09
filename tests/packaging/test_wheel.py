"""The wheel holds what users need and nothing else, and works outside the checkout."""

import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    source = tmp_path_factory.mktemp("source")
    for name in ("bench", "methods", "baselines", "configs", "tests", "reports"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "demo"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    out = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(source)]
    result = subprocess.run(build, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return next(out.glob("*.whl"))


def test_it_holds_the_packages_and_their_data_only(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    top = {name.split("/")[0] for name in names}
    assert {name for name in top if not name.endswith(".dist-info")} == {
        "bench",
        "methods",
        "baselines",
        "configs",
    }
    sources = [path for package in ("bench", "methods", "baselines", "configs") for path in (ROOT / package).rglob("*")]
    kept = {".py", ".yaml", ".csv", ".json", ".j2", ".typed", ".css"}
    expected = {
        str(path.relative_to(ROOT)) for path in sources if path.suffix in kept and "__pycache__" not in path.parts
    }
    assert expected <= set(names)
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_it_works_in_a_clean_environment_outside_the_checkout(wheel, tmp_path):
    venv.create(tmp_path / "env", with_pip=True)
    programs = tmp_path / "env" / "bin"
    install = [programs / "python", "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", wheel]
    subprocess.run(install, check=True, cwd=tmp_path)
    # The dependencies are lent from here; PYTHONPATH lends no editable install.
    lent = os.pathsep.join(entry for entry in sys.path if entry.endswith("site-packages"))
    environment = {**os.environ, "PYTHONPATH": lent}

    def output(*command):
        result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr
        return result.stdout

    where = output(programs / "python", "-c", "import bench; print(bench.__file__)")
    assert where.startswith(str(tmp_path))
    assert "lasium-ro-vae-maml" in output(programs / "bench", "list")
    assert "glyphs" in output(programs / "python", "-m", "bench", "list", "datasets")
