"""Looking through a pickle before it is read: how much it would make, and which names it asks for.

A pickle may say "the same again" of what it has made, so that a few bytes stand for a structure that no computer can
walk through, hash or print. Here its instructions are followed without making anything, counting what each value would
be written out in full.
"""

from __future__ import annotations

import pickletools
from typing import Any, BinaryIO

MOST_STEPS = 20_000_000
"""Instructions of a pickle: two for every one in the largest public file of arrays."""
MOST_VALUES, VALUES_PER_STEP = 1_000_000, 8
"""Values, shared ones counted wherever they are, and how many more for every instruction."""
DEEPEST = 100
"""Values within values."""

PUTS = ("PUT", "BINPUT", "LONG_BINPUT")
GETS = ("GET", "BINGET", "LONG_BINGET")
FILLS = {"APPEND": 1, "SETITEM": 2, "BUILD": 1}
"""What is put into the value below it, by how many values."""
EMPTY = ("EMPTY_LIST", "EMPTY_DICT", "EMPTY_SET")
FILLS_FROM_MARK = ("APPENDS", "SETITEMS", "ADDITEMS")


class Excessive(ValueError):
    """A pickle that would make too much. The text goes after "it "."""


class _Value:
    """A value that the pickle would make; ``shared`` from the first "the same again" on."""

    __slots__ = ("count", "depth", "shared")

    def __init__(self, parts: list[_Value]) -> None:
        self.count, self.depth, self.shared = 1, 1, False
        self.take(parts)

    def take(self, parts: list[_Value]) -> _Value:
        for part in parts:
            self.count += part.count
            self.depth = max(self.depth, part.depth + 1)
        return self


def names_asked_for(file: BinaryIO, most_steps: int = MOST_STEPS) -> set[str]:
    """The classes and functions (``module name``) that the one pickle at the position of ``file`` names.

    ``file`` is then at the end of that pickle. Raises Excessive where it would make too much, and ValueError,
    IndexError or KeyError where it is no pickle. What is named by values of the pickle itself (protocol 4) is not among
    the names.
    """
    stack: list[_Value | None] = []  # None is a mark
    single = _Value([])  # numbers, text, bytes and names: nothing can be put into them
    memo: dict[int, _Value] = {}
    names: set[str] = set()
    argument: Any
    for steps, (opcode, argument, _) in enumerate(pickletools.genops(file)):
        if steps > most_steps:
            raise Excessive(f"has more than {most_steps} instructions")
        name = opcode.name
        if name in PUTS or name == "MEMOIZE":
            number = len(memo) if name == "MEMOIZE" else int(argument)
            if number > 2 * most_steps:
                raise Excessive(f"numbers its values up to {number}")
            memo[number] = _value(stack[-1])
        elif name in GETS:
            memo[int(argument)].shared = True
            stack.append(memo[int(argument)])
        elif name in FILLS or name in FILLS_FROM_MARK:
            parts = _above_mark(stack) if name in FILLS_FROM_MARK else [_value(stack.pop()) for _ in range(FILLS[name])]
            into = _value(stack[-1])
            # What is somewhere already must not grow any more, or its count there would be too small.
            if into.shared:
                raise Excessive("holds a value that is within itself")
            _bounded(into.take(parts), steps)
        elif name == "MARK":
            stack.append(None)
        elif name == "DUP":
            raise Excessive("doubles a value")
        elif name != "STOP":
            if name in ("GLOBAL", "INST"):
                names.add(str(argument))
            before = opcode.stack_before
            of_mark = pickletools.markobject in before
            parts = _above_mark(stack) if of_mark else [_value(stack.pop()) for _ in before]
            if opcode.stack_after:
                stack.append(_bounded(_Value(parts), steps) if before or name in EMPTY else single)
    return names


def _bounded(value: _Value, steps: int) -> _Value:
    most = MOST_VALUES + VALUES_PER_STEP * steps
    if value.count > most:
        raise Excessive(f"stands for more than {most} values, most of them the same again")
    if value.depth > DEEPEST:
        raise Excessive(f"nests values more than {DEEPEST} deep")
    return value


def _value(top: _Value | None) -> _Value:
    if top is None:
        raise ValueError("a mark where a value should be")
    return top


def _above_mark(stack: list[_Value | None]) -> list[_Value]:
    parts = []
    while (top := stack.pop()) is not None:
        parts.append(top)
    return parts
