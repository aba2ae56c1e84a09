"""Where the pixels of a split live while methods use them: in memory if they are few, else in a mapped file.

The bound: of at most 1 GiB of pixels a process holds a copy; of more it holds none on the CPU, where the operating
system keeps as much of the file in memory as is free; a GPU holds them if they take up to half of its free memory,
and else gets the images of a batch when it is drawn.
"""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.basics.claims import Claim, beside
from bench.basics.errors import BenchError
from bench.basics.files import read_json, remove_leftovers, replacing
from bench.datasets.faults import no_fault_of_the_data
from bench.datasets.sealing import facts_of, is_sealed, seal_of, write_seal

COPIED_UP_TO = 2**30
"""Bytes of pixels of which a process takes a copy into its memory."""

BLOCK = 64 * 2**20  # bytes that are moved at a time


@dataclass(frozen=True, slots=True)
class MappedFrom:
    """The part of a prepared dataset's file that a split is: ``offset`` in bytes."""

    path: Path
    offset: int
    content_hash: str


def is_large(pixels: NDArray[np.uint8]) -> bool:
    """Whether these pixels stay in their file."""
    return pixels.nbytes > COPIED_UP_TO


def settle(
    pixels: NDArray[np.uint8], file: MappedFrom | None, device: str | torch.device
) -> tuple[Tensor, torch.device | None]:
    """The pixels uint8 [n, C, H, W] as a tensor that may be written to without harm to the file, and its ``home``.

    ``home`` is None when the tensor is on ``device``, and ``device`` when that is a GPU without room for it.
    """
    device = torch.device(device)
    if file is None or not is_large(pixels):
        return torch.tensor(np.ascontiguousarray(pixels), device=device), None
    if device.type == "cpu":
        return _mapped(file, pixels.shape), None
    if pixels.nbytes <= free_memory(device) // 2:
        on_device = torch.empty(pixels.shape, dtype=torch.uint8, device=device)
        for rows in _blocks(pixels):
            on_device[rows] = torch.from_numpy(pixels[rows].copy()).to(device)
        return on_device, None
    return _mapped(file, pixels.shape), device


def free_memory(device: torch.device) -> int:
    """Bytes."""
    return int(torch.cuda.mem_get_info(device)[0])


def shuffled_copy(
    pixels: NDArray[np.uint8], order: NDArray[np.int64], path: Path, content_hash: str = ""
) -> tuple[MappedFrom, str]:
    """``pixels[order]`` as a file at ``path`` (.npy), and the digest of its pixels; made unless it is there.

    A file of its own, because an order of the rows of the prepared file would tell the classes. One that was there is
    compared with ``pixels``, which the caller has verified to be of ``content_hash``; then a seal remembers that.
    """
    facts = path.with_suffix(".json")
    offset = len(npy_header(pixels.shape))
    if not (path.exists() and facts.exists()):
        try:
            with Claim.take(beside(path)):
                if not (path.exists() and facts.exists()):
                    remove_leftovers(path.parent, path.name)
                    return MappedFrom(path, offset, ""), _write_shuffled(pixels, order, path, facts)
        except OSError as error:
            raise BenchError(f"cannot write {path}: {error.strerror or error}") from error
    damaged = BenchError(f"{path} is damaged; delete the folder {path.parent}, and the dataset will be prepared again")
    found = read_json(facts)
    if not isinstance(found, dict) or path.stat().st_size != offset + pixels.nbytes or "pixels" not in found:
        raise damaged
    file, content = MappedFrom(path, offset, ""), {"pixels": str(found["pixels"]), "of": content_hash}
    if not is_sealed(path, found.get("seal"), content):
        before = facts_of(path)
        if _digest_of_copy(pixels, order, file) != content["pixels"]:
            raise damaged
        if (seal := seal_of(path, before, content)) is not None:
            write_seal(facts, {"pixels": content["pixels"], "seal": seal})
    return file, content["pixels"]


def _digest_of_copy(pixels: NDArray[np.uint8], order: NDArray[np.int64], file: MappedFrom) -> str | None:
    """Of the pixels in ``file``; None unless they are ``pixels[order]``."""
    copy = mapped_pixels(file, pixels.shape, "r")
    digest = hashlib.sha256(repr(pixels.shape).encode())
    for rows in _blocks(pixels):
        data = np.ascontiguousarray(copy[rows])
        if not np.array_equal(data, pixels[order[rows]]):
            return None
        digest.update(data.data)
    return digest.hexdigest()


def pixel_digest(pixels: NDArray[np.uint8]) -> hashlib._Hash:
    """SHA-256 over the shape and the pixels."""
    digest = hashlib.sha256(repr(pixels.shape).encode())
    digest.update(pixels.data)
    return digest


def _write_shuffled(pixels: NDArray[np.uint8], order: NDArray[np.int64], path: Path, facts: Path) -> str:
    """Returns the digest of the pixels."""
    digest = hashlib.sha256(repr(pixels.shape).encode())
    with replacing(path) as temporary, open(temporary, "wb") as file:
        file.write(npy_header(pixels.shape))
        for rows in _blocks(pixels):
            data = pixels[order[rows]].tobytes()
            file.write(data)
            digest.update(data)
    with replacing(facts) as temporary:
        temporary.write_text(json.dumps({"pixels": digest.hexdigest()}) + "\n", encoding="utf-8")
    return digest.hexdigest()


def npy_header(shape: tuple[int, ...]) -> bytes:
    """What stands before the pixels of a uint8 array in a .npy file."""
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return head.getvalue()


def _mapped(file: MappedFrom, shape: tuple[int, ...]) -> Tensor:
    # "c": whoever writes to the tensor gets pages of their own.
    return torch.from_numpy(mapped_pixels(file, shape, "c"))


def mapped_pixels(file: MappedFrom, shape: tuple[int, ...], mode: Literal["r", "c"]) -> NDArray[np.uint8]:
    """The images in ``file``, read from it when they are looked at."""
    try:
        return np.memmap(file.path, np.uint8, mode=mode, offset=file.offset, shape=shape)
    except (OSError, ValueError) as error:
        what = no_fault_of_the_data(error) or str(error)
        raise BenchError(f"cannot map {file.path} into memory: {what}") from error


def _blocks(pixels: NDArray[np.uint8]) -> list[slice]:
    rows = max(1, BLOCK // max(1, pixels[:1].nbytes))
    return [slice(first, min(first + rows, len(pixels))) for first in range(0, len(pixels), rows)]
