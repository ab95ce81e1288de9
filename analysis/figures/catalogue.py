"""Which figures a report has, in its order. A further one is a file of this folder and a row here.

plans = plan_figures(Material(results, folders, networks, studies, grid))
files = write_figures(plans, Path("report/figures"))
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Final

from analysis.figures import (
    bars,
    collapse_rates,
    confusion,
    critical_differences,
    curves,
    depths,
    examples,
    gradients,
    image_curves,
    learning_rates,
    reliability,
    search,
)
from analysis.figures.plans import Material, Plan, Planner, of_table_1
from analysis.trials.paper import BARS_FIGURE, CONFUSION_SHEET, CURVES_SHEET


@dataclass(frozen=True)
class FigureRow:
    """A figure, or a family of them where stem and caption have {names}."""

    stem: str
    caption: str
    plan: Planner


CATALOGUE: Final = (
    FigureRow(
        f"figure-{BARS_FIGURE:02d}-metrics", "Figure 3. Scores on the test split.", of_table_1(bars.draw_metrics)
    ),
    FigureRow(CURVES_SHEET, "Figures 4-15. Loss and accuracy by epoch.", of_table_1(curves.draw_sheet)),
    FigureRow(CONFUSION_SHEET, "Figures 16-21. Confusion matrices.", of_table_1(confusion.draw_sheet)),
    FigureRow(
        "figure-{number:02d}-{quantity}-{cell}",
        "Figure {number}. {heading} by epoch, {title}.",
        curves.plan_cells,
    ),
    FigureRow(
        "figure-{number:02d}-confusion-{cell}", "Figure {number}. Confusion matrix, {title}.", confusion.plan_cells
    ),
    FigureRow(
        "accuracy-by-learning-rate",
        "Accuracy against learning rate, by start, backbone and optimizer.",
        learning_rates.plan_learning_rates,
    ),
    FigureRow(
        "accuracy-by-depth",
        "Accuracy against the number of blocks that are trained, each at the learning rate that suits it best.",
        depths.plan_depths,
    ),
    FigureRow(
        "scores-by-images",
        "Accuracy and balanced accuracy against the number of training images, each size scored on its own part.",
        image_curves.plan_image_curves,
    ),
    FigureRow(
        "collapse-rate",
        "How many trials collapsed, by start, preprocessing, optimizer and learning rate.",
        collapse_rates.plan_collapse_rates,
    ),
    FigureRow(
        "{theme}",
        "All pairs of {subject} by accuracy, and which are not told apart.",
        critical_differences.plan_rankings,
    ),
    FigureRow("gradients", "What the gradients did in {backbone}: {rule}.", gradients.plan_gradients),
    FigureRow("examples", "Images that pretraining fixed and broke.", examples.plan_examples),
    FigureRow(
        "hardest-images",
        "Images that all networks get wrong, those with the least probable label first.",
        examples.plan_hard_images,
    ),
    FigureRow(
        "reliability",
        "Reliability: the share of predictions that are right against how sure the network is of them.",
        reliability.plan_reliability,
    ),
    FigureRow("search-course", "The trials of {search}, in order.", search.plan_course),
    FigureRow("search-importances", "Which parameters mattered in {search}.", search.plan_importances),
    FigureRow("search-front", "The Pareto front of {search}.", search.plan_front),
)


def plan_figures(material: Material) -> list[Plan]:
    """Return the figures of a report, drawable or not: those of trials, then search by search."""
    plans = [plan for row in CATALOGUE for plan in row.plan(row.stem, row.caption, material)]
    if not material.subject.is_of_paper:
        plans = [_without_number(plan) for plan in plans]
    return sorted(plans, key=lambda plan: plan.study)


def _without_number(plan: Plan) -> Plan:
    """Return a plan whose stem and caption do not have the number that the paper gives such a figure."""
    stem, caption = re.sub(r"^figures?-[\d-]+-", "", plan.stem), re.sub(r"^Figures? [\d-]+\. ", "", plan.caption)
    return replace(plan, stem=stem, caption=caption)
