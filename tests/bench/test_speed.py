"""The speed benchmark's bookkeeping, and that both sides of every row do the same work. No timing is asserted."""

import json
import platform
import random

import pytest
import torch

from bench.basics.allocator import keep_temporaries
from bench.learners.reference import PlainSampler
from bench.speed import measuring as speed


def test_rounds_are_taken_in_turns_after_one_untimed_turn():
    calls = []
    contest = speed.Contest("row", 2.0, lambda: calls.append("ours"), lambda: calls.append("plain"))
    result = speed.measure(contest, 3, torch.device("cpu"))
    assert calls == ["ours", "plain"] * 4
    assert len(result.ours) == len(result.plain) == 3


def test_a_ratio_belongs_to_its_round():
    assert speed.Result("row", 2.0, [1.0, 2.0], [3.0, 2.0]).ratios == [3.0, 1.0]


def test_both_sides_compute_the_same_on_one_thread():
    """ProtoNets' scores; MAML's gradients and scores are compared in test_conv_grad."""
    protonet = next(c for c in speed.contests(torch.device("cpu")) if c.name == "ProtoNets, 32 tasks")
    torch.testing.assert_close(protonet.ours(), torch.stack(protonet.plain()), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("name", "allowed"), [("nearest neighbour", 0), ("logistic regression", 0.01)])
def test_classifiers_answer_as_scikit_learn_does(name, allowed, monkeypatch):
    monkeypatch.setattr(speed, "EMBEDDED_TASKS", 20)
    rows = [c for c in speed.contests(torch.device("cpu")) if c.name.startswith(name)]
    assert len(rows) == 2
    for contest in rows:
        different = contest.ours().argmax(2).numpy() != contest.plain()
        assert different.mean() <= allowed  # scikit-learn's logistic regression stops short of the optimum


def test_plain_sampler_draws_tasks():
    pixels = torch.arange(60, dtype=torch.uint8).reshape(60, 1, 1, 1)
    sampler = PlainSampler(pixels, [i // 6 for i in range(60)], random.Random(0))
    support, support_labels, query, query_labels = sampler.sample(way=5, shot=2, query=3)
    assert support_labels.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert query_labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4]
    s, q = ((x.flatten() * 255).round().int() for x in (support, query))
    assert len({*s.tolist(), *q.tolist()}) == 25
    for label in range(5):
        assert len({*(s[support_labels == label] // 6).tolist(), *(q[query_labels == label] // 6).tolist()}) == 1


def test_the_allocator_is_set_on_glibc_only_and_not_over_the_users_own_setting(monkeypatch):
    monkeypatch.delenv("MALLOC_TRIM_THRESHOLD_", raising=False)
    monkeypatch.delenv("MALLOC_MMAP_THRESHOLD_", raising=False)
    assert keep_temporaries() is (platform.libc_ver()[0] == "glibc")
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "1")
    assert keep_temporaries() is False
    monkeypatch.delenv("MALLOC_TRIM_THRESHOLD_")
    monkeypatch.setattr("sys.platform", "darwin")
    assert keep_temporaries() is False


def test_table_and_json(tmp_path, monkeypatch, capsys):
    def contests(device):
        return [speed.Contest("row", 0.0, lambda: None, lambda: None)]

    monkeypatch.setattr(speed, "contests", contests)
    threads = torch.get_num_threads()
    speed.main(["--rounds", "2", "--threads", "1", "--json", str(tmp_path / "speed.json")])
    torch.set_num_threads(threads)
    assert "row" in capsys.readouterr().out
    written = json.loads((tmp_path / "speed.json").read_text())
    assert [len(r["ours"]) for r in written["results"]] == [2]


@pytest.mark.parametrize("arguments", [["--rounds", "0"], ["--threads", "0"]])
def test_bad_numbers_are_refused(arguments):
    with pytest.raises(SystemExit):
        speed.main(arguments)
