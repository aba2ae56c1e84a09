"""ONNX networks: read field by field for weights in other files, then opened by onnxruntime.

A model may keep a tensor in a second file, which no hash of ours covers. The fields are those of ``onnx.proto``.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from bench.basics.errors import BenchError
from bench.foreign.roles import Opened, Role, declared

# Message -> number of a field -> the message in it: every way from a model to a tensor.
INNER: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
}
EXTERNAL_DATA, DATA_LOCATION = 13, 14
DEEPEST = 100  # messages within each other, as protobuf itself has it
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


def open_onnx(name: str, role: Role, data: bytes, device: torch.device) -> Opened:
    """The network in ``data``. It runs on the CPU whatever ``device`` is; what it makes is then moved there."""
    vet(name, data)
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if len(inputs) != 1 or len(outputs) != 1:
        raise BenchError(
            f"{name} has {len(inputs)} inputs and {len(outputs)} outputs; "
            f"it must map {role.takes} to {role.gives} alone"
        )
    if inputs[0].type != "tensor(float)":
        raise BenchError(f"{name} takes {inputs[0].type}; it must take float32 {role.takes}, tensor(float)")

    def run(x: Tensor) -> Tensor:
        (made,) = session.run(None, {inputs[0].name: x.cpu().numpy()})
        return torch.from_numpy(made).to(device)

    return Opened(run, declared(name, role, inputs[0].shape))


def vet(name: str, data: bytes) -> None:
    """BenchError for a model that keeps a tensor, wherever in it, in another file; ValueError for no model at all."""
    if data[4:8] == b"ORTM":
        raise BenchError(f"{name} is in the format of onnxruntime alone; export it as ONNX")
    view = memoryview(data)
    waiting = [("model", view, 0)]
    while waiting:
        kind, message, depth = waiting.pop()
        if depth > DEEPEST:
            raise ValueError(f"its parts are nested more than {DEEPEST} deep")
        for field, value in _fields(message):
            if kind == "tensor" and (field == EXTERNAL_DATA or (field == DATA_LOCATION and value)):
                raise BenchError(
                    f"{name} keeps weights in a second file, which no hash covers; export with external_data=False"
                )
            inner = INNER.get(kind, {}).get(field)
            if inner and not isinstance(value, int):
                waiting.append((inner, value, depth + 1))


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """(number, value) of every field of a protobuf message; ValueError where it is none."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        if tag >= 2**32:  # which other readers cut to 32 bits
            raise ValueError("a field has too large a number")
        field, wire = tag >> 3, tag & 7
        value: int | memoryview
        if wire == VARINT:
            value, at = _varint(message, at)
        elif wire in (BYTES, FIXED64, FIXED32):
            length, at = _varint(message, at) if wire == BYTES else ({FIXED64: 8, FIXED32: 4}[wire], at)
            value, at = message[at : at + length], at + length
            if at > len(message):
                raise ValueError("a field is longer than the file")
        else:  # groups, which ONNX has none of
            raise ValueError(f"a field has the unknown type {wire}")
        yield field, value


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """A number of variable length at ``at``, and where it ends."""
    number = 0
    for shift in range(0, 70, 7):
        if at == len(message):
            raise ValueError("a number is cut off")
        byte = message[at]
        at += 1
        number |= (byte & 127) << shift
        if byte < 128:
            return number & (2**64 - 1), at
    raise ValueError("a number is too long")
