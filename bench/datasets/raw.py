"""What readers of official releases share: finding files, reading their lists, naming all that is missing at once."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from bench.basics.errors import BenchError
from bench.basics.files import check_regular
from bench.datasets.archives import Tree

MOST_BYTES_OF_A_LIST = 2**29
MOST_NAMED = 20  # missing files named in one message


def find(data_dir: str | None, dataset: str, folders: Sequence[str], what: str) -> list[Path]:
    """``data_dir`` and its subfolders ``folders`` that exist; BenchError says what ``dataset`` needs otherwise."""
    how = f"'bench list datasets --long' says where to get it; say where it is with --data-dir DIR (DIR holds {what})"
    if data_dir is None:
        raise BenchError(f"{dataset} needs its official files; {how}")
    base = Path(data_dir)
    if not base.is_dir():
        raise BenchError(f"{dataset}: there is no folder {base}; {how}")
    return [folder for folder in (base / one for one in (*folders, ".")) if folder.is_dir()]


def file_in(folders: Iterable[Path], names: Sequence[str]) -> Path | None:
    """The first of ``names`` (paths below a folder) that exists in one of ``folders``."""
    return next((folder / name for folder in folders for name in names if (folder / name).exists()), None)


def text(path: Path) -> str:
    """A UTF-8 list, with Windows or Unix line ends, with or without a byte order mark."""
    data = _bytes(path)
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        hint = "; save it as UTF-8" if data.startswith((b"\xff\xfe", b"\xfe\xff")) else ""
        raise BenchError(f"{path} is not a text file ({error.reason} at byte {error.start}){hint}") from error


def _bytes(path: Path) -> bytes:
    try:
        check_regular(path)  # a pipe would be waited at for ever
        if (size := path.stat().st_size) > MOST_BYTES_OF_A_LIST:
            raise BenchError(f"{path} has {size} bytes, more than a list can ({MOST_BYTES_OF_A_LIST})")
        return path.read_bytes()
    except OSError as error:
        raise BenchError(f"cannot read {path}: {error.strerror or error}") from error


def rows(path: Path, columns: int) -> Iterator[tuple[int, list[str]]]:
    """Line number and words of every line that is not empty; BenchError unless each has so many words."""
    for number, line in enumerate(text(path).splitlines(), start=1):
        words = line.split()
        if words and len(words) != columns:
            raise BenchError(f"line {number} of {path} has {len(words)} columns, not {columns}: {line[:80]!r}")
        if words:
            yield number, words


def table(path: Path, columns: Sequence[str]) -> list[tuple[str, ...]]:
    """The named columns of a CSV file with a header."""
    try:
        reader = csv.DictReader(io.StringIO(text(path), newline=""))
        if missing := set(columns) - {*(reader.fieldnames or ())}:
            raise BenchError(f"{path} has no column {sorted(missing)[0]!r}; its first line must be {','.join(columns)}")
        found = [tuple((row[column] or "").strip() for column in columns) for row in reader]
    except csv.Error as error:
        raise BenchError(f"{path} is not a CSV file ({error})") from error
    for number, row in enumerate(found, start=2):
        if not all(row):
            raise BenchError(f"line {number} of {path} lacks one of {', '.join(columns)}")
    return found


def json_file(path: Path) -> Any:
    """The content of a JSON file that somebody else wrote."""
    return json_value(_bytes(path), str(path))


def json_value(data: bytes, where: str) -> Any:
    """A JSON document that somebody else wrote, in UTF-8 with or without a mark; BenchError says what is wrong in it.

    No NaN or infinity, which JSON does not know, and no name twice in one object, of which one would be forgotten.
    """
    mend = "it is not a file of this program's: mend it, or get it again"
    if data.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in data[:4]:
        raise BenchError(f"{where} is in UTF-16 or UTF-32; save it as UTF-8")
    try:
        text = data.decode("utf-8-sig")
        return json.loads(text, parse_constant=_no_number, object_pairs_hook=_no_name_twice)
    except json.JSONDecodeError as error:
        reason = f"{error.msg}: line {error.lineno} column {error.colno}"
        if text[: error.pos].rstrip().endswith(",") and text[error.pos : error.pos + 1] in ("]", "}", ""):
            line = text[: error.pos].rstrip().count("\n") + 1
            reason = f"a comma after the last entry, in line {line}"
        raise BenchError(f"{where} is not valid JSON ({reason}); {mend}") from error
    except UnicodeDecodeError as error:
        raise BenchError(f"{where} is not in UTF-8 ({error.reason} at byte {error.start}); save it as UTF-8") from error
    except RecursionError as error:
        raise BenchError(f"{where} is not what it should be (lists are nested too deeply in it); {mend}") from error
    except ValueError as error:
        raise BenchError(f"{where} is not valid JSON ({error}); {mend}") from error


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is no number of JSON")


def _no_name_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        raise ValueError(f"{twice!r} is there twice")
    return found


def check_present(
    dataset: str, where: str, there: Container[str], wanted: Sequence[str], allow_partial: bool, source: Path
) -> frozenset[str]:
    """The ``wanted`` files that are ``there``. BenchError names those that are not, unless ``allow_partial``."""
    missing = sorted(path for path in {*wanted} if path not in there)
    if missing and not allow_partial:
        named = ", ".join(missing[:MOST_NAMED]) + (", …" if len(missing) > MOST_NAMED else "")
        raise BenchError(
            f"{dataset}: {where} lacks {len(missing)} of the {len({*wanted})} images that {source.name} names: "
            f"{named}; get them again, or go without them with dataset.allow_partial=true"
        )
    return frozenset({*wanted}.difference(missing))


def by_name(dataset: str, tree: Tree) -> dict[str, str]:
    """Name of a file -> its path in the tree, wherever it stands there."""
    path_of: dict[str, str] = {}
    for path in tree.files:
        name = path.rpartition("/")[2]
        if path_of.setdefault(name, path) != path:
            raise BenchError(f"{dataset}: {tree.where} holds {name} twice, as {path_of[name]} and {path}; keep one")
    return path_of


def check_name(path: str, source: Path) -> None:
    """Refuse a path that would leave the folder of the images."""
    if path.startswith("/") or "\\" in path or {"", ".", ".."} & {*path.split("/")}:
        raise BenchError(f"{source} names an image {path!r}, which is no path inside the folder of the images")


def check_count(dataset: str, what: str, found: int, official: int, allow_partial: bool) -> None:
    """Refuse another number than the official one, unless ``allow_partial``."""
    if found != official and not allow_partial:
        raise BenchError(
            f"{dataset}: there are {found} {what}, not {official} as in the official release; get it again, or accept "
            "another content with dataset.allow_partial=true"
        )


def several(faults: Sequence[str], shown: int = 5) -> str:
    """``a; b; c; and 12 more``."""
    more = [f"and {len(faults) - shown} more"] if len(faults) > shown else []
    return "; ".join([*faults[:shown], *more])
