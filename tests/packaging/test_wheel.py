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
    # Folders of the user's that are called as ours do no harm, to commands and to the library.
    for name in ("configs", "methods", "baselines"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise RuntimeError('another package')")
    (tmp_path / "configs" / "config.yaml").write_text("broken: [")
    assert "lasium-ro-vae-maml" in output(programs / "bench", "list")
    assert "lasium-ro-vae-maml" in output(programs / "python", "-m", "bench", "list")
    for line in output(programs / "python", "-c", USED_AS_A_LIBRARY, ROOT / "reports" / "omniglot" / "records").split():
        assert line == "right", "see USED_AS_A_LIBRARY"
    helped = output(programs / "python", "-c", EVERY_HELP).split()
    assert {"run", "plan", "list", "report", "tasks", "export"} <= set(helped)


USED_AS_A_LIBRARY = """
import sys, bench
from bench.planning.components import resolve
frame = bench.results(sys.argv[1])
print("right" if len(frame) > 5 and frame["published_accuracy"].notna().any() else frame)
print("right" if resolve("methods.umtra.Umtra").__module__ == "methods.umtra" else "other")
"""

EVERY_HELP = """
from typer.main import get_command
from bench.cli import entry
from bench.cli.app import app

def walk(command, name):
    with command.make_context(name, [], resilient_parsing=True) as context:
        command.get_help(context)
    print(name)
    for name, one in getattr(command, "commands", {}).items():
        walk(one, name)

walk(get_command(app), "bench")
"""
