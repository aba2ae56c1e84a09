"""Content-addressed store of trained generators and encoders, shared by methods.

The key is a hash of everything that can change the result: the recipe's settings, the training images, the budget,
the seed. Two processes that want the same artifact at the same moment train it once: the second waits, and goes on from
the checkpoint of the first where that dies.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, fields, is_dataclass
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from bench.basics.claims import Claim, Lost, beside
from bench.basics.errors import BenchError
from bench.basics.files import remove_leftovers
from bench.basics.keys import content_key
from bench.basics.precision import FLOAT32, with_precision
from bench.training.checkpoint import Checkpoint, load_tensors, save_tensors
from bench.training.work import metered


@dataclass(frozen=True, slots=True)
class Artifact:
    """A trained thing: its tensors and JSON facts (among them what it was made from, how long that took and, as of
    :meth:`bench.training.work.Cost.facts`, what it cost)."""

    kind: str
    key: str
    path: Path
    tensors: dict[str, Tensor]
    meta: dict[str, Any]


def settings_of(component: Any) -> Any:
    """A component as JSON values for a recipe: its class, ``VERSION`` and fields, those of components within too.

    BenchError for anything but dataclasses, lists, mappings and JSON values.
    """
    if component is None or isinstance(component, bool | int | float | str):
        return component
    if isinstance(component, Mapping):
        return {str(name): settings_of(value) for name, value in component.items()}
    if isinstance(component, list | tuple):
        return [settings_of(value) for value in component]
    kind = type(component)
    if not is_dataclass(component) or component is kind:
        raise BenchError(f"a recipe holds dataclasses and JSON values, not {kind.__name__}; name what it depends on")
    version = getattr(sys.modules.get(kind.__module__), "VERSION", 1)
    settings = {field.name: settings_of(getattr(component, field.name)) for field in fields(component)}
    return {"class": f"{kind.__module__}.{kind.__qualname__}", "version": version, **settings}


class ArtifactStore:
    """``<root>/<kind>-<key8>.safetensors`` for what is finished, ``….partial.safetensors`` for what is in training.

    precision: that of the run; what was trained in another than float32 is another artifact, whatever its recipe.
    code: package -> SHA-256 of other people's code in the run, ``trained_by`` that of it which trains its generator or
    encoder. That is in every recipe of the run, and the rest in the recipes of what such code makes itself: edited, it
    trains anew.
    """

    def __init__(
        self,
        root: Path,
        precision: str = FLOAT32,
        code: Mapping[str, str] | None = None,
        trained_by: Mapping[str, str] | None = None,
    ) -> None:
        self.root = root
        self.told: Callable[[str], None] | None = None
        """Called with a sentence on whom this waits for."""
        self.precision = precision
        self.code, self.trained_by = dict(code or {}), dict(trained_by or {})
        self.used: dict[str, Artifact] = {}
        """What was handed out, by key: a run writes down what it rests on."""
        self.making: Path | None = None
        """The checkpoint of what was asked for last and is not finished, if it keeps one."""
        self.seconds = 0.0
        """Spent here until what was asked for was trained, by this process or by another."""

    def path(self, kind: str, recipe: Mapping[str, Any]) -> Path:
        """Where this artifact is, or will be."""
        return self.root / f"{kind}-{content_key(with_precision(recipe, self.precision))[:12]}.safetensors"

    def get(
        self,
        kind: str,
        recipe: Mapping[str, Any],
        make: Callable[[Checkpoint], tuple[Mapping[str, Tensor], Mapping[str, Any]]],
        checkpoint_seconds: float = 15.0,
    ) -> Artifact:
        """The artifact of ``recipe``; ``make(checkpoint)`` trains it, resuming from the checkpoint, if it is absent.

        kind: what it is, for file names; one that begins with ``encoder`` counts as an encoder in records, any other as
        a generator. recipe: all that can change the result, as JSON values: :func:`settings_of` the method, the
        ``fingerprint`` of the images, the number of steps, the seed. Precision and other people's code are added here.

        ``make`` returns tensors, of any shape and type, and JSON facts. A tensor ``losses`` [steps] becomes the
        learning curve of the record, the fact ``seconds`` the time that the training took. A failed ``make`` leaves no
        artifact behind, only its checkpoint. Tensors come back on the CPU.
        """
        artifact = self._obtain(kind, self._whole(recipe, make), make, checkpoint_seconds)
        self.used[artifact.key] = artifact
        return artifact

    def grow(
        self,
        kind: str,
        recipe: Mapping[str, Any],
        epochs: int,
        steps_per_epoch: int,
        make: Callable[[Checkpoint, int], tuple[Mapping[str, Tensor], Mapping[str, Any]]],
        snapshots: Collection[int] = (),
        checkpoint_seconds: float = 15.0,
    ) -> Artifact:
        """As :meth:`get`, for a training that does not know how long it will last: the recipe after ``epochs``.

        ``recipe`` says nothing of epochs, and neither may what happens in an epoch. Then a shorter training is the
        beginning of a longer one: ``make(checkpoint, epochs)`` goes on from where the longest so far ended (see
        ``growing`` of :func:`bench.training.loop.train`), which is kept beside the artifacts. Those of ``snapshots``
        that are not above ``epochs`` become artifacts too, as if each had been asked for.
        """
        recipe = self._whole(recipe, make)
        line = self.path(kind, recipe).with_suffix(".training.safetensors")

        def trained(target: int, own: Checkpoint) -> tuple[Mapping[str, Tensor], Mapping[str, Any]]:
            with Claim.take(beside(line), told=self.told) as claim:
                remove_leftovers(self.root, line.name)
                shared = Checkpoint(line, checkpoint_seconds, content_key(recipe), claim.replacing)
                state = shared.load()
                gone_past = state is not None and state[1]["step"] > target * steps_per_epoch
                chosen = own if gone_past else shared
                self.making = chosen.path
                return make(chosen, target)

        artifact = None
        for target in sorted({e for e in snapshots if e <= epochs} | {epochs}):
            whole = {**recipe, "epochs": target}
            artifact = self._obtain(kind, whole, partial(trained, target), checkpoint_seconds)
        assert artifact is not None
        self.used[artifact.key] = artifact
        return artifact

    def _whole(self, recipe: Mapping[str, Any], make: Callable[..., Any]) -> Mapping[str, Any]:
        """The recipe, and what else can change what comes of it."""
        code = self.code if _hands(make) & set(self.code) else self.trained_by
        return with_precision({**recipe, **({"code": code} if code else {})}, self.precision)

    def _obtain(
        self,
        kind: str,
        recipe: Mapping[str, Any],
        make: Callable[[Checkpoint], tuple[Mapping[str, Tensor], Mapping[str, Any]]],
        checkpoint_seconds: float,
    ) -> Artifact:
        path = self.path(kind, recipe)
        if not path.exists():
            began = time.monotonic()
            try:
                self._train(path, recipe, make, checkpoint_seconds)
            except Lost:
                # Whoever took it over trains it to its end; nothing that was begun here is of use any more.
                Claim.take(beside(path), told=self.told).release()
                if not path.exists():
                    raise
            except OSError as error:
                raise BenchError(f"cannot write to {self.root}: {error.strerror or error}") from error
            finally:
                self.seconds += time.monotonic() - began
            self.making = None
        tensors, meta = load_tensors(path, content_key(recipe))
        if meta.get("recipe") != json.loads(json.dumps(dict(recipe))):
            raise BenchError(f"{path} was made by another recipe than its name says; delete it and run again")
        return Artifact(kind, content_key(recipe), path, tensors, meta)

    def _train(
        self,
        path: Path,
        recipe: Mapping[str, Any],
        make: Callable[[Checkpoint], tuple[Mapping[str, Tensor], Mapping[str, Any]]],
        checkpoint_seconds: float,
    ) -> None:
        """Unless another process has, by the time that it is our turn."""
        with Claim.take(beside(path), told=self.told) as claim:
            if path.exists():
                return
            remove_leftovers(self.root, f"{path.stem}*")
            self.making = partial = path.with_suffix(".partial.safetensors")
            with metered() as spent:  # not of the run that happens to be the first to ask
                own = Checkpoint(partial, checkpoint_seconds, content_key(recipe), claim.replacing)
                tensors, meta = make(own)
            facts = {**spent.cost.facts(), **meta, "recipe": dict(recipe)}
            save_tensors(path, tensors, facts, content_key(recipe), claim.replacing)
            partial.unlink(missing_ok=True)


def _hands(make: Any) -> set[str]:
    """The packages whose code makes a thing: of the function, of the object it is a method of, of what it closes over
    or was given in advance.
    """
    if isinstance(make, partial):
        return {name for one in (make.func, *make.args, *make.keywords.values()) for name in _hands(one)}
    held = [make, getattr(make, "__self__", None)]
    for cell in getattr(make, "__closure__", None) or ():
        with contextlib.suppress(ValueError):  # of a name that has no value yet
            held.append(cell.cell_contents)
    modules = [getattr(one, "__module__", None) for one in (*held, *map(type, held))]
    return {one.partition(".")[0] for one in modules if isinstance(one, str)}
