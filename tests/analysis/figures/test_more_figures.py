"""The figures beyond the paper's: the numbers behind them, what is drawn of them, and why one is not."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from analysis.figures import collapse_rates, depths, gradients, learning_rates
from analysis.figures.catalogue import plan_figures
from analysis.figures.collapse_rates import CellKey, Count
from analysis.figures.plans import Material, Plan, write_figures
from analysis.trials.load import Trials
from analysis.trials.starts import FROM_SCRATCH, IMAGENET_FROZEN, Start
from analysis.trials.table1_cells import fill_cells
from galaxytl.trial import FAILED, TrialResult
from tests.analysis.fakes import make_result, make_spec
from tests.analysis.more_fakes import (
    LAYERS,
    drawn,
    footer_of,
    make_collapsed,
    make_ended,
    plans_of,
    with_diagnostics,
    with_status,
)

SGD: dict[str, Any] = {"optimizer": "sgd", "momentum": 0.9}


def texts_of(figure: Figure) -> list[str]:
    titles = [axes.get_title("left") for axes in figure.axes]
    return [text.get_text() for axes in figure.axes for text in axes.texts] + titles


def collapse_grid() -> list[TrialResult]:
    """VGG16 from scratch, two seeds: Adam collapses at 1e-3, once at 1e-4, and never at 1e-5; SGD was tried at 1e-3."""
    scratch: dict[str, Any] = {"imagenet": "OFF"}
    rows = [make_collapsed(seed=seed, **scratch) for seed in (0, 1)]
    rows += [make_collapsed(learning_rate=1e-4, **scratch), make_ended(0.55, learning_rate=1e-4, seed=1, **scratch)]
    rows += [make_ended(0.5 + 0.1 * seed, learning_rate=1e-5, seed=seed, **scratch) for seed in (0, 1)]
    return rows + [make_ended(0.6, learning_rate=rate, **SGD, **scratch) for rate in (1e-2, 1e-3)]


def test_a_line_is_an_optimizer_of_a_start_with_its_rates_in_order() -> None:
    adam, sgd = learning_rates.lines_of(collapse_grid())

    assert (adam.start, adam.backbone, adam.optimizer) == (Start(FROM_SCRATCH), "VGG16", "Adam")
    assert adam.rates == (1e-5, 1e-4, 1e-3)
    assert [point.mean for point in adam.points] == pytest.approx([0.55, 0.35, 0.15])
    assert [point.num_collapsed for point in adam.points] == [0, 1, 2]
    assert (sgd.optimizer, sgd.rates) == ("SGD 0.9", (1e-3, 1e-2))


def test_marks_say_how_many_seeds_collapsed_and_where_the_paper_is() -> None:
    figure = drawn("accuracy-by-learning-rate", collapse_grid())
    points = [line for line in figure.axes[0].lines if str(line.get_gid()).startswith("collapsed")]
    looks = {str(line.get_gid()): (line.get_marker(), line.get_markerfacecolor()) for line in points}
    rings = [line for line in figure.axes[0].lines if line.get_markersize() == 12]

    assert looks["collapsed 2 of 2"][0] == "X"
    assert looks["collapsed 1 of 2"] == ("o", "white")
    assert looks["collapsed 0 of 2"][1] != "white"
    assert len(rings) == 1
    assert np.asarray(rings[0].get_ydata())[0] == pytest.approx(0.15)
    assert {"● Adam", "■ SGD 0.9", "from scratch"} <= set(texts_of(figure))


def test_a_failed_seed_is_marked_and_a_line_goes_on_without_it() -> None:
    failed = with_status(make_ended(learning_rate=1e-2), FAILED)
    figure = drawn("accuracy-by-learning-rate", [failed, make_ended(0.4), make_ended(0.5, learning_rate=1e-4)])

    assert [line.get_gid() for line in figure.axes[0].lines].count("failed") == 1
    heights = np.asarray(figure.axes[0].lines[0].get_ydata(), dtype=float)
    assert heights == pytest.approx([0.5, 0.4, math.nan], nan_ok=True)


def depth_grid(**changes: Any) -> list[TrialResult]:
    """At each depth 1e-3 is better on the test part, and 1e-4 on the validation part, but for the head."""
    scores = {0: (0.5, 0.4), 1: (0.4, 0.5), "all": (0.4, 0.5)}
    return [
        make_ended(tested, unfrozen_blocks=depth, validation=validation, learning_rate=rate, **changes)
        for depth, pair in scores.items()
        for tested, validation, rate in zip((0.7, 0.6), pair, (1e-3, 1e-4), strict=True)
    ]


def test_the_learning_rate_of_a_depth_is_chosen_on_the_validation_part() -> None:
    (panel,) = depths.panels_of(depth_grid())
    figure = drawn("accuracy-by-depth", depth_grid())

    assert panel.depths == (0, 1, "all")
    assert panel.best == (1e-3, 1e-4, 1e-4)
    assert panel.points[1e-4]["all"].mean == pytest.approx(0.6)
    assert texts_of(figure).count("1e-4") == 3  # two depths, and the pale line
    assert [tick.get_text() for tick in figure.axes[0].get_xticklabels()] == ["head\nonly", "1", "all"]


def test_equal_learning_rates_choose_the_lowest_and_without_a_validation_part_none_is_chosen() -> None:
    equal = [make_ended(unfrozen_blocks=d, validation=0.5, learning_rate=r) for d in (0, 1, 2) for r in (1e-3, 1e-4)]
    without = [make_ended(unfrozen_blocks=depth, validation_fraction=0.0) for depth in (0, 1, "all")]

    assert depths.panels_of(equal)[0].best == (1e-4,) * 3
    assert depths.panels_of(without)[0].best == (None,) * 3
    assert "no learning rate is chosen" in footer_of(drawn("accuracy-by-depth", without))


def test_a_cell_counts_the_collapsed_of_the_complete() -> None:
    failed = with_status(make_ended(imagenet="OFF", seed=2), FAILED)
    cells = collapse_rates.cells_of([*collapse_grid(), failed])

    def at(optimizer: str, rate: float) -> Count:
        return cells[CellKey(Start(FROM_SCRATCH), "VGG16", "divide_by_255", optimizer, rate)]

    assert at("Adam", 1e-3) == Count(2, 2, 1)
    assert str(at("Adam", 1e-3)) == "2/2\n1 failed"
    assert (at("Adam", 1e-4).share, str(at("Adam", 1e-4))) == (0.5, "1/2")
    assert str(at("SGD 0.9", 1e-2)) == "0/1"
    assert [place.learning_rate for place, count in cells.items() if count.is_paper_setting] == [1e-3]


def test_the_map_has_rates_across_and_optimizers_down_and_hatches_what_was_not_tried() -> None:
    axes = drawn("collapse-rate", collapse_grid()).axes[0]
    rates, optimizers = ([t.get_text() for t in labels] for labels in (axes.get_xticklabels(), axes.get_yticklabels()))
    found = {(optimizers[y], rates[x]): t.get_text() for t in axes.texts for x, y in [t.get_position()]}
    boxes = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
    adam = {("Adam", "1e-5"): "0/2", ("Adam", "1e-4"): "1/2", ("Adam", "1e-3"): "2/2"}

    assert found == {**adam, ("SGD 0.9", "1e-3"): "0/1", ("SGD 0.9", "1e-2"): "0/1"}
    assert [box.get_hatch() for box in boxes if box.get_gid() == "no trials"] == ["////"] * 3
    assert sum(not box.get_fill() for box in boxes) == 1  # the paper's


def test_the_trial_of_each_end_is_the_nearest_to_the_paper() -> None:
    scratch: dict[str, Any] = {"imagenet": "OFF"}
    nearest = with_diagnostics(make_collapsed(**scratch))
    learned = with_diagnostics(make_ended(learning_rate=1e-4, **scratch))
    frozen = with_diagnostics(make_ended(learning_rate=1e-5), frozen=True)
    others = [
        with_diagnostics(make_collapsed(seed=1, **scratch)),
        with_diagnostics(make_ended(learning_rate=1e-5, **scratch)),
        with_diagnostics(make_ended(**SGD, **scratch)),  # the paper's rate, but two other settings
        make_ended(**scratch, seed=7),  # without a record
        with_diagnostics(make_ended(0.16, **scratch, seed=8)),  # neither collapsed nor surely better than one class
        with_diagnostics(make_ended(backbone="MobileNet", **scratch)),
    ]

    picks = gradients.picks_of([*others, frozen, learned, nearest])

    assert [(pick.start.name, pick.kind, pick.result) for pick in picks] == [
        (IMAGENET_FROZEN, "learned", frozen),
        (FROM_SCRATCH, "collapsed", nearest),
        (FROM_SCRATCH, "learned", learned),
    ]


def test_layers_stand_from_input_to_output_and_frozen_ones_have_no_number() -> None:
    """A hidden layer that the longest record lacks stands before its last."""
    whole = with_diagnostics(make_ended(imagenet="OFF"), norms=(0.5, 0.25))
    head = with_diagnostics(make_ended(), frozen=True)
    record = {"epoch": 0, "gradient_norms": {"hidden": 1.0, "output": 1.0}, "dead_shares": {"hidden": 0.5}}
    hidden = replace(make_ended(head_units=8), diagnostics=(record,))

    assert gradients.layers_of([head, whole]) == LAYERS
    assert gradients.layers_of([whole, hidden]) == (*LAYERS[:2], "hidden", "output")
    assert gradients.grid_of(whole, "gradient_norms", LAYERS).tolist() == [[0.5, 0.25]] * 3
    frozen = gradients.grid_of(head, "gradient_norms", LAYERS)
    assert np.isnan(frozen[:2]).all()
    assert frozen[2].tolist() == [0.1, 0.2]
    assert np.isnan(gradients.grid_of(whole, "dead_shares", LAYERS)[2]).all()
    scale = gradients.norm_scale([np.array([[0.3, 0.0, math.nan]]), np.array([[1e-30, 0.002]])])
    assert (scale.vmin, scale.vmax) == (pytest.approx(1e-9), 1.0)  # whole decades, without the vanished


def test_the_gradients_figure_shows_what_json_has_no_number_for() -> None:
    broken = with_diagnostics(make_collapsed(imagenet="OFF"))
    broken.diagnostics[1]["gradient_norms"]["output"] = None
    broken.diagnostics[1]["loss"] = None
    broken.diagnostics[0]["gradient_norms"]["block1_conv1"] = 0.0

    figure = drawn("gradients", [broken, with_diagnostics(make_ended(imagenet="OFF", learning_rate=1e-4))])

    assert "from scratch\ncollapsed: 0.15\nAdam, 1e-3" in texts_of(figure)
    (losses,) = [line for line in figure.axes[6].lines if line.get_gid() == f"loss {broken.trial_id}"]
    assert np.isnan(np.asarray(losses.get_ydata(), dtype=float)).tolist() == [False, True]


RATES_OF_A_SEARCH = [make_ended(learning_rate=1e-3 + 1e-5 * i) for i in range(collapse_rates.MAX_RATES + 1)]


@pytest.mark.parametrize(
    ("stem", "results", "why"),
    [
        (
            "accuracy-by-learning-rate",
            [make_ended(seed=0), make_ended(seed=1), make_ended(unfrozen_blocks=2, learning_rate=1e-4)],
            "no network was trained from one start with one optimizer at two learning rates, all else being equal",
        ),
        (
            "accuracy-by-depth",
            [make_ended(unfrozen_blocks=depth) for depth in (0, "all")],
            "no network was trained to 3 depths, all else being equal",
        ),
        ("collapse-rate", RATES_OF_A_SEARCH, "more than 12 rates"),
        ("gradients", [make_ended(backbone="MobileNet")], "no VGG16 trial is complete"),
        ("gradients", [make_ended()], "no VGG16 trial recorded its gradients"),
        ("gradients", [with_diagnostics(make_ended(0.16))], "has collapsed or surely learned"),
    ],
)
def test_why_a_figure_is_not_drawn(stem: str, results: list[TrialResult], why: str) -> None:
    plan = plans_of(results)[stem]
    assert plan.draw is None
    assert why in plan.why_not


def test_of_twelve_learning_rates_there_is_a_map_and_of_nothing_complete_no_figure() -> None:
    plans = list(plans_of([with_status(make_ended(), FAILED)]).values())
    assert plans_of(RATES_OF_A_SEARCH[1:])["collapse-rate"].draw is not None
    assert all(plan.draw is None and plan.why_not for plan in plans)
    assert [plan.why_not for plan in plans[:3]] == ["no trial is complete"] * 3


STEMS = ["accuracy-by-learning-rate", "accuracy-by-depth", "collapse-rate", "gradients"]


def test_simulated_galaxies_and_random_weights_are_in_captions_and_bottom_lines() -> None:
    stand_in: dict[str, Any] = {"dataset": "simulated", "weights": "random", "weights_fingerprint": ""}
    results = [with_diagnostics(r) for r in depth_grid(**stand_in)]
    plans = plan_figures(Material(results, grid=fill_cells(Trials((make_result(make_spec(**stand_in)),)))))
    drawable = {plan.stem: plan for plan in plans if plan.draw}

    assert len(drawable) == 6 + len(STEMS)
    for stem, plan in drawable.items():
        assert plan.draw
        caption, footer = plan.caption, footer_of(plan.draw())
        assert "simulated galaxies, not comparable with the paper" in footer
        assert "* random weights (ImageNet weights not found)" in footer
        if stem in STEMS:
            assert "SIMULATED galaxies" in caption
            assert "* random weights (ImageNet weights not found)" in caption


def test_the_same_numbers_give_the_same_files_and_a_lost_figure_goes(tmp_path: Path) -> None:
    rows = [*collapse_grid(), *depth_grid(num_epochs=19)]
    results = [with_diagnostics(r, frozen=r.spec.trains_head_only) for r in rows]
    plans = plans_of(results)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()

    wanted = [plans[stem] for stem in ("gradients", "examples")]
    first, second = (write_figures(wanted, tmp_path / name) for name in ("a", "b"))

    assert [stem for stem, plan in plans.items() if plan.draw] == STEMS
    left_out = "8 trials of other settings (weights_requested, optimizer, momentum, num_epochs) are not in it"
    assert left_out in plans["accuracy-by-depth"].caption
    assert (list(first.paths), list(first.reasons)) == (["gradients"], ["examples"])
    for stem, paths in first.paths.items():
        for one, other in zip(paths, second.paths[stem], strict=True):
            assert one.read_bytes() == other.read_bytes()
    other = tmp_path / "a" / "collapse-rate.svg"
    other.touch()
    lost = write_figures([Plan("gradients", "What the gradients did.", None, "no record")], tmp_path / "a")
    assert lost.reasons == {"gradients": "no record"}
    assert not any(path.exists() for path in first.paths["gradients"])
    assert other.exists()
