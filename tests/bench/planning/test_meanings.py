"""Where the meaning of a setting is read, and that every setting of ours has one."""

import dataclasses

import pytest

from bench.planning import catalogue, components
from bench.planning.meanings import described, meanings, type_words

OURS = [
    (group, name, path)
    for group in catalogue.groups()
    for name, path in catalogue.options(group).items()
    if path.parents[1] == catalogue.config_folders()[0]
]


def settings(group, name):
    return [
        key
        for key in catalogue.raw(group, name)
        if key not in catalogue.RESERVED and (group, key) != ("budget", "name")
    ]


@pytest.mark.parametrize(("group", "name", "path"), OURS, ids=[f"{group}-{name}" for group, name, _ in OURS])
def test_every_setting_of_ours_means_something(group, name, path):
    assert [key for key in settings(group, name) if len(meanings(path).get(key, "")) < 4] == []


@pytest.mark.parametrize(("group", "name", "path"), OURS, ids=[f"{group}-{name}" for group, name, _ in OURS])
def test_the_source_says_of_types_what_the_class_does(group, name, path):
    if group == "budget":
        return
    target = catalogue.raw(group, name)["_target_"]
    fields = dataclasses.fields(components.resolve(target))
    types = described(target).types
    assert {one.name: types.get(one.name) for one in fields} == {one.name: one.type for one in fields}
    assert described(target).about


def test_comments_are_read_behind_values_and_go_on_indented(tmp_path):
    path = tmp_path / "one.yaml"
    path.write_text(
        "# of the file\n"
        "a: 1   # the first;\n"
        "       # 0 or more\n"
        "# of the next\n"
        "b: 2\n"
        'c: "x # y"  # a text\n'
        "d: [1, 2]  # a list\n"
        "e: {f: 1}\n"
        "g:\n  h: 1  # not of the outermost level\n"
        "i: 5 # last"
    )
    assert meanings(path) == {"a": "the first; 0 or more", "c": "a text", "d": "a list", "i": "last"}
    path.write_text("a: [")
    assert meanings(path) == {}
    assert meanings(tmp_path / "none.yaml") == {}


@pytest.mark.parametrize(
    ("annotation", "value", "words"),
    [
        ("int | None", None, "whole number or null"),
        ("float", 1.0, "number"),
        ("bool", True, "true or false"),
        ("Literal['same', 'valid']", "same", "same or valid"),
        ("Literal['lasium']", "lasium", "lasium"),
        ("Filter", "bilinear", "text"),
        ("Sequence[float]", [0.0], "list"),
        (None, 3, "whole number"),
        (None, {}, "mapping"),
    ],
)
def test_types_in_words(annotation, value, words):
    assert type_words(annotation, value) == words


@pytest.mark.parametrize("target", ["methods.none.None", "no_such_package.a.B", "methods.lasium.Nobody", "bench", ""])
def test_what_cannot_be_read_is_not_described(target):
    assert described(target).about == ""
