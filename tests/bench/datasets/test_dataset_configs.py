"""The yaml files of the datasets name the classes' own fields and defaults."""

import dataclasses
import importlib
from pathlib import Path

import pytest
import yaml

from bench.datasets.source import DatasetSource

RESERVED = {"_target_", "card", "recommend"}
FILES = sorted((Path(__file__).parents[3] / "configs" / "dataset").glob("*.yaml"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_yaml_file_states_every_field(path: Path) -> None:
    config = yaml.safe_load(path.read_text())
    module, name = config["_target_"].rsplit(".", 1)
    kind = getattr(importlib.import_module(module), name)
    settings = {key: value for key, value in config.items() if key not in RESERVED}
    assert set(settings) == {field.name for field in dataclasses.fields(kind)}
    assert set(config["card"]) == {"title", "licence", "cite", "homepage", "about"}
    assert {"inner_lr", "backbone"} <= set(config["recommend"]) <= {"inner_lr", "backbone", "tasks"}
    made = kind(**settings)
    assert isinstance(made, DatasetSource)
    assert made.name == path.stem
    if path.stem != "grocery84":  # a preset
        assert made == kind()
