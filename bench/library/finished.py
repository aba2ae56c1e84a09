"""Runs from Python: execute a request, read the results, take a finished run as a learner."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from rich.console import Console
from torch import Tensor, nn

from bench.backbones import EmbeddingBackbone
from bench.basics.errors import BenchError
from bench.basics.progress import Reporter
from bench.contracts import Encoder, Learner
from bench.datasets.prepare import default_cache
from bench.leaderboard.loading import Frames, load
from bench.leaderboard.selection import select
from bench.leaderboard.table import build
from bench.learners.protonet import ProtoNetLearner
from bench.library.sealed import raw_data
from bench.planning import catalogue
from bench.planning.plan import Request
from bench.planning.values import ways_of
from bench.records.record import RunRecord, read_record
from bench.reporting.csv import score_frame
from bench.running import session
from bench.running.environment import resolve_device
from bench.running.inputs import open_dataset
from bench.running.precision import check_precision_of, computing_in
from bench.running.rescore import check_trained_here, kept_learners


@dataclass(frozen=True, eq=False)
class FinishedRun:
    """A :class:`bench.contracts.Learner` from the kept weights of a run; made by :func:`load_run`."""

    record: RunRecord
    learners: dict[int, Learner]
    """Way -> who answers tasks of so many classes."""
    device: torch.device

    @property
    def transductive(self) -> bool:
        """Whether its answer to a query may depend on the other queries of the task."""
        return next(iter(self.learners.values())).transductive

    def learner(self, way: int) -> Learner:
        """Who answers tasks of ``way`` classes: usually one and the same learner for all."""
        return self.learners.get(way, self.learners[min(self.learners)])

    def predict(self, support: Tensor, query: Tensor) -> Tensor:
        """support [T, N, K, C, H, W] and queries [T, M, C, H, W], in [0, 1] -> scores [T, M, N], higher is likelier."""
        for name, images, axes in (("support", support, 6), ("query", query, 5)):
            if not isinstance(images, Tensor) or images.ndim != axes:
                got = list(images.shape) if isinstance(images, Tensor) else type(images).__name__
                wanted = "[T, N, K, C, H, W]" if axes == 6 else "[T, M, C, H, W]"
                raise BenchError(f"{name} must be a tensor {wanted}, not {got}")
        with computing_in(self.record.precision):
            return self.learner(support.shape[1]).predict(support.to(self.device), query.to(self.device))

    @property
    def encoder(self) -> nn.Module | None:
        """Images [B, C, H, W] in [0, 1] -> embeddings [B, d], frozen: of ProtoNets, and of classifiers on an embedding.
        None where answers do not come from an embedding (MAML), or from one that depends on the batch.
        """
        found = self.learner(min(self.learners))
        if isinstance(found, ProtoNetLearner):
            return None if found.transductive else _ProtoNetEmbedding(found)
        encoder = getattr(found, "encoder", None)
        if isinstance(encoder, nn.Module):
            return encoder
        return _Embedding(encoder) if isinstance(encoder, Encoder) else None


class _Embedding(nn.Module):
    """An encoder of ours as a module; has no parameters of its own."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.source, self.dim = encoder, encoder.dim

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        return self.source.encode(images)


class _ProtoNetEmbedding(nn.Module):
    """The network of ProtoNets; its trained tensors are buffers, so that ``to`` and ``state_dict`` know them."""

    def __init__(self, learner: ProtoNetLearner) -> None:
        super().__init__()
        self.backbone: EmbeddingBackbone = learner.backbone
        self.places = {name: name.replace(".", "_") for name in (*learner.params, *learner.buffers)}
        self.trained = tuple(learner.params)
        for name, value in {**learner.params, **learner.buffers}.items():
            self.register_buffer(self.places[name], value.detach().clone())

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        tensors: dict[str, Tensor] = {name: self.get_buffer(place) for name, place in self.places.items()}
        params = {name: tensors.pop(name) for name in self.trained}
        return self.backbone.embed(params, tensors, images).reshape(len(images), -1)


def load_run(folder: str | Path, data_dir: str | Path | None = None, device: str = "cpu") -> FinishedRun:
    """The learner of a finished run, ``load_run("runs/omniglot/umtra-protonet/0-1a2b3c4d")``; nothing is trained.

    The dataset is opened, and prepared if need be (``data_dir``, by default ``$BENCH_DATA``). BenchError where the run
    is not finished or damaged, or its weights, its dataset or its code are not here.
    """
    place = Path(folder)
    if not (place / "run.json").is_file():
        raise BenchError(f"{place} is no folder of a run: it has no run.json; 'bench plan' shows where runs are")
    record = read_record(place)
    if not record.done:
        raise BenchError(f"{place} is not finished ({record.status}: {record.reason}); run it again")
    check_trained_here(record)
    values: dict[str, Any] = catalogue.of_today(record.config)
    if (raw := raw_data(data_dir)) is not None and "data_dir" in values["dataset"]:
        values["dataset"] = {**values["dataset"], "data_dir": str(raw)}
    home = resolve_device(device)
    check_precision_of(home, record.precision)
    dataset = open_dataset(values, default_cache())
    if dataset.content_hash != record.dataset_hash:
        raise BenchError(f"the images of {dataset.name} here are not those of the record")
    artifacts = place.absolute().parents[2] / "artifacts"
    with tempfile.TemporaryDirectory() as copies, computing_in(record.precision):
        for path in place.glob("weights*.safetensors"):  # nothing of the run itself can be changed
            shutil.copy2(path, copies)
        who = kept_learners(record, values, dataset, Path(copies), artifacts, home)
        return FinishedRun(record, {way: who(way) for way in ways_of(values)}, home)


@dataclass(frozen=True, eq=False)
class Results:
    """What :func:`run` returns."""

    frame: pd.DataFrame
    """One line per method, way and shot, as :func:`results` has it, of this request's runs; empty where none ended."""
    folders: tuple[Path, ...]
    """Of the finished runs, in the order of the request; :func:`load_run` takes one."""
    unfinished: tuple[str, ...]
    """A sentence for each run that did not finish."""


def run(
    methods: str | Sequence[str],
    dataset: str | None = None,
    *,
    ways: Sequence[int] | None = None,
    shots: Sequence[int] | None = None,
    seeds: Sequence[int] = (0,),
    budget: str | None = None,
    overrides: Sequence[str] = (),
    references: bool = True,
    data_dir: str | Path | None = None,
    out: str | Path = "runs",
    device: str = "auto",
    workers: int = 1,
    quiet: bool = False,
) -> Results:
    """What ``bench run`` does, with the same arguments: ``bench.run("umtra,lasium", "omniglot", shots=[1, 5])``.

    Finished runs are not run again, interrupted ones go on from their checkpoint. Progress goes to stderr unless
    ``quiet``. With several ``workers`` a script must call it below ``if __name__ == "__main__":``, as all programs with
    processes must.
    """
    if workers < 1:
        raise BenchError(f"workers must be at least 1, not {workers!r}")
    raw = raw_data(data_dir)
    request = Request(
        methods=methods if isinstance(methods, str) else ",".join(methods),
        dataset=dataset,
        ways=_numbers("ways", ways),
        shots=_numbers("shots", shots),
        seeds=_numbers("seeds", seeds) or (0,),
        budget=budget,
        overrides=tuple(overrides),
        references=references,
        data_dir=None if raw is None else str(raw),
        out=Path(out),
        device=device,
    )
    with Reporter(Console(stderr=True, quiet=quiet)) as reporter:
        ready = session.prepare(request, default_cache(), reporter, workers)
        outcomes = session.execute(ready, reporter, workers)
    folders = tuple(one.run.folder for one in outcomes if one.status == "done")
    unfinished = tuple(
        f"{one.run.name}, seed {one.run.seed}: {one.status}: {one.reason}" for one in outcomes if one.status != "done"
    )
    if not folders:
        return Results(pd.DataFrame(), folders, unfinished)
    return Results(_frame(select(load(request.out), folders, set(ready.manifests.values()))), folders, unfinished)


def results(out: str | Path = "runs") -> pd.DataFrame:
    """The leaderboard of a folder of runs as a tidy frame: one line per row, way and shot, fractions in [0, 1].

    The columns are those of ``leaderboard.csv``, see :data:`bench.reporting.csv.SCORE_FIELDS`. BenchError where there
    is no finished run.
    """
    return _frame(load(Path(out)))


def _frame(frames: Frames) -> pd.DataFrame:
    return score_frame(build(frames), frames)


def _numbers(name: str, given: Any) -> tuple[int, ...] | None:
    if given is None:
        return None
    if isinstance(given, str) or not all(isinstance(one, int) and not isinstance(one, bool) for one in given):
        raise BenchError(f"{name} must be a list of whole numbers, for example {name}=[1, 5], not {given!r}")
    return tuple(given)
