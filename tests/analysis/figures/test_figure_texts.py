"""Whatever the rows hold, the texts of every figure can be read: no markup, nothing over the edge or over another."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import FrozenTrial, TrialState

from analysis.figures.catalogue import plan_figures
from analysis.figures.curves import draw_cell, rates_of
from analysis.figures.plans import Material, Plan
from analysis.figures.style import new_figure, set_log, style
from analysis.search.study import MIN_TRIALS
from analysis.trials.banner import Banner
from analysis.trials.load import Trials
from analysis.trials.paper import TABLE_1
from analysis.trials.table1_cells import fill_cells
from galaxytl.trial import FAILED, TrialResult
from tests.analysis.fakes import make_compared, make_result, make_spec
from tests.analysis.figures.test_search import ACCURACY, COST, read
from tests.analysis.folders import own_grid
from tests.analysis.more_fakes import (
    make_collapsed,
    make_ended,
    with_diagnostics,
    with_status,
    write_predictions,
    write_thumbnails,
)
from tests.analysis.pictures import faults_of, lines_of
from tests.analysis.search.test_study import conditional, trial
from tests.analysis.sure_networks import Planted

LONG_NAMES = tuple(f"{size} galaxy with a name that is longer than most, number {i}" for i, size in enumerate("ab" * 5))
LONG_REASON = "out of memory: 137438953472 bytes for block5_conv3/kernel; " + "/a/long/path" * 30
PARAMETERS = ("learning_rate", "head_units")
"""Of a study, whose names are its own."""
SCALES = ((0.1, 3.0, 1.5), (2.3, 0.1, 1e30), (2.0, 30.0, 2.1), (1e30, 2e30, 3e30))


def losses(values: Sequence[float]) -> tuple[dict[str, float], ...]:
    scores = {"accuracy": 0.2, "val_accuracy": 0.3}
    return tuple({"epoch": float(i), "loss": v, "val_loss": 1.1 * v, **scores} for i, v in enumerate(values, 1))


def grid_with(num_seeds: int = 1, **changes: Any) -> list[TrialResult]:
    """The paper's six trials, substituted weights and all; `changes` are of their rows."""
    stand_in: dict[str, Any] = {"dataset": "simulated", "weights": "random", "weights_fingerprint": ""}
    specs = [make_spec(c.backbone, c.imagenet, **stand_in, seed=s) for c in TABLE_1 for s in range(num_seeds)]
    return [make_result(spec, accuracy=0.2 + 0.1 * spec.seed, **changes) for spec in specs]


def papers_figures(rows: Sequence[TrialResult]) -> list[Plan]:
    grid = fill_cells(Trials(tuple(rows)))
    return plan_figures(Material(grid.results or grid.outside, grid=grid))


def mixed_losses() -> list[TrialResult]:
    """A scale of its own for each, one diverged, one failed with a long reason, one missing."""
    diverged, failed, *rows = grid_with()
    rows = [replace(row, history=losses(values)) for row, values in zip(rows, SCALES, strict=True)]
    return [
        *rows[1:],
        replace(diverged, status=FAILED, message="diverged in epoch 3/20", history=losses((2.3, 4e5, math.nan))),
        replace(failed, status=FAILED, message=LONG_REASON, history=(), metrics={}, confusion=()),
    ]


def with_warmup() -> list[TrialResult]:
    rows = grid_with(history=losses((2.3, 1.9, 1.5)), num_images={"train": 70, "test": 30})
    changes: dict[str, Any] = {"num_epochs": 3, "schedule": "cosine", "warmup_epochs": 0.5, "batch_size": 7}
    return [replace(row, spec=row.spec.replace(**changes)) for row in rows]


def of_two_classes() -> list[TrialResult]:
    return grid_with(confusion=((3, 1), (0, 0)), class_names=("a", "b"))


def of_long_names() -> list[TrialResult]:
    return grid_with(2, class_names=LONG_NAMES, history=losses((1.0,)))


def of_forty_classes() -> list[TrialResult]:
    names = tuple(f"a class of forty, {index}" for index in range(40))
    confusion = tuple(tuple(1000 if i == j else (i + j) % 3 for j in range(40)) for i in range(40))
    return grid_with(class_names=names, confusion=confusion)


def of_forty_settings() -> list[TrialResult]:
    """Learning rates from 1e-6 to 1e3, four optimizers, long backbones, five depths, gradients."""
    optimizers: list[dict[str, Any]] = [
        {"optimizer": "adam"},
        {"optimizer": "rmsprop"},
        {"optimizer": "sgd", "momentum": 0.95},
        {"optimizer": "sgd"},
    ]
    rows = []
    for i, rate in enumerate(10.0**n for n in range(-6, 4)):
        for j, own in enumerate(optimizers):
            for start in ({"imagenet": "OFF"}, {"imagenet": "ON"}):
                made = make_collapsed if (i + j) % 3 == 0 else make_ended
                row = made(learning_rate=rate, backbone="VGG16", **own, **start)
                rows.append(with_status(row, FAILED) if i == 9 else with_diagnostics(row, (1e-9, 1e5, 3.0)))
    return rows


def of_depths() -> list[TrialResult]:
    return [
        make_ended(0.4 + 0.001 * i, unfrozen_blocks=depth, validation=0.4, learning_rate=rate, backbone=backbone)
        for backbone in ("VGG16", "InceptionResNetV2", "EfficientNetV2B3")
        for depth in (0, 1, 2, 3, "all")
        for i, rate in enumerate(10.0**n for n in range(-6, 4))
    ]


def of_backbones() -> list[TrialResult]:
    return [
        make_ended(unfrozen_blocks=depth, validation=0.4, learning_rate=rate, backbone=f"EfficientNetV2B{index}")
        for index in range(2)
        for depth in (*range(18), "all")
        for rate in (1e-3, 3.2e-4)
    ]


def of_one_point() -> list[TrialResult]:
    rows = [make_ended(unfrozen_blocks=d, validation=0.5, num_epochs=1) for d in (0, 1, "all")]
    other = [make_ended(learning_rate=2e-3, num_epochs=1, validation=0.4)]
    return [with_diagnostics(row, (0.5,), frozen=row.spec.trains_head_only) for row in [*rows, *other]]


def more_figures(rows: Sequence[TrialResult]) -> list[Plan]:
    return plan_figures(Material(rows))


def examples(folder: Path) -> list[Plan]:
    rows = []
    for imagenet, predicted in (("ON", [0, 1, 2, 3]), ("OFF", [4, 5, 2, 9])):
        row = replace(make_result(make_spec("VGG16", imagenet)), class_names=LONG_NAMES)
        rows.append(write_predictions(folder, row, [0, 1, 2, 4], predicted))
    write_thumbnails(folder, {10 + i: label for i, label in enumerate([0, 1, 2, 4])})
    plans = plan_figures(Material(rows, {row.trial_id: folder for row in rows}))
    return [plan for plan in plans if plan.stem == "examples"]


def networks(folder: Path) -> list[Plan]:
    """Reliability and the hardest images of networks whose names are long, one of them sure of one class."""
    planted = Planted(folder, 40)
    stand_in: dict[str, Any] = {"weights": "random", "weights_fingerprint": "", "dataset": "simulated"}
    for index in range(7):
        spec = make_spec(f"InceptionResNetV{index}", learning_rate=3.2e-5 * (1 + index % 2), **stand_in)
        planted.add(spec, 0.1 + 0.1 * index, 0.3 + index, class_names=LONG_NAMES)
    write_thumbnails(folder, {row: row % 10 for row in range(40)})
    rows = planted.results
    plans = plan_figures(Material(rows, planted.trials.folders, planted.networks))
    return only(plans, "reliability", "hardest")


def of_sizes() -> list[TrialResult]:
    """Few images, and as many as a hundred times that; two starts, four networks."""
    starts: tuple[tuple[str, dict[str, Any]], ...] = (("ON", {}), ("ON", {"unfrozen_blocks": "all"}))
    return [
        replace(
            make_ended(0.3 + 0.1 * seed, imagenet=imagenet, max_images=size, seed=seed, backbone=backbone, **own),
            num_images={"train": size or 12_415, "validation": 30, "test": 5_000},
        )
        for imagenet, own in starts
        for backbone in ("VGG16", "ResNet50", "InceptionResNetV2", "EfficientNetV2B3")
        for size in (0, 90, 100, 9_000, 10_000)
        for seed in range(2)
    ]


def searches(folder: Path) -> Iterator[Plan]:
    """Of one trial and of hundreds; their values near one another, far apart, and huge."""
    rows = [make_compared(backbone=f"EfficientNetV2B{index}") for index in range(60)]

    def front(*values: tuple[float, float]) -> list[FrozenTrial]:
        return [trial(list(own), trial_id=row.trial_id) for own, row in zip(values, rows, strict=False)]

    many = [(0.1 + 0.01 * i, 10.0 ** (6 + i / 8)) for i in range(60)]
    failed = [trial(None, state=TrialState.FAIL, reason="no memory")] * 300
    studies = {
        "one": [trial([0.5])],
        "huge": [*front((1e-9, 1.0), (0.7, 2e30)), *failed],
        "many": front(*many),
        "importances": conditional(MIN_TRIALS),
    }
    for name, trials in studies.items():
        (folder / name).mkdir()
        objectives = (ACCURACY, COST) if any(len(own.values or ()) > 1 for own in trials) else (ACCURACY,)
        study = read(folder / name, trials, *objectives)
        yield from (p for p in plan_figures(Material(rows, studies=(study,))) if p.stem.startswith("search"))


def only(plans: Iterable[Plan], *kinds: str, singles: int = 1) -> list[Plan]:
    """Whose stems have one of these words in them; of the paper's figures of one kind the first `singles`."""
    found, counts = [], Counter[str]()
    for plan in plans:
        if kind := next((kind for kind in kinds if plan.draw and kind in plan.stem), ""):
            counts[kind] += plan.stem.startswith("figure-")
            if not plan.stem.startswith("figure-") or counts[kind] <= singles:
                found.append(plan)
    return found


ALIKE = ("schedule", "no images of a class", "a hundred classes")
"""Worlds of figures that another world has too."""
MATRICES = ("confusion", "confusion-vgg16-imagenet-on")
"""Of other data than the paper's."""
WORLDS: dict[str, Callable[[Path], Iterable[Plan]]] = {
    "losses": lambda _: only(papers_figures(mixed_losses()), "curves", "loss", "16-21", singles=6),
    "schedule": lambda _: only(papers_figures(with_warmup()), "curves", "loss"),
    "no images of a class": lambda _: only(papers_figures(of_two_classes()), "confusion", "metrics"),
    "long names": lambda _: only(papers_figures(of_long_names()), "curves", "accuracy", "confusion"),
    "forty classes": lambda _: only(papers_figures(of_forty_classes()), "confusion"),
    "a hundred classes": lambda _: [plan for plan in papers_figures(own_grid(100)) if plan.stem in MATRICES],
    "forty settings": lambda _: more_figures(of_forty_settings()),
    "depths": lambda _: only(more_figures(of_depths()), "accuracy-by-depth"),
    "seventeen blocks": lambda _: only(more_figures(of_backbones()), "accuracy-by-depth"),
    "one point": lambda _: more_figures(of_one_point()),
    "examples": examples,
    "networks": networks,
    "sizes": lambda _: only(more_figures(of_sizes()), "scores-by-images"),
    "searches": searches,
}


@pytest.mark.parametrize(
    "world",
    [pytest.param(world, marks=[pytest.mark.rest] * (world in ALIKE)) for world in WORLDS],
)
def test_no_figure_has_markup_raw_names_or_texts_that_are_clipped_or_overlap(world: str, tmp_path: Path) -> None:
    with style():
        figures = [plan.draw() for plan in WORLDS[world](tmp_path) if plan.draw]
        faults = [fault for figure in figures for fault in faults_of(figure, PARAMETERS)]
    assert figures
    assert not faults


def test_below_the_curves_is_the_learning_rate_of_each_step_where_it_changes() -> None:
    rows = with_warmup()
    cells = [fill_cells(Trials(tuple(trials))).cells[0] for trials in (rows, grid_with())]
    epochs, rates = rates_of(cells[0])
    assert epochs == [step / 10 for step in range(30)]
    assert rates[:6] == pytest.approx([1e-3 * step / 5 for step in range(6)])
    with style():
        changing, constant = (draw_cell(cell, "loss", Banner.of_search(rows)) for cell in cells)
    curves, below = changing.axes
    assert below.lines[0].get_ydata() == pytest.approx(rates)
    assert (curves.get_xlim(), below.get_ylabel()) == ((0, 3), "learning rate")
    assert len(constant.axes) == 1


def test_the_look_finds_markup_raw_names_clipped_and_overlapping_texts() -> None:
    with style():
        figure = new_figure(4, 3, "trials by learning_rate")
        axes = figure.subplots()
        axes.set(yscale="log", ylim=(1, 1e4))
        for x, text in ((0.5, "one text"), (0.52, "another"), (3.0, "far out")):
            figure.text(x, 0.5, text)
        faults = faults_of(figure)
    assert {fault.split(":")[0] for fault in faults} == {"markup", "raw name", "clipped", "overlap"}
    assert "overlap: 'one text' and 'another'" in faults
    assert "clipped: 'far out'" in faults


@pytest.mark.parametrize(
    ("limits", "labels"),
    [
        ((2, 40), ["2", "5", "10", "20"]),
        ((0.5, 3000), ["1", "10", "100", "1,000"]),
        ((0.03, 3), ["0.1", "1"]),
        ((2e4, 4e5), ["2e4", "5e4", "1e5", "2e5"]),
    ],
)
def test_a_logarithmic_axis_is_labelled_in_plain_numbers(limits: tuple[float, float], labels: list[str]) -> None:
    with style():
        figure = new_figure(4, 5, "")
        axes = figure.subplots()
        set_log(axes, "y")
        axes.set_ylim(limits)
        axes.xaxis.set_visible(False)
        assert [line.text for line in lines_of(figure)] == labels
