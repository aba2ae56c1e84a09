"""The few names of torchvision that torchmeta 1.8.0 imports, where there is no torchvision.

For tests alone: it takes torchvision's place in the whole process, so it is installed in a process of its own.
"""

import os
import sys
import types

import numpy as np
import torch
from PIL import Image


class Compose:
    def __init__(self, transforms):
        self.transforms = transforms

    def __call__(self, value):
        for transform in self.transforms:
            value = transform(value)
        return value


class Resize:
    def __init__(self, size):
        self.size = (size, size) if isinstance(size, int) else size

    def __call__(self, image):
        return image.resize(self.size[::-1], Image.Resampling.BILINEAR)


class ToTensor:
    def __call__(self, image):
        array = np.array(image)
        array = array[..., None] if array.ndim == 2 else array
        return torch.from_numpy(array).permute(2, 0, 1).float() / 255


def absent(*_, **__):
    raise RuntimeError("the stand-in for torchvision does not have this")


def install():
    """Put the stand-in where ``import torchvision`` finds it."""
    names = ("transforms", "transforms.functional", "datasets", "datasets.utils")
    modules = {name: types.ModuleType(name) for name in ("torchvision", *(f"torchvision.{name}" for name in names))}
    for name, module in modules.items():
        module.__path__ = []
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(modules[parent], child, module)
    transforms = modules["torchvision.transforms"]
    transforms.Compose, transforms.Resize, transforms.ToTensor, transforms.CenterCrop = (
        Compose,
        Resize,
        ToTensor,
        absent,
    )
    functional = modules["torchvision.transforms.functional"]
    functional.rotate = lambda image, angle, *_, **__: image.rotate(angle)
    functional.hflip = lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    functional.vflip = lambda image: image.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    utilities = modules["torchvision.datasets.utils"]
    utilities.list_dir = lambda root, prefix=False: [
        name for name in os.listdir(root) if os.path.isdir(os.path.join(root, name))
    ]
    utilities.download_url = utilities.check_integrity = absent
    sys.modules.update(modules)
