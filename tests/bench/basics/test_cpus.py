"""CPUs that a process may use: by affinity and by quota, of both versions of control groups."""

import os

import pytest

from bench.basics import cpus


@pytest.fixture
def groups(tmp_path):
    """Write files below a root of control groups; returns (write, quota)."""
    root, listing = tmp_path / "cgroup", tmp_path / "self"

    def write(belongs_to, **files):
        listing.write_text(belongs_to)
        for name, text in files.items():
            path = root / name.replace("__", "/").replace("_max", ".max").replace("_cfs", ".cfs")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    return write, lambda: cpus.cpu_quota(root, listing)


def test_without_a_limit_there_is_no_quota(groups):
    write, quota = groups
    assert quota() is None
    write("0::/\n", cpu_max="max 100000\n")
    assert quota() is None


def test_the_second_version(groups):
    write, quota = groups
    write("0::/a/b\n", a__b__cpu_max="150000 100000\n")
    assert quota() == 1.5


def test_the_least_on_the_way_up_counts(groups):
    write, quota = groups
    write("0::/a/b\n", a__b__cpu_max="400000 100000\n", a__cpu_max="300000 100000\n", cpu_max="max 100000\n")
    assert quota() == 3


def test_in_a_container_the_groups_own_folder_is_the_root(groups):
    write, quota = groups
    write("0::/kubepods/pod1/abc\n", cpu_max="200000 100000\n")
    assert quota() == 2


@pytest.mark.parametrize("mount", ["cpu", "cpu,cpuacct"])
def test_the_first_version(groups, mount):
    write, quota = groups
    listing = "5:memory:/docker/x\n4:cpu,cpuacct:/docker/x\n"
    folder = f"{mount}__docker__x__cpu"
    write(listing, **{f"{folder}_cfs_quota_us": "250000\n", f"{folder}_cfs_period_us": "100000\n"})
    assert quota() == 2.5
    write(listing, **{f"{folder}_cfs_quota_us": "-1\n"})
    assert quota() is None


def test_damaged_files_limit_nothing(groups):
    write, quota = groups
    write("nonsense\n0::/\n", cpu_max="\n")
    assert quota() is None


@pytest.mark.parametrize(("quota", "expected"), [(None, 4), (0.2, 1), (1.0, 1), (1.5, 2), (3.0, 3), (16.0, 4)])
def test_quota_is_rounded_up_and_the_affinity_bounds_it(monkeypatch, quota, expected):
    monkeypatch.setattr(cpus, "affinity", lambda: 4)
    monkeypatch.setattr(cpus, "cpu_quota", lambda: quota)
    assert cpus.usable_cpus() == expected
    assert cpus.limited_by_quota() is (expected < 4)


@pytest.mark.parametrize(
    ("job", "expected"),
    [
        ({}, 8),
        ({"SLURM_CPUS_PER_TASK": "2"}, 8),  # left in the shell by a job that is over
        ({"SLURM_JOB_ID": "7", "SLURM_CPUS_PER_TASK": "2", "SLURM_CPUS_ON_NODE": "4"}, 2),
        ({"SLURM_JOB_ID": "7", "SLURM_CPUS_ON_NODE": "4"}, 4),
        ({"SLURM_JOB_ID": "7", "SLURM_CPUS_PER_TASK": "x", "SLURM_CPUS_ON_NODE": "0"}, 8),
        ({"SLURM_JOB_ID": "7", "SLURM_CPUS_PER_TASK": "64"}, 8),
    ],
)
def test_a_job_of_slurm_has_the_cpus_that_it_was_given(monkeypatch, job, expected):
    for name in ("SLURM_JOB_ID", "SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in job.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(cpus, "affinity", lambda: 8)
    monkeypatch.setattr(cpus, "cpu_quota", lambda: None)
    assert cpus.usable_cpus() == expected


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity on this system")
def test_affinity_is_of_the_process_and_not_of_the_machine(monkeypatch):
    monkeypatch.setattr(cpus, "cpu_quota", lambda: None)
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert cpus.usable_cpus() == 1
    finally:
        os.sched_setaffinity(0, before)
