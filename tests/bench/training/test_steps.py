"""Steps that are captured, with a stand-in for the GPU that records what it is told and repeats it."""

import contextlib
import warnings

import pytest
import torch

from bench.training.checkpoint import Checkpoint
from bench.training.loop import train
from bench.training.steps import CudaGraphs, Repeated, Step, Steps

CPU = torch.device("cpu")


class Recorder:
    """Captures by running once and undoing it; replays by running the same function on the same tensors."""

    def __init__(self, tensors=(), fails=0, waits=0):
        self.tensors, self.fails, self.waits = tensors, fails, waits
        self.captured, self.replayed, self.inside = 0, 0, False

    @contextlib.contextmanager
    def stream(self):
        self.inside = True
        yield
        self.inside = False

    @contextlib.contextmanager
    def watched(self):
        seen = []
        yield seen
        if self.waits:
            self.waits -= 1
            seen.append("it waits for the GPU")

    def capture(self, compute, rng=None):
        assert self.inside
        if self.fails:
            self.fails -= 1
            raise RuntimeError("operation not permitted when stream is capturing\nand more that nobody reads")
        before = [tensor.clone() for tensor in self.tensors]
        result = compute()
        for tensor, value in zip(self.tensors, before, strict=True):
            tensor.copy_(value)
        self.captured += 1

        def replay():
            self.replayed += 1
            found = compute()
            if result is not None:
                result.copy_(found)

        return replay, result


def walk(weight, momentum, otherwise=None, log=None):
    """Momentum descent on noise that differs from step to step, in two halves."""

    def inputs(i):
        if log is not None:
            log.append(i)
        return (torch.tensor([float(i), 1.0]),)

    def compute(rng, x):
        momentum.mul_(0.9).add_(torch.rand(2, generator=rng) * x)
        weight.sub_(0.1 * momentum)
        return weight.sum().clone()

    return Step(lambda i: 1000 + i, inputs, compute, "all of it", otherwise)


def run(steps, n, start=0):
    with steps.running():
        return [float(steps(i)) for i in range(start, n)]


def plain(n):
    weight, momentum = torch.zeros(2), torch.zeros(2)
    return run(Steps(walk(weight, momentum), CPU), n), weight


def test_replayed_steps_are_the_steps_as_written():
    expected, expected_weight = plain(20)
    weight, momentum, log = torch.zeros(2), torch.zeros(2), []
    graphs = Recorder([weight, momentum])
    steps = Steps(walk(weight, momentum, log=log), CPU, graphs)
    assert run(steps, 20) == expected
    assert torch.equal(weight, expected_weight)
    assert (graphs.captured, graphs.replayed) == (1, 20 - Steps.WARM_UP)
    assert log == list(range(20))
    assert steps.facts == {"program": "captured: all of it"}


def test_what_cannot_be_captured_runs_as_it_is_written_and_says_so_once():
    expected, _ = plain(10)
    weight, momentum = torch.zeros(2), torch.zeros(2)
    steps = Steps(walk(weight, momentum), CPU, Recorder([weight, momentum], fails=99))
    assert run(steps, 10) == expected
    assert steps.program == "step by step: operation not permitted when stream is capturing"
    assert steps.fell_back == ["all of it cannot be captured: operation not permitted when stream is capturing"]


@pytest.mark.parametrize("waits", [1, 2])
def test_what_is_seen_to_wait_is_not_even_tried(waits):
    expected, _ = plain(10)
    weight, momentum = torch.zeros(2), torch.zeros(2)
    smaller = walk(weight, momentum)
    whole = walk(weight, momentum, otherwise=Step(smaller.seed, smaller.inputs, smaller.compute, "a part"))
    graphs = Recorder([weight, momentum], waits=waits)
    steps = Steps(whole, CPU, graphs)
    assert run(steps, 10) == expected
    assert steps.fell_back[0] == "all of it cannot be captured: it waits for the GPU"
    assert len(steps.fell_back) == waits
    if waits == 1:
        assert (steps.program, graphs.captured) == ("captured: a part", 1)
        assert graphs.replayed == 10 - Steps.WARM_UP - 1
    else:
        assert (steps.program, graphs.captured) == ("step by step: it waits for the GPU", 0)


def test_a_smaller_part_is_captured_instead():
    expected, _ = plain(10)
    weight, momentum = torch.zeros(2), torch.zeros(2)
    smaller = walk(weight, momentum)
    whole = walk(weight, momentum, otherwise=Step(smaller.seed, smaller.inputs, smaller.compute, "a part"))
    graphs = Recorder([weight, momentum], fails=1)
    steps = Steps(whole, CPU, graphs)
    assert run(steps, 10) == expected
    assert steps.program == "captured: a part"
    assert graphs.captured == 1


def test_a_plain_function_and_a_short_training_are_not_captured():
    graphs = Recorder()
    steps = Steps(lambda i: torch.tensor(float(i)), CPU, graphs)
    assert run(steps, 8) == [float(i) for i in range(8)]
    assert steps.program == "step by step: it is written as one function of the step's number"
    short = Steps(walk(torch.zeros(2), torch.zeros(2)), CPU, graphs)
    run(short, Steps.WARM_UP)
    assert short.program == "step by step: over before anything was captured"
    assert graphs.captured == 0


def test_what_pytorch_says_of_waiting_is_told_from_what_else_it_says(monkeypatch):
    """With PyTorch's own words; the first of them comes from the mode itself and says nothing of the step."""
    modes = []
    monkeypatch.setattr(torch.cuda, "get_sync_debug_mode", lambda: 0)
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", modes.append)
    graphs = CudaGraphs(CPU)
    with graphs.watched() as seen:
        warnings.warn(
            "Synchronization debug mode is a prototype feature and does not yet detect all synchronizing operations",
            stacklevel=1,
        )
    assert seen == []
    with warnings.catch_warnings(record=True) as said, graphs.watched() as seen:
        warnings.warn("something else", stacklevel=1)
        warnings.warn("called a synchronizing CUDA operation (Triggered internally at CUDAFunctions.cpp)", stacklevel=1)
    assert [str(one.message) for one in said] == ["something else"]
    assert seen == ["it waits for the GPU"]
    assert modes == ["warn", 0, "warn", 0]


def test_a_cpu_has_nothing_to_say():
    steps = Steps(walk(torch.zeros(2), torch.zeros(2)), CPU)
    run(steps, 8)
    assert steps.facts == {}


def test_the_loop_resumes_captured_steps_where_they_were(tmp_path, monkeypatch):
    """Stopped after each number of steps, before, at and after the capture."""
    expected, expected_weight = plain(12)
    for stop in range(1, 12):
        weight, momentum = torch.zeros(2), torch.zeros(2)
        tensors = {"weight": weight, "momentum": momentum}
        monkeypatch.setattr(
            "bench.training.loop.Steps",
            lambda step, device, kept=(weight, momentum): Steps(step, device, Recorder(kept)),
        )
        checkpoint = Checkpoint(tmp_path / f"{stop}.safetensors", 0.0)

        def ending(stage, done, total, metrics, stop=stop):
            if done >= stop:
                raise KeyboardInterrupt

        checkpoint.due = lambda: True  # progress after every step
        with pytest.raises(KeyboardInterrupt):
            train(walk(weight, momentum), tensors, None, 12, checkpoint, ending, "walk")
        for tensor in (weight, momentum):
            tensor.zero_()
        outcome = train(
            walk(weight, momentum), tensors, None, 12, Checkpoint(checkpoint.path, 1e9), lambda *_: None, "walk"
        )
        assert outcome["loss"] == expected
        assert torch.equal(weight, expected_weight)


def test_the_loop_says_once_what_it_could_not_capture(tmp_path, monkeypatch):
    monkeypatch.setattr("bench.training.loop.Steps", lambda step, device: Steps(step, device, Recorder(fails=99)))
    said = []
    weight = torch.zeros(2)
    outcome = train(
        walk(weight, torch.zeros(2)),
        {"weight": weight},
        None,
        30,
        Checkpoint(tmp_path / "w.safetensors", 1e9),
        lambda stage, *_: said.append(stage),
        "walk",
    )
    assert [one for one in said if one != "walk"] == [
        "walk: all of it cannot be captured: operation not permitted when stream is capturing"
    ]
    assert outcome["facts"]["program"].startswith("step by step")


def test_a_repeated_computation_is_captured_once_and_kept():
    x = torch.ones(1)
    graphs = Recorder([x])
    double = Repeated(lambda: x.mul_(2) and None, CPU, graphs)
    double(5)
    assert float(x) == 2**5
    x.fill_(1)
    double(7)
    assert float(x) == 2**7
    assert (graphs.captured, graphs.replayed, double.program) == (1, 4 + 7, "captured")


def test_a_repeated_computation_that_cannot_be_captured_goes_on():
    x = torch.ones(1)
    double = Repeated(lambda: x.mul_(2) and None, CPU, Recorder([x], fails=1))
    double(5)
    assert float(x) == 2**5
    assert double.program == "step by step: operation not permitted when stream is capturing"
