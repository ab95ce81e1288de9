from __future__ import annotations

import doctest
import io

from rich.console import Console

from galaxytl.trial import FAILED, TrialResult
from sweep.progress import reasons
from sweep.progress.lines import MOST_NAMED, broken, failure_lines, say
from sweep.progress.reasons import by_reason, common_reason
from tests.sweep.fakes import toy_spec


def failed(message: str, **fields: object) -> TrialResult:
    return TrialResult(spec=toy_spec(**fields), status=FAILED, message=message)


def test_examples_in_the_docstrings_hold() -> None:
    assert doctest.testmod(reasons).failed == 0
    assert doctest.testmod(reasons).attempted


def test_a_reason_is_said_once_with_the_trials_that_it_stopped() -> None:
    rates = [10.0**power for power in range(3, 13)]
    results = [failed("out of memory", seed=7), *(failed("nan in epoch 2", learning_rate=rate) for rate in rates)]
    first, *others = list(failure_lines(results, ["learning_rate"]))
    assert first == ("FAILED", "10 trials: nan in epoch 2")
    assert [text for _, text in others[:2]] == [
        "Toy, ImageNet, frozen, learning_rate 1000",
        "Toy, ImageNet, frozen, learning_rate 10000",
    ]
    assert others[MOST_NAMED] == ("", "and 4 more")
    assert others[MOST_NAMED + 1 :] == [
        ("FAILED", "Toy, ImageNet, frozen, learning_rate 0.001, seed 7: out of memory"),
    ]


def test_reasons_that_differ_in_numbers_are_one_and_others_are_not() -> None:
    assert list(by_reason([failed("nan in epoch 2", seed=1), failed("nan in epoch 9", seed=2)])) == [
        "nan in epoch 2 to 9"
    ]
    assert len(by_reason([failed("nan in epoch 2", seed=1), failed("inf in epoch 2", seed=2)])) == 2
    assert common_reason(["see a/0f1b.txt", "see a/07c2.txt"]) == "see a/0..."


def test_a_terminal_has_lines_broken_between_words_and_a_log_has_them_whole() -> None:
    text = (
        "accuracy " * 20 + "/a/path/that/is/copied/and/so/stays/whole/however/long/it/may/be/on/a/terminal/trials.jsonl"
    )
    for is_terminal, number in ((True, 4), (False, 1)):
        file = io.StringIO()
        say(Console(file=file, width=80, force_terminal=is_terminal, highlight=False), text, "Results")
        lines = file.getvalue().splitlines()
        assert len(lines) == number
        assert all(len(line) <= 80 for line in lines[:-1]) or not is_terminal
        assert lines[0].startswith("Results   accuracy")
    assert broken("  part 1", 80, 10) == ["  part 1"]
    assert broken("", 80, 10) == [""]
