import subprocess
import sys

import torch
from hypothesis import given
from hypothesis import strategies as st

from bench.basics.seeds import Seed

AXES = st.lists(st.one_of(st.text(max_size=5), st.integers(-5, 5)), max_size=4)


@given(AXES, AXES, st.integers(0, 3), st.integers(0, 3))
def test_equal_names_and_only_equal_names_give_equal_values(a, b, root_a, root_b):
    same = (root_a, a, [type(x) for x in a]) == (root_b, b, [type(x) for x in b])
    assert (Seed(root_a).at(*a).value() == Seed(root_b).at(*b).value()) == same


def test_a_path_may_be_built_in_steps():
    assert Seed(3).at("a", 1).at("b") == Seed(3).at("a", 1, "b")


def test_values_do_not_depend_on_the_process_or_its_hash_seed():
    code = "from bench.basics.seeds import Seed; print(Seed(7).at('tasks', 3, 'x').value())"
    values = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("0", "1", "12345")
    }
    assert values == {str(Seed(7).at("tasks", 3, "x").value())}


def test_generators_repeat_and_leave_global_state_alone():
    before = torch.random.get_rng_state()
    first, second = (torch.rand(5, generator=Seed(1).at("x").generator()) for _ in range(2))
    assert torch.equal(first, second)
    assert (Seed(1).at("x").numpy().random(5) == Seed(1).at("x").numpy().random(5)).all()
    assert torch.equal(before, torch.random.get_rng_state())


def test_importing_seeds_does_not_import_torch():
    code = "import sys, bench.basics.seeds, bench.records.record; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
