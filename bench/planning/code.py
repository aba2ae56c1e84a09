"""What other people's components are made of: the version and the source of the package that holds their class.

It stands in the keys of their runs, so that an edited method is never answered with what the one before it scored. What
counts is every file below the top package that can be imported, and its YAML: paths and bytes, as they lie on disk, so
that a package installed with ``pip install -e`` is its source. Not what such code imports from elsewhere, nor what else
it reads, such as weights: its author raises ``VERSION`` of the module when that changes. Nothing is imported here.
"""

from __future__ import annotations

import hashlib
import importlib.machinery
import importlib.util
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.basics.errors import BenchError
from bench.planning import catalogue
from bench.planning.places import OWN_PACKAGES

CODE, DISTRIBUTION = "_code_", "_distribution_"
"""Keys of a component in a composed configuration and in records: the SHA-256, and ``name==version``."""

SUFFIXES = (*importlib.machinery.all_suffixes(), ".yaml")
MOST_FILES = 5_000
MOST_BYTES = 100 * 2**20


@dataclass(frozen=True, slots=True)
class Code:
    """sha256: of the distribution and the source. distribution: ``name==version``; empty where none is known."""

    package: str
    sha256: str
    distribution: str


def of(target: str) -> Code | None:
    """The code behind ``package.module.Class``; None for this program's own.

    Read anew whenever a file has changed. BenchError where it cannot be read or is too much to be looked through.
    """
    package = target.partition(".")[0]
    if package in OWN_PACKAGES:
        return None
    catalogue.check_allowed(target)
    found = {one.distribution for one in catalogue.plugins() if one.top == package}
    distribution = ", ".join(sorted(found - {""}))
    return Code(package, _digest(package, distribution), distribution)


def of_module(target: str) -> str | None:
    """SHA-256 of the one module that holds a class which was imported already; None for this program's own.

    What reads a dataset: its images are prepared anew when that is edited, and their content is in the keys of runs.
    """
    module = target.rpartition(".")[0]
    file = getattr(sys.modules.get(module), "__file__", None)
    if module.partition(".")[0] in OWN_PACKAGES or file is None:
        return None
    try:
        return hashlib.sha256(Path(file).read_bytes()).hexdigest()
    except OSError as error:
        raise BenchError(f"the source of {module} cannot be read: {error}") from error


def pin(node: dict[str, Any]) -> None:
    """Write into the configuration of a component what its code is now."""
    if (code := of(str(node["_target_"]))) is not None:
        node[CODE] = code.sha256
        if code.distribution:
            node[DISTRIBUTION] = code.distribution


def check(node: Mapping[str, Any]) -> None:
    """BenchError unless the code behind a component is still what its configuration says."""
    if CODE not in node:
        return
    code = of(str(node["_target_"]))
    if code is None or code.sha256 != node[CODE]:
        now = "this program's own" if code is None else code.sha256[:8]
        raise BenchError(
            f"the code of {node['_target_']} is {now}, not {str(node[CODE])[:8]} as in this run; it was edited since "
            "the run was planned: run the same command again"
        )


def behind(values: Mapping[str, Any]) -> dict[str, str]:
    """Package -> SHA-256 of all code in a composed configuration that is not this program's own."""
    nodes = [node for node in values.values() if isinstance(node, Mapping) and CODE in node]
    return {str(node["_target_"]).partition(".")[0]: str(node[CODE]) for node in nodes}


_Seen = tuple[str, tuple[tuple[str, int, int, int], ...]]
_digests: dict[str, tuple[_Seen, str]] = {}


def _digest(package: str, distribution: str) -> str:
    try:
        files = sorted(_files(package))
        seen = distribution, tuple((name, stat.st_ino, stat.st_mtime_ns, stat.st_size) for name, _, stat in files)
        if package not in _digests or _digests[package][0] != seen:
            content = hashlib.sha256(f"{distribution}\n".encode())
            for name, path, _ in files:
                data = path.read_bytes()
                content.update(f"{len(os.fsencode(name))} {len(data)}\n".encode())
                content.update(os.fsencode(name))
                content.update(data)
            _digests[package] = seen, content.hexdigest()
    except OSError as error:
        raise BenchError(f"the source of package {package!r} cannot be read: {error}") from error
    return _digests[package][1]


def _files(package: str) -> Iterator[tuple[str, Path, os.stat_result]]:
    """(path below the package, path, stat) of every file that counts, in no order."""
    files = size = 0
    for root in _roots(package):
        visited = set()
        for folder, folders, names in os.walk(root, followlinks=True):
            # A link to a folder round itself would never end.
            if (real := os.path.realpath(folder)) in visited:
                folders.clear()
                continue
            visited.add(real)
            folders[:] = [one for one in folders if one != "__pycache__" and not one.startswith(".")]
            for name in (one for one in names if one.endswith(SUFFIXES)):
                path = Path(folder, name)
                if not path.is_file():
                    continue
                stat = path.stat()
                files, size = files + 1, size + stat.st_size
                if files > MOST_FILES or size > MOST_BYTES:
                    raise BenchError(
                        f"package {package!r} has more than {MOST_FILES} source files or {MOST_BYTES // 2**20} MB of "
                        f"them below {root}, too much to notice an edit of it; put what bench runs into a package of "
                        "its own, which imports the rest"
                    )
                yield path.relative_to(root).as_posix(), path, stat


def _roots(package: str) -> list[Path]:
    try:
        spec = importlib.util.find_spec(package)
    except Exception as error:  # finders are code of other packages
        raise BenchError(f"package {package!r} cannot be looked for: {error!r}") from error
    if spec is None or not spec.submodule_search_locations:
        raise BenchError(f"there is no package {package!r} to read the source of; install it anew")
    return [Path(one) for one in spec.submodule_search_locations]
