"""What stands for a component in a run's key: a name that it declares, wherever its class lives."""

import importlib.util
import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from bench.basics.errors import BenchError
from bench.leaderboard.trainings import changes
from bench.planning import catalogue, code, components, composing, merging, moved, yaml_files
from bench.planning.overrides import parse_overrides
from bench.planning.plan import Request, planned_runs, run_configs, run_key
from bench.planning.yaml_files import read_yaml

REPORTS = Path(__file__).parents[3] / "reports"
RECORDS = sorted(REPORTS.glob("*/records/*/*/*/run.json"))
IN_KEYS = ("method", "learner", "backbone", "generator", "encoder", "classifier")


def request_of(record):
    """What was typed for a record: its names say the method, budget and dataset, each with what was changed."""
    overrides = []
    names = {"method": record["method"]["name"], "dataset": record["dataset"], "budget": record["budget"]}
    for kind, name in names.items():
        for key, value in changes(name, record["config"]).items():
            values = record["config"]
            head, _, own = key.partition(".")
            if own and isinstance(values.get(head), dict) and values[head].get("own") == own:
                value = values[head][own]
            whole = "." in key or key in (*catalogue.groups(), "precision")
            full = key if whole else f"{kind}.{key}"
            overrides.append(f"{full}={value}")
    plain = {kind: name.partition(",")[0] for kind, name in names.items()}
    return plain, parse_overrides(overrides)


@pytest.mark.skipif(not RECORDS, reason="no report has its records beside it")
def test_the_request_of_every_committed_record_has_its_key(monkeypatch):
    record = {}
    resolve = components.resolve

    def without_files(target):  # a record names files that only its author has, and says their SHA-256
        cls = resolve(target)
        group = next((g for g in ("generator", "encoder") if record["config"].get(g, {}).get("own")), None)
        if group is None or record["config"][group]["_target_"] != target:
            return cls
        digest = record["config"][group]["sha256"]
        return type(cls.__name__, (), {"digest": staticmethod(lambda _: digest)})

    monkeypatch.setattr(composing, "resolve", without_files)
    wrong = {}
    for path in RECORDS:
        record |= json.loads(path.read_text())
        names, overrides = request_of(record)
        one = composing.compose(catalogue.variants()[names["method"]], names["dataset"], names["budget"], overrides)
        if run_key(one, record["dataset_hash"], record["seed"]) != record["key"]:
            wrong[str(path.relative_to(REPORTS))] = record["method"]["name"]
    assert not wrong
    assert len(RECORDS) > 100


@pytest.mark.parametrize("group", IN_KEYS)
def test_every_component_of_ours_declares_who_it_is(group):
    for option, path in catalogue.options(group).items():
        assert "identity" in read_yaml(path), f"configs/{group}/{option}.yaml"


METHOD = """
from dataclasses import dataclass


@dataclass(frozen=True)
class Mine:
    strength: float = 2.0
"""


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """``put(module, yaml)`` lays the class into that module of an installed plugin, with that YAML."""
    package = tmp_path / "site" / "moving_plugin"
    (package / "configs" / "method").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "configs" / "__init__.py").write_text("")
    metadata = tmp_path / "site" / "moving_plugin-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: moving-plugin\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[bench.plugins]\nmoving = moving_plugin\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))

    def put(module, identity=None):
        for old in package.glob("*.py"):
            if old.name != "__init__.py":
                old.unlink()
        for name in [name for name in sys.modules if name.startswith("moving_plugin")]:
            del sys.modules[name]
        (package / f"{module}.py").write_text(METHOD)
        said = f"identity: {identity}\n" if identity else ""
        (package / "configs" / "method" / "mine.yaml").write_text(
            f"_target_: moving_plugin.{module}.Mine\n{said}strength: 2.0\n"
        )
        forget()

    def forget():
        for cached in (catalogue.plugin_packages, catalogue.config_folders, yaml_files._read, catalogue._since):
            cached.cache_clear()
        merging._hydra_texts.cache_clear()

    yield put
    for name in [name for name in sys.modules if name.startswith("moving_plugin")]:
        del sys.modules[name]
    monkeypatch.undo()
    forget()


REQUEST = Request(methods="mine", references=False)


def planned(out):
    configs = run_configs(REQUEST)
    return planned_runs(configs, "c0ffee", (0,), out)[0]


@pytest.mark.parametrize("identity", [None, "mine, as ever"])
def test_where_a_plugins_class_lives_is_in_its_key_with_its_code_only(plugin, identity, tmp_path):
    found = []
    for module in ("first", "second"):
        plugin(module, identity)
        values = planned(tmp_path).values
        assert values["method"]["_target_"] == f"moving_plugin.{module}.Mine"
        found.append(components.component_settings(values["method"], values))
    one, other = found
    assert one.pop(code.CODE) != other.pop(code.CODE)
    assert one == other


def test_a_plugins_record_that_says_nothing_of_its_code_is_not_taken_for_the_run(plugin, tmp_path):
    plugin("first")
    run = planned(tmp_path)
    bare = {key: value for key, value in run.values["method"].items() if key != code.CODE}
    of_before = run_key(replace(run_configs(REQUEST)[0], values={**run.values, "method": bare}), "c0ffee", 0)
    (run.folder.parent / f"0-{of_before[:8]}").mkdir(parents=True)
    assert planned(tmp_path).key == run.key != of_before


def test_another_component_is_another_key(plugin, tmp_path):
    plugin("first", "one")
    one = planned(tmp_path)
    plugin("first", "two")
    assert planned(tmp_path).key != one.key


@pytest.mark.parametrize(
    ("line", "new"),
    [
        ("from bench.seeds import Seed", "bench.basics.seeds"),
        ("import bench.artifacts", "bench.training.artifacts"),
        ("from bench.records import RunRecord", "bench.records.record"),
    ],
)
def test_a_plugin_that_imports_a_moved_module_is_told_where_it_is(plugin, line, new):
    plugin("first")
    path = Path(components.resolve("moving_plugin.first.Mine").__module__.replace(".", "/"))
    del sys.modules["moving_plugin.first"]
    file = next(Path(entry) / f"{path}.py" for entry in sys.path if (Path(entry) / f"{path}.py").exists())
    file.write_text(f"{line}\n")
    with pytest.raises(BenchError, match=f"is {new} since version 0.2"):
        components.resolve("moving_plugin.first.Mine")


def test_moved_modules_are_where_the_hint_says():
    assert all(importlib.util.find_spec(new) for new in moved.MOVED.values())
