"""FGVCx Fungi in its official layout, with few small photographs: names repeat, and some classes have few images."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from miniatures_imagenet import picture
from PIL import Image

IMAGES = {0: 20, 1: 20, 2: 17, 3: 20, 4: 18, 5: 20, 6: 3, 7: 16, 8: 16, 9: 20, 10: 16, 11: 18, 12: 17, 13: 1}
"""Category -> images, of which some lie in val.json."""

SPLIT = {"train": (0, 2, 4, 5, 3, 6), "valid": (1,), "test": (12, 8, 7, 9, 10, 11, 13)}


def name_of(category: int) -> str:
    """Two kinds of each name, with dots, and a space at the end as some have in the official files."""
    return f"Agaricus {'abcdefg'[category // 2]}. minor "


def label_of(category: int) -> str:
    return f"{category:04d}.{name_of(category)}"


def fungi(folder: Path, most: int = 20) -> Path:
    """``train.json``, ``val.json``, ``images/`` (JPEG, of many proportions) and ``fungi_splits.json``.

    most: images of a class.
    """
    halves: dict[str, dict[str, Any]] = {
        half: {
            "info": {"year": 2018},
            "categories": [{"id": i, "name": name_of(i), "supercategory": "Agaricus"} for i in IMAGES],
            "images": [],
            "annotations": [],
        }
        for half in ("train", "val")
    }
    number = 0
    for category, images in IMAGES.items():
        for i in range(min(images, most)):
            number += 1
            half = halves["val" if i % 5 == 4 else "train"]
            path = f"images/{category}_{'val' if i % 5 == 4 else 'train'}/{number}.JPG"
            pixels = picture(1000 + 100 * category + i, 60)
            pixels = np.pad(pixels, ((0, 4 * (i % 4)), (0, 5 * (i % 3)), (0, 0)))
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(folder / path, "JPEG", quality=90)
            height, width = pixels.shape[:2]
            half["images"].append({"id": number, "file_name": path, "height": height, "width": width})
            half["annotations"].append({"id": number, "image_id": number, "category_id": category})
    for half, value in halves.items():
        (folder / f"{half}.json").write_text(json.dumps(value))
    splits = {key: [label_of(category) for category in categories] for key, categories in SPLIT.items()}
    # With Windows line ends, as a file that went through an editor there.
    (folder / "fungi_splits.json").write_bytes(json.dumps(splits, indent=1).replace("\n", "\r\n").encode())
    return folder
