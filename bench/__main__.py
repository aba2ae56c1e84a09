"""``python -m bench``.

Python looks for everything in the working directory first then; here last, so that what the user keeps there, called
``torch`` or ``bench`` as it may be, stands in for nothing.
"""

import os
import sys


def _look_here_last() -> None:
    own = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    if sys.path[:1] == [os.getcwd()]:
        rest = sys.path[1:]
        sys.path[:] = [*rest, *([] if own in rest else [own]), sys.path[0]]
    here = getattr(sys.modules.get("bench"), "__file__", None)
    if here is None or os.path.dirname(os.path.dirname(os.path.abspath(here))) != own:
        sys.modules.pop("bench", None)


if __name__ == "__main__":
    _look_here_last()
    from bench.cli import main

    main()
