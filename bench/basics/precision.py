"""How exactly a run computes on a GPU: the words for it, and how it tells two trainings apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.basics.errors import BenchError, did_you_mean

FLOAT32 = "float32"
"""Also where the library by itself would round more, as PyTorch does in convolutions on a GPU."""

TF32 = "tf32"
"""Factors of convolutions and matrix products are rounded to 10 bits behind the point; all else is float32."""

PRECISIONS = (FLOAT32, TF32)

UNDECLARED = "undeclared"
"""Of a record that a GPU made before there was the setting: convolutions in TF32, matrix products in float32."""


def check_precision(value: Any) -> None:
    """BenchError unless it is one of :data:`PRECISIONS`."""
    if value not in PRECISIONS:
        elsewhere = " bfloat16 is a setting of generators: generator.precision=bfloat16" if value == "bfloat16" else ""
        hint = elsewhere or did_you_mean(str(value), PRECISIONS)
        raise BenchError(f"precision must be {' or '.join(PRECISIONS)}, not {value!r}.{hint}".rstrip("."))


def with_precision(facts: Mapping[str, Any], precision: str) -> dict[str, Any]:
    """``facts`` that a key is made of; as they are in float32, so that what was made before is found."""
    return {**facts, "run_precision": precision} if precision == TF32 else dict(facts)
