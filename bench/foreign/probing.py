"""What any network of the user's must be: one for batches of every size, finite, and a function of each input alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from bench.basics.errors import BenchError
from bench.foreign.roles import Role

SIZES = (3, 2, 1)  # batch sizes that must work
# In units of the width of what it puts out:
UNEQUAL = 5e-3  # how far an output may depend on its batch: reduced precision does not come so far
REPEATED = 1e-5  # how far two outputs of one batch may differ


def any_batch_size(
    name: str, run: Callable[[Tensor], Any], x: Tensor, role: Role, check: Callable[[Any], None], hint: str
) -> dict[int, Tensor]:
    """What is made of the first 1, 2 and 3 of ``x``, all finite.

    BenchError in one sentence otherwise. ``check`` raises one for an output of the wrong kind; ``hint`` says what to
    see to where no batch works.
    """
    made: dict[int, Tensor] = {}
    failed: dict[int, Exception] = {}
    for n in SIZES:
        try:
            found = run(x[:n])
        except Exception as error:
            failed[n] = error
        else:
            check(found)
            if len(found) == n:
                made[n] = found
            else:
                failed[n] = ValueError(f"{len(found)} {role.gives} came out")
    if not failed:
        for found in made.values():
            finite(name, found, role)
        return made
    n, first = next(iter(failed.items()))
    reason = f"{type(first).__name__}: {(str(first).splitlines() or [''])[0][:160]}"
    if any("when training" in str(one) for one in failed.values()):
        raise BenchError(f"{name} is in training mode: its batch norm uses the batch; call model.eval() first")
    if made:
        good = " and ".join(map(str, sorted(made)))
        raise BenchError(
            f"{name} takes {good} {role.takes} at once but not {n} ({reason}); it must take batches of any size, so "
            'make its first dimension dynamic: dynamic_shapes=({0: torch.export.Dim("n")},)'
        )
    raise BenchError(
        f"{name} cannot take {role.takes} {list(x[:n].shape)} ({reason}); it must take float32 {role.takes} "
        f"{role.takes_shape} for any n, and {hint}"
    )


def finite(name: str, made: Tensor, role: Role) -> None:
    """BenchError for NaN and infinite values."""
    if not bool(made.isfinite().all()):
        raise BenchError(f"{name} puts out NaN or infinite values; its {role.gives} must be finite numbers")


def steady(
    name: str, run: Callable[[Tensor], Any], x: Tensor, made: dict[int, Tensor], width: float, role: Role
) -> None:
    """BenchError unless the same batch gives the same again, and an input the same beside others (``made``).

    width: of the values that it puts out.
    """
    together = made[max(made)]
    again = run(x[: len(together)])
    if _apart(again, together) > REPEATED * width:
        raise BenchError(
            f"{name} is not deterministic: what it makes of the same {role.takes} differs by up to "
            f"{_apart(again, together):.3g}; export it in evaluation mode (model.eval()), with any noise in it fixed"
        )
    apart = max(_apart(one, together[: len(one)]) for one in made.values())
    if apart > UNEQUAL * width:
        raise BenchError(
            f"{name} makes another thing of one of the {role.takes} beside others (by up to {apart:.3g}): its batch "
            "norm uses the batch; export it in evaluation mode (model.eval())"
        )


def _apart(a: Tensor, b: Tensor) -> float:
    return float((a.float() - b.float()).abs().max())
