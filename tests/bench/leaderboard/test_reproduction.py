"""Commands that make the runs of a table again: typed as printed, they compose the configurations of its records."""

import json
import shlex
import subprocess
import zipfile

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from synthetic_runs import edit_record, manifest_hash, write_run

from bench.leaderboard import reproduction
from bench.leaderboard.loading import load
from bench.leaderboard.reproduction import commands, hydra_text
from bench.leaderboard.table import build
from bench.planning.plan import Request, run_configs


def write_composed(out, request, seeds=(0,)):
    """A record of every configuration of a request, with the tasks that it asks for."""
    for one in run_configs(request):
        for seed in seeds:
            write_answers(out, one, seed)


def write_answers(out, one, seed):
    values = one.values
    shape = {key: values[key] for key in ("split", "way", "query")}
    tasks = values["budget"]["evaluation_tasks"]
    chosen = (*shape.values(), tasks, values["evaluation_seed"])
    path = write_run(
        out,
        one.method_name,
        seed=seed,
        dataset=one.dataset_name,
        budget=one.budget_name,
        shots=tuple(values["shots"]),
        tasks=tasks,
        manifests={shot: manifest_hash(one.dataset_name, shot, *chosen) for shot in values["shots"]},
        config=values,
        key=manifest_hash(one.method_name, seed, one.budget_name, json.dumps(values, default=str, sort_keys=True)),
    )
    record = json.loads((path / "run.json").read_text())
    edit_record(path, evaluations=[one | shape for one in record["evaluations"]])


def printed(out):
    """The lines of all tables."""
    frames = load(out)
    return [line for table in build(frames).tables for line in commands(table, frames)]


def typed(line):
    """What ``bench run`` makes of a line, and its training seeds."""
    words = shlex.split(line)
    assert words[:2] == ["bench", "run"]
    given = {
        "--methods": None,
        "--dataset": None,
        "--shots": None,
        "--seeds": "0",
        "--budget": None,
        "--data-dir": None,
    }
    references, overrides, rest = True, [], iter(words[2:])
    for word in rest:
        if word == "--no-references":
            references = False
        elif word in given:
            given[word] = next(rest)
        else:
            overrides.append(word)
    assert not references
    return run_configs(
        Request(
            methods=given["--methods"],
            dataset=given["--dataset"],
            shots=tuple(map(int, given["--shots"].split(","))),
            budget=given["--budget"],
            references=False,
            data_dir=given["--data-dir"],
            overrides=tuple(overrides),
        )
    ), tuple(map(int, given["--seeds"].split(",")))


def settings(configs):
    """Names -> settings that can change a result."""
    found = {}
    for one in configs:
        values = json.loads(json.dumps(one.values))
        values["dataset"].pop("data_dir", None)
        found[one.method_name, one.dataset_name, one.budget_name] = values
    return found


def request(methods, *overrides, **more):
    return Request(methods=methods, overrides=overrides, **{"references": False, "budget": "quick", **more})


REQUESTS = {
    "plain": request("lasium,umtra,aal", shots=(1, 5)),
    "references": request("umtra", references=True),
    "settings": request("lasium-ro-vae-maml,lasium-oc-vae-protonet", "method.alpha=0.4", "method.query_shift=3"),
    "whole numbers for floats": request("lasium-ro-vae-maml", "method.alpha=1", "learner.inner_lr=1"),
    "a component": request("umtra-maml,umtra-protonet,lasium-n-gan-maml", "backbone=conv4"),
    "a component and its settings": request("umtra-maml", "backbone=conv4", "backbone.filters=32", "backbone.stride=2"),
    "a setting that the component before had": request("umtra-maml", "backbone=conv4", "backbone.pool=false"),
    "the budget recommends otherwise": request("umtra-maml,scratch", "learner.eval_steps=50"),
    "data": request("umtra", "dataset.size=14", "dataset.rotation=0"),
    "two ways": request("umtra-maml", "way=2", "query=5"),
    "two ways, trained on five": request("umtra-maml", "way=2", "train.way=5"),
    "trained on twenty": request("umtra-protonet", "train.way=20", "train.shot=5"),
    "with training tasks of its own": request("cactus-acai-maml,cactus-acai-protonet-5way", "method.partitions=10"),
    "lengths": request(
        "lasium-ro-vae-maml", "budget.generator_epochs=20", "budget.meta_iterations=1000", budget="paper"
    ),
    "a GAN of the length its card says": request("lasium-ro-gan-maml", budget="paper", dataset="omniglot"),
    "other tasks": request(
        "umtra", "budget.evaluation_tasks=60", "evaluation_seed=3", "split=val", "budget.validate_every=0"
    ),
    "attributes": request("umtra-maml", dataset="celeba-attributes", budget="smoke"),
    "attributes, three ways": request("umtra-maml", "way=3", dataset="celeba-attributes", budget="smoke"),
    "omniglot": request("umtra-maml", "dataset.split=vinyals", dataset="omniglot", data_dir="/data", shots=(1, 5)),
    "own images": request("umtra", "dataset.name=photos", "dataset.size=84", dataset="folder", data_dir="/photos"),
    "own split": request("umtra", "dataset.splits=splits.json", dataset="fungi", data_dir="/fungi"),
    "torchmeta": request("umtra", "dataset.folder=cub", dataset="torchmeta", data_dir="/data"),
    "words": request("umtra-maml", "method.policy=cifar10", "method.augmentation=photo"),
    "a file": request("lasium-ro-file-maml,lasium-n-file-protonet", "generator.path=g.pt2", "generator.chunk=8"),
    "a file and lists": request(
        "lasium-ro-file-maml", "generator.path=g.pt2", "generator.output_range=[-1,1]", "generator.latent_norm=true"
    ),
    "a file named oddly": request("lasium-ro-file-maml", "generator.path='my gen 1.pt2'"),
    "a file named as a setting": request(
        "lasium-ro-file-maml", "generator.path='my gen,v=2.pt2'", "method.noise_std=0.3"
    ),
    "a file with every mark": request("lasium-ro-file-maml", r"""generator.path='a,b=1 (x) {y} [z] \'q\' $HOME.pt2'"""),
}


@pytest.fixture
def own_files(tmp_path, monkeypatch):
    """What looks like generators from outside, in the working folder."""
    for name in ("g.pt2", "my gen 1.pt2", "my gen,v=2.pt2", "a,b=1 (x) {y} [z] 'q' $HOME.pt2"):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr("g/models/model.json", "{}")
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", REQUESTS)
def test_what_is_printed_makes_the_same_runs(name, tmp_path, own_files):
    asked = REQUESTS[name]
    write_composed(tmp_path / "runs", asked, seeds=(0, 1, 2))
    lines = printed(tmp_path / "runs")
    made = {}
    for line in lines:
        configs, seeds = typed(line)
        assert seeds == (0, 1, 2)
        assert ("--data-dir DIR" in line) == ("data_dir" in configs[0].values["dataset"])
        assert str(tmp_path) not in line
        made |= settings(configs)
    assert made == settings(run_configs(asked))
    assert len(lines) == 1


def test_runs_with_the_same_settings_share_a_line(tmp_path):
    out = tmp_path / "runs"
    write_composed(out, request("lasium,umtra-maml", shots=(1, 5)), seeds=(0, 1))
    write_composed(out, request("aal-maml-5shot", shots=(1, 5)), seeds=(0,))
    write_composed(out, request("umtra-protonet", shots=(1,)), seeds=(0, 1))
    write_composed(out, request("umtra-maml", "method.shift=3", shots=(1, 5)), seeds=(0, 1))
    write_composed(out, request("umtra-maml", shots=(1, 5), budget="smoke"), seeds=(0, 1))
    lines = printed(out)
    assert len(lines) == 5
    made = [(settings(configs), seeds) for configs, seeds in map(typed, lines)]
    runs = {
        (name, seed, tuple(values["shots"]))
        for found, seeds in made
        for name, values in found.items()
        for seed in seeds
    }
    frames = load(out)
    shots = frames.evaluations.groupby("run")["shot"].apply(lambda shots: tuple(sorted(shots)))
    assert runs == {
        ((run.method, run.dataset, run.budget), run.seed, shots[run.run]) for run in frames.runs.itertuples()
    }
    three = next(line for line in lines if "lasium-ro-vae-maml" in line)
    assert {"lasium-ro-vae-maml", "lasium-oc-vae-protonet", "umtra-maml"} == set(
        shlex.split(three)[shlex.split(three).index("--methods") + 1].split(",")
    )


def test_a_file_has_its_bare_name(tmp_path, own_files):
    (tmp_path / "far away").mkdir()
    (tmp_path / "g.pt2").rename(tmp_path / "far away" / "g.pt2")
    write_composed(tmp_path / "runs", request("lasium-ro-file-maml", f"generator.path='{tmp_path}/far away/g.pt2'"))
    (line,) = printed(tmp_path / "runs")
    assert line.endswith(" generator.path=g.pt2")


def test_what_bench_run_cannot_have_made_has_no_line(tmp_path):
    write_run(tmp_path, "<script>", config={})
    assert printed(tmp_path) == []


def test_records_that_say_little(tmp_path):
    """Of a plugin that is not installed, say."""
    some = {"seen": 1}
    write_run(
        tmp_path, "theirs-one,strength=2", dataset="theirs,size=3", budget="theirs,meta_iterations=7", config=some
    )
    (line,) = printed(tmp_path)
    assert line == (
        "bench run --dataset theirs --methods theirs-one --shots 1,5 --seeds 0 --budget theirs --no-references "
        "budget.meta_iterations=7 dataset.size=3 method.strength=2"
    )


VALUES = (
    *(None, True, 3, 0.5, 1e-7, "word", "a b", "it's", "back\\slash", "ends\\", "\\'", "true", "null", "5"),
    *("a,b=c", "[x]", "ü", "", "~/x", [1.0, -1.0], ["a b", None], {"a": [1, "x y"]}),
)


@pytest.mark.parametrize("value", VALUES)
def test_values_survive_the_grammar(value):
    assert OverridesParser.create().parse_override(f"key={hydra_text(value)}").value() == value


def test_words_that_cannot_be_printed_are_still_one_line_that_a_shell_reads():
    for word in ("a\nb", "\x1b[31m", "é\x07", "\udcff", "it's\t"):
        text = reproduction._quoted(word)
        assert text.isascii()
        assert text.isprintable()
        told = subprocess.run(["bash", "-c", f"printf %s {text}"], capture_output=True, check=True).stdout
        assert told == word.encode("utf-8", "surrogateescape")
