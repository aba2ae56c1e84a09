"""TorchScript networks, looked through before torch opens them.

TorchScript runs in torch's own interpreter, which has no Python; but it has operators that write files, that start
other work and that change the process. So its code may name no operator but those of :mod:`bench.foreign.operators`,
wherever and however it names it: every word of it is looked at, in text and comments too, because whatever stands for
an operator must be spelled somewhere. Beyond that it must be of the few forms that torch itself writes, and its pickles
must name nothing but tensors and the classes of that code.
"""

from __future__ import annotations

import ast
import io
import re
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

from bench.basics.errors import BenchError
from bench.datasets.pickle_bounds import names_asked_for
from bench.foreign import operators
from bench.foreign.archives import Archive, of_bytes
from bench.foreign.roles import Opened, quiet

INSTEAD = "export it with torch.export.save to a .pt2 file"
MEMBER = re.compile(
    r"(data|constants|traced_inputs)(\.pkl|/\d+)|code/[\w/]+\.py(\.debug_pkl)?|(\.data/)?version|byteorder"
    r"|\.data/serialization_id|\.format_version|\.storage_alignment|extra/.+",
    re.ASCII,
)
CODE = re.compile(r"code/.+\.py")
PICKLED = re.compile(
    r"torch \w+Storage|torch\._utils _rebuild_(tensor_v2|parameter)|torch (device|Size)|collections OrderedDict"
    r"|torch\.jit\._pickle (build_(int|double|bool|tensor)list|build_tensor_from_id|restore_type_tag)"
    r"|__torch__(?!\.torch\.classes)[\w.]* \w+",
    re.ASCII,
)
MOST_CODE = 4 * 2**20  # bytes
DEEPEST = 100  # expressions and blocks within each other
MOST_STEPS = 2_000_000  # of a pickle

WORD = re.compile(r"[^\W\d]\w*")
# With these text could spell a word that is not there to be seen, or call what is no operator.
ESCAPE = re.compile(r"""\\(?![abfnrtv"'\\]|[23]\d\d)""")
NAMESPACE = re.compile(r"(?<![\w.])ops\b(?!\.(prim|aten)\.\w)")
SPECIAL = frozenset({"print", "fork", "awaitable", "classes", "PythonOp", "IgnoredPythonOp"})

NODES = (
    *(ast.Module, ast.ClassDef, ast.FunctionDef, ast.arguments, ast.arg, ast.Return, ast.Assign, ast.AnnAssign),
    *(ast.Expr, ast.If, ast.For, ast.While, ast.With, ast.withitem, ast.Pass, ast.IfExp, ast.expr_context, ast.keyword),
    *(ast.Call, ast.Attribute, ast.Name, ast.Subscript, ast.Slice, ast.Constant, ast.List, ast.Tuple, ast.Dict),
    *(ast.UnaryOp, ast.unaryop, ast.BinOp, ast.operator, ast.BoolOp, ast.boolop, ast.Compare, ast.cmpop),
)
# Names that stand for something without having been given a value.
_KNOWN = """
    torch ops CONSTANTS __torch__ annotate unchecked_cast uninitialized getattr isinstance range int float bool str len
    complex number inf nan infj nanj Module NamedTuple Enum Interface Tensor List Dict Tuple Optional Union Final Any
    NoneType Device Generator Future Await RRef AnyClassType Exception __annotations__ min max abs round
"""
KNOWN = frozenset(_KNOWN.split())


def open_torchscript(name: str, data: bytes, device: torch.device) -> Opened:
    """The network in ``data``, on ``device``; BenchError where its code could do anything but work out tensors."""
    _vet(name, of_bytes(name, data, "save it again with torch.jit.save"))
    with quiet():
        network = torch.jit.load(io.BytesIO(data), map_location=device).eval()  # type: ignore[no-untyped-call]
    return Opened(_unheard(network))


def _unheard(network: Callable[[Tensor], Any]) -> Callable[[Tensor], Any]:
    """Without the warnings that it writes: they are a stranger's text."""

    def run(x: Tensor) -> Any:
        with quiet():
            return network(x)

    return run


def _vet(name: str, archive: Archive) -> None:
    code = 0
    for member in archive.members:
        if not MEMBER.fullmatch(member):
            raise BenchError(f"{name} holds {member[:60]!r}, which is no part of a network; {INSTEAD}")
        if member.endswith("pkl"):
            _vet_pickle(name, member, archive.read(member))
        elif CODE.fullmatch(member):
            text = archive.read(member)
            code += len(text)
            if code > MOST_CODE:
                raise BenchError(f"{name} has more than {MOST_CODE} bytes of code; {INSTEAD}")
            _vet_code(name, member, text.decode("ascii"))


def _vet_pickle(name: str, member: str, content: bytes) -> None:
    try:
        asked = names_asked_for(io.BytesIO(content), MOST_STEPS)
    except Exception as error:
        raise BenchError(f"{name} is damaged, or holds a pickle ({member}) that is not torch's ({error})") from error
    for one in asked:
        if not PICKLED.fullmatch(one):
            raise BenchError(f"{name} names {one[:60]!r} in a pickle, which is no part of a network; {INSTEAD}")


def _vet_code(name: str, member: str, text: str) -> None:
    for word in dict.fromkeys(WORD.findall(text)):
        if word in SPECIAL or (word in _every_operator() and not operators.admitted(word, script=True)):
            raise BenchError(
                f"{name} names {word!r} in its code, which is not among the operators that a network needs; {INSTEAD}"
            )
    strange = ESCAPE.search(text) or NAMESPACE.search(text)
    if strange:
        found = text[strange.start() : strange.start() + 40].splitlines()[0]
        raise BenchError(f"{name} has {found!r} in its code, which torch does not write in a network; {INSTEAD}")
    problem = _unusual(ast.parse(text))
    if problem:
        raise BenchError(f"{name} has {problem} in {member}, which torch does not write in a network; {INSTEAD}")


def _unusual(tree: ast.Module) -> str | None:
    """The first thing in some code that is not of the forms in which torch writes networks."""
    waiting: list[tuple[ast.AST, int]] = [(tree, 0)]
    given, used = set(KNOWN), {}
    while waiting:
        node, depth = waiting.pop()
        if not isinstance(node, NODES):
            return type(node).__name__.lower()
        if depth > DEEPEST:
            return f"more than {DEEPEST} expressions within each other"
        if isinstance(node, ast.arg):
            given.add(node.arg)
        elif isinstance(node, ast.ClassDef | ast.FunctionDef) and node.decorator_list:
            return "a decorator"
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            given.add(node.id)
        elif isinstance(node, ast.Name):
            used[node.id] = node
        elif _is_call_of_getattr(node) and not _is_one_word(node):
            return "an attribute whose name is put together"
        waiting += [(child, depth + 1) for child in ast.iter_child_nodes(node)]
    unknown = next((word for word in used if word not in given), None)
    return f"the unknown name {unknown!r}" if unknown else None


def _is_call_of_getattr(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "getattr"


def _is_one_word(call: Any) -> bool:
    """Whether the second of two arguments is one text in one piece, as layers that are numbers are named: ``"0"``."""
    if len(call.args) != 2 or call.keywords or not isinstance(call.args[1], ast.Constant):
        return False
    name: Any = call.args[1]
    in_one_piece = name.lineno == name.end_lineno and name.end_col_offset - name.col_offset == len(str(name.value)) + 2
    return in_one_piece and re.fullmatch(r"[ -~]+", str(name.value)) is not None


@cache
def _every_operator() -> frozenset[str]:
    """The name of every operator of this torch that TorchScript can name without its namespace, or in ``ops.prim``."""
    every = {schema.name for schema in torch._C._jit_get_all_schemas()} | set(torch._C._dispatch_get_all_op_names())
    split = (one.partition("::") for one in every)
    return frozenset(name.partition(".")[0] for namespace, _, name in split if namespace in ("aten", "prim"))
