"""Keeping the memory of large temporaries on the CPU."""

from __future__ import annotations

import ctypes
import os
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # <malloc.h>


def keep_temporaries() -> None:
    """Ask glibc to keep freed memory for the next tensor, and OpenMP not to spin. Call before importing torch.

    By default glibc maps every temporary above 128 KiB to 32 MiB anew and the kernel zeroes its pages at every step,
    and threads that wait at a barrier burn a core that somebody else may need. Both are set for this process only, and
    only where the user has not set them in the environment. Does nothing on other systems.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if not sys.platform.startswith("linux") or "MALLOC_TRIM_THRESHOLD_" in os.environ:
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # not glibc
        return
    mallopt(_M_MMAP_THRESHOLD, 2**30)
    mallopt(_M_TRIM_THRESHOLD, 2**30)
