"""A search in a results folder, before and after its training: options, what is printed, rows, checkpoints."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import cast

import optuna
import pytest
from rich.console import Console

from galaxytl.checkpoints import checkpoint_path
from galaxytl.results import append_results, read_results
from galaxytl.selection import ranked
from galaxytl.training import Group
from galaxytl.trial import COMPLETE, FAILED, PRUNED, TrialResult, TrialSpec
from sweep.kept import Kept
from sweep.options import UsageError, parse
from sweep.progress import SweepTable
from sweep.run import main
from sweep.search import Search
from sweep.search_run import SearchRun, conclude
from sweep.search_study import open_study
from tests.sweep.search_driver import set_up
from tests.sweep.searches import BASE, STATES, accuracy, failed, result_of, toy_trials

pytestmark = pytest.mark.usefixtures("databases_closed")


# What is refused before anything starts


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--grid", "paper", "--search", "optuna"], "--grid and --search exclude each other; got --grid paper and"),
        (["--search", "optima"], "invalid choice: 'optima'"),
        (["--trials", "5"], "--trials is an option of a search: add --search optuna"),
        (["--warm-start", "paper"], "--warm-start is an option of a search: add --search optuna"),
        (["--scheduler", "asha"], "--scheduler is an option of a search: add --search optuna"),
        (["--stop-collapsed", "0"], "--stop-collapsed is an option of a search"),
        (["--search", "optuna", "--retry-failed"], "--retry-failed is for grids"),
        (["--search", "optuna", "--trials", "0"], "must be a whole number from 1 to 10000; got '0'"),
        (["--search", "optuna", "--batch", "0"], "must be a whole number from 1 to 10000; got '0'"),
        (["--search", "optuna", "--stop-collapsed", "-1"], "must be a whole number, 0 or more; got '-1'"),
        (["--search", "optuna", "--seeds", "3"], "of a search, set the trials' seed with --set seed=N"),
        (["--search", "optuna", "--objective", "val_acuracy"], "Did you mean 'val_accuracy'?"),
        (["--search", "optuna", "--objective", "val_loss,val_loss"], "one or two different names"),
        (["--search", "optuna", "--objective", "val_loss,val_accuracy,parameters"], "one or two different names"),
        (["--search", "optuna", "--scheduler", "ahsa"], "Did you mean 'asha'?"),
        (["--search", "optuna", "--sampler", "tep"], "Did you mean 'tpe'?"),
        (
            ["--search", "optuna", "--objective", "val_accuracy,multiply_adds", "--scheduler", "asha"],
            "with two objectives it must be none",
        ),
        (["--search", "optuna", "--space", "nowhere"], "--space takes MODULE:FUNCTION"),
        (["--search", "optuna", "--space", "sweep.space:spce"], "it has no function 'spce'"),
        (["--search", "optuna", "--set", "scored_on=test"], "--set scored_on does not go with --search"),
        (["--search", "optuna", "--set", "validation_fraction=0"], "a search needs a validation part"),
        (["--search", "optuna", "--set", "num_epochs=2,4"], "all trials of a search have one num_epochs; got 2, 4"),
        (["--search", "optuna", "--set", "split_seed=0,1"], "all trials of a search have one split_seed"),
        (["--search", "optuna", "--serach-seed", "1"], "Did you mean '--search-seed'?"),
    ],
)
def test_bad_options_are_said_in_one_line(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "--out", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("error: ")
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "study.db").exists()


# A search in a results folder, before and after its training


def begun(out: Path, *arguments: object, trials: int = 6, study: optuna.Study | None = None) -> SearchRun:
    """A toy search as the command line makes it, without its lines."""
    out.mkdir(exist_ok=True)
    options = parse(["--search", "optuna", *map(str, ["--trials", trials, "--out", out, *arguments])], "")
    options.study, options.storage = out.name, f"sqlite:///{out}/study.db"
    setup = set_up(options, Console(quiet=True))
    study = study or open_study(options.storage, options.study, ["maximize"], setup.identity)
    return SearchRun(setup, Search(study, setup.problem), Kept(out))


def table_of(run: SearchRun) -> SweepTable:
    return SweepTable([], Console(file=io.StringIO()), run._num_trials)


def keep_checkpoint(run: SearchRun, spec: TrialSpec) -> Path:
    path = checkpoint_path(run.out, spec)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"weights")
    return path


def test_a_new_search_says_what_it_will_do_and_leaves_what_analysis_must_know(tmp_path: Path) -> None:
    run = begun(tmp_path / "toy")
    assert run.begin() == ["Trials    0 COMPLETE, 0 PRUNED, 0 FAILED; 0 to go on with, 6 to ask for"]
    assert json.loads((tmp_path / "toy" / "search.json").read_text()) == {
        "format": 1,
        "study": "toy",
        "storage": f"sqlite:///{tmp_path}/toy/study.db",
        "objectives": [["val_accuracy", "maximize"]],
        "space": "sweep.space:space",
        "sampler": "TPESampler",
        "scheduler": "asha",
        "num_trials": 6,
    }


def test_the_password_of_a_storage_is_not_kept(tmp_path: Path) -> None:
    run = begun(tmp_path / "toy")
    run.setup.options.storage = "postgresql://user:secret@host/db"
    run.begin()
    assert "postgresql://user:***@host/db" in (tmp_path / "toy" / "search.json").read_text()
    assert "secret" not in (tmp_path / "toy" / "search.json").read_text()


def test_a_row_is_on_disk_before_its_trial_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = begun(tmp_path / "toy")
    run.begin()
    (spec,) = run.search.ask(1)

    def die(result: TrialResult) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(run.search, "finished", die)
    with pytest.raises(KeyboardInterrupt):
        run.finished(result_of(spec))
    again = begun(tmp_path / "toy")
    assert again.begin() == ["Trials    1 COMPLETE, 0 PRUNED, 0 FAILED; 0 to go on with, 5 to ask for"]
    assert toy_trials(tmp_path / "toy")[0].value == accuracy(spec, 10)


def test_what_was_under_way_goes_on_first(tmp_path: Path) -> None:
    dead = begun(tmp_path / "toy")
    dead.begin()
    under_way = dead.search.ask(2)
    run = begun(tmp_path / "toy")
    assert run.begin() == ["Trials    0 COMPLETE, 0 PRUNED, 0 FAILED; 2 to go on with, 4 to ask for"]
    groups = run._groups(table_of(run))
    first = [spec for _ in range(2) for spec in cast(Group, next(groups)).specs]
    assert sorted(spec.trial_id for spec in first) == sorted(spec.trial_id for spec in under_way)


def test_groups_are_asked_for_batch_by_batch_then_waited_for_then_the_chosen_one_is_tested(tmp_path: Path) -> None:
    run = begun(tmp_path / "toy", "--batch", 3, "--stop-collapsed", 4, trials=6)
    run.begin()
    groups, trained = run._groups(table_of(run)), list[TrialSpec]()
    for batch in (1, 2):
        while len(trained) < 3 * batch:
            group = next(groups)
            assert group
            assert group.stop_collapsed == 4
            trained += group.specs
            assert run.search.num_left == 6 - 3 * batch  # the next batch is asked for when this one has been given
    assert next(groups) is None
    results = [result_of(spec) for spec in trained]
    for result in results[:-1]:
        keep_checkpoint(run, result.spec)
        run.finished(result)
    assert next(groups) is None  # one still trains
    keep_checkpoint(run, results[-1].spec)
    run.finished(results[-1])

    best = ranked(results)[0].spec
    tested = best.replace(scored_on="test")
    group = next(groups)
    assert group
    assert group.specs == (tested,)
    kept = [path.name for path in (tmp_path / "toy" / "checkpoints").iterdir()]
    assert kept == [checkpoint_path(run.out, tested).name]  # the chosen one's, so that its training is not repeated
    run.finished(result_of(tested))
    assert list((tmp_path / "toy" / "checkpoints").iterdir()) == []
    assert list(groups) == []
    assert len(read_results(tmp_path / "toy").results) == 7
    again = begun(tmp_path / "toy", trials=6)
    again.begin()
    assert list(again._groups(table_of(again))) == []


def test_of_checkpoints_only_the_best_trials_stays(tmp_path: Path) -> None:
    run = begun(tmp_path / "toy", trials=5)
    run.begin()
    specs = sorted(run.search.ask(5), key=lambda spec: accuracy(spec, 10))
    paths = [keep_checkpoint(run, spec) for spec in specs]

    def kept() -> list[int]:
        return [number for number, path in enumerate(paths) if path.exists()]

    run.finished(result_of(specs[1]))
    assert kept() == [0, 1, 2, 3, 4]
    run.finished(result_of(specs[3]))
    assert kept() == [0, 2, 3, 4]  # outdone
    run.finished(result_of(specs[2]))
    assert kept() == [0, 3, 4]
    run.finished(failed(specs[0]))
    run.finished(result_of(specs[4], PRUNED, 3))
    assert kept() == [3]


def test_rows_of_a_lost_study_are_said_and_count(tmp_path: Path) -> None:
    run = begun(tmp_path / "toy")
    run.begin()
    complete, stopped, diverged = run.search.ask(3)
    for result in (result_of(complete), result_of(stopped, PRUNED, 1), failed(diverged)):
        run.finished(result)
    run.finished(result_of(complete.replace(scored_on="test")))
    with (tmp_path / "toy" / "trials.jsonl").open("a") as file:
        file.write('{"half')
    again = begun(tmp_path / "toy", study=optuna.create_study(direction="maximize"))
    problem, lost, counts = again.begin()
    assert "line 5 (half-written) was left out" in problem
    assert lost == "note: 3 trials have rows, but the study did not know them: told"
    assert counts == "Trials    1 COMPLETE, 1 PRUNED, 1 FAILED; 0 to go on with, 3 to ask for"
    assert [trial.state for trial in again.search.study.trials] == [STATES[s] for s in (COMPLETE, PRUNED, FAILED)]


def test_a_warm_start_from_another_folder(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    inside, outside = BASE.replace(scored_on="test"), BASE.replace(seed=7)
    for result in (result_of(inside), result_of(outside)):
        append_results(other, result)
    run = begun(tmp_path / "toy", "--warm-start", f"{other},paper")
    assert run.begin() == [
        f"Start     1 of 2 trials of {other} are in the space and watched the same images: told",
        "Start     0 of the paper's 6 trials are in the space: tried first",
        "Trials    0 COMPLETE, 0 PRUNED, 0 FAILED; 0 to go on with, 6 to ask for",
    ]
    again = begun(tmp_path / "toy", "--warm-start", str(other))
    assert "0 of 2 trials" in again.begin()[0]
    assert len(again.search.study.trials) == 1


def test_a_warm_start_from_nothing(tmp_path: Path) -> None:
    for text in ("papper", str(tmp_path / "nowhere")):
        with pytest.raises(UsageError, match="--warm-start must be paper, or a results folder that holds rows; got"):
            begun(tmp_path / "toy", "--warm-start", text).begin()


def concluded(run: SearchRun, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    status = conclude(run, Console(soft_wrap=True))
    return status, capsys.readouterr().out


def test_a_search_without_a_complete_trial_has_chosen_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = begun(tmp_path / "toy", trials=50)
    run.begin()
    for spec in run.search.ask(10):
        run.finished(failed(spec, "out of memory: 12 GB"))
    status, printed = concluded(run, capsys)
    assert status == 1
    assert "10 trials: 0 complete, 0 stopped early, 10 failed." in printed
    assert "error: stopped, as all of the first 10 trials failed, 10 of them with: out of memory: 12 GB" in printed
    assert "No trial came to its end: none was chosen." in printed
    assert list(run._groups(table_of(run))) == []


def test_the_chosen_trials_score_on_the_test_part_has_an_interval(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = begun(tmp_path / "toy", trials=2)
    run.begin()
    for spec in run.search.ask(2):
        run.finished(result_of(spec))
    assert run.best
    status, printed = concluded(run, capsys)
    assert status == 1
    assert "not scored on the test part: not run" in printed
    tested = run.best.spec.replace(scored_on="test")
    run.finished(failed(tested, "the worker process died 3 times: SIGSEGV"))
    status, printed = concluded(run, capsys)
    assert status == 1
    assert "not scored on the test part: the worker process died 3 times: SIGSEGV" in printed
    # Wilson's interval of 150 of 300, by hand: (150 + z^2 / 2 +- z sqrt(75 + z^2 / 4)) / (300 + z^2), z = 1.96.
    run.finished(result_of(tested, metrics={"accuracy": 0.5, "loss": 1.0}))
    status, printed = concluded(run, capsys)
    assert status == 0
    assert f"({run.best.trial_id})" in printed
    assert f"accuracy {run.best.metrics['accuracy']:.3f} on the validation part, by which it was chosen" in printed
    assert "accuracy 0.500 (95 % interval 0.444 to 0.556) on the test part" in printed
