"""The command line: parse, call, print. Everything heavy is imported inside the commands."""

import sys


def main() -> None:
    """The entry point, :func:`bench.cli.entry.main`; an interrupt is one word also while it is imported."""
    try:
        from bench.cli.entry import main as enter
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        raise SystemExit(130) from None
    enter()
