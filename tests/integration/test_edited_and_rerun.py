"""What a method is, is part of its run: edited it is another row, and anew on purpose it is trained once more."""

import json
import shutil

from plugin_packages import install

from bench.leaderboard.loading import load

CODE = """
from dataclasses import dataclass

import torch


class Learner:
    transductive = False

    def predict(self, support, query):
        return -torch.cdist(query.flatten(2), support.STATISTIC.flatten(2))


@dataclass(frozen=True)
class Mine:
    def fit(self, images, spec, context):
        return Learner()
"""
REQUEST = ("--no-references", "--budget", "smoke", "budget.evaluation_tasks=20")


def write(bench, statistic):
    yaml = "_target_: edited.code.Mine\ncard: {title: Mine}\n"
    code = CODE.replace("STATISTIC", statistic)
    install(bench.folder / "site", "edited", files={"code.py": code, "configs/method/mine.yaml": yaml})


def records(bench):
    """Folder's name -> record."""
    return {path.parent.name: json.loads(path.read_text()) for path in sorted(bench.out.glob("*/*/*/run.json"))}


def board(bench):
    """(variant, name of the folder) of what counts."""
    found = load(bench.out)
    assert not found.problems
    return sorted(zip(found.finished["variant"], (path.name for path in found.finished["path"])))


def test_an_edited_method_is_another_row(bench):
    bench.environment["PYTHONPATH"] = str(bench.folder / "site")
    write(bench, "mean(2)")
    bench("run", "--methods", "mine", *REQUEST)
    write(bench, "amax(2)")
    plan = bench("plan", "--methods", "mine", *REQUEST).stdout
    assert "1 of 1 runs to do" in plan
    bench("run", "--methods", "mine", *REQUEST)
    found = records(bench).values()
    codes = [one["config"]["method"]["_code_"] for one in found]
    assert len({one["key"] for one in found}) == len(set(codes)) == 2
    assert {variant for variant, _ in board(bench)} == {f"method.code={one[:8]}" for one in codes}
    assert [one for one in codes if f"code of edited (edited==1.0): {one[:8]}, in the keys of mine" in plan]


def test_rerun_keeps_the_record_beside_the_new_one_and_the_newest_counts(bench):
    request = ("--methods", "pixels", *REQUEST)
    bench("run", *request)
    (name,) = records(bench)
    before = (bench.out / f"glyphs/pixels/{name}/run.json").read_bytes()
    assert "anew" in bench("plan", *request, "--rerun").stdout
    bench("run", *request, "--rerun")
    bench("run", *request, "--rerun")
    assert sorted(records(bench)) == [name, f"{name}.1", f"{name}.2"]
    assert (bench.out / f"glyphs/pixels/{name}.1/run.json").read_bytes() == before
    assert records(bench)[name]["notes"]["rerun"] == f"the record before is {name}.2"
    assert "0 of 1 runs to do" in bench("plan", *request).stdout
    assert board(bench) == [("", name)]
    bench("verify")  # exit code 1 where something is damaged
    shutil.rmtree(bench.out / f"glyphs/pixels/{name}")
    assert board(bench) == [("", f"{name}.2")], "the newest that is finished"
