"""An encoder of the user's own, from one line on the command line to the leaderboard, and bad ones beside good ones."""

import json
import os

from commands import TINY
from own_generators import SIDE, Seer, save_pt2

RUN = ("run", "--no-references", "--budget", "smoke", TINY[2])


def records(bench):
    """Family and words of a method -> its record."""
    found = (json.loads(path.read_text()) for path in bench.out.glob("*/*/*/run.json"))
    return {record["method"]["name"].split(",")[0]: record for record in found}


def test_a_file_and_an_object_run_from_one_line_to_the_leaderboard(bench):
    save_pt2(bench.folder / "my.pt2", Seer().eval(), shape=(1, SIDE, SIDE))
    (bench.folder / "my_code.py").write_text("def encode(x):\n    return x[:, :, ::4, ::4].flatten(1)\n")
    methods = "embedding-knn-file,cactus-file-protonet-5way,embedding-linear-object"
    own = ("encoder.path=my.pt2", "encoder.callable=my_code:encode")
    result = bench(*RUN, "--methods", methods, TINY[0], *own)
    assert "3 of 3 runs done" in result.stdout
    assert "Trained in part on images from outside the dataset: " in " ".join(result.stdout.split())
    found = records(bench)
    assert {record["method"]["outside_data"] for record in found.values()} == {True}
    by_file = found["embedding-knn-file"]
    assert by_file["notes"]["encoder"]["sha256"] == by_file["config"]["encoder"]["sha256"]
    assert by_file["method"]["name"].startswith("embedding-knn-file,encoder.path=my.pt2@")
    assert found["embedding-linear-object"]["notes"]["encoder"]["object"] == "my_code:encode"
    again = bench("plan", "--methods", "embedding-knn-object", "--no-references", own[1], "encoder.outside_data=false")
    assert "encoder.outside_data=False" in again.stdout


def test_a_change_in_the_package_behind_an_object_is_another_run(bench):
    package = bench.folder / "mypkg"
    package.mkdir()
    (package / "__init__.py").write_text("from mypkg.net import encode\n")
    request = (*RUN, "--methods", "embedding-knn-object", "encoder.callable=mypkg:encode")
    for step in (4, 2):
        (package / "net.py").write_text(f"def encode(x):\n    return x[:, :, ::{step}, ::{step}].flatten(1)\n")
        assert "1 of 1 run done" in bench(*request).stdout.replace("runs done", "run done")
    found = [json.loads(path.read_text()) for path in bench.out.glob("*/*/*/run.json")]
    assert sorted(one["notes"]["encoder"]["dim"] for one in found) == [49, 196]
    assert len({one["key"] for one in found}) == 2


def test_a_file_that_cannot_be_read_is_refused_before_anything_starts(bench):
    os.mkfifo(bench.folder / "pipe.pt2")
    (bench.folder / "zeros.pth").symlink_to("/dev/zero")
    for methods, setting, said in (
        ("embedding-knn-file", "encoder.path=pipe.pt2", "cannot read encoder file pipe.pt2: it is no file"),
        ("embedding-knn-file", f"encoder.path={'a' * 256}.pt2", "File name too long"),
        ("embedding-knn-vgg19", "encoder.weights=zeros.pth", "cannot read zeros.pth: it is no file"),
    ):
        assert said in bench.error(*RUN, "--methods", methods, setting)
    assert not bench.out.exists()


def test_bad_embeddings_and_impossible_clusters_stop_no_other_method(bench):
    (bench.folder / "bad.py").write_text(
        "def maps(x):\n    return x\n\n"
        "def means(x):\n    return x.mean(3).flatten(1)\n\n"
        "def nearly(x):\n"
        "    x = x.flatten(1)\n"
        "    return x / (x.sum(1, keepdim=True) > 6.5)\n"  # few images have so little ink that a probe would meet one
    )

    def stopped(methods, *settings):
        """The record of the first of two methods, after the other one went on."""
        result = bench(*RUN, "--methods", methods, *settings, code=1)
        assert "1 of 2 runs done" in result.stdout
        record = records(bench)[methods.split(",")[0]]
        assert "\n" not in record["reason"]
        return record["status"], record["reason"]

    status, reason = stopped("embedding-knn-object,chance", "encoder.callable=bad:maps")
    assert status == "failed"
    assert "puts out [3, 1, 28, 28], not embeddings [n, d] with two dimensions; flatten them" in reason
    status, reason = stopped("cactus-object-protonet,chance", "encoder.callable=bad:nearly")
    assert status == "diverged"
    assert "encoder ExternalEncoder: the embeddings of " in reason
    assert reason.endswith("images are not finite")
    status, reason = stopped("cactus-pixels-protonet,chance", "method.clusters=99999")
    assert status == "failed"
    assert reason.endswith("images cannot make 99999 clusters; lower method.clusters")
    status, reason = stopped("cactus-pixels-protonet-5way,chance", "method.partition=random", "method.clusters=20000")
    assert status == "failed"
    assert "5-way tasks need 5 classes with at least 16 images each, but there are only 0" in reason
    settings = ("encoder.callable=bad:means", "method.clusters=20", "method.members=9999", "method.max_retries=1")
    status, reason = stopped("cactus-object-maml,chance", *settings)
    assert status == "failed"
    assert "in 2 runs of k-means never more than 75 % of the 20 clusters had 9999 images" in reason
