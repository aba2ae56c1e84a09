"""Tasks made of images. The package itself can be called, ``bench.tasks("omniglot", way=5, shot=1)``: its name is also
that of what users of the library ask for most, see :func:`bench.library.sealed.sealed_tasks`.
"""

import sys
from types import ModuleType
from typing import Any


class _Callable(ModuleType):
    def __call__(self, *which: Any, **more: Any) -> Any:
        import bench

        return bench.sealed_tasks(*which, **more)


sys.modules[__name__].__class__ = _Callable
