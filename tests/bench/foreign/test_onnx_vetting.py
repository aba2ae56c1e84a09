"""ONNX: weights in another file are found wherever they are, in whatever order their fields come."""

import pytest
import torch
from own_generators import Tiny, _text, _varint, save_onnx

from bench.basics.errors import BenchError
from bench.foreign.onnx import vet

KEY, VALUE = _text(1, "location"), _text(2, "weights.bin")
FILE_AFTER, FILE_BEFORE = _text(13, KEY + VALUE), _text(13, VALUE + KEY)
OUTSIDE = _varint(14, 1)
TENSOR = _varint(1, 3) + _varint(2, 1) + _text(8, "w")


def graph(content):
    return _text(7, content)


def attribute(content):
    return graph(_text(1, _text(5, content)))


WAYS = {
    "initializer": lambda tensor: graph(_text(5, tensor)),
    "sparse values": lambda tensor: graph(_text(15, _text(1, tensor))),
    "sparse indices": lambda tensor: graph(_text(15, _text(2, tensor))),
    "attribute": lambda tensor: attribute(_text(5, tensor)),
    "attributes": lambda tensor: attribute(_text(10, tensor)),
    "sparse attribute": lambda tensor: attribute(_text(22, _text(1, tensor))),
    "sparse attributes": lambda tensor: attribute(_text(23, _text(2, tensor))),
    "subgraph": lambda tensor: attribute(_text(6, _text(5, tensor))),
    "subgraphs": lambda tensor: attribute(_text(11, _text(1, _text(5, _text(5, tensor))))),
    "function": lambda tensor: _text(25, _text(7, _text(5, _text(5, tensor)))),
    "default of a function": lambda tensor: _text(25, _text(11, _text(5, tensor))),
    "training": lambda tensor: _text(20, _text(2, _text(5, tensor))),
    "initialisation": lambda tensor: _text(20, _text(1, _text(5, tensor))),
}


@pytest.mark.parametrize("where", WAYS)
@pytest.mark.parametrize("how", [FILE_AFTER + OUTSIDE, FILE_BEFORE + OUTSIDE, FILE_BEFORE, OUTSIDE, _text(13, b"")])
def test_weights_in_another_file_are_refused_wherever_they_are(where, how):
    vet("g.onnx", _varint(1, 8) + WAYS[where](TENSOR + _varint(14, 0)))
    with pytest.raises(BenchError, match=r"^g\.onnx keeps weights in a second file, which no hash covers"):
        vet("g.onnx", _varint(1, 8) + WAYS[where](TENSOR + how))


def test_a_model_with_its_weights_inside_passes(tmp_path):
    vet("g.onnx", save_onnx(tmp_path / "g.onnx", Tiny()).read_bytes())
    text = Tiny()
    with torch.no_grad():  # the words of an entry, as the numbers of a weight
        text.dense.bias[:4] = torch.frombuffer(bytearray(b"\n\x08location\x12\x01xyz0"), dtype=torch.float32)
    vet("g.onnx", save_onnx(tmp_path / "t.onnx", text).read_bytes())


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"\x08\x08\x3a\x05x", "longer than the file"),
        (b"\x08", "cut off"),
        (b"\x08" + b"\xff" * 11, "too long"),
        (b"\x08\x08\x0b\x0c", "unknown type 3"),
        (b"\xea\x80\x80\x80\x10\x00", "too large a number"),  # cut to 32 bits: field 13
    ],
)
def test_what_is_no_model_is_said(data, said):
    with pytest.raises(ValueError, match=said):
        vet("g.onnx", data)


def test_the_format_of_onnxruntime_and_endless_nesting_are_refused():
    with pytest.raises(BenchError, match="in the format of onnxruntime alone"):
        vet("g.onnx", b"\x08\x00\x00\x00ORTM")
    nested = b""
    for _ in range(60):
        nested = _text(1, _text(5, _text(6, nested)))
    with pytest.raises(ValueError, match="more than 100 deep"):
        vet("g.onnx", graph(nested))
