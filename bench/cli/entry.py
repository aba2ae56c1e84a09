"""The entry point: one sentence and an exit code, whatever happens."""

from __future__ import annotations

import os
import sys
from typing import Any

import typer

from bench.basics.allocator import keep_temporaries
from bench.basics.errors import BenchError

# In the order in which 'bench --help' lists their commands.
# isort: off
from bench.cli import runs, listings, data, look, results  # noqa: F401

# isort: on
from bench.cli.app import app


def main() -> None:
    """Entry point: one sentence and exit code 2 for what the user can mend, 130 for Ctrl-C."""
    keep_temporaries()
    # Typer used to build on click and now carries its own copy; both have this class there.
    usage_error: type[Any] = typer.BadParameter.__mro__[2]
    try:
        code = app(standalone_mode=False)
    except BenchError as error:
        sys.stderr.write(f"error: {error}\n")
        code = 2
    except usage_error as error:
        if what := error.format_message().strip():  # empty where a bare 'bench' has shown its help
            help_ = "'bench --help' and 'bench COMMAND --help' show what there is"
            sys.stderr.write(f"error: {what.removesuffix('.')}. {help_}\n")
        code = error.exit_code
    except (typer.Abort, KeyboardInterrupt):
        sys.stderr.write("interrupted; run the same command again to go on\n")
        code = 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    raise SystemExit(code if isinstance(code, int) else 0)
