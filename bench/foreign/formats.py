"""Opening the file of a network without running any code that came with it.

Three formats hold a network as data: ``.pt2`` (torch.export), TorchScript and ONNX. Everything else is refused, above
all pickles, which may run anything while they are read. Each is looked through before it is opened, in a module of its
own: :mod:`bench.foreign.pt2`, :mod:`bench.foreign.torchscript`, :mod:`bench.foreign.onnx`.

A file is read once, and what was hashed is what is opened. This keeps code out; a network that itself takes all memory
or time, and a file made to exploit a fault of torch or onnxruntime themselves, are beyond it.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import zipfile
from pathlib import Path

import torch

from bench.basics.errors import BenchError
from bench.foreign import reading
from bench.foreign.onnx import open_onnx
from bench.foreign.pt2 import EXPORT_AGAIN, open_pt2
from bench.foreign.roles import Opened, Role
from bench.foreign.torchscript import open_torchscript

ENDINGS = {".pt2": "pt2", ".pt": "torchscript", ".ts": "torchscript", ".torchscript": "torchscript", ".onnx": "onnx"}
PICKLE_ENDINGS = (".pth", ".pkl", ".pickle", ".ckpt", ".bin", ".tar")
PICKLE = (
    "is a pickle (a state dict or a module saved with torch.save), which may run any code when it is read, so it is "
    "not opened; export the network with torch.export.save to a .pt2 file"
)


def check_file(path: Path, role: Role) -> str:
    """The format of a file (``pt2``, ``torchscript``, ``onnx``) by its ending and its outside; nothing is opened.

    BenchError for a file that is missing, of another ending, a pickle, damaged, or another format than its ending says.
    """
    ending = path.suffix.lower()
    if ending not in ENDINGS:
        if ending in PICKLE_ENDINGS and os.path.isfile(path):
            raise BenchError(f"{role.noun} file {path} {PICKLE}")
        raise BenchError(
            f"{role.noun} file {path} must end in one of {', '.join(ENDINGS)}, not in {ending or 'nothing'!r}"
        )
    try:
        with reading.open_regular(path) as file:
            head = file.read(4)
            names = zipfile.ZipFile(file).namelist() if head[:2] == b"PK" else []
    except FileNotFoundError as error:
        where = "" if path.is_absolute() else f" in {Path.cwd()}"
        raise BenchError(f"{role.noun} file {path} does not exist{where}") from error
    except OSError as error:
        raise BenchError(f"cannot read {role.noun} file {path}: {error.strerror or error}") from error
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise BenchError(f"{role.noun} file {path} is damaged ({error}); export it again") from error
    kind = ENDINGS[ending]
    found = _format(head, names)
    if found == "pickle":
        raise BenchError(f"{role.noun} file {path} {PICKLE}")
    if found is None:
        raise BenchError(f"{role.noun} file {path} is damaged, or no {kind} file at all; {EXPORT_AGAIN} to a .pt2 file")
    if found != kind:
        right = next(ending for ending, name in ENDINGS.items() if name == found)
        raise BenchError(f"{role.noun} file {path} holds {found}, not {kind}: rename it to {path.stem}{right}")
    if kind == "onnx" and importlib.util.find_spec("onnxruntime") is None:
        raise BenchError(
            f"{role.noun} file {path} needs onnxruntime: pip install onnxruntime, or 'unsupervised-meta-bench[onnx]'"
        )
    return kind


def sha256(path: Path, role: Role) -> str:
    """SHA-256 (hex) of a file that :func:`check_file` accepts."""
    check_file(path, role)
    try:
        return reading.sha256(path)
    except OSError as error:
        raise BenchError(f"cannot read {role.noun} file {path}: {error.strerror or error}") from error


def open_file(path: Path, role: Role, expected: str, device: torch.device) -> Opened:
    """The network in ``path``, on ``device``. BenchError where it is not what its SHA-256 ``expected`` says, or has
    been exported for batches of one size.
    """
    kind = check_file(path, role)
    try:
        with reading.open_regular(path) as file:
            data = file.read()
    except OSError as error:
        raise BenchError(f"cannot read {role.noun} file {path}: {error.strerror or error}") from error
    found = hashlib.sha256(data).hexdigest()
    if found != expected:
        raise BenchError(f"{role.noun} file {path} has changed since this run was planned; run the same command again")
    name = f"{role.noun} file {path}"
    try:
        if kind == "torchscript":
            opened = open_torchscript(name, data, device)
        else:
            opened = {"pt2": open_pt2, "onnx": open_onnx}[kind](name, role, data, device)
    except BenchError:
        raise
    except Exception as error:
        raise BenchError(f"{name} cannot be opened as {kind} ({_first_line(error)}); export it again") from error
    if opened.shape is not None and opened.shape[0] is not None:
        raise BenchError(
            f"{name} was exported for batches of exactly {opened.shape[0]}; export it with a dynamic first dimension: "
            'dynamic_shapes=({0: torch.export.Dim("n")},)'
        )
    return opened


def _format(head: bytes, names: list[str]) -> str | None:
    """What a file is, by its first bytes and, of a zip archive, its members."""
    if head[:2] != b"PK":
        return "pickle" if head[:1] in (b"\x80", b"(") else "onnx" if head[:1] == b"\x08" else None
    inner = {name.partition("/")[2] for name in names}
    if "models/model.json" in inner:
        return "pt2"
    if "constants.pkl" in inner and any(name.startswith("code/") for name in inner):
        return "torchscript"
    return "pickle" if any(name.endswith(".pkl") for name in inner) else None


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[:160]
