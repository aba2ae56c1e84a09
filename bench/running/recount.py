"""``python -m bench.running.recount RECORDS``: counts the images of trainings from before there was a count.

How many images pass through networks follows from the configuration, so it can be had without training: the method's
own code is carried out on the record's dataset with :mod:`bench.training.rehearsal`, which takes two steps of every
training and counts them as often as there were steps. What is measured in seconds cannot be had afterwards.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from bench.basics.errors import BenchError, Diverged
from bench.basics.seeds import Seed
from bench.contracts import Budget, Context, Method, TaskSpec
from bench.datasets.prepare import default_cache
from bench.datasets.source import Dataset
from bench.planning import catalogue, components
from bench.records.record import RunRecord, read_record, run_folders
from bench.records.scores import seal_folder
from bench.running.containment import contained
from bench.running.cost import cost_of_run
from bench.running.inputs import open_dataset
from bench.training.artifacts import ArtifactStore
from bench.training.checkpoint import Checkpoint
from bench.training.rehearsal import rehearsing
from bench.training.work import metered

AFTERWARDS = "afterwards, from the configuration"
"""``notes["cost"]["counted"]`` of what was not counted while it was trained."""


class Recounting:
    """Counts one record after another; what several rest on is rehearsed once, in the folder ``place``."""

    def __init__(self, place: Path, cache: Path, data_dir: Path | None = None) -> None:
        self.place, self.cache, self.data_dir = place, cache, data_dir
        self._datasets: dict[str, Dataset] = {}
        self._counted: dict[str, int | str] = {}

    def images(self, record: RunRecord) -> int:
        """Through networks in the training of a finished run. BenchError says why that cannot be known."""
        values = catalogue.of_today(record.config)
        key = _canonical([values[one] for one in sorted(values) if one not in _NO_TRAINING] + [record.precision])
        if key not in self._counted:
            try:
                self._counted[key] = self._rehearsed(record, values)
            except (BenchError, Diverged) as error:
                self._counted[key] = str(error)
        found = self._counted[key]
        if isinstance(found, str):
            raise BenchError(found)
        return found

    def _rehearsed(self, record: RunRecord, values: Mapping[str, Any]) -> int:
        dataset = self._dataset(record, values)
        device, budget = torch.device("cpu"), Budget(**values["budget"])
        store = ArtifactStore(self.place / "artifacts", record.precision)
        context = Context(
            seed=Seed(0),  # whatever the seed, the same number
            device=device,
            budget=budget,
            artifacts=store,
            checkpoint=Checkpoint(self.place / "none.safetensors"),
            progress=lambda *_: None,
        )
        split = dataset.splits["train"]
        images = split.labelled(device) if record.method.supervised else split.unlabelled(device)
        method: Method = components.build(values["method"], values)
        with contained(), rehearsing(), metered() as fitted:
            method.fit(images, TaskSpec(**values["train"]), context)
        found = cost_of_run(values, fitted.cost, store.used.values()).images
        if found is None:
            raise BenchError(
                "it rests on networks that somebody else trained or wrote, or the number of its steps depends on what "
                "it learned"
            )
        return found

    def _dataset(self, record: RunRecord, values: Mapping[str, Any]) -> Dataset:
        node = values["dataset"]
        if self.data_dir is not None and "data_dir" in node:
            node = {**node, "data_dir": str(self.data_dir)}
        key = _canonical(node)
        if key not in self._datasets:
            self._datasets[key] = open_dataset({**values, "dataset": node}, self.cache)
        if self._datasets[key].content_hash != record.dataset_hash:
            raise BenchError(f"the images of {record.dataset} here are not those of the record")
        return self._datasets[key]


_NO_TRAINING = frozenset({"evaluation_seed", "query", "shots", "split", "way", "ways"})


def recount(records: Path, counting: Recounting, say: Callable[[str], None]) -> tuple[int, int]:
    """Write the number into every finished record below ``records`` that has none, and seal it anew.

    Returns how many were counted and how many could not be. BenchError where there is no record at all.
    """
    counted = failed = 0
    folders = list(run_folders(records))
    if not folders:
        raise BenchError(f"there is no record below {records}; name a folder that holds DATASET/METHOD/SEED")
    for folder in folders:
        record, name = read_record(folder), folder.relative_to(records).as_posix()
        cost = record.notes.get("cost")
        if not record.done or (isinstance(cost, Mapping) and "images" in cost):
            continue
        try:
            images = counting.images(record)
        except BenchError as error:
            failed += 1
            say(f"{name}: not counted: {error}")
            continue
        seal_folder(folder, folder, partial(_with_images, images))
        counted += 1
        say(f"{name}: {images:,} images")
    return counted, failed


def _with_images(images: int, document: Mapping[str, Any]) -> Mapping[str, Any]:
    notes = document["notes"]
    cost = {**notes.get("cost", {}), "images": images, "counted": AFTERWARDS}
    return {**document, "notes": {**notes, "cost": cost}}


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def main(arguments: Sequence[str] | None = None) -> None:
    """A line for every record, on the standard output; exit code 2 for what the user can mend."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.running.recount",
        description="Count the images through networks in trainings from before they were counted.",
    )
    parser.add_argument("records", type=Path, help="folder of run records, which are changed in place")
    parser.add_argument("--data-dir", type=Path, help="folder with the raw data of datasets")
    chosen = parser.parse_args(arguments)

    def say(line: str) -> None:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()

    try:
        with tempfile.TemporaryDirectory(prefix="bench-recount-") as place:
            counting = Recounting(Path(place), default_cache(), chosen.data_dir)
            counted, failed = recount(chosen.records, counting, say)
    except BenchError as error:
        parser.error(str(error))
    say(f"{counted} records counted, {failed} cannot be")


if __name__ == "__main__":
    main()
