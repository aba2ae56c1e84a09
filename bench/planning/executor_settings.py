"""Where runs are carried out, as the group ``configs/executor/`` has it, and what of it a user changes.

None of it is part of a run: the same run is the same wherever it is carried out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bench.basics.errors import BenchError, did_you_mean
from bench.planning import catalogue
from bench.planning.overrides import Override, check_type, value_of

PREFIX = "executor."


def split(texts: Sequence[str]) -> tuple[list[str], list[str]]:
    """(settings of the executor, all others) of what was typed."""
    own = [text for text in texts if text.lstrip("+").startswith(PREFIX)]
    return own, [text for text in texts if text not in own]


def scratch_in(texts: Sequence[str]) -> str | None:
    """What stands behind ``executor.scratch=``, of settings of an executor; None where nothing does."""
    found = [text.partition("=")[2] for text in texts if text.lstrip("+").startswith(f"{PREFIX}scratch=")]
    value = value_of(Override(f"{PREFIX}scratch", f"{PREFIX}scratch={found[-1]}")) if found else None
    return None if value is None else str(value)


def executor_settings(name: str, texts: Sequence[str] = ()) -> dict[str, Any]:
    """The settings of one executor: those of its YAML file with the user's ``executor.key=value`` in their place.

    BenchError for an executor or a setting that is not there, and for a value of another kind.
    """
    settings = dict(catalogue.raw("executor", name))
    known = {key: value for key, value in settings.items() if key not in ("_target_", "card")}
    for text in texts:
        key, equals, value = text.lstrip("+").removeprefix(PREFIX).partition("=")
        if not equals or key not in known:
            hint = did_you_mean(key, known)
            able = ", ".join(f"{PREFIX}{one}" for one in known) or "no settings"
            raise BenchError(f"{text!r}: the executor {name} has no setting {key!r}.{hint} It has {able}")
        one = Override(f"{PREFIX}{key}", f"{PREFIX}{key}={value}")
        given = value_of(one)
        if isinstance(known[key], str) and not isinstance(given, str) and isinstance(given, int | float | None):
            # YAML takes 90, 1e3 and 1:30:00 for numbers; what was typed is for the executor to judge.
            known[key] = None if given is None else value.strip()
            continue
        check_type(one, {"executor": known})
        known[key] = given
    return known
