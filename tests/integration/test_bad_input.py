"""Bad input through the real command line: one sentence, exit code 2, no traceback, nothing half-written."""

import os
import shutil
import subprocess

import numpy as np
import pytest
from commands import TINY
from PIL import Image

RUN = ("run", "--methods", "umtra", "--no-references", "--budget", "smoke", *TINY)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("run", "--methods", "lasum"), "unknown method 'lasum'. Did you mean 'lasium'?"),
        (("run", "--methods", "umtra", "--dataset", "glyph"), "unknown dataset 'glyph'. Did you mean 'glyphs'?"),
        (("run", "--methods", "umtra", "--budget", "smok"), "unknown budget 'smok'. Did you mean 'smoke'?"),
        (("run", "--methods", "umtra", "learner.iner_lr=1"), "Did you mean 'learner.inner_lr'?"),
        (("run", "--methods", "umtra", "learner.inner_lr=fast"), "learner.inner_lr takes a number (default 0.4)"),
        (("run", "--methods", "umtra", "learner.inner_lr=-1"), "learner.inner_lr must be above 0, not -1"),
        (
            ("run", "--methods", "umtra", "learner.batch_stats=both"),
            "must be 'transductive' or 'inductive', not 'both'",
        ),
        (("run", "--methods", "umtra", "--shots", "one"), "--shots takes whole numbers from 0"),
        (("run", "--methods", "umtra", "--seeds", "3-1"), "for example --seeds 0,1,2 or 0-2, not '3-1'"),
        (("run", "--methods", "umtra", "--seeds", "0,5-3"), "for example --seeds 0,1,2 or 0-2, not '0,5-3'"),
        (("run", "--methods", "umtra", "--seeds", "0-20000"), "--seeds 0-20000 are more than 10000 numbers"),
        (("run", "--methods", "umtra", "--shots", "1,5-3"), "--shots takes whole numbers from 0"),
        (("run", "--methods", "umtra", "learner.inner_lr=null"), "takes a number (default 0.4), not null"),
        (("prepare", "folder", "dataset.name=omniglot"), "is the name of another dataset"),
        (("plan", "--methods", "chance", "--dataset", "folder", "dataset.name=glyphs"), "dataset.name=my-glyphs"),
        (("run", "--methods", "umtra", f"--seeds={2**63}"), f"--seeds takes whole numbers from 0 to {2**63 - 1}"),
        (("run", "--methods", "umtra", "--data-dir", "nowhere"), "--data-dir nowhere (or $BENCH_DATA) is not a folder"),
        (("prepare", "omniglot", "--data-dir", "nowhere"), "--data-dir nowhere (or $BENCH_DATA) is not a folder"),
        (("run", "--methods", "umtra", "learner.inner_lr=inf"), "'learner.inner_lr=inf' is not a finite number"),
        (("plan", "--methods", "lasium", "method.noise_std=nan"), "'method.noise_std=nan' is not a finite number"),
        (("plan", "--methods", "umtra", "learner.inner_lr=-1"), "learner.inner_lr must be above 0, not -1"),
        (
            ("run", "--methods", "umtra", "method.alpha=0.2"),
            "It belongs to method lasium",
        ),
        (("plan", "--methods", "umtra", "learner.inner_lr=range(1,2000)"), "1999 combinations; at most 1000"),
        (("run", "--methods", "umtra", "way=9", "train.way=5"), "cannot answer way=9; give train.way=9"),
        (("run", "--methods", "cactus-pixels-maml-5way", "way=10"), "cannot answer way=10; choose another method"),
        (("run", "--methods", "umtra", "--shots", "1,99"), "classes with at least 114 images each"),
        (("run", "--methods", "umtra", "way=400"), "400-way tasks need 400 classes"),
        (("run", "--methods", "umtra-protonet", "--ways", "5,400"), "400-way tasks need 400 classes"),
        (("run", "--methods", "umtra", "--ways", "1,5"), "--ways takes numbers of at least 2, for example --ways 5,20"),
        (("run", "--methods", "umtra", "--ways", "five"), "--ways takes whole numbers from 0"),
        (("run", "--methods", "umtra", "--ways", "5,20", "way=5"), "--ways and 'way=5' say the same thing twice"),
        (("run", "--methods", "umtra", "way=5,20"), "way is one value for all runs of a command; give --ways 5,20"),
        (("run", "--methods", "umtra", "ways=[5,20]"), "use the flag --ways"),
        (("run", "--methods", "umtra", "--ways", "10,20", "train.way=5"), "way=10,20; give train.way=20"),
        (("run", "--methods", "umtra", "--device", "gpu"), "unknown device 'gpu'; use auto, cpu, cuda"),
        (("run",), "nothing to run: name methods, for example 'bench run lasium umtra'"),
        (("run", "--methods", "umtra", "--sede", "1"), "--seeds"),
        (("run", "umtar"), "unknown method 'umtar'. Did you mean 'umtra'?"),
        (("run", "omniglot", "umtra"), "'omniglot' is a dataset and no method; say --dataset omniglot"),
        (("inspect", "umtra,knn"), "'knn' is a classifier and no method; say classifier=knn"),
        (("rnu",), "No such command 'rnu'. Did you mean 'run'? 'bench -h'"),
        (("run", "--method", "umtra"), "No such option: --method. Did you mean '--methods'? 'bench -h'"),
        (("list", "methods", "--group", "flor"), "Did you mean 'floor'?"),
        (("list", "datasets", "--group", "floor"), "--group parts methods, and datasets have none"),
        (("explain", "lasum"), "unknown method 'lasum'. Did you mean 'lasium'?"),
        (("explain", "--group", "encodr", "acai"), "Did you mean 'encoder'?"),
        (("compare", "umtra-maml"), "name two methods or more"),
        (("prepare", "glyphs", "omniglot"), "name one dataset"),
        (("list", "methodes"), "Did you mean 'methods'?"),
        (("prepare", "omniglot", "dataset.size=20"), "--data-dir DIR"),
        (("prepare", "glyphs", "--download"), "has no download"),
        (("report",), "there is no folder runs"),
        (("compare", "a", "b"), "there is no folder runs"),
        (("inspect", "--budget", "smoke"), "for example 'bench inspect lasium umtra'"),
        (("show", "umtra-maml,aal-maml"), "a picture shows one method, not 2 (aal-maml, umtra-maml)"),
        (("show", "umtra-maml", "--seed", "-1"), "'--seed'"),
        (("check", "--baseline", "none.parquet"), "there is no folder runs"),
        (("tasks", "verify", "none.parquet"), "cannot read none.parquet: no such file"),
        (("tasks", "export", "t.parquet", "--split", "tset"), "Did you mean 'test'?"),
        (("show", "pixels"), "makes no synthetic tasks"),
        (("inspect", "chance,pixels"), "chance, pixels make no synthetic tasks; choose a method that does"),
        (("show", "umtra-maml", "--what", "sample"), "unknown picture 'sample'. Did you mean 'samples'?"),
        (("show", "lasium-ro-vae-maml", "--to", "x.gifx"), "cannot draw to x.gifx: its ending must be one of"),
        (
            ("show", "umtra-maml", "--what", "samples"),
            "umtra-maml has no generator, so it has no samples; methods with",
        ),
    ],
)
def test_mistyped_arguments(bench, arguments, expected):
    assert expected in bench.error(*arguments)
    assert not list(bench.folder.rglob("run.json"))


def _images(folder, shape=(30, 30), count=3):
    rng = np.random.default_rng(0)
    for split in ("train", "val", "test"):
        for name in range(6):
            path = folder / split / f"{split}{name}"
            path.mkdir(parents=True)
            for i in range(count):
                Image.fromarray(rng.integers(0, 255, (*shape, 3), dtype=np.uint8)).save(path / f"{i}.png")


@pytest.mark.parametrize("content", [b"", b"not an image", None])
def test_a_damaged_image_is_named(bench, content):
    data = bench.folder / "photos"
    _images(data)
    victim = data / "test" / "test3" / "1.png"
    victim.write_bytes(victim.read_bytes()[:100] if content is None else content)
    message = bench.error("prepare", "folder", "--data-dir", data)
    assert "test3/1.png" in message
    assert not [path for path in bench.cache.iterdir() if path.name.startswith("folder") and path.is_dir()]


def test_own_images_run_from_folder_to_leaderboard_and_too_few_of_them_are_told(bench):
    data = bench.folder / "photos"
    _images(data, shape=(40, 32), count=6)
    request = ("run", "--methods", "umtra-protonet", "--no-references", "--budget", "smoke", "--dataset", "folder")
    settings = ("--data-dir", data, "dataset.name=mine", "dataset.size=32", "query=5", *TINY[:1], TINY[2])
    assert "mine" in bench(*request, *settings).stdout
    assert "classes with at least 7 images each" in bench.error(*request, *settings, "--shots", "2")
    empty = bench.folder / "empty"
    empty.mkdir()
    assert str(empty) in bench.error("prepare", "folder", "--data-dir", empty)


def test_a_damaged_record_manifest_checkpoint_score_and_cache(bench, tmp_path):
    bench(*RUN)
    record = next(bench.out.glob("*/*/*/run.json"))
    manifest = next(bench.out.glob("manifests/*.parquet"))

    whole = record.read_text()
    record.write_text(whole[: len(whole) // 2])
    result = bench(*RUN, code=1)
    assert "run.json is damaged" in result.stdout
    assert "delete" in result.stdout
    record.write_text(whole)

    sealed = manifest.read_bytes()
    manifest.write_bytes(sealed[:-100])
    assert manifest.name in bench.error(*RUN)
    assert "not a readable Parquet file" in bench.error("tasks", "verify", manifest)
    manifest.write_bytes(sealed)

    record.unlink()
    weights = record.with_name("weights.safetensors")
    weights.write_bytes(weights.read_bytes()[:-9])
    assert "weights.safetensors is damaged" in bench(*RUN, code=1).stdout
    weights.unlink()
    bench(*RUN)

    (record.parent / "tasks.parquet").write_bytes(b"PAR1")
    for command in (("report",), ("compare", "umtra-maml", "umtra-protonet")):
        assert "tasks.parquet is damaged" in bench.error(*command)
    result = bench(*RUN, code=1)
    assert "tasks.parquet is damaged" in result.stdout, "such a run is not there already"
    assert "damaged" in bench("plan", *RUN[1:]).stdout

    bench.cache = shutil.copytree(bench.cache, tmp_path / "cache")
    images = next(bench.cache.glob("glyphs-*/images.npy"))
    data = bytearray(images.read_bytes())
    data[-1] ^= 255
    images.write_bytes(data)
    assert "is damaged" in bench.error("prepare", "glyphs")


def test_a_manifest_travels_and_is_checked(bench):
    bench("tasks", "export", "t.parquet", "--tasks", "10", "--shot", "5")
    assert "is whole: 10 tasks" in bench("tasks", "verify", "t.parquet").stdout
    assert "no split 'validation'" in bench.error("tasks", "export", "t.parquet", "--split", "validation")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_an_unwritable_folder(bench):
    locked = bench.folder / "locked"
    locked.mkdir(mode=0o500)
    assert "cannot write" in bench.error(*RUN, "--out", locked / "runs")


def test_an_out_that_is_a_file(bench):
    (bench.folder / "file").write_text("")
    assert "--out file is a file" in bench.error(*RUN, "--out", "file")
    assert "--out file is a file" in bench.error("plan", *RUN[1:], "--out", "file")


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
def test_a_full_disk(bench):
    small = bench.folder / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(small)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("cannot mount a tmpfs here")
    try:
        process = bench.start(*RUN, "backbone.filters=64", "--out", small / "runs")
        out, err = process.communicate(timeout=200)
        assert process.returncode in (1, 2), out + err
        assert "No space left on device" in out + err
        assert "Traceback" not in out + err
        assert not list(small.rglob("*.tmp"))
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_a_baseline_replaces_nothing_but_a_baseline(bench):
    bench(*RUN)
    mine = bench.folder / "notes.txt"
    mine.write_text("mine")
    assert "notes.txt is there already and is no baseline" in bench.error("check", "--baseline", mine, "--update")
    assert mine.read_text() == "mine"
    for _ in range(2):
        bench("check", "--baseline", "b.parquet", "--update")
    assert "is compared with itself" in bench.error("compare", "umtra-maml", "umtra-maml")


def test_a_bare_command_is_help_without_an_error(bench):
    result = bench(code=2)
    assert "inspect" in result.stdout + result.stderr
    assert "error:" not in result.stderr


def test_a_dozen_changed_settings_make_a_folder_that_can_be_made(bench):
    changed = (
        "photo_shift",
        "photo_rotation",
        "photo_crop",
        "photo_flip",
        "photo_brightness",
        "photo_contrast",
        "mask",
    )
    many = [f"method.{name}=0.123456789012" for name in changed]
    more = ["learner.meta_lr=0.0012345678901", "learner.inner_lr=0.123456789", "backbone.eps=0.00123456789"]
    result = bench(*RUN, *many, *more)
    assert "1 of 1 runs done" in result.stdout
    assert "bench report --runs" in result.stdout
    (folder,) = {path.parent.parent.name for path in bench.out.glob("*/*/*/run.json")}
    assert len(folder) <= 150
    assert "1 of 1 runs done" in bench(*RUN, *many, *more).stdout
    assert "there already" in bench(*RUN, *many, *more).stderr


def test_where_there_is_no_home_the_cache_is_named(bench):
    bench.environment = {"BENCH_CACHE": "", "XDG_CACHE_HOME": "", "HOME": "/proc/nobody"}
    assert "BENCH_CACHE" in bench.error("prepare", "glyphs", "dataset.size=16")


def test_hints_can_be_typed_where_a_folder_has_a_blank(bench):
    result = bench("run", "--methods", "chance", "--no-references", "--budget", "smoke", "--out", "my runs")
    assert "bench report --runs 'my runs' --out reports" in result.stdout


def test_a_plan_says_that_there_is_no_validation(bench):
    data = bench.folder / "photos"
    _images(data)
    shutil.rmtree(data / "val")
    request = ("plan", "--methods", "umtra", "--no-references", "--budget", "smoke", "--dataset", "folder", "query=2")
    request = (*request, "--data-dir", data, "dataset.name=mine", "dataset.size=16")
    assert "budget.validate_every=2 has no effect" in bench(*request, "budget.validate_every=2").stdout
    assert "has no effect" not in bench(*request).stdout
