"""Reading several folders: nothing is lost in silence, and datasets are never mixed."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from analysis.trials.load import AnalysisError, Trials, choose_dataset, gather, keep_where
from galaxytl.results.rows import FILE_NAME, append_results
from galaxytl.trial import FAILED, TrialResult
from tests.analysis.fakes import make_confusion, make_history, make_result, make_spec, write_probabilities


def folder_of(path: Path, *results: TrialResult) -> Path:
    path.mkdir()
    for result in results:
        append_results(path, result)
    return path


def test_gather_joins_folders_and_passes_on_a_half_written_last_line(tmp_path: Path) -> None:
    first = folder_of(tmp_path / "b", make_result(make_spec(seed=0)))
    second = folder_of(tmp_path / "a", make_result(make_spec(seed=1)))
    with (second / FILE_NAME).open("a") as file:
        file.write('{"schema":1,"trial_id":"12')

    trials = gather([first, second])

    assert [r.spec.seed for r in trials.results] == [0, 1]
    assert list(trials.folders.values()) == [first, second]
    (problem,) = trials.problems
    assert "line 2 (half-written)" in problem


def test_a_copied_folder_is_the_same_trials_once(tmp_path: Path) -> None:
    """Whatever the copy's rows say of when and where they were computed; NaN is as NaN as NaN."""
    result = make_result(metrics={"accuracy": 0.5, "loss": math.nan, "kappa": 0.1})
    first = folder_of(tmp_path / "a", result)
    again = {"timings": {"total": 1.0}, "environment": {"host": "other"}, "started": "2031-01-01T00:00:00+00:00"}
    epochs = tuple({**epoch, "seconds": 9.0} for epoch in result.history)
    earlier = {name: value for name, value in result.metrics.items() if name != "kappa"}
    second = folder_of(tmp_path / "b", replace(result, history=epochs, metrics=earlier, **again))

    both = [gather(order) for order in ([first, second], [second, first], [second, first, second])]

    assert both[0] == both[1] == both[2]
    assert len(both[0].results) == 1
    (problem,) = both[0].problems
    assert f"COMPLETE in '{first}', COMPLETE in '{second}': that of '{first}' is used" in problem


def test_the_copy_whose_predictions_are_there_is_used(tmp_path: Path) -> None:
    result = make_result()
    bare, whole = folder_of(tmp_path / "a", result), folder_of(tmp_path / "b", result)
    write_probabilities(whole, result, [True] * 3)
    assert gather([bare, whole]).folders == {result.trial_id: whole}


@pytest.mark.parametrize(
    ("changes", "values"),
    [
        ({"accuracy": 0.4}, "accuracy is 0.3 in '{a}' and 0.4 in '{b}'"),
        (
            {"accuracy": 0.3, "confusion": make_confusion(0.4)},
            "confusion of class 0 with 0 is 97 in '{a}' and 130 in '{b}'",
        ),
        ({"accuracy": 0.3, "history": make_history(0.3, 2)}, "the number of epochs is 3 in '{a}' and 2 in '{b}'"),
        ({"accuracy": 0.3, "history": make_history(0.31, 3)}, "accuracy of epoch 1 is 0.256"),
        (
            {"status": FAILED, "message": "diverged: NaN", "metrics": {}},
            "status is COMPLETE in '{a}' and FAILED in '{b}'",
        ),
    ],
)
def test_rows_that_contradict_each_other_are_an_error_that_shows_both_values(
    tmp_path: Path, changes: dict[str, Any], values: str
) -> None:
    first, second = make_result(accuracy=0.3), make_result(**changes)
    folders = [folder_of(tmp_path / "a", first), folder_of(tmp_path / "b", second)]
    wanted = values.format(a=folders[0], b=folders[1])
    for order in (folders, folders[::-1]):
        with pytest.raises(AnalysisError) as caught:
            gather(order)
        assert f"trial {first.trial_id} has two: {wanted}" in str(caught.value)


def test_rows_of_one_folder_contradict_each_other_too(tmp_path: Path) -> None:
    rows = [make_result(accuracy=accuracy) for accuracy in (0.3, 0.4)]
    for number, order in enumerate((rows, rows[::-1])):
        folder = folder_of(tmp_path / str(number), *order)
        with pytest.raises(AnalysisError, match=r"accuracy is 0\.[34] in one row of '.*' and 0\.[34] in another"):
            gather([folder])


def test_rows_of_one_folder_that_agree_are_one_trial_in_any_order(tmp_path: Path) -> None:
    """Which host's counts does not hang on which came last; nor does which of two failures."""
    complete = [make_result(environment={"host": host}, started=f"2025-01-0{host}") for host in "12"]
    failures = [make_result(make_spec(seed=1), status=FAILED, message=text) for text in ("diverged: NaN", "killed")]
    retried = [make_result(make_spec(seed=2), status=FAILED, message="diverged: NaN"), make_result(make_spec(seed=2))]
    found = [
        gather([folder_of(tmp_path / str(number), *complete[::step], *failures[::step], *retried)])
        for number, step in enumerate((1, -1))
    ]
    assert found[0].results == found[1].results
    assert [r.message for r in found[0].results] == ["", "diverged: NaN", ""]
    assert not any("several folders" in problem for problem in found[0].problems)


def test_three_folders_and_a_field_that_an_earlier_version_lacks(tmp_path: Path) -> None:
    """Two that agree do not outvote the third; a part that was not counted contradicts nothing."""
    folders = [folder_of(tmp_path / name, make_result(accuracy=value)) for name, value in (("a", 0.3), ("b", 0.3))]
    earlier = make_result(accuracy=0.3, num_images={"train": 12415, "test": 5321}, class_names=())
    assert len(gather([*folders, folder_of(tmp_path / "earlier", earlier)]).results) == 1
    third = folder_of(tmp_path / "c", make_result(accuracy=0.4))
    for order in itertools.permutations([*folders, third]):
        with pytest.raises(AnalysisError, match=r"accuracy is 0\.3 in '.*/a' and 0\.4 in '.*/c'"):
            gather(order)


def test_a_failure_gives_way_to_an_end_in_another_folder_and_that_is_said(tmp_path: Path) -> None:
    endings = {"killed": "killed", "diverged": "diverged: NaN", "out": "out of memory"}
    folders = {
        name: folder_of(tmp_path / name, make_result(status=FAILED, message=text, started="2024-01-01"))
        for name, text in endings.items()
    }
    complete = folder_of(tmp_path / "complete", make_result())

    for order in itertools.permutations([complete, folders["killed"], folders["out"]]):
        trials = gather(order)
        assert [r.status for r in trials.results] == ["COMPLETE"]
        assert "FAILED in" in trials.problems[0]
    for order in itertools.permutations(folders.values()):
        assert [r.message for r in gather(order).results] == ["diverged: NaN"]


def test_trials_come_in_one_order_whoever_finished_first(tmp_path: Path) -> None:
    specs = [make_spec(learning_rate=rate, seed=seed) for rate in (1e-4, 1e-3) for seed in range(3)]
    specs += [make_spec(unfrozen_blocks=blocks, seed=2) for blocks in (1, "all")]
    results = [make_result(spec) for spec in specs]
    orders = [results, results[::-1], results[3:] + results[:3]]

    found = [gather([folder_of(tmp_path / str(number), *order)]) for number, order in enumerate(orders)]

    assert [r.spec for r in found[0].results] == specs
    assert found[0].results == found[1].results == found[2].results


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
