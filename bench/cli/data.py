"""``bench prepare`` and ``bench tasks``: images, and the sealed tasks as files that any code can read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.basics.errors import BenchError
from bench.cli.app import DataDir, DatasetOption, Overrides, app, tasks_app
from bench.cli.asking import console, say, there, warn


@app.command()
def prepare(
    name: Annotated[str, typer.Argument(help="A name from 'bench list datasets'.")],
    data_dir: DataDir = None,
    download: Annotated[bool, typer.Option("--download", help="Fetch the official files first.")] = False,
    overrides: Overrides = None,
) -> None:
    """Prepare a dataset: read, resize and check its images once.

    Examples:

      bench prepare glyphs

      bench prepare omniglot --download --data-dir data

      bench prepare folder --data-dir photos dataset.name=photos dataset.size=84
    """
    from bench.basics.progress import Reporter
    from bench.datasets.prepare import default_cache
    from bench.planning.composing import dataset_values
    from bench.planning.overrides import parse_overrides
    from bench.running.inputs import open_dataset

    with Reporter() as reporter:
        values = dataset_values(name, parse_overrides(overrides or ()), None if download else there(data_dir))
        if download:
            from importlib import import_module

            from bench.planning.components import resolve

            target = data_dir or Path("data")
            module = import_module(resolve(values["dataset"]["_target_"]).__module__)
            fetch = getattr(module, "download", None)
            if fetch is None:
                raise BenchError(f"dataset {name!r} has no download; 'bench list datasets --long' says where to get it")
            fetch(target, progress=reporter)
            values["dataset"]["data_dir"] = str(target)
        dataset = open_dataset(values, default_cache(), reporter)
    channels, height, width = dataset.image_shape
    for split in dataset.splits.values():
        console().print(
            f"{dataset.name} {split.name}: {len(split)} images of {len(split.class_names)} classes, "
            f"{height}x{width}x{channels}"
        )
    say(f"content {dataset.content_hash[:16]}, prepared in {dataset.folder}")
    warn(dataset.warnings)


@tasks_app.command("export")
def tasks_export(
    to: Annotated[Path, typer.Argument(help="File to write (.parquet).")],
    dataset: DatasetOption = None,
    shot: Annotated[int, typer.Option(min=1)] = 1,
    way: Annotated[int, typer.Option(min=2)] = 5,
    query: Annotated[int, typer.Option(min=1, help="Queries per class.")] = 15,
    tasks: Annotated[int, typer.Option(min=1)] = 1000,
    split: Annotated[str, typer.Option(help="train, val or test.")] = "test",
    seed: Annotated[int, typer.Option(help="Evaluation seed.")] = 0,
    data_dir: DataDir = None,
    overrides: Overrides = None,
) -> None:
    """Write a list of evaluation tasks as Parquet: indices and file identities, one row an image.

    Example:

      bench tasks export omniglot-5way-1shot.parquet --dataset omniglot --data-dir DIR --shot 1
    """
    from bench.basics.progress import Reporter
    from bench.contracts import TaskSpec
    from bench.datasets.prepare import default_cache
    from bench.planning.composing import dataset_values
    from bench.planning.overrides import parse_overrides
    from bench.running.inputs import open_dataset
    from bench.tasks.left_out import left_out
    from bench.tasks.manifest import check_size, draw

    if to.suffix != ".parquet":
        raise BenchError(f"tasks are written as Parquet, so the name must end in .parquet, not {to.name!r}")
    spec = TaskSpec(way, shot, query)
    check_size(spec, tasks)
    values = dataset_values(dataset or "glyphs", parse_overrides(overrides or ()), there(data_dir))
    with Reporter() as reporter:
        opened = open_dataset(values, default_cache(), reporter)
    manifest = draw(opened, split, spec, tasks, seed)
    manifest.save(to)
    say(f"wrote {to}: {tasks} tasks, {manifest.spec}, SHA-256 {manifest.sha256}")
    warn((*opened.warnings, *left_out(opened, split, spec)))


@tasks_app.command("verify")
def tasks_verify(
    file: Annotated[Path, typer.Argument(help="A file written by 'bench tasks export' or 'bench run'.")],
    dataset: DatasetOption = None,
    data_dir: DataDir = None,
    overrides: Overrides = None,
) -> None:
    """Check that a list of tasks is whole and means the same images here.

    Example:

      bench tasks verify omniglot-5way-1shot.parquet --dataset omniglot --data-dir DIR
    """
    from bench.basics.progress import Reporter
    from bench.datasets.prepare import default_cache
    from bench.planning.catalogue import options
    from bench.planning.composing import dataset_values
    from bench.planning.overrides import parse_overrides
    from bench.running.inputs import open_dataset
    from bench.tasks.manifest import load

    manifest = load(file)
    if dataset is None and manifest.dataset not in options("dataset"):
        raise BenchError(
            f"the tasks are of {manifest.dataset!r}; say with --dataset, and settings, how to read that here"
        )
    values = dataset_values(dataset or manifest.dataset, parse_overrides(overrides or ()), there(data_dir))
    with Reporter() as reporter:
        manifest.verify(open_dataset(values, default_cache(), reporter))
    say(f"{file} is whole: {manifest.tasks} tasks, {manifest.spec}, SHA-256 {manifest.sha256}")
