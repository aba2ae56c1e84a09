"""``bench run`` and ``bench conform`` on a package of methods with something wrong, and on components of our own."""

import json

import pytest
from commands import Bench
from plugin_packages import install

CODE = """
import os, time
from dataclasses import dataclass

import torch


class NearestMean:
    transductive = False

    def predict(self, support, query):
        return -torch.cdist(query.flatten(2), support.mean(2).flatten(2))


class Centred(NearestMean):
    def predict(self, support, query):
        return super().predict(support, query - query.mean(1, keepdim=True))


@dataclass(frozen=True)
class Mine:
    what: str = "prints"

    def fit(self, images, spec, context):
        return getattr(self, self.what)(images, context)

    def centred(self, images, context):
        return Centred()

    def hangs(self, images, context):
        time.sleep(600)

    def prints(self, images, context):
        print("epoch 1")
        return NearestMean()

    def ends(self, images, context):
        os._exit(3)
"""
NAMES = ("centred", "hangs", "prints", "ends")
CARD = "card: {{title: {0}, group: unsupervised, supervised: false}}\n"
REASON = (
    "Centred.predict uses the other queries of a task but does not declare it; set transductive = True on Centred, or "
    "answer every query on its own"
)


@pytest.fixture
def plugged(cache, glyphs, tmp_path):
    files = {"code.py": CODE}
    for name in NAMES:
        text = f"_target_: wrong_plugin.code.Mine\n{CARD.format(name.title())}what: {name}\n"
        files[f"configs/method/{name}.yaml"] = text
    install(tmp_path / "site", "wrong_plugin", files=files)
    bench = Bench(cache, tmp_path)
    bench.environment["PYTHONPATH"] = str(tmp_path / "site")
    return bench


def test_a_run_of_a_wrong_method_fails_with_the_sentence_that_mends_it(plugged):
    tiny = ("--budget", "smoke", "budget.evaluation_tasks=5")
    plugged("run", "--methods", "pixels,centred", "--no-references", *tiny, code=1)
    records = [json.loads(path.read_text()) for path in plugged.out.glob("*/*/*/run.json")]
    found = {one["method"]["name"]: one for one in records}
    assert (found["centred"]["status"], found["centred"]["reason"]) == ("failed", REASON)
    assert not found["centred"]["evaluations"]
    checked = found["pixels"]["notes"]["checked"]
    assert checked["version"] == 1
    assert {"image by image", "order", "other queries", "other tasks"} <= set(checked["learner"])


def test_the_kit_gives_each_method_a_table_and_outlives_what_it_does(plugged):
    result = plugged("conform", "hangs", "prints", "ends", "--time-limit", "0.1", code=1)
    said = " ".join(result.stdout.split())
    assert "fit FAIL it did not end within 6 s, and was ended from outside" in said
    assert "fit FAIL its process ended with exit code 3 and no answer; no code of a method may end its process" in said
    assert "fit: quiet told fit prints on the standard output" in said
    assert "epoch 1" not in result.stdout
    assert "1 of 3 conform; not hangs, ends" in result.stdout


def test_our_own_conform(bench):
    said = bench("conform", "umtra-maml").stdout
    assert "1 of 1 conform" in said
    assert "a training that was stopped goes on to the same learner" in said


def test_bad_requests_are_one_sentence(bench):
    assert "name what to check" in bench.error("conform")
    assert "not both" in bench.error("conform", "umtra-maml", "--all")
    assert "unknown method 'umtra-mal'" in bench.error("conform", "umtra-mal")
