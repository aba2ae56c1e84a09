"""The tour runs as it stands in the repository, and what it shows is what comes out."""

import re

import pytest
import tour

NUMBER = re.compile(r"-?\d+\.\d+(?:e-?\d+)?|\b\d+\b")


def of_the_trained(cell: dict) -> bool:
    """Whether its numbers come from floating-point training, whose last digits differ between processors."""
    return bool(re.search(r"module|bench\.run|results|load_run", "".join(cell["source"])))


@pytest.mark.usefixtures("glyphs")
def test_its_cells_give_the_outputs_that_stand_in_it(cache, tmp_path):
    cells = tour.code(tour.TOUR)
    outputs = tour.executed(tour.TOUR, tmp_path, {"BENCH_CACHE": str(cache)})
    assert len(outputs) == len(cells) >= 8
    for cell, found in zip(cells, outputs, strict=True):
        kept, now = tour.text(cell["outputs"]), tour.text(found)
        if not of_the_trained(cell):
            assert now == kept
            assert [sorted(one.get("data", {})) for one in found] == [
                sorted(one.get("data", {})) for one in cell["outputs"]
            ]
            continue
        assert NUMBER.sub("#", now).split() == NUMBER.sub("#", kept).split()
        for one, other in zip(map(float, NUMBER.findall(now)), map(float, NUMBER.findall(kept)), strict=True):
            assert one == pytest.approx(other, abs=3 if abs(other) > 1 else 0.1), (kept, now)
    assert any("image/png" in one.get("data", {}) for cell in cells for one in cell["outputs"])
    assert (tmp_path / "runs" / "tour-report" / "leaderboard.md").is_file()


def test_it_is_small_and_its_outputs_are_whole():
    assert tour.TOUR.stat().st_size < 300_000
    cells = tour.code(tour.TOUR)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    assert "Traceback" not in tour.TOUR.read_text()
