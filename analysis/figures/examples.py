"""Images that pretraining fixed and broke: right with ImageNet ON and wrong with OFF, and the other way round.

    pairs = pairs_of(results, folders)      # Changes("VGG16", on, off, fixed, broken), ...
    draw_examples(pairs, banner)            # a Figure

ON and OFF as in the paper: frozen ImageNet weights, or what stands in for them, and all trained from scratch; the two
trials of a backbone have all other settings and the seed in common.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from analysis.figures.seed_points import WEIGHTS
from analysis.figures.style import GREY, backbone_colours, new_figure
from analysis.trials.banner import Banner
from analysis.trials.predictions import Predictions, paired, read_predictions
from analysis.trials.starts import FROM_SCRATCH, IMAGENET_FROZEN, distance_from_paper, ordered_backbones, start_of
from galaxytl.results.predictions import PredictionsError
from galaxytl.results.thumbnails import Thumbnails, ThumbnailsError, read_thumbnails
from galaxytl.trial import COMPLETE, SPEC_FIELDS, TrialResult, TrialSpec

NUM_SHOWN: Final = 6
ON, OFF = "ON", "OFF"
Picture = NDArray[np.uint8]
"""(height, width, 3)."""
NAME_WIDTH: Final = 20
"""Letters of a class's name on a line; about 20 of 7.5 points are as wide as a picture."""
SEED: Final = 0
RULE: Final = "drawn at random, ordered by class"


@dataclass(frozen=True)
class Example:
    """An image that one of the two has right: the class that the other took it for."""

    row: int
    true: int
    mistaken_for: int


@dataclass(frozen=True)
class Changes:
    """Of one backbone: all images whose answer turned from wrong (OFF) to right (ON), and from right to wrong."""

    on: TrialResult
    off: TrialResult
    fixed: tuple[Example, ...]
    broken: tuple[Example, ...]
    num_images: int
    shown: Mapping[str, Sequence[Example]]
    """ "fixed" and "broken" -> those on the sheet."""
    pictures: Mapping[int, Picture]
    """Of `shown`, by row."""

    @property
    def backbone(self) -> str:
        return self.on.spec.backbone


def trials_to_compare(results: Sequence[TrialResult]) -> dict[str, tuple[TrialResult, TrialResult]]:
    """By backbone the ON and the OFF trial: of those that have a counterpart the nearest to the paper's setting, then
    the one with the lowest seed. The real weights go before what stands in for them."""
    complete = [r for r in results if r.status == COMPLETE]
    starts = {r.trial_id: start_of(r.spec) for r in complete}

    def named(name: str) -> list[TrialResult]:
        return [r for r in complete if (start := starts[r.trial_id]) and start.name == name]

    scratch = {_counterpart(r.spec): r for r in named(FROM_SCRATCH)}
    pairs = [(r, scratch[key]) for r in named(IMAGENET_FROZEN) if (key := _counterpart(r.spec)) in scratch]
    pairs.sort(key=lambda p: (p[0].spec.is_substituted, distance_from_paper(p[0].spec), p[0].spec.seed, p[0].trial_id))
    found: dict[str, tuple[TrialResult, TrialResult]] = {}
    for on, off in pairs:
        found.setdefault(on.spec.backbone, (on, off))
    return {name: found[name] for name in ordered_backbones(found)}


def _counterpart(spec: TrialSpec) -> tuple[Any, ...]:
    """Equal for two trials that differ in ON and OFF only."""
    apart = (*WEIGHTS, "unfrozen_blocks")
    return tuple(getattr(spec, name) for name in SPEC_FIELDS if name not in apart)


def changes_of(results: Sequence[TrialResult], folders: Mapping[str, Path]) -> tuple[list[Changes], list[str]]:
    """By backbone, and a sentence for each that cannot be shown."""
    found, problems = [], []
    for backbone, (on, off) in trials_to_compare(results).items():
        try:
            found.append(_changes(on, off, folders))
        except (PredictionsError, ThumbnailsError) as error:
            problems.append(f"{backbone}: {error}")
    if not found and not problems:
        problems.append("no backbone has an ON and an OFF trial with the same other settings and seed")
    return found, problems


def _changes(on: TrialResult, off: TrialResult, folders: Mapping[str, Path]) -> Changes:
    thumbnails = _thumbnails_of((on, off), folders)
    own, other = (read_predictions(folders.get(r.trial_id, Path()), r) for r in (on, off))
    paired(own, other)  # raises where they are of different images
    fixed = _examples(own, own.right & ~other.right, other.predicted)
    broken = _examples(own, ~own.right & other.right, own.predicted)
    shown = {"fixed": sample(fixed, thumbnails.labels), "broken": sample(broken, thumbnails.labels)}
    rows = [example.row for examples in shown.values() for example in examples]
    if not rows:
        raise ThumbnailsError(f"{thumbnails.path} holds none of the {len(fixed) + len(broken)} images that changed")
    return Changes(on, off, fixed, broken, len(own.rows), shown, thumbnails.pictures(rows))


def _thumbnails_of(results: Sequence[TrialResult], folders: Mapping[str, Path]) -> Thumbnails:
    """Of the first folder of the two that has them."""
    problem = ThumbnailsError("its results folder is not known")
    for result in results:
        try:
            return read_thumbnails(folders.get(result.trial_id, Path()))
        except ThumbnailsError as error:
            problem = error
    raise problem


def _examples(own: Predictions, chosen: NDArray[np.bool_], mistaken: NDArray[np.int64]) -> tuple[Example, ...]:
    columns = (own.rows[chosen].tolist(), own.labels[chosen].tolist(), mistaken[chosen].tolist())
    return tuple(Example(*values) for values in zip(*columns, strict=True))


def sample(examples: Sequence[Example], labels: Mapping[int, int]) -> list[Example]:
    """At most NUM_SHOWN of those with a thumbnail (`labels`: row -> class): RULE. Nothing of what they look like, or
    of how sure a trial was, has a say."""
    there = sorted((e for e in examples if labels.get(e.row) == e.true), key=lambda example: example.row)
    chosen = np.random.default_rng(SEED).permutation(len(there))[:NUM_SHOWN]
    return sorted((there[index] for index in chosen), key=lambda example: (example.true, example.row))


def draw_examples(changes: Sequence[Changes], banner: Banner) -> Figure:
    """Two rows a backbone: fixed, then broken."""
    seeds = {own.on.spec.seed for own in changes}
    seed = f"seed {seeds.pop()}; " if len(seeds) == 1 else ""
    notes = (
        f"{seed}ON: ImageNet weights, frozen; OFF: from scratch; fixed: OFF is wrong, ON right; broken: ON wrong, OFF"
        f" right; above: the true class, below: the wrong one; {RULE}"
    )
    footer = banner.bottom_line([own.on for own in changes], notes)
    figure = new_figure(10, 0.7 + 3.9 * len(changes), footer)
    panels = figure.subplots(2 * len(changes), NUM_SHOWN, squeeze=False)
    colours = backbone_colours(own.backbone for own in changes)
    for (own, kind), line in zip(_lines(changes), panels, strict=True):
        _draw_line(line, own, kind)
        _name_line(line[0], own, kind, colours[own.backbone])
    return figure


def _lines(changes: Sequence[Changes]) -> Iterator[tuple[Changes, str]]:
    for own in changes:
        yield own, "fixed"
        yield own, "broken"


def _draw_line(line: Sequence[Axes], own: Changes, kind: str) -> None:
    examples = own.shown[kind]
    names = own.on.class_names
    wrong = OFF if kind == "fixed" else ON
    for axes, example in zip_longest(line, examples):
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
        if example is None:
            axes.set_box_aspect(1)
            continue
        axes.imshow(own.pictures[example.row], interpolation="nearest")
        axes.set_title(_class_name(names, example.true), fontsize=7.5, fontweight="normal", loc="center", pad=3)
        mistake = _class_name(names, example.mistaken_for, f"{wrong}: ")
        axes.set_xlabel(mistake, fontsize=7.5, color=GREY, labelpad=3)
    if not examples:
        line[0].text(0.5, 0.5, "none", transform=line[0].transAxes, ha="center", va="center", color=GREY)


def _class_name(names: Sequence[str], index: int, before: str = "") -> str:
    return textwrap.fill(before + (names[index] if index < len(names) else f"class {index}"), NAME_WIDTH)


def _name_line(axes: Axes, own: Changes, kind: str, colour: str) -> None:
    star = "*" if own.on.spec.is_substituted else ""
    number = len(own.fixed if kind == "fixed" else own.broken)
    text = f"{own.backbone}{star}\n{kind}: {number:,}\nof {own.num_images:,}"
    axes.set_ylabel(text, rotation=0, ha="right", va="center", fontsize=9, color=colour, labelpad=8)
    axes.yaxis.label.set_fontweight("bold" if kind == "fixed" else "normal")
