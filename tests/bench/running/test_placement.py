"""Runs side by side on GPUs, shown without one: which GPU a process sees, how many share it, and who waits for whom."""

import os
import subprocess
import threading
import time

import pytest
import torch

from bench.running import placement
from bench.running.executors.processes import ProcessPerTaskExecutor, WorkerDied
from bench.running.placement import Closed, Gpu, Placement, names, rooms

BIG, SMALL, FULL = Gpu(0, "0", 80_000.0), Gpu(1, "1", 13_000.0), Gpu(2, "2", 900.0)


@pytest.mark.parametrize(
    ("visible", "count", "expected"),
    [
        (None, 3, ["0", "1", "2"]),
        ("2,3", 2, ["2", "3"]),
        ("3, 1", 2, ["3", "1"]),
        ("GPU-8f2a,GPU-17bc", 2, ["GPU-8f2a", "GPU-17bc"]),
        ("MIG-11", 1, ["MIG-11"]),
        ("1,-1,0", 1, ["1"]),  # CUDA stops at what is no GPU
        ("", 0, []),
    ],
)
def test_indexes_go_through_what_is_visible_already(monkeypatch, visible, count, expected):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert names(count) == expected


def driver_says(monkeypatch, text):
    def run(command, **_):
        if text is None:
            raise FileNotFoundError(command[0])
        return subprocess.CompletedProcess(command, 0, stdout=text)

    monkeypatch.setattr(placement.subprocess, "run", run)


def test_free_memory_is_that_of_the_gpu_behind_each_name(monkeypatch):
    driver_says(monkeypatch, "0, GPU-aa11, 100\n1, GPU-bb22, 200\n2, GPU-cc33, 300\n3, GPU-dd44, [N/A]\n")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,1")
    assert placement.visible_gpus() == [Gpu(0, "2", 300.0), Gpu(1, "1", 200.0)]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-bb,GPU-dd44")
    assert placement.visible_gpus() == [Gpu(0, "GPU-bb", 200.0), Gpu(1, "GPU-dd44", None)]
    driver_says(monkeypatch, None)
    assert [gpu.free_mib for gpu in placement.visible_gpus()] == [None, None]


def test_room_is_by_free_memory_unless_it_is_said():
    unknown = Gpu(3, "3")
    assert rooms([BIG, SMALL, FULL, unknown], None) == {BIG: 4, SMALL: 2, FULL: 0, unknown: 4}
    assert rooms([FULL], None) == {FULL: 1}  # better to try than to wait for ever
    assert rooms([BIG, FULL], 3) == {BIG: 3, FULL: 3}


def test_a_device_chooses_the_gpus(monkeypatch):
    monkeypatch.setattr(placement, "visible_gpus", lambda: [BIG, SMALL])
    assert list(placement.placement("auto").rooms) == list(placement.placement("cuda").rooms) == [BIG, SMALL]
    assert placement.placement("cuda:1", 3).rooms == {SMALL: 3}
    assert placement.placement("cpu") is None
    monkeypatch.setattr(placement, "visible_gpus", list)
    assert placement.placement("auto", 2) is None


def test_runs_spread_over_the_gpus_and_know_whether_they_had_company():
    places = Placement({SMALL: 2, BIG: 3})
    held = [places.one() for _ in range(5)]
    taken = [one.__enter__() for one in held]
    assert [place.gpu for place in taken] == [BIG, SMALL, BIG, SMALL, BIG]
    held[1].__exit__(None, None, None)
    with places.one() as place:
        assert (place.gpu, place.shared) == (SMALL, True)
    assert all(place.shared for place in taken)
    with Placement({BIG: 2}).one() as place:
        assert not place.shared


def waiting(places, **how):
    """A thread that takes a place; (thread, what it got or what it was told)."""
    got = []

    def take():
        try:
            with places.one(**how) as place:
                got.append(place)
        except Closed as error:
            got.append(error)

    thread = threading.Thread(target=take)
    thread.start()
    time.sleep(0.1)
    return thread, got


def test_whoever_wants_to_be_alone_is_not_overtaken():
    places = Placement({BIG: 2})
    with places.one():
        alone, first = waiting(places, alone_on=BIG)
        later, second = waiting(places)
        assert (first, second) == ([], [])
    alone.join(10)
    later.join(10)
    assert first[0].alone
    assert not first[0].shared
    assert not second[0].alone


def test_nobody_waits_for_a_place_once_it_is_over():
    places = Placement({BIG: 1})
    with places.one():
        thread, got = waiting(places)
        places.close()
        thread.join(10)
        assert isinstance(got[0], Closed)


def what_it_sees():
    return os.environ.get("CUDA_VISIBLE_DEVICES"), os.environ.get("GOMP_SPINCOUNT")


class Sees:
    """Says, when it is unpickled, what the environment was then: PyTorch comes in that way, and looks only once."""

    def __reduce__(self):
        return what_it_sees, ()


def the_same(value):
    return value


def test_a_process_sees_its_gpu_alone_before_anything_is_imported(monkeypatch):
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)  # as where the project is used as a library
    with ProcessPerTaskExecutor(1, placement=Placement({Gpu(1, "GPU-17bc"): 1})) as pool:
        assert pool.submit(the_same, Sees()).result(timeout=60) == ("GPU-17bc", "30000")
    assert "GPU-17bc" not in os.environ.get("CUDA_VISIBLE_DEVICES", "")


def meet(folder, name, others):
    """Wait until all the others are there too, or for a moment; which of them were there."""
    (folder / name).touch()
    end = time.monotonic() + 30
    while not all((folder / one).exists() for one in others) and time.monotonic() < end:
        time.sleep(0.05)
    return os.environ["CUDA_VISIBLE_DEVICES"]


def test_processes_side_by_side_are_spread_over_the_gpus(tmp_path):
    with ProcessPerTaskExecutor(2, placement=Placement({BIG: 2, SMALL: 2})) as pool:
        seen = [pool.submit(meet, tmp_path, name, "ab") for name in "ab"]
        assert {one.result(timeout=60) for one in seen} == {"0", "1"}


def crowded(folder, name, attempt):
    """Runs beside another, and finds too little memory the first time."""
    meet(folder, f"{name}{attempt}", ["a1", "b1"] if attempt == 1 else [])
    beside = list(folder.glob("*.on"))
    (folder / f"{name}.on").touch()
    if name == "b" and attempt == 1:
        (folder / "b.on").unlink()
        raise torch.OutOfMemoryError("CUDA out of memory")
    time.sleep(5.0 if name == "a" else 0.1)  # a is there for as long as a second try takes to begin
    (folder / f"{name}.on").unlink()
    return attempt, len(beside)


def recorded(folder, name, attempt):
    """As a run does: an error is a result too."""
    try:
        return crowded(folder, name, attempt)
    except torch.OutOfMemoryError:
        return "out-of-memory"


def test_a_run_without_memory_is_tried_again_alone_and_the_others_go_on(tmp_path):
    def again(value, gpu, args):
        return (*args[:-1], 2) if value == "out-of-memory" else None

    with ProcessPerTaskExecutor(3, placement=Placement({BIG: 2}), again=again) as pool:
        a, b, c = (pool.submit(recorded, tmp_path, name, 1) for name in "abc")
        assert a.result(timeout=60)[0] == 1
        assert b.result(timeout=60) == (2, 0)
        assert c.result(timeout=60)[0] == 1


def test_a_run_that_was_alone_has_no_second_try(tmp_path):
    def again(value, gpu, args):
        raise AssertionError

    (tmp_path / "a1").touch()
    with ProcessPerTaskExecutor(2, placement=Placement({BIG: 2}), again=again) as pool:
        assert pool.submit(recorded, tmp_path, "b", 1).result(timeout=60) == "out-of-memory"


def test_stopping_ends_those_who_wait_for_a_place(tmp_path):
    pool = ProcessPerTaskExecutor(2, grace=0.5, placement=Placement({BIG: 1}))
    futures = [pool.submit(meet, tmp_path, name, "ab") for name in "ab"]
    while not [*tmp_path.iterdir()]:
        time.sleep(0.05)
    pool.shutdown(wait=True, cancel_futures=True)
    assert all(isinstance(one.exception(), WorkerDied) for one in futures)


def computed_on(device):
    return str(torch.ones(1, device=device).sum().device)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
def test_on_a_real_gpu_the_parent_makes_no_context_and_the_worker_sees_one_gpu():
    before = torch.cuda.is_initialized()
    places = placement.placement("cuda")
    assert torch.cuda.is_initialized() == before
    assert all(gpu.free_mib for gpu in places.rooms)
    with ProcessPerTaskExecutor(1, placement=places) as pool:
        assert pool.submit(torch.cuda.device_count).result(timeout=120) == 1
        assert pool.submit(computed_on, "cuda").result(timeout=120) == "cuda:0"
