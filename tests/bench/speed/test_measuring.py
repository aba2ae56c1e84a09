"""``python -m bench.speed``: table, JSON and page. No timing is asserted."""

import json
import platform
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from bench.basics.allocator import keep_temporaries
from bench.speed import learners, measuring, programs, table, trainings
from bench.speed.contest import Contest

CPU = torch.device("cpu")
ROOT = Path(__file__).parents[3]


def fails():
    raise RuntimeError("out of | luck")


@pytest.fixture
def rows(monkeypatch):
    """Three rows whose sides say what they took."""
    made = [
        Contest("MAML step", lambda: {"ours": lambda: 0.01, "learn2learn": lambda: 0.03, "plain": lambda: 0.02}, 2.5),
        Contest("bench run", lambda: {"ours": lambda: 2.0}),
        Contest("broken", lambda: {"ours": fails}),
    ]
    monkeypatch.setattr(measuring, "contests", lambda device, threads, found: made)
    before = torch.get_num_threads()
    yield made
    torch.set_num_threads(before)


def test_table_json_and_page(tmp_path, rows, capsys):
    measuring.main(["--rounds", "2", "--threads", "1", "--json", str(tmp_path / "here.json")])
    printed = capsys.readouterr().out
    assert re.search(r"MAML step +10\.0 ms +plain +20\.0 ms +2\.00 +2\.00–2\.00", printed)
    assert re.search(r"learn2learn +30\.0 ms +3\.00 +3\.00–3\.00 +2\.5 met", printed)
    assert "broken, ours: RuntimeError: out of | luck" in printed
    written = json.loads((tmp_path / "here.json").read_text())
    assert written["results"][0]["seconds"]["learn2learn"] == [0.03, 0.03]
    assert {"cpu", "cores", "date", "torch", "threads", "peers", "missing", "load"} <= set(written)

    measuring.main(["--page", str(tmp_path)])
    page = (tmp_path / "README.md").read_text()
    assert "| MAML step | 10.0 ms | plain | 20.0 ms | 2.00 | 2.00–2.00 |  |" in page
    assert "| bench run | 2.00 s |  |  |  |  |  |" in page
    assert "- failed: broken, ours: RuntimeError: out of | luck" in page
    assert written["date"] in page
    assert written["cpu"] in page
    assert measuring.INSTALL in page


def test_a_row_is_written_as_soon_as_it_is_measured(tmp_path, rows, monkeypatch):
    def interrupted():
        raise KeyboardInterrupt

    rows[1] = Contest("bench run", lambda: {"ours": interrupted})
    with pytest.raises(KeyboardInterrupt):
        measuring.main(["--rounds", "1", "--json", str(tmp_path / "here.json")])
    assert [one["name"] for one in json.loads((tmp_path / "here.json").read_text())["results"]] == ["MAML step"]


def test_rows_are_chosen_by_parts_of_their_names(rows, capsys):
    measuring.main(["--rounds", "1", "--rows", "run,nothing"])
    printed = capsys.readouterr().out
    assert "bench run" in printed
    assert "MAML" not in printed


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--rounds", "0"], "at least 1"),
        (["--threads", "0"], "at least 1"),
        (["--limit", "-1"], "0 or more"),
        (["--rows", "nothing"], "no row's name contains 'nothing'"),
        (["--device", "tpu"], "cpu or cuda, not 'tpu'"),
        (["--page", "nowhere"], "nowhere has no measurement"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(rows, arguments, said, capsys):
    with pytest.raises(SystemExit) as ended:
        measuring.main(arguments)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    "content", ["", "{}", "[]", '{"schema": 1}', '{"schema": 2, "date": "x", "results": [{"a": 1}]}']
)
def test_a_file_that_is_no_measurement_is_named(tmp_path, content, capsys):
    (tmp_path / "odd.json").write_text(content)
    with pytest.raises(SystemExit):
        measuring.main(["--page", str(tmp_path)])
    assert "odd.json is no measurement of bench.speed" in capsys.readouterr().err


def test_the_committed_page_is_what_its_measurements_say():
    folder = ROOT / "reports/speed"
    text = table.page(folder, measuring.INSTALL).replace(folder.as_posix(), "reports/speed")
    assert (folder / "README.md").read_text() == text


def test_the_documented_command_is_the_one_in_the_extra_and_in_the_docstring():
    said = re.sub(r"\s+", " ", measuring.__doc__.replace("\\", ""))
    assert re.sub(r"\s+", " ", measuring.INSTALL.replace("\\", "")) in said
    assert "\npeers = [" in (ROOT / "pyproject.toml").read_text()


def test_every_row_of_the_learners_can_be_done_once():
    for row in learners.contests(CPU, {}):
        assert set(row.sides()) >= {"ours", "plain"}
    sides = next(
        row for row in learners.contests(CPU, {}) if row.name == "MAML conv4-strided, first-order step"
    ).sides()
    for run in sides.values():
        assert run() is None


def test_a_training_is_timed_by_its_progress():
    """The real component, built from its configuration."""
    rows = {row.name: row for row in trainings.contests(CPU)}
    assert len(rows) == 6
    sides = rows["BiGAN, step of 128"].sides()
    assert sides["ours"]() > 0
    assert sides["plain"]() > 0


def test_a_command_that_fails_says_its_last_line(tmp_path):
    with pytest.raises(programs.BenchError, match=r"ended with 2: .*nowhere"):
        programs._bench(["report", "--runs", str(tmp_path / "nowhere"), "--out", str(tmp_path)], 1)


def test_a_small_run_and_its_report():
    row = next(row for row in programs.contests("cpu", 1, ROOT / "reports/grocery84/records") if "report" in row.name)
    assert row.sides()["ours"]() is None


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
def test_on_a_gpu(tmp_path):
    """In a process of its own, as a user starts it."""
    command = [sys.executable, "-m", "bench.speed", "--device", "cuda", "--rounds", "1"]
    rows = ["--rows", "conv4-strided,ProtoNets,VAE", "--json", str(tmp_path / "gpu.json")]
    subprocess.run([*command, *rows], cwd=ROOT, check=True)
    results = json.loads((tmp_path / "gpu.json").read_text())["results"]
    assert len(results) == 6
    assert [one["failed"] for one in results] == [{}] * 6


def test_the_allocator_is_set_on_glibc_only_and_not_over_the_users_own_setting(monkeypatch):
    monkeypatch.delenv("MALLOC_TRIM_THRESHOLD_", raising=False)
    monkeypatch.delenv("MALLOC_MMAP_THRESHOLD_", raising=False)
    assert keep_temporaries() is (platform.libc_ver()[0] == "glibc")
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "1")
    assert keep_temporaries() is False
    monkeypatch.delenv("MALLOC_TRIM_THRESHOLD_")
    monkeypatch.setattr("sys.platform", "darwin")
    assert keep_temporaries() is False
