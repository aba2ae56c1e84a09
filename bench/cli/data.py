"""``bench prepare`` and ``bench tasks``: images, and the sealed tasks as files that any code can read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.basics.errors import BenchError
from bench.cli import completing
from bench.cli.app import DataDir, DatasetOption, Offline, app, dataset_option, tasks_app
from bench.cli.asking import console, say, there, warn


@app.command()
def prepare(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="DATASET|SETTINGS",
            help="A name from 'bench list datasets'; and settings: dataset.size=84.",
            autocompletion=completing.options("dataset"),
        ),
    ] = None,
    dataset: Annotated[str | None, dataset_option("the one that is named")] = None,
    data_dir: DataDir = None,
    download: Annotated[bool, typer.Option("--download", help="Fetch the official files first.")] = False,
    offline: Offline = False,
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

    overrides = [word for word in words or () if "=" in word]
    named = [word for word in (*(words or ()), *([dataset] if dataset else ())) if "=" not in word]
    if len(set(named)) != 1:
        raise BenchError(f"name one dataset, for example 'bench prepare glyphs', not {', '.join(named) or 'none'}")
    name = named[0]
    with Reporter() as reporter:
        values = dataset_values(name, parse_overrides(overrides), None if download else there(data_dir))
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
        opened = open_dataset(values, default_cache(), reporter)
    channels, height, width = opened.image_shape
    for split in opened.splits.values():
        console().print(
            f"{opened.name} {split.name}: {len(split)} images of {len(split.class_names)} classes, "
            f"{height}x{width}x{channels}"
        )
    say(f"content {opened.content_hash[:16]}, prepared in {opened.folder}")
    warn(opened.warnings)


DatasetSettings = Annotated[
    list[str] | None, typer.Argument(metavar="SETTINGS", help="Of the dataset, as Hydra overrides: dataset.size=84.")
]
Shot = Annotated[int, typer.Option("--shot", "--shots", min=1, help="Support images per class, one number.")]
Way = Annotated[int, typer.Option("--way", "--ways", min=2, help="Classes per task, one number.")]
Query = Annotated[int, typer.Option(min=1, help="Queries per class.")]
Tasks = Annotated[int, typer.Option(min=1, help="How many.")]
SplitOption = Annotated[
    str, typer.Option(help="train, val or test.", autocompletion=completing.words("train", "val", "test"))
]
EvaluationSeed = Annotated[
    int, typer.Option("--evaluation-seed", "--seed", min=0, help="Of the draw of the tasks; no training seed.")
]


@tasks_app.command("export")
def tasks_export(
    to: Annotated[
        Path | None, typer.Argument(show_default="none", help="File to write (.parquet): the list of tasks.")
    ] = None,
    dataset: DatasetOption = None,
    shot: Shot = 1,
    way: Way = 5,
    query: Query = 15,
    tasks: Tasks = 1000,
    split: SplitOption = "test",
    seed: EvaluationSeed = 0,
    pixels: Annotated[
        Path | None,
        typer.Option(
            show_default="none", help="File to write (.npz or .safetensors): the images of support and queries."
        ),
    ] = None,
    labels: Annotated[bool, typer.Option("--labels", help="With --pixels: also the labels of the queries.")] = False,
    data_dir: DataDir = None,
    overrides: DatasetSettings = None,
) -> None:
    """Write evaluation tasks for other code: as a list of images, one row each, or with --pixels as arrays.

    The arrays are uint8, the queries shuffled as in every run; the metadata say how the images were made. 'bench tasks
    score' marks answers to them.

    Examples:

      bench tasks export omniglot-5way-1shot.parquet --dataset omniglot --data-dir DIR --shot 1

      bench tasks export --pixels omniglot-5way-1shot.npz --dataset omniglot --data-dir DIR --shot 1
    """
    from bench.basics.progress import Reporter
    from bench.contracts import TaskSpec
    from bench.datasets.prepare import default_cache
    from bench.planning.composing import dataset_values
    from bench.planning.overrides import parse_overrides
    from bench.running.inputs import open_dataset
    from bench.tasks.left_out import left_out
    from bench.tasks.manifest import check_size, draw

    if to is None and pixels is None:
        raise BenchError("nothing to write: name a file, tasks.parquet for the list or --pixels tasks.npz for arrays")
    if to is not None and to.suffix != ".parquet":
        raise BenchError(f"tasks are written as Parquet, so the name must end in .parquet, not {to.name!r}")
    if labels and pixels is None:
        raise BenchError("--labels goes with --pixels; a list of tasks has the classes of all images anyway")
    if pixels is not None:
        from bench.library.pixels import check_name

        check_name(pixels)
    spec = TaskSpec(way, shot, query)
    check_size(spec, tasks)
    values = dataset_values(dataset or "glyphs", parse_overrides(overrides or ()), there(data_dir))
    with Reporter() as reporter:
        opened = open_dataset(values, default_cache(), reporter)
    manifest = draw(opened, split, spec, tasks, seed)
    if to is not None:
        manifest.save(to, opened)
        say(f"wrote {to}: {tasks} tasks, {manifest.spec}, SHA-256 {manifest.sha256}")
    if pixels is not None:
        import torch

        from bench.library.pixels import write
        from bench.library.sealed import SealedTasks

        write(SealedTasks(opened, manifest, torch.device("cpu"), values["dataset"]), pixels, labels)
        say(f"wrote {pixels}: {tasks} tasks, {manifest.spec}, SHA-256 of the list {manifest.sha256}")
    warn((*opened.warnings, *left_out(opened, split, spec)))


@tasks_app.command("verify")
def tasks_verify(
    file: Annotated[Path, typer.Argument(help="A file written by 'bench tasks export' or 'bench run'.")],
    dataset: Annotated[str | None, dataset_option("as a list of tasks says; none for pixels")] = None,
    data_dir: DataDir = None,
    overrides: DatasetSettings = None,
) -> None:
    """Check that a list of tasks is whole and means the same images here, pixel for pixel.

    Of tasks with pixels (.npz, .safetensors) it is checked that they are whole, and with --dataset that the images
    prepared here are theirs.

    Example:

      bench tasks verify omniglot-5way-1shot.parquet --dataset omniglot --data-dir DIR
    """
    from bench.basics.progress import Reporter
    from bench.datasets.prepare import default_cache
    from bench.planning.catalogue import options
    from bench.planning.composing import dataset_values
    from bench.planning.overrides import parse_overrides
    from bench.running.inputs import open_dataset
    from bench.tasks.images import images_of
    from bench.tasks.manifest import load

    if file.suffix in (".npz", ".safetensors"):
        from bench.library.pixels import check_here, verify

        facts = verify(file)
        if dataset is not None:
            values = dataset_values(dataset, parse_overrides(overrides or ()), there(data_dir))
            with Reporter() as reporter:
                check_here(file, facts, open_dataset(values, default_cache(), reporter))
        here = " as the images here are" if dataset is not None else ""
        say(f"{file} is whole{here}: the pixels of {facts['tasks']} tasks, SHA-256 of the list {facts['manifest']}")
        return
    manifest = load(file)
    if dataset is None and manifest.dataset not in options("dataset"):
        raise BenchError(
            f"the tasks are of {manifest.dataset!r}; say with --dataset, and settings, how to read that here"
        )
    values = dataset_values(dataset or manifest.dataset, parse_overrides(overrides or ()), there(data_dir))
    with Reporter() as reporter:
        opened = open_dataset(values, default_cache(), reporter)
    manifest.verify(opened)
    found = images_of(opened, manifest.split, manifest.indices)
    say(f"{file} is whole: {manifest.tasks} tasks, {manifest.spec}, SHA-256 {manifest.sha256}")
    say(f"its {found.images} images are the same here: SHA-256 of their pixels {found.pixels}")


@tasks_app.command("score")
def tasks_score(
    answers: Annotated[Path, typer.Argument(help="Answers (.parquet or .csv): task, query, label, one row a query.")],
    dataset: DatasetOption = None,
    shot: Annotated[
        int, typer.Option("--shot", "--shots", min=1, help="Of the tasks; a column 'shot' says it for each row.")
    ] = 1,
    way: Way = 5,
    query: Query = 15,
    tasks: Tasks = 1000,
    split: SplitOption = "test",
    seed: EvaluationSeed = 0,
    data_dir: DataDir = None,
    save: Annotated[
        str | None, typer.Option(show_default="not kept", help="Keep it as a row of the board, under this name.")
    ] = None,
    title: Annotated[str | None, typer.Option(show_default="the name", help="With --save: what people read.")] = None,
    cite: Annotated[str, typer.Option(show_default="nobody", help="With --save: whom to cite.")] = "",
    supervised: Annotated[
        bool, typer.Option("--supervised", help="With --save: labels of the meta-train classes were used.")
    ] = False,
    side: Annotated[
        str,
        typer.Option(
            show_default="nothing", help="With --save: what else was used, comma-separated: outside-data,transduction."
        ),
    ] = "",
    meta_iterations: Annotated[
        int | None, typer.Option(min=0, show_default="unknown", help="With --save: how long it was meta-trained.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", "--runs", help="With --save: folder of run records.")] = Path("runs"),
    overrides: DatasetSettings = None,
) -> None:
    """Mark answers that other code gave to the tasks of 'bench tasks export --pixels' with the same options.

    query counts the queries of a task from 0 as they stand in the file, label the classes as they stand in support. A
    column 'manifest', the SHA-256 of the list in that file's metadata, makes sure that they answer these very tasks.

    Examples:

      bench tasks score answers.csv --dataset omniglot --data-dir DIR --shot 1

      bench tasks score answers.parquet --dataset omniglot --save my-model --title 'My model' --side outside-data
    """
    from bench.library import predictions
    from bench.library.sealed import sealed_tasks

    frame = predictions.read(answers)
    shots = sorted(set(frame[predictions.SHOT])) if predictions.SHOT in frame else [shot]
    for one in map(int, shots):
        sealed = sealed_tasks(
            dataset or "glyphs", way, one, query, split, tasks, seed, there(data_dir), overrides=overrides or ()
        )
        given = frame[frame[predictions.SHOT] == one] if predictions.SHOT in frame else frame
        found = predictions.score(given, sealed, answers.name)
        if predictions.MANIFEST not in frame:
            warn([predictions.UNNAMED])
        say(str(found))
        if save is not None:
            words = [word.strip() for word in side.split(",") if word.strip()]
            folder = found.save(
                out,
                method=save,
                title=title,
                cite=cite,
                supervised=supervised,
                side=words,
                meta_iterations=meta_iterations,
            )
            say(f"kept in {folder}")
