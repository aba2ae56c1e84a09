"""The library beside the command line: the same numbers, task by task."""

import itertools
import os
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import torch

import bench as library
from bench.contracts import Learner
from bench.learners import embeddings

NET = ("backbone.filters=8", "budget.evaluation_tasks=20")

README = """
import bench
import torch

def nearest_prototype(support, query):  # [N, K, C, H, W], [M, C, H, W] -> scores [M, N]
    prototypes = support.flatten(2).mean(1)
    return -torch.cdist(query.flatten(1), prototypes)

score = bench.score(nearest_prototype, bench.tasks("omniglot", way=5, shot=1))
print(score)
score.save("runs", method="pixel-prototypes", title="Pixel prototypes")
"""


def nearest_pixels(support, query):
    apart = (query.flatten(1)[:, None].double() - support.flatten(0, 1).flatten(1)[None].double()).square().sum(2)
    return apart.argmin(1) // support.shape[1]


@pytest.fixture(scope="module")
def ran(cache, glyphs, tmp_path_factory):
    """A request from Python, and its results."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENCH_CACHE", str(cache))
        methods = ["pixels", "umtra-protonet", "umtra-maml"]
        out = tmp_path_factory.mktemp("library") / "runs"
        found = library.run(methods, budget="smoke", references=False, overrides=NET, out=out, quiet=True)
        yield out, found


def kept(folder):
    return pd.read_parquet(folder / "tasks.parquet").sort_values("task")["correct"].tolist()


def test_runs_from_python_are_runs_and_their_results_a_frame(ran, bench):
    out, found = ran
    assert found.unfinished == ()
    assert set(found.frame["method"].str.partition(",")[0]) == {"pixels", "umtra-protonet", "umtra-maml"}
    pd.testing.assert_frame_equal(found.frame, library.results(out))
    bench("report", "--runs", out, "--out", bench.folder / "report", "--format", "csv")
    written = pd.read_csv(bench.folder / "report" / "leaderboard.csv")
    assert written["accuracy"].tolist() == pytest.approx(found.frame["accuracy"].tolist())
    again = bench("run", "--methods", "pixels", "--budget", "smoke", "--no-references", "--out", out, NET[1])
    assert "there already" in again.stderr


def test_a_plain_function_has_exactly_the_numbers_of_the_method(ran):
    _, found = ran
    score = library.score(nearest_pixels, "glyphs", tasks=20)
    assert score.correct.tolist() == kept(found.folders[0])


def test_a_finished_run_is_a_learner_with_its_own_numbers(ran):
    tasks = library.tasks("glyphs", tasks=20)
    for folder in ran[1].folders:
        learner = library.load_run(folder)
        assert isinstance(learner, Learner)
        score = library.score(learner, tasks)
        assert score.correct.tolist() == kept(folder)
        assert score.transductive == ("maml" in str(folder))
        task = tasks[0]
        assert learner.predict(task.support[None], task.query[None]).shape == (1, 75, 5)
    with pytest.raises(library.BenchError, match=r"support must be a tensor \[T, N, K, C, H, W\]"):
        learner.predict(task.support, task.query)


def test_a_run_on_clusters_is_a_learner_too_though_it_embeds_all_images_again(cache, glyphs, tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_CACHE", str(cache))
    some = (*NET, "method.clusters=30", "method.partitions=1")
    found = library.run(
        "cactus-pixels-protonet-5way", budget="smoke", references=False, overrides=some, out=tmp_path, quiet=True
    )
    # As if it took long, so that it is told how far that is.
    monkeypatch.setattr(embeddings, "time", SimpleNamespace(monotonic=itertools.count().__next__))
    (folder,) = found.folders
    assert library.score(library.load_run(folder), "glyphs", tasks=20).correct.tolist() == kept(folder)


def test_the_encoder_of_a_run_is_a_module_that_answers_alike(ran):
    tasks = library.tasks("glyphs", tasks=20)
    pixels, protonet, maml = (library.load_run(folder).encoder for folder in ran[1].folders)
    assert maml is None
    assert torch.equal(pixels(tasks[0].query), tasks[0].query.flatten(1))
    assert isinstance(protonet, torch.nn.Module)
    assert protonet.state_dict()
    assert protonet(tasks[0].query).shape == (75, 32)
    # Mean or sum over the features is one order of distances.
    assert library.score(protonet, tasks).correct.tolist() == kept(ran[1].folders[1])


def test_what_is_no_finished_run_is_one_sentence(tmp_path):
    with pytest.raises(library.BenchError, match="is no folder of a run"):
        library.load_run(tmp_path)
    with pytest.raises(library.BenchError, match="no readable run"):
        library.results(tmp_path)
    with pytest.raises(library.BenchError, match="Did you mean 'umtra'"):
        library.run("umtr", quiet=True)
    with pytest.raises(library.BenchError, match="shots must be a list of whole numbers"):
        library.run("umtra", shots="1,5")


@pytest.mark.omniglot
@pytest.mark.skipif(
    not (Path(os.environ.get("BENCH_DATA", "/nowhere")) / "omniglot").is_dir(), reason="needs Omniglot in $BENCH_DATA"
)
def test_the_lines_of_the_readme(cache, tmp_path, monkeypatch, capsys):
    """Exactly these, at most ten of them, and the row stands on a board."""
    lines = [line for line in README.splitlines() if line.strip()]
    assert len(lines) <= 10
    for page in (Path(library.__file__).parent / "README.md", Path(library.__file__).parents[1] / "README.md"):
        said = [line.partition("  # 40.53")[0] for line in page.read_text().splitlines() if line.strip()]
        assert "\n".join(lines) in "\n".join(said), page
    monkeypatch.setenv("BENCH_CACHE", str(cache))
    monkeypatch.chdir(tmp_path)
    exec(compile(README, "README", "exec"), {})
    assert capsys.readouterr().out.startswith("40.53 ± 0.56 % on 1000 tasks of omniglot/test")
    frame = library.results("runs")
    assert frame["title"].tolist() == ["Pixel prototypes (external)"]
