"""What is wrong with a file is said with the line that it stands on."""

import sys

import pytest
from plugin_packages import METHOD, install

from bench.basics.errors import BenchError
from bench.planning import catalogue, merging
from bench.planning.components import build
from bench.planning.lines import line_of
from bench.planning.listing import listing
from bench.planning.plan import Request, run_configs

HEAD = "# a method\n_target_: lined.code.Mine\n"


@pytest.fixture
def says(tmp_path, monkeypatch):
    """What ``bench list plugins`` says of a method's file."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def forget():
        for cached in (catalogue.plugins, catalogue.plugin_packages, catalogue.config_folders, catalogue._since):
            cached.cache_clear()
        merging._hydra_texts.cache_clear()
        for name in [name for name in sys.modules if name.partition(".")[0] == "lined"]:
            del sys.modules[name]

    def said(text):
        install(tmp_path, "lined", files={"code.py": METHOD, "configs/method/mine.yaml": HEAD + text})
        forget()
        return "\n".join(str(part) for part in listing("plugins"))

    yield said
    monkeypatch.undo()
    forget()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('card:\n  title: X\n  supervised: "no"\n', "line 5: card.supervised must be true or false, not 'no'"),
        ("card:\n\n  group: unsupervized\n", "line 5: card.group must be one of"),
        ("card: {group: unsupervized}\n", "Did you mean 'unsupervised'?"),
        ("card:\n  titel: X\n", "line 4: card.titel is unknown. Did you mean 'title'?"),
        ('card:\n  title: "{learnr}"\n', "line 4: card.title '{learnr}' has a field {learnr}"),
        ("card:\n  supervised: true\n  group: floor\n", "line 5: card.group: floor cannot stand with supervised: true"),
        ("strenght: 1.0\n", "line 3: lined.code.Mine has no setting 'strenght'. Did you mean 'strength'?"),
        ("variant: {a: {b: []}}\n", "line 3: lined.code.Mine has no setting 'variant'. Did you mean 'variants'?"),
        ("uses: [learner]\n", "line 3: lined.code.Mine has no setting 'learner'."),
        ("a: 1\nb: [\n", "it is not valid YAML: line 5: "),
    ],
)
def test_the_line_is_named(says, text, expected):
    said = says(text)
    assert "mine.yaml cannot be used: " in said
    assert expected in said


def test_a_run_says_it_too(says):
    says("strenght: 1.0\n")
    one = run_configs(Request(methods="mine", references=False))[0]
    with pytest.raises(BenchError, match=r"mine\.yaml, line 3: lined\.code\.Mine has no setting 'strenght'"):
        build(one.values["method"], one.values)
    text = "uses: [learner]\nvariants:\n  learner:\n    maml: [learner=mamel]\n"
    says(text)
    with pytest.raises(BenchError, match=r"mine\.yaml, line 6: variants\.learner\.maml: there is no learner 'mamel'"):
        run_configs(Request(methods="mine", references=False))


def test_a_line_is_that_of_as_much_of_the_key_as_is_there(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text("a:\n  b.c: 1\n  d:\n    - 1\n")
    assert [line_of(path, key) for key in ("a", "a.b.c", "a.d[0]", "a.x.y", "b")] == [1, 2, 3, 1, None]
