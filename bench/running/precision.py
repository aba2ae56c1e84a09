"""The declared precision of a run, put into effect on the device and taken back after it."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from bench.basics.errors import BenchError
from bench.basics.precision import FLOAT32, TF32

Flags = tuple[bool, str]
"""Whether convolutions may use TF32, and what PyTorch calls the precision of matrix products."""

_OF_TORCH: Flags = (True, "highest")


def check_precision_of(device: torch.device, precision: str, *, ask_it: bool = True) -> None:
    """BenchError where ``tf32`` would be float32 under another name, because the device has no such thing.

    ask_it: whether a GPU may be asked, which makes a CUDA context in this process: not where others will compute.
    """
    if precision != TF32:
        return
    if device.type != "cuda":
        raise BenchError("precision=tf32 needs a GPU: on the CPU it would be float32 under another name; leave it out")
    if os.environ.get("NVIDIA_TF32_OVERRIDE") == "0":
        raise BenchError("precision=tf32: $NVIDIA_TF32_OVERRIDE is 0, which forbids TF32; unset it, or leave tf32 out")
    if ask_it and torch.cuda.get_device_capability(device) < (8, 0):
        raise BenchError(f"precision=tf32: {torch.cuda.get_device_name(device)} has no TF32; leave it out")


@contextmanager
def computing_in(precision: str) -> Iterator[None]:
    """Convolutions and matrix products on the GPU are in ``float32`` or ``tf32``, and afterwards as they were.

    ``undeclared``, of old records, is PyTorch's own default. The CPU computes in float32 in any case.
    """
    earlier = flags()
    declared = {FLOAT32: (False, "highest"), TF32: (True, "high")}
    try:
        put_flags(declared.get(precision, _OF_TORCH))
        yield
    finally:
        put_flags(earlier)


def flags() -> Flags:
    """What is in effect."""
    try:
        with _unwarned():
            return torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
    except RuntimeError:  # somebody used the interface of torch 2.9 and later, after which this one cannot be read
        return _OF_TORCH


def put_flags(wanted: Flags) -> None:
    """Put them into effect, whichever interface changed them.

    By the interface that every supported torch has. That of 2.9 and later is used only to take back what was set
    through it, since torch refuses to read a mixture of both.
    """
    convolutions, products = wanted
    with _unwarned():
        if getattr(torch.backends, "fp32_precision", "none") != "none":
            setattr(torch.backends, "fp32_precision", "none")  # noqa: B010 - unknown to the type checker of older ones
        torch.backends.cudnn.allow_tf32 = convolutions
        # From "highest", whatever it was: the flag of the GPU and that of the CPU cannot be read while they disagree.
        torch.set_float32_matmul_precision("medium" if products == "medium" else "highest")
        if products == "high":  # by the flag, which leaves the CPU alone
            torch.backends.cuda.matmul.allow_tf32 = True


@contextmanager
def _unwarned() -> Iterator[None]:
    """Without what torch 2.9 and later say of their newer interface."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Please use the new API settings")
        yield
