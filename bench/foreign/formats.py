"""Opening the file of a network without running any code that came with it.

Three formats hold a network as data: ``.pt2`` (torch.export), TorchScript and ONNX. Everything else is refused, above
all pickles, which may run anything while they are read. Even ``torch.export.load`` unpickles, evaluates expressions
and resolves names that it finds in an archive, so such an archive is looked through first (:func:`_vet_pt2`): no
pickle but of plain tensors, no compiled library, no operator outside ``aten``, no expression but arithmetic.

A file is read once, and what was hashed is what is opened. This keeps code out; a file made to exhaust memory or time,
or to exploit a fault of torch or onnxruntime themselves, is beyond it.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import json
import logging
import re
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.basics.errors import BenchError

ENDINGS = {".pt2": "pt2", ".pt": "torchscript", ".ts": "torchscript", ".torchscript": "torchscript", ".onnx": "onnx"}
PICKLE_ENDINGS = (".pth", ".pkl", ".pickle", ".ckpt", ".bin", ".tar")
PICKLE = (
    "is a pickle (a state dict or a module saved with torch.save), which may run any code when it is read, so it is "
    "not opened; export the network with torch.export.save to a .pt2 file"
)
EXPORT_AGAIN = "export it again with torch.export.save of torch 2.8 or newer"

OPERATOR = re.compile(
    r"torch\.ops\.aten\.(?!__|save\b|from_file\b)\w+\.(?!__)\w+"
    r"|torch\.ops\.higher_order\.wrap_with_(set_grad_enabled|autocast)"
    r"|_operator\.(getitem|add|sub|mul|floordiv|truediv|mod|neg|pow|eq|ne|lt|le|gt|ge|and_|or_|not_)"
    r"|math\.(ceil|floor|trunc|sqrt)|torch\.sym_(int|float|ite|max|min|not|sqrt)"
)
EXPRESSION_WORD = re.compile(
    r"[suz]\d+|Symbol|Integer|Float|Rational|positive|nonnegative|negative|integer|real|precision|True|False|oo|int_oo"
    r"|Max|Min|Mod|PythonMod|FloorDiv|CleanDiv|ModularIndexing|IntTrueDiv|FloatTrueDiv|TruncToInt|CeilToInt|FloorToInt"
    r"|ToFloat|Eq|Ne|Ge|Le|Lt|Gt|And|Or|Not|Add|Mul|Pow|Piecewise"
)
EXPRESSION = re.compile(r"[\w'.+*/(),<>=!&|~ -]*", re.ASCII)
ATTRIBUTE = re.compile(r"\.\s*[A-Za-z_]|[A-Za-z_]\w*\s*\.", re.ASCII)
PLAIN = re.compile(r"[\w.+:\-]*")
SCRIPT_TOUCHES_FILES = re.compile(rb"\b(save|from_file|load_tensor)\s*\(")


@dataclass(frozen=True, slots=True)
class Role:
    """What a network of the user's is there for: the words of its messages, and the dimensions of its input."""

    noun: str
    """Also the configuration group that its settings are in."""
    takes: str
    takes_shape: str
    gives: str
    gives_shape: str
    dimensions: int


GENERATOR = Role("generator", "latents", "[n, latent_dim]", "images", "[n, C, H, W]", 2)
ENCODER = Role("encoder", "images", "[n, C, H, W]", "embeddings", "[n, d]", 4)


@dataclass(frozen=True, slots=True)
class Opened:
    """A network: ``run`` takes a float32 batch; ``shape`` of it is declared, with None for what is left open."""

    run: Callable[[Tensor], Any]
    shape: tuple[int | None, ...] | None = None


def check_file(path: Path, role: Role) -> str:
    """The format of a file (``pt2``, ``torchscript``, ``onnx``) by its ending and its outside; nothing is opened.

    BenchError for a file that is missing, of another ending, a pickle, damaged, or another format than its ending says.
    """
    ending = path.suffix.lower()
    if ending not in ENDINGS:
        if ending in PICKLE_ENDINGS and path.is_file():
            raise BenchError(f"{role.noun} file {path} {PICKLE}")
        raise BenchError(
            f"{role.noun} file {path} must end in one of {', '.join(ENDINGS)}, not in {ending or 'nothing'!r}"
        )
    try:
        with open(path, "rb") as file:
            head = file.read(4)
            names = zipfile.ZipFile(file).namelist() if head[:2] == b"PK" else []
    except FileNotFoundError as error:
        where = "" if path.is_absolute() else f" in {Path.cwd()}"
        raise BenchError(f"{role.noun} file {path} does not exist{where}") from error
    except (OSError, zipfile.BadZipFile, ValueError) as error:
        raise BenchError(f"{role.noun} file {path} is damaged or cannot be read ({error}); export it again") from error
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
    stat = path.stat()
    return _sha256(path.resolve(), stat.st_mtime_ns, stat.st_size)


def open_file(path: Path, role: Role, expected: str, device: torch.device) -> Opened:
    """The network in ``path``, on ``device``. BenchError where it is not what its SHA-256 ``expected`` says, or has
    been exported for batches of one size.
    """
    kind = check_file(path, role)
    data = path.read_bytes()
    found = hashlib.sha256(data).hexdigest()
    if found != expected:
        raise BenchError(f"{role.noun} file {path} has changed since this run was planned; run the same command again")
    name = f"{role.noun} file {path}"
    try:
        opener = {"pt2": _open_pt2, "torchscript": _open_torchscript, "onnx": _open_onnx}[kind]
        opened = opener(name, role, data, device)
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


@cache
def _sha256(path: Path, mtime_ns: int, size: int) -> str:
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise BenchError(f"cannot read {path}: {error.strerror or error}") from error


def _open_pt2(name: str, role: Role, data: bytes, device: torch.device) -> Opened:
    _vet_pt2(name, role, data)
    with _quiet():
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
    return Opened(network, _declared(name, role, shapes[0]))


def _open_torchscript(name: str, role: Role, data: bytes, device: torch.device) -> Opened:
    """TorchScript runs in torch's own interpreter, which has no Python, but has operators that write files."""
    reader = torch._C.PyTorchFileReader(io.BytesIO(data))
    for record in reader.get_all_records():
        if record.startswith("code/") and record.endswith(".py"):
            found = SCRIPT_TOUCHES_FILES.search(reader.get_record(record))
            if found:
                raise BenchError(f"{name} calls {found[1].decode()}(), which touches files: it is not opened")
    with _quiet():
        network = torch.jit.load(io.BytesIO(data), map_location=device).eval()  # type: ignore[no-untyped-call]
    return Opened(network)


def _open_onnx(name: str, role: Role, data: bytes, device: torch.device) -> Opened:
    """Runs on the CPU whatever ``device`` is; what it makes is then moved there."""
    import onnxruntime

    if b"\n\x08location\x12" in data:  # an entry of TensorProto.external_data
        raise BenchError(
            f"{name} keeps weights in a second file, which no hash covers; export with external_data=False"
        )
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

    return Opened(run, _declared(name, role, inputs[0].shape))


def _declared(name: str, role: Role, shape: list[Any]) -> tuple[int | None, ...]:
    """A declared input shape; a dynamic size is None."""
    if len(shape) != role.dimensions:
        shown = ", ".join(str(size) if isinstance(size, int) else "n" for size in shape)
        raise BenchError(
            f"{name} takes inputs [{shown}]; it must take {role.takes} {role.takes_shape}: export it in a wrapper"
        )
    return tuple(size if isinstance(size, int) else None for size in shape)


def _vet_pt2(name: str, role: Role, data: bytes) -> None:
    """BenchError unless nothing in the archive makes ``torch.export.load`` or the loaded network run foreign code.

    The archive is read by the reader that will load it, so the two cannot see different members.
    """
    # Older archives, which torch reads in another way, have members outside the one folder of all others.
    folders, _, members = zip(*(member.partition("/") for member in zipfile.ZipFile(io.BytesIO(data)).namelist()))
    if len(set(folders)) != 1 or len(set(members)) != len(members):
        raise BenchError(f"{name} is no archive as torch writes them; {EXPORT_AGAIN}")
    reader = torch._C.PyTorchFileReader(io.BytesIO(data))
    records = reader.get_all_records()
    if sorted(members) != sorted(records):
        raise BenchError(f"{name} is no archive as torch writes them; {EXPORT_AGAIN}")
    if [record for record in records if record.startswith("models/")] != ["models/model.json"]:
        raise BenchError(f"{name} holds several networks; export the {role.noun} alone")
    for record in records:
        if record.startswith("data/aotinductor") or record.endswith((".so", ".cpp", ".cubin")):
            raise BenchError(f"{name} holds a compiled library ({record}), which is not opened; use torch.export.save")
    for kind, prefix in (("weights", "weight_"), ("constants", "tensor_")):
        if f"data/{kind}/model.pt" in records:
            raise BenchError(f"{name} holds pickled {kind}, which are not opened; {EXPORT_AGAIN}")
        config = json.loads(reader.get_record(f"data/{kind}/model_{kind}_config.json"))["config"]
        for key, entry in config.items():
            if entry.get("use_pickle") is not False or not entry["path_name"].startswith(prefix):
                raise BenchError(
                    f"{name} holds a pickle ({key!r}), which may run any code, so it is not opened; "
                    "plain dense tensors as weights need none"
                )
    sample = reader.get_record("data/sample_inputs/model.pt")
    if sample:
        try:
            torch.load(io.BytesIO(sample), weights_only=True)
        except Exception as error:
            raise BenchError(f"{name} holds a pickle (its example inputs) that is more than tensors") from error
    program = json.loads(reader.get_record("models/model.json"))
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
        return OPERATOR.fullmatch(text) is not None
    if key == "expr_str":  # torch hands it to sympy, which hands it to eval
        words = re.findall(r"[A-Za-z_]\w*", re.sub(r"Symbol\('\w+'", "Symbol(", text))
        plain = EXPRESSION.fullmatch(text) is not None and ATTRIBUTE.search(text) is None
        return plain and all(EXPRESSION_WORD.fullmatch(word) for word in words)
    if key in ("in_spec", "out_spec"):
        return not text or _is_plain_tree(json.loads(text)[1])
    return key in ("as_string", "as_strings") or PLAIN.fullmatch(text) is not None


def _is_plain_tree(node: dict[str, Any]) -> bool:
    """Whether a serialised structure of arguments is of tuples, lists and dictionaries with plain keys."""
    context = json.loads(node["context"]) if isinstance(node["context"], str) else node["context"]
    plain = context is None or (isinstance(context, list) and all(isinstance(one, str | int) for one in context))
    known = node["type"] in (None, "builtins.tuple", "builtins.list", "builtins.dict")
    return plain and known and all(_is_plain_tree(child) for child in node["children_spec"])


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the warnings of torch's loaders: what is wrong becomes one sentence."""
    log = logging.getLogger("torch.export")
    before = log.disabled
    log.disabled = True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.disabled = before


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[:160]
