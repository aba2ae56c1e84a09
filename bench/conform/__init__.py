"""Does somebody's method, or component, keep the contracts? The checks that an author runs first, as pytest tests too.

``test_mine = method_tests("mine")`` is a whole file of tests.
"""

from bench.conform.testing import component_tests, method_tests

__all__ = ["component_tests", "method_tests"]
