"""Which settings a report shows, what they are called, and what is read of them, whatever lies in the folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analysis.figures.catalogue import plan_figures
from analysis.figures.plans import Material
from analysis.scores.class_sections import sections as class_sections
from analysis.scores.ensembles import sections as ensemble_sections
from analysis.scores.hard_images import hard_of
from analysis.scores.reliability import sections as calibration_sections
from analysis.statistics.class_scores import ClassScore
from analysis.statistics.intervals import Interval
from analysis.trials.load import Trials
from analysis.trials.repeats import MOST_SETTINGS, best_of_backbones, over_seeds, read_networks, repeats_of
from galaxytl.results.predictions import PredictionsError, read_probabilities, read_validation
from galaxytl.trial import FAILED
from tests.analysis.fakes import make_result, make_spec, write_parquet
from tests.analysis.sure_networks import Planted


def test_a_setting_is_all_but_the_seed_and_is_called_by_what_differs() -> None:
    specs = [make_spec("VGG16", "OFF", seed=seed, learning_rate=rate) for seed in (2, 0) for rate in (1e-4, 1e-3)]
    specs += [make_spec("VGG16", "OFF", max_images=500), make_spec("MobileNet", "ON")]
    results = [make_result(spec) for spec in specs] + [make_result(make_spec(seed=9), status=FAILED)]

    found = repeats_of(results)

    assert [own.name for own in found] == [
        "MobileNet, ImageNet ON, Adam 1e-3, all images",
        "VGG16, ImageNet OFF, Adam 1e-3, all images",
        "VGG16, ImageNet OFF, Adam 1e-4, all images",
        "VGG16, ImageNet OFF, Adam 1e-3, 500 images",
    ]
    assert [r.spec.seed for r in found[1].results] == [0, 2]
    assert [own.name for own in repeats_of(reversed(results))] == [own.name for own in found]


def test_two_weights_files_are_two_settings_of_different_names() -> None:
    names = [
        own.name for own in repeats_of([make_result(make_spec(weights_fingerprint=mark)) for mark in ("aa", "bb")])
    ]
    assert names == ["MobileNet, ImageNet ON, weights aa", "MobileNet, ImageNet ON, weights bb"]


def test_what_stands_in_for_imagenet_weights_is_starred_and_blocks_are_counted() -> None:
    stand_in = make_spec(weights="random", weights_fingerprint="")
    names = [own.name for own in repeats_of([make_result(stand_in), make_result(make_spec(unfrozen_blocks=1))])]
    assert names == ["MobileNet, ImageNet ON*", "MobileNet, ImageNet, 1 block trained"]


def test_of_many_settings_those_of_table_1_and_the_nearest_are_shown_and_read(tmp_path: Path) -> None:
    rows = [make_result(make_spec(learning_rate=1e-3 * 1.1**n)) for n in range(MOST_SETTINGS + 3)]
    networks = read_networks(Trials(tuple(rows)), rows[-1:])

    assert networks.shown[0].results == (rows[-1],)
    assert len(networks.shown) == MOST_SETTINGS
    assert networks.not_shown.startswith("3 further settings are not in it")
    assert networks.problems[0].startswith(f"Left out, {MOST_SETTINGS} trials, as ")
    assert len(networks.problems) == 1
    plans = {plan.stem: plan for plan in plan_figures(Material(rows, networks=networks))}
    assert plans["reliability"].why_not == networks.problems[0]


def test_the_best_of_a_backbone_is_that_of_the_validation_part(tmp_path: Path) -> None:
    planted = Planted(tmp_path)
    worse, better = (planted.add(make_spec(learning_rate=rate), a) for rate, a in ((1e-3, 0.5), (1e-4, 0.8)))
    planted.results[1] = better  # its test score has no say
    assert [own.results for own in best_of_backbones(planted.networks.settings)] == [(better,)]
    assert worse.trial_id in planted.networks.validation


def change(path: Path, **columns: Any) -> None:
    table = pq.read_table(path)
    for name, values in columns.items():
        table = table.set_column(table.column_names.index(name), name, pa.array(values))
    pq.write_table(table, path)


def broken(path: Path) -> dict[str, Any]:
    """What may be wrong with a file, by what is then said of it."""
    first = pq.read_table(path)
    p0, p9, rows = (first.column(name).to_numpy() for name in ("p0", "p9", "row"))

    def with_first(values: Any, value: Any) -> Any:
        changed = values.copy()
        changed[0] = value
        return changed

    return {
        "1 images' are not": lambda: change(path, p9=with_first(p9, -0.5)),
        "sum to 1": lambda: change(path, p0=p0 * 0.5),
        "name an image twice": lambda: change(path, row=with_first(rows, 1)),
        "its row speaks of": lambda: pq.write_table(first.slice(0, 390), path),
        "are not there": path.unlink,
        "cannot be read": lambda: path.write_bytes(b"PAR1"),
        "give accuracy|are not": lambda: change(path, p3=np.full(len(p0), np.nan, np.float32)),
    }


@pytest.mark.parametrize("fault", range(7))
def test_what_is_no_probability_is_left_out_and_said_and_the_rest_stands(fault: int, tmp_path: Path) -> None:
    planted = Planted(tmp_path)
    for seed in range(3):
        planted.add(make_spec(seed=seed), 1.0)
    bad = planted.results[1]
    path = tmp_path / "probabilities" / f"{bad.trial_id}.parquet"
    message, do = list(broken(path).items())[fault]
    do()

    with pytest.raises(PredictionsError, match=message):
        read_probabilities(tmp_path, bad)
    networks = planted.networks
    assert bad.trial_id not in networks.probabilities
    assert len(networks.probabilities) == 2
    (problem,) = networks.problems
    assert problem.startswith(f"Left out, trial {bad.trial_id}: ")
    sections = calibration_sections(networks)
    assert sections[0].listing is not None
    assert sections[0].listing.rows[0][1] == "2"
    assert problem in sections[0].sentences
    assert class_sections(networks)
    assert not ensemble_sections(networks)  # two of three seeds are another ensemble than that of the setting
    assert hard_of(networks) is None


def test_validation_probabilities_that_are_not_the_trials_or_of_test_images_are_not_used(tmp_path: Path) -> None:
    planted = Planted(tmp_path)
    result = planted.add(make_spec(), 0.7)
    path = tmp_path / "probabilities" / f"{result.trial_id}.validation.parquet"
    whole = pq.read_table(path)
    assert len(read_validation(tmp_path, result).rows) == 200

    change(path, row=np.arange(200))
    assert planted.networks.validation == {}
    assert "are of images of the test part, and are not used" in planted.networks.problems[0]
    pq.write_table(whole, path)
    change(path, label=(np.arange(200) + 1) % 10)
    with pytest.raises(PredictionsError, match="its last epoch"):
        read_validation(tmp_path, result)
    path.unlink()
    with pytest.raises(PredictionsError, match=r"the validation probabilities of trial .* are not there"):
        read_validation(tmp_path, result)
    assert planted.networks.problems == ()  # an earlier version has stored none


def test_of_few_validation_images_one_may_come_out_otherwise(tmp_path: Path) -> None:
    """Of 10 images one is a tenth of the accuracy: another batch size may round it to another class."""
    sizes = {"train": 60, "validation": 10, "test": 30}
    history = ({"epoch": 1.0, "loss": 2.0, "val_accuracy": 0.6},)
    result = make_result(make_spec(validation_fraction=0.15), num_images=sizes, history=history, curves_on="validation")
    labels = np.arange(10)
    for right, is_read in ((5, True), (4, False)):
        named = np.where(labels < right, labels, (labels + 1) % 10)
        write_parquet(tmp_path, result, labels, np.eye(10, dtype=np.float32)[named], 0, ".validation.parquet")
        if is_read:
            assert read_validation(tmp_path, result).right.sum() == right
        else:
            with pytest.raises(PredictionsError, match="its last epoch"):
                read_validation(tmp_path, result)


def test_an_interval_over_seeds_is_t_and_of_one_seed_its_own() -> None:
    """Of 0.4, 0.5 and 0.6: 0.5 +- 4.3027 x 0.1 / sqrt(3)."""

    def scores(*values: float, variance: float = 0.0) -> list[ClassScore]:
        return [ClassScore(value, Interval(0.3, 0.5), variance) for value in values]

    assert over_seeds(scores(0.4, variance=1.0)) == Interval(0.3, 0.5)
    sure = over_seeds(scores(0.4, 0.5, 0.6))
    assert (sure.low, sure.high) == pytest.approx((0.2516, 0.7484), abs=1e-4)
    assert over_seeds(scores(0.4, 0.5, 0.6, variance=0.01)).low < sure.low
    assert over_seeds(scores(0.0, 1.0)) == Interval(0.0, 1.0)
    assert over_seeds(scores(0.0, 1.0), low=-1.0).low < 0.0
