"""The reports of this repository are what the records beside them give, today."""

import re
import shutil
from pathlib import Path

import pytest

from bench.reporting.report import write_report

REPORTS = Path(__file__).parents[2] / "reports"
COMMITTED = sorted(folder.parent for folder in REPORTS.glob("*/records") if folder.is_dir())
PICTURE = re.compile(rb"data:image/png;base64,[A-Za-z0-9+/=]*|<svg\b.*?</svg>", re.DOTALL)


def texts(folder):
    """File name -> content; the bytes of pictures depend on the version of matplotlib."""
    found = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    return {name: PICTURE.sub(b"", content) if name.endswith(".html") else content for name, content in found.items()}


def figures(folder):
    return {path.name for path in (folder / "figures").glob("*")}


@pytest.mark.skipif(not COMMITTED, reason="no report has its records beside it")
@pytest.mark.parametrize("report", COMMITTED, ids=lambda folder: folder.name)
def test_a_report_is_what_its_records_give(report, tmp_path):
    shutil.copytree(report / "records", tmp_path / "records")  # the page links to those beside it
    write_report(tmp_path / "records", tmp_path)
    rendered, committed = texts(tmp_path), texts(report)
    assert set(rendered) == set(committed)
    for name, content in rendered.items():
        assert content.decode() == committed[name].decode(), name
    assert figures(tmp_path) <= figures(report), "pictures that the report does not make may lie beside its own"
