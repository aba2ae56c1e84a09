"""``precision`` as a setting: its values, and that the default leaves keys, names and artifacts as they were."""

import hashlib
import json

import pytest

from bench.basics.errors import BenchError
from bench.basics.keys import content_key
from bench.planning import catalogue, components, composing
from bench.planning.overrides import parse_overrides
from bench.planning.plan import run_key
from bench.records.record import MethodCard, RunRecord
from bench.training.artifacts import ArtifactStore


def composed(*settings, method="lasium-ro-vae-maml"):
    return composing.compose(catalogue.variants()[method], "glyphs", "quick", parse_overrides(settings))


def test_float32_is_the_default_and_tf32_another_run():
    usual, said, other = composed(), composed("precision=float32"), composed("precision=tf32")
    assert usual.values["precision"] == "float32"
    assert run_key(usual, "c", 0) == run_key(said, "c", 0) != run_key(other, "c", 0)
    assert usual.method_name == said.method_name
    assert other.method_name == f"{usual.method_name},precision=tf32"
    assert other.title == f"{usual.title}, precision=tf32"


def test_the_default_adds_nothing_to_what_keys_are_made_of(tmp_path):
    recipe = {"generator": "vae", "precision": "bfloat16", "seed": 3}
    values = composed().values
    assert components.artifact_settings("generator", values) == components.component_settings(
        values["generator"], values
    )
    name = hashlib.sha256(json.dumps(recipe, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:12]
    assert ArtifactStore(tmp_path).path("vae", recipe).name == f"vae-{name}.safetensors"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("precision=tf23", "precision must be float32 or tf32, not 'tf23'. Did you mean 'tf32'?"),
        ("precision=TF32", "precision must be float32 or tf32, not 'TF32'. Did you mean 'tf32'?"),
        ("precision=bfloat16", "bfloat16 is a setting of generators: generator.precision=bfloat16"),
        ("precision=half", "precision must be float32 or tf32, not 'half'"),
        ("precision=32", "precision takes a word"),
        ("precision=null", "precision takes a word"),
    ],
)
def test_other_values_are_refused(text, message):
    with pytest.raises(BenchError) as error:
        composed(text)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_the_store_keeps_what_was_trained_in_tf32_apart(tmp_path):
    import torch

    made = []

    def make(value):
        def making(*_):
            made.append(value)
            return {"x": torch.full((1,), float(value))}, {"epochs": 2}

        return making

    recipe = {"a": 1}
    exact, rounded = ArtifactStore(tmp_path), ArtifactStore(tmp_path, "tf32")
    for ask in (
        lambda store, value: store.get("thing", recipe, make(value)),
        lambda store, value: store.grow("line", recipe, 2, 1, make(value)),
    ):
        one, other = ask(exact, 1), ask(rounded, 2)
        assert (float(one.tensors["x"]), float(other.tensors["x"])) == (1, 2)
        assert one.key != other.key
        assert one.path != other.path
        assert other.meta["recipe"]["run_precision"] == "tf32"
        assert other.key == content_key(other.meta["recipe"])
        assert float(ask(rounded, 3).tensors["x"]) == 2, "found again"
    assert made == [1, 2, 1, 2]
    assert exact.path("thing", recipe) != rounded.path("thing", recipe)
    assert rounded.path("thing", recipe).exists()


@pytest.mark.parametrize(
    ("config", "device", "precision"),
    [
        ({}, "cpu", "float32"),
        ({}, "NVIDIA H200", "undeclared"),
        ({"precision": "float32"}, "NVIDIA H200", "float32"),
        ({"precision": "tf32"}, "NVIDIA H200", "tf32"),
    ],
)
def test_a_record_says_its_precision_and_old_ones_what_is_known(config, device, precision):
    card = MethodCard("a", "a", "A", "unsupervised", False)
    environment = {"device": device}
    record = RunRecord("", "failed", "", card, "glyphs", "", 0, "quick", config, environment=environment)
    assert record.precision == precision
