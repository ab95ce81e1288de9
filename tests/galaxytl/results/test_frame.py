"""The rows of a results folder as a table for pandas."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from galaxytl.learning.metrics import evaluate
from galaxytl.results.frame import CURVES, SCORES, ResultsError, ResultsWarning, load_curves, load_results
from galaxytl.results.rows import append_results
from galaxytl.results.storage import Storage
from galaxytl.trial import COMPLETE, FAILED, SPEC_FIELDS, TrialResult, TrialSpec

SPEC = TrialSpec(dataset="simulated", dataset_fingerprint="0f3a", weights="random", weights_requested="random")
OLD = sorted((Path(__file__).parent / "rows").glob("schema-*"))
DONE = TrialResult(
    spec=SPEC.replace(unfrozen_blocks="all", learning_rate=1e-4),
    status=COMPLETE,
    metrics={"accuracy": 0.5, "loss": 1.25, "top_predicted_class": 3},
    history=({"epoch": 1, "loss": 2.0, "val_accuracy": 0.25}, {"epoch": 2, "loss": 1.5, "resumed": 1}),
    num_parameters={"total": 30, "trainable": 10},
    num_images={"train": 7, "test": 3},
    timings={"total": 2.5},
    environment={"device": "CPU", "host": "here"},
    started="2026-11-30T12:00:00+00:00",
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    append_results(tmp_path, DONE, TrialResult(spec=SPEC, status=FAILED, message="no memory"))
    return tmp_path


def test_a_trial_is_a_row_with_its_types(folder: Path) -> None:
    frame = load_results(folder)
    done, failed = frame.iloc[0], frame.iloc[1]
    assert list(frame.trial_id) == [DONE.trial_id, SPEC.trial_id]
    assert (done.status, done.accuracy, done.top_predicted_class, done.unfrozen_blocks) == ("COMPLETE", 0.5, 3, "all")
    assert (done.num_parameters, done.num_trainable_parameters, done.num_test_images) == (30, 10, 3)
    assert (done.seconds_total, done.last_epoch, done.device, done.host) == (2.5, 2, "CPU", "here")
    assert done.started == pd.Timestamp("2026-11-30T12:00:00Z")
    assert (failed.message, failed.last_epoch, failed.learning_rate) == ("no memory", 0, 1e-3)
    assert (done.epoch_scored, frame.epoch_scored.isna().tolist()) == (2, [False, True])
    assert frame.loc[1, ["accuracy", "num_parameters", "seconds_total", "started", "host"]].isna().all()
    kinds = {"status": "category", "weights": "category", "backbone": "string", "unfrozen_blocks": "string"}
    kinds |= {"seed": "int64", "learning_rate": "float64", "stratified": "bool", "accuracy": "float64"}
    kinds |= {"top_predicted_class": "Int64", "num_parameters": "Int64", "num_validation_images": "Int64"}
    assert {name: str(frame[name].dtype) for name in kinds} == kinds
    assert set(SPEC_FIELDS) < set(frame.columns)
    assert frame.columns.is_unique


def test_it_can_be_written_to_parquet(folder: Path, tmp_path: Path) -> None:
    frame = load_results(folder)
    frame.to_parquet(tmp_path / "trials.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "trials.parquet"), frame)


def test_no_trials_have_the_same_columns_and_types(folder: Path, tmp_path: Path) -> None:
    empty = tmp_path / "begun"
    empty.mkdir()
    (empty / "trials.jsonl").touch()
    assert load_results(empty).dtypes.to_dict() == load_results(folder).dtypes.to_dict()
    assert len(load_curves(empty)) == 0
    assert {name: str(kind) for name, kind in load_curves(empty).dtypes.items()} == CURVES


def test_an_epoch_is_a_row_of_the_curves(folder: Path) -> None:
    curves = load_curves(folder)
    assert list(curves.epoch) == [1, 2]
    assert list(curves.resumed) == [False, True]
    assert list(curves.loss) == [2.0, 1.5]
    assert curves.val_accuracy.isna().tolist() == [False, True]
    assert {name: str(kind) for name, kind in curves.dtypes.items()} == CURVES


@pytest.mark.parametrize("old", OLD, ids=lambda path: path.name)
def test_rows_of_earlier_versions_are_read(old: Path) -> None:
    frame = load_results(old)
    assert len(frame) == 3
    assert frame.accuracy[frame.status == "COMPLETE"].between(0, 1).all()
    assert set(load_curves(old).trial_id) <= set(frame.trial_id)


def test_what_is_wrong_with_rows_is_warned_of(folder: Path) -> None:
    with (folder / "trials.jsonl").open("ab") as file:
        file.write(b"{broken\n")
    with pytest.warns(ResultsWarning, match=r"trials.jsonl, line 3 was left out: a line"):
        assert len(load_results(str(folder))) == 2


def test_a_storage_is_read_by_its_uri_and_by_its_path(folder: Path, tmp_path: Path) -> None:
    lines = (folder / "trials.jsonl").read_bytes() + b"{broken\n"
    place = tmp_path / "shared" / "lr"
    Storage(str(place)).put("rows/g000001-000001.jsonl", lines)
    for text in (str(place), f"file://{place}"):
        with pytest.warns(ResultsWarning, match=rf"{text}/trials.jsonl, line 3 was left out"):
            pd.testing.assert_frame_equal(load_results(text), load_results(folder))


def test_where_there_are_no_results_it_says_so(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match="must lie in a folder that exists; got 'nowhere'"):
        load_results("nowhere")
    (tmp_path / "all" / "lr").mkdir(parents=True)
    with pytest.raises(ResultsError, match=r"must hold trials.jsonl; .* give the --out of a sweep"):
        load_results(tmp_path / "all")
    (folder / "trials.jsonl").rename(tmp_path / "all" / "lr" / "trials.jsonl")
    with pytest.raises(ResultsError, match=r"did you mean '.*/all/lr'"):
        load_results(tmp_path / "all")
    with pytest.raises(ResultsError, match="must have rows; got 'file://"):
        load_results(f"file://{tmp_path}/none")


def test_the_scores_are_those_of_a_trial() -> None:
    metrics, _ = evaluate(np.array([0, 1]), np.array([[0.9, 0.1], [0.2, 0.8]]))
    assert set(metrics) == set(SCORES)


def test_pandas_is_imported_when_it_is_called() -> None:
    code = "import sys, galaxytl.results.frame; sys.exit('pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
