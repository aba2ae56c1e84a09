"""Names of rows, and of the folders of their runs."""

import hashlib
import os
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.basics.errors import BenchError
from bench.planning import catalogue, naming
from bench.planning.composing import compose
from bench.planning.naming import MOST_BYTES, folder
from bench.planning.overrides import parse_overrides, quoted
from bench.planning.plan import Request, run_configs, run_key


def name_of(path):
    overrides = parse_overrides([f"encoder.path={quoted(str(path))}"])
    return compose(catalogue.variants()["embedding-knn-file"], "glyphs", "smoke", overrides).method_name


@pytest.mark.parametrize(
    ("file", "shown"),
    [
        ("my enc,v=2.pt2", "my enc%2Cv=2.pt2"),
        ("a,b.pt2", "a,b.pt2"),
        ("a@b.pt2", "a@b.pt2"),
        ("a\x1b[31m.pt2", "a%1B[31m.pt2"),
    ],
)
def test_a_name_can_be_taken_apart_again(file, shown, tmp_path):
    with zipfile.ZipFile(tmp_path / file, "w") as archive:
        archive.writestr("g/models/model.json", "{}")
    digest = hashlib.sha256((tmp_path / file).read_bytes()).hexdigest()[:8]
    assert name_of(tmp_path / file) == f"embedding-knn-file,encoder.path={shown}@{digest}"


def test_a_folder_has_a_bounded_name_and_a_short_one_stays_as_it_was(tmp_path):
    long = "lasium," + ",".join(f"learner.setting{i}=0.{i}" for i in range(20))
    short = (
        "lasium-ro-file-protonet,backbone=conv4-valid32,generator.outside_data=False,generator.path=eigen.pt2@5e207c8d"
    )
    assert folder(tmp_path, ("glyphs", short)) == tmp_path / "glyphs" / short.replace("@", "_")
    (cut,) = {folder(tmp_path, ("glyphs", long)), folder(tmp_path, ("glyphs", long))}
    assert len(cut.name) == MOST_BYTES
    assert folder(tmp_path, ("glyphs", long + "1")) != cut
    before = tmp_path / "glyphs" / long[:250]
    before.mkdir(parents=True)
    assert folder(tmp_path, ("glyphs", long[:250])) == before, "a folder of earlier runs is found"


@given(st.lists(st.text(min_size=1, max_size=400), min_size=1, max_size=2))
def test_no_name_leads_out_of_the_folder_of_runs(parts):
    from pathlib import Path

    place = folder(Path("runs"), parts)
    assert os.path.normpath(place) == str(place)
    assert len(place.parts) == len(parts) + 1
    assert all(len(os.fsencode(part)) <= 255 for part in place.parts)


def test_two_long_names_that_begin_alike_are_two_folders(tmp_path):
    assert folder(tmp_path, ["x" * 300]) != folder(tmp_path, ["x" * 301])
    assert naming.MOST_LETTERS < MOST_BYTES


def test_a_label_can_be_typed_again_and_is_the_same_row(tmp_path):
    def one(*settings):
        request = Request(methods="umtra-maml", references=False, overrides=settings, out=tmp_path)
        (found,) = run_configs(request)
        return found.method_name, found.budget_name, run_key(found, "0" * 64, 0)

    long = one("method.mask=0.25", "budget.meta_iterations=7", "learner.inner_lr=0.2")
    _, *settings = f"{long[0]},{long[1].partition(',')[2]}".split(",")
    assert "mask=0.25" in settings
    assert one(*settings) == long
    with pytest.raises(BenchError, match=r"budget\.evaluation_tasks is one value"):
        one("evaluation_tasks=5,10")
    with pytest.raises(BenchError, match="no setting 'inner_lr'"):
        one("inner_lr=0.2")  # several components could have one
