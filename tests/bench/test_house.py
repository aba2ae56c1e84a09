"""Imports go one way through the rooms of ``bench``, and what must start at once imports no PyTorch."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# A room (a folder or file of bench/) may import itself and what stands above it, never what stands below.
ORDER = (
    *("basics", "contracts", "records", "training", "datasets", "tasks", "planning"),
    *("checks", "backbones", "views", "learners", "foreign", "running", "conform", "looking"),
    *("leaderboard", "reporting", "interop", "library", "speed", "cli", "__main__"),
)
# What else must not be imported from where: folder -> packages.
NEVER = {"bench": ("methods", "baselines"), "methods": ("baselines",), "baselines": ("methods",)}
WITHOUT_TORCH = ("basics", "planning", "records", "leaderboard", "reporting", "cli")

MOST_LINES = 400
MOST_LOOSE_FILES = 6


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of everything that a file imports, wherever it stands, but for type checking."""
    waiting: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            waiting += node.orelse
            continue
        if isinstance(node, ast.Import):
            yield from ((node.lineno, one.name) for one in node.names)
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}:{node.lineno}: imports are written out from the root"
            yield from ((node.lineno, f"{node.module}.{one.name}") for one in node.names)
        waiting += ast.iter_child_nodes(node)


def sources(root: Path) -> list[Path]:
    return sorted(path for top in ("bench", "methods", "baselines") for path in (root / top).rglob("*.py"))


def room(path: Path, root: Path) -> str:
    return path.relative_to(root / "bench").parts[0].removesuffix(".py")


def wrong_arrows(root: Path) -> list[str]:
    """One line for each import against the order: file, line, and what is wrong."""
    found = []
    for path in sources(root):
        top = path.relative_to(root).parts[0]
        for line, name in sorted(imports(path)):
            where, (head, *rest) = f"{path.relative_to(root).as_posix()}:{line}", name.split(".")
            if head in NEVER[top]:
                found.append(f"{where}: {top} may not import {name}")
            if top != "bench" or head != "bench" or not rest:
                continue
            here, there = room(path, root), rest[0]
            if here in ORDER and there in ORDER and ORDER.index(there) > ORDER.index(here):
                found.append(f"{where}: {here} may not import {there}, which stands below it")
    return found


def modules_of(name: str, known: set[str]) -> str | None:
    """The module that an imported name is, or lies in."""
    while name and name not in known:
        name = name.rpartition(".")[0]
    return name or None


def test_no_arrow_goes_against_the_order():
    assert wrong_arrows(ROOT) == []


def test_an_arrow_the_wrong_way_is_named_with_file_and_line(tmp_path):
    for path in sources(ROOT):
        copy = tmp_path / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(path.read_text())
    seeds = tmp_path / "bench/basics/seeds.py"
    lines = len(seeds.read_text().splitlines())
    seeds.write_text(
        seeds.read_text() + "\n\ndef late():\n    from bench.running import run\n    import methods.lasium\n"
    )
    assert wrong_arrows(tmp_path) == [
        f"bench/basics/seeds.py:{lines + 4}: basics may not import running, which stands below it",
        f"bench/basics/seeds.py:{lines + 5}: bench may not import methods.lasium",
    ]


def test_every_room_has_its_place_in_the_order():
    rooms = {room(path, ROOT) for path in (ROOT / "bench").rglob("*.py")} - {"__init__"}
    assert rooms == set(ORDER)


def test_no_circle_of_files():
    files = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in sources(ROOT)}
    known = {name.removesuffix(".__init__") for name in files}
    graph = {
        name: {modules_of(one, known) for _, one in imports(path)} - {name, None}
        for name, path in files.items()
        if not name.endswith("__init__")
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


@pytest.mark.parametrize("name", WITHOUT_TORCH)
def test_what_must_start_at_once_imports_no_torch(name):
    paths = (path for path in (ROOT / "bench" / name).rglob("*.py") if path.name != "__init__.py")
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in paths]
    code = f"import sys, {', '.join(names)}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=ROOT).returncode == 0


def test_files_can_be_read_from_top_to_bottom():
    written = [path for top in ("bench", "methods", "baselines", "tests") for path in (ROOT / top).rglob("*.py")]
    long = {
        str(path.relative_to(ROOT)): lines
        for path in written
        if (lines := len(path.read_text().splitlines())) > MOST_LINES
    }
    assert long == {}
    loose = [path.name for path in (ROOT / "bench").iterdir() if path.is_file()]
    assert len(loose) <= MOST_LOOSE_FILES, sorted(loose)
