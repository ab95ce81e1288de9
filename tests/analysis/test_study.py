"""What a real Optuna study says, and that one which cannot be read is a sentence and no error."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.trial import FrozenTrial, TrialState

from analysis.study import MIN_TRIALS, Importance, Importances, case_of, front_of, importances_of, read_study
from tests.analysis.fakes import write_search_file

RATE = FloatDistribution(1e-5, 1e-1, log=True)


def trial(
    values: list[float] | None = None,
    params: dict[str, tuple[Any, BaseDistribution]] | None = None,
    state: TrialState = TrialState.COMPLETE,
    **attributes: Any,
) -> FrozenTrial:
    params = params or {"learning_rate": (1e-3, RATE)}
    return optuna.trial.create_trial(
        values=values,
        state=state,
        params={name: value for name, (value, _) in params.items()},
        distributions={name: kind for name, (_, kind) in params.items()},
        user_attrs=attributes,
    )


def study_of(trials: list[FrozenTrial], *directions: str) -> optuna.Study:
    study = optuna.create_study(directions=directions or ["maximize"])
    study.add_trials(trials)
    return study


def conditional(number: int) -> list[FrozenTrial]:
    """Trials where the backbone decides, the optimizer does nothing, and so does adam's own learning rate."""
    chance = random.Random(5)
    trials = []
    for i in range(number):
        backbone, optimizer = chance.choice(["MobileNet", "VGG16"]), ("sgd" if i % 3 == 0 else "adam")
        params: dict[str, tuple[Any, BaseDistribution]] = {
            "backbone": (backbone, CategoricalDistribution(["MobileNet", "VGG16"])),
            "optimizer": (optimizer, CategoricalDistribution(["adam", "sgd"])),
            f"learning_rate@{optimizer}": (10 ** chance.uniform(-5, -1), RATE),
            "head_units": (64, CategoricalDistribution([64])),
        }
        value = (0.8 if backbone == "MobileNet" else 0.2) + 0.02 * chance.random()
        trials.append(trial([value], params, trial_id=f"{i:016x}"))
    return trials


# Importances


def by_name(part: Importances) -> dict[str, Importance]:
    return {row.parameter: row for row in part.rows}


def test_the_parameter_that_decides_comes_first_by_both_measures() -> None:
    every = importances_of(study_of(conditional(60)))[0]
    rows = by_name(every)

    assert every.rows[0].parameter == "backbone"
    assert rows["backbone"].fanova == pytest.approx(1, abs=0.1)
    assert (rows["backbone"].ped_anova or 0) > (rows["optimizer"].ped_anova or 0)
    assert sum(row.fanova or 0 for row in every.rows) == pytest.approx(1)
    assert sum(row.ped_anova or 0 for row in every.rows) == pytest.approx(1)


def test_a_conditional_parameter_counts_its_trials_and_has_no_fanova_over_all() -> None:
    every, adam, sgd = importances_of(study_of(conditional(60)))

    assert by_name(every)["learning_rate@adam"].num_trials == 40
    assert by_name(every)["learning_rate@adam"].fanova is None
    assert by_name(every)["learning_rate@adam"].ped_anova is not None
    assert by_name(every)["backbone"].num_trials == 60
    assert (adam.case, adam.num_trials, sgd.case, sgd.num_trials) == ("adam", 40, "sgd", 20)
    assert by_name(adam)["learning_rate@adam"].fanova is not None
    assert "learning_rate@sgd" not in by_name(adam)


def test_a_parameter_with_one_choice_is_not_listed() -> None:
    assert "head_units" not in by_name(importances_of(study_of(conditional(60)))[0])


def test_importances_are_the_same_every_time() -> None:
    assert importances_of(study_of(conditional(30))) == importances_of(study_of(conditional(30)))


def choice(of: str) -> tuple[str, BaseDistribution]:
    return of, CategoricalDistribution(["x", "y"])


def test_the_best_are_the_highest_or_the_lowest_as_the_direction_says() -> None:
    trials = []
    for i in range(40):
        is_top, is_bottom = i < 5, i >= 35
        value = 0.5 + 0.4 * is_top - 0.4 * is_bottom + i * 1e-4
        params = {"top": choice("x" if is_top else "y"), "bottom": choice("x" if is_bottom else "y")}
        trials.append(trial([value], params))

    for direction, parameter in (("maximize", "top"), ("minimize", "bottom")):
        rows = importances_of(study_of(trials, direction))[0].rows
        assert max(rows, key=lambda row: row.ped_anova or 0).parameter == parameter


def test_where_most_trials_are_equally_good_ped_anova_cannot_tell() -> None:
    trials = [trial([0.9 if i < 3 else 0.1], {"top": choice("x" if i < 3 else "y")}) for i in range(40)]

    (row,) = importances_of(study_of(trials))[0].rows

    assert (row.parameter, row.fanova, row.ped_anova) == ("top", 1.0, None)


def test_where_all_trials_chose_alike_fanova_cannot_tell() -> None:
    (row,) = importances_of(study_of([trial([i / 100]) for i in range(MIN_TRIALS)]))[0].rows

    assert (row.parameter, row.fanova) == ("learning_rate", None)


@pytest.mark.parametrize(
    ("trials", "note"),
    [
        (conditional(MIN_TRIALS - 1), f"importances want {MIN_TRIALS} completed trials; there are {MIN_TRIALS - 1}"),
        ([], f"importances want {MIN_TRIALS} completed trials; there are 0"),
        ([trial([0.1])] * MIN_TRIALS, "all completed trials have the same value"),
        (
            [trial([i / 100], {"head_units": (64, CategoricalDistribution([64]))}) for i in range(MIN_TRIALS)],
            "no parameter has more than one value to choose from",
        ),
    ],
)
def test_importances_that_would_mean_nothing_are_not_given(trials: list[FrozenTrial], note: str) -> None:
    every = importances_of(study_of(trials))[0]

    assert (every.rows, every.note) == ((), note)


def test_trials_that_are_not_complete_have_no_say() -> None:
    others = [trial(None, state=state) for state in (TrialState.PRUNED, TrialState.FAIL)] * MIN_TRIALS

    assert importances_of(study_of(others + conditional(3)))[0].num_trials == 3


def test_the_case_of_a_parameter_stands_behind_the_at_sign() -> None:
    assert [case_of(name) for name in ("learning_rate@sgd", "backbone", "unfrozen_blocks@VGG16")] == [
        "sgd",
        "",
        "VGG16",
    ]


# Pareto front


def test_the_front_is_the_trials_that_no_other_beats() -> None:
    values = {"cheap": [0.5, 10.0], "good": [0.9, 90.0], "beaten": [0.4, 20.0], "between": [0.7, 50.0]}
    study = study_of([trial(own, trial_id=name) for name, own in values.items()], "maximize", "minimize")

    assert [(t.trial_id, t.values) for t in front_of(study)] == [
        ("good", (0.9, 90.0)),
        ("between", (0.7, 50.0)),
        ("cheap", (0.5, 10.0)),
    ]


def test_one_objective_has_no_front() -> None:
    assert front_of(study_of(conditional(3))) == ()


# Storages


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A results folder with a search.json and its study of 21 complete trials and one suggestion that was no trial."""
    results = tmp_path / "results"
    results.mkdir()
    write_search_file(results)
    fill(f"sqlite:///{results}/study.db")
    return results


def fill(storage: str | optuna.storages.BaseStorage) -> None:
    refused = trial(None, state=TrialState.FAIL, reason="equal to an earlier trial, 0123456789abcdef")
    study = optuna.create_study(study_name="search", storage=storage, direction="maximize")
    study.add_trials([*conditional(MIN_TRIALS + 1), refused])


def test_the_study_that_search_json_names_is_read(folder: Path) -> None:
    study = read_study(folder)

    assert study.note == ""
    assert study.importances[0].num_trials == MIN_TRIALS + 1
    assert study.importances[0].rows[0].parameter == "backbone"
    assert study.refused == (("equal to an earlier trial, 0123456789abcdef", 1),)
    assert study.settings is not None
    assert "40 trials asked for, TPESampler in sweep.space:space to maximize val_accuracy" in str(study.settings)


def test_reading_changes_nothing(folder: Path) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    read_study(folder)

    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_log_that_is_still_written_is_read_too(folder: Path) -> None:
    import sqlite3

    with sqlite3.connect(folder / "study.db") as writer:
        assert writer.execute("PRAGMA journal_mode=WAL").fetchone() == ("wal",)
        assert read_study(folder).importances[0].num_trials == MIN_TRIALS + 1
    writer.close()


def test_optunas_log_and_warnings_are_as_before(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    optuna.logging.set_verbosity(optuna.logging.INFO)
    capfd.readouterr()

    read_study(folder)

    assert optuna.logging.get_verbosity() == optuna.logging.INFO
    assert capfd.readouterr() == ("", "")


def test_a_results_folder_that_was_moved_takes_its_study_along(folder: Path) -> None:
    moved = folder.rename(folder.parent / "elsewhere")

    assert read_study(moved).note == ""


def test_another_storage_goes_before_the_named_one(folder: Path) -> None:
    (folder / "study.db").rename(folder.parent / "copy.db")

    assert "study.db is not there. Pass --storage" in read_study(folder).note
    assert not (folder / "study.db").exists()
    assert read_study(folder, f"sqlite:///{folder.parent}/copy.db").note == ""


def test_a_journal_is_read(folder: Path) -> None:
    path = folder / "study.log"
    fill(optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(path))))
    write_search_file(folder, storage=f"journal://{path}")

    assert read_study(folder).importances[0].num_trials == MIN_TRIALS + 1
    assert "is not there" in read_study(folder, "journal:///nowhere/study.log").note


@pytest.mark.parametrize(
    ("settings", "note"),
    [
        ({"study": "another"}, "holds no study called 'another'"),
        ({"storage": "mysql://me:***@host/db"}, r"the password of mysql://me:***@host/db is not kept"),
        ({"storage": "nonsense"}, "it is no URL of a database"),
        ({"storage": "nosuchdatabase://me:secret@host/db"}, "nosuchdatabase://me:***@host/db cannot be read"),
        ({"format": 2}, "must be of format 1; got 2"),
        ({"objectives": []}, "objectives must name at least one"),
        ({"num_trials": "many"}, "lacks or garbles a setting"),
    ],
)
def test_a_study_that_cannot_be_read_says_why(folder: Path, settings: dict[str, Any], note: str) -> None:
    write_search_file(folder, **settings)

    study = read_study(folder)

    assert note in study.note
    assert "secret" not in study.note
    assert (study.importances, study.front) == ((), ())


def test_a_file_that_is_no_study_says_so(folder: Path) -> None:
    (folder / "study.db").write_text("no database, but long enough to be looked at as one" * 30)

    assert "cannot be read: file is not a database" in read_study(folder).note


def test_an_empty_database_is_left_empty(folder: Path) -> None:
    (folder / "study.db").write_bytes(b"")

    assert "cannot be read: no such table" in read_study(folder).note
    assert (folder / "study.db").read_bytes() == b""


def test_a_folder_without_search_json_says_so(folder: Path) -> None:
    (folder / "search.json").unlink()
    assert "holds no search.json" in read_study(folder).note

    (folder / "search.json").write_text("{")
    assert "search.json cannot be read" in read_study(folder).note
