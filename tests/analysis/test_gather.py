"""Reading several folders: nothing is lost in silence, and datasets are never mixed."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from analysis.gather import AnalysisError, Trials, choose_dataset, gather, keep_where
from galaxytl.results import FILE_NAME, append_results
from galaxytl.trial import FAILED, TrialResult
from tests.analysis.fakes import make_result, make_spec


def folder_of(path: Path, *results: TrialResult) -> Path:
    path.mkdir()
    for result in results:
        append_results(path, result)
    return path


def test_gather_joins_folders_in_order_and_passes_on_a_half_written_last_line(tmp_path: Path) -> None:
    first = folder_of(tmp_path / "b", make_result(make_spec(seed=0)))
    second = folder_of(tmp_path / "a", make_result(make_spec(seed=1)))
    with (second / FILE_NAME).open("a") as file:
        file.write('{"schema":1,"trial_id":"12')

    trials = gather([first, second])

    assert [r.spec.seed for r in trials.results] == [0, 1]
    assert list(trials.folders.values()) == [first, second]
    (problem,) = trials.problems
    assert "line 2 (half-written)" in problem


def test_the_later_folder_wins_but_no_failure_hides_a_complete_row_of_the_same_trial(tmp_path: Path) -> None:
    first = folder_of(tmp_path / "a", make_result(accuracy=0.3))
    second = folder_of(tmp_path / "b", make_result(accuracy=0.4))
    failed = folder_of(tmp_path / "failed", make_result(status=FAILED, message="killed"))

    for order, accuracy in (([first, second], 0.4), ([second, first], 0.3), ([failed, first], 0.3)):
        trials = gather([*order, failed])
        assert [(r.status, r.metrics["accuracy"]) for r in trials.results] == [("COMPLETE", accuracy)]
        assert "is in several folders" in trials.problems[0]


def test_a_folder_above_the_results_is_told_where_they_are(tmp_path: Path) -> None:
    folder_of(tmp_path / "paper", make_result())
    with pytest.raises(AnalysisError, match=r"holds none\. Did you mean '.*/paper'\?"):
        gather([tmp_path])


def two_datasets() -> Trials:
    real, simulated = make_spec(), make_spec(dataset="simulated", dataset_fingerprint="51" * 32)
    return Trials((make_result(real), make_result(simulated)))


@pytest.mark.parametrize(("wanted", "name"), [("simulated", "simulated"), ("0f3a", "galaxy10_decals")])
def test_dataset_is_chosen_by_name_or_fingerprint(wanted: str, name: str) -> None:
    assert [r.spec.dataset for r in choose_dataset(two_datasets(), wanted).results] == [name]


def test_several_datasets_and_an_unknown_one_are_refused() -> None:
    with pytest.raises(AnalysisError, match=r"galaxy10_decals 0f3a.* \(1 trial\); simulated 5151.*--dataset"):
        choose_dataset(two_datasets(), None)
    with pytest.raises(AnalysisError, match="got 'galaxy_zoo'"):
        choose_dataset(two_datasets(), "galaxy_zoo")
    same_name = Trials(tuple(make_result(make_spec(dataset_fingerprint=mark * 32)) for mark in ("aa", "ab")))
    with pytest.raises(AnalysisError, match="'galaxy10_decals' fits 2 of"):
        choose_dataset(same_name, "galaxy10_decals")
    assert len(choose_dataset(same_name, "ab").results) == 1


def test_where_reads_values_as_their_field_does() -> None:
    trials = Trials(tuple(make_result(make_spec(learning_rate=rate)) for rate in (1e-3, 1e-4)))
    assert [r.spec.learning_rate for r in keep_where(trials, ["learning_rate=1e-4"]).results] == [1e-4]


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("learning_rat=1e-3", "Did you mean 'learning_rate'"),
        ("learning_rate", "field=value"),
        ("learning_rate=fast", "must be a number; got 'fast'"),
        ("learning_rate=0.5", "they have learning_rate=0.001"),
        ("weights_fingerprint=abc", "fits none of the trials"),
    ],
)
def test_bad_conditions_are_explained(condition: str, message: str) -> None:
    with pytest.raises(AnalysisError, match=message):
        keep_where(Trials((make_result(),)), [condition])


def test_weights_fingerprint_narrows_its_own_backbone_only() -> None:
    specs = [make_spec(weights_fingerprint=mark) for mark in ("aaaa", "bbbb")]
    specs += [make_spec("VGG16", "ON"), make_spec("MobileNet", "OFF")]
    kept = keep_where(Trials(tuple(make_result(s) for s in specs)), ["weights_fingerprint=bb"]).results
    assert [r.spec for r in kept] == specs[1:]


def test_trials_without_a_score_are_left_out_in_a_sentence(tmp_path: Path) -> None:
    whole = make_result(make_spec(seed=0))
    odd = [{}, {"accuracy": 0.5}, {"loss": 1.0}, {"accuracy": 1.5, "loss": 1.0}, {"accuracy": math.nan, "loss": 1.0}]
    results = [make_result(make_spec(seed=seed), metrics=metrics) for seed, metrics in enumerate(odd, start=1)]
    trials = gather([folder_of(tmp_path / "a", *results, whole)])
    assert [r.spec.seed for r in trials.results] == [0]
    (problem,) = trials.problems
    assert problem.endswith("must have an accuracy from 0 to 1 and a loss; 5 trials without them left out")
    with pytest.raises(AnalysisError, match="must have an accuracy"):
        gather([folder_of(tmp_path / "b", *results)])


def test_rows_of_a_newer_version_are_no_reason_to_train_again(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "a", make_result())
    path = folder / FILE_NAME
    path.write_text(path.read_text().replace('"schema":3', '"schema":4'))
    with pytest.raises(AnalysisError, match="written by a newer version") as caught:
        gather([folder])
    assert "Run the sweep again" not in str(caught.value)
