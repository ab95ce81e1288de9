"""Sheets of images: those that pretraining fixed and broke, and those that every network gets wrong.

    changes, problems = changes_of(results, folders)    # Changes("VGG16", on, off, fixed, broken), ...
    draw_examples(changes, banner); draw_hard_images(hard_of(networks), banner)

Fixed: right with ImageNet ON and wrong with OFF; broken: the other way round.
ON and OFF as in the paper: frozen ImageNet weights, or what stands in for them, and all trained from scratch; the two
trials of a backbone have all other settings and the seed in common.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from analysis.figures.plans import Material, Plan
from analysis.figures.style import GREY, backbone_colours, new_figure
from analysis.scores.hard_images import LABEL_NOTE, Hard, hard_of
from analysis.trials.banner import Banner
from analysis.trials.comparable import WEIGHTS
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
HARD_COLUMNS, HARD_NAME_WIDTH = 6, 22
"""Pictures beside one another on the sheet of hard images, which are a little larger, and letters below one."""
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
    """Return by backbone the ON and the OFF trial: of those that have a counterpart the nearest to the paper's setting,
    then the one with the lowest seed. The real weights go before what stands in for them."""
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
    """Return what is equal for two trials that differ in ON and OFF only."""
    apart = (*WEIGHTS, "unfrozen_blocks")
    return tuple(getattr(spec, name) for name in SPEC_FIELDS if name not in apart)


def changes_of(results: Sequence[TrialResult], folders: Mapping[str, Path]) -> tuple[list[Changes], list[str]]:
    """Return them by backbone, and a sentence for each that cannot be shown."""
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
    """Return those of the first folder of the two that has them."""
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
    """Return at most NUM_SHOWN of those with a thumbnail (`labels`: row -> class): RULE. Nothing of what they look
    like, or of how sure a trial was, has a say."""
    there = sorted((e for e in examples if labels.get(e.row) == e.true), key=lambda example: example.row)
    chosen = np.random.default_rng(SEED).permutation(len(there))[:NUM_SHOWN]
    return sorted((there[index] for index in chosen), key=lambda example: (example.true, example.row))


def plan_examples(stem: str, caption: str, material: Material) -> Iterator[Plan]:
    """Yield the sheet; its caption says of which backbones there are no images."""
    changes, problems = changes_of(material.results, material.folders)
    if not changes:
        yield Plan(stem, caption, None, "; ".join(problems))
        return
    missing = f" Not in it: {'; '.join(problems)}." if problems else ""
    text = material.banner.caption(caption + missing, [own.on for own in changes])
    yield Plan(stem, text, partial(draw_examples, changes, material.banner))


def draw_examples(changes: Sequence[Changes], banner: Banner) -> Figure:
    """Draw two rows a backbone: fixed, then broken."""
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
    names = own.on.class_names
    wrong = OFF if kind == "fixed" else ON
    for axes, example in zip_longest(line, own.shown[kind]):
        if example is None:
            _draw_picture(axes, None)
        else:
            mistake = _wrapped(f"{wrong}: {_class_name(names, example.mistaken_for)}", NAME_WIDTH)
            true = _wrapped(_class_name(names, example.true), NAME_WIDTH)
            _draw_picture(axes, own.pictures[example.row], true, mistake)
    if not own.shown[kind]:
        line[0].text(0.5, 0.5, "none", transform=line[0].transAxes, ha="center", va="center", color=GREY)


def _draw_picture(axes: Axes, picture: Picture | None, above: str = "", below: str = "") -> None:
    """Draw a picture with what stands above and below it; without one its place stays empty."""
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    if picture is None:
        axes.set_box_aspect(1)
        return
    axes.imshow(picture, interpolation="nearest")
    axes.set_title(above, fontsize=7.5, fontweight="normal", loc="center", pad=3)
    axes.set_xlabel(below, fontsize=7.5, color=GREY, labelpad=3)


def _class_name(names: Sequence[str], index: int) -> str:
    return names[index] if index < len(names) else f"class {index}"


def _name_line(axes: Axes, own: Changes, kind: str, colour: str) -> None:
    star = "*" if own.on.spec.is_substituted else ""
    number = len(own.fixed if kind == "fixed" else own.broken)
    text = f"{own.backbone}{star}\n{kind}: {number:,}\nof {own.num_images:,}"
    axes.set_ylabel(text, rotation=0, ha="right", va="center", fontsize=9, color=colour, labelpad=8)
    axes.yaxis.label.set_fontweight("bold" if kind == "fixed" else "normal")


def plan_hard_images(stem: str, caption: str, material: Material) -> Iterator[Plan]:
    """Yield the sheet of the images that `analysis.scores.hard_images` finds."""
    hard = hard_of(material.networks)
    if hard is None:
        why = "no two networks that have not collapsed have stored their probabilities of the same images"
        yield Plan(stem, caption, None, why)
    elif not hard.shown:
        yield Plan(stem, caption, None, hard.why_no_pictures)
    else:
        counts = f"{len(hard.images):,} of {len(hard.labels):,} test images, of which {len(hard.shown)} are shown."
        text = material.banner.caption(f"{caption} {counts} {LABEL_NOTE}.", hard.trials)
        yield Plan(stem, text, partial(draw_hard_images, hard, material.banner))


def draw_hard_images(hard: Hard, banner: Banner) -> Figure:
    """Draw the hardest that have a picture: above the class of the label, below the one that is named most often."""
    shown = hard.shown
    columns = min(HARD_COLUMNS, max(3, len(shown)))
    rows = -(-len(shown) // columns)
    notes = (
        "above: the class of the label; below: by how many networks which class is named most; the lowest mean"
        " probability of the label first"
    )
    figure = new_figure(1.65 * columns, 2.35 * rows + 0.6, banner.bottom_line(hard.trials, notes))
    panels = figure.subplots(rows, columns, squeeze=False)
    for axes, image in zip_longest(panels.flat, shown):
        if image is None:
            _draw_picture(axes, None)
        else:
            said = f"{image.count} of {len(hard.trials)}: {hard.names[image.said]}"
            _draw_picture(axes, hard.pictures[image.row], _wrapped(hard.names[image.true]), _wrapped(said))
    return figure


def _wrapped(text: str, width: int = HARD_NAME_WIDTH) -> str:
    return textwrap.fill(text, width, max_lines=3, placeholder=" …")
