"""Tasks over attributes: two classes, which answer three questions in opposite ways (Hsu et al. 2019, CelebA).

A *problem* is three attributes and a yes or no to each. One class are the images with these answers, the other those
with the opposite answer to all three; images that are neither take no part. The first answer is yes: a problem and its
opposite are the same two classes. A problem counts if both classes have at least 10 images, as in Hsu et al. 2019, or
as many as a task needs. Khodadadeh et al. 2020, §4.3, use the same tasks, but more than 10 images.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from bench.basics.errors import BenchError
from bench.basics.seeds import Seed
from bench.contracts import Tasks, TaskSampler, TaskSpec
from bench.datasets.images import Attributes, LabelledImages, take
from bench.tasks.draw import distinct
from bench.tasks.labelled import LabelledSampler
from bench.tasks.priority import priority

QUESTIONS = 3
LEAST_IMAGES = 10


@dataclass(frozen=True, slots=True)
class Problems:
    """asked: int64 [P, 3], attributes in ascending order. answers: bool [P, 3], the first column true."""

    asked: NDArray[np.int64]
    answers: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.asked)


def problems(attributes: Attributes, per_class: int, where: str = "these images") -> Problems:
    """All that have ``per_class`` images, and at least 10, in both classes, in lexicographic order."""
    least = max(LEAST_IMAGES, per_class)
    bits = attributes.values.astype(np.uint8)
    asked, answers = [], []
    for triple in itertools.combinations(range(len(attributes.names)), QUESTIONS):
        first, second, third = (bits[:, one] for one in triple)
        counts = np.bincount(4 * first + 2 * second + third, minlength=8)
        for code in range(4, 8):  # the first answer is yes
            if min(counts[code], counts[7 - code]) >= least:
                asked.append(triple)
                answers.append((True, bool(code & 2), bool(code & 1)))
    if not asked:
        raise BenchError(
            f"no three of the {len(attributes.names)} attributes of {where} make a task: none have {least} images "
            "with some answers and as many with the opposite ones"
        )
    return Problems(np.array(asked, dtype=np.int64), np.array(answers, dtype=np.bool_))


def draw(
    attributes: Attributes, spec: TaskSpec, tasks: int, root: Seed, where: str
) -> tuple[NDArray[np.int64], NDArray[np.object_]]:
    """Image indices [T, 2, K+Q], support first, and names of classes [T, 2], such as ``Male=1 Smiling=0 Young=1``.

    Every task takes one problem, uniformly, and its two classes in random order, by priorities as in
    :func:`bench.tasks.manifest.draw`: so tasks of fewer shots are a part of those of more.
    """
    _check_way(spec, where)
    count = spec.shot + spec.query
    found = problems(attributes, count, where)
    rows = np.arange(tasks)
    chosen = priority(root.at("problems"), rows, np.arange(len(found))[None]).argmin(axis=1)
    swapped = (priority(root.at("order"), rows, np.zeros((1, 1), np.int64))[:, 0] >> np.uint64(63)).astype(bool)
    indices = np.empty((tasks, 2, count), dtype=np.int64)
    names = np.empty((tasks, 2), dtype=object)
    for task in rows:
        asked, answers = found.asked[chosen[task]], found.answers[chosen[task]]
        for place, answer in enumerate((~answers, answers) if swapped[task] else (answers, ~answers)):
            members = np.flatnonzero((attributes.values[:, asked] == answer).all(axis=1))
            turn = priority(root.at("images"), rows[task : task + 1], members[None])[0]
            best = members[np.argpartition(turn, count - 1)[:count]]
            best = best[priority(root.at("images"), rows[task : task + 1], best[None])[0].argsort()]
            # Queries are taken first, so that they do not depend on the shot, and stored last.
            indices[task, place] = np.concatenate([best[spec.query :], best[: spec.query]])
            names[task, place] = _name(attributes, asked, answer)
    return indices, names


def check(indices: NDArray[np.int64], class_names: NDArray[np.object_], attributes: Attributes, where: str) -> None:
    """Raise BenchError unless every image [T, 2, M] has the attributes that its class [T, 2] is named after."""
    place = {name: column for column, name in enumerate(attributes.names)}
    for name in sorted({str(one) for one in class_names.ravel()}):
        has = np.ones(len(attributes.values), dtype=bool)
        for part in name.split():
            attribute, equals, answer = part.partition("=")
            if attribute not in place or not equals or not re.fullmatch("[01]", answer):
                raise BenchError(f"the manifest names a class {name!r} that {where} does not have")
            has &= attributes.values[:, place[attribute]] == (answer == "1")
        at = indices[class_names == name]
        if not has[at].all():
            image = at[~has[at]][0]
            raise BenchError(f"image {image} of {where} is not of class {name!r}, but the manifest says so")


class AttributeSampler:
    """Uniformly random problems, then distinct images of each class: the labelled tasks of meta-training.

    Each of the two classes stands first in half of the tasks.
    """

    def __init__(self, images: LabelledImages) -> None:
        if images.attributes is None:
            raise BenchError("tasks from attributes need images with attributes")
        self._pixels, self._device, self._attributes = images.pixels, images.device, images.attributes
        self._values = torch.from_numpy(np.ascontiguousarray(images.attributes.values.T)).to(images.device)  # [A, n]
        self._problems: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def sample(self, n: int, spec: TaskSpec, rng: torch.Generator) -> Tasks:
        """``n`` independent tasks; ``rng`` must live on the images' device."""
        _check_way(spec, "these images")
        count = spec.shot + spec.query
        asked, answers = self._problems_for(count)
        chosen = torch.randint(len(asked), (n,), generator=rng, device=self._device)
        flip = torch.randint(2, (n, 1), generator=rng, device=self._device, dtype=torch.bool)
        wanted = (answers[chosen] ^ flip)[..., None]  # [T, 3, 1]
        have = self._values[asked[chosen]]  # [T, 3, n]
        member = torch.stack([(have == wanted).all(1), (have != wanted).all(1)], dim=1).flatten(0, 1)  # [2T, n]
        place = member.cumsum(1, dtype=torch.int32)
        rank = distinct(2 * n, count, place[:, -1].to(torch.int64), rng)
        index = torch.searchsorted(place, rank.to(torch.int32) + 1).view(n, 2, count)
        images = take(self._pixels, index, self._device)
        return Tasks(support=images[:, :, : spec.shot], query=images[:, :, spec.shot :])

    def _problems_for(self, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        if count not in self._problems:
            found = problems(self._attributes, count)
            both = torch.from_numpy(found.asked), torch.from_numpy(found.answers)
            self._problems[count] = both[0].to(self._device), both[1].to(self._device)
        return self._problems[count]


def true_tasks(images: LabelledImages) -> TaskSampler:
    """The sampler of the tasks that these labels make: over attributes where there are some, else over classes."""
    if isinstance(images, LabelledImages) and images.attributes is not None:
        return AttributeSampler(images)
    return LabelledSampler(images)


def _check_way(spec: TaskSpec, where: str) -> None:
    if spec.way != 2:
        raise BenchError(f"tasks over the attributes of {where} have 2 classes, not {spec.way}; use way=2")


def _name(attributes: Attributes, asked: NDArray[np.int64], answers: NDArray[np.bool_]) -> str:
    return " ".join(f"{attributes.names[one]}={int(answer)}" for one, answer in zip(asked, answers))
