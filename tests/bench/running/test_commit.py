"""The commit that a record says it was made by: read from git's own files, in every way that they may tell it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import torch

import bench
from bench.running.environment import commit, environment

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git makes the checkouts")


def git(folder: Path, *arguments: object) -> str:
    """Says what git prints. As nobody in particular, whatever this machine is set up for."""
    nobody = ["-c", "user.name=n", "-c", "user.email=n@example.org", "-c", "commit.gpgsign=false"]
    command = ["git", *nobody, *map(str, arguments)]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def checkout(tmp_path):
    folder = tmp_path / "checkout"
    folder.mkdir()
    git(folder, "init", "--quiet", "--initial-branch", "some/branch")
    git(folder, "commit", "--quiet", "--allow-empty", "--message", "first")
    return folder


def test_a_branch_a_packed_branch_a_detached_head_and_a_worktree(checkout, tmp_path):
    first = git(checkout, "rev-parse", "HEAD")
    assert commit(checkout) == first
    git(checkout, "pack-refs", "--all")
    assert not (checkout / ".git/refs/heads/some/branch").exists()
    assert commit(checkout) == first
    git(checkout, "worktree", "add", "--quiet", tmp_path / "beside", "-b", "other")
    assert commit(tmp_path / "beside") == first
    git(checkout, "commit", "--quiet", "--allow-empty", "--message", "second")
    assert commit(checkout) == git(checkout, "rev-parse", "HEAD") != first
    assert commit(tmp_path / "beside") == first
    git(checkout, "checkout", "--quiet", first)
    assert commit(checkout) == first


def test_what_is_no_checkout_or_says_nothing_has_none(checkout, tmp_path):
    assert commit(tmp_path) is None
    (checkout / ".git/HEAD").write_text("ref: refs/heads/nowhere\n")
    assert commit(checkout) is None
    (checkout / ".git/HEAD").write_bytes(b"\xff\xfe")
    assert commit(checkout) is None
    shutil.rmtree(checkout / ".git")
    (checkout / ".git").write_text("gitdir: nowhere\n")
    assert commit(checkout) is None


def test_a_record_says_the_commit_of_its_program_or_nothing(monkeypatch, checkout, tmp_path):
    monkeypatch.setattr(bench, "__file__", str(checkout / "bench" / "__init__.py"))
    assert environment(torch.device("cpu"))["commit"] == git(checkout, "rev-parse", "HEAD")
    monkeypatch.setattr(bench, "__file__", str(tmp_path / "bench" / "__init__.py"))
    assert "commit" not in environment(torch.device("cpu"))
