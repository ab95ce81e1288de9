"""What bench_verdicts.py calls wrong and beyond a level, on rates and truths whose answer is known."""

from __future__ import annotations

import bench_verdicts
import numpy as np
import pytest
import verdict_rates
from verdict_rates import Rate
from verdict_truths import Truth, collapses

from analysis.failure import Kind, kind_of


@pytest.fixture(autouse=True)
def advice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Puts back what the simulations leave out."""
    for module in (verdict_rates.comparisons, verdict_rates.collapse, verdict_rates.rivals):
        for name in ("seeds_needed", "seeds_that_decide", "attribute"):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, getattr(module, name))


def test_a_rate_is_beyond_its_level_by_more_than_the_simulation_may_err() -> None:
    def rate(value: float, rounds: int, is_coverage: bool = False) -> Rate:
        return Rate("", "3", value, rounds, 0.95 if is_coverage else 0.05, is_coverage)

    assert rate(0.065, 1000).holds
    assert not rate(0.08, 1000).holds
    assert rate(0.15, 20).holds
    assert rate(0.93, 1000, is_coverage=True).holds
    assert not rate(0.92, 1000, is_coverage=True).holds
    assert "ABOVE (rates 1)" in bench_verdicts.line(Rate("EXPLAINED", "3", 0.08, 1000, truth="rates 1"))


def test_planted_arms_have_the_accuracy_and_the_scatter_of_their_truth() -> None:
    truth = Truth(0.7, 0.6, (0.02, 0.05))
    first, second = truth.arms((40, 40), 2000, np.random.default_rng(1))
    accuracies = [[one.right.mean() for one in arm.predictions] for arm in (first, second)]
    assert np.mean(accuracies, axis=1) == pytest.approx([0.7, 0.6], abs=0.03)
    assert np.std(accuracies, axis=1, ddof=1) == pytest.approx([0.023, 0.051], abs=0.015)


def test_planted_trials_collapse_as_they_are_told() -> None:
    rows = collapses({("ON", 0): [True, False], ("OFF", 1): [False]})
    assert [kind_of(row) for row in rows] == [Kind.ONE_CLASS, Kind.LEARNED, Kind.LEARNED]


def test_a_rule_that_errs_is_found_and_the_exit_status_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One seed that decides, and then the rule as it is."""
    monkeypatch.setattr(verdict_rates, "SEEDS", (3,))
    monkeypatch.setattr(verdict_rates, "SCATTERS", ((0.055, 0.055),))
    monkeypatch.setattr(verdict_rates, "NUM_IMAGES", 500)
    assert all(rate.holds for rate in verdict_rates.comparison_rates(20, 0))
    monkeypatch.setattr(verdict_rates, "decide", lambda found: "CONFIRMED")
    assert not all(rate.holds for rate in verdict_rates.comparison_rates(20, 0))

    monkeypatch.setattr(bench_verdicts, "ProcessPoolExecutor", HereExecutor)
    monkeypatch.setitem(verdict_rates.CHECKS, "collapse", lambda *_: iter([Rate("EXPLAINED", "3", 0.2, 1000)]))
    assert bench_verdicts.main(["collapse", "--rounds", "20"]) == 1
    assert "0 of 1 within their level" in capsys.readouterr().out


class HereExecutor:
    """Runs in this process."""

    def __init__(self, _: int) -> None:
        pass

    def __enter__(self) -> HereExecutor:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    map = staticmethod(map)


def test_every_part_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verdict_rates, "SEEDS", (3,))
    for part in ("collapse", "rivals", "intervals", "chance"):
        rates = bench_verdicts.rates_of(part, 20, 0)
        assert rates
        assert all(len(bench_verdicts.line(rate)) <= 80 for rate in rates if rate.holds)
