"""StyleGAN2 (Karras et al. 2020), in either of two layouts of public checkpoints."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.basics.errors import BenchError
from bench.basics.seeds import Seed
from bench.foreign.pretrained import Checkpoint, State
from methods.generators.pretrained import Decoder, Pretrained

VERSION = 1
"""Raised whenever the same settings would make other images of the same checkpoint."""

OFFICIAL = "StyleGAN2 in the layout of stylegan2-ada-pytorch"
LUCIDRAINS = "StyleGAN2 in the layout of stylegan2_pytorch"
DEMODULATION_EPS = 1e-8


@dataclass(frozen=True)
class StyleGAN2(Pretrained):
    """The generator of Karras et al. 2020, one style for all layers, no truncation.

    Two layouts are told apart by their names: that of NVlabs/stylegan2-ada-pytorch (``torch.save(G_ema.state_dict(),
    'g.pt')``, unconditional, with skips, which are its defaults), and the files ``model_N.pt`` of lucidrains'
    stylegan2_pytorch, which is close to the program with which the authors of LASIUM trained theirs on Fungi, of which
    no weights are published. Noise inside is fixed: that of the checkpoint, or one noise image.

    averaged: stylegan2_pytorch only: take the weights averaged over the training, else the last, as the authors did.
    """

    averaged: bool = True

    what: ClassVar[str] = "StyleGAN2 weights"

    def network(self, checkpoint: Checkpoint) -> Official | Lucidrains:
        """See :class:`Pretrained`."""
        state = checkpoint.state("GAN", "G_ema")
        if "mapping.w_avg" in state.tensors:
            return Official.of(state)
        if not any(key.startswith("GE.") for key in state.tensors):
            raise BenchError(
                f"{state.name} is no StyleGAN2 of a known layout: neither mapping.w_avg (stylegan2-ada-pytorch) nor "
                f"GE.initial_block (stylegan2_pytorch) is among its {len(state.tensors)} tensors"
            )
        names = {"SE": "SE", "GE": "GE"} if self.averaged else {"S": "SE", "G": "GE"}
        split = {key: key.partition(".") for key in state.tensors}
        wanted = {key: names[part] + dot + rest for key, (part, dot, rest) in split.items() if part in names}
        return Lucidrains.of(state.renamed({new: state.tensors[key] for key, new in wanted.items()}))


class Official(Decoder):
    """z [n, d] -> images [n, 3, S, S] in [0, 1]; the values before that lie about [-1, 1] and are clipped there.

    Karras et al. 2020, §2 and §4: z of unit mean square; dense layers to w, of which every layer takes its own affine
    style; from a constant 4x4, then at doubled sides, two modulated 3x3 convolutions (the first upsamples and blurs
    with [1, 3, 3, 1]), each with noise, bias and LeakyReLU 0.2 times sqrt(2); colours of all sides are added up.
    Weights are scaled by 1 / sqrt(fan in) at run time, those of the mapping by a hundredth of that.
    """

    def __init__(self, latent_dim: int, style_dim: int, layers: int, widths: list[int]) -> None:
        super().__init__()
        self.latent_dim = latent_dim
        with torch.device("meta"):
            self.mapping = Mapping(latent_dim, style_dim, layers)
            self.synthesis = nn.ModuleDict({"b4": Block(4, 0, widths[0], style_dim)})
            for i, (inputs, outputs) in enumerate(pairwise(widths)):
                self.synthesis[f"b{8 << i}"] = Block(8 << i, inputs, outputs, style_dim)

    @classmethod
    def of(cls, state: State) -> Official:
        """With the weights of ``state``; BenchError where they do not fit."""
        latent_dim = state.size("mapping.fc0.weight", 1, OFFICIAL)
        style_dim = state.size("mapping.w_avg", 0, OFFICIAL)
        widths, side = [state.size("synthesis.b4.const", 0, OFFICIAL)], 8
        while f"synthesis.b{side}.conv1.weight" in state.tensors:
            widths.append(state.size(f"synthesis.b{side}.conv1.weight", 0, OFFICIAL))
            side *= 2
        network = cls(latent_dim, style_dim, state.count("mapping.fc{}.weight"), widths)
        state.into(network, OFFICIAL)
        return network

    def forward(self, z: Tensor) -> Tensor:
        """See the class."""
        w = self.mapping(z)
        x, image = None, None
        for block in self.synthesis.values():
            x, image = block(x, image, w)
        return ((image + 1) / 2).clamp(0, 1)


class Dense(nn.Module):
    """[n, in] -> [n, out], its weight scaled by ``rate`` / sqrt(in) and its bias by ``rate``."""

    def __init__(self, inputs: int, outputs: int, rate: float = 1.0) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.empty(outputs, inputs)), nn.Parameter(torch.empty(outputs))
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return F.linear(x, self.weight * (self.rate / math.sqrt(self.weight.shape[1])), self.bias * self.rate)


class Mapping(nn.Module):
    """z [n, d] -> w [n, style_dim]. ``w_avg`` is there for truncation, which is not used."""

    def __init__(self, latent_dim: int, style_dim: int, layers: int) -> None:
        super().__init__()
        self.register_buffer("w_avg", torch.empty(style_dim))
        self.layers = layers
        for i in range(layers):
            self.add_module(f"fc{i}", Dense(latent_dim if i == 0 else style_dim, style_dim, rate=0.01))

    def forward(self, z: Tensor) -> Tensor:
        """See the class."""
        w = z * (z.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()
        for i in range(self.layers):
            w = _activated(self.get_submodule(f"fc{i}")(w))
        return w


class Block(nn.Module):
    """All layers of one side; the first block (``inputs`` 0) begins with a constant."""

    def __init__(self, side: int, inputs: int, outputs: int, style_dim: int) -> None:
        super().__init__()
        self.register_buffer("resample_filter", torch.empty(4, 4))
        if inputs:
            self.conv0 = Layer(side, inputs, outputs, style_dim)
        else:
            self.const = nn.Parameter(torch.empty(outputs, side, side))
        self.conv1 = Layer(side, outputs, outputs, style_dim)
        self.torgb = Colours(outputs, style_dim)

    def forward(self, x: Tensor | None, image: Tensor | None, w: Tensor) -> tuple[Tensor, Tensor]:
        """x [n, inputs, S / 2, S / 2] and image [n, 3, S / 2, S / 2], w [n, style_dim] -> the same at S."""
        if x is None or image is None:
            x = self.conv1(self.const.expand(len(w), -1, -1, -1), w)
            return x, self.torgb(x, w)
        x = self.conv1(self.conv0(x, w, upsample=True), w)
        return x, _upsampled(image, self.resample_filter) + self.torgb(x, w)


class Layer(nn.Module):
    """A modulated 3x3 convolution, fixed noise, bias, LeakyReLU."""

    def __init__(self, side: int, inputs: int, outputs: int, style_dim: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.empty(outputs, inputs, 3, 3)), nn.Parameter(torch.empty(outputs))
        self.affine = Dense(style_dim, inputs)
        self.noise_strength = nn.Parameter(torch.empty(()))
        self.register_buffer("noise_const", torch.empty(side, side))
        self.register_buffer("resample_filter", torch.empty(4, 4))

    def forward(self, x: Tensor, w: Tensor, upsample: bool = False) -> Tensor:
        """x [n, inputs, s, s], w [n, style_dim] -> [n, outputs, side, side]."""
        if upsample:
            x = _modulated(x, self.weight, self.affine(w), upsample=True)  # 2 s + 1 pixels a side
            x = _blurred(F.pad(x, (1, 1, 1, 1)), 4 * self.resample_filter)
        else:
            x = _modulated(x, self.weight, self.affine(w))
        return _activated(x + self.noise_const * self.noise_strength + self.bias[:, None, None])


class Colours(nn.Module):
    """A modulated 1x1 convolution to three colours, without demodulation."""

    def __init__(self, inputs: int, style_dim: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.empty(3, inputs, 1, 1)), nn.Parameter(torch.empty(3))
        self.affine = Dense(style_dim, inputs)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """x [n, inputs, S, S], w [n, style_dim] -> [n, 3, S, S]."""
        style = self.affine(w) / math.sqrt(self.weight.shape[1])
        return _modulated(x, self.weight, style, demodulate=False) + self.bias[:, None, None]


class Lucidrains(Decoder):
    """z [n, d] -> images [n, 3, S, S] in [0, 1]; the values are clipped there.

    As :class:`Official`, but for: z of unit length; weights and biases of the mapping times 0.1, none else scaled;
    styles count from 1; upsampling is bilinear and comes before the convolution, only the image is blurred (with [1, 2,
    1]) after it; noise is one uniform image, of which every layer takes the upper left corner, transposed, with a
    strength and a bias for each map; no factor after LeakyReLU.
    """

    def __init__(self, latent_dim: int, depth: int, widths: list[int]) -> None:
        super().__init__()
        self.latent_dim = latent_dim
        last = len(widths) - 2
        with torch.device("meta"):
            mapping: list[nn.Module] = []
            for _ in range(depth):
                mapping += [nn.Linear(latent_dim, latent_dim), nn.Identity()]
            self.SE = nn.ModuleDict({"net": nn.ModuleList(mapping)})
            self.GE = nn.Module()
            self.GE.initial_block = nn.Parameter(torch.empty(1, widths[0], 4, 4))
            self.GE.initial_conv = nn.Conv2d(widths[0], widths[0], 3, padding=1)
            self.GE.blocks = nn.ModuleList(
                LucidrainsBlock(latent_dim, inputs, outputs, i < last)
                for i, (inputs, outputs) in enumerate(pairwise(widths))
            )
        side = 4 << last
        noise = torch.rand(side, side, generator=Seed(0).at("stylegan2", "noise").generator())
        self.register_buffer("noise", noise, persistent=False)

    @classmethod
    def of(cls, state: State) -> Lucidrains:
        """With the weights of ``state``; BenchError where they do not fit."""
        depth = sum(key.startswith("SE.net.") and key.endswith(".weight") for key in state.tensors)
        latent_dim = state.size("SE.net.0.weight", 1, LUCIDRAINS)
        widths = [state.size("GE.initial_block", 1, LUCIDRAINS)]
        blocks = range(state.count("GE.blocks.{}.conv1.weight"))
        widths += [state.size(f"GE.blocks.{i}.conv1.weight", 0, LUCIDRAINS) for i in blocks]
        network = cls(latent_dim, depth, widths)
        state.into(network, LUCIDRAINS)
        return network

    def forward(self, z: Tensor) -> Tensor:
        """See the class."""
        w = F.normalize(z, dim=1)
        for layer in self.SE["net"]:
            if isinstance(layer, nn.Linear):
                w = F.leaky_relu(F.linear(w, layer.weight * 0.1, layer.bias * 0.1), 0.2)
        x, image = self.GE.initial_conv(self.GE.initial_block.expand(len(z), -1, -1, -1)), None
        for i, block in enumerate(self.GE.blocks):
            if i:
                x = _doubled(x)
            x, image = block(x, image, w, self.noise)
        return image.clamp(0, 1)


class LucidrainsBlock(nn.Module):
    """Two modulated convolutions and the colours of one side; all but the last hand on an image of twice that side."""

    def __init__(self, latent_dim: int, inputs: int, outputs: int, upsample: bool) -> None:
        super().__init__()
        self.to_style1, self.to_noise1 = nn.Linear(latent_dim, inputs), nn.Linear(1, outputs)
        self.conv1 = Weight(outputs, inputs, 3)
        self.to_style2, self.to_noise2 = nn.Linear(latent_dim, outputs), nn.Linear(1, outputs)
        self.conv2 = Weight(outputs, outputs, 3)
        self.to_rgb = nn.Module()
        self.to_rgb.to_style, self.to_rgb.conv = nn.Linear(latent_dim, outputs), Weight(3, outputs, 1)
        self.upsample = upsample
        if upsample:
            self.to_rgb.upsample = nn.ModuleList([nn.Identity(), Kernel()])

    def forward(self, x: Tensor, image: Tensor | None, w: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """x [n, inputs, S, S], image [n, 3, S, S], w [n, d], noise [at least S, at least S]."""
        corner = noise[: x.shape[2], : x.shape[3]].T[..., None]
        for style, weight, strength in (
            (self.to_style1, self.conv1, self.to_noise1),
            (self.to_style2, self.conv2, self.to_noise2),
        ):
            x = _modulated(x, weight.weight, style(w) + 1)
            x = F.leaky_relu(x + strength(corner).permute(2, 0, 1), 0.2)
        colours = _modulated(x, self.to_rgb.conv.weight, self.to_rgb.to_style(w) + 1, demodulate=False)
        image = colours if image is None else colours + image
        if self.upsample:
            kernel = self.to_rgb.upsample[1].f
            kernel = kernel[:, None] * kernel
            image = _blurred(F.pad(_doubled(image), (1, 1, 1, 1), mode="reflect"), kernel / kernel.sum())
        return x, image


class Weight(nn.Module):
    """A kernel [out, in, k, k] and nothing else."""

    def __init__(self, outputs: int, inputs: int, kernel: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs, kernel, kernel))


class Kernel(nn.Module):
    """The taps of a blur."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("f", torch.empty(3))


def _modulated(x: Tensor, weight: Tensor, style: Tensor, demodulate: bool = True, upsample: bool = False) -> Tensor:
    """Convolve every image with a kernel of its own (Karras et al. 2020, equations 1 and 3).

    x [n, in, s, s], weight [out, in, k, k], style [n, in] -> [n, out, s, s], or with ``upsample`` the transposed
    convolution of stride 2, [n, out, 2 s + 1, 2 s + 1] for k = 3. All images are one grouped convolution.
    """
    n, (outputs, inputs, k, _) = len(x), weight.shape
    own = weight * style[:, None, :, None, None]  # [n, out, in, k, k]
    if demodulate:
        own = own * (own.square().sum(dim=(2, 3, 4), keepdim=True) + DEMODULATION_EPS).rsqrt()
    side_by_side = x.reshape(1, n * inputs, *x.shape[2:])
    if upsample:
        kernels = own.transpose(1, 2).reshape(n * inputs, outputs, k, k)
        made = F.conv_transpose2d(side_by_side, kernels, stride=2, groups=n)
    else:
        made = F.conv2d(side_by_side, own.reshape(n * outputs, inputs, k, k), padding=k // 2, groups=n)
    return made.reshape(n, outputs, *made.shape[2:])


def _blurred(x: Tensor, kernel: Tensor) -> Tensor:
    """Every map by ``kernel`` [k, k], without padding."""
    return F.conv2d(x, kernel.expand(x.shape[1], 1, *kernel.shape), groups=x.shape[1])


def _upsampled(x: Tensor, kernel: Tensor) -> Tensor:
    """[n, c, s, s] -> [n, c, 2 s, 2 s]: zeros between the pixels, then a blur (times 4, to keep the mean)."""
    n, c, s, _ = x.shape
    spread = x.new_zeros(n, c, 2 * s, 2 * s)
    spread[:, :, ::2, ::2] = x
    return _blurred(F.pad(spread, (2, 1, 2, 1)), 4 * kernel)


def _doubled(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def _activated(x: Tensor) -> Tensor:
    return F.leaky_relu(x, 0.2) * math.sqrt(2)
