"""The ``bench run`` lines that make the runs of a table again. All of it is read off their records.

A record says the exact method with the settings that were changed, the budget and the dataset likewise; settings that
make no run another row (how many tasks it answers, say) are compared with what the named budget and dataset give.
"""

from __future__ import annotations

import re
import shlex
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from bench.leaderboard.loading import Frames
from bench.leaderboard.score_table import EvaluationSet
from bench.leaderboard.table import Table
from bench.leaderboard.trainings import changes
from bench.planning import catalogue
from bench.planning.catalogue import Variant
from bench.planning.values import same, setting
from bench.planning.yaml_files import read_yaml

NAME = r"[\w.-]+"
"""What methods, budgets and datasets can be called on the command line."""

UNNAMED_BUDGET = ("validate_every", "validation_tasks")
UNNAMED_DATASET = ("name", "path", "splits")


@dataclass(frozen=True, slots=True)
class _Shared:
    """What runs must have in common to be made by one command."""

    dataset: str
    data_dir: bool
    budget: str
    overrides: tuple[str, ...]
    ways: tuple[int, ...]


def commands(table: Table, frames: Frames, known: Mapping[str, Variant] | None = None) -> tuple[str, ...]:
    """One line for all runs of ``table`` with the same settings, ways, shots and seeds; in the order of its rows.

    ``known``: all methods by their exact names, for callers that ask often; they are looked up otherwise.

    A file of the user's own has its bare name. A run whose method or budget has a name that cannot be typed has no
    line: ``bench run`` did not make it.
    """
    asked: dict[_Shared, dict[tuple[str, int], set[int]]] = defaultdict(lambda: defaultdict(set))
    runs, answered = frames.facts, frames.answered
    known = catalogue.variants() if known is None else known
    for run in (run for row in table.rows for run in row.runs):
        if not _can_be_typed(runs[run]):
            continue
        method, seed = str(runs[run]["method"]).partition(",")[0], int(runs[run]["seed"])
        for ways, shots, tasks in _requests(s for s in table.manifests.values() if (run, s.manifest) in answered):
            asked[_shared(runs[run], tasks, ways, known)][method, seed] |= shots
    return tuple(
        _line(shared, methods, shots, seeds)
        for shared, found in asked.items()
        for (shots, seeds), methods in _blocks(found).items()
    )


def _requests(answered: Iterable[EvaluationSet]) -> Iterator[tuple[tuple[int, ...], set[int], EvaluationSet]]:
    """(ways, shots, some tasks of the smallest way): ways are in one request where they have the same shots."""
    by_count: dict[int, dict[int, list[EvaluationSet]]] = defaultdict(lambda: defaultdict(list))
    for one in answered:
        by_count[one.tasks][one.way].append(one)
    for of_way in by_count.values():
        shots = {way: {one.shot for one in sets} for way, sets in of_way.items()}
        alike = all(found == shots[min(shots)] for found in shots.values())
        for ways in [tuple(sorted(shots))] if alike else [(way,) for way in shots]:
            yield ways, shots[ways[0]], of_way[ways[0]][0]


def _can_be_typed(run: Mapping[str, Any]) -> bool:
    if run["config"].get("external"):  # only its scores came here
        return False
    groups = (run["config"].get(name) for name in (*catalogue.groups(), "train"))
    whole = all(group is None or isinstance(group, Mapping) for group in groups)
    return whole and all(re.fullmatch(NAME, str(run[name]).partition(",")[0]) for name in ("method", "budget"))


def _blocks(found: Mapping[tuple[str, int], set[int]]) -> dict[tuple[tuple[int, ...], tuple[int, ...]], list[str]]:
    """(method, seed) -> shots, as (shots, seeds) -> methods: a command makes every method with each of its seeds."""
    seeds: dict[tuple[str, tuple[int, ...]], list[int]] = defaultdict(list)
    for (method, seed), shots in found.items():
        seeds[method, tuple(sorted(shots))].append(seed)
    blocks: dict[tuple[tuple[int, ...], tuple[int, ...]], list[str]] = defaultdict(list)
    for (method, answered), trained in seeds.items():
        blocks[answered, tuple(sorted(trained))].append(method)
    return blocks


def _line(shared: _Shared, methods: Iterable[str], shots: Iterable[int], seeds: Iterable[int]) -> str:
    words = ["bench", "run", "--dataset", shared.dataset]
    words += ["--data-dir", "DIR"] if shared.data_dir else []
    words += ["--methods", ",".join(methods)]
    words += ["--ways", ",".join(map(str, shared.ways))] if len(shared.ways) > 1 else []
    words += ["--shots", ",".join(map(str, shots)), "--seeds", ",".join(map(str, seeds))]
    words += ["--budget", shared.budget, "--no-references", *shared.overrides]
    return " ".join(map(_quoted, words))


def _quoted(word: str) -> str:
    """As a shell reads it, on one line: what cannot be printed is written as ``$'\\x1b'``."""
    if word.isprintable():
        return shlex.quote(word)
    data = word.encode("utf-8", "surrogateescape" if _from_bytes(word) else "backslashreplace")
    return "$'" + "".join(chr(b) if 32 <= b < 127 and b not in b"'\\" else f"\\x{b:02x}" for b in data) + "'"


def _from_bytes(word: str) -> bool:
    return all("\udc80" <= c <= "\udcff" for c in word if "\ud800" <= c <= "\udfff")


def _shared(
    run: Mapping[str, Any], tasks: EvaluationSet, ways: tuple[int, ...], known: Mapping[str, Variant]
) -> _Shared:
    """tasks: some of the smallest of ``ways``."""
    config: Mapping[str, Any] = run["config"]
    dataset, budget = _dataset(str(run["dataset"]), config), str(run["budget"]).partition(",")[0]
    told = {f"dataset.{key}": text for key, text in changes(str(run["dataset"]), config).items()}
    told |= {f"budget.{key}": text for key, text in changes(str(run["budget"]), config).items()}
    told |= {_whole(key, config): text for key, text in changes(str(run["method"]), config).items()}
    named = {key: _value(key, text, config) for key, text in told.items()}
    fixed = _fixed(known.get(str(run["method"]).partition(",")[0]), budget)
    options = _options(told, fixed, config)
    asked = _tasks(dataset, budget, fixed, tasks, config)
    if len(ways) > 1:
        asked.pop("way", None)
    rest = {**options, **asked, **_unnamed(dataset, budget, config)}
    settings = {**{key: value for key, value in rest.items() if key not in named}, **named}
    return _Shared(
        dataset=dataset,
        data_dir="data_dir" in (config.get("dataset") or {}),
        budget=budget,
        # Components before their settings, for people; the program takes any order.
        overrides=tuple(f"{key}={settings[key]}" for key in sorted(settings, key=lambda key: ("." in key, key))),
        ways=ways,
    )


def _dataset(name: str, config: Mapping[str, Any]) -> str:
    """The dataset as ``--dataset`` takes it: records have the name that its images were given (``dataset.name``)."""
    base, target = name.partition(",")[0], setting(config, "dataset._target_")
    known = {option: catalogue.raw("dataset", option) for option in catalogue.options("dataset")}
    if target is None or known.get(base, {}).get("_target_") == target:
        return base
    alike = [option for option, values in known.items() if values.get("_target_") == target]
    return min(alike, key=lambda option: len(_differing("dataset", known[option], config)), default=base)


def _whole(key: str, config: Mapping[str, Any]) -> str:
    """The key of an override: names leave out ``method.``."""
    head, dot, _ = key.partition(".")
    if dot:
        complete = head in config
    else:
        complete = key in catalogue.groups() or (key == "precision" and key not in (config.get("method") or {}))
    return key if complete else f"method.{key}"


def _value(key: str, text: str, config: Mapping[str, Any]) -> str:
    """As Hydra reads it. The record has the value itself, its name only what that looks like."""
    if key in catalogue.groups():
        return text
    found = setting(config, key)
    if found is None:
        return text
    head, _, rest = key.partition(".")
    return hydra_text(PurePath(str(found)).name if setting(config, f"{head}.own") == rest else found)


def hydra_text(value: Any) -> str:
    """A value in the grammar of Hydra's overrides."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{','.join(map(hydra_text, value))}]"
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{hydra_text(item)}" for key, item in value.items()) + "}"
    if not isinstance(value, str):
        return str(value)
    if re.fullmatch(r"[A-Za-z_][\w./-]*", value) and value.lower() not in ("true", "false", "null", "nan", "inf"):
        return value
    # Backslashes count as such except before a quote.
    return "'" + re.sub(r"(\\*)('|$)", lambda found: 2 * found[1] + ("\\'" if found[2] else ""), value) + "'"


def _fixed(variant: Variant | None, budget: str) -> dict[str, str]:
    """What the names of a method and a budget set already; nothing for names that this installation does not have."""
    recommended = catalogue.raw("budget", budget).get("recommend", ()) if budget in catalogue.options("budget") else ()
    texts = (*recommended, *(variant.overrides if variant is not None else ()))
    return dict(text.split("=", 1) for text in texts)


def _options(told: Mapping[str, str], fixed: Mapping[str, str], config: Mapping[str, Any]) -> dict[str, str]:
    """Settings of a component chosen by hand that are not its own defaults: a name leaves out what has the value
    that the component before had.
    """
    found: dict[str, str] = {}
    for group, option in told.items():
        if group in catalogue.groups() and option in catalogue.options(group):
            differing = _differing(group, catalogue.raw(group, option), config)
            found |= {key: value for key, value in differing.items() if key not in fixed}
    return found


def _differing(group: str, defaults: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, str]:
    """``group.key`` -> value, where a record has another than the YAML; interpolations and null are left aside."""
    recorded: Mapping[str, Any] = config.get(group) or {}
    return {
        f"{group}.{key}": hydra_text(recorded[key])
        for key, default in defaults.items()
        if key not in catalogue.RESERVED and key in recorded and not isinstance(default, Mapping)
        if default is not None and "${" not in str(default) and not _alike(recorded[key], default)
    }


def _tasks(
    dataset: str, budget: str, fixed: Mapping[str, str], tasks: EvaluationSet, config: Mapping[str, Any]
) -> dict[str, str]:
    """Which tasks were answered, where the names of dataset and budget do not say it."""
    defaults = dict(read_yaml(catalogue.config_folders()[0] / "config.yaml"))
    known = dataset in catalogue.options("dataset")
    recommended = catalogue.raw("dataset", dataset).get("recommend", {}).get("tasks", {}) if known else {}
    given = {"way": tasks.way, "query": tasks.query, "split": tasks.split}
    given["evaluation_seed"] = config.get("evaluation_seed", defaults["evaluation_seed"])
    found = {
        key: hydra_text(value) for key, value in given.items() if not _alike(value, recommended.get(key, defaults[key]))
    }
    # Training tasks have as many classes as those that are answered, unless something says otherwise.
    trained = setting(config, "train.way")
    if trained is not None and not _alike(trained, fixed.get("train.way", recommended.get("train.way", tasks.way))):
        found["train.way"] = str(trained)
    if budget in catalogue.options("budget"):
        planned = catalogue.raw("budget", budget).get("evaluation_tasks")
        if not _alike(planned, tasks.tasks):
            found["budget.evaluation_tasks"] = str(tasks.tasks)
    return found


def _unnamed(dataset: str, budget: str, config: Mapping[str, Any]) -> dict[str, str]:
    """Other settings that names leave out, where they are not those of the budget and the dataset."""
    found: dict[str, str] = {}
    for group, name, keys in (("budget", budget, UNNAMED_BUDGET), ("dataset", dataset, UNNAMED_DATASET)):
        defaults = catalogue.raw(group, name) if name in catalogue.options(group) else {}
        for key in keys:
            value = setting(config, f"{group}.{key}")
            if key in defaults and value is not None and not _alike(value, defaults[key]):
                shown = PurePath(value).name if key in ("path", "splits") and isinstance(value, str) else value
                found[f"{group}.{key}"] = hydra_text(shown)
    return found


def _alike(a: Any, b: Any) -> bool:
    return bool(a == b) if isinstance(a, list | Mapping) or isinstance(b, list | Mapping) else same(a, b)
