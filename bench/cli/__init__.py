"""The command line: parse, call, print. Everything heavy is imported inside the commands."""

from bench.cli.entry import main

__all__ = ["main"]
