"""What bench_verdicts.py calls wrong and beyond a level, on rates and truths whose answer is known."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import bench_verdicts
import numpy as np
import pytest
from bench_verdicts import PLANTED
from verdicts import rates as verdict_rates
from verdicts.rates import Rate
from verdicts.truths import collapses, easiness, plain_arm, shared_easiness, spec_of

from analysis.claims.arms import ON
from analysis.trials.endings import Ending, ending_of


def test_a_rate_is_beyond_its_level_by_more_than_the_simulation_may_err() -> None:
    def rate(value: float, rounds: int, is_coverage: bool = False) -> Rate:
        return Rate("", "3", value, rounds, 0.95 if is_coverage else 0.05, is_coverage)

    assert rate(0.07, 1000).holds
    assert not rate(0.08, 1000).holds
    assert rate(0.15, 20).holds
    assert rate(0.93, 1000, is_coverage=True).holds
    assert not rate(0.92, 1000, is_coverage=True).holds
    assert rate(0.05, 0).holds
    assert not rate(0.051, 0).holds
    assert "ABOVE\n    (rates 1)" in bench_verdicts.line(Rate("EXPLAINED", "3", 0.08, 1000, truth="rates 1"))


def test_planted_networks_have_the_accuracy_and_the_scatter_of_their_truth() -> None:
    rng = np.random.default_rng(1)
    easy = easiness(0.6, shared_easiness(2000, rng), rng)
    arm = plain_arm(spec_of("VGG16", ON), easy, rng.normal(0, 0.05, 40), rng)
    accuracies = [one.right.mean() for one in arm.predictions]
    assert np.mean(accuracies) == pytest.approx(0.6, abs=0.03)
    assert np.std(accuracies, ddof=1) == pytest.approx(0.051, abs=0.015)


def test_planted_trials_collapse_as_they_are_told() -> None:
    rows = collapses({("ON", 0): [True, False], ("OFF", 1): [False]})
    assert [ending_of(row) for row in rows] == [Ending.ONE_CLASS, Ending.LEARNED, Ending.LEARNED]


def test_a_rule_that_errs_is_found_and_the_exit_status_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One that calls all differences real, and then one whose rate is given."""
    monkeypatch.setattr(verdict_rates, "SCATTERS", ((0.055, 0.055),))
    monkeypatch.setattr(verdict_rates, "NUM_IMAGES", 500)
    assert all(rate.holds for rate in verdict_rates.comparison_rates(3, 20, 0))
    monkeypatch.setattr(verdict_rates, "decide", lambda found: "CONFIRMED")
    assert not all(rate.holds for rate in verdict_rates.comparison_rates(3, 20, 0))

    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")
    # threads see what is patched, other processes do not
    monkeypatch.setattr(bench_verdicts, "ProcessPoolExecutor", lambda *_: ThreadPoolExecutor(1))
    monkeypatch.setitem(bench_verdicts.CHECKS, "collapse", lambda n, *_: iter([Rate("EXPLAINED", str(n), 0.2, 1000)]))
    assert bench_verdicts.main(["collapse", "--rounds", "20"]) == 1
    assert "0 of 5 within their level" in capsys.readouterr().out


@pytest.mark.parametrize("part", ["collapse", "rivals", "intervals", "splits", "networks"])
def test_every_part_runs_and_says_what_was_planted(part: str) -> None:
    rates = bench_verdicts.rates_of((part, 3), 20, 0)
    text = bench_verdicts.table(rates)
    assert max(map(len, text.splitlines())) <= 80
    assert "planted: " in text
    assert all(rate.holds for rate in rates), text
    assert any(rate.what.startswith(start) for rate in rates for start in PLANTED)


@pytest.mark.rest
def test_claims_run() -> None:
    rates = bench_verdicts.rates_of(("claims", 3), 20, 0)
    assert len(rates) > 15
    assert all(rate.holds for rate in rates)
