"""What the YAML file of a component, budget or experiment may say: every key with its type, checked when it is read.

One mistake makes one file unusable, with a reason, and no other.
"""

from __future__ import annotations

import itertools
import math
import re
import string
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from bench.basics.errors import did_you_mean
from bench.basics.side import DERIVED, SIDE, UNDECLARED
from bench.basics.typed import typed
from bench.planning.bibtex import entries

NAME = r"[A-Za-z0-9_][A-Za-z0-9_.-]*"
"""What can be named on the command line: no comma, which parts names, no ``@``, behind which a budget stands."""

CONDITION = re.compile(r"(?P<key>[a-z]\w*(?:\.\w+)+)(?P<differs>!?)=(?P<value>\S+)")
"""``group.setting=value`` or ``group.setting!=value``, of which side information may depend."""

MOST_VARIANTS = 1000
MOST_VALUES = 10_000
MOST_DEPTH = 20

Overrides = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PublicWeights:
    """Where weights of this network are on the web."""

    what: str
    url: str
    licence: str
    note: str = ""
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class Card:
    """What people read about a component."""

    title: str = ""
    about: str = ""
    cite: str = ""
    licence: str = ""
    homepage: str = ""
    bibtex: str = ""
    """Entries of what it is to be cited by, for a component of another package."""


@dataclass(frozen=True, slots=True)
class ComponentCard(Card):
    """Of a generator, encoder, learner, backbone, classifier, or a group that a plugin brings."""

    side: tuple[str, ...] = ()
    """As that of a method: every run that uses it inherits it."""
    example: str = ""
    """A value of the setting that is the user's ``own``."""
    outside_labels: bool = False
    trained_on: tuple[str, ...] = ()
    """Datasets whose images it has seen: on all others it counts as outside data."""
    paper_epochs: int | str | None = None
    paper_epochs_at_size: Mapping[str, int] = field(default_factory=dict)
    published: PublicWeights | None = None


@dataclass(frozen=True, slots=True)
class MethodCard(Card):
    """Of a method. ``supervised`` says who gets labels, ``group`` among whom it is ranked, ``side`` what it uses
    besides: words of :data:`bench.basics.side.SIDE`, each for always or ``WORD if group.setting=value``.
    """

    titles: Mapping[str, str] = field(default_factory=dict)
    """Word of a name -> what the title says for it."""
    group: Literal["unsupervised", "floor", "ceiling", "transfer"] | None = None
    supervised: bool = False
    reference: bool = False
    outside_data: bool = False
    side: tuple[str, ...] = ()

    def placed(self) -> str:
        """The group, by default that of methods without labels or with them."""
        return self.group or ("ceiling" if self.supervised else "unsupervised")


@dataclass(frozen=True, slots=True)
class ComponentFile:
    """The keys of a component's YAML that are not settings of its class."""

    _target_: str
    identity: str | int | None = None
    card: ComponentCard = field(default_factory=ComponentCard)
    uses: tuple[str, ...] = ()
    prefers: Mapping[str, str] = field(default_factory=dict)
    own: str | None = None
    added: Mapping[str, Any] = field(default_factory=dict)
    defaults: tuple[Any, ...] | None = None


@dataclass(frozen=True, slots=True)
class MethodFile(ComponentFile):
    """The same of a method."""

    card: MethodCard = field(default_factory=MethodCard)  # type: ignore[assignment]
    variants: Mapping[str, Mapping[str, Overrides]] | None = None
    headline: Mapping[str, tuple[str, ...]] | None = None
    recommend: Overrides = ()


@dataclass(frozen=True, slots=True)
class DatasetFile(ComponentFile):
    """The same of a dataset."""

    card: Card = field(default_factory=Card)  # type: ignore[assignment]
    recommend: Mapping[str, Any] = field(default_factory=dict)
    """inner_lr, components such as backbone, and the tasks that are usual on it."""


@dataclass(frozen=True, slots=True)
class BudgetFile:
    """A budget; a length may be an interpolation. Its values are checked once more as a run is composed."""

    meta_iterations: int | str
    generator_epochs: int | str
    encoder_epochs: int | str
    name: str = ""
    generator_snapshots: tuple[int, ...] = ()
    evaluation_tasks: int = 1000
    validate_every: int = 0
    validation_tasks: int = 100
    checkpoint_seconds: float = 15.0
    recommend: Overrides = ()


@dataclass(frozen=True, slots=True)
class Rows:
    """Methods of an experiment that share settings."""

    methods: str
    overrides: Overrides = ()


@dataclass(frozen=True, slots=True)
class ExperimentFile:
    """An experiment. Its layout has a reader of its own, :mod:`bench.planning.paper_layout`."""

    title: str = ""
    about: str = ""
    dataset: str | None = None
    ways: tuple[int, ...] | None = None
    shots: tuple[int, ...] | None = None
    budget: str | None = None
    overrides: Overrides = ()
    references: bool = True
    rows: tuple[Rows, ...] = ()
    layout: Mapping[str, Any] | None = None
    arrangement: Mapping[str, Any] | None = None


SHARED = ("way", "query", "split", "evaluation_seed", "train.way", "train.shot", "train.query")
"""Settings of tasks that a dataset may recommend, beside ``shots``."""

NO_COMPONENTS = ("dataset", "method", "budget", "experiment")


def check(kind: str, name: str, values: Mapping[str, Any], groups: Collection[str], reserved: Collection[str]) -> None:
    """ValueError, in words, for the first thing in ``values`` that the file of a ``kind`` called ``name`` may not say.

    ``groups``: those whose components may be used; ``reserved``: the keys that are not settings.
    """
    if not re.fullmatch(NAME, name):
        raise ValueError(f"{name!r} cannot be typed as a name; use letters, digits, '_', '-' and '.' only")
    for count, _ in enumerate(_plain(values, "")):
        if count >= MOST_VALUES:
            raise ValueError(f"it has more than {MOST_VALUES} values")
    if kind == "experiment":
        _check_overrides(typed(ExperimentFile, values).overrides, "overrides")
    elif kind == "budget":
        _check_overrides(typed(BudgetFile, values).recommend, "recommend")
    elif kind == "executor":
        typed(Card, values.get("card") or {})  # each executor checks its settings itself
    else:
        _check_component(kind, name, values, groups, reserved)


def _check_component(
    kind: str, name: str, values: Mapping[str, Any], groups: Collection[str], reserved: Collection[str]
) -> None:
    form = {"method": MethodFile, "dataset": DatasetFile}.get(kind, ComponentFile)
    head = {key: value for key, value in values.items() if key in reserved}
    found: ComponentFile = typed(form, head)
    try:
        entries(found.card.bibtex)
    except ValueError as error:
        raise ValueError(f"card.bibtex: {error}") from error
    settings = [key for key in values if key not in reserved]
    if not re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)+", found._target_):
        raise ValueError(f"_target_ must be package.module.Class, not {found._target_!r}")
    for key in settings:
        if not re.fullmatch(r"[^\W\d]\w*", key):
            raise ValueError(f"{key!r} cannot be the name of a setting")
    for one in found.uses:
        if one not in groups or one in NO_COMPONENTS:
            known = sorted(set(groups) - set(NO_COMPONENTS))
            raise ValueError(f"uses: there is no group {one!r}; there are {', '.join(known)}")
    for one, option in found.prefers.items():
        if one not in found.uses:
            raise ValueError(f"prefers: {one!r} is none of the groups that it uses")
        if not re.fullmatch(NAME, option):
            raise ValueError(f"prefers.{one}: {option!r} cannot be the name of an option")
    if found.own is not None and not {found.own, "sha256"} <= set(settings):
        raise ValueError(f"own: {found.own} needs settings {found.own!r} and 'sha256', both null")
    for key in found.added:
        if key not in settings:
            raise ValueError(f"added: there is no setting {key!r}")
    if not isinstance(found, DatasetFile):
        _check_side(found.card.side, kind, settings, groups)
    if isinstance(found, DatasetFile):
        _check_recommended(found.recommend, groups)
        if "inner_lr" not in found.recommend:
            raise ValueError("recommend.inner_lr is missing, the inner rate of MAML; for example {inner_lr: 0.4}")
    if isinstance(found, MethodFile):
        _check_method(name, found)


def _check_side(items: Sequence[str], kind: str, settings: Collection[str], groups: Collection[str]) -> None:
    for item in items:
        word, conditional, condition = item.partition(" if ")
        if word in DERIVED:
            raise ValueError(f"card.side: {word} follows from {DERIVED[word]}; say it there")
        if word not in SIDE or word == UNDECLARED:
            known = [one for one in SIDE if one not in (*DERIVED, UNDECLARED)]
            raise ValueError(
                f"card.side: there is no word {word!r}.{did_you_mean(word, known)} There are {', '.join(known)}"
            )
        for part in condition.split(" and ") if conditional else ():
            read = CONDITION.fullmatch(part)
            if read is None:
                raise ValueError(f"card.side: {item!r} cannot be read; write '{word} if group.setting=value'")
            head, _, name = read["key"].partition(".")
            if head not in (*groups, "train"):
                raise ValueError(f"card.side: {read['key']}: there is no group {head!r}")
            if head == kind and name not in settings:
                hint = did_you_mean(name, settings).rstrip(".")
                raise ValueError(f"card.side: {read['key']}: there is no setting {name!r}.{hint}")


def _check_recommended(recommended: Mapping[str, Any], groups: Collection[str]) -> None:
    for key, value in recommended.items():
        if key == "tasks" and isinstance(value, Mapping):
            for one, number in value.items():
                whole = isinstance(number, int) and not isinstance(number, bool)
                listed = one == "shots" and isinstance(number, list) and all(type(shot) is int for shot in number)
                word = one == "split" and isinstance(number, str) and re.fullmatch(r"\w+", number)
                if one not in (*SHARED, "shots") or not (listed or word or (whole and one not in ("shots", "split"))):
                    raise ValueError(f"recommend.tasks: {one}: {number!r} is no setting of tasks with its value")
        elif key == "inner_lr" and isinstance(value, int | float) and not isinstance(value, bool):
            continue
        elif not (key in groups and key not in NO_COMPONENTS and isinstance(value, str) and re.fullmatch(NAME, value)):
            raise ValueError(f"recommend: {key}: {value!r} is none of inner_lr, tasks, or a component such as backbone")


def _check_method(name: str, found: MethodFile) -> None:
    card = found.card
    if card.supervised and card.placed() in ("unsupervised", "floor"):
        raise ValueError(f"card.group: {card.group} cannot stand with supervised: true; write group: ceiling")
    axes = found.variants or {}
    for axis, words in axes.items():
        for word, items in words.items():
            if not re.fullmatch(NAME, word):
                raise ValueError(f"variants.{axis}: {word!r} cannot be a word of a name")
            _check_overrides(items, f"variants.{axis}.{word}")
    if not 0 < (count := math.prod(map(len, axes.values()))) <= MOST_VARIANTS:
        raise ValueError(f"variants make {count} names; there may be 1 to {MOST_VARIANTS}")
    names = ["-".join([name, *words]) for words in itertools.product(*axes.values())]
    if len(set(names)) < len(names):
        raise ValueError("variants: two of them have the same name")
    for dataset, chosen in (found.headline or {}).items():
        for one in chosen:
            if one not in names:
                raise ValueError(f"headline.{dataset}: {one!r} is no variant of {name}")
    _check_overrides(found.recommend, "recommend")
    _check_title(card.title, axes)


def _check_title(title: str, axes: Collection[str]) -> None:
    try:
        parts = list(string.Formatter().parse(title))
    except ValueError as error:
        raise ValueError(f"card.title {title!r}: {error}") from error
    for _, wanted, form, conversion in parts:
        if wanted is not None and (wanted not in axes or form or conversion):
            known = f"; there are {', '.join(f'{{{axis}}}' for axis in axes)}" if axes else ", and it has no variants"
            raise ValueError(f"card.title {title!r} has a field {{{wanted}}}, which is no axis of its variants{known}")


def _check_overrides(items: Sequence[str], where: str) -> None:
    for item in items:
        if not re.fullmatch(r"[\w./@-]+=.*", item):
            raise ValueError(f"{where}: {item!r} is no setting; write key=value")


def _plain(value: Any, where: str, depth: int = 0) -> Iterator[None]:
    """One for each value in it; ValueError for one that a configuration cannot hold."""
    yield
    if depth > MOST_DEPTH:
        raise ValueError(f"{where} is nested too deeply")
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str | int | float) or key != key:
                raise ValueError(f"{where or 'it'} has the key {key!r}; quote it")
            if not where and not isinstance(key, str):
                raise ValueError(f"{key!r} cannot be the name of a setting")
            yield from _plain(item, f"{where}.{key}" if where else str(key), depth + 1)
    elif isinstance(value, list):
        for item in value:
            yield from _plain(item, where, depth + 1)
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{where} is {value}, which is no finite number")
    elif not isinstance(value, str | int | float | None):
        raise ValueError(f"{where} is {value!r}, which is no text, number, list or mapping; quote it")
