"""Learners that are right, and learners each with one thing wrong."""

import functools
import random

import numpy as np
import torch

from bench.datasets.images import UnlabelledImages


def some_images(n=200, side=8):
    pixels = np.random.default_rng(3).integers(0, 256, (n, 1, side, side), dtype=np.uint8)
    return UnlabelledImages(torch.from_numpy(pixels), "made up")


class NearestMean:
    transductive = False

    def predict(self, support, query):
        return -torch.cdist(query.flatten(2), support.mean(2).flatten(2))


class Changed(NearestMean):
    """Its scores go through a function of (scores, support, query)."""

    def __init__(self, change, transductive=False):
        self.change, self.transductive = change, transductive

    def predict(self, support, query):
        return self.change(super().predict(support, query), support, query)


def centred(scores, support, query):
    return scores - scores.mean(1, keepdim=True)


def centred_together(scores, support, query):
    return scores - scores.mean((0, 1), keepdim=True)


def first_is_first(scores, support, query):
    scores = scores.clone()
    scores[:, 0, 0] += 100.0
    return scores


def noisy(scores, support, query):
    return scores + torch.from_numpy(np.random.default_rng().random(scores.shape)).float()


def dropped(scores, support, query):
    return torch.nn.functional.dropout(scores, 0.5)


def with_numpy(scores, support, query):
    return scores + 0 * float(np.random.rand())  # noqa: NPY002


def with_python(scores, support, query):
    return scores + 0 * random.random()


def in_place(scores, support, query):
    query.sub_(0.5)
    return scores


def single_precision_no_more(scores, support, query):
    torch.set_default_dtype(torch.float64)
    return scores


def other_threads(scores, support, query):
    torch.set_num_threads(torch.get_num_threads() + 1)
    return scores


def chaotic(scores, support, query):
    """Of all queries, added up in their order: what comes out is rounding, amplified."""
    together = functools.reduce(torch.add, query.flatten(2).unbind(1))  # in float32; cumsum adds up in float64
    return scores + torch.sin(1e8 * together.mean(1))[:, None, None]


def rounded(scores, support, query):
    """Honest, but only to half a percent: other in another place of the batch."""
    place = torch.arange(scores.shape[1])[None, :, None]
    return scores * (1 + 1e-5 * torch.sin(place.float()))


WRONG = {
    "order": (Changed(first_is_first), "answers by the order of the queries; score each query by its image"),
    "undeclared": (
        Changed(centred),
        "uses the other queries of a task but does not declare it; set transductive = True",
    ),
    "together": (Changed(centred_together, True), "lets the tasks asked at once influence one another"),
    "noise": (Changed(noisy), "gives different scores when asked the same twice"),
    "dropout": (Changed(dropped, True), "gives different scores when asked the same twice"),
    "numpy": (Changed(with_numpy), "draws from, or seeds, the global generator of NumPy"),
    "python": (Changed(with_python), "draws from, or seeds, the global generator of Python"),
    "inputs": (Changed(in_place), "changed the images that it was given; work on a copy of them"),
    "dtype": (Changed(single_precision_no_more), "changed the default dtype of PyTorch from torch.float32 to torch.fl"),
    "threads": (Changed(other_threads), "changed the number of threads of PyTorch from"),
    "classes": (Changed(lambda s, *_: s[..., :4]), "must return scores of shape [2, 10, 5], not [2, 10, 4]"),
    "array": (Changed(lambda s, *_: s.numpy()), "not ndarray"),
    "nothing": (None, "fit returned NoneType, which has no predict(support, query)"),
    "undecided": (type("Undecided", (), {"predict": NearestMean.predict})(), "Undecided does not say whether it uses"),
}
RIGHT = {
    "plain": NearestMean(),
    "needlessly declared": Changed(lambda s, *_: s, transductive=True),
    "declared": Changed(centred, transductive=True),
    "all equal": Changed(lambda s, *_: torch.zeros_like(s)),
    "votes": Changed(lambda s, *_: torch.nn.functional.one_hot(s.argmax(2), s.shape[2])),
    "chaotic": Changed(chaotic, transductive=True),
    "rounded": Changed(rounded),
}
