"""Which trials are Table 1's where there are several folders, and that it is always said."""

from __future__ import annotations

from pathlib import Path

import pytest

from analysis.run.scope import ReportScope, scope_of
from analysis.trials.load import gather
from galaxytl.trial import TrialResult
from tests.analysis.fakes import make_compared, make_result, make_spec
from tests.analysis.folders import other_sweep, paper_grid, write_folder


def found_in(tmp_path: Path, **folders: list[TrialResult]) -> ReportScope:
    paths = [write_folder(tmp_path / name, results) for name, results in folders.items()]
    return scope_of(gather(paths), paths)


@pytest.mark.parametrize("first", ["paper", "other"])
def test_table_1_is_of_the_folder_with_one_common_setting(tmp_path: Path, first: str) -> None:
    results = {"paper": paper_grid(), "other": other_sweep(24)}
    found = found_in(tmp_path, **{first: results[first], **results})

    assert [folder.name for folder in found.table_folders] == ["paper"]
    assert [len(cell.results) for cell in found.grid.cells] == [1] * 6
    assert len(found.grid.outside) == 24
    assert f"Table 1 is of {tmp_path / 'paper'}. {tmp_path / 'other'}: " in found.table_origin
    assert "learning_rate" in found.table_origin


def test_of_two_grids_the_one_nearer_to_the_paper_gives_the_setting_in_either_order(tmp_path: Path) -> None:
    grids = {"a_sgd": paper_grid(optimizer="sgd"), "b_adam": paper_grid()}
    for order in (grids, dict(reversed(grids.items()))):
        found = found_in(tmp_path, **order)

        assert {r.spec.optimizer for r in found.grid.results} == {"adam"}
        assert found.beside_table == (
            f"{tmp_path / 'a_sgd'}: the 6 trials of the paper's cells differ from Table 1's in optimizer.",
        )


def test_a_whole_grid_goes_before_a_row_of_one_that_is_nearer_to_the_paper(tmp_path: Path) -> None:
    found = found_in(tmp_path, row=paper_grid()[:1], grid=paper_grid(optimizer="sgd"))
    assert [folder.name for folder in found.table_folders] == ["grid"]


def test_folders_of_one_setting_share_a_table(tmp_path: Path) -> None:
    found = found_in(tmp_path, zero=paper_grid(), one=paper_grid(seed=1))
    assert [folder.name for folder in found.table_folders] == ["one", "zero"]
    assert [len(cell.results) for cell in found.grid.cells] == [2] * 6
    assert found.beside_table == ()


def test_several_settings_and_trials_of_no_cell_have_no_table_and_the_way_out_is_said(tmp_path: Path) -> None:
    found = found_in(tmp_path, lr=other_sweep(24))

    assert found.grid is None
    assert found.why_no_table.startswith("There is no Table 1. ")
    assert "learning_rate: " in found.why_no_table
    assert "--where learning_rate=" in found.why_no_table

    found = found_in(tmp_path, unfreeze=[make_result(make_spec(unfrozen_blocks=2))])
    assert found.grid is None
    assert found.why_no_table == "There is no Table 1: of 1 trial, none is of the paper's cells."


def test_another_weights_file_stays_beside_the_table(tmp_path: Path) -> None:
    """The same settings, but one cell would average over two files of weights."""
    other = make_result(make_spec("VGG16", "ON", weights_fingerprint="beef", seed=1))

    found = found_in(tmp_path, paper=paper_grid(), other=[other])

    assert [r.spec.weights_fingerprint for r in found.grid.cell("VGG16", "ON").results] == ["f00dvgg16"]
    assert "one cell of Table 1 holds one weights file" in found.table_origin


def test_a_search_is_not_in_the_table_and_alone_lacks_none(tmp_path: Path) -> None:
    search = [make_compared(30), make_compared(20, seed=1)]
    alone, beside = found_in(tmp_path, search=search), found_in(tmp_path, paper=paper_grid(), search=search)

    assert (alone.grid, alone.why_no_table, alone.table_origin) == (None, "", "")
    assert (len(beside.grid.results), beside.grid.outside, len(beside.trials.results)) == (6, (), 8)
    for found in (alone, beside):
        assert len(found.search.results) == 2
