"""The entry point: one sentence and an exit code, whatever happens."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from typing import Any

import typer

from bench.basics.allocator import keep_temporaries
from bench.basics.errors import BenchError
from bench.basics.signals import Interrupts, exit_code

# In the order in which 'bench --help' lists their commands.
# isort: off
from bench.cli import runs, listings, data, look, results, verify, conform, new  # noqa: F401

# isort: on
from bench.cli.app import app
from bench.planning.places import BESIDE, claim


def main() -> None:
    """Entry point: one sentence and exit code 2 for what the user can mend, 128 + n where signal n ended it."""
    os.environ["MPLBACKEND"] = "agg"  # that of a notebook is neither needed nor always there
    keep_temporaries()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that knows no "±" must not cost anybody the numbers
            stream.reconfigure(errors="backslashreplace")
    interrupts = Interrupts()
    # Typer used to build on click and now carries its own copy; both have this class there.
    usage_error: type[Any] = typer.BadParameter.__mro__[2]
    try:
        with interrupts:
            claim(*BESIDE)
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
        code = exit_code(KeyboardInterrupt())
    except BrokenPipeError:
        _discard_output()
        code = 1
    except OSError as error:  # a full disk behind the standard output, say
        _discard_output()
        with contextlib.suppress(OSError):
            sys.stderr.write(f"error: {error}\n")
        code = 2
    if interrupts.stopped is not None:  # whatever Typer made of it
        code = exit_code(interrupts.stopped)
        with contextlib.suppress(OSError):
            how = " without --rerun" if "--rerun" in sys.argv else ""
            sys.stderr.write(f"interrupted; run the same command again{how} to go on\n")
    raise SystemExit(code if isinstance(code, int) else 0)


def _discard_output() -> None:
    """What Python still holds for the standard output goes nowhere, so that it cannot fail again at the end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
