"""Without a network, and with a local disk: ``--offline`` and ``executor.scratch``."""

from commands import scores

RUN = ("run", "--methods", "chance", "--no-references", "--budget", "smoke", "budget.evaluation_tasks=5")


def test_offline_a_download_is_refused_with_what_to_fetch_from_where(bench):
    said = bench.error("prepare", "omniglot", "--download", "--offline", "--data-dir", bench.folder / "data")
    assert "is not there, and nothing is fetched offline" in said
    assert str(bench.folder / "data") in said
    assert "http" in said
    bench(*RUN, "--offline")


def test_scratch_changes_where_images_are_read_and_nothing_else(bench):
    bench(*RUN)
    local = bench.folder / "local disk"
    bench(*RUN, "--out", "second", "--executor", "inline", f"executor.scratch='{local}'")
    (copy,) = local.iterdir()
    assert copy.name.startswith("glyphs-")
    ((name, expected),) = scores(bench.out).items()
    assert expected.equals(scores(bench.folder / "second")[name])
    assert [path.name for path in (bench.folder / "second").glob("*/*/*")] == [
        path.name for path in bench.out.glob("*/*/*")
    ], "the same key"
    said = bench(*RUN, "--out", "third", "--executor", "inline", "executor.scratch=local", code=1).stdout
    assert "executor.scratch=local must be a whole path, such as /local" in said
