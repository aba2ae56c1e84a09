"""How long runs take, told from records: what is scaled by what, which records count, and how runs share workers."""

import pytest

from bench.planning.alike import Shape
from bench.planning.durations import Duration, History, Made, Shared, schedule
from bench.planning.plan import Request, run_configs
from bench.records.record import Evaluation, MethodCard, RunRecord

DATASET, OTHER = "a" * 64, "b" * 64
ONE_SHOT, FIVE_SHOT = Shape(5, 1, 15), Shape(5, 5, 15)


def configured(method, *overrides, budget="smoke"):
    request = Request(methods=method, references=False, overrides=overrides, budget=budget)
    return run_configs(request)[0]


def recorded(one, fit=10.0, answered=((1, 4.0),), total=20.0, seed=0, dataset=DATASET, device="cpu", threads=1):
    tasks = one.values["budget"]["evaluation_tasks"]
    return RunRecord(
        key="c" * 64,
        status="done",
        reason=None,
        method=MethodCard(one.method_name, one.variant.family, "", "unsupervised", one.variant.supervised),
        dataset="glyphs",
        dataset_hash=dataset,
        seed=seed,
        budget=one.budget_name,
        config=one.values,
        evaluations=tuple(Evaluation("d" * 64, "test", 5, k, 15, tasks, 0.5, 0.1, s) for k, s in answered),
        timings={"fit": fit, "evaluate": sum(s for _, s in answered), "total": total},
        environment={"device": device, "threads": threads},
    )


def known(*records, made=()):
    history = History(DATASET, "cpu", threads=1)
    for number, one in enumerate(records):
        history.add(one, made, f"record {number}")
    return history


def asked(history, one, seed=0, shapes=(ONE_SHOT,), trained=0.0):
    return history.duration(one.values, one.variant.family, one.variant.supervised, seed, shapes, trained)


def test_each_part_grows_with_its_own_length():
    history = known(recorded(configured("umtra-maml")))
    twice = asked(history, configured("umtra-maml", "budget.meta_iterations=20", "budget.evaluation_tasks=120"))
    assert twice.fit == pytest.approx(20)
    assert twice.evaluate == pytest.approx((12,))
    assert twice.rest == pytest.approx(20 - 10 - 4)
    assert twice.known
    assert twice.sources == {"record 0"}


def test_more_shots_are_more_work_by_the_images_that_are_gone_through():
    history = known(recorded(configured("umtra-maml")))
    steps = configured("umtra-maml").values["learner"]["eval_steps"]
    expected = 4 * (5 * 3 * steps + 15) / (3 * steps + 15)
    assert asked(history, configured("umtra-maml"), shapes=(FIVE_SHOT,)).evaluate == pytest.approx((expected,))


@pytest.mark.parametrize(
    "setting",
    ["learner.inner_steps=6", "backbone.filters=32", "learner.first_order=true", "train.way=6", "train.shot=2"],
)
def test_a_record_of_something_slower_or_faster_does_not_count(setting):
    history = known(recorded(configured("umtra-maml")))
    assert not asked(history, configured("umtra-maml", setting)).known


def test_a_rate_costs_no_time_but_the_record_that_has_it_is_nearer():
    other = recorded(configured("umtra-maml", "learner.meta_lr=0.01"), fit=30)
    wanted = configured("umtra-maml", "learner.meta_lr=0.002", "learner.inner_lr=0.1")
    assert asked(known(other), wanted).fit == pytest.approx(30)
    near = recorded(configured("umtra-maml", "learner.inner_lr=0.1"), fit=40)
    assert asked(known(other, near), wanted).fit == pytest.approx(40)


@pytest.mark.parametrize("elsewhere", [{"dataset": OTHER}, {"device": "NVIDIA H100"}])
def test_only_the_same_images_on_the_same_hardware_count(elsewhere):
    history = known(recorded(configured("umtra-maml"), **elsewhere))
    assert not asked(history, configured("umtra-maml")).known


def test_as_many_threads_are_nearer_than_any_setting():
    slow = recorded(configured("umtra-maml"), fit=90, threads=2)
    assert asked(known(slow), configured("umtra-maml")).fit == pytest.approx(90)
    alike = recorded(configured("umtra-maml", "learner.meta_lr=0.01"), fit=10)
    assert asked(known(slow, alike), configured("umtra-maml")).fit == pytest.approx(10)


def test_two_lengths_tell_what_is_the_same_at_any_length():
    """12 s + 0.5 s an iteration."""
    lengths = {10: 17, 100: 62}
    records = [recorded(configured("umtra-maml", f"budget.meta_iterations={n}"), fit=s) for n, s in lengths.items()]
    assert asked(known(*records), configured("umtra-maml", "budget.meta_iterations=1000")).fit == pytest.approx(512)


def test_a_learner_that_is_never_trained_takes_what_it_took():
    history = History(DATASET, "cpu", threads=1)
    history.add(recorded(configured("scratch"), fit=0.25), (), "record", trained=False)
    assert asked(history, configured("scratch", "budget.meta_iterations=5000")).fit == pytest.approx(0.25)


def test_answers_cost_the_same_whoever_trained_the_learner():
    history = known(recorded(configured("umtra-maml")))
    scratch = asked(history, configured("scratch"))
    assert scratch.evaluate == pytest.approx((4,))
    assert scratch.fit is None


def test_what_is_trained_or_answered_already_costs_nothing():
    history = known(recorded(configured("umtra-maml")))
    answers = asked(history, configured("umtra-maml"), trained=1.0)
    assert (answers.fit, answers.rest, answers.evaluate) == (0, 0, pytest.approx((4,)))
    assert asked(history, configured("umtra-maml"), trained=0.3).fit == pytest.approx(7)


def test_validation_is_its_own_share_of_the_work():
    plain, looking = configured("umtra-maml"), configured("umtra-maml", "budget.validate_every=2")
    steps, inner = plain.values["learner"]["eval_steps"], plain.values["learner"]["inner_steps"]
    expected = 4 * (5 * 20 * (3 * inner + looking.values["train"]["query"])) / (40 * (3 * steps + 15))
    assert asked(known(recorded(plain)), looking).validate == pytest.approx(expected)
    # A record that has it in its total has it not in the rest.
    again = asked(known(recorded(looking)), plain)
    assert again.rest == pytest.approx(6 - expected)
    assert again.validate == 0


def test_a_generator_is_trained_once_a_seed_and_what_is_there_costs_nothing():
    maml, protonet = configured("lasium-ro-vae-maml"), configured("lasium-oc-vae-protonet")
    history = known(recorded(maml), recorded(protonet), made=[Made("generator", 1, 8.0)])
    assert [one.seconds for one in asked(history, maml).shared] == [0]
    first, second = asked(history, maml, seed=1), asked(history, protonet, seed=1)
    assert first.shared == second.shared
    assert first.shared[0].seconds == pytest.approx(8)
    longer = asked(history, configured("lasium-ro-vae-maml", "budget.generator_epochs=5"))
    assert longer.shared[0].seconds == pytest.approx(40)
    assert not asked(history, configured("lasium-ro-vae-maml", "generator.channels=16")).known


def test_clusters_take_the_same_however_long_the_encoder_was_trained():
    one = configured("cactus-bigan-maml")
    history = known(recorded(one), made=[Made("encoder", 1, 3.0), Made("encoder", None, 7.0)])
    longer = configured("cactus-bigan-maml", "budget.encoder_epochs=10")
    assert [part.seconds for part in asked(history, longer).shared] == pytest.approx([30, 7])
    assert not asked(history, configured("cactus-bigan-maml", "method.clusters=60")).known


def test_a_training_that_grows_is_gone_on_with():
    one = configured("lasium-ro-gan-maml")
    history = known(recorded(one), made=[Made("generator", 1, 2.0, grows=True, there=False)])
    runs = [asked(history, configured("lasium-ro-gan-maml", f"budget.generator_epochs={n}")) for n in (10, 30)]
    each, total = schedule(runs)
    assert [one.shared[0].seconds for one in runs] == pytest.approx([20, 60])
    assert total == pytest.approx(60 + sum(one.own for one in runs))
    assert each[1] == pytest.approx(40 + runs[1].own)


def test_runs_side_by_side_wait_for_what_another_trains():
    vae = Shared("vae", 100.0)
    runs = [Duration((vae,), fit=10.0), Duration(fit=30.0), Duration((vae,), fit=20.0), Duration(fit=None)]
    works, total = schedule(runs, workers=2)
    # The second worker: 30, waits until 100, 20.
    assert works == pytest.approx([110, 30, 20, 0])
    assert total == pytest.approx(120)
    assert schedule(runs, workers=1)[1] == pytest.approx(160)
    assert schedule(runs, workers=2, trained={"vae": 60.0})[1] == pytest.approx(60 + 20 - 20)


def test_a_record_that_makes_no_sense_is_passed_over():
    broken = recorded(configured("umtra-maml"))
    object.__setattr__(broken, "config", {"budget": {}, "method": {"uses": ["learner"]}})
    assert not asked(known(broken), configured("umtra-maml")).known
