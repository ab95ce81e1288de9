"""What a search did: its trials in order, which parameters mattered, and its Pareto front.

course = course_of(study)             # what is drawn of each trial, and the best so far
draw_course(study, results, banner)   # a Figure; draw_importances and draw_front alike
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.figures.plans import Material, Plan, Results
from analysis.figures.style import GREY, INK, add_legend, backbone_colours, new_figure, set_log
from analysis.trials.banner import SUBSTITUTED, Banner
from analysis.trials.load import count_of_trials
from analysis.trials.starts import ordered_backbones
from galaxytl.trial import COMPLETE, FAILED, PRUNED, TrialResult

if TYPE_CHECKING:  # study.py imports Optuna: a second
    from analysis.search.study import Importance, Study, StudyTrial
    from galaxytl.results.search.search_file import Objective

BLUE, ORANGE, RED = "#0072B2", "#E69F00", "#D55E00"
MEASURES: Final = {"fanova": "fANOVA", "ped_anova": "PED-ANOVA"}
MAX_PARAMETERS: Final = 14
OBJECTIVES: Final = {
    "val_accuracy": "validation accuracy", "val_loss": "validation loss", "multiply_adds": "multiply-adds"
}  # fmt: skip
"""In words; another one's name as it is."""
NAME_LINE: Final = 0.215
"""Inches, of a backbone's name beside the front."""
NONE_COMPLETE: Final = "no trial of the study is complete"
UNKNOWN_BACKBONE: Final = "no row here"


@dataclass(frozen=True)
class Course:
    """Of the first objective. Each is (trial number, value), in the order of the numbers."""

    complete: tuple[tuple[int, float], ...]
    known_before: tuple[tuple[int, float], ...]
    """Told to the study, of an earlier sweep."""
    stopped: tuple[tuple[int, float], ...]
    """PRUNED trials, with the value that they had last."""
    stopped_without_value: tuple[int, ...]
    failed: tuple[int, ...]
    best: tuple[tuple[int, float], ...]
    """The best value up to each complete trial."""


def course_of(study: Study) -> Course:
    """Return the course of a study that could be read. A value that a PRUNED trial had counts only where it is of the
    objective: of a search for a low cost the study keeps the accuracies."""
    goal = _goals(study)[0]
    complete = [(t.number, t.values[0]) for t in study.trials if t.status == COMPLETE and not t.known_before]
    known = [(t.number, t.values[0]) for t in study.trials if t.status == COMPLETE and t.known_before]
    stopped = [t for t in study.trials if t.status == PRUNED]
    is_watched = goal.name.startswith("val_")
    shown = [(t.number, t.stopped_at) for t in stopped if is_watched and t.stopped_at is not None]
    return Course(
        complete=tuple(complete),
        known_before=tuple(known),
        stopped=tuple(shown),
        stopped_without_value=tuple(t.number for t in stopped if t.number not in dict(shown)),
        failed=tuple(t.number for t in study.trials if t.status == FAILED),
        best=best_so_far(sorted([*complete, *known]), goal.direction == "maximize"),
    )


def best_so_far(values: Sequence[tuple[int, float]], is_maximized: bool) -> tuple[tuple[int, float], ...]:
    """Return the best value up to each trial.

    >>> best_so_far([(0, 0.5), (3, 0.4), (4, 0.7)], is_maximized=True)
    ((0, 0.5), (3, 0.5), (4, 0.7))
    """
    best: list[tuple[int, float]] = []
    for number, value in values:
        candidates = [value, *(earlier for _, earlier in best[-1:])]
        best.append((number, max(candidates) if is_maximized else min(candidates)))
    return tuple(best)


def _goals(study: Study) -> tuple[Objective, ...]:
    if study.settings is None:
        raise ValueError(f"a study without settings has no objectives: {study.note}")
    return study.settings.objectives


def plan_course(stem: str, caption: str, material: Material) -> Iterator[Plan]:
    """Yield the course of each search."""

    def why_not(study: Study) -> str:
        return study.note or ("" if any(t.status == COMPLETE for t in study.trials) else NONE_COMPLETE)

    return _plans(stem, caption, material, draw_course, why_not)


def plan_importances(stem: str, caption: str, material: Material) -> Iterator[Plan]:
    """Yield the importances of each search."""

    def why_not(study: Study) -> str:
        return study.note or (study.importances[0].note if study.importances else "the study gives none")

    return _plans(stem, caption, material, draw_importances, why_not)


def plan_front(stem: str, caption: str, material: Material) -> Iterator[Plan]:
    """Yield the Pareto front of each search of two objectives."""

    def why_not(study: Study) -> str:
        if study.note or not study.settings:
            return study.note
        if (number := len(study.settings.objectives)) != 2:
            return f"a front is drawn of two objectives; the study has {number}"
        return "" if study.front else NONE_COMPLETE

    return _plans(stem, caption, material, draw_front, why_not)


def _plans(
    stem: str,
    caption: str,
    material: Material,
    draw: Callable[[Study, Results, Banner], Figure],
    why_not: Callable[[Study], str],
) -> Iterator[Plan]:
    """Yield a figure of each search; those of a second one have its number in their names. `why_not` is empty where it
    can be drawn."""
    for number, study in enumerate(material.studies, 1):
        own = stem if number == 1 else f"{stem}-{number}"
        search = f'the search "{study.settings.study}"' if study.settings else "the search"
        text = material.banner.caption(caption.format(search=search), ())
        why = why_not(study)
        yield Plan(own, text, None if why else partial(draw, study, material.results, material.banner), why, number)


def draw_course(study: Study, results: Sequence[TrialResult], banner: Banner) -> Figure:
    """Draw the trials in the order of their suggestion, which with several workers is not quite that of their ends."""
    goal, course = _goals(study)[0], course_of(study)
    notes = "at the bottom: trials without a value"
    if course.stopped:
        notes = f"{notes}; those that were stopped early stand at the value that they had then"
    figure = new_figure(10, 4.2, _bottom_line(study, results, banner, notes))
    axes = figure.subplots()
    _draw_trials_of(axes, course)
    axes.set_ylabel(_heading(goal))
    axes.set_xlabel("trial of the study, by number")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    last = max(trial.number for trial in study.trials)
    axes.set_xlim(-0.02 * last - 0.5, last * 1.02 + 0.5)
    if course.best:
        axes.step(*_columns(course.best), where="post", color=INK, linewidth=1.4, label="best so far")
        _name_best(axes, course, f"best {_words(goal)}")
    add_legend(figure, axes.get_legend_handles_labels()[0], 6, columnspacing=1.4)
    return figure


def _bottom_line(study: Study, results: Sequence[TrialResult], banner: Banner, notes: str) -> str:
    own = {trial.trial_id for trial in study.trials}
    number = sum(r.spec.is_substituted and r.trial_id in own for r in results)
    return banner.bottom_line((), notes, f"{SUBSTITUTED} in {count_of_trials(number)}" if number else "")


def _draw_trials_of(axes: Axes, course: Course) -> None:
    """Draw the trials, those without a value on the axis; the legend counts what there is."""
    kinds: list[tuple[Sequence[tuple[int, float]], str, dict[str, Any]]] = [
        (course.complete, "complete", {"color": BLUE, "alpha": 0.75}),
        (course.known_before, "known before", {"facecolors": "none", "edgecolors": BLUE}),
        (course.stopped, "stopped early", {"marker": "v", "facecolors": "none", "edgecolors": ORANGE}),
    ]
    on_axis = {"transform": axes.get_xaxis_transform(), "clip_on": False, "zorder": 4}
    stopped, failed = ([(number, 0.0) for number in n] for n in (course.stopped_without_value, course.failed))
    kinds += [
        (stopped, "stopped early, no value", {"marker": "v", "color": ORANGE, **on_axis}),
        (failed, "failed", {"marker": "x", "color": RED, **on_axis}),
    ]
    for points, name, look in kinds:
        if points:
            axes.scatter(*_columns(points), s=22, label=f"{len(points)} {name}", **look)


def _columns(points: Sequence[tuple[int, float]]) -> tuple[list[int], list[float]]:
    return [x for x, _ in points], [y for _, y in points]


def _words(goal: Objective) -> str:
    return OBJECTIVES.get(goal.name, goal.name)


def _heading(goal: Objective) -> str:
    return replace(goal, name=_words(goal)).heading


def _name_best(axes: Axes, course: Course, name: str) -> None:
    number, value = next(point for point in course.best if point[1] == course.best[-1][1])
    axes.annotate(
        f"{name}: {value:.4g}, trial {number}", (number, value), (0, 8), textcoords="offset points", fontsize=8,
        ha="left" if number < sum(axes.get_xlim()) / 2 else "right",
    )  # fmt: skip
    axes.margins(y=0.12)


def draw_importances(study: Study, results: Sequence[TrialResult], banner: Banner) -> Figure:
    """Draw a panel a measure, the parameters in the order of the table; "-" where a measure cannot tell."""
    part = study.importances[0]
    rows = part.rows[:MAX_PARAMETERS]
    more = f"; the {MAX_PARAMETERS} first of {len(part.rows)}" if len(part.rows) > len(rows) else ""
    notes = (
        f"of {part.num_trials} completed trials; each measure's bars sum to 1{more}; in brackets: trials that have it"
    )
    figure = new_figure(10, 1.3 + 0.28 * len(rows), _bottom_line(study, results, banner, notes))
    panels = figure.subplots(1, len(MEASURES), sharex=True, sharey=True)
    for axes, (name, heading) in zip(panels, MEASURES.items(), strict=True):
        _draw_bars(axes, [getattr(row, name) for row in rows])
        axes.set_title(heading)
        axes.set_xlabel(f"importance for {_words(_goals(study)[0])}")
    panels[0].set_yticks(range(len(rows)), [_parameter(row, part.num_trials) for row in rows], fontsize=8)
    panels[0].set(xlim=(0, 1.09), ylim=(len(rows) - 0.4, -0.6))
    return figure


def _parameter(row: Importance, num_trials: int) -> str:
    return row.parameter if row.num_trials == num_trials else f"{row.parameter} ({row.num_trials})"


def _draw_bars(axes: Axes, values: Sequence[float | None]) -> None:
    axes.barh(range(len(values)), [value or 0.0 for value in values], height=0.66, color=BLUE)
    for y, value in enumerate(values):
        text = "-" if value is None else f"{value:.2f}"
        axes.annotate(text, (value or 0.0, y), (4, 0), textcoords="offset points", va="center", fontsize=8)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


def draw_front(study: Study, results: Sequence[TrialResult], banner: Banner) -> Figure:
    """Draw all completed trials by both objectives, in the colour of their backbone; the front is a line of steps."""
    first, second = _goals(study)
    backbones = {r.trial_id: r.spec.backbone for r in results}
    complete = [trial for trial in study.trials if trial.status == COMPLETE]
    notes = f"{len(complete)} completed trials; line: the {len(study.front)} that no other beats in both objectives"
    on_front = {trial.trial_id for trial in study.front}
    named = ordered_backbones(backbones.get(trial.trial_id, UNKNOWN_BACKBONE) for trial in complete)
    height = max(5.0, 1.2 + NAME_LINE * len(named))
    figure = new_figure(10, height, _bottom_line(study, results, banner, notes))
    axes = figure.subplots()
    colours = {**backbone_colours(name for name in named if name != UNKNOWN_BACKBONE), UNKNOWN_BACKBONE: GREY}
    for name in named:
        own = [trial for trial in complete if backbones.get(trial.trial_id, UNKNOWN_BACKBONE) == name]
        _draw_trials(axes, own, on_front, colours[name])
    _draw_steps(axes, study, first, second)
    axes.set(xlabel=_heading(second), ylabel=_heading(first))
    if _spans_decades([trial.values[1] for trial in complete]):
        set_log(axes, "x")
    _name_backbones(axes, {name: colours[name] for name in named}, NAME_LINE / (height - 1.1))
    return figure


def _draw_trials(axes: Axes, trials: Sequence[StudyTrial], on_front: set[str], colour: str) -> None:
    for trial in trials:
        is_best = trial.trial_id in on_front
        axes.plot(
            trial.values[1], trial.values[0], "o", color=colour, markersize=8 if is_best else 5,
            alpha=1.0 if is_best else 0.35, markeredgecolor=INK if is_best else colour,
            markeredgewidth=0.8 if is_best else 0, zorder=3 if is_best else 2,
        )  # fmt: skip


def _draw_steps(axes: Axes, study: Study, first: Objective, second: Objective) -> None:
    """Draw steps through worse corners: what the front surely reaches between its trials."""
    places = sorted((trial.values[1], trial.values[0]) for trial in study.front)
    where: Literal["post", "pre"] = "post" if second.direction == "minimize" else "pre"
    axes.step([x for x, _ in places], [y for _, y in places], where=where, color=GREY, linewidth=1.3, zorder=1)


def _spans_decades(values: Sequence[float]) -> bool:
    return min(values) > 0 and max(values) > 20 * min(values)


def _name_backbones(axes: Axes, colours: Mapping[str, str], step: float) -> None:
    """Name the backbones right of the axes, by `step` of their height."""
    for line, name in enumerate(colours):
        axes.annotate(
            f"● {name}", (1, 0.97 - step * line), (6, 0), xycoords="axes fraction",
            textcoords="offset points", va="center", fontsize=8, color=colours[name], annotation_clip=False,
        )  # fmt: skip
