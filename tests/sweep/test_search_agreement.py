"""Studies and rows that do not agree: from backups, after deleted lines, after a power failure."""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState
from rich.console import Console

from galaxytl.results import FILE_NAME, append_results, read_results
from galaxytl.trial import COMPLETE, FAILED, PRUNED, TrialResult
from sweep.kept import Kept
from sweep.options import parse
from sweep.search import Search
from sweep.search_agreement import mend_journal
from sweep.search_run import SearchRun
from sweep.search_study import StudyError, open_study
from tests.sweep.search_driver import set_up
from tests.sweep.searches import BASE, STATES, accuracy, failed, result_of, toy_trials

pytestmark = pytest.mark.usefixtures("databases_closed")

NUM_TRIALS = 12


def begun(out: Path, *arguments: object) -> SearchRun:
    """A toy search as the command line makes it, until it has said what it found."""
    out.mkdir(exist_ok=True)
    options = parse(["--search", "optuna", *map(str, ["--trials", NUM_TRIALS, "--out", out, *arguments])], "")
    options.study, options.storage = options.study or out.name, options.storage or f"sqlite:///{out}/study.db"
    setup = set_up(options, Console(quiet=True))
    study = open_study(options.storage, options.study, ["maximize"], setup.identity)
    return SearchRun(setup, Search(study, setup.problem), Kept(out))


def train(run: SearchRun, number: int) -> list[TrialResult]:
    """Ask for trials and have them end: every third FAILED, every third PRUNED after an epoch."""
    results = []
    for count, spec in enumerate(run.search.ask(number)):
        endings: Sequence[Callable[[], TrialResult]] = (
            lambda spec=spec: result_of(spec),  # type: ignore[misc]
            lambda spec=spec: result_of(spec, PRUNED, 1, message="asha: too low"),  # type: ignore[misc]
            lambda spec=spec: failed(spec),  # type: ignore[misc]
        )
        results.append(endings[count % 3]())
        run.finished(results[-1])
    return results


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "toy"


def searched(out: Path, number: int = 6) -> list[TrialResult]:
    run = begun(out)
    run.begin()
    return train(run, number)


def keep_rows(out: Path, kept: Callable[[int], bool]) -> None:
    """As if somebody had deleted the other lines."""
    lines = (out / FILE_NAME).read_text().splitlines(keepends=True)
    (out / FILE_NAME).write_text("".join(line for number, line in enumerate(lines) if kept(number)))


def copies(out: Path) -> list[Path]:
    return sorted(out.glob("study-*.db"))


def check_whole(out: Path) -> None:
    """The search goes on to its end: each trial has a row, and of each the study says last what its row says."""
    run = begun(out)
    run.begin()
    for spec in [*run.left, *run.search.ask(NUM_TRIALS)]:
        run.finished(result_of(spec))
    again = begun(out)
    assert "0 to go on with, 0 to ask for" in again.begin()[-1]
    rows = read_results(out).by_id()
    assert len(rows) == NUM_TRIALS
    told = {trial.user_attrs["trial_id"]: trial for trial in toy_trials(out) if "trial_id" in trial.user_attrs}
    assert {trial_id: trial.state for trial_id, trial in told.items()} == {i: STATES[r.status] for i, r in rows.items()}


def test_what_agrees_is_left_alone(out: Path) -> None:
    searched(out)
    before = toy_trials(out)
    assert begun(out).begin() == ["Trials    2 COMPLETE, 2 PRUNED, 2 FAILED; 0 to go on with, 6 to ask for"]
    assert (toy_trials(out), copies(out)) == (before, [])
    check_whole(out)
    assert copies(out) == []


def test_trials_whose_rows_were_deleted_are_trained_again(out: Path) -> None:
    results = searched(out)
    before = toy_trials(out)
    keep_rows(out, lambda number: number >= 3)  # a complete, a pruned and a failed one are gone
    run = begun(out)
    note, lost, counts = run.begin()
    (copy,) = copies(out)
    assert note == f"note: the study and the rows disagree; a copy of the study as it was: {copy}"
    assert lost == "note: 3 trials have ended in the study, but have no row: trained again"
    assert counts == "Trials    1 COMPLETE, 1 PRUNED, 1 FAILED; 3 to go on with, 6 to ask for"
    assert {spec.trial_id for spec in run.left} == {result.trial_id for result in results[:3]}

    kept = optuna.load_study(study_name="toy", storage=f"sqlite:///{copy}")
    assert kept.trials == before
    assert kept.user_attrs["identity"] == run.search.study.user_attrs["identity"]
    assert toy_trials(out)[:6] == before

    begun(out).begin()  # this driver dies before any of them ends: there is nothing more to do
    assert (len(toy_trials(out)), copies(out)) == (9, [copy])
    check_whole(out)
    assert copies(out) == [copy]


def test_a_trial_that_is_trained_again_is_stopped_like_any_other(out: Path) -> None:
    """By what it reports now."""
    searched(out)
    keep_rows(out, lambda number: number != 1)
    run = begun(out)
    run.begin()
    (spec,) = run.left
    run.search.epochs({spec.trial_id: {"epoch": 1, "val_accuracy": 0.01}})
    run.finished(result_of(spec, PRUNED, 1))
    trial = toy_trials(out)[-1]
    assert (trial.state, trial.user_attrs["trial_id"]) == (TrialState.PRUNED, spec.trial_id)
    assert trial.intermediate_values == {1: pytest.approx(0.01)}
    check_whole(out)


def test_a_study_from_an_older_backup_is_told_what_it_missed(out: Path, tmp_path: Path) -> None:
    run = begun(out)
    run.begin()
    train(run, 3)
    under_way = run.search.ask(2)
    with (
        contextlib.closing(sqlite3.connect(out / "study.db")) as study,
        contextlib.closing(sqlite3.connect(tmp_path / "backup.db")) as backup,
    ):
        study.backup(backup)
    run.finished(result_of(under_way[0]))
    later = train(run, 3)
    for path in out.glob("study.db*"):
        path.unlink()
    shutil.copy(tmp_path / "backup.db", out / "study.db")
    again = begun(out)
    note, told, counts = again.begin()
    (copy,) = copies(out)
    assert note.endswith(str(copy))
    assert told == "note: 3 trials have rows, but the study did not know them: told"
    assert counts == "Trials    3 COMPLETE, 2 PRUNED, 2 FAILED; 1 to go on with, 4 to ask for"
    assert again.left == under_way[1:]
    assert len(optuna.load_study(study_name="toy", storage=f"sqlite:///{copy}").trials) == 5
    assert {result.trial_id for result in later} <= {trial.user_attrs["trial_id"] for trial in toy_trials(out)}
    check_whole(out)
    assert copies(out) == [copy]


@pytest.mark.parametrize(("changed", "said"), [("score", "COMPLETE 0."), ("status", "FAIL")])
def test_a_row_that_says_otherwise_than_the_study_is_refused_and_nothing_changes(
    out: Path, changed: str, said: str
) -> None:
    first = searched(out)[0]
    other = {**first.history[-1], "val_accuracy": 0.999}
    append_results(out, result_of(first.spec, history=(other,)) if changed == "score" else failed(first.spec))
    before = toy_trials(out)
    with pytest.raises(StudyError) as caught:
        begun(out).begin()
    value = accuracy(first.spec, 10)
    assert f"in 'toy' 1 trials ended otherwise, as {first.trial_id}: COMPLETE {value:.6g}, its row {said}" in str(
        caught.value
    )
    assert "Put the right one back, or choose another --study, which is told all rows" in str(caught.value)
    assert (toy_trials(out), copies(out)) == (before, [])
    lines = begun(out, "--study", "other").begin()
    assert "note: 6 trials have rows, but the study did not know them: told" in lines


def test_a_study_in_a_folder_that_has_none_of_its_rows_is_refused(out: Path) -> None:
    """The folder is the wrong one, or its rows are lost: either way hours would be trained again unasked."""
    searched(out)
    (out / FILE_NAME).unlink()
    before = toy_trials(out)
    with pytest.raises(
        StudyError, match=r"6 trials of 'toy' have ended, and .*trials\.jsonl has a row of none\. Go on"
    ):
        begun(out).begin()
    assert (toy_trials(out), copies(out)) == (before, [])


def test_rows_that_the_space_does_not_have_are_said_and_left(out: Path) -> None:
    searched(out)
    append_results(out, result_of(BASE.replace(seed=7)))
    for _ in range(2):
        outside, _ = begun(out).begin()
        assert outside == "note: 1 rows are of trials that this search's space does not have: the study is not told"
    assert (len(toy_trials(out)), copies(out)) == (6, [])


def test_trials_of_other_sweeps_need_no_row_here(out: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    append_results(tmp_path / "other", result_of(BASE))
    run = begun(out, "--warm-start", tmp_path / "other")
    run.begin()
    train(run, 3)
    assert begun(out).begin() == ["Trials    1 COMPLETE, 1 PRUNED, 1 FAILED; 0 to go on with, 9 to ask for"]
    assert len(toy_trials(out)) == 4


def test_a_study_in_a_journal_is_copied_too(out: Path, tmp_path: Path) -> None:
    storage = ("--storage", f"journal:///{tmp_path}/journal")
    run = begun(out, *storage)
    run.begin()
    train(run, 3)
    keep_rows(out, lambda number: number != 0)
    lines = begun(out, *storage).begin()
    (copy,) = copies(out)
    assert lines[0].endswith(str(copy))
    assert [t.state for t in optuna.load_study(study_name="toy", storage=f"sqlite:///{copy}").trials] == [
        STATES[status] for status in (COMPLETE, PRUNED, FAILED)
    ]


def journal_of(out: Path, path: Path) -> str:
    url = f"journal:///{path}"
    run = begun(out, "--storage", url)
    run.begin()
    train(run, 3)
    return url


def test_a_half_written_line_of_a_journal_is_cut_off(out: Path, tmp_path: Path) -> None:
    """Optuna reads over it, appends to it, and then can read the file no more."""
    path = tmp_path / "journal"
    url = journal_of(out, path)
    assert mend_journal(url) == ""
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"op_code":8,"wor')
    said = mend_journal(url)
    (copy,) = [other for other in tmp_path.iterdir() if other.name.startswith("journal-")]
    assert said == f"note: the last line of {path} was half-written and was cut off; the file as it was: {copy}"
    assert path.read_bytes() == whole
    assert copy.read_bytes() == whole + b'{"op_code":8,"wor'
    for number in (0, 3):  # it can be written to, and opened again
        run = begun(out, "--storage", url)
        assert run.begin()[-1].endswith(f"0 to go on with, {9 - number} to ask for")
        train(run, 3)


def test_what_optuna_does_with_a_half_written_line(out: Path, tmp_path: Path) -> None:
    """Should this fail, `mend_journal` has nothing to do any more."""
    path = tmp_path / "journal"
    url = journal_of(out, path)
    path.write_bytes(path.read_bytes() + b'{"op_code":8,"wor')
    with pytest.raises(json.JSONDecodeError):
        train(begun(out, "--storage", url), 3)
    with pytest.raises(StudyError, match="one that is damaged may be moved away, as a new study is told all rows"):
        begun(out, "--storage", url)


@pytest.mark.parametrize("content", ["", "my notes\nmore of them", "one line"])
def test_what_is_no_journal_is_not_touched(tmp_path: Path, content: str) -> None:
    path = tmp_path / "file"
    path.write_text(content)
    assert mend_journal(f"journal:///{path}") == ""
    assert mend_journal(f"sqlite:///{path}") == ""
    assert path.read_text() == content
    assert list(tmp_path.iterdir()) == [path]


def test_a_study_that_was_moved_away_is_made_anew_of_the_rows(out: Path) -> None:
    searched(out)
    for path in out.glob("study.db*"):
        path.unlink()
    lines = begun(out).begin()
    assert lines[0] == "note: 6 trials have rows, but the study did not know them: told"
    assert copies(out) == []  # of nothing
    check_whole(out)
