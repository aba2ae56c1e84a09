"""From a request to the list of runs: which methods, with which settings, which of them are there already."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.basics.errors import BenchError
from bench.basics.keys import content_key
from bench.basics.precision import with_precision
from bench.planning import catalogue, components, composing, naming, overrides
from bench.planning.catalogue import Variant
from bench.planning.composing import Asked, RunConfig
from bench.planning.overrides import Override
from bench.planning.paper_layout import paper_layout
from bench.planning.unchanging import unchanging
from bench.records.record import RunRecord, folder_name, read_record


@dataclass(frozen=True, slots=True)
class Request:
    """What a user asks for. None means: as the experiment says, else the default."""

    methods: str | None = None
    dataset: str | None = None
    ways: tuple[int, ...] | None = None
    shots: tuple[int, ...] | None = None
    seeds: tuple[int, ...] = (0,)
    budget: str | None = None
    overrides: tuple[str, ...] = ()
    experiment: str | None = None
    references: bool = True
    """Whether to add the floors and ceilings that every leaderboard shows."""
    data_dir: str | None = None
    out: Path = Path("runs")
    rerun: bool = False
    """Begin every run anew; the records that are there are kept beside the new ones."""
    device: str = "auto"
    time_limit: float | None = None
    """Seconds a run may train; it ends with status ``timeout``, and goes on from its checkpoint when run again."""
    scratch: str | None = None
    """A folder on a disk of whichever machine a run is carried out on, see :class:`bench.running.job.Job`."""
    elsewhere: bool = False
    """Other machines carry it out: whether this one has a GPU is not asked."""


@dataclass(frozen=True, slots=True)
class PlannedRun:
    """One method trained once. Plain data: it travels to worker processes."""

    name: str
    title: str
    variant: Variant
    dataset: str
    budget: str
    seed: int
    key: str
    folder: Path
    values: Mapping[str, Any] = field(repr=False)
    unanswered: tuple[int, ...] = ()
    """Ways that were asked for, but not of this method: its learner cannot answer them."""
    anew: bool = False
    """Whether to begin it anew, whatever is there."""
    asked: Asked | None = None
    """What it was composed of."""

    def record(self) -> RunRecord | None:
        """What an earlier execution left, if anything. BenchError when it, or what it names, is damaged."""
        if not (self.folder / "run.json").exists():
            return None
        record = read_record(self.folder)
        if record.key != self.key:
            raise BenchError(f"{self.folder} holds the record of another run; move it away and run again")
        if record.done:
            from bench.records.scores import read_scores

            read_scores(self.folder, record)
        return record

    def status(self, manifests: Sequence[str], records: MutableMapping[Path, RunRecord] | None = None) -> str:
        """``cached``, ``evaluate`` (trained, some task lists missing), ``resume``, ``new``, ``starts anew`` (stopped,
        and it kept no checkpoint), or ``anew`` in spite of what is there. records: the record that was read is put
        there, by its folder.
        """
        if self.anew and self.folder.exists():
            return "anew"
        try:
            record = self.record()
        except BenchError:
            return "damaged"
        if record is not None and records is not None:
            records[self.folder] = record
        if record is not None and record.done:
            return "cached" if set(manifests) <= {one.manifest for one in record.evaluations} else "evaluate"
        if (self.folder / "weights.safetensors").exists():
            return "resume"
        stopped = record is not None and record.notes.get("resuming") == "starts anew"
        return "starts anew" if stopped else "new"


def run_configs(request: Request) -> list[RunConfig]:
    """Compose every configuration of a request, checking every name and value before anything runs."""
    with unchanging():
        return _run_configs(request)


def _run_configs(request: Request) -> list[RunConfig]:
    experiment: Mapping[str, Any] = {}
    if request.experiment:
        experiment = _experiment(request.experiment)
    dataset = request.dataset or experiment.get("dataset") or "glyphs"
    tasks = catalogue.raw("dataset", dataset).get("recommend", {}).get("tasks", {})
    budget = request.budget or experiment.get("budget") or "quick"
    catalogue.raw("budget", budget)
    shots = request.shots or tuple(experiment.get("shots") or tasks.get("shots") or (1,))
    if not shots or any(shot < 1 for shot in shots):
        raise BenchError(f"--shots takes numbers of at least 1, for example --shots 1,5, not {list(shots)}")
    user = overrides.parse_overrides(request.overrides)
    ways = _ways(request.ways, experiment, user)
    cells, shared, user = _experiment_rows(request.experiment, experiment, user, dataset)
    if request.methods or not experiment:
        # Methods chosen by hand keep the settings that the experiment's rows give them.
        rows = []
        for variant in catalogue.expand(request.methods or "", dataset):
            rows += [row for row in cells if row[0].name == variant.name] or [(variant, shared)]
    else:
        rows = cells
    if request.references and experiment.get("references", True):
        chosen = {variant.name for variant, _ in rows}
        rows += [(variant, shared) for variant in catalogue.references() if variant.name not in chosen]
    user = composing.spelled_out(user, [variant for variant, _ in rows], dataset, budget)
    chosen_values = overrides.sweep(user)
    for values in chosen_values:
        composing.check_overrides(values, [variant for variant, _ in rows], dataset, budget)
    composed = [
        composing.compose(
            variant,
            dataset,
            budget,
            list({o.key: o for o in [*own, *values]}.values()),
            ways=ways,
            shots=shots,
            data_dir=request.data_dir,
        )
        for variant, own in rows
        for values in chosen_values
    ]
    return list({(one.method_name, one.dataset_name, one.budget_name): one for one in composed}.values())


def _ways(asked: tuple[int, ...] | None, experiment: Mapping[str, Any], user: Sequence[Override]) -> tuple[int, ...]:
    """The numbers of classes that were asked for, ascending; none where the settings say it."""
    own = next((o for o in user if o.key == "way"), None)
    if asked is not None and own is not None:
        raise BenchError(f"--ways and {own.text!r} say the same thing twice; give one of them")
    ways = () if own is not None else asked or tuple(experiment.get("ways") or ())
    if any(way < 2 for way in ways):
        raise BenchError(f"--ways takes numbers of at least 2, for example --ways 5,20, not {list(ways)}")
    return tuple(sorted(set(ways)))


def _experiment_rows(
    name: str | None, experiment: Mapping[str, Any], user: list[Override], dataset: str
) -> tuple[list[tuple[Variant, list[Override]]], list[Override], list[Override]]:
    """(methods with the settings of their rows, settings that all share, the user's overrides that remain).

    The user's values of a setting that has a row for each of its values (``method.eps_sq=0,100``) replace those rows.
    """
    found = paper_layout(name.removeprefix("experiment/")) if name else None
    each = found.each if found is not None else None
    values: list[Any] = list(each.values) if each is not None else []
    if each is not None and (asked := next((o for o in user if o.key == each.setting), None)) is not None:
        values = list(overrides.values_of(asked))
        if not values:
            raise BenchError(f"{asked.text!r} gives no value; for example {each.setting}={each.values[0]}")
        overrides.check_values(each.setting, values, each.values[0])
        user = [o for o in user if o is not asked]

    def read(texts: Sequence[str]) -> list[Override]:
        told = [text.replace("{values}", ",".join(map(str, values))) for text in texts]
        return [Override(text.partition("=")[0], text) for text in told]

    shared = read(experiment.get("overrides", ()))
    rows = [
        (variant, shared + read(row.get("overrides", ())))
        for row in experiment.get("rows", ())
        for variant in catalogue.expand(row["methods"], dataset)
    ]
    if found is not None:
        for cell in (cell for row in found.cells(values) for cell in row):
            rows += [(variant, shared + read(cell.overrides)) for variant in cell.variants()]
    # Rows that need something of the user's own, such as weights, are left out where it is not given.
    given = {o.key for o in user}
    able = [row for row in rows if given.union(o.key for o in row[1]).issuperset(row[0].own)]
    if rows and not able:
        needed = sorted({key for variant, _ in rows for key in variant.own} - given)
        wanted = " and ".join(f"{key}=…" for key in needed)
        raise BenchError(f"every row of {name} needs a setting that is yours to give: {wanted}")
    return able, shared, user


def planned_runs(
    configs: Sequence[RunConfig], content_hash: str, seeds: Sequence[int], out: Path, anew: bool = False
) -> list[PlannedRun]:
    """Every configuration with every training seed, in an order that trains shared artifacts once."""
    runs = []
    for seed in seeds:
        for one in configs:
            place = naming.folder(out, (one.dataset_name, one.method_name))
            key = run_key(one, content_hash, seed)
            runs.append(
                PlannedRun(
                    name=one.method_name,
                    title=one.title,
                    variant=one.variant,
                    dataset=one.dataset_name,
                    budget=one.budget_name,
                    seed=seed,
                    key=key,
                    folder=place / folder_name(seed, key),
                    values=one.values,
                    unanswered=one.unanswered,
                    anew=anew,
                    asked=one.asked,
                )
            )
    return runs


def run_key(one: RunConfig, content_hash: str, seed: int) -> str:
    """SHA-256 of everything that can change the trained learner or how it answers."""
    values = one.values
    used = components.used_groups(values)
    budget = {
        name: values["budget"][name]
        for name, group in (
            ("meta_iterations", "learner"),
            ("generator_epochs", "generator"),
            ("encoder_epochs", "encoder"),
        )
        if group in used
    }
    facts = {
        "method": components.component_settings(values["method"], values),
        "supervised": one.variant.supervised,
        "dataset": content_hash,
        "train": values["train"],
        "budget": budget,
        # Rows of different budgets stand apart, also those of methods on which a budget has no effect.
        "budget_name": one.budget_name,
        "seed": seed,
    }
    return content_key(with_precision(facts, values["precision"]))


def _experiment(name: str) -> dict[str, Any]:
    name = name.removeprefix("experiment/")
    found = catalogue.raw("experiment", name)
    for row in found.get("rows", ()):
        if not isinstance(row, Mapping) or "methods" not in row:
            raise BenchError(f"every row of configs/experiment/{name}.yaml needs 'methods'")
    return found
