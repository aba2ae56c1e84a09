"""Whole methods, each with one thing wrong, and what the kit says of it."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest
import torch

from bench.basics.errors import BenchError
from bench.checks.finding import Finding
from bench.conform import kit, methods, testing
from bench.conform.guard import Guard, read
from bench.conform.kit import Verdict
from bench.conform.subject import Subject, chosen, configured, miniature
from bench.contracts import Tasks
from bench.datasets.source import Split


class Weighted:
    """Nearest mean of weighted pixels."""

    transductive = False

    def __init__(self, weight):
        self.weight = torch.as_tensor(weight, dtype=torch.float32)

    def predict(self, support, query):
        x = torch.cat([support.flatten(1, 2), query], dim=1).flatten(2) * (0.5 + self.weight)
        return -torch.cdist(x[:, support.shape[1] * support.shape[2] :], x[:, : support.shape[1] * support.shape[2]])

    def state(self):
        return {"weight": self.weight}


def trains(images, spec, context, weight=0.0):
    """Eight steps in a loop of its own, which keeps what it has in the checkpoint and goes on from there."""
    tensors, meta = context.checkpoint.load() or ({}, {"step": 0})
    weight = tensors.get("weight", torch.tensor(weight))
    for step in range(meta["step"], 8):
        weight = weight + torch.rand((), generator=context.seed.at("step", step).generator()) / 8
        context.checkpoint.save({"weight": weight}, {"step": step + 1})
        context.progress("mine", step + 1, 8, {})
    return Weighted(weight)


def looks(images, spec, context):
    return trains(images, spec, context, float(images.pixels.float().mean()))


def asks_for_labels(images, spec, context):
    return Weighted(float(images.class_ids[0]))


def unseeded(images, spec, context):
    return Weighted(np.random.default_rng().random())


def of_the_global_generator(images, spec, context):
    return Weighted(torch.rand(()))


def of_another_dtype(images, spec, context):
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(torch.get_num_threads() + 1)
    return Weighted(0.0)


def overwrites(images, spec, context):
    images.pixels.zero_()
    return Weighted(0.0)


STARTED = []


def leaves_a_child(images, spec, context):
    STARTED.append(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]))
    return Weighted(0.0)


def swallows(images, spec, context):
    try:
        return looks(images, spec, context)
    except Exception:
        return Weighted(0.0)


def forgets(images, spec, context):
    """Goes on with the step of its checkpoint, and without the weight."""
    _, meta = context.checkpoint.load() or ({}, {"step": 0})
    weight = torch.zeros(())
    for step in range(meta["step"], 8):
        weight = weight + 1 / 8
        context.checkpoint.save({"weight": weight}, {"step": step + 1})
        context.progress("mine", step + 1, 8, {})
    return Weighted(weight)


def keeps_nothing(images, spec, context):
    context.progress("mine", 1, 1, {})
    return Weighted(float(images.pixels.float().mean()))


def constant(images, spec, context):
    learner = Weighted(0.0)
    learner.predict = lambda support, query: torch.zeros(*query.shape[:2], support.shape[1])
    return learner


def one_task_only(images, spec, context):
    learner = Weighted(0.0)
    plain = learner.predict
    learner.predict = lambda support, query: plain(support.squeeze(0), query.squeeze(0))
    return learner


def breaks(images, spec, context):
    return {}["weights"]


def leaves(images, spec, context):
    sys.exit(3)


WRONG = {
    asks_for_labels: ("fit", "it asks its training images for class_ids, which an unsupervised method is not given"),
    unseeded: ("reproducible", "two trainings with one seed differ"),
    of_the_global_generator: ("fit: global generators", "fit draws from, or seeds, the global generator of PyTorch"),
    of_another_dtype: ("fit: process", "fit changed the number of threads of PyTorch from"),
    overwrites: ("fit: images", "fit changed the images that it was given"),
    leaves_a_child: ("fit: children", "fit left 1 process behind (python"),
    swallows: ("resuming", "fit swallows what context.progress raises"),
    forgets: ("resuming", "a training that was stopped and begun again differs"),
    constant: ("learns", "the learner answers every query alike, whatever it is trained on"),
    one_task_only: ("answers: single tasks", "cannot be asked one task at a time"),
    breaks: ("fit", "KeyError: 'weights' ("),
    leaves: ("fit", "its code ended the process, sys.exit(3)"),
}
TOLD = {
    looks: {},
    trains: {"learns": "other training images give the same learner"},
    keeps_nothing: {"resuming": "it keeps no checkpoint: a training that was stopped starts anew"},
    lambda images, spec, context: Weighted(float(images.pixels[0].float().mean())): {
        "resuming": "it never calls context.progress"
    },
}


@dataclasses.dataclass
class Mine:
    fit: object


class Sampling(Mine):
    def sampler(self, images, context):
        return self

    def sample(self, n, spec, rng):
        images = torch.zeros(n, spec.way, spec.shot + spec.query, 1, 28, 28)
        images += torch.rand(n, generator=torch.Generator().manual_seed(0)).view(-1, 1, 1, 1, 1, 1)
        return Tasks(images[:, :, : spec.shot], images[:, :, spec.shot :])


@pytest.fixture(scope="module")
def small(glyphs):
    return miniature(glyphs)


@pytest.fixture
def examined(small, tmp_path, monkeypatch, one_thread):
    """What the kit finds of a method that is a function: name -> finding."""
    config = configured(Subject("method", "chance", "glyphs"))

    def of(fit, kind=Mine):
        monkeypatch.setattr("bench.planning.components.build", lambda node, values: kind(fit))
        found = methods.examine(config, small, tmp_path / "trials", Guard(tmp_path / "journal"))
        return {one.name: one for one in found}

    return of


@pytest.mark.parametrize("method", WRONG, ids=lambda method: method.__name__)
def test_a_wrong_method_is_found_out(method, examined):
    name, sentence = WRONG[method]
    found = examined(method)
    while STARTED:
        process = STARTED.pop()
        process.kill()
        process.wait()
    faults = {one.name: one.fault for one in found.values() if one.fault is not None}
    assert sentence in faults.pop(name)
    # What is not reproducible, or overwritten, is not resumed or relearned to the same either.
    assert set(faults) <= {"reproducible", "resuming", "labels", "learns"}


@pytest.mark.parametrize("method", TOLD, ids=lambda method: method.__name__)
def test_a_right_method_passes_and_some_things_are_told(method, examined):
    found = examined(method)
    assert [one.fault for one in found.values() if one.fault is not None] == []
    told = {one.name: one.told for one in found.values() if one.told is not None}
    assert told.keys() == TOLD[method].keys()
    assert all(sentence in told[name] for name, sentence in TOLD[method].items())


def test_labels_that_reach_a_method_by_the_order_of_its_images_are_found(examined, monkeypatch):
    """As if the harness leaked: images sorted by class."""
    first = lambda images, *_: Weighted(float(images.pixels[:50].float().mean()))  # noqa: E731
    assert examined(first)["labels"].fault is None
    monkeypatch.setattr(Split, "unlabelled_order", lambda self: np.argsort(self.class_ids, kind="stable"))
    assert "fit depends on the labels of its images" in examined(first)["labels"].fault


def test_a_sampler_that_hears_nothing_of_rng_is_found(examined):
    found = examined(looks, Sampling)
    assert "makes the same tasks from every rng" in found["sampler: draws"].fault
    assert "queries that equal the support" in found["sampler: other images"].told


def test_what_is_asked_for_must_be_there():
    with pytest.raises(BenchError, match=r"no checks of group 'encodr', only of .*Did you mean 'encoder'\?"):
        chosen("encodr", ["acai"], "glyphs", ())
    with pytest.raises(BenchError, match=r"unknown encoder 'acay'.*Did you mean 'acai'\?"):
        chosen("encoder", ["acay"], "glyphs", ())
    able, unable = chosen("encoder", [], "glyphs", ())
    assert "acai" in able
    assert "file needs encoder.path=…" in unable
    assert chosen("encoder", ["file"], "glyphs", ["encoder.path=mine.pt2"]) == (["file"], [])


def test_as_tests_of_pytest_a_fault_fails_with_its_sentence(monkeypatch):
    def verdicts(subjects, limit):
        for one in subjects:
            faults = [Finding("labels", "", "it peeks")] if one.name == "wrong" else []
            yield Verdict(one, (Finding("fit", "", None), *faults))

    monkeypatch.setattr(kit, "conform", verdicts)
    test = testing.method_tests("right", "wrong")
    assert test.pytestmark[0].args == ("name", ("right", "wrong"))
    test("right")
    with pytest.raises(pytest.fail.Exception, match="wrong does not conform:\nlabels: it peeks"):
        test("wrong")


def test_the_journal_says_what_was_being_done_when_a_process_ended(tmp_path):
    guard = Guard(tmp_path / "journal")
    guard.doing("fit")
    guard.found(Finding("fit", "returns", None))
    guard.doing("resuming", "goes on")
    found, doing = read(tmp_path / "journal")
    assert found == [Finding("fit", "returns")]
    assert doing == Finding("resuming", "goes on")
