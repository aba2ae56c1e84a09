"""The two ways a step may end early: the user must change something, or the training itself went wrong."""

import difflib
from collections.abc import Iterable


class BenchError(Exception):
    """Something the user can mend. The message is one sentence: what is wrong, where, what would be right.

    The command line prints it without a traceback and exits with code 2.
    """


class Diverged(Exception):
    """Training produced a non-finite loss or a useless model; the run's record gets status ``diverged``."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`` Did you mean 'x'?`` for the closest known name, else ``""``. Starts with a space."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f" Did you mean {close[0]!r}?" if close else ""
