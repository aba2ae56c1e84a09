"""The code behind an importable name, found without running it.

That is the module, the packages round it, and what those import, and so on, as far as it lies in the same folder, where
a user's own code lies together. Where some of it puts names of modules together as it runs, its whole package counts.
Of what is installed, the outermost package counts as a whole. What code reads besides, such as weights, is not known.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import os
import sysconfig
from collections.abc import Iterator
from importlib.machinery import ModuleSpec, PathFinder, all_suffixes
from pathlib import Path

from bench.basics.errors import BenchError
from bench.foreign.reading import open_regular, sha256

MOST_FILES = 4000
MOST_BYTES = 128 * 2**20
ENDINGS = tuple(all_suffixes())
STANDARD = {Path(sysconfig.get_path(kind)).resolve() for kind in ("stdlib", "platstdlib")}
OWN = __name__.partition(".")[0]
"""The harness: a method that would work differently with another version of it says so by a version of its own."""
DYNAMIC = {"import_module", "__import__", "exec", "eval", "pkgutil", "runpy"}


def of(module: str) -> Iterator[bytes]:
    """What to hash for ``package.module``. BenchError where there is no such module, or far too much code."""
    importlib.invalidate_caches()
    outermost = module.partition(".")[0]
    spec = importlib.util.find_spec(outermost)
    # A package may put its modules together when it is imported.
    if spec is None or (_spec(module) is None and importlib.util.find_spec(module) is None):
        raise BenchError(f"there is no module {module!r} here or in {Path.cwd()}")
    home = _home(spec)
    found = {}
    for place, content in _whole(spec) if home is None else _imported_from(home, module):
        if content.strip():
            found[place] = content
        if len(found) > MOST_FILES or sum(map(len, found.values())) > MOST_BYTES:
            raise BenchError(
                f"the code behind {outermost!r} has more than {MOST_FILES} files or {MOST_BYTES >> 20} MiB; "
                "name a function in a file of your own that imports it"
            )
    if len(found) == 1:
        yield from found.values()
        return
    for place, content in sorted(found.items()):
        yield f"{place}\n{len(content)}\n".encode(errors="surrogateescape")
        yield content


def _imported_from(home: Path, module: str) -> Iterator[tuple[str, bytes]]:
    """(name, content) of ``module`` and of all that it imports, directly or not, from the folder ``home``."""
    waiting, seen = [module], set()
    while waiting:
        parts = waiting.pop().split(".")
        for name in (".".join(parts[:i]) for i in range(1, len(parts) + 1)):
            if name in seen or parts[0] == OWN:
                continue
            seen.add(name)
            spec = _spec(name)
            if spec is None or spec.origin is None or _home(_spec(parts[0])) != home or not os.path.isfile(spec.origin):
                continue
            content = _read(Path(spec.origin))
            yield name, content
            names, dynamic = _imports(content, name if spec.submodule_search_locations else name.rpartition(".")[0])
            waiting += sorted(names - seen)
            if dynamic:
                waiting += [one for one in _modules(parts[0]) if one not in seen]


def _imports(source: bytes, package: str) -> tuple[set[str], bool]:
    """What some source may import, in full, and whether it works out names of modules; nothing of what is no source.

    package: that it is in, or is.
    """
    try:
        nodes = list(ast.walk(ast.parse(source)))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return set(), False
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {one.name for one in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            names |= {base, *(f"{base}.{one.name}" for one in node.names if one.name != "*")}
    words = {node.id for node in nodes if isinstance(node, ast.Name)}
    words |= {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    return {name for name in names if name.strip(".")}, bool(DYNAMIC & (words | names))


def _spec(name: str) -> ModuleSpec | None:
    """Where a module is; None for what cannot be found. No package is imported to look into it."""
    try:
        outermost, *inner = name.split(".")
        spec = importlib.util.find_spec(outermost)
        for part in inner:
            places = None if spec is None else spec.submodule_search_locations
            # By its last name alone: with the others, the packages round it would have to be imported.
            spec = None if places is None else PathFinder.find_spec(part, list(places))
    except (ImportError, ValueError, AttributeError):
        return None
    return spec


def _home(spec: ModuleSpec | None) -> Path | None:
    """The folder that a module or package lies in, or None where that is one for what is installed."""
    if spec is None:
        return None
    if spec.submodule_search_locations:
        place = Path(next(iter(spec.submodule_search_locations)))
    elif spec.origin is not None and spec.has_location:
        place = Path(spec.origin)
    else:
        return None
    home = place.resolve().parent
    installed = {"site-packages", "dist-packages"} & set(home.parts) or home in STANDARD
    return None if installed else home


def _whole(spec: ModuleSpec) -> Iterator[tuple[str, bytes]]:
    """(place, content) of all files of a module or package."""
    for place in sorted(spec.submodule_search_locations or []):
        for path in sorted(_below(Path(place))):
            yield f"{spec.name}/{path.relative_to(place)}", _read(path)
    if spec.submodule_search_locations is None and spec.origin is not None and os.path.isfile(spec.origin):
        yield spec.name, _read(Path(spec.origin))


def _modules(outermost: str) -> Iterator[str]:
    """The names of all modules of a package."""
    spec = _spec(outermost)
    for place in (spec.submodule_search_locations if spec else None) or []:
        for path in sorted(_below(Path(place))):
            inner = path.relative_to(place).parent.parts
            yield ".".join([outermost, *inner, path.name.partition(".")[0]])


def _below(package: Path) -> Iterator[Path]:
    """Files that can be imported; a few too many where there are too many."""
    count = 0
    for folder, inner, names in os.walk(package):
        inner[:] = [one for one in inner if one.isidentifier() and one != "__pycache__"]
        for path in (Path(folder, one) for one in names if one.endswith(ENDINGS)):
            if path.is_file() and count <= MOST_FILES:
                count += 1
                yield path


def _read(path: Path) -> bytes:
    """Source as it is; of what is compiled, which can be as large as a library, the SHA-256."""
    try:
        if path.suffix != ".py":
            return sha256(path).encode()
        with open_regular(path) as file:
            return file.read(MOST_BYTES + 1)
    except OSError as error:
        raise BenchError(f"cannot read {path}: {error.strerror or error}") from error
