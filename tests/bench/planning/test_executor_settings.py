"""Settings of executors, as they are typed."""

import pytest

from bench.basics.errors import BenchError
from bench.planning.executor_settings import executor_settings
from bench.running.executors.slurm_settings import checked, seconds_of


@pytest.mark.parametrize("typed", ["90", "90:00", "1:30:00", "1h", "'90'", "null"])
def test_a_time_that_yaml_takes_for_a_number_is_judged_as_it_was_typed(typed):
    settings = executor_settings("slurm", [f"executor.time={typed}"])
    if typed == "1:30:00":
        assert seconds_of(checked(settings)) == 5400
    else:
        with pytest.raises(BenchError, match=r"write .days-.hours:minutes:seconds; 90 minutes are 01:30:00"):
            checked(settings)


def test_other_kinds_of_values_are_refused_where_they_stand():
    with pytest.raises(BenchError, match=r"executor\.cpus takes an integer"):
        executor_settings("slurm", ["executor.cpus=two"])
    with pytest.raises(BenchError, match="the executor inline has no setting 'cpus'"):
        executor_settings("inline", ["executor.cpus=2"])
    assert executor_settings("slurm", ["executor.memory=500"])["memory"] == "500"
    assert executor_settings("slurm", ["executor.memory=null"])["memory"] is None
