"""An edited package of somebody else's is another key; an edit elsewhere is none."""

import hashlib
import os
import shutil
import sys
from functools import partial

import pytest
from plugin_packages import good, install

from bench.basics.errors import BenchError
from bench.planning import catalogue, code, components, composing, merging
from bench.planning.plan import Request, planned_runs, run_configs
from bench.running.inputs import open_dataset
from bench.training.artifacts import ArtifactStore

GENERATOR = """
from dataclasses import dataclass


@dataclass(frozen=True)
class Gan:
    width: int = 3

    def store(self, store):
        return store._whole({"width": self.width}, lambda checkpoint: self.train(checkpoint))

    def train(self, checkpoint): ...
"""
BRINGS_A_GENERATOR = {
    "gan.py": GENERATOR,
    "configs/generator/gan.yaml": "_target_: drawing.gan.Gan\nwidth: 3\n",
    "configs/method/drawn.yaml": "_target_: methods.lasium.Lasium\ncard: {title: Drawn}\nuses: [generator, learner]\n"
    "variants: {generator: {mine: [generator=gan], vae: [generator=vae]}}\n",
}


def forget():
    for cached in (catalogue.plugins, catalogue.plugin_packages, catalogue.config_folders, catalogue._since):
        cached.cache_clear()
    merging._hydra_texts.cache_clear()


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder of installed packages."""
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    forget()
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]
    monkeypatch.undo()
    forget()


def planned(tmp_path, methods="mine", *overrides):
    forget()  # a command of its own
    configs = run_configs(Request(methods=methods, references=False, overrides=overrides))
    return planned_runs(configs, "c0ffee", (0,), tmp_path / "runs")[0]


def test_it_is_the_version_and_the_source(site):
    package = good(site)
    (package / "net.cpython-311-x86_64-linux-gnu.so").write_bytes(b"\x7fELF")
    content = hashlib.sha256(b"good_plugin==1.0\n")
    for path in sorted(path for path in package.rglob("*") if path.is_file()):
        name, data = str(path.relative_to(package)).encode(), path.read_bytes()
        content.update(b"%d %d\n%s%s" % (len(name), len(data), name, data))
    node = planned(site).values["method"]
    assert (node["_code_"], node["_distribution_"]) == (content.hexdigest(), "good_plugin==1.0")


def test_an_edit_of_the_package_is_another_key_and_any_other_is_none(site):
    package = good(site)
    other = good(site, "neighbour")
    key = planned(site).key
    for path in ("code.py", "configs/method/mine.yaml", "__init__.py"):
        before = (package / path).read_text()
        (package / path).write_text(f"{before}# better\n")
        assert planned(site).key != key, path
        (package / path).write_text(before)
        assert planned(site).key == key, "put back, it is what it was"
    (package / "new.py").touch()
    assert planned(site).key != key
    (package / "new.py").unlink()
    for path in ("notes.md", "__pycache__/code.cpython-311.pyc", ".git/x.py", "weights.pt"):
        (package / path).parent.mkdir(exist_ok=True)
        (package / path).write_text("x")
    (other / "code.py").write_text("x = 1\n")
    assert planned(site).key == key
    install(site, "good_plugin", version="1.0.1")
    assert planned(site).key != key


def test_ours_have_none(site):
    values = planned(site, "umtra-maml").values
    assert not any("_code_" in node for node in values.values() if isinstance(node, dict))
    assert components.artifact_code(values) == {"code": {}, "trained_by": {}}


def test_edited_between_plan_and_run_it_is_refused(site):
    package = good(site)
    run = planned(site)
    components.build(run.values["method"], run.values)
    (package / "code.py").write_text((package / "code.py").read_text() + "\n# better\n")
    with pytest.raises(BenchError, match="was edited since the run was planned: run the same command again"):
        components.build(run.values["method"], run.values)


def test_a_package_too_large_to_look_through_is_refused(site, monkeypatch):
    package = good(site)
    os.symlink(package, package / "round")  # which would never end
    key = planned(site).key
    assert key
    monkeypatch.setattr(code, "MOST_FILES", 2)
    with pytest.raises(BenchError, match="'good_plugin' has more than 2 source files"):
        planned(site)
    monkeypatch.setattr(code, "MOST_FILES", 100)
    monkeypatch.setattr(code, "MOST_BYTES", 2**10)
    (package / "large.py").write_text("#" * 2**11)
    with pytest.raises(BenchError, match="0 MB"):
        planned(site)


def test_an_edited_generator_is_trained_anew_and_one_of_ours_is_not(site):
    package = install(site, "drawing", files=BRINGS_A_GENERATOR)

    def recipes(method):
        values = planned(site, method).values
        store = ArtifactStore(site, **components.artifact_code(values))
        group = components.build(values["generator"], values)
        ours = store._whole({"width": 3}, partial(max, 1))
        return group.store(store) if "mine" in method else ours, values

    mine, values = recipes("drawn-mine")
    assert mine == {"width": 3, "code": {"drawing": values["generator"]["_code_"]}}
    vae, values = recipes("drawn-vae")
    assert vae == {"width": 3}, "a generator of ours knows nothing of who uses it"
    (package / "gan.py").write_text(GENERATOR + "\n# better\n")
    assert recipes("drawn-mine")[0] != mine
    assert recipes("drawn-vae")[0] == vae


def test_an_edited_reader_of_a_dataset_prepares_it_anew(site, tmp_path):
    reads = """
from dataclasses import dataclass

import numpy as np

from bench.datasets.source import Item


@dataclass(frozen=True)
class Grey:
    name = "grey"

    def settings(self):
        return {}

    def scan(self):
        return [Item(s, f"{s}{c}", f"{s}{c}{i}") for s in ("train", "val", "test") for c in range(5) for i in range(3)]

    def read(self, items):
        yield from (np.full((1, 8, 8), LEVEL, dtype=np.uint8) for item in items)
"""
    found = []
    for level in (7, 9):
        yaml = "_target_: reading.code.Grey\nrecommend: {inner_lr: 0.4}\n"
        install(
            site, "reading", files={"code.py": reads.replace("LEVEL", f"{level}"), "configs/dataset/grey.yaml": yaml}
        )
        for name in [name for name in sys.modules if name.startswith("reading")]:
            del sys.modules[name]
        shutil.rmtree(site / "reading/__pycache__", ignore_errors=True)  # the edit has the same size and second
        forget()
        found.append(open_dataset(composing.dataset_values("grey", []), tmp_path / "cache"))
    assert [int(one.splits["train"].pixels.max()) for one in found] == [7, 9]
    assert found[0].content_hash != found[1].content_hash


def test_what_a_method_trains_itself_knows_its_code(tmp_path):
    class Theirs:
        def fit(self, checkpoint): ...

    def ours(checkpoint): ...

    Theirs.__module__ = Theirs.fit.__module__ = "theirs.net"
    ours.__module__ = "bench.learners.clustering"
    theirs = Theirs()
    store = ArtifactStore(tmp_path, code={"theirs": "1a2b"})
    for make in (Theirs.fit, theirs.fit, partial(ours, theirs), partial(theirs.fit)):
        assert store._whole({}, make) == {"code": {"theirs": "1a2b"}}
    assert store._whole({}, ours) == {}

    def closing(checkpoint):
        return ours(theirs)

    closing.__module__ = "bench.learners.clustering"
    assert store._whole({}, closing) == {"code": {"theirs": "1a2b"}}
