"""Pieces that do not fit are halved."""

import math

import pytest
import torch

from bench.training.memory import in_pieces


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)


@pytest.mark.parametrize("fits", [1, 2, 3, 7, 16, 100])
@pytest.mark.parametrize("size", [1, 5, 16, 200])
def test_every_row_is_done_once_in_order(fits, size):
    done, tried = [], []

    def work(rows):
        tried.append(rows.stop - rows.start)
        if rows.stop - rows.start > fits:
            raise torch.OutOfMemoryError("CUDA out of memory")
        done.extend(range(rows.start, rows.stop))

    used = in_pieces(53, size, work)
    assert done == list(range(53))
    expected = size
    while min(expected, 53) > fits:
        expected = math.ceil(min(expected, 53) / 2)
    assert used == expected  # halved, and no more often than need be
    assert len([n for n in tried if n > fits]) <= 8  # it is not tried again and again


def test_a_single_row_too_much_is_an_error():
    def work(rows):
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        in_pieces(10, 4, work)


def test_other_errors_pass_through():
    def work(rows):
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        in_pieces(10, 4, work)
