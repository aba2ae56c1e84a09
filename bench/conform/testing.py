"""The checks as tests of pytest, for the repository of whoever writes a method or a component."""

from __future__ import annotations

from collections.abc import Callable, Sequence

LIMIT = 300.0


def method_tests(
    *names: str, dataset: str = "glyphs", overrides: Sequence[str] = (), limit: float = LIMIT
) -> Callable[[str], None]:
    """A test function for pytest, run once for each of the methods; it fails with a sentence for every fault.

    names: methods as ``bench conform`` takes them. overrides: settings. limit: seconds for each.
    """
    return component_tests("method", *names, dataset=dataset, overrides=overrides, limit=limit)


def component_tests(
    group: str, *names: str, dataset: str = "glyphs", overrides: Sequence[str] = (), limit: float = LIMIT
) -> Callable[[str], None]:
    """The same for components of a group: ``component_tests("encoder", "mine")``."""
    import pytest

    @pytest.mark.parametrize("name", names)
    def test(name: str) -> None:
        from bench.conform.kit import conform
        from bench.conform.subject import Subject
        from bench.datasets.prepare import default_cache

        subject = Subject(group, name, dataset, tuple(overrides), cache=default_cache())
        (verdict,) = conform([subject], limit)
        faults = [f"{one.name}: {one.fault}" for one in verdict.faults]
        if faults:
            pytest.fail(f"{subject.title} does not conform:\n" + "\n".join(faults), pytrace=False)

    return test
