"""A folder of small photographs: six classes to train on and six to test on, 20 images each."""

from pathlib import Path

import numpy as np
from PIL import Image


def write_photos(folder: Path, side: int = 28, classes: int = 6, images: int = 20) -> Path:
    """``folder/{train,test}/<class>/<n>.png``: a pattern of the class under noise."""
    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        for number in range(classes):
            pattern = rng.integers(0, 200, (side, side), dtype=np.uint8)
            place = folder / split / f"{split}-{number}"
            place.mkdir(parents=True)
            for image in range(images):
                noisy = pattern + rng.integers(0, 56, (side, side), dtype=np.uint8)
                Image.fromarray(noisy).save(place / f"{image}.png")
    return folder
