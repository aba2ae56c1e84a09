"""The names that runs go by: what a row is called, and what its folder is called."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from bench.basics.errors import BenchError
from bench.planning import catalogue
from bench.planning.overrides import Override
from bench.planning.values import setting

MOST_BYTES = 150
"""Of the name of a folder; file systems take 255, and temporary files beside it have longer names."""

UNPREFIXED = ("method", "dataset", "budget")
"""Groups whose settings are shown in names without the group's."""

MOST_LETTERS = 100
"""Of the name of a dataset, which the names of files begin with."""


def row_name(name: str, overrides: Sequence[Override], values: Mapping[str, Any], separator: str = ",") -> str:
    """``lasium-ro-vae-maml,alpha=0.4``: a run with changed settings is another row, and says so in its name.

    What a setting is called there can be read back: a comma in a value that would look like the next setting's is
    ``%2C``, and so on with what cannot be printed.
    """
    shown = []
    for override in overrides:
        key, value = override.key, setting(values, override.key)
        head, _, rest = key.partition(".")
        text = override.value if override.is_group else "null" if value is None else str(value)
        if isinstance(values.get(head), Mapping) and values[head].get("own") == rest:  # no folders of this machine
            text = f"{PurePath(text).name}@{values[head]['sha256'][:8]}"
        shown.append(f"{rest if head in UNPREFIXED else key}={_one_part(text)}")
    return separator.join([name, *sorted(shown)])


def _one_part(text: str) -> str:
    text = re.sub(r",(?=\s?[\w.]+=)", "%2C", text)
    return "".join(one if one.isprintable() else "".join(f"%{byte:02X}" for byte in os.fsencode(one)) for one in text)


def check_dataset_name(option: str, dataset: Mapping[str, Any]) -> None:
    """BenchError unless the images may be called as ``dataset.name`` says: other datasets' names stand for theirs."""
    name = dataset.get("name")
    if name is None:
        return
    if len(str(name)) > MOST_LETTERS:
        raise BenchError(f"dataset.name has {len(str(name))} letters; give one of at most {MOST_LETTERS}")
    if str(name) != option and str(name) in catalogue.options("dataset"):
        raise BenchError(
            f"dataset.name={name} is the name of another dataset, with which these images would be compared; "
            f"give them another name, for example dataset.name=my-{name}"
        )


def folder(out: Path, parts: Iterable[str]) -> Path:
    """A folder below ``out`` for runs of these names, which may hold anything and be of any length.

    A name too long for a folder is cut, and the beginning of its SHA-256 tells it apart. One that is there already
    under its whole name, as until version 0.1, is used as it is.
    """
    place = out
    for part in parts:
        name = re.sub(r"[^A-Za-z0-9._=,+-]", "_", part)
        if name in (".", ".."):
            name = name.replace(".", "_")
        if len(name) > MOST_BYTES and not (len(name) <= 255 and (place / name).is_dir()):
            name = f"{name[: MOST_BYTES - 9]}-{hashlib.sha256(part.encode(errors='surrogatepass')).hexdigest()[:8]}"
        place /= name
    return place
