"""A search in a results folder, before and after its training: options, what is printed, rows, checkpoints."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import cast

import pytest
from rich.console import Console

from galaxytl.learning.job import Group
from galaxytl.results.checkpoints import checkpoint_path
from galaxytl.results.rows import append_results, ranked, read_results
from galaxytl.results.search.asked_file import Ending, ending_of
from galaxytl.system.command import UsageError
from galaxytl.trial import COMPLETE, PRUNED, SpecError, TrialResult, TrialSpec
from sweep.command_line import parse, parse_settings
from sweep.planning.costs import Sizes
from sweep.progress.live import LiveProgress
from sweep.progress.terminal import SweepTable
from sweep.results.lease import LeaseError
from sweep.results.progress_file import FILE_NAME as PROGRESS
from sweep.results.progress_file import Progress, read_progress, write_progress
from sweep.run import main
from sweep.scheduling import tune
from sweep.search import run as search_run
from sweep.search.run import SearchRun, conclude
from sweep.search.setup import build_for, check_pinned
from sweep.search.study import StudyError
from tests.sweep.search_driver import Toy, set_up
from tests.sweep.searches import BASE, accuracy, build, failed, result_of

# What is refused before anything starts


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--grid", "paper", "--search", "optuna"], "--grid and --search exclude each other; got --grid paper and"),
        (["--search", "optima"], "invalid choice: 'optima'"),
        (["--trials", "5"], "--trials is an option of a search: add --search optuna"),
        (["--scheduler", "asha"], "--scheduler is an option of a search: add --search optuna"),
        (["--stop-collapsed", "0"], "--stop-collapsed is an option of a search"),
        (["--search", "optuna", "--retry-failed"], "--retry-failed applies to grids only"),
        (["--search", "optuna", "--trials", "0"], "must be a whole number from 1 to 10000; got '0'"),
        (["--search", "optuna", "--trials", "10001"], "must be a whole number from 1 to 10000; got '10001'"),
        (["--search", "optuna", "--stop-collapsed", "-1"], "must be a whole number from 0 to 1000000000; got '-1'"),
        (["--search", "optuna", "--seeds", "3"], "of a search, set the trials' seed with --set seed=N"),
        (["--search", "optuna", "--objective", "val_acuracy"], "Did you mean 'val_accuracy'?"),
        (["--search", "optuna", "--objective", "val_loss,val_loss"], "one or two different names"),
        (["--search", "optuna", "--objective", "val_loss,val_accuracy,parameters"], "one or two different names"),
        (["--search", "optuna", "--scheduler", "ahsa"], "Did you mean 'asha'?"),
        (
            ["--search", "optuna", "--objective", "val_accuracy,multiply_adds", "--scheduler", "asha"],
            "with two objectives it must be none",
        ),
        (["--search", "optuna", "--serach-seed", "1"], "Did you mean '--search-seed'?"),
    ],
)
def test_bad_options_are_said_in_one_line(arguments: list[str], message: str) -> None:
    with pytest.raises((UsageError, SpecError)) as caught:
        parse(arguments, "")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_trials_of_a_search_must_share_cannot_be_set_otherwise() -> None:
    for setting, message in {
        "scored_on=test": "--set scored_on does not go with --search",
        "validation_fraction=0": "a search needs a validation part",
        "num_epochs=2,4": "all trials of a search have one num_epochs; got 2, 4",
        "split_seed=0,1": "all trials of a search have one split_seed",
    }.items():
        with pytest.raises(UsageError, match=message):
            check_pinned(parse_settings([setting]))


def test_a_suggested_warm_up_is_shorter_than_training_with_the_suggested_batch_size() -> None:
    sizes = Sizes(train=100, validation=20, test=40)
    fields = {"num_epochs": 2, "warmup_steps": 10, "batch_size": 10}
    assert build_for(sizes, build, fields) == BASE.replace(**fields)
    with pytest.raises(SpecError, match=r"below all steps of training, 8 \(4 an epoch\); got 10"):
        build_for(sizes, build, {**fields, "batch_size": 25})


def test_a_search_that_cannot_be_leaves_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for option, value, message in (
        ("--sampler", "tep", "Did you mean 'tpe'?"),
        ("--space", "sweep.space:spce", "it has no function 'spce'"),
        ("--set", "num_epochs=2,4", "all trials of a search have one num_epochs"),
    ):
        assert main(["--search", "optuna", option, value, "--out", str(tmp_path)]) == 2
        (error,) = capsys.readouterr().err.splitlines()
        assert error.startswith("error: ")
        assert message in error
    assert not (tmp_path / "asked.jsonl").exists()


# A search in a results folder, before and after its training


@pytest.fixture
def toy(tmp_path: Path) -> Toy:
    return Toy(tmp_path / "toy", 6)


def table_of(run: SearchRun) -> SweepTable:
    return SweepTable([], Console(file=io.StringIO()), run._num_trials)


def keep_checkpoint(run: SearchRun, spec: TrialSpec) -> Path:
    path = checkpoint_path(run.out, spec)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"weights")
    return path


def test_a_new_search_says_what_it_will_do_and_leaves_what_analysis_must_know(toy: Toy) -> None:
    assert toy.begin()[1] == ["Trials    0 COMPLETE, 0 PRUNED, 0 FAILED; 0 to go on with, 6 to ask for"]
    assert json.loads((toy.out / "search.json").read_text()) == {
        "format": 1,
        "study": "toy",
        "storage": "",
        "objectives": [["val_accuracy", "maximize"]],
        "space": "sweep.space:space",
        "sampler": "TPESampler",
        "scheduler": "asha",
        "num_trials": 6,
    }


def test_a_search_goes_on_with_the_space_and_the_pinned_fields_that_it_was_begun_with(toy: Toy) -> None:
    toy.begin("--set", "optimizer=adam")
    with pytest.raises(StudyError, match=r"'toy' has pinned\.optimizer = \['adam'\], this search \['sgd'\]"):
        toy.begin("--set", "optimizer=sgd")
    with pytest.raises(StudyError, match=r"has space = sweep\.space:space, this search mine:space"):
        toy.begin("--set", "optimizer=adam", "--space", "mine:space")
    toy.begin("--set", "optimizer=adam", "--trials", 7, "--scheduler", "none")


def test_the_password_of_a_storage_is_not_kept(toy: Toy) -> None:
    toy.begin()
    toy.begin("--storage", "postgresql://user:secret@host/db")
    assert json.loads((toy.out / "search.json").read_text())["storage"] == "postgresql://user:***@host/db"


def test_a_row_is_on_disk_before_its_trial_is_told(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    run, _ = toy.begin()
    (spec,) = run.search.ask(1)

    def die(result: TrialResult) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(run.search, "finished", die)
    with pytest.raises(KeyboardInterrupt):
        run.finished(result_of(spec))
    assert toy.begin()[1] == ["Trials    1 COMPLETE, 0 PRUNED, 0 FAILED; 0 to go on with, 5 to ask for"]
    assert toy.trials[0].value == accuracy(spec, 10)


def test_what_was_under_way_goes_on_first(toy: Toy) -> None:
    under_way = toy.begin()[0].search.ask(2)
    run, lines = toy.begin()
    assert lines == ["Trials    0 COMPLETE, 0 PRUNED, 0 FAILED; 2 to go on with, 4 to ask for"]
    groups = run._groups(table_of(run), LiveProgress(run.folder, run._scope()))
    first = [spec for _ in range(2) for spec in cast(Group, next(groups)).specs]
    assert sorted(spec.trial_id for spec in first) == sorted(spec.trial_id for spec in under_way)


def test_groups_are_asked_for_batch_by_batch_then_waited_for_then_the_chosen_one_is_tested(toy: Toy) -> None:
    run, _ = toy.begin("--batch", 3, "--stop-collapsed", 4)
    groups, trained = run._groups(table_of(run), LiveProgress(run.folder, run._scope())), list[TrialSpec]()
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

    tested = ranked(results)[0].spec.replace(scored_on="test")
    group = next(groups)
    assert group
    assert group.specs == (tested,)
    kept = toy.out / "checkpoints"
    assert list(kept.iterdir()) == [checkpoint_path(run.out, tested)]  # so that its training is not repeated
    run.finished(result_of(tested))
    assert list(kept.iterdir()) == list(groups) == []
    assert len(read_results(toy.out).results) == 7
    again, _ = toy.begin()
    assert list(again._groups(table_of(again), LiveProgress(again.folder, again._scope()))) == []


def test_of_checkpoints_only_the_best_trials_stays(toy: Toy) -> None:
    run, _ = toy.begin()
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


def test_a_broken_line_of_rows_is_said_and_the_test_score_is_no_trial_of_the_study(toy: Toy) -> None:
    run, _ = toy.begin()
    (spec,) = run.search.ask(1)
    run.finished(result_of(spec), result_of(spec.replace(scored_on="test")))
    with (toy.out / "trials.jsonl").open("a") as file:
        file.write('{"half')
    (toy.out / "asked.jsonl").unlink()
    problem, lost, counts = toy.begin()[1]
    assert "line 3 (half-written) was left out" in problem
    assert lost == "note: 1 trials have rows, but the study did not know them: told"
    assert counts == "Trials    1 COMPLETE, 0 PRUNED, 0 FAILED; 0 to go on with, 5 to ask for"
    assert len(toy.trials) == 1


def test_a_warm_start_from_another_folder(toy: Toy, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    inside, outside = BASE.replace(scored_on="test"), BASE.replace(seed=7)
    for result in (result_of(inside), result_of(outside)):
        append_results(other, result)
    assert toy.begin("--warm-start", f"{other},paper")[1] == [
        f"Start     1 of 2 trials of {other} are in the space and watched the same images: told",
        "Start     0 of the paper's 6 trials are in the space: tried first",
        "Trials    0 COMPLETE, 0 PRUNED, 0 FAILED; 0 to go on with, 6 to ask for",
    ]
    assert "0 of 2 trials" in toy.begin("--warm-start", other)[1][0]
    assert len(toy.trials) == 1
    for text in ("papper", tmp_path / "nowhere"):
        with pytest.raises(UsageError, match="--warm-start must be paper, or a results folder that holds rows; got"):
            toy.begin("--warm-start", text)


def test_a_search_without_a_complete_trial_has_chosen_none(toy: Toy, capsys: pytest.CaptureFixture[str]) -> None:
    run, _ = toy.begin("--trials", 50)
    for spec in run.search.ask(10):
        run.finished(failed(spec, "out of memory: 12 GB"))
    assert conclude(run, Console(soft_wrap=True)) == 1
    printed = capsys.readouterr().out
    assert "Trials    10: 0 complete, 0 stopped early, 10 failed\n" in printed
    assert "error: stopped, as all of the first 10 trials failed, 10 of them with: out of memory: 12 GB" in printed
    assert "No trial came to its end: none was chosen." in printed
    assert list(run._groups(table_of(run), LiveProgress(run.folder, run._scope()))) == []


def test_the_chosen_trials_score_on_the_test_part_has_an_interval(toy: Toy, capsys: pytest.CaptureFixture[str]) -> None:
    run, _ = toy.begin()
    run.finished(*map(result_of, run.search.ask(2)))
    assert run.best
    tested = run.best.spec.replace(scored_on="test")
    other = next(row.spec for row in run.results if row is not run.best).replace(scored_on="test")
    for row, status, said in (
        (None, 1, "not scored on the test part: not run"),
        (failed(tested, "the worker process died"), 1, "not scored on the test part: the worker process died"),
        # Wilson's interval of 150 of 300, by hand: (150 + z^2 / 2 +- z sqrt(75 + z^2 / 4)) / (300 + z^2), z = 1.96.
        (
            result_of(tested, metrics={"accuracy": 0.5, "loss": 1.0}),
            0,
            "accuracy 0.500 (95 % interval 0.444 to 0.556) on the test part",
        ),
        (result_of(other), 0, "note: 2 trials of this folder have been scored on the test part"),
    ):
        run.finished(*([row] if row else []))
        assert run._to_test() == (tested if status else None)  # what failed is tried again
        assert conclude(run, Console(soft_wrap=True)) == status
        assert said in (printed := capsys.readouterr().out)
        assert f"({run.best.trial_id})" in printed
        assert f"accuracy {run.best.metrics['accuracy']:.3f} on the validation part, by which it was chosen" in printed


def test_a_driver_from_whom_another_took_the_folder_over_asks_for_nothing_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the command line on, but without Ray."""
    out = tmp_path / "toy"

    def train(run: SearchRun, console: Console) -> None:
        run.search.ask(1)
        before = (out / "asked.jsonl").read_bytes()
        (out / "lease.json").write_text(json.dumps({"owner": "another", "pid": 7, "host": "elsewhere"}))
        with pytest.raises(LeaseError, match="process 7 on elsewhere has taken"):
            run.search.ask(1)
        assert (out / "asked.jsonl").read_bytes() == before
        run.finished(result_of(BASE))

    monkeypatch.setattr(search_run, "set_up", set_up)
    monkeypatch.setattr(SearchRun, "train", train)
    assert main(["--search", "optuna", "--out", str(out)]) == 2
    assert "error: one driver at a time may write to a results folder; process 7" in capsys.readouterr().err
    assert read_results(out).results == ()


def test_a_search_is_told_the_validation_part_though_the_trial_was_scored_on_the_test_part() -> None:
    """As the trials of a grid are, of which a study is told with --warm-start."""
    history = ({"epoch": 1.0, "val_accuracy": 0.5, "val_loss": 1.2},)
    spec = TrialSpec(dataset="simulated", dataset_fingerprint="0f3a", validation_fraction=0.1)
    result = TrialResult(
        spec=spec, status=COMPLETE, history=history, metrics={"accuracy": 0.9, "loss": 0.3}, num_parameters={"total": 7}
    )
    assert ending_of(result, ["val_accuracy", "val_loss", "parameters"], {}) == Ending(COMPLETE, (0.5, 1.2, 7.0))


def test_the_driver_says_what_it_has_asked_for_and_what_has_ended(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of six trials, and the test of the chosen one, which is none of them. In Tune's place each ends at once."""
    run, _ = toy.begin("--batch", 2)
    said: list[Progress] = []

    def run_trials(work: tune.Work, workplace: object, where: object, reporter: tune.Reporter) -> None:
        for group in work.groups:
            assert group
            trial_ids = [spec.trial_id for spec in group.specs]
            reporter.nodes(dict.fromkeys(trial_ids, "node-1"))
            reporter.phases(dict.fromkeys(trial_ids, "building the network"))
            reporter.finished(*map(result_of, group.specs))
            write_progress(run.out, live[0].progress())
            said.append(read_progress((run.out / PROGRESS).read_bytes()))

    live: list[LiveProgress] = []
    enter = LiveProgress.__enter__
    monkeypatch.setattr(LiveProgress, "__enter__", lambda self: (live.append(self), enter(self))[1])
    monkeypatch.setattr(tune, "run_trials", run_trials)
    run.train(Console(file=io.StringIO()))
    assert {(now.kind, now.total) for now in said} == {("search", 6)}
    assert [now.finished for now in said] == sorted(now.finished for now in said)
    assert said[0].asked == 2
    last = read_progress((run.out / PROGRESS).read_bytes())
    assert (last.end, last.asked, last.finished, last.share, last.num_running) == ("ended", 6, 6, 1.0, 0)
