"""Side information: declared by the cards of a method and its components, inherited by every run that uses them."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from bench.basics.side import SIDE, UNDECLARED, marks, ordered
from bench.planning import cards, catalogue, side
from bench.planning.listing import listing
from bench.planning.plan import Request, planned_runs, run_configs
from bench.records.record import MethodCard, RunRecord, read_record, run_folders, write_record

REPORTS = Path(__file__).parents[3] / "reports"
GROUPS = ("learner", "method", "encoder")


def of(methods, *overrides, dataset="glyphs"):
    """Side information of the runs of a request, before they are made."""
    found = {}
    for one in run_configs(Request(methods=methods, dataset=dataset, references=False, overrides=overrides)):
        outside = side.components.outside_data(one.values)
        found[one.method_name] = side.of_run(one.values, one.variant.group, outside, None, {})
    return found


def test_a_learner_declares_for_every_method_that_uses_it():
    found = of("umtra,scratch,supervised-protonet,umtra-protonet,aal-maml-5shot,chance")
    assert {name: "transduction" in words for name, words in found.items()} == {
        "umtra-maml": True,
        "scratch": True,
        "supervised-protonet": False,
        "umtra-protonet": False,
        "aal-maml-5shot": True,
        "chance": False,
    }


def test_an_override_adds_it_or_takes_it_away():
    assert list(of("umtra-maml", "learner.batch_stats=inductive").values()) == [()]
    assert list(of("umtra-protonet", "learner.batch_stats=transductive").values()) == [("transduction",)]


def test_what_was_said_already_is_derived():
    own = ("lasium-ro-object-protonet", "generator.callable=methods.generators.waves:decode", "generator.latent_dim=16")
    assert list(of(*own).values()) == [("outside-data",)]
    assert list(of(*own, "generator.outside_data=false").values()) == [()]
    known = catalogue.variants()
    assert side.of_variant(known["cactus-vgg19-maml"]) == ("outside-data", "outside-labels", "transduction")
    assert side.of_variant(known["transfer-random"]) == ()


def test_the_list_says_what_a_run_at_its_defaults_would_declare():
    known = catalogue.variants()
    chosen_on_glyphs = ("instance", "neighbours")  # the list knows no dataset; on this one they were set
    names = [name for name, one in known.items() if not one.own and name not in chosen_on_glyphs]
    at_runs = of(",".join([*names[::3], *chosen_on_glyphs]))  # a third of them: each is composed in full
    for name in chosen_on_glyphs:
        assert at_runs.pop(name) == ("labels-for-selection",)
        assert list(of(name, dataset="omniglot").values()) == [side.of_variant(known[name])] == [()]
    assert {name: side.of_variant(known[name]) for name in at_runs} == at_runs
    (table,) = listing("methods")
    column = [column.header for column in table.columns].index("side information")
    cells = dict(zip((str(cell).removesuffix(" *") for cell in table.columns[0].cells), table.columns[column].cells))
    assert (str(cells["umtra-maml"]), str(cells["umtra-protonet"])) == ("transduction", "")


def values(**method):
    card = {"side": ["class-size-prior", "rotations-as-classes if method.turns=true and train.shot!=5"]}
    return {"method": {"card": card, "turns": True, **method}, "train": {"shot": 1}}


def of_values(config, transductive=False, **notes):
    return side.of_run(config, "unsupervised", False, transductive, notes)


def test_a_word_may_depend_on_settings():
    assert of_values(values()) == ("class-size-prior", "rotations-as-classes")
    assert of_values(values(turns=False)) == ("class-size-prior",)
    assert of_values({**values(), "train": {"shot": 5}}) == ("class-size-prior",)
    bare = values()
    del bare["method"]["turns"]
    bare["method"]["card"] = {"side": ["rotations-as-classes if method.turns!=false"]}
    assert of_values(bare) == (), "a setting that is not there has no value"


def test_a_run_takes_back_what_it_did_without():
    assert of_values(values(), unused_side=["rotations-as-classes"]) == ("class-size-prior",)
    assert of_values(values(), unused_side="class-size-prior") == of_values(values()), "no list of words"


def test_the_learner_that_came_out_knows_best():
    said = {"method": {"card": {"side": ["transduction"]}}}
    assert of_values(said, transductive=None) == ("transduction",)
    assert of_values(said, transductive=False) == ()
    assert of_values({"method": {}}, transductive=True) == ("transduction",)


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        (
            ["transducton"],
            "there is no word 'transducton'. Did you mean 'transduction'? There are labels-for-selection",
        ),
        (["undeclared"], "there is no word 'undeclared'"),
        (["outside-data"], "outside-data follows from outside_data: true"),
        (["outside-labels if method.a=1"], "outside-labels follows from outside_labels: true"),
        (["transduction if"], "there is no word 'transduction if'. Did you mean 'transduction'?"),
        (["transduction if alpha"], "cannot be read; write 'transduction if group.setting=value'"),
        (["transduction if method.alhpa=1"], "there is no setting 'alhpa'. Did you mean 'alpha'?"),
        (["transduction if colour.red=1"], "there is no group 'colour'"),
        (["transduction if learner.batch_stats=transductive and x"], "cannot be read"),
        ("transduction", "card.side must be a list"),
        ([1], "card.side[0] must be a text"),
    ],
)
def test_a_mistake_is_said_in_words(items, expected):
    said = {"_target_": "my.module.Mine", "card": {"side": items}, "alpha": 1}
    with pytest.raises(ValueError, match=r"\w") as error:
        cards.check("method", "mine", said, GROUPS, catalogue.RESERVED)
    assert expected in str(error.value)


def test_what_a_card_says_changes_no_key(monkeypatch, tmp_path):
    (one,) = run_configs(Request(methods="umtra-maml", references=False))
    before = planned_runs([one], "c0ffee", (0,), tmp_path)[0].key
    changed = {group: dict(node) if isinstance(node, dict) else node for group, node in one.values.items()}
    changed["method"]["card"] = {**changed["method"]["card"], "side": ["class-size-prior"]}
    del changed["learner"]["card"]
    assert planned_runs([replace(one, values=changed)], "c0ffee", (0,), tmp_path)[0].key == before


def record(**card):
    (one,) = run_configs(Request(methods="umtra-maml", references=False))
    said = {"transductive": True, **card}
    method = MethodCard("umtra-maml", "umtra", "UMTRA-MAML", "unsupervised", False, **said)
    return RunRecord("0" * 64, "failed", "a reason", method, "glyphs", "0" * 64, 0, "quick", one.values)


def test_a_record_keeps_what_was_declared_then(tmp_path):
    write_record(tmp_path, record(side=("class-size-prior", "transduction", "of-a-later-version")))
    read = read_record(tmp_path)
    assert side.of_record(read) == ("class-size-prior", "transduction", "of-a-later-version")


def test_a_record_from_before_has_it_from_its_settings_and_the_cards_of_today():
    assert side.of_record(record()) == ("transduction",)
    assert side.of_record(record(transductive=False, outside_data=True)) == ("outside-data",)
    of_others = record()
    config = {**of_others.config, "method": {"_target_": "other.package.Method", "uses": []}}
    assert side.of_record(replace(of_others, config=config)) == ("transduction", UNDECLARED)
    for strange in ({}, {"method": None}, {"method": {"uses": ["learner"]}}, {"method": {"uses": 3}}):
        assert UNDECLARED in side.of_record(replace(of_others, config=strange))


def test_old_committed_records_declare_what_their_learner_did():
    """Those that have no words of their own: nothing but transduction was used before there were words."""
    seen = set()
    for folder in (folder for out in sorted(REPORTS.glob("*/records")) for folder in run_folders(out)):
        one = read_record(folder)
        if one.method.side is None and one.method.transductive is not None:
            wanted = {word for word, holds in {"transduction": one.method.transductive}.items() if holds}
            assert set(side.of_record(one)) - {"outside-data", "outside-labels"} == wanted, folder
            seen |= wanted
    assert seen == {"transduction"} or not list(REPORTS.glob("*/records"))


def test_words_have_one_order_and_letters_of_their_own():
    assert ordered(["new", "transduction", "class-size-prior", "transduction"]) == (
        *("class-size-prior", "transduction", "new"),
    )
    assert marks(["transduction", "new", "outside-data"]) == "O T new"
    letters = [one.mark for one in SIDE.values()]
    assert len(set(letters)) == len(letters)
    json.dumps([one._asdict() for one in SIDE.values()])
