"""Sweeps from Python, where nothing is started. Where Ray is: `test_api_ray.py`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest

from galaxytl import DataError, SpecError, UsageError
from galaxytl.results.rows import append_results
from galaxytl.system import credentials
from galaxytl.trial import FAILED, TrialResult, TrialSpec
from sweep import GridKeywords, SearchKeywords, run_grid, run_search
from sweep.api import REPEATABLE, words_of
from sweep.command_line import make_parser, parse

QUICK: dict[str, Any] = {"image_size": 32, "batch_size": 8, "num_epochs": 2, "backbone": "VGG16", "weights": "random"}


def test_keywords_are_the_commands_options() -> None:
    """A further option of the command has a further line in `GridKeywords` or `SearchKeywords`."""
    actions = make_parser("")._actions
    options = {action.dest for action in actions} - {"help", "help_fields", "grid", "search"}
    assert {*GridKeywords.__annotations__, *SearchKeywords.__annotations__} == options - {"set"} | {"settings"}
    negated = {action.dest for action in actions if isinstance(action, argparse.BooleanOptionalAction)}
    assert negated == {"diagnostics"}
    repeated = {action.dest for action in actions if isinstance(action, argparse._AppendAction)}
    assert repeated == {"set", *REPEATABLE}


def test_a_call_says_what_the_command_line_says(tmp_path: Path) -> None:
    words = "--grid lr --set learning_rate=1e-3,1e-5 --set seed=4 --seeds 2 --folds 3 --no-diagnostics --group-by-sky"
    words += f" --weights-dir {tmp_path} --columns ra,dec --storage s3://b/sweeps --fits-stretch 0.25"
    keywords: GridKeywords = {
        "settings": {"learning_rate": [1e-3, 1e-5], "seed": 4},
        "seeds": 2,
        "folds": 3,
        "diagnostics": False,
        "group_by_sky": True,
        "accept_damaged": False,
        "weights_dir": tmp_path,
        "columns": ["ra", "dec"],
        "storage": "s3://b/sweeps",
        "fits_stretch": 0.25,
    }
    assert parse(words_of([("grid", "lr"), *keywords.items()], GridKeywords), "") == parse(words.split(), "")


def test_a_search_says_what_the_command_line_says() -> None:
    words = "--search optuna --storage s3://b/x --storage sqlite:///s.db --objective val_accuracy,parameters --trials 7"
    given = [("storage", ["s3://b/x", "sqlite:///s.db"]), ("objective", ("val_accuracy", "parameters"))]
    said = ["--search=optuna", *words_of([*given, ("trials", 7), ("study", None)], SearchKeywords)]
    assert parse(said, "") == parse(words.split(), "")


@pytest.mark.parametrize(
    ("keywords", "error", "message"),
    [
        ({"weight_dir": "x"}, UsageError, "as weights_dir; got 'weight_dir'. Did you mean 'weights_dir'"),
        ({"trials": 5}, UsageError, "as weights_dir; got 'trials'"),
        ({"settings": {"learning_rat": 1}}, SpecError, "Did you mean 'learning_rate'"),
        ({"settings": "learning_rate=1"}, UsageError, "settings must map fields to values"),
        ({"seeds": 0}, UsageError, "must be a whole number from 1 to 10000; got '0'"),
        ({"data": "nowhere.h5", "profile": "laptop"}, DataError, "nowhere.h5"),
        ({"weights_dir": "/nowhere"}, UsageError, "--weights-dir must be a folder; got /nowhere"),
        ({"data": ""}, UsageError, "data must not be empty"),
    ],
)
def test_what_is_wrong_is_raised(
    keywords: Any, error: type[Exception], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=message):
        run_grid("lr", quiet=True, **keywords)


def test_what_is_wrong_is_raised_without_passwords(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="--storage takes one place") as raised:
        run_search(storage=["s3://me:s3cr3t-word@bucket/a", "s3://me:s3cr3t-word@bucket/b"], quiet=True)
    assert "s3cr3t-word" not in str(raised.value)
    credentials.forget()


def test_a_dry_run_returns_what_there_is(
    galaxies_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {**QUICK, "unfrozen_blocks": 0, "learning_rate": [1e-2, 1e-3]}
    call: Any = {"data": galaxies_file, "out": tmp_path, "settings": settings, "dry_run": True}
    assert len(run_grid("paper", **call)) == 0
    assert "Trials    2: 0 finished, 0 failed, 2 to run" in capsys.readouterr().out
    stranger = TrialSpec(dataset="simulated", dataset_fingerprint="0f3a")
    append_results(tmp_path, TrialResult(spec=stranger, status=FAILED, message="of another sweep"))
    trials = run_grid("paper", quiet=True, **call)
    assert len(trials) == 0
    assert capsys.readouterr().out == ""
