"""What is said of an interrupted request."""

from dataclasses import dataclass, field

import pytest

from bench.basics.errors import BenchError
from bench.running.left_behind import left_behind


@dataclass
class Run:
    name: str
    found: object = None
    anew: bool = False
    seed: int = 0

    def record(self):
        if isinstance(self.found, Exception):
            raise self.found
        return self.found


@dataclass
class Found:
    status: str
    notes: dict = field(default_factory=dict)

    @property
    def done(self):
        return self.status == "done"


def stopped(again):
    return Found("interrupted", {"resuming": again})


@pytest.mark.parametrize(
    ("runs", "ended", "begun", "told"),
    [
        ([Run("a")], {}, (), "0 of 1 runs done, 1 to come"),
        # One was answered from its record, one finished in its last step, one is there and its turn did not come.
        ([Run("a", Found("done")), Run("b", Found("done")), Run("c", Found("done"))], {0: "done"}, (0, 1),
         "3 of 3 runs done"),
        ([Run("a"), Run("b", stopped("goes on")), Run("c")], {0: "failed"}, (0, 1),
         "0 of 3 runs done, 1 did not finish, stopped: b seed 0 (goes on), 1 to come"),
        ([Run("a", stopped("goes on")), Run("b", stopped("starts anew")), Run("c", Found("interrupted"))], {},
         (0, 1, 2),
         "0 of 3 runs done, stopped: c seed 0 (ended by force), stopped: a seed 0 (goes on), "
         "stopped: b seed 0 (starts anew)"),
        ([Run(str(i), stopped("goes on")) for i in range(5)], {}, range(5),
         "0 of 5 runs done, stopped: 0 seed 0, 1 seed 0, 2 seed 0 and 2 more (goes on)"),
        # Stopped some time before, and its turn did not come again.
        ([Run("a", Found("done")), Run("b", stopped("goes on"))], {}, (0,), "1 of 2 runs done, 1 to come"),
        # With --rerun a record of before is no result of this request.
        ([Run("a", Found("done"), anew=True), Run("b", Found("done"), anew=True)], {0: "done"}, (0,),
         "1 of 2 runs done, 1 with the old record"),
        ([Run("a", BenchError("damaged"))], {}, (), "0 of 1 runs done, 1 to come"),
    ],
)  # fmt: skip
def test_every_run_is_counted_once(runs, ended, begun, told):
    assert left_behind(runs, ended, begun) == told
