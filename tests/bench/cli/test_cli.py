"""Command lines, up to the request that they make."""

import pytest

from bench.cli.entry import app
from bench.looking.inspection import inspect as inspecting


@pytest.fixture
def asked(monkeypatch):
    """The request that ``bench inspect`` was about to execute."""
    found = []
    monkeypatch.setattr(inspecting, "inspect", lambda request, *rest: found.append(request) or [])
    return found


@pytest.mark.parametrize(
    ("line", "methods", "experiment", "overrides"),
    [
        ("umtra-maml method.alpha=0.4", "umtra-maml", None, ("method.alpha=0.4",)),
        ("--experiment gate dataset.size=20 train.query=3", None, "gate", ("dataset.size=20", "train.query=3")),
        ("dataset.size=20 --experiment gate", None, "gate", ("dataset.size=20",)),
        ("--experiment gate", None, "gate", ()),
    ],
)
def test_what_stands_before_any_method_may_be_a_setting(line, methods, experiment, overrides, asked):
    app(["inspect", *line.split()], standalone_mode=False)
    assert [(one.methods, one.experiment, one.overrides) for one in asked] == [(methods, experiment, overrides)]
