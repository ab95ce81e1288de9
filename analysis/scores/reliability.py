"""Whether the networks are as sure as they are right: the section on calibration, and the reliability diagram.

    sections(networks), can_draw(networks)
    draw_reliability(networks, banner)      # a Figure

From the probabilities that each trial has stored of its test images. A temperature is fitted on those of the validation
part, where they are stored too, and judged on the test part; it is never fitted on the test part.
"""

from __future__ import annotations

import functools
import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from analysis.figures.style import GREY, INK, backbone_colours, new_figure, tint
from analysis.sections import Listing, Section
from analysis.statistics.calibration import (
    NUM_BINS,
    TEMPERATURES,
    Bins,
    Temperature,
    bins_of,
    brier,
    error_by_chance,
    fit_temperature,
    nll,
    tempered,
)
from analysis.statistics.intervals import Share
from analysis.statistics.seeds import mean_over_seeds
from analysis.trials.banner import Banner
from analysis.trials.repeats import Networks, Repeats
from galaxytl.results.predictions import Probabilities

MOST_PANELS: Final = 6
COLUMNS: Final = 3
HISTOGRAM: Final = 0.2
"""Height of the histogram below a diagram, in heights of that."""
TITLE_WIDTH: Final = 36
"""Letters of a panel's title on a line."""
NOTHING: Final = "-"
WHAT: Final = (
    f"Predictions are sorted by confidence, the largest probability, into {NUM_BINS} bins of equal width (Guo et al."
    " 2017). ECE, the expected calibration error, is the mean distance between a bin's confidence and its share right."
    " Even a calibrated network has some, and more with fewer images: 'by chance' is what networks with these"
    " confidences would show if their probabilities were true, on average and, in brackets, at most in 95 % of cases."
    " Sureness is the mean confidence minus the accuracy: above 0 a network is surer than it is right. Brier is the"
    " squared distance from the truth, summed over classes (0 to 2). NLL is the cross-entropy in nats. Numbers are"
    " means over seeds; of three seeds or more, brackets hold their 95 % interval by Student's t, on these images."
)


@dataclass(frozen=True, eq=False)
class Calibration:
    """Of one trial on its test images; `after` with the temperature that its validation images gave."""

    bins: Bins
    by_chance: tuple[float, float]
    """Mean, and the 95th percentile."""
    brier: float
    nll: float
    temperature: Temperature | None = None
    after: tuple[float, float, float] | None = None
    """ECE, Brier and NLL."""


def calibration_of(test: Probabilities, validation: Probabilities | None) -> Calibration:
    """Return the calibration on the test images, before and, where there are validation images, after a temperature."""
    by_chance = error_by_chance(test.values)
    before = Calibration(
        bins_of(test.values, test.labels),
        (float(by_chance.mean()), float(np.percentile(by_chance, 95))),
        brier(test.values, test.labels),
        nll(test.values, test.labels),
    )
    if validation is None:
        return before
    temperature = fit_temperature(validation.values, validation.labels)
    mended = tempered(test.values, temperature.value)
    after = (bins_of(mended, test.labels).error, brier(mended, test.labels), nll(mended, test.labels))
    return Calibration(before.bins, before.by_chance, before.brier, before.nll, temperature, after)


@dataclass(frozen=True, eq=False)
class SettingCalibration:
    """Of the seeds of one setting whose probabilities are there."""

    repeats: Repeats
    seeds: tuple[Calibration, ...]

    @functools.cached_property
    def pooled(self) -> Bins:
        """All seeds' predictions together: an image counts once a seed."""
        bins = [one.bins for one in self.seeds]
        counts, right = (np.sum([getattr(one, name) for one in bins], axis=0) for name in ("counts", "right"))
        return Bins(counts, right, np.sum([one.confidence for one in bins], axis=0))


@functools.lru_cache(maxsize=1)
def calibrations(networks: Networks) -> tuple[SettingCalibration, ...]:
    """Return those of the settings that are shown and have probabilities; kept, as section and figure want the same."""
    found = []
    for own in networks.shown:
        ids = [r.trial_id for r in own.results if r.trial_id in networks.probabilities]
        seeds = [calibration_of(networks.probabilities[key], networks.validation.get(key)) for key in ids]
        if seeds:
            found.append(SettingCalibration(own, tuple(seeds)))
    return tuple(found)


def sections(networks: Networks) -> list[Section]:
    """Return the section; none without probabilities."""
    found = calibrations(networks)
    if not found:
        return []
    headings: tuple[str, ...] = ("Setting", "Seeds", "ECE", "ECE by chance", "Sureness", "Brier", "NLL")
    further = ("Temperature", "ECE after", "Brier after", "NLL after")
    is_mended = any(one.after for own in found for one in own.seeds)
    rows = tuple(_row(own, is_mended) for own in found)
    headings += further if is_mended else ()
    said = [WHAT, _about_temperature(found), networks.not_shown, *networks.problems]
    listing = Listing(headings, rows, set(range(1, len(headings))))
    return [Section("Calibration: is a network as sure as it is right?", listing, tuple(filter(None, said)))]


def _row(own: SettingCalibration, is_mended: bool) -> tuple[str, ...]:
    seeds = own.seeds
    by_chance, at_most = (np.mean([one.by_chance[i] for one in seeds]) for i in (0, 1))
    cells = (
        own.repeats.name,
        str(len(seeds)),
        mean_text([one.bins.error for one in seeds]),
        f"{by_chance:.3f} [{at_most:.3f}]",
        f"{np.mean([one.bins.overconfidence for one in seeds]):+.3f}",
        mean_text([one.brier for one in seeds]),
        mean_text([one.nll for one in seeds]),
    )
    return (*cells, *_after(seeds)) if is_mended else cells


def _after(seeds: Sequence[Calibration]) -> tuple[str, ...]:
    """Of settings whose seeds all have a temperature."""
    after = [one.after for one in seeds if one.after]
    temperatures = [one.temperature for one in seeds if one.temperature]
    if len(after) < len(seeds):
        return (NOTHING,) * 4
    values = [one.value for one in temperatures]
    marked = " (at the end)" if any(one.is_at_end for one in temperatures) else ""
    geometric = math.exp(float(np.mean(np.log(values))))
    return (f"{geometric:.2f}{marked}", *(mean_text([scores[i] for scores in after]) for i in range(3)))


def mean_text(values: Sequence[float]) -> str:
    """Return the mean, with its 95 % interval by t over seeds from three on.

    >>> mean_text([0.1, 0.2]), mean_text([0.1, 0.2, 0.3])
    ('0.150', '0.200 [0.000 to 0.448]')
    """
    if len(values) < 3:
        return f"{np.mean(values):.3f}"
    found = mean_over_seeds(values)
    return f"{found.value:.3f} [{found.interval.within(0.0, math.inf)}]"


def _about_temperature(found: Sequence[SettingCalibration]) -> str:
    mended = [own.repeats.name for own in found if all(one.after for one in own.seeds)]
    if not mended:
        return (
            "No temperature is fitted: that takes probabilities of a validation part, which no setting here has for all"
            " of its seeds. Fitted on the test part it would be judged by what it was fitted to. A sweep with --set"
            " validation_fraction=0.1 stores them."
        )
    text = (
        "A temperature divides the logits: above 1 it makes a network less sure. It is fitted on the validation part,"
        " for each trial alone. ECE, Brier and NLL after it are of the test part. No prediction changes."
    )
    if any(one.temperature and one.temperature.is_at_end for own in found for one in own.seeds):
        low, high = TEMPERATURES
        text += (
            f" At the end: the best temperature of a seed or more is {low:g} or {high:g}, beyond which none is tried."
        )
    lacking = len(found) - len(mended)
    return f"{text} {NOTHING}: not all seeds have validation probabilities." if lacking else text


def can_draw(networks: Networks) -> bool:
    return bool(calibrations(networks))


def drawn_of(networks: Networks) -> tuple[SettingCalibration, ...]:
    """Return those that have a panel."""
    return calibrations(networks)[:MOST_PANELS]


def caption(networks: Networks) -> str:
    """Return what the figure shows, and how many settings it does not."""
    left_out = len(calibrations(networks)) - len(drawn_of(networks))
    beyond = f" {left_out} further in the table only." if left_out else ""
    text = "Reliability: the share of predictions that are right against how sure the network is of them."
    return text + beyond


def draw_reliability(networks: Networks, banner: Banner) -> Figure:
    """A panel a setting: the share right by confidence, and below how many predictions have it."""
    found = drawn_of(networks)
    columns = min(COLUMNS, len(found))
    rows = math.ceil(len(found) / columns)
    notes = (
        f"{NUM_BINS} bins of equal width; bars: 95 % over the images that one seed has in a bin (Wilson 1927); below:"
        " share of the predictions in each bin"
    )
    footer = banner.bottom_line([r for own in found for r in own.repeats.results], notes)
    height = 3.5 * rows + (0.9 if columns > 1 else 1.5)  # a narrow figure's legend has three lines
    figure = new_figure(max(5.0, 3.3 * columns), height, footer)
    panels = figure.subplots(2 * rows, columns, squeeze=False, sharex=True, height_ratios=[1, HISTOGRAM] * rows)
    colours = backbone_colours(own.repeats.spec.backbone for own in found)
    highest = math.ceil(10 * max(float((own.pooled.counts / own.pooled.counts.sum()).max()) for own in found)) / 10
    for index, own in enumerate(found):
        row, column = divmod(index, columns)
        above, below = panels[2 * row : 2 * row + 2, column]
        _draw_panel(above, below, own, colours[own.repeats.spec.backbone])
        below.set(ylim=(0, highest), yticks=[0, highest])
        if column == 0:
            above.set_ylabel("share right")
            below.set_ylabel("share of\nall", fontsize=7)
        if index + columns >= len(found):
            below.set_xlabel("confidence")
            below.tick_params(labelbottom=True)
    for axes in panels.reshape(2 * rows, columns)[-2:, len(found) - columns * (rows - 1) :].flat:
        axes.set_visible(False)
    _explain(figure, 3 if columns > 1 else 1)
    return figure


def _draw_panel(above: Axes, below: Axes, own: SettingCalibration, colour: str) -> None:
    bins, number = own.pooled, len(own.seeds)
    there = np.flatnonzero(bins.counts)
    confidence, right = bins.confidence[there] / bins.counts[there], bins.right[there] / bins.counts[there]
    above.plot([0, 1], [0, 1], color=GREY, linewidth=0.9, linestyle=":", zorder=1)
    low, high = np.minimum(confidence, right), np.maximum(confidence, right)
    above.vlines(confidence, low, high, color=tint(colour, 0.25), linewidth=6, zorder=1)
    for x, index in zip(confidence, there, strict=True):
        bar = _of_one_seed(int(bins.right[index]), int(bins.counts[index]), number).interval
        above.vlines(x, bar.low, bar.high, color=colour, linewidth=1, zorder=2)
    above.plot(
        confidence, right, "o-", color=colour, markersize=3.5, linewidth=1, zorder=3, clip_on=False, gid="reliability"
    )
    above.set(xlim=(0, 1), ylim=(0, 1), box_aspect=1)
    above.set_title(textwrap.fill(own.repeats.name, TITLE_WIDTH), fontsize=8.5, pad=15)
    error = np.mean([one.bins.error for one in own.seeds])
    chance = np.mean([one.by_chance[0] for one in own.seeds])
    seeds = f"{number} seeds" if number > 1 else "1 seed"
    above.text(0, 1.03, f"ECE {error:.3f}, by chance {chance:.3f}; {seeds}", transform=above.transAxes, fontsize=7.5)
    shares, width = bins.counts / bins.counts.sum(), 1 / len(bins.counts)
    edges = width * np.arange(len(shares))
    below.bar(edges, shares, width, align="edge", color=tint(colour, 0.6), edgecolor="white")
    below.set_box_aspect(HISTOGRAM)


def _of_one_seed(right: int, total: int, seeds: int) -> Share:
    """Return the share right of a bin with as many images as a seed has in it on average.

    >>> _of_one_seed(1, 1, 3), _of_one_seed(6, 9, 3)
    (Share(right=1, total=1), Share(right=2, total=3))
    """
    images = max(1, round(total / seeds))
    return Share(round(images * right / total), images)


def _explain(figure: Figure, columns: int) -> None:
    marks = [
        Line2D([], [], color=GREY, linewidth=0.9, linestyle=":", label="as sure as right"),
        Line2D([], [], color=INK, linewidth=1, marker="o", markersize=3.5, label="share right in a bin, 95 %"),
        Patch(color=tint(INK, 0.25), label="distance from its confidence"),
    ]
    figure.legend(handles=marks, loc="outside upper right", ncols=columns, frameon=False, fontsize=8)
