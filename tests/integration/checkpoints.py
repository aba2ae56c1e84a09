"""The layouts of public checkpoints, written down from their sources: names and shapes at any width; small files."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor

Shapes = dict[str, tuple[int, ...]]


def progan(latent: int, depths: list[int]) -> Shapes:
    """facebookresearch/pytorch_GAN_zoo, the generator."""
    first = depths[0]
    layers: Shapes = {"formatLayer": (16 * first, latent), "groupScale0.0": (first, first, 3, 3)}
    for i, (a, b) in enumerate(pairwise(depths)):
        layers |= {f"scaleLayers.{i}.0": (b, a, 3, 3), f"scaleLayers.{i}.1": (b, b, 3, 3)}
    layers |= {f"toRGBLayers.{i}": (3, depth, 1, 1) for i, depth in enumerate(depths)}
    return {
        key: value
        for name, shape in layers.items()
        for key, value in ((f"{name}.module.weight", shape), (f"{name}.module.bias", shape[:1]))
    }


def bigbigan(
    width: int,
    part: int,
    shared: int,
    classes: int,
    times: tuple[int, ...] = (16, 16, 8, 4, 2, 1),
    attention: int = 3,
) -> Shapes:
    """ajbrock/BigGAN-PyTorch, at first at 128 pixels: hierarchical, spectral norm, attention after one block."""
    widths = [width * one for one in times]
    found: Shapes = {"shared.weight": (classes, shared)}

    def spectral(name: str, *shape: int, bias: bool = True) -> None:
        found[f"{name}.weight"] = shape
        if bias:
            found[f"{name}.bias"] = shape[:1]
        found[f"{name}.u0"], found[f"{name}.sv0"] = (1, shape[0]), (1,)

    spectral("linear", 16 * widths[0], part)
    for i, (a, b) in enumerate(pairwise(widths)):
        spectral(f"blocks.{i}.0.conv1", b, a, 3, 3)
        spectral(f"blocks.{i}.0.conv2", b, b, 3, 3)
        spectral(f"blocks.{i}.0.conv_sc", b, a, 1, 1)
        for norm, maps in (("bn1", a), ("bn2", b)):
            found[f"blocks.{i}.0.{norm}.stored_mean"] = found[f"blocks.{i}.0.{norm}.stored_var"] = (maps,)
            spectral(f"blocks.{i}.0.{norm}.gain", maps, part + shared, bias=False)
            spectral(f"blocks.{i}.0.{norm}.bias", maps, part + shared, bias=False)
        if i == attention:
            for name, shape in (("theta", (b // 8, b)), ("phi", (b // 8, b)), ("g", (b // 2, b)), ("o", (b, b // 2))):
                spectral(f"blocks.{i}.1.{name}", *shape, 1, 1, bias=False)
            found[f"blocks.{i}.1.gamma"] = ()
    for name in ("gain", "bias", "stored_mean", "stored_var"):
        found[f"output_layer.0.{name}"] = (widths[-1],)
    spectral("output_layer.2", 3, widths[-1], 3, 3)
    return found


def lucidrains(latent: int, depth: int, filters: list[int]) -> Shapes:
    """stylegan2_pytorch, the averaged mapping and generator; ``filters`` of every side from 4 pixels on."""
    found: Shapes = {}
    for i in range(depth):
        found |= {f"SE.net.{2 * i}.weight": (latent, latent), f"SE.net.{2 * i}.bias": (latent,)}
    first = filters[0]
    found |= {"GE.initial_block": (1, first, 4, 4), "GE.initial_conv.weight": (first, first, 3, 3)}
    found["GE.initial_conv.bias"] = (first,)
    for i, (a, b) in enumerate(pairwise([first, *filters])):
        name = f"GE.blocks.{i}"
        dense = (("to_style1", a, latent), ("to_noise1", b, 1), ("to_style2", b, latent), ("to_noise2", b, 1))
        for layer, rows, columns in (*dense, ("to_rgb.to_style", b, latent)):
            found |= {f"{name}.{layer}.weight": (rows, columns), f"{name}.{layer}.bias": (rows,)}
        found |= {f"{name}.conv1.weight": (b, a, 3, 3), f"{name}.conv2.weight": (b, b, 3, 3)}
        found[f"{name}.to_rgb.conv.weight"] = (3, b, 1, 1)
        if i < len(filters) - 1:
            found[f"{name}.to_rgb.upsample.1.f"] = (3,)
    return found


def official(latent: int, layers: int, widths: list[int]) -> Shapes:
    """NVlabs/stylegan2-ada-pytorch, unconditional."""
    found: Shapes = {"mapping.w_avg": (latent,)}
    for i in range(layers):
        found |= {f"mapping.fc{i}.weight": (latent, latent), f"mapping.fc{i}.bias": (latent,)}
    for i, (a, b) in enumerate(pairwise([0, *widths])):
        side, name = 4 << i, f"synthesis.b{4 << i}"
        found[f"{name}.resample_filter"] = (4, 4)
        if not a:
            found[f"{name}.const"] = (b, 4, 4)
        for layer, inputs in (("conv0", a), ("conv1", b)) if a else (("conv1", b),):
            here = f"{name}.{layer}"
            found |= {f"{here}.weight": (b, inputs, 3, 3), f"{here}.bias": (b,), f"{here}.noise_strength": ()}
            found |= {f"{here}.noise_const": (side, side), f"{here}.resample_filter": (4, 4)}
            found |= {f"{here}.affine.weight": (inputs, latent), f"{here}.affine.bias": (inputs,)}
        found |= {f"{name}.torgb.weight": (3, b, 1, 1), f"{name}.torgb.bias": (3,)}
        found |= {f"{name}.torgb.affine.weight": (b, latent), f"{name}.torgb.affine.bias": (b,)}
    return found


def vgg19(width: int, dense: int, classes: int) -> Shapes:
    """torchvision."""
    maps = [width * times for times in (1, 1, 2, 2, 4, 4, 4, 4, 8, 8, 8, 8, 8, 8, 8, 8)]
    numbers = (0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34)
    found: Shapes = {}
    for number, (a, b) in zip(numbers, pairwise([3, *maps])):
        found |= {f"features.{number}.weight": (b, a, 3, 3), f"features.{number}.bias": (b,)}
    for number, (a, b) in zip((0, 3, 6), pairwise([49 * maps[-1], dense, dense, classes])):
        found |= {f"classifier.{number}.weight": (b, a), f"classifier.{number}.bias": (b,)}
    return found


def deepcluster(arch: str, width: int, dense: int, clusters: int) -> Shapes:
    """facebookresearch/deepcluster: AlexNet or VGG-16 with batch norm on Sobel derivatives, over several GPUs."""
    if arch == "alexnet":
        maps, numbers, kernels = [96, 256, 384, 384, 256], (0, 4, 8, 11, 14), (11, 5, 3, 3, 3)
        grid, heads = 36, (1, 4)
    else:
        maps = [64, 64, 128, 128, 256, 256, 256, *[512] * 6]
        numbers, kernels = (0, 3, 7, 10, 14, 17, 20, 24, 27, 30, 34, 37, 40), (3,) * 13
        grid, heads = 49, (0, 3)
    maps = [max(1, m * width // 64) for m in maps]
    found: Shapes = {"sobel.0.weight": (1, 3, 1, 1), "sobel.0.bias": (1,)}
    found |= {"sobel.1.weight": (2, 1, 3, 3), "sobel.1.bias": (2,)}
    for number, kernel, (a, b) in zip(numbers, kernels, pairwise([2, *maps])):
        name = f"features.module.{number}"
        found |= {f"{name}.weight": (b, a, kernel, kernel), f"{name}.bias": (b,)}
        for part in ("weight", "bias", "running_mean", "running_var"):
            found[f"features.module.{number + 1}.{part}"] = (b,)
    for number, (a, b) in zip(heads, pairwise([grid * maps[-1], dense, dense])):
        found |= {f"classifier.{number}.weight": (b, a), f"classifier.{number}.bias": (b,)}
    return found | {"top_layer.weight": (clusters, dense), "top_layer.bias": (clusters,)}


def filled(shapes: Shapes, seed: int = 0) -> dict[str, Tensor]:
    """Random numbers: weights of about unit gain, positive variances, and the constants that a layout fixes."""
    rng = torch.Generator().manual_seed(seed)
    state = {}
    for key, shape in shapes.items():
        value = torch.randn(shape, generator=rng)
        if key.endswith(("_var",)):
            value = value.abs() + 0.5
        elif key.endswith("resample_filter"):
            taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
            value = taps.outer(taps) / 64
        elif key.endswith("upsample.1.f"):
            value = torch.tensor([1.0, 2.0, 1.0])
        elif key.startswith(("features", "classifier")) and value.ndim > 1:
            value = value * (2 / value[0].numel()) ** 0.5
        state[key] = value
    return state


def small(kind: str, folder: Path) -> Path:
    """A tiny checkpoint of a kind, as its publisher would have saved it; the images differ from latent to latent."""
    path = folder / f"{kind}.pth"
    if kind == "progan":
        content = {"config": {"a": 1}, "netD": {}, "avgG": filled(progan(8, [4, 4, 4]))}
    elif kind == "bigbigan":
        content = filled(bigbigan(4, 2, 3, 5, times=(4, 4, 2, 1), attention=0))
    elif kind == "stylegan2":
        content = {"version": "1.9.0", "GAN": filled(lucidrains(6, 2, [6, 4, 3]))}
    elif kind == "vgg19":
        content = filled(vgg19(2, 12, 5))
    else:
        content = {"arch": "alexnet", "epoch": 3, "state_dict": filled(deepcluster("alexnet", 2, 12, 7))}
    torch.save(content, path)
    return path
