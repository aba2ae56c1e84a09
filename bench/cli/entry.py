"""The entry point: one sentence and an exit code, whatever happens."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import signal
import sys
from pathlib import Path
from typing import Any

import typer

from bench.basics.allocator import keep_temporaries
from bench.basics.errors import BenchError, did_you_mean
from bench.basics.signals import Interrupts, exit_code

# In the order in which 'bench --help' lists their commands.
# isort: off
from bench.cli import runs, work, status, listings, data, look, results, verify, conform, new  # noqa: F401

# isort: on
from bench.cli import documents
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
        if not interrupts.asked:  # else it is what a library made of that
            _refuse(str(error))
        code = 2
    except usage_error as error:
        if what := error.format_message().strip():  # empty where a bare 'bench' has shown its help
            _refuse(_in_words(what))
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
            told = f": {interrupts.told}" if interrupts.told else ""
            if "_BENCH_COMPLETE" not in os.environ:  # a shell that has lost its interest in completions
                sys.stderr.write(f"interrupted{told}; to go on: {_same_command()}\n")
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # another one while Python ends needs no traceback
    raise SystemExit(code if isinstance(code, int) else 0)


def _refuse(what: str) -> None:
    """The sentence; of a command with ``--json`` as a document too, so that a program always has one to read."""
    sys.stderr.write(f"error: {what}\n")
    if documents.FLAG in sys.argv:
        documents.write({"error": what})


def _in_words(what: str) -> str:
    """What Typer says of a command line, with one guess, as everywhere else here."""
    if guesses := re.fullmatch(r"(.*: (\S+)) \(Possible options: (.*)\)\.?", what):
        what = f"{guesses[1]}.{did_you_mean(guesses[2], guesses[3].split(', '))}"
    what = what.removesuffix(".")
    return f"{what}{'' if what.endswith('?') else '.'} 'bench -h' and 'bench COMMAND -h' show what there is"


def _same_command() -> str:
    """What to type to go on: with --rerun what is done would begin anew."""
    began = "python -m bench" if Path(sys.argv[0]).name == "__main__.py" else "bench"
    return " ".join([began, *(shlex.quote(word) for word in sys.argv[1:] if word != "--rerun")])


def _discard_output() -> None:
    """What Python still holds for the standard output goes nowhere, so that it cannot fail again at the end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
