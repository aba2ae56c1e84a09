"""Where configurations and classes are found: this program's own beside the package ``bench``, those of plugins.

A plugin is an installed package that registers the entry-point group ``bench.plugins`` and holds a folder ``configs``.
Nothing of it is imported here, so that one that cannot be imported breaks no command but its own.
"""

from __future__ import annotations

import importlib.machinery
import importlib.metadata
import importlib.util
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from bench.basics.errors import BenchError

ROOT = Path(__file__).resolve().parents[2]
"""What holds ``bench``, and beside it the packages below."""

OWN_PACKAGES = ("bench", "methods", "baselines")
BESIDE = ("configs", "methods", "baselines")

SETTINGS = ("way", "ways", "shots", "query", "split", "evaluation_seed", "train", "seed", "hydra")
"""Settings of every run; a folder of that name in some ``configs`` would make choices of components of them."""

GROUP = "bench.plugins"


@dataclass(frozen=True, slots=True)
class Plugin:
    """One entry point; either ``configs`` or ``problem`` is there."""

    name: str
    """Of the entry point."""
    package: str
    """The package that holds ``configs``, with dots."""
    where: Path | None
    """The package's folder, or the file that registers it."""
    configs: Path | None = None
    problem: str | None = None
    distribution: str = ""
    """Who registered it, ``name==version``."""

    @property
    def top(self) -> str:
        """The package that may be imported for it."""
        return self.package.partition(".")[0]


def plugins() -> tuple[Plugin, ...]:
    """Every registered plugin by package, each read by itself: what is wrong with one is its ``problem``."""
    found: dict[tuple[str, str], Plugin] = {}
    for name, value, file, distribution in _entries():
        one = replace(_located(name, value, file), distribution=distribution)
        found.setdefault((one.package, one.problem or ""), one)
    return tuple(found[key] for key in sorted(found))


def _entries() -> Iterator[tuple[str, str, Path | None, str]]:
    """(name, value, file, distribution) of the entry points; an empty value where a package's own list of them cannot
    be read.
    """
    seen = set()
    for distribution in importlib.metadata.distributions():
        file = _folder_of(distribution)
        try:
            name = getattr(distribution, "_normalized_name", None) or distribution.metadata["Name"]
            if name in seen:  # an older copy, further down the path
                continue
            seen.add(name)
            text = distribution.read_text("entry_points.txt") or ""
            if GROUP not in text:
                continue
            entries = [(one.name, one.value) for one in distribution.entry_points if one.group == GROUP]
        except Exception:  # it was written by other programs, and is read by a library that trusts them
            yield str(file), "", file, ""
            continue
        yield from ((name, value, file, _title(distribution)) for name, value in entries)


def _title(distribution: importlib.metadata.Distribution) -> str:
    try:
        return f"{distribution.metadata['Name']}=={distribution.version}"
    except Exception:  # metadata that cannot be read, or lack a version
        return ""


def _folder_of(distribution: importlib.metadata.Distribution) -> Path | None:
    folder = getattr(distribution, "_path", None)
    return Path(folder) / "entry_points.txt" if folder is not None else None


def _located(name: str, value: str, file: Path | None) -> Plugin:
    """``package``, ``package.module`` or ``package.module:Class`` -> the nearest package with a folder ``configs``."""
    read = re.fullmatch(r"\s*([\w.]+)\s*(?::.*)?", value)
    dotted = read[1] if read else ""
    parts = dotted.split(".")
    if not read or not all(parts):
        told = f"{value!r} names no package; write {name} = my_package" if value else "its entry points cannot be read"
        return Plugin(name, value or name, file, problem=told)
    if parts[0] in (*OWN_PACKAGES, *BESIDE):
        return Plugin(name, dotted, file, problem=f"the name {parts[0]!r} is this program's own")
    try:
        spec = importlib.util.find_spec(parts[0])
    except Exception as error:  # finders are code of other packages
        return Plugin(name, dotted, file, problem=f"package {parts[0]!r} cannot be looked for: {error!r}")
    if spec is None:
        return Plugin(name, dotted, file, problem=f"there is no package {parts[0]!r}; install it anew")
    folders = [Path(one) for one in spec.submodule_search_locations or ()]
    for length in range(len(parts), 0, -1):
        for folder in (one.joinpath(*parts[1:length]) for one in folders):
            if (folder / "configs").is_dir():
                taken = [one for one in SETTINGS if (folder / "configs" / one).is_dir()]
                if taken:
                    told = f"its folder configs/{taken[0]} is called as a setting of every run; rename it"
                    return Plugin(name, ".".join(parts[:length]), folder, problem=told)
                return Plugin(name, ".".join(parts[:length]), folder, folder / "configs")
    if not folders:
        told = f"{parts[0]!r} is a single file; a plugin is a package that holds a folder 'configs'"
        return Plugin(name, dotted, Path(spec.origin) if spec.origin else file, problem=told)
    return Plugin(name, dotted, folders[0], problem="it has no folder 'configs'")


def claim(*names: str) -> None:
    """Let these of the packages ``BESIDE`` be this program's, whatever the working directory holds.

    BenchError when another package of that name has been imported already.
    """
    for name in names:
        folder = ROOT / name
        module = sys.modules.get(name)
        if module is not None:
            if folder in [Path(one).resolve() for one in getattr(module, "__path__", ())]:
                continue
            where = getattr(module, "__file__", None) or next(iter(getattr(module, "__path__", ())), "elsewhere")
            raise BenchError(f"a package {name!r} of this program is needed, but {where} was imported; rename that one")
        file = folder / "__init__.py"
        spec = importlib.util.spec_from_file_location(name, file, submodule_search_locations=[str(folder)])
        if spec is None or spec.loader is None or not file.is_file():
            raise BenchError(f"{file} is missing; install unsupervised-meta-bench anew")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
