"""What a run records of the cost of its training, and the same number found afterwards from the configuration."""

import json
import shutil

import pytest

from bench.basics.errors import BenchError
from bench.leaderboard.loading import load
from bench.leaderboard.score_table import ScoreTable
from bench.records.record import read_record, run_folders
from bench.records.scores import seal_folder
from bench.running.cost import cost_of_run, noted
from bench.running.recount import AFTERWARDS, Recounting, main, recount
from bench.training.checkpoint import load_tensors, save_tensors
from bench.training.work import Cost

METHODS = "umtra-maml,umtra-protonet,simclr,neighbours,lasium-ro-vae-protonet,cactus-bigan-maml,scratch"
BRIEF = ("--budget", "smoke", "--no-references", "backbone.filters=2", "budget.evaluation_tasks=5")
VAE = ("generator.channels=2", "generator.batch_size=1024")
SMALL = (
    *(*BRIEF, *VAE, "encoder.width=8", "encoder.batch_size=1024", "learner.eval_steps=2"),
    *(
        "method.clusters=20",
        "method.partitions=1",
        "method.batch=64",
        "method.nearest=2",
        "method.rounds=1",
        "method.hidden=16",
    ),
)


def costs(out):
    return {
        folder.parent.name.split(",")[0]: dict(record.notes.get("cost", {}))
        for folder in run_folders(out)
        if (record := read_record(folder)).done
    }


def without(*names):
    """A record as it was written before its cost was noted."""
    return lambda document: {**document, "notes": {k: v for k, v in document["notes"].items() if k not in names}}


def test_runs_record_images_and_cpu_seconds_and_a_recount_finds_the_same_images(bench, tmp_path, monkeypatch, capsys):
    bench("run", "--methods", METHODS, *SMALL)
    measured = costs(bench.out)
    images = {name: cost["images"] for name, cost in measured.items()}
    train = len(load_dataset(bench))
    maml = 10 * 4 * (5 * 5 + 25)  # iterations, tasks, five steps on 5 support images and then 25 queries
    vae = train // 1024 * 1024 * 2  # an epoch through encoder and decoder
    bigan = train // 1024 * 1024 * 4
    assert images["umtra-maml"] == maml
    assert images["umtra-protonet"] == 10 * 4 * 30
    assert images["simclr"] == 10 * 64 * 2
    assert images["neighbours"] == 10 * 64 * 2 + train
    # Every image's posterior once; then a class is a real image and five that are decoded.
    assert images["lasium-ro-vae-protonet"] == vae + train + 10 * 4 * (30 + 25)
    assert images["cactus-bigan-maml"] == bigan + train + 10 * 4 * (5 * 20 + 20 * 15)
    assert images["scratch"] == 0
    for name, cost in measured.items():
        assert set(cost) == {"images", "cpu_seconds"}, "no GPU was held"
        assert cost["cpu_seconds"] > 0 or name == "scratch"

    frames = load(bench.out)
    told = frames.runs.set_index("method")
    entries = {one.method.split(",")[0]: one.facts for one in ScoreTable(frames).entries}
    assert entries["umtra-maml"]["images"] == maml
    assert told["gpu_seconds"].isna().all()

    copy = tmp_path / "copy"
    shutil.copytree(bench.out, copy, ignore=shutil.ignore_patterns("artifacts"))
    for folder in run_folders(copy):
        seal_folder(folder, folder, without("cost"))
    assert load(copy).runs["images"].isna().all()
    monkeypatch.setenv("BENCH_CACHE", str(bench.cache))
    main([str(copy)])
    said = capsys.readouterr().out
    assert "7 records counted, 0 cannot be" in said
    assert costs(copy) == {name: {"images": images[name], "counted": AFTERWARDS} for name in images}
    bench("verify", "--runs", copy)
    before = {path: path.read_bytes() for path in copy.rglob("run.json")}
    main([str(copy)])
    assert "0 records counted, 0 cannot be" in capsys.readouterr().out
    assert before == {path: path.read_bytes() for path in copy.rglob("run.json")}

    # A run that rests on an artifact of before there was a count does not pretend to have cost less.
    (vae_file,) = (bench.out / "artifacts").glob("vae-*.safetensors")
    tensors, meta = load_tensors(vae_file)
    save_tensors(vae_file, tensors, {k: v for k, v in meta.items() if k not in ("images", "cpu_seconds")})
    bench("run", "--methods", "lasium-n-vae-maml", *BRIEF, *VAE)
    assert costs(bench.out)["lasium-n-vae-maml"] == {}


def load_dataset(bench):
    from bench.datasets.glyphs import Glyphs
    from bench.datasets.prepare import load as prepared

    return prepared(Glyphs(), bench.cache).splits["train"].pixels


def test_what_cannot_be_counted_says_why(bench, tmp_path):
    bench("run", "--methods", "scratch", *BRIEF)
    (folder,) = run_folders(bench.out)
    seal_folder(folder, folder, without("cost"))
    document = json.loads((folder / "run.json").read_text())
    seal_folder(folder, folder, lambda one: {**one, "dataset_hash": "0" * 64})
    said = []
    assert recount(bench.out, Recounting(tmp_path, bench.cache), said.append) == (0, 1)
    assert said[0].endswith("not counted: the images of glyphs here are not those of the record")
    seal_folder(folder, folder, lambda one: {**one, "dataset_hash": document["dataset_hash"]})
    foreign = {**document["config"], "learner": {**document["config"]["learner"], "_target_": "elsewhere.Learner"}}
    seal_folder(folder, folder, lambda one: {**one, "config": foreign})
    assert recount(bench.out, Recounting(tmp_path, bench.cache), said.append) == (0, 1)
    with pytest.raises(BenchError, match="there is no record below"):
        recount(tmp_path / "nothing", Recounting(tmp_path, bench.cache), said.append)


def test_somebody_elses_networks_may_not_count_but_a_dataset_has_none():
    own = {"method": {"_target_": "methods.umtra.Umtra"}, "dataset": {"_target_": "elsewhere.Cats"}, "way": 5}
    spent = Cost(7, 1.5)
    assert noted(cost_of_run(own, spent, [])) == {"images": 7, "cpu_seconds": 1.5}
    foreign = {**own, "learner": {"_target_": "elsewhere.Learner"}}
    assert noted(cost_of_run(foreign, spent, [])) == {"cpu_seconds": 1.5}
    assert noted(cost_of_run(own, Cost(7, 1.5, 2.0), [])) == {"images": 7, "cpu_seconds": 1.5, "gpu_seconds": 2.0}


def test_the_command_answers_a_wrong_folder_with_one_sentence(tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        main([str(tmp_path)])
    assert ended.value.code == 2
    assert f"error: there is no record below {tmp_path}" in capsys.readouterr().err
