"""What somebody's code can change for everybody else in the process, put back when it is done.

For code that must run in this process, such as the import of a plugin's module. Runs with outside code train and
answer in a process of their own.
"""

from __future__ import annotations

import os
import random
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from bench.planning.places import OWN_PACKAGES
from bench.running.precision import flags, put_flags


def has_outside_code(values: Mapping[str, Any]) -> bool:
    """Whether a configuration names a class, or a callable, that is not the project's own."""
    for node in values.values():
        if not isinstance(node, Mapping) or "_target_" not in node:
            continue
        if str(node["_target_"]).partition(".")[0] not in OWN_PACKAGES or node.get("own") == "callable":
            return True
    return False


@contextmanager
def contained() -> Iterator[None]:
    """Random states, defaults of torch, working directory, environment, import path and warnings are put back."""
    folder, environment, path = os.getcwd(), dict(os.environ), list(sys.path)
    python, numpy, state = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    threads, dtype, grad = torch.get_num_threads(), torch.get_default_dtype(), torch.is_grad_enabled()
    device = torch.get_default_device()
    deterministic = _deterministic()
    benchmark, precision = torch.backends.cudnn.benchmark, flags()
    try:
        with warnings.catch_warnings():
            yield
    finally:
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        sys.path[:] = path + [one for one in sys.path if one not in path]
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
        torch.set_rng_state(state)
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
        torch.set_default_dtype(dtype)
        torch.set_grad_enabled(grad)
        if torch.get_default_device() != device:
            torch.set_default_device(device)
        if _deterministic() != deterministic:  # to set it imports a compiler, which takes seconds
            torch.use_deterministic_algorithms(deterministic[0], warn_only=deterministic[1])
        torch.backends.cudnn.benchmark = benchmark
        put_flags(precision)


def _deterministic() -> tuple[bool, bool]:
    return torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
