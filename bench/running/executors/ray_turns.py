"""In which order runs are handed to Ray: what several share is trained by one of them, while the others wait."""

from __future__ import annotations

from collections.abc import Callable, Sequence


class Turns:
    """Of runs that share trainings, one begins; the others are begun once that training is there.

    Begun earlier they would only wait for it, on CPUs and GPUs that others could use; the training is there as soon as
    the run that did it has ended, or trains on what came of it (``past``: whether a run has got so far).
    """

    def __init__(self, past: Callable[[int], bool]) -> None:
        self._past = past
        self._trainer: dict[str, int] = {}
        self._there: set[str] = set()

    def look(self) -> None:
        """How far those are that train."""
        for run in set(self._trainer.values()):
            if self._past(run):
                self.ended(run, well=True)

    def may_begin(self, run: int, shared: Sequence[str]) -> bool:
        """Whether nobody else is training what a run needs."""
        return all(self._trainer.get(word, run) == run for word in shared)

    def begun(self, run: int, shared: Sequence[str]) -> None:
        """It trains what is not there yet."""
        for word in shared:
            if word not in self._there:
                self._trainer.setdefault(word, run)

    def ended(self, run: int, well: bool) -> None:
        """What it was to train is there, or another may try."""
        mine = [word for word, trainer in self._trainer.items() if trainer == run]
        for word in mine:
            del self._trainer[word]
        if well:
            self._there.update(mine)
