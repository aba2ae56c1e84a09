"""The classifiers on an embedding, through the command line."""

import json

from commands import scores


def test_the_family_runs_its_headline_and_neighbours_of_pixels_are_the_reference_row(bench):
    settings = ("classifier.clusters=20", "classifier.max_iter=5", "classifier.epochs=3", "classifier.units=8")
    settings += ("encoder.depth=2", "encoder.latent=2", "encoder.batch_size=512")
    request = ("run", "--methods", "embedding,embedding-knn-pixels,pixels", "--no-references", "--budget", "smoke")
    bench(*request, *settings, "budget.evaluation_tasks=20")
    records = {path.parent.parent.name: json.loads(path.read_text()) for path in bench.out.glob("*/*/*/run.json")}
    assert {record["status"] for record in records.values()} == {"done"}
    titles = {record["method"]["title"].split(",")[0] for record in records.values()}
    assert {"Nearest neighbours", "Linear classifier", "MLP with dropout", "Cluster matching"} <= titles
    [cluster] = [record for name, record in records.items() if "cluster-acai" in name]
    assert cluster["notes"]["classifier"]["chosen"] == "fixed in the configuration"
    assert cluster["notes"]["classifier"]["clusters"] == 20
    assert list(cluster["notes"]["artifacts"]) == ["encoder-acai", "encoder-kmeans"]
    assert sum(name.split(",")[0].endswith("-acai") for name in records) == 4
    assert cluster["timings"]["encoder"] > 0
    trained = max(records.values(), key=lambda record: record["timings"]["total"])
    parts = {name: seconds for name, seconds in trained["timings"].items() if name != "total"}
    assert {"encoder", "fit", "evaluate"} <= set(parts)
    assert sum(parts.values()) <= trained["timings"]["total"], "no part of a training is counted twice"
    found = scores(bench.out)
    assert (found["embedding-knn-pixels"]["correct"] == found["pixels"]["correct"]).all()
