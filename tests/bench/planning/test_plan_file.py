import json
import shlex
from pathlib import Path

import pytest

from bench.basics.errors import BenchError
from bench.cli.asking import numbers
from bench.planning import catalogue
from bench.planning.overrides import Override, parse_overrides
from bench.planning.plan import Request, planned_runs, run_configs, run_key
from bench.planning.plan_file import PlanFile, Sealed, plan_for, read_plan, write_plan
from bench.planning.unchanging import unchanging
from bench.running.working import _config

IMAGES = "0" * 64
OUT = Path("/records/of mine")


def planned(request: Request) -> PlanFile:
    runs = planned_runs(run_configs(request), IMAGES, request.seeds, request.out)
    seconds = {runs[0].key: 12.5}
    return plan_for(request, runs[0].asked, runs, [Sealed("manifests/a", "1" * 64, 5)], Path("/cache"), IMAGES, seconds)


def typed(command: str) -> Request:
    """What a line of the shell asks for, read without the command line's own parser."""
    words = iter(shlex.split(command)[2:])
    flags: dict[str, str] = {}
    settings = []
    for word in words:
        if word == "--no-references":
            continue
        if word.startswith("--"):
            flags[word] = next(words)
        else:
            settings.append(word)
    return Request(
        methods=flags["--methods"],
        dataset=flags["--dataset"],
        budget=flags["--budget"],
        ways=numbers(flags.get("--ways"), "", ""),
        shots=numbers(flags["--shots"], "", ""),
        seeds=numbers(flags["--seeds"], "", "") or (),
        overrides=tuple(settings),
        references=False,
        data_dir=flags.get("--data-dir"),
        out=Path(flags["--out"]),
    )


REQUESTS = [
    # Every row of table8 rests on a file of the user's own.
    *(Request(experiment=name, out=OUT) for name in sorted(catalogue.options("experiment")) if name != "table8"),
    Request(
        methods="umtra,lasium-*-protonet,pixels",
        ways=(5, 20),
        shots=(1, 5),
        overrides=("method.alpha=0.2,0.4", "backbone=conv4", "learner.inner_lr=0.1", "budget.meta_iterations=7"),
        data_dir="/some where",
        out=OUT,
    ),
    Request(
        methods="umtra", dataset="mini-imagenet", seeds=(3, 4), overrides=("query=7", "dataset.name='a b'"), out=OUT
    ),
]


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda one: one.experiment or one.methods)
def test_item_and_command_line_are_the_planned_run(request_):
    plan = planned(request_)
    with unchanging():
        for index, item in enumerate(plan.items):
            again = _config(plan.asked(index))
            assert run_key(again, IMAGES, item.seed) == item.key
            if index % 4:  # each takes a tenth of a second
                continue
            asked = typed(plan.command(index))
            (one,) = run_configs(asked)
            assert (run_key(one, IMAGES, item.seed), asked.seeds, asked.out) == (item.key, (item.seed,), OUT)


def test_a_plan_comes_back_as_it_was_written(tmp_path):
    plan = planned(Request(methods="umtra,lasium", ways=(5, 20), seeds=(0, 1), time_limit=90.0, out=OUT))
    path = tmp_path / "to be made" / "plan.json"
    write_plan(path, plan)
    assert read_plan(path) == plan
    assert plan.items[0].seconds == 12.5
    assert plan.wanted(0) == {"1" * 64}
    assert "--time-limit 1.5" in plan.command(0)
    shared = [item.shared for item in plan.items if item.method.startswith("lasium") and item.seed == 0]
    assert len(set(shared)) == 1, "one VAE for all of a seed"
    rows = [json.loads(line.rstrip(",")) for line in path.read_text().splitlines() if line.startswith('  {"index"')]
    assert [row["command"] for row in rows] == [plan.command(index) for index in range(len(plan.items))]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda text: text.replace('"seed": 0', '"seed": 1'), "was changed after it was written"),
        (lambda text: text.replace('"format": 1', '"format": 99'), "is a plan of another version of bench"),
        (lambda text: text[: len(text) // 2], "is damaged"),
        (lambda text: "[]", "is no plan of runs"),
        (lambda text: '{"format": 1, "items": [3]}', "was changed after it was written"),
    ],
)
def test_a_file_that_is_no_plan_is_refused_with_what_to_type(tmp_path, change, said):
    path = tmp_path / "plan.json"
    write_plan(path, planned(Request(methods="umtra", out=OUT)))
    path.write_text(change(path.read_text()))
    with pytest.raises(BenchError, match=said) as error:
        read_plan(path)
    assert "bench plan … --export plan.json" in str(error.value)


def test_settings_of_a_sweep_are_what_hydra_makes_of_them():
    from bench.planning.merging import _hydra_texts, composed

    base = [
        Override("dataset", "dataset=mini-imagenet"),
        *parse_overrides(["learner.inner_steps=3", "generator=msgan"]),
    ]
    compared = 0
    for text in (
        *("learner.inner_lr=0.1", "learner.inner_lr=1", "learner.inner_lr=1e-3", "way=20", "train.way=7", "query=3"),
        *("budget.meta_iterations=5", "budget.generator_snapshots=[1,2]", "dataset.name='a, b'", "precision=tf32"),
        *("dataset.recommend.inner_lr=0.7", "generator.channels=8", "learner.first_order=true", "split=val"),
        *("train.way='${query}'", "dataset.path=null", "dataset.name=007", "dataset.name=1_000"),
    ):
        given = [*base, *parse_overrides([text])]
        try:
            wanted = _hydra_texts(tuple(one.text for one in given))[0]
        except BenchError:
            with pytest.raises(BenchError):
                composed(given)
        else:
            assert composed(given) == wanted, text
            assert repr(composed(given)) == repr(wanted), text  # 1 is not 1.0
            compared += 1
    assert compared > 12
