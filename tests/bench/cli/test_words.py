"""What is typed: methods and settings in any order, and options that are called the same in every command."""

import pytest
import typer

from bench.basics.errors import BenchError
from bench.cli import conform, look
from bench.cli.asking import sorted_out
from bench.cli.entry import app
from bench.conform import subject
from bench.looking import pictures

ALIKE = {
    "--methods": "-m",
    "--dataset": "-d",
    "--experiment": "-e",
    "--help": "-h",
}
"""Option -> its letter, in every command that has it."""


def commands(command=None, path=()):
    command = command or typer.main.get_command(app)
    inner = getattr(command, "commands", {})
    for name, one in inner.items():
        yield from commands(one, (*path, name))
    if not inner:
        yield " ".join(path), command


@pytest.mark.parametrize(
    ("typed", "option", "methods", "settings"),
    [
        (["umtra", "lasium"], None, "umtra,lasium", []),
        (["umtra,lasium"], "aal", "umtra,lasium,aal", []),
        (["backbone=conv4", "umtra", "method.shift=3"], None, "umtra", ["backbone=conv4", "method.shift=3"]),
        (["lasium-*-protonet", "+x=1", "~y"], None, "lasium-*-protonet", ["+x=1", "~y"]),
        ([], "umtra", "umtra", []),
        (None, None, None, []),
        (["unknown"], None, "unknown", []),  # that is told where it is looked up
    ],
)
def test_methods_and_settings_are_told_apart(typed, option, methods, settings):
    assert sorted_out(typed, option) == (methods, settings)


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("omniglot", "'omniglot' is a dataset and no method; say --dataset omniglot"),
        ("umtra,quick", "'quick' is a budget and no method; say --budget quick"),
        ("table7", "'table7' is an experiment and no method; say --experiment table7"),
        ("acai", "'acai' is an encoder and no method; say encoder=acai"),
    ],
)
def test_the_name_of_something_else_is_told(word, said):
    with pytest.raises(BenchError) as error:
        sorted_out([word])
    assert str(error.value) == said


def test_one_thing_has_one_name_in_every_command():
    owners: dict[str, set[str]] = {}
    for name, command in commands():
        for one in command.params:
            for option in one.opts:
                owners.setdefault(option, set()).add(name)
            if one.param_type_name == "option":
                for long, short in ALIKE.items():
                    assert (long in one.opts) == (short in one.opts), (name, one.opts)
    assert owners["--methods"] == {"run", "plan", "explain", "show", "inspect", "compare", "conform"}
    assert owners["--runs"] - {"report"} == owners["--out"] - {"report", "new"}, "records, whoever writes or reads them"
    assert {"show", "run", "plan", "inspect", "check"} == owners["--seeds"]
    assert owners["--ways"] == owners["--shots"] >= {"run", "plan", "tasks export", "tasks score"}
    assert owners["--json"] >= {
        "plan",
        "list",
        "explain",
        "compare",
        "check",
        "conform",
        "verify",
        "inspect",
        "weights",
    }


def test_every_option_is_explained_and_says_what_holds_without_it():
    for name, command in commands():
        for one in command.params:
            if one.name != "help":
                assert one.help, f"{name}: {one.opts} has no help"
            if one.param_type_name == "option" and one.default is None and not one.required:
                assert isinstance(one.show_default, str), f"{name}: {one.opts} does not say its default"


def test_words_that_are_offered_are_those_that_are_taken():
    assert conform.GROUPS == subject.GROUPS
    for word in look.WHAT:
        pictures.check(word)
