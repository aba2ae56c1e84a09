"""Installed plugins, as a package manager would leave them: a package, and metadata that name its entry point."""

from pathlib import Path

METHOD = """
from dataclasses import dataclass


@dataclass(frozen=True)
class Mine:
    strength: float = 2.0
"""


def install(
    site: Path, name: str, entry: str | None = None, files: dict[str, str] | None = None, version: str = "1.0"
) -> Path:
    """A package ``name`` in ``site`` with these files; ``entry`` is its entry point, by default the package."""
    package = site / name
    package.mkdir(parents=True, exist_ok=True)
    (package / "__init__.py").touch()
    for path, text in (files or {}).items():
        (package / path).parent.mkdir(parents=True, exist_ok=True)
        (package / path).write_text(text)
    info = site / f"{name}-1.0.dist-info"
    info.mkdir(exist_ok=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (info / "entry_points.txt").write_text(f"[bench.plugins]\n{name} = {name if entry is None else entry}\n")
    return package


def good(site: Path, name: str = "good_plugin", entry: str | None = None) -> Path:
    """A plugin with a method ``mine``, the class of which is in its module ``code``."""
    yaml = f"_target_: {name}.code.Mine\ncard: {{title: Mine}}\nstrength: 2.0\n"
    return install(site, name, entry, {"code.py": METHOD, "configs/method/mine.yaml": yaml})
