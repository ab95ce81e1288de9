"""What a real Optuna study says, and that one which cannot be read is a sentence and no error."""

from __future__ import annotations

import contextlib
import json
import random
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
)
from optuna.trial import FrozenTrial, TrialState

from analysis.search.study import MIN_TRIALS, Importance, Importances, case_of, front_of, importances_of, read_study
from galaxytl.results.rows import append_results
from galaxytl.results.search.asked_file import Ending, Suggestion, append_asked
from galaxytl.trial import COMPLETE, PRUNED, TrialResult, TrialSpec
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


def by_name(part: Importances) -> dict[str, Importance]:
    return {row.parameter: row for row in part.rows}


def test_importances_are_of_all_trials_and_then_of_each_case() -> None:
    """By both measures the parameter that decides comes first; one with a single choice is not listed, and one that
    some trials lack has no fANOVA over all."""
    every, adam, sgd = importances_of(study_of(conditional(60)))
    rows = by_name(every)

    assert every.rows[0].parameter == "backbone"
    assert rows.keys() == {"backbone", "optimizer", "learning_rate@adam", "learning_rate@sgd"}
    assert (rows["backbone"].num_trials, rows["learning_rate@adam"].num_trials) == (60, 40)
    assert rows["backbone"].fanova == pytest.approx(1, abs=0.1)
    assert rows["learning_rate@adam"].fanova is None
    assert rows["learning_rate@adam"].ped_anova is not None
    assert (rows["backbone"].ped_anova or 0) > (rows["optimizer"].ped_anova or 0)
    assert sum(row.fanova or 0 for row in every.rows) == pytest.approx(1)
    assert sum(row.ped_anova or 0 for row in every.rows) == pytest.approx(1)
    assert (adam.case, adam.num_trials, sgd.case, sgd.num_trials) == ("adam", 40, "sgd", 20)
    assert by_name(adam)["learning_rate@adam"].fanova is not None
    assert "learning_rate@sgd" not in by_name(adam)


def test_importances_are_the_same_every_time() -> None:
    assert importances_of(study_of(conditional(MIN_TRIALS))) == importances_of(study_of(conditional(MIN_TRIALS)))


def choice(of: str) -> tuple[str, BaseDistribution]:
    return of, CategoricalDistribution(["x", "y"])


def test_the_best_are_the_highest_or_the_lowest_as_the_direction_says() -> None:
    trials = [
        trial(
            [0.5 + 0.4 * (i < 5) - 0.4 * (i >= 35) + i * 1e-4],
            {"top": choice("x" if i < 5 else "y"), "bottom": choice("x" if i >= 35 else "y")},
        )
        for i in range(40)
    ]
    for direction, parameter in (("maximize", "top"), ("minimize", "bottom")):
        rows = importances_of(study_of(trials, direction))[0].rows
        assert max(rows, key=lambda row: row.ped_anova or 0).parameter == parameter


def test_a_measure_that_cannot_tell_is_none() -> None:
    """PED-ANOVA where most trials are equally good, fANOVA where all chose alike."""
    equal = [trial([0.9 if i < 3 else 0.1], {"top": choice("x" if i < 3 else "y")}) for i in range(40)]
    alike = [trial([i / 100]) for i in range(MIN_TRIALS)]
    (top,), (rate,) = (importances_of(study_of(trials))[0].rows for trials in (equal, alike))

    assert (top.parameter, top.fanova, top.ped_anova) == ("top", 1.0, None)
    assert (rate.parameter, rate.fanova) == ("learning_rate", None)


ONE_CHOICE = {"head_units": (64, CategoricalDistribution([64]))}


@pytest.mark.parametrize(
    ("trials", "note"),
    [
        (conditional(MIN_TRIALS - 1), f"importances want {MIN_TRIALS} completed trials; there are {MIN_TRIALS - 1}"),
        ([trial(state=TrialState.PRUNED)] * MIN_TRIALS, f"importances want {MIN_TRIALS} completed trials; there are 0"),
        ([trial([0.1])] * MIN_TRIALS, "all completed trials have the same value"),
        ([trial([i], ONE_CHOICE) for i in range(MIN_TRIALS)], "no parameter has more than one value to choose from"),
    ],
)
def test_importances_that_would_mean_nothing_are_not_given(trials: list[FrozenTrial], note: str) -> None:
    every = importances_of(study_of(trials))[0]
    assert (every.rows, every.note) == ((), note)


def test_the_case_of_a_parameter_stands_behind_the_at_sign() -> None:
    names = ("learning_rate@sgd", "backbone", "unfrozen_blocks@VGG16")
    assert [case_of(name) for name in names] == ["sgd", "", "VGG16"]


def test_the_front_is_the_trials_that_no_other_beats() -> None:
    values = {"cheap": [0.5, 10.0], "good": [0.9, 90.0], "beaten": [0.4, 20.0], "between": [0.7, 50.0]}
    study = study_of([trial(own, trial_id=name) for name, own in values.items()], "maximize", "minimize")

    front = [(t.trial_id, t.values) for t in front_of(study)]
    assert front == [("good", (0.9, 90.0)), ("between", (0.7, 50.0)), ("cheap", (0.5, 10.0))]
    assert front_of(study_of(conditional(3))) == ()  # one objective


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a study of 21 complete trials, a running one, and a suggestion that was no trial."""
    path = tmp_path_factory.mktemp("database") / "study.db"
    fill(f"sqlite:///{path}", MIN_TRIALS + 1)
    return path


@pytest.fixture
def folder(tmp_path: Path, database: Path) -> Path:
    """A results folder with a search.json and that study."""
    results = tmp_path / "results"
    results.mkdir()
    write_search_file(results)
    shutil.copy(database, results)
    return results


def fill(storage: str | optuna.storages.BaseStorage, number: int) -> None:
    refused = trial(None, state=TrialState.FAIL, reason="equal to an earlier trial, 0123456789abcdef")
    study = optuna.create_study(study_name="search", storage=storage, direction="maximize")
    study.add_trials([*conditional(number), refused, trial(None, state=TrialState.RUNNING)])


def test_the_study_that_search_json_names_is_read(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """And nothing else happens: no file changes, Optuna says nothing, and its log stays as loud as it was."""
    optuna.logging.set_verbosity(optuna.logging.INFO)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    capfd.readouterr()

    study = read_study(folder)

    assert optuna.logging.get_verbosity() == optuna.logging.INFO
    assert capfd.readouterr() == ("", "")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert study.note == ""
    assert study.importances[0].num_trials == MIN_TRIALS + 1
    assert study.importances[0].rows[0].parameter == "backbone"
    assert [t.number for t in study.trials] == list(range(MIN_TRIALS + 2))
    assert study.refused == (("equal to an earlier trial, 0123456789abcdef", 1),)
    assert "40 trials asked for, TPESampler in sweep.space:space to maximize val_accuracy" in str(study.settings)


def test_a_log_that_is_still_written_is_read_too(folder: Path) -> None:
    with contextlib.closing(sqlite3.connect(folder / "study.db")) as writer, writer:
        assert writer.execute("PRAGMA journal_mode=WAL").fetchone() == ("wal",)
        assert read_study(folder).importances[0].num_trials == MIN_TRIALS + 1


def test_a_study_is_looked_for_beside_its_search_json_and_at_another_storage(folder: Path) -> None:
    folder = folder.rename(folder.parent / "elsewhere")
    assert read_study(folder).note == ""

    (folder / "study.db").rename(folder / "copy.db")
    assert "study.db is not there. Pass --storage" in read_study(folder).note
    assert not (folder / "study.db").exists()
    assert read_study(folder, f"sqlite:///{folder}/copy.db").note == ""


def test_a_journal_is_read(tmp_path: Path) -> None:
    path = tmp_path / "study.log"
    fill(optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(path))), 2)
    write_search_file(tmp_path, storage=f"journal://{path}")

    assert read_study(tmp_path).importances[0].num_trials == 2
    assert "is not there" in read_study(tmp_path, "journal:///nowhere/study.log").note


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


@pytest.mark.parametrize(
    ("name", "content", "note"),
    [
        ("study.db", "no database, but long enough to be looked at as one" * 30, "file is not a database"),
        ("study.db", "", "cannot be read: no such table"),
        ("search.json", "{", "search.json cannot be read"),
        ("search.json", None, "holds no search.json"),
    ],
)
def test_a_damaged_file_says_so_and_stays_as_it_is(folder: Path, name: str, content: str | None, note: str) -> None:
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_text(content)

    assert note in read_study(folder).note
    assert content is None or (folder / name).read_text() == content


def test_a_study_is_made_of_what_was_asked_and_the_rows_as_its_database_would_give_it(tmp_path: Path) -> None:
    """Ended, refused, known before and under way; the database that search.json names is not asked for."""
    spec = TrialSpec(dataset="d", dataset_fingerprint="f", validation_fraction=0.1, scored_on="validation")
    write_search_file(tmp_path, storage="sqlite:////nowhere/study.db")
    lines: list[dict[str, Any]] = [{"asked": 1, "search": {}}]
    for number in range(MIN_TRIALS + 1):
        own = spec.replace(seed=number)
        distributions = {"seed": json.loads(distribution_to_json(IntDistribution(0, 99)))}
        lines.append(Suggestion({"seed": number}, distributions, own.trial_id, {"seed": number}).to_line())
        history = ({"epoch": 1.0, "val_accuracy": number / 30, "val_loss": 1.0},)
        append_results(tmp_path, TrialResult(spec=own, status=PRUNED if number == 3 else COMPLETE, history=history))
    known = Suggestion({}, {}, "earlier", is_uncounted=True, known=Ending(COMPLETE, (0.9,)))
    refused = Suggestion({}, {}, reason="equal to an earlier trial, 0123456789abcdef")
    lines += [known.to_line(), refused.to_line(), Suggestion({}, {}, "under way").to_line()]
    append_asked(tmp_path, lines)

    study = read_study(tmp_path)

    assert study.note == ""
    assert [trial.number for trial in study.trials] == list(range(MIN_TRIALS + 3))
    assert (study.trials[3].status, study.trials[3].stopped_at, study.trials[3].values) == (PRUNED, 0.1, ())
    assert (study.trials[-2].known_before, study.trials[-2].values) == (True, (0.9,))
    assert study.refused == (("equal to an earlier trial, 0123456789abcdef", 1),)
    assert study.importances[0].rows[0].parameter == "seed"
    with (tmp_path / "asked.jsonl").open("a") as file:
        file.write(json.dumps({"params": {"x": 1}, "distributions": {"x": {"name": "Odd"}}, "reason": "r"}) + "\n")
    assert "asked.jsonl cannot be read: " in read_study(tmp_path).note
