"""Flipped and cut bytes at random places of every kind of file: noticed and named, or harmless."""

import os

import numpy as np
import pandas as pd
import pytest
from commands import TINY, TINY_VAE, Bench
from photos import write_photos

from bench.basics.errors import BenchError
from bench.datasets.folder import Folder
from bench.datasets.prepare import load as load_dataset
from bench.leaderboard.gate import read_baseline
from bench.leaderboard.loading import load
from bench.reporting import inspections, task_figures
from bench.reporting.curves import learning_curves
from bench.running.verify import verify

REQUEST = ("--budget", "smoke", *TINY, *TINY_VAE)


@pytest.fixture(scope="module")
def written(cache, glyphs, tmp_path_factory):
    """One of every kind of file that the program writes."""
    folder = tmp_path_factory.mktemp("written")
    bench = Bench(cache, folder)
    bench("run", "--methods", "lasium-n-vae-maml,chance", "--no-references", *REQUEST)
    bench("inspect", "lasium-n-vae-maml", "--tasks", "20", *REQUEST)
    bench("check", "--baseline", "baseline.parquet", "--update")
    write_photos(folder / "photos", side=8, images=6)
    prepared(folder)
    return folder


def prepared(folder):
    return load_dataset(Folder(name="mine", size=8, data_dir=str(folder / "photos")), folder / "prepared")


def files(folder):
    kinds = {
        "record": "runs/*/lasium*/*/run.json",
        "scores": "runs/*/lasium*/*/tasks.parquet",
        "weights": "runs/*/lasium*/*/weights.safetensors",
        "inspection": "runs/*/lasium*/*/inspect.json",
        "synthetic task": "runs/*/lasium*/*/synthetic.npy",
        "curve": "runs/*/lasium*/*/train.parquet",
        "samples": "runs/*/lasium*/*/samples.npy",
        "artifact": "runs/artifacts/vae-*.safetensors",
        "task list": "runs/manifests/*.parquet",
        "baseline": "baseline.parquet",
        "prepared images": "prepared/mine-*/images.npy",
        "prepared index": "prepared/mine-*/index.parquet",
        "prepared facts": "prepared/mine-*/meta.json",
    }
    found = {kind: next(iter(folder.glob(pattern)), None) for kind, pattern in kinds.items()}
    return {kind: path for kind, path in found.items() if path is not None}


def read(folder, path, cache):
    """Everything that a reader would take for a result, and every complaint."""
    results, complaints = {}, []
    if "prepared" in str(path):
        try:
            dataset = prepared(folder)
            results["hash"] = dataset.content_hash
            results["pixels"] = {name: split.pixels.tobytes() for name, split in dataset.splits.items()}
            results["classes"] = {name: split.class_ids.tobytes() for name, split in dataset.splits.items()}
        except BenchError as error:
            complaints.append(str(error))
        return results, complaints
    if path.name == "baseline.parquet":
        try:
            baseline = read_baseline(path)
            results["baseline"] = repr(baseline)
        except BenchError as error:
            complaints.append(str(error))
        return results, complaints
    runs = folder / "runs"
    frames = load(runs)
    complaints += frames.problems
    results["scores"] = {key[1]: value.tobytes() for key, value in frames.task_scores().items()}
    results["runs"] = frames.runs[["method", "status", "seed"]].to_csv()
    if path.suffix == ".json" or path.name in ("synthetic.npy", "train.parquet", "samples.npy"):
        inspected, problems = inspections.load(runs)
        results["inspections"] = repr(inspected)
        examples, damaged = task_figures.load(runs)
        results["tasks"] = {key: image.tobytes() for key, image in examples.items()}
        curves, unreadable = learning_curves(frames, set(frames.runs["run"]))
        results["curves"] = repr(curves)
        complaints += [*problems, *damaged, *unreadable]
    complaints += [one.said for one in verify(runs, cache, lambda *_: None) if one.said]
    return results, complaints


def test_no_damaged_byte_becomes_a_number(written, cache, wanted, counted):
    rng = np.random.default_rng(int(os.environ.get("BENCH_FAULTS_SEED", "0")))
    found = files(written)
    assert len(found) >= 12, sorted(found)
    whole = {kind: read(written, path, cache) for kind, path in found.items()}
    assert all(not complaints for _, complaints in whole.values()), whole
    kinds = sorted(found)
    for number in range(wanted("damaged")):
        kind = kinds[number % len(kinds)]
        path = found[kind]
        content = path.read_bytes()
        damaged = bytearray(content)
        at = int(rng.integers(len(damaged)))
        how = ("flipped", "cut", "zeroed")[int(rng.integers(3))]
        if how == "flipped":
            damaged[at] ^= 1 << int(rng.integers(8))
        elif how == "cut":
            del damaged[at:]
        else:
            damaged[at : at + 64] = bytes(len(damaged[at : at + 64]))
        path.write_bytes(damaged)
        try:
            results, complaints = read(written, path, cache)
        except BenchError as error:
            results, complaints = {}, [str(error)]
        finally:
            path.write_bytes(content)
        counted(f"damaged: {kind} {'noticed' if complaints else 'harmless'}")
        assert complaints or results == whole[kind][0], f"{how} byte {at} of {kind} changed a result unseen"


@pytest.mark.parametrize("limit", [2_000, 6_000, 12_000])
def test_a_full_disk_costs_nothing_that_was_there(cache, glyphs, tmp_path, limit, counted):
    """Files may not grow beyond ``limit`` bytes: as on a full disk, and the same command goes on when there is room."""
    import resource

    bench = Bench(cache, tmp_path)
    request = ("run", "--methods", "umtra-maml,chance", "--no-references", "--budget", "smoke", *TINY)

    def small():
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    process = bench.start(*request, preexec_fn=small)
    out, err = process.communicate(timeout=300)
    assert process.returncode in (1, 2), out + err
    assert "Traceback" not in out + err
    assert "File too large" in out + err
    counted("full disks")
    bench(*request)
    alone = Bench(cache, tmp_path / "alone")
    alone.folder.mkdir()
    alone(*request)
    for one, other in zip(sorted(bench.out.glob("*/*/*/tasks.parquet")), sorted(alone.out.glob("*/*/*/tasks.parquet"))):
        pd.testing.assert_frame_equal(pd.read_parquet(one), pd.read_parquet(other))
