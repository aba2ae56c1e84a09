"""Networks of ``torch.export`` (``.pt2``), looked through before torch opens them.

Even ``torch.export.load`` unpickles, evaluates expressions and resolves names that it finds in an archive. So there
must be no pickle but of plain tensors, no compiled library, no operator but those of :mod:`bench.foreign.operators`, no
expression but arithmetic.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from bench.basics.errors import BenchError
from bench.datasets.pickle_bounds import names_asked_for
from bench.foreign import operators
from bench.foreign.archives import Archive, of_bytes
from bench.foreign.roles import Opened, Role, declared, quiet

EXPORT_AGAIN = "export it again with torch.export.save of torch 2.8 or newer"

ATEN = re.compile(r"torch\.ops\.aten\.(\w+)\.(?!__)\w+")
OPERATOR = re.compile(
    r"torch\.ops\.higher_order\.wrap_with_(set_grad_enabled|autocast)"
    r"|_operator\.(getitem|add|sub|mul|floordiv|truediv|mod|neg|pow|eq|ne|lt|le|gt|ge|and_|or_|not_)"
    r"|math\.(ceil|floor|trunc|sqrt)|torch\.sym_(int|float|ite|max|min|not|sqrt)"
)
EXPRESSION_WORD = re.compile(
    r"[suz]\d+|Symbol|Integer|Float|Rational|positive|nonnegative|negative|integer|real|precision|True|False|oo|int_oo"
    r"|Max|Min|Mod|PythonMod|FloorDiv|CleanDiv|ModularIndexing|IntTrueDiv|FloatTrueDiv|TruncToInt|CeilToInt|FloorToInt"
    r"|ToFloat|Eq|Ne|Ge|Le|Lt|Gt|And|Or|Not|Add|Mul|Pow|Piecewise"
)
EXPRESSION = re.compile(r"[\w'.+*/(),<>=!&|~ -]{0,10000}", re.ASCII)
ATTRIBUTE = re.compile(r"\.\s*[A-Za-z_]|[A-Za-z_]\w*\s*\.", re.ASCII)
POWER = re.compile(r"\*\*|\bPow\b")
POWER_OF_A_SIZE = re.compile(r"\b[suz]\d+ ?\*\* ?\d(?!\w)|Pow\(Symbol\('\w+'[^()]*\), Integer\(\d\)\)")
PLAIN = re.compile(r"[\w.+:\-]*")


def open_pt2(name: str, role: Role, data: bytes, device: torch.device) -> Opened:
    """The network in ``data``, on ``device``; BenchError where anything in it is no part of a plain network."""
    _vet(name, role, of_bytes(name, data, EXPORT_AGAIN))
    with quiet():
        program = torch.export.load(io.BytesIO(data))
        if device.type != "cpu":
            from torch.export.passes import move_to_device_pass

            program = move_to_device_pass(program, device)
        network = program.module()
    inputs = program.graph_signature.user_inputs
    shapes = [
        list(node.meta["val"].shape)
        for node in program.graph.nodes
        if node.op == "placeholder" and node.name in inputs and isinstance(node.meta.get("val"), Tensor)
    ]
    if len(inputs) != 1 or len(shapes) != 1:
        raise BenchError(f"{name} takes {len(inputs)} inputs; it must take {role.takes} {role.takes_shape} alone")
    return Opened(network, declared(name, role, shapes[0]))


def _vet(name: str, role: Role, archive: Archive) -> None:
    """BenchError unless nothing in the archive makes ``torch.export.load`` or the loaded network run foreign code."""
    members = archive.members
    if [member for member in members if member.startswith("models/")] != ["models/model.json"]:
        raise BenchError(f"{name} holds several networks; export the {role.noun} alone")
    for member in members:
        if member.startswith("data/aotinductor") or member.endswith((".so", ".cpp", ".cubin")):
            raise BenchError(f"{name} holds a compiled library ({member}), which is not opened; use torch.export.save")
    for kind, prefix in (("weights", "weight_"), ("constants", "tensor_")):
        if f"data/{kind}/model.pt" in members:
            raise BenchError(f"{name} holds pickled {kind}, which are not opened; {EXPORT_AGAIN}")
        config = json.loads(archive.read(f"data/{kind}/model_{kind}_config.json"))["config"]
        for key, entry in config.items():
            if entry.get("use_pickle") is not False or not entry["path_name"].startswith(prefix):
                raise BenchError(
                    f"{name} holds a pickle ({key!r}), which may run any code, so it is not opened; "
                    "plain dense tensors as weights need none"
                )
    sample = archive.read("data/sample_inputs/model.pt")
    if sample:
        try:
            names_asked_for(io.BytesIO(of_bytes(name, sample, EXPORT_AGAIN).read("data.pkl")))
            torch.load(io.BytesIO(sample), weights_only=True)
        except Exception as error:
            raise BenchError(f"{name} holds a pickle (its example inputs) that is more than tensors") from error
    program = json.loads(archive.read("models/model.json"))
    if program.get("guards_code"):
        raise BenchError(f"{name} holds guards written as code, which is not run; export it without constraints")
    for key, text in _texts(program):
        if not _is_harmless(key, text):
            raise BenchError(f"{name} holds {text[:60]!r} as its {key}, which is no part of a plain network")


def _texts(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Every (key, text) of a JSON value that can reach torch's loader; a mapping's own keys count as texts too."""
    if isinstance(value, dict):
        is_node = isinstance(value.get("target"), str)
        for name, inner in value.items():
            yield "name", name
            # Where an operator came from is shown in error messages and never run.
            if not (is_node and name == "metadata" and all(isinstance(one, str) for one in inner.values())):
                yield from _texts(inner, name)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner, key)
    elif isinstance(value, str):
        yield key, value


def _is_harmless(key: str, text: str) -> bool:
    if key in ("target", "as_operator"):
        aten = ATEN.fullmatch(text)
        return operators.admitted(aten[1]) if aten else OPERATOR.fullmatch(text) is not None
    if key == "expr_str":  # torch hands it to sympy, which hands it to eval
        return _is_arithmetic(text)
    if key in ("in_spec", "out_spec"):
        return not text or _is_plain_tree(json.loads(text)[1])
    return key in ("as_string", "as_strings") or PLAIN.fullmatch(text) is not None


def _is_arithmetic(text: str) -> bool:
    """Whether an expression is one, and worked out at once: a power of a power has more digits than there is memory."""
    words = re.findall(r"[A-Za-z_]\w*", re.sub(r"Symbol\('\w+'", "Symbol(", text))
    return (
        EXPRESSION.fullmatch(text) is not None
        and ATTRIBUTE.search(text) is None
        and all(EXPRESSION_WORD.fullmatch(word) for word in words)
        and len(POWER_OF_A_SIZE.findall(text)) == len(POWER.findall(text))
    )


def _is_plain_tree(node: dict[str, Any]) -> bool:
    """Whether a serialised structure of arguments is of tuples, lists and dictionaries with plain keys."""
    context = json.loads(node["context"]) if isinstance(node["context"], str) else node["context"]
    plain = context is None or (isinstance(context, list) and all(isinstance(one, str | int) for one in context))
    known = node["type"] in (None, "builtins.tuple", "builtins.list", "builtins.dict")
    return plain and known and all(_is_plain_tree(child) for child in node["children_spec"])
