"""An encoder of the user's own, from one line on the command line to the leaderboard, and bad ones beside good ones."""

import json

from commands import TINY
from own_generators import SIDE, Seer, save_pt2

RUN = ("run", "--no-references", "--budget", "smoke", *TINY[:1], TINY[2])


def records(bench):
    """Family and words of a method -> its record."""
    found = (json.loads(path.read_text()) for path in bench.out.glob("*/*/*/run.json"))
    return {record["method"]["name"].split(",")[0]: record for record in found}


def test_a_file_and_an_object_run_from_one_line_to_the_leaderboard(bench):
    save_pt2(bench.folder / "my.pt2", Seer().eval(), shape=(1, SIDE, SIDE))
    (bench.folder / "my_code.py").write_text("def encode(x):\n    return x[:, :, ::4, ::4].flatten(1)\n")
    methods = "embedding-knn-file,cactus-file-protonet-5way,embedding-linear-object"
    own = ("encoder.path=my.pt2", "encoder.callable=my_code:encode")
    result = bench(*RUN, "--methods", methods, *own)
    assert "3 of 3 runs done" in result.stdout
    assert "Trained in part on images from outside the dataset: " in " ".join(result.stdout.split())
    found = records(bench)
    assert {record["method"]["outside_data"] for record in found.values()} == {True}
    by_file = found["embedding-knn-file"]
    assert by_file["notes"]["encoder"]["sha256"] == by_file["config"]["encoder"]["sha256"]
    assert by_file["method"]["name"].startswith("embedding-knn-file,encoder.path=my.pt2@")
    assert found["embedding-linear-object"]["notes"]["encoder"]["object"] == "my_code:encode"
    bench(*RUN, "--methods", "embedding-knn-object", own[1], "encoder.outside_data=false")
    assert records(bench)["embedding-knn-object"]["method"]["outside_data"] is False


def test_bad_embeddings_and_impossible_clusters_stop_no_other_method(bench):
    (bench.folder / "bad.py").write_text(
        "def maps(x):\n    return x\n\n"
        "def broken(x):\n    return x.flatten(1) / x.flatten(1).amax(1, keepdim=True).sub(0.9).clamp(min=0)\n"
    )
    own = ("encoder.callable=bad:maps",)
    result = bench(*RUN, "--methods", "embedding-knn-object,pixels", *own, code=1)
    assert "1 of 2 runs done" in result.stdout
    assert records(bench)["embedding-knn-object"]["status"] == "failed"
    reason = records(bench)["embedding-knn-object"]["reason"]
    assert "puts out [3, 1, 28, 28], not embeddings [n, d] with two dimensions; flatten them" in reason

    result = bench(*RUN, "--methods", "cactus-pixels-protonet,pixels", "method.clusters=99999", code=1)
    assert "1 of 2 runs done" in result.stdout
    record = records(bench)["cactus-pixels-protonet"]
    assert record["status"] == "failed"
    assert record["reason"].endswith("images cannot make 99999 clusters; lower method.clusters")

    small = ("method.partition=random", "method.clusters=20000")
    result = bench(*RUN, "--methods", "cactus-pixels-protonet-5way,pixels", *small, code=1)
    assert "1 of 2 runs done" in result.stdout
    record = records(bench)["cactus-pixels-protonet-5way"]
    assert record["status"] == "failed"
    assert "5-way tasks need 5 classes with at least 16 images each, but there are only 0" in record["reason"]
