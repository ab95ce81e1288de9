"""Studies and rows that do not agree: from backups, after deleted lines, after a power failure."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from galaxytl.results.rows import FILE_NAME, append_results, read_results
from galaxytl.trial import PRUNED, TrialResult
from sweep.search.reconcile import mend_journal
from sweep.search.run import SearchRun
from sweep.search.study import StudyError
from tests.sweep.search_driver import Toy
from tests.sweep.searches import BASE, STATES, accuracy, failed, result_of

pytestmark = pytest.mark.usefixtures("databases_closed")

NUM_TRIALS = 12


@pytest.fixture
def toy(tmp_path: Path) -> Toy:
    return Toy(tmp_path / "toy", NUM_TRIALS)


def train(run: SearchRun, number: int) -> list[TrialResult]:
    """Ask for trials and have them end: every third PRUNED after an epoch, every third FAILED."""
    results = []
    for count, spec in enumerate(run.search.ask(number)):
        stopped = result_of(spec, PRUNED, 1, message="asha: too low")
        results.append((result_of(spec), stopped, failed(spec))[count % 3])
        run.finished(results[-1])
    return results


def searched(toy: Toy, number: int = 6) -> list[TrialResult]:
    return train(toy.begin()[0], number)


def keep_rows(out: Path, kept: Callable[[int], bool]) -> None:
    """As if somebody had deleted the other lines."""
    lines = (out / FILE_NAME).read_text().splitlines(keepends=True)
    (out / FILE_NAME).write_text("".join(line for number, line in enumerate(lines) if kept(number)))


def copies(toy: Toy) -> list[Path]:
    return sorted(toy.out.glob("study-*.db"))


def check_whole(toy: Toy) -> None:
    """The search goes on to its end: each trial has a row, and of each the study says last what its row says."""
    run, _ = toy.begin()
    for spec in [*run.left, *run.search.ask(NUM_TRIALS)]:
        run.finished(result_of(spec))
    assert "0 to go on with, 0 to ask for" in toy.begin()[1][-1]
    rows = read_results(toy.out).by_id()
    assert len(rows) == NUM_TRIALS
    last = {trial.user_attrs["trial_id"]: trial.state for trial in toy.study.trials if "trial_id" in trial.user_attrs}
    assert last == {trial_id: STATES[row.status] for trial_id, row in rows.items()}


def test_what_agrees_is_left_alone(toy: Toy) -> None:
    searched(toy)
    before = toy.study.trials
    assert toy.begin()[1] == ["Trials    2 COMPLETE, 2 PRUNED, 2 FAILED; 0 to go on with, 6 to ask for"]
    assert toy.study.trials == before
    check_whole(toy)
    assert copies(toy) == []


def test_trials_whose_rows_were_deleted_are_trained_again(tmp_path: Path, url: str) -> None:
    toy = Toy(tmp_path / "toy", NUM_TRIALS, url)
    results = searched(toy)
    before = toy.study.trials
    keep_rows(toy.out, lambda number: number >= 3)  # a complete, a pruned and a failed one are gone
    run, (note, lost, counts) = toy.begin()
    (copy,) = copies(toy)
    assert note == f"note: the study and the rows disagree; a copy of the study as it was: {copy}"
    assert lost == "note: 3 trials have ended in the study, but have no row: trained again"
    assert counts == "Trials    1 COMPLETE, 1 PRUNED, 1 FAILED; 3 to go on with, 6 to ask for"
    assert {spec.trial_id for spec in run.left} == {result.trial_id for result in results[:3]}

    kept = optuna.load_study(study_name="toy", storage=f"sqlite:///{copy}")
    assert kept.trials == before
    assert kept.user_attrs["identity"] == run.search.study.user_attrs["identity"]
    assert toy.study.trials[:6] == before

    toy.begin()  # this driver dies before any of them ends: there is nothing more to do
    assert (len(toy.study.trials), copies(toy)) == (9, [copy])
    check_whole(toy)
    assert copies(toy) == [copy]


def test_a_trial_that_is_trained_again_is_stopped_like_any_other(toy: Toy) -> None:
    """By what it reports now."""
    searched(toy)
    keep_rows(toy.out, lambda number: number != 1)
    run, _ = toy.begin()
    (spec,) = run.left
    run.search.epochs({spec.trial_id: {"epoch": 1, "val_accuracy": 0.01}})
    run.finished(result_of(spec, PRUNED, 1))
    trial = toy.study.trials[-1]
    assert (trial.state, trial.user_attrs["trial_id"]) == (TrialState.PRUNED, spec.trial_id)
    assert trial.intermediate_values == {1: pytest.approx(0.01)}
    check_whole(toy)


def test_a_study_from_an_older_backup_is_told_what_it_missed(toy: Toy) -> None:
    run, _ = toy.begin()
    train(run, 3)
    under_way = run.search.ask(2)
    backup = optuna.storages.InMemoryStorage()
    optuna.copy_study(from_study_name="toy", from_storage=toy.memory, to_storage=backup)
    run.finished(result_of(under_way[0]))
    later = train(run, 3)
    toy.memory = backup
    again, (note, told, counts) = toy.begin()
    (copy,) = copies(toy)
    assert note.endswith(str(copy))
    assert told == "note: 3 trials have rows, but the study did not know them: told"
    assert counts == "Trials    3 COMPLETE, 2 PRUNED, 2 FAILED; 1 to go on with, 4 to ask for"
    assert again.left == under_way[1:]
    assert len(optuna.load_study(study_name="toy", storage=f"sqlite:///{copy}").trials) == 5
    assert {result.trial_id for result in later} <= {trial.user_attrs["trial_id"] for trial in toy.study.trials}
    check_whole(toy)
    assert copies(toy) == [copy]


@pytest.mark.parametrize("changed", ["score", "status"])
def test_a_row_that_says_otherwise_than_the_study_is_refused_and_nothing_changes(toy: Toy, changed: str) -> None:
    complete, *_ = searched(toy)
    if changed == "score":
        other = result_of(complete.spec, history=({**complete.history[-1], "val_accuracy": 0.999},))
        ended = f"{other.trial_id}: COMPLETE {accuracy(other.spec, 10):.6g}, its row COMPLETE 0.999."
    else:
        other = dataclasses.replace(complete, status=PRUNED)
        ended = f"{other.trial_id}: COMPLETE {accuracy(other.spec, 10):.6g}, its row PRUNED"
    append_results(toy.out, other)
    before = toy.study.trials
    with pytest.raises(StudyError) as caught:
        toy.begin()
    assert f"in 'toy' 1 trials ended otherwise, as {ended}" in str(caught.value)
    assert "Put the right one back, or choose another --study, which is told all rows" in str(caught.value)
    assert (toy.study.trials, copies(toy)) == (before, [])
    assert "note: 6 trials have rows, but the study did not know them: told" in toy.begin("--study", "other")[1]


def test_a_study_in_a_folder_that_has_none_of_its_rows_is_refused(toy: Toy) -> None:
    """The folder is the wrong one, or its rows are lost: either way hours would be trained again unasked."""
    searched(toy)
    (toy.out / FILE_NAME).unlink()
    before = toy.study.trials
    message = r"6 trials of 'toy' have ended, and .*trials\.jsonl has a row of none\. Go on"
    with pytest.raises(StudyError, match=message):
        toy.begin()
    assert (toy.study.trials, copies(toy)) == (before, [])


def test_rows_that_the_space_does_not_have_are_said_and_left(toy: Toy) -> None:
    searched(toy)
    append_results(toy.out, result_of(BASE.replace(seed=7)))
    for _ in range(2):
        outside, _ = toy.begin()[1]
        assert outside == "note: 1 rows are of trials that this search's space does not have: the study is not told"
    assert (len(toy.study.trials), copies(toy)) == (6, [])


def test_trials_of_other_sweeps_need_no_row_here(toy: Toy, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    append_results(tmp_path / "other", result_of(BASE))
    train(toy.begin("--warm-start", tmp_path / "other")[0], 3)
    assert toy.begin()[1] == ["Trials    1 COMPLETE, 1 PRUNED, 1 FAILED; 0 to go on with, 9 to ask for"]
    assert len(toy.study.trials) == 4


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "journal"


@pytest.fixture
def in_journal(journal: Path, tmp_path: Path) -> Toy:
    """Three trials have ended."""
    toy = Toy(tmp_path / "toy", NUM_TRIALS, f"journal:///{journal}")
    searched(toy, 3)
    return toy


def test_a_study_in_a_journal_is_copied_too(in_journal: Toy) -> None:
    before = in_journal.study.trials
    keep_rows(in_journal.out, lambda number: number != 0)
    _, lines = in_journal.begin()
    (copy,) = copies(in_journal)
    assert lines[0].endswith(str(copy))
    kept = optuna.load_study(study_name="toy", storage=f"sqlite:///{copy}").trials
    assert [(trial.state, trial.params) for trial in kept] == [(trial.state, trial.params) for trial in before]


ENDS = {
    "half a line": b'{"op_code":8,"wor',
    "a damaged line": b'{"op_code":8,"wor\n',
    "NULs": bytes(4096),
    "NULs and an end": bytes(4096) + b"\n",
    "several": b'{"op_code":8\n\xff\n[1]\n',
    "nested": b"[" * 100_000 + b"\n",
}


@pytest.mark.parametrize("half", ENDS.values(), ids=ENDS)
def test_a_damaged_end_of_a_journal_is_cut_off(half: bytes, in_journal: Toy, journal: Path) -> None:
    """Optuna reads over it, appends to it, and then can read the file no more."""
    assert mend_journal(in_journal.url) == ""
    whole = journal.read_bytes()
    journal.write_bytes(whole + half)
    said = mend_journal(in_journal.url)
    (copy,) = journal.parent.glob("journal-*")
    assert f"note: the end of {journal}, {len(half):,} bytes, was half-written or damaged and was cut off; " in said
    assert said.endswith(f"the file as it was: {copy}")
    assert (journal.read_bytes(), copy.read_bytes()) == (whole, whole + half)
    for number in (0, 1):  # it can be written to, and opened again
        run, lines = in_journal.begin()
        assert lines[-1].endswith(f"0 to go on with, {9 - number} to ask for")
        train(run, 1)


@pytest.mark.parametrize(
    "damage", [b"x", b"[1]", b"{}", b'{"op_code":8}', b'{"op_code":"x","worker_id":1}', b"[" * 9999]
)
def test_a_journal_that_is_damaged_in_the_midst_is_refused_in_a_sentence(
    damage: bytes, in_journal: Toy, journal: Path
) -> None:
    lines = journal.read_bytes().split(b"\n")
    journal.write_bytes(b"\n".join([*lines[:9], damage, *lines[9:]]))
    assert mend_journal(in_journal.url) == ""
    with pytest.raises(StudyError, match="one that is damaged may be moved away"):
        in_journal.begin()


@pytest.mark.parametrize("content", ["", "my notes\nmore of them"])
def test_what_is_no_journal_is_not_touched(journal: Path, content: str) -> None:
    journal.write_text(content)
    assert mend_journal(f"journal:///{journal}") == ""
    assert mend_journal(f"sqlite:///{journal}") == ""
    assert journal.read_text() == content
    assert list(journal.parent.iterdir()) == [journal]
