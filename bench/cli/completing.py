"""What the shell offers for the tabulator key: names out of YAML files, without PyTorch, and never an error."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import typer

Completer = Callable[[typer.Context, str], list[str]]


def words(*known: str, several: bool = False) -> Completer:
    """Fixed words."""
    return _completer(lambda _: known, several)


def options(group: str) -> Completer:
    """The options of a group such as ``dataset``, or experiments."""

    def known(_: str) -> Iterable[str]:
        from bench.planning import catalogue

        return catalogue.options(group)

    return _completer(known, several=False)


def methods(several: bool = True) -> Completer:
    """Families first; their exact names once a part of one is typed."""
    return _completer(_methods, several)


def of_group() -> Completer:
    """Options of what ``--group`` says; methods where it says nothing, and what else there is once a part is typed."""

    def known(begun: str) -> Iterable[str]:
        from bench.planning import catalogue

        others = catalogue.groups() if begun else ()
        return dict.fromkeys([*_methods(begun), *(name for group in others for name in catalogue.options(group))])

    def complete(context: typer.Context, incomplete: str) -> list[str]:
        group = context.params.get("group")
        if group == "method":
            return methods(several=False)(context, incomplete)
        return (_completer(known, several=False) if group is None else options(group))(context, incomplete)

    return complete


def groups(*more: str) -> Completer:
    """The groups of components, and these words."""

    def known(_: str) -> Iterable[str]:
        from bench.planning import catalogue

        return (*catalogue.groups(), *more)

    return _completer(known, several=False)


def kinds() -> Completer:
    """What ``bench list`` takes."""

    def known(_: str) -> Iterable[str]:
        from bench.planning.listing import kinds, plural

        return [plural(kind) for kind in kinds()]

    return _completer(known, several=False)


def ranks() -> Completer:
    """What ``bench list --group`` takes."""

    def known(_: str) -> Iterable[str]:
        from bench.planning.listing import RANKS

        return RANKS

    return _completer(known, several=True)


def weights() -> Completer:
    """Public weights."""

    def known(_: str) -> Iterable[str]:
        from bench.foreign.weights import published

        return published()

    return _completer(known, several=False)


def _methods(begun: str) -> Iterable[str]:
    from bench.planning import catalogue

    families = [*catalogue.options("method")]
    return families if not begun else list(dict.fromkeys([*families, *catalogue.variants()]))


def _completer(known: Callable[[str], Iterable[str]], several: bool) -> Completer:
    """several: words parted by commas, of which the last is completed, and none offered twice."""

    def complete(context: typer.Context, incomplete: str) -> list[str]:
        head, comma, begun = incomplete.rpartition(",") if several else ("", "", incomplete)
        taken = head.split(",")
        try:
            return [f"{head}{comma}{one}" for one in known(begun) if one.startswith(begun) and one not in taken]
        except Exception:  # a shell that waits for words is no place for what is wrong with a file
            return []

    return complete
