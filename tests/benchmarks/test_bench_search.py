"""What bench_search.py concludes, on numbers and curves whose conclusion is known. No Ray, no training."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import yaml
from optuna.distributions import CategoricalDistribution, FloatDistribution
from searches import methods as search_methods
from searches import overhead, quality, regret, spaces
from searches import rate as search_rate
from searches.quality import make_row
from searches.table import Table, make_table, read_table
from searches.workers import Cluster, Run, Status, simulate

from galaxytl.results.rows import append_results
from galaxytl.trial import FAILED, PRUNED, TrialSpec
from sweep.grids.axes import expand
from sweep.grids.yaml_grid import read_grid

SPEC = TrialSpec(dataset="simulated", dataset_fingerprint="0f", validation_fraction=0.1, num_epochs=3)

# Regret and verdict


def spread(mean: float, num_seeds: int = 30) -> Any:
    """(seeds, 2 budgets) regrets of a known mean that differ from seed to seed."""
    noise = np.random.default_rng(0).normal(0, 0.01, (num_seeds, 2))
    return mean + noise - noise.mean()


def test_regret_is_that_of_the_last_choice_a_budget_pays_for() -> None:
    found = regret.at_budgets([10, 30], [0.2, 0.1], [0, 9.9, 10, 29.9, 30, 1000], before=0.5)
    assert found.tolist() == [0.5, 0.5, 0.2, 0.2, 0.1, 0.1]


def test_ours_holds_when_it_beats_random_and_is_no_worse_than_others() -> None:
    ours = spread(0.02)
    others = {"random": ours + 0.03 + 0.1 * spread(0.0), "optuna": ours[::-1]}
    found = regret.compare({"ours": ours, **others}, (10, 20))
    assert (found.holds, found.beats_random, found.lost_to) == (True, True, ())
    assert found.differences["random"].overall.value == pytest.approx(0.03)
    assert "beats random clearly: yes; loses to none" in regret.describe(found, "epochs")


def test_ours_does_not_hold() -> None:
    """Where a baseline is better, where it is no better than random, and where it is worse."""
    for random, tune, lost_to in ((0.05, 0.00, ("tune",)), (0.02, 0.02, ()), (0.01, 0.05, ("random",))):
        regrets = {"ours": spread(0.02), "random": spread(random)[::-1], "tune": spread(tune)[::-1]}
        found = regret.compare(regrets, (10, 20))
        assert (found.holds, found.lost_to) == (False, lost_to)
    with pytest.raises(ValueError, match="two seeds"):
        regret.compare({"ours": spread(0.1, 1), "random": spread(0.2, 1)}, (10, 20))


# The simulation


class JobList:
    """A method whose jobs are given; it stops what is below a bar after an epoch."""

    def __init__(self, *jobs: Sequence[Run], bar: float = -1.0, at: int = 1) -> None:
        self._jobs, self._bar, self._at = list(jobs), bar, at
        self.ends: list[tuple[str, int, Status]] = []
        self._last: int | None = None

    def job(self) -> Sequence[Run]:
        return self._jobs.pop(0) if self._jobs else ()

    def epoch(self, number: int, runs: Sequence[Run]) -> Collection[str]:
        return {run.name for run in runs if number == self._at and run.values[number - 1] < self._bar}

    def ended(self, run: Run, num_epochs: int, status: Status) -> None:
        self.ends.append((run.name, num_epochs, status))
        self._last = run.config

    def chosen(self) -> int | None:
        return self._last


def run(name: str, *values: float, fails: bool = False) -> Run:
    return Run(name, int(name), values, fails)


def test_workers_train_side_by_side_a_stopped_trial_makes_room_and_a_failed_one_costs_its_last_epoch() -> None:
    method = JobList([run("0", 0.1, 0.2, 0.3)], [run("1", 0.1)], [run("2", 0.1)], [run("3", 0.1, 0.1)])
    steps = simulate(method, Cluster(2), until_epochs=100)
    assert [(step.chosen, step.time, step.epochs) for step in steps] == [(1, 1, 2), (2, 2, 4), (0, 3, 5), (3, 4, 7)]
    method = JobList([run("0", 0.1, 0.2, 0.3)], [run("1", 0.5, fails=True)], bar=0.2)
    steps = simulate(method, Cluster(1), until_epochs=100)
    assert method.ends == [("0", 1, "STOPPED"), ("1", 1, "FAILED")]
    assert [(step.epochs, step.time) for step in steps] == [(1, 1), (3, 3)]


def test_heads_of_a_job_share_passes_and_end_together() -> None:
    method = JobList([run("0", 0.1, 0.2), run("1", 0.5, 0.6), run("2", 0.5, 0.6)], bar=0.2)
    steps = simulate(method, Cluster(1, further_head=0.3), until_epochs=100)
    assert method.ends == [("0", 1, "STOPPED"), ("1", 2, "COMPLETE"), ("2", 2, "COMPLETE")]
    assert [step.epochs for step in steps] == [5]
    assert steps[0].time == pytest.approx(1.6 + 1.3)


def test_a_search_ends_with_its_budget_of_epochs_and_of_time() -> None:
    jobs = [[run(str(i), 0.1)] for i in range(50)]
    assert simulate(JobList(*jobs), Cluster(2), until_epochs=10)[-1].epochs == 10
    jobs = [[run(str(2 * i), 0.1), run(str(2 * i + 1), 0.1)] for i in range(50)]
    last = simulate(JobList(*jobs), Cluster(2, further_head=0.0), until_epochs=10)[-1]
    assert (last.epochs, last.time) == (18, 5)  # twice the epochs in the same time


# The table


def grid_rows() -> list[Any]:
    rows = []
    for optimizer, momentum in (("adam", 0.0), ("sgd", 0.9)):
        for rate in (1e-4, 1e-3, 1e-2) if optimizer == "adam" else (1e-3, 1e-2, 1e-1):
            for units in (0, 64):
                spec = SPEC.replace(optimizer=optimizer, momentum=momentum, learning_rate=rate, head_units=units)
                rows.append(make_row(spec, [0.1, 0.2, 0.3 + rate + units / 1000]))
    return rows


def test_axes_are_the_fields_that_differ_and_that_no_other_determines() -> None:
    table = make_table(grid_rows())
    trial = optuna.trial.FixedTrial({"head_units": 64, "optimizer": "sgd", "learning_rate@sgd": 1e-3})
    spec = table.rows[table.nearest(table.space(trial))].spec
    assert trial.distributions == {
        "head_units": CategoricalDistribution((0, 64)),
        "optimizer": CategoricalDistribution(("adam", "sgd")),
        "learning_rate@sgd": FloatDistribution(1e-3, 1e-1, log=True),
    }
    assert (spec.head_units, spec.optimizer, spec.learning_rate, spec.momentum) == (64, "sgd", 1e-3, 0.9)


def test_a_rate_gets_the_nearest_row() -> None:
    table = make_table(grid_rows())
    for rate, nearest in ((1e-2, 1e-2), (2.9e-3, 1e-3), (3.5e-3, 1e-2), (0.9, 1e-1)):
        found = table.nearest({"head_units": 0, "optimizer": "sgd", "learning_rate": rate})
        assert table.rows[found].spec.learning_rate == nearest


def test_the_reader_takes_whole_curves_of_the_validation_part_and_what_diverged(tmp_path: Path) -> None:
    good = grid_rows()
    diverged = make_row(SPEC.replace(learning_rate=1.0), [0.1], status=FAILED, message="diverged: the loss became nan")
    others = [
        make_row(SPEC.replace(seed=1), [0.1, 0.2], status=PRUNED),
        make_row(SPEC.replace(seed=2), [0.1, 0.2, 0.9], curves_on="test"),
        make_row(SPEC.replace(seed=3), [], status=FAILED, message="no weights"),
    ]
    for row in [*good, diverged, *others]:
        append_results(tmp_path, row)
    table = read_table(tmp_path)
    assert {row.trial_id for row in table.rows} == {row.trial_id for row in [*good, diverged]}
    place = next(i for i, row in enumerate(table.rows) if row.status == FAILED)
    assert table.run("x", place) == Run("x", place, (0.1,), fails=True)
    assert math.isnan(table.regret[place])
    assert np.nanmin(table.regret) == 0
    assert np.nanmax(table.final) == pytest.approx(0.3 + 1e-1 + 0.064)


def a_table_of_today(gain: float) -> Table:
    """64 heads whose test accuracy a cosine raises by `gain`; a rate of 1e-3 is the best, and the other fields do
    nothing. Validation accuracies are those of the test part."""
    rows = []
    names = [name for name in spaces.TODAY if name != "ema_momentum"]
    for values in itertools.product((1e-4, 1e-3, 1e-2, 0.1), *(spaces.TODAY[name] for name in names)):
        spec = SPEC.replace(learning_rate=values[0], **dict(zip(names, values[1:], strict=True)))
        accuracy = 0.6 - 0.1 * abs(math.log10(spec.learning_rate) + 3) + gain * (spec.schedule == "cosine")
        curve = [accuracy / 3, accuracy / 2, accuracy]
        rows.append(make_row(spec, curve, metrics={"accuracy": accuracy}, num_images={"validation": 10}))
    return make_table(rows)


@pytest.mark.parametrize(("gain", "pays"), [(0.2, True), (0.0, False)])
def test_a_wider_space_pays_where_a_field_of_it_does(gain: float, pays: bool, tmp_path: Path) -> None:
    table = a_table_of_today(gain)
    cosine, *others = spaces.effects_of(table)
    assert (cosine.field, cosine.value, cosine.num_pairs) == ("schedule", "cosine", 32)
    assert (cosine.mean, cosine.of_best) == (pytest.approx(gain), pytest.approx(gain))
    assert {round(one.mean, 9) for one in others} == {0.0}
    wide = quality.Sizes(num_seeds=6, num_workers=2, trainings=(6, 12))
    assert spaces.compare_spaces(table, wide, tmp_path) is pays
    assert (tmp_path / "search_spaces.json").is_file()


def test_rows_that_cannot_be_compared_are_refused(tmp_path: Path) -> None:
    append_results(tmp_path, make_row(SPEC, [0.1, 0.2, 0.3], curves_on="test"))
    with pytest.raises(SystemExit, match="watched on a validation part"):
        read_table(tmp_path)
    with pytest.raises(ValueError, match="one split_seed; got 0, 1"):
        make_table([*grid_rows(), make_row(SPEC.replace(split_seed=1), [0.1, 0.2, 0.3])])


def test_the_grid_file_is_one(tmp_path: Path) -> None:
    path = tmp_path / "grid.yaml"
    for contents, number, scored_on in (
        *((quality.grid(small), number, "validation") for small, number in ((False, 1152), (True, 48))),
        *((spaces.grid(small), number, "test") for small, number in ((False, 1280), (True, 16))),
    ):
        path.write_text(yaml.safe_dump(contents))
        specs = expand(read_grid(path), TrialSpec(dataset="simulated", dataset_fingerprint="0f")).specs
        assert len({spec.trial_id for spec in specs}) == number
        assert {(spec.scored_on, spec.validation_fraction) for spec in specs} == {(scored_on, 0.1)}


# Methods


class OursWithEnds(search_methods.Ours):
    """Ours, which keeps how each configuration ended."""

    def __init__(self, table: Table, seed: int, until_epochs: int) -> None:
        super().__init__(table, seed, until_epochs)
        self.ends: list[tuple[int | None, str]] = []

    def ended(self, run: Run, num_epochs: int, status: Status) -> None:
        self.ends.append((run.config, status))
        super().ended(run, num_epochs, status)


@pytest.mark.parametrize("name", ["ours", "optuna", "random"])
def test_a_method_does_the_same_twice_and_comes_near_the_best(name: str) -> None:
    """Ours never trains a configuration twice, and stops some."""
    table = quality.made_up_table()
    make = OursWithEnds if name == "ours" else functools.partial(quality.make_method, name)
    methods = [make(table, 3, 300) for _ in range(2)]
    searches = [simulate(method, Cluster(4), 300) for method in methods]
    assert searches[0] == searches[1]
    assert searches[0][-1].chosen is not None
    assert table.regret[searches[0][-1].chosen] < 0.2
    for method in (method for method in methods if isinstance(method, OursWithEnds)):
        configs = [config for config, _ in method.ends]
        assert len(set(configs)) == len(configs) > 8
        assert {status for _, status in method.ends} == {"COMPLETE", "STOPPED"}


# Rate and overhead


def test_rates_are_of_all_and_of_the_last_hundred_and_measured_to_the_last_trial() -> None:
    seconds = [0.0, *np.linspace(0.01, 1, 100), *np.linspace(1.1, 11, 100)]
    assert search_rate.rates(seconds) == pytest.approx((200 / 11, 10))
    measured = search_rate.ended_at(search_rate.Cell("RandomSampler", "folder", batch=3, scheduler="asha"), 7)
    assert len(measured) == 8
    assert measured == sorted(measured)


def test_overhead_compares_medians_of_whole_processes() -> None:
    def of(*times: float) -> list[dict[str, float]]:
        return [{"seconds": time, "first": 2.0, "last": time - 1} for time in times]

    for seconds, verdict in ((13.0, "1.30 (at most 1.3)"), (13.2, "1.32 (at most 1.3)  missed")):
        found = {"ours": of(seconds, 99.0, 1.0), "tune": of(10.0), "tune-optuna": of(1.0)}
        last = overhead.describe(found, 1000, 2).splitlines()[-1]
        assert f"ours / tune  {verdict}" in last
        assert last.endswith("missed") is (overhead.ratio(found) > 1.3)
