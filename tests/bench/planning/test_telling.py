"""``bench explain`` and ``bench list``: what is told of methods and components."""

import pytest
from rich.console import Console

from bench.basics.errors import BenchError
from bench.planning import catalogue
from bench.planning.listing import RANKS, Wanted, document, listing
from bench.planning.side import of_variant
from bench.planning.telling import told
from bench.planning.told_lines import lines


def test_a_method_with_all_that_it_is_made_of():
    found = told("lasium-ro-vae-maml")
    assert (found["kind"], found["family"], found["group"], found["title"]) == (
        *("method", "lasium", "unsupervised"),
        "LASIUM-RO-VAE-MAML",
    )
    assert found["side"] == ["transduction"]
    assert [(one["group"], one["option"], one["length"]) for one in found["parts"]] == [
        ("generator", "vae", "budget.generator_epochs"),
        ("learner", "maml", "budget.meta_iterations"),
        ("backbone", "conv4-strided", None),
    ]
    by_name = {one["name"]: one for one in found["settings"]}
    assert by_name["method.strategy"]["fixed"]
    assert (by_name["method.alpha"]["value"], by_name["method.alpha"]["type"]) == (0.2, "number")
    assert "far towards the other latent" in by_name["method.alpha"]["meaning"]
    assert {name.partition(".")[0] for name in by_name} == {"method", "generator", "learner", "backbone"}
    assert found["run"] == "bench run lasium-ro-vae-maml"


def test_a_family_tells_what_some_of_its_names_use():
    found = told("lasium")
    alike = [one for one in catalogue.variants().values() if one.family == "lasium"]
    words = {word for one in alike for word in of_variant(one)}
    assert set(found["side"]) | set(found["side_of_some"]) == words
    assert found["names"] == [one.name for one in alike]
    assert found["headline"] == ["lasium-ro-vae-maml", "lasium-oc-vae-protonet"]
    assert {one["name"].partition(".")[0] for one in found["settings"]} == {"method"}


def test_a_name_of_every_kind_can_be_told():
    of_families = {one.family: one.name for one in catalogue.variants().values()}
    found = [told(name) for name in (*list(of_families)[::4], *list(of_families.values())[::4])]
    found += [
        told(name, group)
        for group in (*catalogue.groups(), "experiment", "executor")
        for name in [*catalogue.options(group)][:2]
    ]
    console = Console(file=open("/dev/null", "w"), width=120)  # noqa: SIM115
    for one in found:
        for part in lines(one):
            console.print(part)
    assert all(one["run"].startswith("bench run ") for one in found)


def test_a_name_of_another_group_and_of_several():
    assert told("omniglot")["kind"] == "dataset"
    assert told("moco")["kind"] == "method"
    assert told("moco")["also"] == ["encoder"]
    assert told("moco", "encoder")["kind"] == "encoder"
    with pytest.raises(BenchError, match=r"unknown encoder 'moko'. Did you mean 'moco'\?"):
        told("moko", "encoder")
    with pytest.raises(BenchError, match="are several methods"):
        told("lasium-*")


def test_words_of_files_stay_words():
    found = told("umtra") | {"title": "[red]\x1b[31mTitle[/red]\nnext", "also": []}
    console = Console(record=True, width=200)
    first = next(iter(lines(found)))
    console.print(first, markup=False)
    assert console.export_text().strip() == "umtra: [red] [31mTitle[/red] next"


def test_methods_are_listed_by_rank_and_text():
    everything = document("methods")["methods"]

    def listed(**asked):
        return [one for one in everything if Wanted(**asked).has(one)]

    for rank in RANKS[:-1]:
        assert {one["group"] for one in listed(group=rank)} == {rank}
    assert listed(group="supervised") == [one for one in everything if one["supervised"]]
    assert listed(group="floor,ceiling") == [one for one in everything if one["group"] in ("floor", "ceiling")]
    assert listed(search="hsu ET") == [one for one in everything if "Hsu et al." in one["cite"]] != []
    assert document("all", Wanted("floor")) == {"methods": listed(group="floor")}
    (said,) = listing("methods", wanted=Wanted(search="nowhere"))
    assert (
        said == "nothing is found with 'nowhere' in a name, title, family or citation; 'bench list methods' shows all"
    )


def test_views_are_listed_under_their_name():
    assert "strokes" in [one["name"] for one in document("views")["views"]]
    with pytest.raises(BenchError, match="nothing to list under 'viewss'"):
        document("viewss")
