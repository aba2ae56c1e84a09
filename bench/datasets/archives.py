"""Raw data as they come: folders and zip files behind one interface, and resumable downloads.

Nothing is ever extracted to disk, and nothing of what is read from an archive is trusted: not a name, not a
size.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import stat
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

from bench.basics.claims import Claim, beside
from bench.basics.errors import BenchError
from bench.basics.offline import is_offline
from bench.datasets.faults import check_utf8, exists, is_utf8, no_fault_of_the_data, shown

if TYPE_CHECKING:
    from bench.contracts import ProgressCallback

MOST_FILES = 10_000_000
MOST_BYTES_OF_A_FILE = 256 * 2**20
MOST_EXPANSION = 200
"""How many times its compressed size a file of a zip may have, from a megabyte on. Images do not expand, text does 20
times."""
DEEPEST = 6
"""Levels of folders that are looked into; what lies deeper is refused, not left out."""
LEFT_BY_SYSTEMS = ("thumbs.db", "ehthumbs.db", "desktop.ini")
"""Files that Windows puts into folders of images, hidden there; lower case."""


class Reader(Protocol):
    """Reads files by their path inside a folder or an archive."""

    @property
    def where(self) -> str:
        """For messages: the folder or the archive."""
        ...

    def read(self, path: str) -> bytes:
        """The content of one file; BenchError names it when it is damaged."""
        ...


@dataclass(frozen=True, slots=True)
class Place:
    """Where a tree lies: all that another process needs to read its files."""

    path: Path
    within: str = ""

    def reader(self) -> Reader:
        """Reads files that a tree of this place has listed, and so checked."""
        return ZipTree(self.path) if self.path.is_file() else FolderReader(self.path, self.within)


class Tree(Reader, Protocol):
    """Files by their path inside, with ``/`` between folders.

    Hidden files are left out: names that begin with a dot, and what Windows and macOS hide in folders of images.
    """

    @property
    def place(self) -> Place:
        """Where it lies."""
        ...

    @property
    def files(self) -> Mapping[str, tuple[int, int]]:
        """path -> (bytes, a stamp of the content: modification time or CRC-32), sorted by path."""
        ...

    @property
    def folders(self) -> frozenset[str]:
        """Every folder inside, also empty ones."""
        ...

    @property
    def ignored(self) -> Sequence[str]:
        """Paths of what Windows hid there, and was left out."""
        ...


def open_tree(path: Path) -> Tree:
    """The tree in a folder or a ``.zip`` file."""
    if exists(check_utf8(path)):
        return FolderTree(path) if path.is_dir() else ZipTree(path)
    raise BenchError(f"there is no folder or zip file {path}")


class FolderReader:
    """Reads files of a folder on disk. ``within`` stands before every path inside."""

    def __init__(self, root: Path, within: str = "") -> None:
        self.where = str(root)
        self._root = root
        self._within = f"{within}/" if within else ""

    def read(self, path: str) -> bytes:
        """See :class:`Reader`."""
        file = self._root / path.removeprefix(self._within)
        try:
            if (size := file.stat().st_size) > MOST_BYTES_OF_A_FILE:
                raise BenchError(
                    f"{self.where}/{path} has {size} bytes, more than an image can ({MOST_BYTES_OF_A_FILE})"
                )
            return file.read_bytes()
        except OSError as error:
            raise BenchError(f"cannot read {self.where}/{path}: {error.strerror or error}") from error


class FolderTree(FolderReader):
    """A folder on disk. Symbolic links are followed. ``within`` is put before every path inside."""

    def __init__(self, root: Path, within: str = "") -> None:
        super().__init__(root, within)
        self.place = Place(root, within)
        self.ignored: list[str] = []
        files: dict[str, tuple[int, int]] = {}
        folders: set[str] = set()
        try:
            self._walk(root, self._within, (os.path.realpath(root),), files, folders)
        except OSError as error:
            raise BenchError(f"cannot read {shown(error.filename or root)}: {error.strerror or error}") from error
        self.files: Mapping[str, tuple[int, int]] = dict(sorted(files.items()))
        self.folders = frozenset(folders)

    def _left_out(self, name: str, inside: str) -> bool:
        if name.lower() in LEFT_BY_SYSTEMS:
            self.ignored.append(inside + name)
        return hidden(name)

    def _walk(
        self, folder: Path, inside: str, above: tuple[str, ...], files: dict[str, tuple[int, int]], folders: set[str]
    ) -> None:
        """``above``: the real paths of this folder and of those it lies in."""
        with os.scandir(folder) as entries:
            for entry in entries:
                if self._left_out(entry.name, inside):
                    continue
                if not is_utf8(entry.name):
                    raise BenchError(
                        f"the name of {shown(entry.path)} is not UTF-8, so no record can hold it; rename it"
                    )
                if entry.is_dir():
                    folders.add(inside + entry.name)
                    real = os.path.realpath(entry.path)
                    if real in above:  # a circle of symbolic links
                        continue
                    if len(above) == DEEPEST and any(not hidden(name) for name in os.listdir(entry.path)):
                        raise BenchError(f"{entry.path} lies deeper than {DEEPEST} folders; move its files up")
                    if len(above) < DEEPEST:
                        self._walk(Path(entry.path), f"{inside}{entry.name}/", (*above, real), files, folders)
                else:
                    info = entry.stat()
                    if not stat.S_ISREG(info.st_mode):
                        raise BenchError(f"{entry.path} is no file but a pipe, socket or device; remove it")
                    files[inside + entry.name] = (info.st_size, info.st_mtime_ns)


class ZipTree:
    """A zip file, read in place. Backslashes stand between folders as slashes do, as some programs write them."""

    def __init__(self, path: Path) -> None:
        self.where = str(check_utf8(path))
        self.place = Place(path)
        try:
            self._zip = zipfile.ZipFile(path)
        except zipfile.BadZipFile as error:
            if _is_tar(path):
                raise BenchError(
                    f"{path} is a tar or compressed file, which cannot be read in place; unpack it, and name the folder"
                ) from error
            raise BenchError(f"{path} is damaged or no zip file ({error}); get it again") from error
        except (OSError, ValueError, NotImplementedError) as error:
            raise BenchError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
        members = self._zip.infolist()
        if len(members) > MOST_FILES:
            raise BenchError(f"{path} holds {len(members)} files, more than the limit of {MOST_FILES}")
        files: dict[str, tuple[int, int]] = {}
        folders: set[str] = set()
        self._members: dict[str, zipfile.ZipInfo] = {}
        self.ignored: list[str] = []
        for member in members:
            name = member.filename.replace("\\", "/")
            parts = name.rstrip("/").split("/")
            # A colon after one letter is a drive of Windows.
            if {"", ".", ".."} & set(parts) or parts[0][1:2] == ":":
                raise BenchError(f"{path} holds a file of the unsafe name {member.filename!r}")
            if stat.S_ISLNK(member.external_attr >> 16):
                raise BenchError(f"{path} holds a symbolic link, {member.filename!r}; pack what it leads to instead")
            if any(hidden(part) for part in parts):
                self.ignored += [name] if parts[-1].lower() in LEFT_BY_SYSTEMS else []
                continue
            folders.update("/".join(parts[:depth]) for depth in range(1, len(parts)))
            if name.endswith("/"):
                folders.add("/".join(parts))
            elif name in files:
                raise BenchError(f"{path} holds {name!r} twice")
            else:
                files[name], self._members[name] = (member.file_size, member.CRC), member
        self.files: Mapping[str, tuple[int, int]] = dict(sorted(files.items()))
        self.folders = frozenset(folders)

    def read(self, path: str) -> bytes:
        """See :class:`Reader`."""
        size, _ = self.files[path]
        if size > MOST_BYTES_OF_A_FILE:
            raise BenchError(
                f"{path} in {self.where} has {size} bytes, more than an image can ({MOST_BYTES_OF_A_FILE})"
            )
        member = self._members[path]
        packed = member.compress_size
        if size > max(2**20, MOST_EXPANSION * packed):
            raise BenchError(f"{path} in {self.where} unpacks from {packed} to {size} bytes, as only a bomb does")
        try:
            # A member cannot yield more than its declared size, so a zip bomb ends there; its CRC-32 is
            # checked.
            return self._zip.read(member)
        except NotImplementedError as error:
            raise BenchError(
                f"{path} in {self.where} is packed in a way that Python cannot read; pack it again"
            ) from error
        except RuntimeError as error:
            raise BenchError(f"{path} in {self.where} is encrypted; pack it again without a password") from error
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError) as error:
            if what := no_fault_of_the_data(error):
                raise BenchError(f"cannot read {path} in {self.where}: {what}") from error
            raise BenchError(f"{path} in {self.where} is damaged ({error}); get the archive again") from error


def _is_tar(path: Path) -> bool:
    with open(path, "rb") as file:
        start = file.read(512)
    return start[257:262] == b"ustar" or start.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00"))


def hidden(name: str) -> bool:
    """Whether a file or folder of this name is left out."""
    return name.startswith(".") or name == "__MACOSX" or name.lower() in LEFT_BY_SYSTEMS


def download(
    url: str,
    path: Path,
    md5: str | None,
    progress: ProgressCallback | None = None,
    *,
    sha256: str | None = None,
    most_bytes: int = 2**30,
    timeout: float = 30.0,
) -> None:
    """Fetch ``url`` to ``path``, which appears only when it is complete and its MD5 (or SHA-256) is right.

    sha256: the beginning of the checksum will do. Where neither is given, only the length that the server announces is
    checked, and a file that is there already is taken as it is. Until it is whole the data are in ``<path>.part``; an
    interrupted download goes on from there, in this call until three attempts in a row bring nothing new, or in the
    next one. Raises BenchError in one sentence.
    """
    if urlsplit(url).scheme not in ("http", "https"):
        raise BenchError(f"cannot download {url!r}: only http and https addresses are supported")
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with Claim.take(beside(path)):
            if path.exists() and _fault(path, md5, sha256) is None:
                return
            if is_offline():
                raise BenchError(
                    f"{path} is not there, and nothing is fetched offline (--offline, or $BENCH_OFFLINE); get it where "
                    f"there is a network, from {url}"
                )
            furthest, failures = _size(part), 0
            while not _fetch_more(url, path.name, part, progress, most_bytes, timeout):
                # Progress is a longer file: without Range, a server may break off at one place for ever.
                failures = 0 if _size(part) > furthest else failures + 1
                furthest = max(furthest, _size(part))
                if failures == 3:
                    raise BenchError(
                        f"the connection to {urlsplit(url).netloc} broke off while downloading {path.name}; "
                        "run the same command again to go on from there"
                    )
            if (fault := _fault(part, md5, sha256)) is not None:
                part.unlink()
                raise BenchError(
                    f"what {url} sent is not the expected file ({fault}), and was deleted; "
                    "try again, or get the file another way"
                )
            with open(part, "rb+") as file:
                os.fsync(file.fileno())
            os.replace(part, path)
    except urllib.error.HTTPError as error:
        raise BenchError(f"cannot download {url}: the server answered {error.code} {error.reason}") from error
    except urllib.error.URLError as error:
        raise BenchError(f"cannot download {url}: {error.reason}; is there a network connection?") from error
    except OSError as error:
        raise BenchError(f"cannot write {part}: {error.strerror or error}") from error


def _fetch_more(
    url: str, name: str, part: Path, progress: ProgressCallback | None, most_bytes: int, timeout: float
) -> bool:
    """Append to ``part``; False when the connection broke off before its end."""
    have = _size(part)
    request = urllib.request.Request(url, headers={"User-Agent": "unsupervised-meta-bench"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        response = urllib.request.urlopen(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        if error.code != 416 or not have:
            raise
        return True  # nothing lies behind what is here; whether it is right is for the checksum to say
    except (TimeoutError, ConnectionError, http.client.HTTPException):
        return False
    with response:
        if response.status != 206 or not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            have = 0  # the server sends all of it
        length = response.headers.get("Content-Length")
        total = have + int(length) if length and length.isdigit() else 0
        reported = time.monotonic()
        with open(part, "ab" if have else "wb") as file:
            while True:
                try:
                    block = response.read(2**16)
                except (TimeoutError, ConnectionError, http.client.HTTPException):
                    return False
                if not block:
                    break
                have += len(block)
                if have > most_bytes:
                    raise BenchError(f"{url} sends more than {most_bytes} bytes, which cannot be the expected file")
                file.write(block)
                if progress is not None and time.monotonic() - reported >= 0.2:
                    reported = time.monotonic()
                    progress(f"download {name}", have, total, {})
        if have < total:
            return False
        if progress is not None:
            progress(f"download {name}", have, have, {})
    return True


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _fault(path: Path, md5: str | None, sha256: str | None) -> str | None:
    """What is wrong with a file's checksum."""
    with open(path, "rb") as file:
        if md5 is not None:
            found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
            return None if found == md5 else f"its MD5 is not {md5}"
        if sha256 is not None:
            found = hashlib.file_digest(file, "sha256").hexdigest()
            return None if found.startswith(sha256.lower()) else f"its SHA-256 is {found}, not {sha256}"
    return None
