"""Zip archives as torch writes them: one folder, no member twice, and no more in them than their size says.

They are read by torch's own reader, so that what is looked through and what is loaded cannot be different members.
"""

from __future__ import annotations

import io
import os
import zipfile
from typing import BinaryIO

import torch

from bench.basics.errors import BenchError

ROOM = 64 * 2**20
"""Bytes that a whole archive may unpack to beyond its own size: torch packs nothing but code and its notes."""
END = b"PK\x05\x06"


class Archive:
    """A vetted archive; BenchError where torch would not have written it. ``name`` is for messages."""

    def __init__(self, name: str, file: BinaryIO, again: str) -> None:
        problem = self._problem(file)
        if problem:
            raise BenchError(_refusal(name, problem, again))
        file.seek(0)
        self._reader = torch._C.PyTorchFileReader(file)
        self.members: list[str] = self._reader.get_all_records()
        if sorted(self.members) != sorted(self._expected):
            raise BenchError(_refusal(name, "its list of members is unclear", again))

    def read(self, member: str) -> bytes:
        """The content of a member."""
        return bytes(self._reader.get_record(member))

    def _problem(self, file: BinaryIO) -> str | None:
        """What is wrong with it as a zip archive."""
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 22))
        # With nothing after it, there are no two places at which readers could look for the list of members.
        if file.read(4) != END:
            return "its list of members is not at its end"
        file.seek(0)
        members = zipfile.ZipFile(file).infolist()
        unpacked = sum(member.file_size for member in members)
        if unpacked > size + ROOM:
            return f"its {size} bytes would unpack to {unpacked}"
        folders, _, self._expected = zip(*(member.filename.partition("/") for member in members), strict=True)
        # Older archives, which torch reads in another way, have members outside the one folder of all others.
        if len(set(folders)) != 1:
            return "not all is in one folder"
        # torch's reader does not tell capitals.
        if len({member.lower() for member in self._expected}) != len(members):
            return "a member is there twice"
        return None


def of_bytes(name: str, data: bytes, again: str) -> Archive:
    """The archive ``data``."""
    return Archive(name, io.BytesIO(data), again)


def _refusal(name: str, problem: str, again: str) -> str:
    return f"{name} is damaged, or no archive as torch writes them ({problem}); {again}"
