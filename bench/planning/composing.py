"""From names and overrides to a checked configuration."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.basics.errors import BenchError, did_you_mean
from bench.basics.precision import check_precision
from bench.planning import catalogue, code
from bench.planning.catalogue import RESERVED, Variant
from bench.planning.components import check_choices, resolve, used_groups
from bench.planning.merging import check_schema, composed
from bench.planning.naming import UNPREFIXED, check_dataset_name, row_name
from bench.planning.overrides import FLAGS, UNNAMED, Override, as_float, check_finite, check_type
from bench.planning.places import OWN_PACKAGES
from bench.planning.values import setting


@dataclass(frozen=True, slots=True)
class Asked:
    """What :func:`compose` was told: it gives the same again, without the request that it was part of."""

    method: str
    """An exact name."""
    dataset: str
    budget: str
    overrides: tuple[str, ...]
    """Those that apply to it."""
    ways: tuple[int, ...] = ()
    shots: tuple[int, ...] = (1,)
    data_dir: str | None = None


@dataclass(frozen=True, slots=True)
class RunConfig:
    """A composed configuration, and the names it goes by in records."""

    variant: Variant
    values: Mapping[str, Any]
    method_name: str
    title: str
    dataset_name: str
    budget_name: str
    unanswered: tuple[int, ...] = ()
    """Ways that were asked for, but not of this method: its learner cannot answer them."""
    asked: Asked | None = field(default=None, compare=False)


def compose(
    variant: Variant,
    dataset: str,
    budget: str,
    overrides: Sequence[Override] = (),
    *,
    ways: Sequence[int] = (),
    shots: Sequence[int] = (1,),
    data_dir: str | None = None,
) -> RunConfig:
    """The configuration of one method on one dataset, with those ``overrides`` that apply to it.

    An override of a setting that this method does not have is left out (another method of the same command may have
    it; :func:`check_overrides` refuses one that fits none). Raises BenchError for a value of the wrong type.

    ways: numbers of classes; none is as the settings say. The smallest of several is the ``way``, after which training
    tasks are made unless ``train.way`` says otherwise, so that tasks of more classes are another evaluation of a run
    and not another run.
    """
    if ways:
        overrides = [*(o for o in overrides if o.key != "way"), Override("way", f"way={min(ways)}")]
    fixed = _fixed(variant)
    base = _base(variant, dataset, budget)
    for override in overrides:
        if override.key in fixed and override.value != fixed[override.key].value and not variant.reference:
            raise BenchError(f"{override.text!r}: the name {variant.name!r} fixes {fixed[override.key].text}")
    overrides = [o for o in overrides if o.key not in fixed]
    used = used_groups(composed(base.values()))
    chosen = [o for o in overrides if o.is_group and o.key in used]
    staged = composed({**base, **{o.key: o for o in chosen}}.values())
    used = used_groups(staged)
    # What a budget recommends ranks below every other setting, and applies to the methods that have it.
    mine = OWN_PACKAGES if catalogue.is_own("budget", budget) else ()
    budget_values = [
        o for o in _recommended_by_budget(budget) if _applies(o, staged, used) and _meant_for(o, staged, mine)
    ]
    before = composed({**base, **{o.key: o for o in budget_values}}.values())
    applied = [o for o in overrides if (o.is_group and o.key in used) or (not o.is_group and _applies(o, staged, used))]
    for override in applied:
        if not override.is_group:
            check_type(override, staged)
    values = composed({**base, **{o.key: o for o in [*chosen, *budget_values, *applied]}}.values())
    values["budget"].pop("recommend", None)
    for override in applied:
        as_float(override.key, values, before)
        check_finite(override, values)
    check_precision(values["precision"])
    values["shots"] = list(shots)
    if len(ways) > 1:
        values["ways"] = sorted(ways)
    check_dataset_name(dataset, values["dataset"])
    if data_dir is not None and "data_dir" in values["dataset"]:
        values["dataset"]["data_dir"] = data_dir
    for group in sorted(used):
        _pin(group, values, variant)
        _settle_outside_data(values[group], dataset)
    for group in sorted({*used, "method"}):
        code.pin(values[group])
    if variant.group != "ceiling" and any(values[group].get("card", {}).get("outside_labels") for group in used):
        variant = dataclasses.replace(variant, group="transfer")
    for group in catalogue.groups():
        if group not in used | {"dataset", "budget", "method"}:
            values.pop(group, None)
    check_schema(values)
    pinned = {f"{group}.sha256" for group in used if values[group].get("own")}  # shown beside what it is the hash of
    unnamed = pinned | set(UNNAMED)
    changed = [o for o in applied if o.key not in unnamed and setting(values, o.key) != setting(before, o.key)]
    head = {o.key: o.key.split(".")[0] for o in changed}
    own = [o for o in changed if head[o.key] not in ("dataset", "budget")]
    return RunConfig(
        variant=variant,
        values=values,
        method_name=row_name(variant.name, own, values),
        title=row_name(variant.title, own, values, ", "),
        dataset_name=row_name(
            str(values["dataset"].get("name") or dataset), [o for o in changed if head[o.key] == "dataset"], values
        ),
        budget_name=row_name(budget, [o for o in changed if head[o.key] == "budget"], values),
        asked=Asked(
            variant.name,
            dataset,
            budget,
            tuple(o.text for o in applied if not (ways and o.key == "way")),
            tuple(ways),
            tuple(shots),
            data_dir,
        ),
    )


def dataset_values(name: str, overrides: Sequence[Override], data_dir: Any = None) -> dict[str, Any]:
    """The configuration of a dataset alone, for commands that need no method. Only ``dataset.*`` may be set."""
    catalogue.raw("dataset", name)
    values = composed([Override("dataset", f"dataset={name}")])
    known = [key for key in _leaves(values) if key.startswith("dataset.")]
    for override in overrides:
        if override.key not in known:
            raise BenchError(f"dataset {name!r} has no setting {override.key!r}.{did_you_mean(override.key, known)}")
        check_type(override, values)
    values = composed([Override("dataset", f"dataset={name}"), *overrides])
    for override in overrides:
        check_finite(override, values)
    check_dataset_name(name, values["dataset"])
    if data_dir is not None and "data_dir" in values["dataset"]:
        values["dataset"]["data_dir"] = str(data_dir)
    return values


def check_overrides(overrides: Sequence[Override], variants: Sequence[Variant], dataset: str, budget: str) -> None:
    """Refuse, with a suggestion, an override that fits none of the methods."""
    choices = {o.key: o for o in overrides if o.is_group}
    for choice in choices.values():
        catalogue.raw(choice.key, choice.value)
    known = _known(choices, variants, dataset, budget)
    for override in overrides:
        if override.key not in known:
            hint = _elsewhere(override.key) or did_you_mean(override.key, known)
            raise BenchError(
                f"no setting {override.key!r} in the chosen methods.{hint} 'bench plan --settings' shows them all"
            )


def _known(choices: dict[str, Override], variants: Sequence[Variant], dataset: str, budget: str) -> set[str]:
    known: set[str] = set()
    for variant in variants:
        values = composed((_base(variant, dataset, budget) | choices | _fixed(variant)).values())
        used = used_groups(values)
        known |= {key for key in _leaves(values) if _in_scope(key, used)} | used
    return known


def spelled_out(
    overrides: Sequence[Override], variants: Sequence[Variant], dataset: str, budget: str
) -> list[Override]:
    """``alpha=0.4``, as rows and folders are labelled, for ``method.alpha=0.4``, where it can mean one setting only."""
    short = [o for o in overrides if "." not in o.key and not o.is_group]
    known = _known({}, variants, dataset, budget) if short else set()
    found = []
    for one in overrides:
        meant = [f"{head}.{one.key}" for head in UNPREFIXED if f"{head}.{one.key}" in known]
        plain = one in short and one.key not in known and len(meant) == 1
        found.append(Override(meant[0], f"{meant[0]}={one.value}") if plain else one)
    return found


def _elsewhere(key: str) -> str:
    """Which components have a setting that the chosen methods have not. Starts with a space."""
    group, _, name = key.partition(".")
    options = catalogue.options(group) if group in catalogue.groups() else ()
    owners = [option for option in options if name in catalogue.raw(group, option) and name not in RESERVED]
    return f" It belongs to {group} {' and '.join(owners)}." if owners else ""


def _pin(group: str, values: dict[str, Any], variant: Variant) -> None:
    """Write into the configuration what the user's own file or object is now: its SHA-256, by its class's ``digest``.

    BenchError when it is not given, cannot be had, or is not the one whose ``sha256`` the user gave.
    """
    node = values[group]
    own = node.get("own")
    if not own:
        return
    if node[own] is None:
        example = f"{group}.{own}={node.get('card', {}).get('example', '…')}"
        option = str(next((o.value for o in _fixed(variant).values() if o.key == group), ""))
        hint = f"; 'bench weights {option}' says where to get it" if node.get("card", {}).get("published") else ""
        raise BenchError(f"{variant.name} needs {group}.{own} of your own, for example {example}{hint}")
    told = getattr(resolve(str(node["_target_"])), "digest", None)
    if told is None:
        raise BenchError(f"{node['_target_']} needs a static method 'digest', since its YAML says own: {own}")
    digest = told(node[own])
    if node["sha256"] not in (None, digest):
        raise BenchError(f"{group}.{own}={node[own]} has SHA-256 {digest}, not {group}.sha256={node['sha256']}")
    node["sha256"] = digest


def _settle_outside_data(node: dict[str, Any], dataset: str) -> None:
    """``outside_data: null`` of a published network: true, but on the datasets that its card says it was trained on."""
    if "outside_data" in node and node["outside_data"] is None:
        node["outside_data"] = dataset not in node.get("card", {}).get("trained_on", ())


def _fixed(variant: Variant) -> dict[str, Override]:
    """What a method's name fixes; the project's own files may set anything."""
    return {text.partition("=")[0]: Override(text.partition("=")[0], text) for text in variant.overrides}


def _base(variant: Variant, dataset: str, budget: str) -> dict[str, Override]:
    """The overrides that the chosen names stand for; later ones win."""
    recommended = catalogue.raw("dataset", dataset).get("recommend", {})
    tasks = recommended.get("tasks", {})
    catalogue.raw("budget", budget)
    choices = {"dataset": dataset, "method": variant.family, "budget": budget}
    choices |= {key: str(value) for key, value in recommended.items() if key in catalogue.groups()}
    choices |= {key: str(value) for key, value in tasks.items() if key != "shots"}
    fixed = _fixed(variant)
    if any(o.is_group and o.value not in catalogue.options(o.key) for o in fixed.values()):
        check_choices(variant.family)
    for group, option in [("method", variant.family), *((o.key, o.value) for o in fixed.values() if o.is_group)]:
        choices |= catalogue.raw(group, option).get("prefers", {})
    return {key: Override(key, f"{key}={value}") for key, value in choices.items()} | fixed


def _leaves(values: Mapping[str, Any], prefix: str = "") -> Iterable[str]:
    for key, value in values.items():
        if key in RESERVED or (not prefix and key in FLAGS and not isinstance(value, Mapping)):
            continue
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def _in_scope(key: str, used: set[str]) -> bool:
    head = key.split(".")[0]
    return head not in catalogue.groups() or head in used | {"dataset", "method", "budget"}


def _applies(override: Override, values: Mapping[str, Any], used: set[str]) -> bool:
    return _in_scope(override.key, used) and override.key in set(_leaves(values))


def _meant_for(override: Override, values: Mapping[str, Any], packages: Sequence[str]) -> bool:
    """Whether a component is of these packages, or no package is named: a budget of this project knows nothing of
    other people's settings, whatever they are called.
    """
    target = setting(values, f"{override.key.partition('.')[0]}._target_")
    return not packages or not isinstance(target, str) or target.partition(".")[0] in packages


def _recommended_by_budget(budget: str) -> list[Override]:
    return [Override(text.partition("=")[0], text) for text in catalogue.raw("budget", budget).get("recommend", ())]
