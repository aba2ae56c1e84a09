"""A package that ``bench new`` writes works at once: installed, run, and its own test passes."""

import json
import subprocess
import sys
import tomllib

import pytest

from bench.planning.new import KINDS

SMALL = ("--no-references", "--budget", "smoke", "budget.evaluation_tasks=20")


@pytest.fixture
def written(bench):
    """``bench``, for which one package of each kind was written and installed in place, as pip leaves it."""
    folders = []
    for kind in KINDS:
        shown = bench("new", kind, f"my-{kind}").stdout
        assert "pip install -e my-" in shown
        folder = bench.folder / f"my-{kind}"
        project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
        info = folder / f"my_{kind}-{project['version']}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
        )
        lines = [f"{name} = {value}" for name, value in project["entry-points"]["bench.plugins"].items()]
        (info / "entry_points.txt").write_text("[bench.plugins]\n" + "\n".join(lines) + "\n")
        folders.append(folder)
    bench.environment["PYTHONPATH"] = ":".join(map(str, folders))
    return bench


def test_all_of_them_are_listed_and_run_and_pass_their_tests(written):
    listed = written("list", "plugins").stdout
    assert all(f"{kind} my-{kind}" in listed for kind in KINDS)
    assert "cannot be used" not in listed
    methods = "my-method-protonet,my-generator-lasium-ro-protonet,my-encoder-embedding-knn"
    written("run", *SMALL, "--methods", methods, "backbone=my-backbone")
    found = [json.loads(path.read_text()) for path in written.out.glob("glyphs/*/*/run.json")]
    assert [one["status"] for one in found] == ["done"] * 3
    nodes = [node for one in found for node in one["config"].values() if isinstance(node, dict)]
    codes = {node["_target_"] for node in nodes if "_code_" in node}
    for kind in ("method", "generator", "encoder", "backbone"):
        assert f"my_{kind}.{kind}.My{kind.title()}" in codes
    written("run", *SMALL, "--dataset", "my-dataset", "--methods", "pixels")
    assert list(written.out.glob("my-dataset/pixels/*/tasks.parquet"))
    tests = ["my-method/tests", "my-dataset/tests"]  # those of the others are of one template with the first
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", ".", *tests]
    done = subprocess.run(
        command, cwd=written.folder, env=written._environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout


@pytest.mark.parametrize(
    ("kind", "name", "said"),
    [
        ("metod", "mine", "there is no kind 'metod'. Did you mean 'method'?"),
        ("method", "My Method", "cannot be the name of a package"),
        ("method", "../mine", "cannot be the name of a package"),
        ("method", "umtra", "there is a method 'umtra' already"),
        ("encoder", "numpy", "a package 'numpy' is installed already"),
        ("method", "random", "is a name of Python's or of this program's own"),
        ("method", "methods", "is a name of Python's or of this program's own"),
        ("method", "class", "is a name of Python's or of this program's own"),
        ("method", "there", "is there already; choose another name, or --out another folder"),
    ],
)
def test_a_bad_name_is_refused_and_nothing_is_written(bench, kind, name, said):
    (bench.folder / "there").mkdir()
    assert said in bench.error("new", kind, name)
    assert [path.name for path in bench.folder.iterdir() if path.name != "cache"] == ["there"]
