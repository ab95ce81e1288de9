"""What is drawn of a study: the numbers, from real studies of Optuna, and why a figure is not drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from analysis.figures.search import Course, course_of
from analysis.search.study import MIN_TRIALS, Study, read_study
from tests.analysis.fakes import make_compared, write_search_file
from tests.analysis.more_fakes import drawn, footer_of, plans_of
from tests.analysis.search.test_study import conditional, trial

ACCURACY, COST = ["val_accuracy", "maximize"], ["multiply_adds", "minimize"]


def read(folder: Path, trials: list[FrozenTrial], *objectives: list[str]) -> Study:
    """A study on disk, as a search leaves it, read again."""
    objectives = objectives or (ACCURACY,)
    directions = [direction for _, direction in objectives]
    storage = JournalStorage(JournalFileBackend(f"{folder}/study.log"))
    optuna.create_study(study_name="search", storage=storage, directions=directions).add_trials(trials)
    write_search_file(folder, objectives=list(objectives), storage=f"journal:///{folder}/study.log")
    return read_study(folder)


def pruned(**values: float) -> FrozenTrial:
    reported = {int(epoch.removeprefix("epoch")): value for epoch, value in values.items()}
    return optuna.trial.create_trial(state=TrialState.PRUNED, intermediate_values=reported)


def course_trials() -> list[FrozenTrial]:
    failed = trial(None, state=TrialState.FAIL, reason="no memory")
    running = trial(None, state=TrialState.RUNNING)
    known = trial([0.55], trial_id="a", known_before=True)
    return [known, running, trial([0.5]), pruned(epoch1=0.2, epoch2=0.4), failed, trial([0.7]), pruned(), trial([0.6])]


def test_the_course_has_each_trial_by_its_number_in_the_study(tmp_path: Path) -> None:
    assert course_of(read(tmp_path, course_trials())) == Course(
        complete=((2, 0.5), (5, 0.7), (7, 0.6)),
        known_before=((0, 0.55),),
        stopped=((3, 0.4),),
        stopped_without_value=(6,),
        failed=(4,),
        best=((0, 0.55), (2, 0.55), (5, 0.7), (7, 0.7)),
    )


def test_of_a_cost_the_best_is_the_least_and_an_accuracy_is_no_value(tmp_path: Path) -> None:
    trials = [trial([2.0]), trial([3.0]), pruned(epoch1=0.4), trial([1.0])]
    course = course_of(read(tmp_path, trials, COST))

    assert course.best == ((0, 2.0), (1, 2.0), (3, 1.0))
    assert (course.stopped, course.stopped_without_value) == ((), (2,))


def test_the_course_figure_counts_how_trials_ended_and_names_the_best(tmp_path: Path) -> None:
    figure = drawn("search-course", [make_compared()], read(tmp_path, course_trials()))
    labels = [text.get_text() for text in figure.legends[0].get_texts()]

    ended = ["3 complete", "1 known before", "1 stopped early", "1 stopped early, no value", "1 failed"]
    assert labels == [*ended, "best so far"]
    assert figure.axes[0].texts[0].get_text() == "best validation accuracy: 0.7, trial 5"
    assert np.asarray(figure.axes[0].lines[0].get_ydata()).tolist() == [0.55, 0.55, 0.7, 0.7]


def test_importances_are_bars_as_long_as_the_tables_numbers(tmp_path: Path) -> None:
    study = read(tmp_path, conditional(MIN_TRIALS))
    rows = study.importances[0].rows
    figure = drawn("search-importances", [make_compared()], study)
    lengths = [[bar.get_width() for bar in axes.patches] for axes in figure.axes]

    assert lengths[0] == pytest.approx([row.fanova or 0.0 for row in rows])
    assert lengths[1] == pytest.approx([row.ped_anova or 0.0 for row in rows])
    assert figure.axes[0].get_yticklabels()[0].get_text() == "backbone"
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts.count("-") == 2  # the two learning rates: not in all trials


def test_the_front_is_a_line_through_its_trials_in_the_colours_of_their_backbones(tmp_path: Path) -> None:
    results = [make_compared(seed=seed, backbone="VGG16") for seed in range(3)]
    values = [[0.7, 4e9], [0.6, 1e8], [0.5, 2e9]]
    trials = [trial(own, trial_id=r.trial_id) for own, r in zip(values, results, strict=True)]
    study = read(tmp_path, [*trials, trial([0.4, 3e9], trial_id="gone")], ACCURACY, COST)
    (axes,) = drawn("search-front", results, study).axes
    steps = next(line for line in axes.lines if len(np.asarray(line.get_xdata())) > 1)

    assert (np.asarray(steps.get_xdata()).tolist(), np.asarray(steps.get_ydata()).tolist()) == ([1e8, 4e9], [0.6, 0.7])
    assert [text.get_text() for text in axes.texts] == ["● VGG16", "● no row here"]
    assert axes.get_xscale() == "log"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("multiply-adds ↓", "validation accuracy ↑")


def test_why_a_figure_of_a_search_is_not_drawn(tmp_path: Path) -> None:
    plans = plans_of([make_compared()], read(tmp_path, [pruned(epoch1=0.3)]))

    assert plans["search-course"].why_not == "no trial of the study is complete"
    assert plans["search-importances"].why_not == "importances want 20 completed trials; there are 0"
    assert plans["search-front"].why_not == "a front is drawn of two objectives; the study has 1"
    assert {plan.draw for plan in plans.values()} == {None}
    (tmp_path / "search.json").unlink()
    for stem, plan in plans_of([make_compared()], read_study(tmp_path)).items():
        assert not stem.startswith("search") or "holds no search.json" in plan.why_not


def test_a_second_search_has_figures_of_its_own(tmp_path: Path) -> None:
    study = read(tmp_path, course_trials())
    plans = plans_of([make_compared()], study, study)
    assert [stem for stem in plans if stem.startswith("search-course")] == ["search-course", "search-course-2"]
    assert plans["search-course-2"].caption == 'The trials of the search "search", in order.'


def test_substituted_weights_are_counted_in_the_bottom_line(tmp_path: Path) -> None:
    result = make_compared(weights="random", weights_fingerprint="", dataset="simulated")
    figure = drawn("search-course", [result], read(tmp_path, [trial([0.5], trial_id=result.trial_id)]))
    assert "simulated galaxies, not comparable with the paper" in footer_of(figure)
    assert "random weights (ImageNet weights not found) in 1 trial" in footer_of(figure)
