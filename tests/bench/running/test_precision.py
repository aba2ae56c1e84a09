"""The declared precision: in effect during a run and not after it, refused where it would mean nothing, recorded."""

import io
import warnings

import pytest
import torch
from rich.console import Console

from bench.basics.errors import BenchError
from bench.basics.progress import Reporter
from bench.leaderboard.loading import load
from bench.leaderboard.table import build
from bench.planning.plan import Request
from bench.running import precision, rescore, run, session
from bench.running.containment import contained
from bench.running.explain import explain
from bench.running.outlook import look_ahead
from bench.running.precision import check_precision_of, computing_in, flags, put_flags
from bench.running.verify import verify

GPU, CPU = torch.device("cuda", 0), torch.device("cpu")
newer_interface = pytest.mark.skipif(not hasattr(torch.backends, "fp32_precision"), reason="torch before 2.9")


@pytest.fixture(autouse=True)
def as_torch_has_it():
    put_flags((True, "highest"))
    yield
    put_flags((True, "highest"))


def allowed():
    """TF32 in convolutions, in matrix products."""
    return torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32


@pytest.mark.parametrize(
    ("declared", "wanted"),
    [("float32", (False, False)), ("tf32", (True, True)), ("undeclared", (True, False))],
)
@pytest.mark.parametrize("earlier", [(True, "highest"), (False, "high"), (False, "medium")])
def test_a_precision_is_in_effect_and_then_what_was_before(declared, wanted, earlier):
    put_flags(earlier)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ZeroDivisionError), computing_in(declared):
            assert allowed() == wanted
            with computing_in("tf32"):
                assert allowed() == (True, True)
            assert allowed() == wanted
            raise ZeroDivisionError
    assert flags() == earlier


@newer_interface
@pytest.mark.parametrize(
    "where", [torch.backends, torch.backends.cuda.matmul, getattr(torch.backends.cudnn, "conv", 0)]
)
def test_what_somebody_sets_through_the_newer_interface_is_overruled_and_taken_back(where):
    with computing_in("float32"):
        with contained():
            where.fp32_precision = "tf32"
        assert allowed() == (False, False)
        assert torch.backends.cudnn.conv.fp32_precision != "tf32"
        assert torch.backends.cuda.matmul.fp32_precision != "tf32"
    where.fp32_precision = "tf32"
    with computing_in("float32"):
        assert allowed() == (False, False)


def test_code_from_outside_cannot_leave_another_precision_behind():
    with computing_in("float32"):
        with contained():
            torch.backends.cudnn.allow_tf32 = True
            torch.set_float32_matmul_precision("medium")
        assert allowed() == (False, False)


def test_tf32_is_refused_where_it_would_be_float32(monkeypatch):
    for device in (CPU, GPU):
        check_precision_of(device, "float32")
    with pytest.raises(BenchError, match="precision=tf32 needs a GPU"):
        check_precision_of(CPU, "tf32")
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "an old card")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (7, 5))
    with pytest.raises(BenchError, match="an old card has no TF32"):
        check_precision_of(GPU, "tf32")
    check_precision_of(GPU, "tf32", ask_it=False)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))
    check_precision_of(GPU, "tf32")
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "0")
    with pytest.raises(BenchError, match="NVIDIA_TF32_OVERRIDE"):
        check_precision_of(GPU, "tf32")


def silent():
    return Reporter(Console(file=io.StringIO()))


SETTINGS = (
    *("backbone.filters=4", "learner.eval_steps=1", "budget.meta_iterations=2", "budget.evaluation_tasks=4"),
    *("generator.channels=4", "generator.batch_size=1024", "budget.generator_epochs=1", "generator.precision=float32"),
)


def executed(tmp_path, cache, *overrides):
    request = Request(
        methods="lasium-ro-vae-maml",
        budget="smoke",
        overrides=(*SETTINGS, *overrides),
        references=False,
        out=tmp_path / "runs",
        device="cpu",
    )
    prepared = session.prepare(request, cache, silent())
    return request, [one.record for one in session.execute(prepared, silent())]


@pytest.fixture
def tf32_everywhere(monkeypatch):
    """As if the CPU had it: flags are set, keys and names differ, only the numbers are those of float32."""
    for module in (precision, session, run, rescore):
        monkeypatch.setattr(module, "check_precision_of", lambda *_, **__: None)


@pytest.mark.usefixtures("tf32_everywhere", "glyphs")
def test_a_run_trains_and_answers_in_its_precision_and_stands_apart(tmp_path, cache, monkeypatch):
    seen = []

    def spied(function):
        def spy(*args, **kwargs):
            seen.append((function.__name__, allowed()))
            return function(*args, **kwargs)

        return spy

    monkeypatch.setattr(run, "evaluate", spied(run.evaluate))
    monkeypatch.setattr(rescore, "evaluate", spied(rescore.evaluate))
    monkeypatch.setattr("methods.lasium.Lasium.fit", spied(__import__("methods.lasium").lasium.Lasium.fit))
    request, (exact, rounded) = executed(tmp_path, cache, "precision=float32,tf32")
    assert [how for _, how in seen] == 2 * [(False, False)] + 2 * [(True, True)]
    assert {name for name, _ in seen} == {"fit", "evaluate"}
    assert allowed() == (True, False), "as it was"
    assert (exact.precision, rounded.precision) == ("float32", "tf32")
    assert exact.key != rounded.key
    assert exact.notes["artifacts"]["vae"] != rounded.notes["artifacts"]["vae"]
    assert exact.notes["precision"] == {"vae": "float32"}, "the generator's own setting"
    (table,) = build(load(tmp_path / "runs")).tables
    assert sorted(row.label for row in table.rows) == [exact.method.title, f"{exact.method.title}, precision=tf32"]

    seen.clear()
    found = list(verify(tmp_path / "runs", cache, silent(), again=True))
    assert all(one.state == "whole" for one in found), found
    assert sorted(how for _, how in seen) == 2 * [(False, False)] + 2 * [(True, True)]

    said = [part for part in explain(look_ahead(request)) if isinstance(part, str)]
    assert f"precision tf32 instead of float32: {rounded.method.name}" in said
    shared = [line for line in said if "trained once for" in line]
    assert len(shared) == 2, "two VAEs"


@pytest.mark.usefixtures("glyphs")
def test_a_worker_without_a_gpu_does_not_call_float32_by_another_name(tmp_path, cache, monkeypatch):
    monkeypatch.setattr(session, "check_precision_of", lambda *_, **__: None)  # the machine that planned it had one
    _, (record,) = executed(tmp_path, cache, "precision=tf32")
    assert record.status == "failed"
    assert "needs a GPU" in record.reason
