"""Datasets in their official layout, small enough for a test: the real ones cannot be had everywhere."""

import io
import shutil
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

PEOPLE = {"train": 10, "val": 7, "test": 7}
PHOTOGRAPHS = 20
"""Of every person but two of each split, who have 3: too few for most tasks."""

_NAMES = """
5_o_Clock_Shadow Arched_Eyebrows Attractive Bags_Under_Eyes Bald Bangs Big_Lips Big_Nose Black_Hair Blond_Hair
Blurry Brown_Hair Bushy_Eyebrows Chubby Double_Chin Eyeglasses Goatee Gray_Hair Heavy_Makeup High_Cheekbones
Male Mouth_Slightly_Open Mustache Narrow_Eyes No_Beard Oval_Face Pale_Skin Pointy_Nose Receding_Hairline
Rosy_Cheeks Sideburns Smiling Straight_Hair Wavy_Hair Wearing_Earrings Wearing_Hat Wearing_Lipstick
Wearing_Necklace Wearing_Necktie Young
"""
ATTRIBUTES = tuple(_NAMES.split())


def jpeg(image: np.ndarray, quality: int = 90) -> bytes:
    """uint8 [H, W, 3] -> a file."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    return file.getvalue()


def face(rng: np.random.Generator, person: np.ndarray, held: np.ndarray, size: tuple[int, int] = (178, 218)) -> bytes:
    """A JPEG of 178 x 218: blotches of the person's colours, brighter in the places of the attributes that hold."""
    width, height = size
    small = person + rng.normal(0, 12, person.shape)
    cells = np.zeros((8, 5))
    cells.flat[:] = held * 60
    small[:8, :5] += cells[:, :, None]
    image = Image.fromarray(small.clip(0, 255).astype(np.uint8)).resize((width, height), Image.Resampling.BICUBIC)
    return jpeg(np.asarray(image))


def celeba(
    folder: Path,
    *,
    windows: bool = False,
    zipped: bool = False,
    missing: tuple[int, ...] = (),
    truncated: tuple[int, ...] = (),
    shared_identity: bool = False,
    seed: int = 0,
) -> Path:
    """CelebA below ``folder``/celeba: 24 people, 178 x 218 JPEGs, the three lists and the attributes; returns that.

    windows: lines end in CR LF. zipped: img_align_celeba.zip instead of the folder. missing and truncated: numbers of
    photographs, from 1. shared_identity: one person is in train and in test. Photographs are numbered as in the real
    one: those of train first, people in no order.
    """
    rng = np.random.default_rng(seed)
    home = folder / "celeba"
    images = home / "img_align_celeba"
    images.mkdir(parents=True)
    rows = []  # part, person
    first = 1
    for part, people in enumerate(PEOPLE.values()):
        mine = [
            (part, person)
            for person in range(first, first + people)
            for _ in range(3 if person < first + 2 else PHOTOGRAPHS)
        ]
        rows += [mine[at] for at in rng.permutation(len(mine))]
        first += people
    colours = rng.integers(40, 180, (first, 11, 9, 3)).astype(float)
    held = rng.random((len(rows), len(ATTRIBUTES))) < 0.5
    names = [f"{number:06d}.jpg" for number in range(1, len(rows) + 1)]
    for number, ((_, person), name) in enumerate(zip(rows, names, strict=True), 1):
        data = face(rng, colours[person], held[number - 1])
        if number not in missing:
            (images / name).write_bytes(data[: len(data) // 2] if number in truncated else data)
    people_of = [person for _, person in rows]
    if shared_identity:
        people_of[-1] = people_of[0]
    end = "\r\n" if windows else "\n"
    lists = {
        "list_eval_partition.txt": [f"{name} {part}" for name, (part, _) in zip(names, rows, strict=True)],
        "identity_CelebA.txt": [f"{name} {person}" for name, person in zip(names, people_of, strict=True)],
        "list_attr_celeba.txt": [
            str(len(rows)),
            " ".join(ATTRIBUTES) + " ",
            *(
                f"{name} " + " ".join(["-1", "1"][int(one)].rjust(2) for one in row)
                for name, row in zip(names, held, strict=True)
            ),
        ],
    }
    for name, lines in lists.items():
        (home / name).write_bytes((end.join(lines) + end).encode())
    if zipped:
        with zipfile.ZipFile(home / "img_align_celeba.zip", "w") as archive:
            for file in sorted(images.iterdir()):
                archive.write(file, f"img_align_celeba/{file.name}")
        shutil.rmtree(images)
    return home
