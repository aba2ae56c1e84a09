"""Tiny generators such as a user might bring: as networks, as files of each format, and as importable objects."""

from __future__ import annotations

import struct
import warnings
from pathlib import Path

import torch
from checkpoints import small
from torch import Tensor, nn

from bench.planning.catalogue import Variant, variants


def _covered(name: str, one: Variant) -> bool:
    if any(setting.endswith(".weights") for setting in one.own):
        maml = name.startswith(("lasium-ro-", "cactus-vgg19")) and name.endswith("-maml")
        return maml or name == "embedding-knn-vgg19"
    slow = bool(one.own) or {"deepcluster", "simclr", "moco", "psco"} & set(name.split("-")[1:])
    return not slow or name.endswith("-maml") or name.startswith("embedding-knn")


COVERED = sorted(name for name, one in variants().items() if _covered(name, one))
"""Every method, but of those with a network of the user's own, or a slow encoder, the ones with MAML or nearest
neighbours, and of those that need public weights one for each network: the rest differ in nothing."""

LATENT = 6
SIDE = 28


class Tiny(nn.Module):
    """z [n, LATENT] -> [n, channels, side, side]; ``fault`` names what is wrong with it."""

    def __init__(self, channels: int = 1, side: int = SIDE, fault: str = "") -> None:
        super().__init__()
        self.shape = channels, side, side
        self.fault = fault
        self.dense = nn.Linear(LATENT, channels * side * side)
        self.norm = nn.BatchNorm1d(LATENT)
        with torch.no_grad():
            rng = torch.Generator().manual_seed(5)
            self.dense.weight.copy_(torch.randn(self.dense.weight.shape, generator=rng))
            self.dense.bias.copy_(torch.randn(self.dense.bias.shape, generator=rng))

    def forward(self, z: Tensor) -> Tensor:
        if self.fault == "batch norm":
            z = self.norm(z)
        if self.fault == "noise":
            z = z + torch.randn_like(z)
        x = torch.sigmoid(self.dense(z)).unflatten(1, self.shape)
        if self.fault == "tanh":
            x = 2 * x - 1
        if self.fault == "nan":
            x = torch.where(x > 0.01, x, torch.full_like(x, torch.nan))
        if self.fault == "flat":
            x = x.flatten(1)
        if self.fault == "whole":
            x = (255 * x).to(torch.int32)
        return x


class Seer(nn.Module):
    """images [n, channels, side, side] -> embeddings [n, 5]; ``fault`` names what is wrong with it."""

    def __init__(self, channels: int = 1, side: int = SIDE, fault: str = "") -> None:
        super().__init__()
        self.fault = fault
        self.dense = nn.Linear(channels * side * side, 5)
        self.norm = nn.BatchNorm1d(5)
        with torch.no_grad():
            rng = torch.Generator().manual_seed(6)
            self.dense.weight.copy_(torch.randn(self.dense.weight.shape, generator=rng) / side)
            self.dense.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        found = torch.tanh(self.dense(x.flatten(1)))
        if self.fault == "batch norm":
            found = self.norm(found)
        if self.fault == "nan":
            found = torch.where(found > 0, found, torch.full_like(found, torch.nan))
        if self.fault == "maps":
            found = found[:, :, None, None]
        if self.fault == "whole":
            found = (100 * found).to(torch.int32)
        if self.fault == "collapsed":
            found = found * 0 + 1
        return found


def reference(z: Tensor, network: Tiny) -> Tensor:
    """What a faultless Tiny makes of z, computed in float64 by hand."""
    logits = z.double() @ network.dense.weight.double().T + network.dense.bias.double()
    return (1 / (1 + torch.exp(-logits))).reshape(len(z), *network.shape)


def save_pt2(path: Path, network: nn.Module, batch: int | None = None, shape: tuple[int, ...] = (LATENT,)) -> Path:
    """A torch.export file for inputs of ``shape``, of a dynamic batch or of exactly ``batch``."""
    n = torch.export.Dim("n")
    example = torch.randn(batch or 2, *shape)
    program = torch.export.export(network, (example,), dynamic_shapes=None if batch else ({0: n},))
    torch.export.save(program, path)
    return path


def save_torchscript(path: Path, network: nn.Module, shape: tuple[int, ...] = (LATENT,)) -> Path:
    """A traced TorchScript file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.trace(network, torch.randn(2, *shape)).save(str(path))
    return path


def save_onnx(path: Path, network: Tiny, batch: int | None = None, external: bool = False) -> Path:
    """An ONNX file of a Tiny, written field by field (onnx.proto), so that no exporter is needed."""
    weight, bias = network.dense.weight.detach(), network.dense.bias.detach()
    shape = torch.tensor([-1, *network.shape])

    def tensor(name: str, value: Tensor) -> bytes:
        kind = 7 if value.dtype == torch.int64 else 1
        dims = b"".join(_varint(1, size) for size in value.shape)
        outside = _text(13, _text(1, "location") + _text(2, "weights.bin")) + _varint(14, 1) if external else b""
        return dims + _varint(2, kind) + _text(8, name) + _text(9, value.numpy().tobytes()) + outside

    def node(kind: str, inputs: list[str], output: str, attributes: bytes = b"") -> bytes:
        return b"".join(_text(1, one) for one in inputs) + _text(2, output) + _text(4, kind) + attributes

    def value(name: str, sizes: list[int | str]) -> bytes:
        dims = b"".join(_text(1, _varint(1, s) if isinstance(s, int) else _text(2, s)) for s in sizes)
        return _text(1, name) + _text(2, _text(1, _varint(1, 1) + _text(2, dims)))

    transposed = _text(5, _text(1, "transB") + _varint(3, 1) + _varint(20, 2))
    n: int | str = batch or "n"
    graph = (
        _text(1, node("Gemm", ["z", "weight", "bias"], "logits", transposed))
        + _text(1, node("Sigmoid", ["logits"], "pixels"))
        + _text(1, node("Reshape", ["pixels", "shape"], "images"))
        + _text(2, "tiny")
        + b"".join(_text(5, tensor(*one)) for one in (("weight", weight), ("bias", bias), ("shape", shape)))
        + _text(11, value("z", [n, weight.shape[1]]))
        + _text(12, value("images", [n, *network.shape]))
    )
    path.write_bytes(_varint(1, 8) + _text(7, graph) + _text(8, _varint(2, 17)))
    return path


def own_settings(variant: Variant, file: Path) -> list[str]:
    """What the user must give for a variant, such as ``generator.path=…``: ``file``, or the object :func:`decode`.

    An encoder's file is ``encoder.pt2`` beside ``file``, its object is :func:`encode`.
    """
    given = {
        "generator.path": [f"generator.path={file}"],
        "generator.callable": ["generator.callable=own_generators:decode", f"generator.latent_dim={LATENT}"],
        "encoder.path": [f"encoder.path={file.with_name('encoder.pt2')}"],
        "encoder.callable": ["encoder.callable=own_generators:encode"],
    }
    for word, key in zip(variant.own_words, variant.own):
        if key.endswith(".weights"):
            given[key] = [f"{key}={small(word, file.parent)}"]
    grey = [f"{key.split('.')[0]}.convert_channels=true" for key in variant.own if key == "generator.weights"]
    return [*(text for key in variant.own for text in given[key]), *grey]


def _varint(field: int, number: int) -> bytes:
    return _encoded(field << 3) + _encoded(number)


def _text(field: int, content: str | bytes) -> bytes:
    content = content.encode() if isinstance(content, str) else content
    return _encoded(field << 3 | 2) + _encoded(len(content)) + content


def _encoded(number: int) -> bytes:
    number &= (1 << 64) - 1
    out = b""
    while number > 127:
        out += struct.pack("B", number & 127 | 128)
        number >>= 7
    return out + struct.pack("B", number)


class Evil:
    """Pickled, it leaves a file behind as soon as it is unpickled."""

    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> tuple[object, ...]:
        return open, (str(self.witness), "w")


# What `generator=object` can name:


def decode(z: Tensor) -> Tensor:
    """A plain function from latents to images."""
    return torch.sigmoid(z.sum(dim=1)[:, None, None, None] + torch.linspace(-3, 3, SIDE * SIDE).view(1, 1, SIDE, SIDE))


def encode(x: Tensor) -> Tensor:
    """A plain function from images to embeddings: row and column means."""
    return torch.cat([x.mean(3).flatten(1), x.mean(2).flatten(1)], 1)


def make() -> nn.Module:
    """A factory of a module, left in training mode."""
    return Tiny()


def broken() -> nn.Module:
    """A factory that fails."""
    raise OSError("weights.pth is missing")


def with_gradients(z: Tensor) -> Tensor:
    """A generator that insists on gradients."""
    with torch.enable_grad():
        return decode(z.requires_grad_())


NOT_CALLABLE = 3
