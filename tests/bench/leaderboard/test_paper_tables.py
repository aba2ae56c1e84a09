"""Records in the layout of a paper: which run fills which cell, what is never mixed, what is never hidden."""

import numpy as np
import pytest
from paper_runs import constant, write_cell
from synthetic_runs import QUERIES, edit_record, write_run

from bench.basics.files import read_json
from bench.leaderboard.loading import load
from bench.leaderboard.paper_tables import fill
from bench.planning.paper_layout import paper_layout


def filled(out, name="table7", **more):
    return fill(paper_layout(name), load(out), **more)


def cell(table, row, column=""):
    (found,) = (one for one in table.cells if (one.cell.row.title, one.cell.column.title) == (row, column))
    return found


def test_done_failed_and_missing_cells(tmp_path):
    write_cell(tmp_path, "lasium-n-gan-maml", 0.76)
    write_cell(tmp_path, "lasium-ro-gan-maml", 0.8)
    write_cell(tmp_path, "lasium-ro-gan-maml,alpha=0.4", alpha=0.4, status="diverged", reason="loss became NaN")
    (table,) = filled(tmp_path).tables
    states = [one.state for one in table.cells]
    assert (states.count("done"), states.count("failed"), states.count("not run")) == (2, 1, 25)
    done = cell(table, "N, σ² = 0.5", "GAN-MAML")
    assert done.answer.estimate.mean == pytest.approx(57 / 75)
    assert done.answer.estimate.task_ci95 == pytest.approx(1.96 * (3 / QUERIES) / np.sqrt(40))
    assert done.answer.estimate.seed_sd is None
    assert (done.printed.accuracy, done.printed.ci95) == pytest.approx((0.7716, 0.0065))
    assert done.difference == pytest.approx(0.76 - 0.7716)
    failed = cell(table, "RO, α = 0.4", "GAN-MAML")
    assert failed.reasons == ("diverged: loss became NaN",)
    assert failed.difference is None
    assert cell(table, "OC, α = 0.4", "VAE-ProtoNets").printed.accuracy == pytest.approx(0.6308)


def test_two_seeds_are_one_cell_and_a_failed_third_is_told(tmp_path):
    for seed, accuracy in ((0, 0.76), (1, 0.8)):
        write_cell(tmp_path, "lasium-n-gan-maml", accuracy, seed)
    write_cell(tmp_path, "lasium-n-gan-maml", seed=2, status="timeout", reason="stopped after 60 s")
    (table,) = filled(tmp_path).tables
    one = cell(table, "N, σ² = 0.5", "GAN-MAML")
    assert one.answer.seeds == (0, 1)
    assert one.answer.estimate.mean == pytest.approx(0.78)
    assert one.answer.estimate.seed_sd == pytest.approx(np.std([0.76, 0.8], ddof=1))
    assert one.answer.estimate.total_ci95 > one.answer.estimate.task_ci95
    assert one.reasons == ("training seed 2 timeout: stopped after 60 s",)


def test_one_reason_of_all_seeds_is_told_once(tmp_path):
    write_cell(tmp_path, "lasium-n-gan-maml")
    for seed in (0, 1):
        write_cell(tmp_path, "lasium-ro-gan-maml", seed=seed, status="failed", reason="never accepted")
    (table,) = filled(tmp_path).tables
    assert cell(table, "RO, α = 0.2", "GAN-MAML").reasons == ("failed: never accepted",)


def test_trainings_of_different_length_are_tables_of_their_own(tmp_path):
    for epochs, accuracy in ((500, 0.76), (60, 0.6)):
        for name in ("lasium-n-gan-maml", "lasium-ro-gan-maml"):
            write_cell(tmp_path, name, accuracy, epochs=epochs)
    long, short = filled(tmp_path).tables
    assert long.training == ("1000 meta-iterations", "500 epochs of MSGAN", "scored on 40 tasks instead of 1000")
    assert short.training[1] == "60 epochs of MSGAN instead of 500"
    assert cell(long, "N, σ² = 0.5", "GAN-MAML").answer.estimate.mean == pytest.approx(0.76)
    assert cell(short, "N, σ² = 0.5", "GAN-MAML").answer.estimate.mean == pytest.approx(0.6)


def test_different_lengths_never_share_a_table_also_in_different_cells(tmp_path):
    write_cell(tmp_path, "lasium-n-gan-maml", epochs=500)
    write_cell(tmp_path, "lasium-ro-gan-maml", epochs=60)
    write_cell(tmp_path, "lasium-oc-gan-maml", epochs=60, status="failed", reason="why")
    found = filled(tmp_path)
    (table,) = found.tables
    told = [(one.cell.row.title, one.state) for one in table.cells if one.state != "not run"]
    assert told == [("RO, α = 0.2", "done"), ("OC, α = 0.2", "failed")]
    ((alone, training),) = found.singles
    assert (alone.cell.row.title, training[1]) == ("N, σ² = 0.5", "500 epochs of MSGAN")


def test_two_answers_of_one_cell_never_share_a_table_where_a_record_does_not_know_a_setting(tmp_path):
    for name in ("lasium-n-gan-maml", "lasium-ro-gan-maml"):
        write_cell(tmp_path, name, 0.8, query_shift=None)
        write_cell(tmp_path, f"{name},query_shift=0", 0.72, query_shift=0)
    tables = filled(tmp_path).tables
    means = [cell(table, "N, σ² = 0.5", "GAN-MAML").answer.estimate.mean for table in tables]
    assert sorted(means) == pytest.approx([0.72, 0.8])


def test_generators_of_different_kinds_share_a_table_however_long_each_was_trained(tmp_path):
    write_cell(tmp_path, "lasium-n-gan-maml", epochs=60)
    write_cell(tmp_path, "lasium-n-vae-maml", epochs=25, generator="vae")
    (table,) = filled(tmp_path).tables
    assert table.training[1:3] == ("60 epochs of MSGAN instead of 500", "25 epochs of VAE instead of 1000")


def test_a_column_that_fits_several_trainings_stands_in_each(tmp_path):
    for epochs in (500, 60):
        for name in ("lasium-n-gan-maml", "lasium-ro-gan-maml"):
            write_cell(tmp_path, name, epochs=epochs)
    write_cell(tmp_path, "lasium-n-vae-maml", 0.7, epochs=1000, generator="vae")
    tables = filled(tmp_path).tables
    assert [cell(table, "N, σ² = 0.5", "VAE-MAML").state for table in tables] == ["done", "done"]


def test_another_training_of_one_cell_is_listed_apart(tmp_path):
    for name in ("lasium-n-gan-maml", "lasium-ro-gan-maml"):
        write_cell(tmp_path, name)
    for epochs in (10, 20):
        write_cell(tmp_path, "lasium-n-gan-maml", 0.5, epochs=epochs)
    found = filled(tmp_path)
    assert len(found.tables) == 1
    told = [(one.cell.row.title, training[1]) for one, training in found.singles]
    assert sorted(told) == [("N, σ² = 0.5", f"{n} epochs of MSGAN instead of 500") for n in (10, 20)]


def test_another_training_of_a_ceiling_is_listed_apart(tmp_path):
    write_cell(tmp_path, "umtra-maml", epochs=None)
    write_cell(tmp_path, "supervised-protonet", 0.8, epochs=None, group="ceiling")
    write_cell(tmp_path, "supervised-protonet", 0.6, iterations=30000, epochs=None, group="ceiling")
    found = filled(tmp_path, "table1-omniglot")
    (table,) = found.tables
    assert cell(table, "Supervised ProtoNets", "1-shot").answer.estimate.mean == pytest.approx(0.8, abs=0.01)
    ((alone, training),) = found.singles
    assert (alone.cell.row.title, training[0]) == ("Supervised ProtoNets", "30000 meta-iterations")
    assert alone.answer.estimate.mean == pytest.approx(0.6, abs=0.01)


def test_settings_changed_by_hand_and_other_numbers_of_tasks_are_other_trainings(tmp_path):
    for name in ("lasium-n-gan-maml", "lasium-ro-gan-maml"):
        write_cell(tmp_path, name)
        write_cell(tmp_path, f"{name},query_shift=0", 0.72, query_shift=0)
        write_cell(tmp_path, name, 0.92, tasks=20, seed=1)
    tables = filled(tmp_path).tables
    means = [cell(table, "N, σ² = 0.5", "GAN-MAML").answer.estimate.mean for table in tables]
    assert sorted(round(mean, 2) for mean in means) == [0.72, 0.8, 0.92]
    told = {round(m, 2): table.training for m, table in zip(means, tables)}
    assert "query_shift=0" in told[0.72]
    assert "scored on 20 tasks instead of 1000" in told[0.92]
    assert not any("query_shift" in phrase for phrase in told[0.8])


def test_rows_of_another_experiment_are_not_trainings_of_this_one(tmp_path):
    write_cell(tmp_path, "lasium-n-gan-maml")
    write_cell(tmp_path, "lasium-n-gan-maml,eps_sq=200.0", eps_sq=200.0)
    found = filled(tmp_path)
    assert sum(one.state == "done" for one in found.tables[0].cells) == 1
    assert found.singles == ()
    (table,) = filled(tmp_path, "table9").tables
    assert [one.cell.row.title for one in table.cells if one.state == "done"] == ["0", "200"]


def test_runs_that_agree_on_all_that_is_known_but_are_two_rows_are_not_mixed(tmp_path):
    for name in ("lasium-n-gan-maml", "lasium-ro-gan-maml"):
        write_cell(tmp_path, name, 0.7, budget="paper")
        write_cell(tmp_path, name, 0.8, budget="other", seed=1)
    tables = filled(tmp_path).tables
    assert len(tables) == 2
    assert any("recorded as" in phrase for phrase in tables[0].training)


def test_table_9_counts_rejections(tmp_path):
    for seed, rejected in ((0, 400), (1, 500)):
        notes = {"accepted_sets": 4000, "rejected_sets": rejected, "acceptance_rate": 4000 / (4000 + rejected)}
        write_cell(tmp_path, "lasium-n-gan-maml,eps_sq=187.5", 0.78, seed, eps_sq=187.5, notes=notes)
    write_cell(tmp_path, "lasium-n-gan-maml")
    write_cell(tmp_path, "lasium-n-gan-maml,eps_sq=100.0", eps_sq=100.0)
    write_cell(tmp_path, "lasium-n-gan-maml,eps_sq=500.0", eps_sq=500.0, status="failed", reason="never accepted")
    (table,) = filled(tmp_path, "table9").tables
    assert cell(table, "187.5").measures == pytest.approx((450, (4000 / 4400 + 4000 / 4500) / 2))
    assert cell(table, "187.5").facts["resamplings"] == "395"
    assert cell(table, "0").measures == (0.0, 1.0), "nothing is rejected without a threshold"
    assert cell(table, "100").measures == (None, None), "a run that did not count says nothing"
    never = cell(table, "500")
    assert (never.state, never.printed, never.facts["resamplings"]) == ("failed", None, "All")


def test_shots_of_one_run_stand_side_by_side(tmp_path):
    write_cell(tmp_path, "lasium-ro-gan-maml", 0.8, shots=(1, 5))
    write_run(tmp_path, "scratch", group="floor", tasks=40, answers=constant(0.5), budget="paper,1000,500")
    (table,) = filled(tmp_path, "table1-omniglot").tables
    assert [cell(table, "LASIUM-RO-GAN-MAML", f"{shot}-shot").state for shot in (1, 5)] == ["done", "done"]
    assert cell(table, "LASIUM-RO-GAN-MAML", "5-shot").printed.accuracy == pytest.approx(0.9529)
    assert cell(table, "Training from scratch", "1-shot").state == "done"


def test_floors_alone_make_no_table(tmp_path):
    write_run(tmp_path, "scratch", group="floor")
    assert filled(tmp_path, "table1-omniglot") is None
    assert filled(tmp_path, "figure5") is None


def test_other_datasets_only_on_request_and_then_without_the_papers_numbers(tmp_path):
    write_cell(tmp_path, "lasium-n-gan-maml", dataset="glyphs")
    assert filled(tmp_path) is None
    (table,) = filled(tmp_path, everywhere=True).tables
    assert not table.comparable
    assert cell(table, "N, σ² = 0.5", "GAN-MAML").printed is None


def test_points_that_the_paper_has_not_get_a_row_in_order(tmp_path):
    for epochs in (0, 25, 500):
        write_cell(tmp_path, "lasium-n-gan-maml", epochs=epochs)
    (table,) = filled(tmp_path, "figure5").tables
    titles = [row[0].cell.row.title for row in table.rows]
    assert titles[:5] == ["0", "10", "20", "25", "30"]
    assert titles[-1] == "Training from scratch"
    assert cell(table, "25").printed is None
    assert cell(table, "0").printed.accuracy == pytest.approx(0.5195)
    assert "epochs" not in " ".join(table.training)


def test_a_changed_dataset_is_another_training_and_says_so(tmp_path):
    for name in ("lasium-n-gan-maml", "lasium-ro-gan-maml"):
        write_cell(tmp_path, name)
        write_cell(tmp_path, name, 0.6, dataset="omniglot,invert=False")
    write_cell(tmp_path, "lasium-oc-gan-maml,query_shift=0", 0.5, dataset="omniglot,invert=False", query_shift=0)
    found = filled(tmp_path)
    told = {round(cell(t, "N, σ² = 0.5", "GAN-MAML").answer.estimate.mean, 1): t.training for t in found.tables}
    assert set(told) == {0.8, 0.6}
    assert "dataset.invert=False" in told[0.6]
    assert not any("invert" in phrase for phrase in told[0.8])
    ((_, training),) = found.singles
    assert {"dataset.invert=False", "query_shift=0"} <= set(training)


def test_other_images_of_the_papers_name_fill_none_of_its_tables(tmp_path):
    path = write_cell(tmp_path, "lasium-n-gan-maml")
    assert filled(tmp_path) is not None
    config = read_json(path / "run.json")["config"] | {"dataset": {"_target_": "bench.datasets.folder.Folder"}}
    edit_record(path, config=config)
    assert filled(tmp_path) is None
    (table,) = filled(tmp_path, everywhere=True).tables
    assert not table.comparable
    assert all(cell.printed is None for cell in table.cells if cell.state == "done")


def test_training_from_scratch_fits_a_table_of_any_length(tmp_path):
    for seed in range(3):
        write_cell(tmp_path, "umtra-maml", seed=seed, iterations=5000, epochs=None, shots=(1, 5))
        write_cell(tmp_path, "supervised-maml", seed=seed, iterations=5000, epochs=None, shots=(1, 5), group="ceiling")
    write_cell(tmp_path, "lasium-n-vae-maml", iterations=1000, epochs=10, generator="vae", shots=(1, 5))
    write_cell(tmp_path, "umtra-maml", iterations=1000, epochs=None, shots=(1, 5))
    # It is named after a budget that its meta-training, which it has not, would have taken.
    write_cell(tmp_path, "scratch", 0.5, iterations=30000, epochs=None, shots=(1, 5), group="floor", floor=True)
    found = filled(tmp_path, "table1-omniglot")
    assert len(found.tables) == 2
    assert [cell(table, "Training from scratch", "1-shot").state for table in found.tables] == ["done", "done"]
    assert not found.singles
