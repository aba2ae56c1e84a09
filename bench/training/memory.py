"""Work in pieces that fit the memory of the device."""

from __future__ import annotations

from collections.abc import Callable

import torch


def in_pieces(total: int, size: int, work: Callable[[slice], None]) -> int:
    """``work(rows)`` for rows 0 … total-1, ``size`` at a time; returns the size that it ended with.

    A piece that the memory of a GPU does not suffice for is done again in two halves, and so is what comes after it.
    The error passes through where a single row is too much. ``work`` must not mind to be asked twice.
    """
    first = 0
    while first < total:
        rows = slice(first, min(first + size, total))
        try:
            work(rows)
        except torch.OutOfMemoryError:
            if rows.stop - first == 1:
                raise
            size = (rows.stop - first + 1) // 2
        else:
            first = rows.stop
            continue
        # Here, not above: the error that is being handled holds on to the tensors of the piece.
        torch.cuda.empty_cache()
    return size


def free_bytes(device: torch.device) -> int:
    """What this process can still take of a GPU's memory: free there, or kept by it and unused."""
    free, _ = torch.cuda.mem_get_info(device)
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
