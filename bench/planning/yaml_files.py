"""YAML files, read once as long as they stay as they are."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import yaml

from bench.basics.errors import BenchError
from bench.planning.lines import yaml_fault

MOST_BYTES = 2**20

# The same values from libyaml, where PyYAML was built with it, in a tenth of the time.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML mapping from a file; BenchError names the file when it is not one."""
    try:
        value = _read(path, path.stat().st_mtime)
    except OSError as error:
        raise BenchError(f"cannot read {path}: {error.strerror or error}") from error
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:  # ValueError: the 32nd of a month, say
        raise BenchError(f"{path} is not valid YAML: {yaml_fault(error)}") from error
    if not isinstance(value, dict):
        raise BenchError(f"{path} must hold a YAML mapping")
    return value


@cache
def _read(path: Path, _: float) -> Any:
    if not path.is_file():
        raise OSError("it is no file")
    with path.open("rb") as file:
        data = file.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise ValueError(f"more than {MOST_BYTES} bytes")
    return yaml.load(data.decode("utf-8-sig"), _LOADER)
