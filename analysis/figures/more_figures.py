"""The figures beyond the paper's: which there are, their captions, and why one cannot be drawn.

    plans = plan_more(results, folders, studies, Banner.of(grid), networks)
    drawn = write_plans(plans, Path("report/figures"))

Every figure has its plan whatever the results hold, so that a report can say what is missing from it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from matplotlib.figure import Figure

from analysis.figures import collapse_rates, critical_differences, depths, examples, gradients, learning_rates
from analysis.figures import search as search_figures
from analysis.figures.catalogue import Plan
from analysis.figures.seed_points import comparable
from analysis.scores import hard_images, image_curves, reliability
from analysis.trials.banner import Banner
from analysis.trials.repeats import Networks
from galaxytl.trial import COMPLETE, TrialResult

if TYPE_CHECKING:  # study.py imports Optuna: a second
    from analysis.search.study import Study

GRADIENTS, EXAMPLES = "gradients", "examples"
RELIABILITY, HARD_IMAGES = "reliability", "hardest-images"
Results = Sequence[TrialResult]
NO_NETWORKS: Final = Networks()


@dataclass(frozen=True)
class Theme:
    """A figure of trials that differ in `varied` only."""

    stem: str
    caption: str
    varied: tuple[str, ...]
    can_draw: Callable[[Results], bool]
    draw: Callable[[Results, Banner], Figure]
    why_not: str
    """Where no such trials can be drawn."""
    panel: tuple[str, ...] = ()
    """Fields that tell panels apart, which are not compared with one another."""


PANEL: Final = ("backbone", "weights_requested", "unfrozen_blocks")
THEMES: Final = (
    Theme(
        "accuracy-by-learning-rate",
        "Accuracy against learning rate, by start, backbone and optimizer.",
        learning_rates.VARIED,
        learning_rates.can_draw,
        learning_rates.draw_learning_rates,
        "no network was trained from one start with one optimizer at two learning rates, all else being equal",
        PANEL,
    ),
    Theme(
        "accuracy-by-depth",
        "Accuracy against the number of blocks that are trained, each at the learning rate that suits it best.",
        depths.VARIED,
        depths.can_draw,
        depths.draw_depths,
        f"no network was trained to {depths.MIN_DEPTHS} depths, all else being equal",
    ),
    Theme(
        "scores-by-images",
        "Accuracy and balanced accuracy against the number of training images, each size scored on its own part.",
        image_curves.VARIED,
        image_curves.can_draw,
        image_curves.draw_image_curves,
        "no network was trained on two numbers of images, all else being equal",
    ),
    Theme(
        "collapse-rate",
        "How many trials collapsed, by start, preprocessing, optimizer and learning rate.",
        collapse_rates.VARIED,
        collapse_rates.can_draw,
        collapse_rates.draw_collapse_rates,
        f"there are no two optimizers or learning rates, or more than {collapse_rates.MAX_RATES} rates, all else being"
        " equal",
        PANEL,
    ),
)


@dataclass(frozen=True)
class SearchTheme:
    """A figure of a search, which the caption calls {search}. `why_not` is empty where it can be drawn."""

    stem: str
    caption: str
    why_not: Callable[[Study], str]
    draw: Callable[[Study, Results, Banner], Figure]


SEARCH_THEMES: Final = (
    SearchTheme(
        "search-course", "The trials of {search}, in order.", search_figures.why_no_course, search_figures.draw_course
    ),
    SearchTheme(
        "search-importances",
        "Which parameters mattered in {search}.",
        search_figures.why_no_importances,
        search_figures.draw_importances,
    ),
    SearchTheme(
        "search-front", "The Pareto front of {search}.", search_figures.why_no_front, search_figures.draw_front
    ),
)


def plan_more(
    results: Results,
    folders: Mapping[str, Path],
    studies: Sequence[Study],
    banner: Banner,
    networks: Networks = NO_NETWORKS,
) -> list[Plan]:
    """Of `results`, the rows of one dataset; `folders` is trial_id -> the results folder of its row. `networks`: what
    they say of each image."""
    return [
        *(_plan_theme(theme, results, banner) for theme in THEMES),
        *critical_differences.plan_rankings(results, folders, banner),
        _plan_gradients(results, banner),
        _plan_examples(results, folders, banner),
        _plan_hard_images(networks, banner),
        _plan_reliability(networks, banner),
        *(plan for number, study in enumerate(studies, 1) for plan in _plan_search(study, number, results, banner)),
    ]


def _plan_theme(theme: Theme, results: Results, banner: Banner) -> Plan:
    chosen = comparable(results, theme.varied, theme.can_draw, theme.panel)
    if not chosen.results:
        is_complete = any(r.status == COMPLETE for r in results)
        return Plan(theme.stem, theme.caption, None, theme.why_not if is_complete else "no trial is complete")
    text = " ".join(part for part in (theme.caption, chosen.left_out) if part)
    return Plan(theme.stem, banner.caption(text, chosen.results), partial(theme.draw, chosen.results, banner))


def _plan_gradients(results: Results, banner: Banner) -> Plan:
    caption = f"What the gradients did in {gradients.BACKBONE}: {gradients.RULE}."
    if not (picks := gradients.picks_of(results)):
        return Plan(GRADIENTS, caption, None, gradients.why_none(results))
    drawn = [pick.result for pick in picks]
    return Plan(GRADIENTS, banner.caption(caption, drawn), partial(gradients.draw_gradients, picks, banner))


def _plan_examples(results: Results, folders: Mapping[str, Path], banner: Banner) -> Plan:
    caption = "Images that pretraining fixed and broke."
    changes, problems = examples.changes_of(results, folders)
    if not changes:
        return Plan(EXAMPLES, caption, None, "; ".join(problems))
    missing = f" Not in it: {'; '.join(problems)}." if problems else ""
    caption = banner.caption(caption + missing, [own.on for own in changes])
    return Plan(EXAMPLES, caption, partial(examples.draw_examples, changes, banner))


def _plan_hard_images(networks: Networks, banner: Banner) -> Plan:
    caption = "Images that all networks get wrong, those with the least probable label first."
    hard = hard_images.hard_of(networks)
    if hard is None:
        why = "no two networks that have not collapsed have stored their probabilities of the same images"
        return Plan(HARD_IMAGES, caption, None, why)
    if not hard.shown:
        return Plan(HARD_IMAGES, caption, None, hard.why_no_pictures)
    counts = f"{len(hard.images):,} of {len(hard.labels):,} test images, of which {len(hard.shown)} are shown."
    text = banner.caption(f"{caption} {counts} {hard_images.LABEL_NOTE}.", hard.trials)
    return Plan(HARD_IMAGES, text, partial(hard_images.draw_hard_images, hard, banner))


def _plan_reliability(networks: Networks, banner: Banner) -> Plan:
    found = [r for own in reliability.drawn_of(networks) for r in own.repeats.results]
    caption = banner.caption(reliability.caption(networks), found)
    if not found:
        why = "; ".join(networks.problems) or "no trial that is scored on the test part is complete"
        return Plan(RELIABILITY, caption, None, why)
    return Plan(RELIABILITY, caption, partial(reliability.draw_reliability, networks, banner))


def _plan_search(study: Study, number: int, results: Results, banner: Banner) -> Iterator[Plan]:
    """The figures of a second search have its number in their names."""
    for theme in SEARCH_THEMES:
        stem = theme.stem if number == 1 else f"{theme.stem}-{number}"
        search = f'the search "{study.settings.study}"' if study.settings else "the search"
        caption = banner.caption(theme.caption.format(search=search), ())
        why = theme.why_not(study)
        yield Plan(stem, caption, None if why else partial(theme.draw, study, results, banner), why)
