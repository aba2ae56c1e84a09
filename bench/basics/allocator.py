"""Keeping the memory of large temporaries on the CPU: up to a quarter of the speed of training there."""

from __future__ import annotations

import ctypes
import os
import platform
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # from glibc's malloc.h
_OLD_LARGEST_MMAP_THRESHOLD = 2**25  # older versions of glibc accept no more


def keep_temporaries() -> bool:
    """Keep freed memory for the next tensor, and let idle threads sleep soon. Call before torch is imported.

    glibc hands tensors of several megabytes back to the system as soon as they are freed, and every page of the next
    one is then a page fault; and GNU OpenMP's threads spin at a barrier for milliseconds while somebody else may need
    their core (a tenth of that costs nothing on a quiet machine; not to spin at all costs a quarter). Numbers do not
    change. What the user has set in the environment stays. True where the allocator could be set (glibc).
    """
    os.environ.setdefault("GOMP_SPINCOUNT", "30000")
    if not sys.platform.startswith("linux") or platform.libc_ver()[0] != "glibc":
        return False
    if "MALLOC_TRIM_THRESHOLD_" in os.environ or "MALLOC_MMAP_THRESHOLD_" in os.environ:
        return False
    mallopt = ctypes.CDLL(None).mallopt
    trim = mallopt(_M_TRIM_THRESHOLD, 2**30)
    mapped = mallopt(_M_MMAP_THRESHOLD, 2**30) or mallopt(_M_MMAP_THRESHOLD, _OLD_LARGEST_MMAP_THRESHOLD)
    return bool(trim and mapped)
