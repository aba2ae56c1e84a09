"""``bench plan`` for people: the same cells, whether few runs are folded into a table or many stand a line each."""

import pytest
from rich.table import Table

from bench.planning.plan import Request
from bench.running import explain
from bench.running.outlook import look_ahead


@pytest.mark.usefixtures("glyphs")
def test_many_runs_stand_a_line_each(tmp_path, monkeypatch):
    request = Request(
        methods="umtra-maml,pixels", budget="smoke", seeds=(0, 10), references=False, out=tmp_path / "runs"
    )
    outlook = look_ahead(request)
    table = next(iter(explain.explain(outlook)))
    assert isinstance(table, Table)
    cells = [list(map(str, column.cells)) for column in table.columns]
    monkeypatch.setattr(explain, "MANY", 2)
    head, *lines = next(iter(explain.explain(outlook))).splitlines()
    assert head.split() == [str(column.header) for column in table.columns]
    assert [line.split() for line in lines] == [[word for cell in row for word in cell.split()] for row in zip(*cells)]
    assert len({line.index(str(tmp_path)) for line in lines}) == 1, "columns stand below one another"
