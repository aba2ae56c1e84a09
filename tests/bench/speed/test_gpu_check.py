"""The one call that checks a GPU, with stages that any machine can run."""

import io
import json

import pytest
from rich.console import Console

from bench.speed.gpu_check import Stage, check, main, stages


def said(out, todo, seconds=60):
    text = io.StringIO()
    ended = check(out, todo, seconds, Console(file=text, width=200))
    return ended, text.getvalue()


def test_every_stage_is_run_and_none_stops_the_others(tmp_path):
    todo = [
        Stage("good", ("-c", "print('fine')"), 60),
        Stage("bad", ("-c", "raise SystemExit(3)"), 60),
        Stage("last", ("-c", "print('too')"), 60),
    ]
    ended, text = said(tmp_path / "out", todo)
    assert [one.code for one in ended] == [0, 3, 0]
    assert (tmp_path / "out" / "good.log").read_text() == "fine\n"
    assert "bad: exit code 3" in text
    written = json.loads((tmp_path / "out" / "summary.json").read_text())["stages"]
    assert [one["name"] for one in written] == ["good", "bad", "last"]
    assert written[0]["command"].startswith("python -c")


def test_what_takes_too_long_is_ended_and_what_has_no_time_is_not_begun(tmp_path):
    forever = ("-c", "import time; time.sleep(600)")
    ended, text = said(tmp_path, [Stage("long", forever, 600), Stage("never", forever, 600)], seconds=6)
    assert [one.code for one in ended] == [None, None]
    assert "long: over its limit" in text
    assert "never: no time left" in text


def test_its_commands_are_commands_of_this_program(tmp_path):
    made = stages(tmp_path, "some-row", "some-table", "/data", ["--time-limit", "5"])
    assert [one.name for one in made] == ["tests", "speed", "alone", "together", "rows"]
    words = made[-1].command
    assert words[words.index("--dataset") :][:4] == ("--dataset", "omniglot", "--data-dir", "/data")
    assert "some-table" in words
    assert "--time-limit" in words
    assert "glyphs" in stages(tmp_path, "a", "b", None)[2].command


def test_a_machine_without_a_gpu_is_told_so_before_anything_runs(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(SystemExit) as error:
        main(["--row", "a", "--experiment", "b", "--out", str(tmp_path / "out")])
    assert error.value.code == 2
    assert "sees no CUDA device" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_unknown_stage_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit) as error:
        main(["--row", "a", "--experiment", "b", "--out", str(tmp_path), "--only", "test"])
    assert error.value.code == 2
    assert "--only takes tests, speed, alone, together, rows, not test" in capsys.readouterr().err
