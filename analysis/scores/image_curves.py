"""How a network's scores grow with the number of images: trials that differ in `max_images`, network and seed only.

    chosen = comparable(results, VARIED, can_draw)
    curves_of(chosen.results)                       # Curve(start, backbone, places), ...
    sections(results); draw_image_curves(chosen.results, banner)

A sweep takes its subset from the whole dataset and divides that: with fewer images the test part is smaller too, and of
other images. Each point is scored on the test part of its own size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullLocator

from analysis.figures.seed_points import WEIGHTS, comparable
from analysis.figures.style import GREY, INK, backbone_colours, new_figure, set_log
from analysis.scores.class_sections import value_text
from analysis.sections import Listing, Section
from analysis.statistics.class_scores import balanced_accuracy, variance_of
from analysis.statistics.intervals import Interval, Share
from analysis.trials.banner import Banner
from analysis.trials.repeats import over_seeds
from analysis.trials.starts import Start, ordered_backbones, start_of
from galaxytl.trial import COMPLETE, TrialResult

VARIED: Final = ("backbone", *WEIGHTS, "unfrozen_blocks", "max_images")
SHAPES: Final = ("o", "s", "^", "D", "v")
DODGE: Final = 0.03
"""Between two networks at one size, as a share of the sizes' span: their bars stand side by side."""
LABEL_ROOM: Final = 0.17
"""Of the axis, between two labelled sizes."""
OWN_TEST_PART: Final = (
    "A sweep divides each subset of the images anew: with fewer images the part that a trial is scored on is smaller"
    " too, and of other images."
)


@dataclass(frozen=True, eq=False)
class Estimate:
    """Of one score at one size: the seeds' values, and the interval of their mean."""

    values: tuple[float, ...]
    interval: Interval

    @property
    def mean(self) -> float:
        return float(np.mean(self.values))


@dataclass(frozen=True, eq=False)
class Place:
    """The COMPLETE trials of one network and size. `balanced` is None where a row has no confusion matrix."""

    num_train: int
    num_scored: int
    accuracy: Estimate
    balanced: Estimate | None


@dataclass(frozen=True, eq=False)
class Curve:
    """Of one network: `places`, from few training images to many."""

    start: Start
    backbone: str
    places: tuple[Place, ...]

    @property
    def name(self) -> str:
        return f"{self.backbone}, {self.start.title}"


def curves_of(results: Sequence[TrialResult]) -> list[Curve]:
    """Return the networks with two sizes or more; those of which only some blocks are trained are left out."""
    groups: dict[tuple[Start, str], dict[int, list[TrialResult]]] = {}
    for result in results:
        start, number = start_of(result.spec), result.num_images.get("train", 0)
        if start and number and result.status == COMPLETE and result.num_images.get(result.spec.scored_on):
            groups.setdefault((start, result.spec.backbone), {}).setdefault(number, []).append(result)
    order = {name: index for index, name in enumerate(ordered_backbones(backbone for _, backbone in groups))}
    found = sorted(groups.items(), key=lambda item: (item[0][0], order[item[0][1]]))
    return [
        Curve(*key, tuple(_place(by_size[size]) for size in sorted(by_size)))
        for key, by_size in found
        if len(by_size) > 1
    ]


def _place(results: Sequence[TrialResult]) -> Place:
    own = sorted(results, key=lambda r: (r.spec.seed, r.trial_id))
    spec, images = own[0].spec, own[0].num_images
    total = images[spec.scored_on]
    return Place(images["train"], total, _accuracy(own, total), _balanced(own))


def _accuracy(results: Sequence[TrialResult], total: int) -> Estimate:
    shares = [Share(round(r.metrics["accuracy"] * total), total) for r in results]
    values = tuple(r.metrics["accuracy"] for r in results)
    image_variance = float(np.mean([variance_of(share) for share in shares]))
    return Estimate(values, over_seeds(values, image_variance, shares[0].interval))


def _balanced(results: Sequence[TrialResult]) -> Estimate | None:
    if not all(r.confusion and sum(map(sum, r.confusion)) for r in results):
        return None
    found = [balanced_accuracy(r.confusion) for r in results]
    values = tuple(one.value for one in found)
    image_variance = float(np.mean([one.variance for one in found]))
    return Estimate(values, over_seeds(values, image_variance, found[0].interval))


def can_draw(results: Sequence[TrialResult]) -> bool:
    return bool(curves_of(results))


def sections(results: Sequence[TrialResult]) -> list[Section]:
    """Return the section; none where no network was trained on two numbers of images, all else being equal."""
    chosen = comparable(results, VARIED, can_draw)
    curves = curves_of(chosen.results)
    if not curves:
        return []
    rows = []
    for curve in curves:
        for place in curve.places:
            scores = [_text(place.accuracy), _text(place.balanced) if place.balanced else "-"]
            counts = (f"{place.num_train:,}", f"{place.num_scored:,}", str(len(place.accuracy.values)))
            rows.append((curve.name, *counts, *scores))
    part = chosen.results[0].spec.scored_on
    headings = ("Network", "Training images", f"{part.capitalize()} images", "Seeds", "Accuracy", "Balanced accuracy")
    sentences = [
        "In brackets: 95 % intervals, of one seed over its images, of several by Student's t over the seeds with the"
        " scatter over images added.",
        OWN_TEST_PART,
        *([chosen.left_out] if chosen.left_out else []),
    ]
    return [
        Section(
            "Scores by the number of training images", Listing(headings, tuple(rows), {1, 2, 3, 4, 5}), tuple(sentences)
        )
    ]


def _text(estimate: Estimate) -> str:
    return value_text(estimate.values, estimate.interval)


def draw_image_curves(results: Sequence[TrialResult], banner: Banner) -> Figure:
    """Columns are starts; accuracy above, balanced accuracy below."""
    curves = curves_of(results)
    starts = sorted({curve.start for curve in curves})
    backbones = ordered_backbones(curve.backbone for curve in curves)
    counted = {len(place.accuracy.values) for curve in curves for place in curve.places}
    notes = [
        "small marks: seeds" if max(counted) > 1 else "",
        f"bars: 95 %, {_bars_text(counted)}",
        f"each size is scored on its own {results[0].spec.scored_on} part",
    ]
    footer = banner.bottom_line(results, "; ".join(filter(None, notes)))
    figure = new_figure(max(5.5, 3.4 * len(starts)), 6.2, footer)
    panels = figure.subplots(2, len(starts), sharex=True, sharey=True, squeeze=False)
    layout = _Layout(tuple(backbones), tuple(sorted({p.num_train for c in curves for p in c.places})))
    for column, start in enumerate(starts):
        own = [curve for curve in curves if curve.start == start]
        _draw_panel(panels[0, column], own, layout, "accuracy")
        _draw_panel(panels[1, column], own, layout, "balanced")
        panels[0, column].set_title(start.title)
        panels[1, column].set_xlabel("training images")
    panels[0, 0].set_ylabel("accuracy")
    panels[1, 0].set_ylabel("balanced accuracy")
    _explain(figure, layout)
    return figure


def _bars_text(counted: set[int]) -> str:
    several = "by t over seeds" if max(counted) > 1 else ""
    single = "over images (one seed)" if 1 in counted else ""
    return " or ".join(filter(None, (several, single)))


@dataclass(frozen=True)
class _Layout:
    """What all panels share."""

    backbones: tuple[str, ...]
    sizes: tuple[int, ...]

    def shape(self, backbone: str) -> str:
        return SHAPES[self.backbones.index(backbone) % len(SHAPES)]

    def dodged(self, size: int, backbone: str) -> float:
        steps = self.backbones.index(backbone) - (len(self.backbones) - 1) / 2
        return float(size * (self.sizes[-1] / self.sizes[0]) ** (DODGE * steps))

    @property
    def ticks(self) -> list[int]:
        """The sizes whose numbers have room beside one another, from the largest down."""
        span = np.log(self.sizes[-1] / self.sizes[0])
        found: list[int] = []
        for size in reversed(self.sizes):
            if not found or np.log(found[-1] / size) >= LABEL_ROOM * span:
                found.append(size)
        return found


def _draw_panel(axes: Axes, curves: Sequence[Curve], layout: _Layout, score: str) -> None:
    colours = backbone_colours(layout.backbones)
    set_log(axes, "x")
    axes.set_ylim(0, 1)
    for curve in curves:
        colour, shape = colours[curve.backbone], layout.shape(curve.backbone)
        found = [(layout.dodged(place.num_train, curve.backbone), getattr(place, score)) for place in curve.places]
        there = [(x, estimate) for x, estimate in found if estimate is not None]
        axes.plot([x for x, _ in there], [one.mean for _, one in there], color=colour, linewidth=1.3, zorder=2)
        for x, estimate in there:
            axes.vlines(x, estimate.interval.low, estimate.interval.high, color=colour, linewidth=1, alpha=0.7)
            axes.plot(x, estimate.mean, shape, color=colour, markersize=5, zorder=3, gid=f"mean {score}")
            if len(estimate.values) > 1:
                xs = [x] * len(estimate.values)
                axes.plot(xs, estimate.values, shape, color=colour, markersize=2.5, markerfacecolor="white", zorder=4)
    axes.xaxis.set_major_locator(FixedLocator(layout.ticks))
    axes.xaxis.set_major_formatter(lambda size, _: f"{size:,.0f}")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.grid(axis="y", color=GREY, alpha=0.2, linewidth=0.6)


def _explain(figure: Figure, layout: _Layout) -> None:
    colours = backbone_colours(layout.backbones)
    marks = [
        Line2D([], [], color=colours[name], marker=layout.shape(name), markersize=5, linewidth=1.3, label=name)
        for name in layout.backbones
    ]
    columns = min(len(marks), 3)
    figure.legend(handles=marks, loc="outside upper right", ncols=columns, frameon=False, fontsize=8, labelcolor=INK)
