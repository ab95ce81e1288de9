"""Figures 16-21: confusion matrices, each row divided by its number of true galaxies."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from analysis.figures.plans import Material, Plan
from analysis.figures.style import CONFUSION_COLOURS, INK, new_figure
from analysis.trials.banner import Banner
from analysis.trials.subject import is_of_paper
from analysis.trials.table1_cells import Cell, PaperGrid

SHEET_ROWS, SHEET_COLUMNS = ("ON", "OFF"), ("MobileNet", "ResNet50", "VGG16")
CELL = 0.45  # inches, of a single figure's cells, where its SIDE has room for them
SIDE = (4.5, 12.0)  # inches, the least and the most, of a single figure's matrix
SHEET_SIDE = 2.7  # inches, of a matrix on the sheet
NAME_WIDTH = 16  # letters on a line of a class's name
SHEET_NAME = 28  # letters of a class's name on the sheet, and on a line where there is no room for three
NUMBERS = "all classes by their numbers: the table Recall of each class"
LINE = 0.135  # inches, of a line of names
RULED_FROM = 4  # points, of cells that have white lines between them: smaller ones would be more line than cell
WHITE_TEXT_FROM = 0.55  # share of a row above which the blue is too dark for black numbers


@dataclass(frozen=True)
class Confusion:
    """Counts (C, C), rows true and columns predicted, summed over `n` seeds, with the names of the classes."""

    counts: NDArray[np.int64]
    names: tuple[str, ...]
    n: int

    @property
    def shares(self) -> NDArray[np.float64]:
        """(C, C) counts divided by their row's sum; a class without galaxies stays zero."""
        totals = self.counts.sum(axis=1, keepdims=True)
        return np.divide(self.counts, totals, out=np.zeros(self.counts.shape), where=totals > 0)


def confusion_of(cell: Cell) -> Confusion | None:
    """Return that of the complete seeds together: they share one test split, so every galaxy counts once a seed."""
    trials = [r for r in cell.complete if r.confusion]
    if not trials:
        return None
    counts = np.sum([np.array(r.confusion, dtype=np.int64) for r in trials], axis=0)
    names = trials[0].class_names or tuple(f"class {index}" for index in range(len(counts)))
    return Confusion(counts, names, len(trials))


def plan_cells(stem: str, caption: str, material: Material) -> Iterator[Plan]:
    """Yield the paper's single figures by their numbers, one for each cell of Table 1."""
    cells = material.grid.cells if material.grid else ()
    for cell in sorted(cells, key=lambda cell: cell.paper.confusion_figure):
        own = stem.format(number=cell.paper.confusion_figure, cell=cell.paper.file_stem)
        text = caption.format(number=cell.paper.confusion_figure, title=cell.paper.title)
        if material.grid and (confusion := confusion_of(cell)) is not None:
            yield Plan(own, text, partial(draw_cell, cell, confusion, Banner.of(material.grid)))
        else:
            yield Plan(own, text, None, cell.why_without("confusion matrix"))


def draw_cell(cell: Cell, confusion: Confusion, banner: Banner) -> Figure:
    """Draw one of the paper's single figures."""
    seeds = f"sum of {confusion.n} seeds" if confusion.n > 1 else ""
    side = min(max(CELL * len(confusion.names), SIDE[0]), SIDE[1])
    figure = new_figure(side + 2.7, side + 2.1, banner.bottom_line(cell.shown, seeds))
    axes = figure.subplots()
    _draw_matrix(axes, confusion, side, fontsize=9 if side < SIDE[1] else 7)
    totals = confusion.counts.sum(axis=1) // confusion.n
    ticks = _ticks(len(totals), side)
    room = side / len(totals) * ticks.step / LINE  # in lines of names, which stand at 45 degrees below
    width = NAME_WIDTH if room >= 3 else SHEET_NAME
    low_ticks = _ticks(len(totals), 0.7 * side)
    below = [_wrapped(f"{i} {confusion.names[i]}", 0.7 * room, width) for i in low_ticks]
    beside = [f"{_wrapped(f'{i} {confusion.names[i]}', room, width)} ({totals[i]:,})" for i in ticks]
    axes.set_xticks(low_ticks, below, rotation=45, ha="right", rotation_mode="anchor", fontsize=8)
    axes.set_yticks(ticks, beside, fontsize=8)
    axes.set_title(f"{cell.title}: per cent of each true class", pad=8)
    axes.set_xlabel("predicted class")
    axes.set_ylabel(f"true class (test {'galaxies' if is_of_paper(cell.shown[0].spec) else 'images'})")
    return figure


def _ticks(size: int, side: float) -> range:
    """Return the classes that are named beside a matrix of `side` inches: all that have room for a line each."""
    return range(0, size, max(1, math.ceil(size * LINE / side)))


def _wrapped(name: str, room: float, width: int) -> str:
    """Return a name in as many lines as there is room for."""
    lines = max(1, int(room))
    return textwrap.fill(name, width, max_lines=lines, placeholder=" …", break_on_hyphens=lines > 1)


def draw_sheet(grid: PaperGrid, banner: Banner) -> Figure:
    """Draw all six on one sheet: ON above, OFF below."""
    names = next((drawn.names for cell in grid.cells if (drawn := confusion_of(cell))), ())
    numbers = NUMBERS if len(_ticks(len(names), SHEET_SIDE)) < len(names) else ""
    figure = new_figure(11, 7.5, banner.bottom_line(grid.shown, "per cent of each true class", numbers))
    panels = figure.subplots(len(SHEET_ROWS), len(SHEET_COLUMNS))
    for row, imagenet in enumerate(SHEET_ROWS):
        for column, backbone in enumerate(SHEET_COLUMNS):
            axes = panels[row, column]
            _draw_panel(axes, grid.cell(backbone, imagenet), len(names))
            _name_classes(axes, names, left=column == 0, bottom=row == len(SHEET_ROWS) - 1)
    return figure


def _draw_panel(axes: Axes, cell: Cell, size: int) -> None:
    axes.set_title(cell.title)
    if (confusion := confusion_of(cell)) is not None:
        _draw_matrix(axes, confusion, SHEET_SIDE, fontsize=7)
    else:
        _say_why(axes, cell, size)


def _name_classes(axes: Axes, names: tuple[str, ...], *, left: bool, bottom: bool) -> None:
    """Write names at the sheet's left edge, also beside an empty panel; numbers elsewhere."""
    ticks = _ticks(len(names), SHEET_SIDE)
    numbered = _ticks(len(names), SHEET_SIDE / 1.5)  # a number is wider than high
    full = [textwrap.shorten(f"{index} {names[index]}", SHEET_NAME, placeholder=" …") for index in ticks]
    drawn = bool(axes.images)
    axes.set_xticks(numbered if drawn else [], [*map(str, numbered)] if drawn else [], fontsize=8)
    beside = full if left else [*map(str, ticks)]
    axes.set_yticks(ticks if drawn or left else [], beside if drawn or left else [], fontsize=8)
    axes.set_xlabel("predicted class" if bottom and drawn else "")
    axes.set_ylabel("true class" if left else "")


def _draw_matrix(axes: Axes, confusion: Confusion, side: float, fontsize: float) -> None:
    """Draw it on `side` inches; where its cells are too small for per cents the colours alone say them."""
    shares = confusion.shares
    axes.imshow(shares, cmap=CONFUSION_COLOURS, vmin=0, vmax=1, interpolation="nearest")
    has_room = side / len(shares) > 2.6 * fontsize / 72  # for ">99"
    for true, predicted in np.argwhere(shares) if has_room else ():
        share = shares[true, predicted]
        colour = "white" if share > WHITE_TEXT_FROM else INK
        axes.text(predicted, true, percent(share), ha="center", va="center", fontsize=fontsize, color=colour)
    if 72 * side / len(shares) >= RULED_FROM:
        _rule(axes, len(shares))
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _rule(axes: Axes, size: int) -> None:
    """Draw white lines between the cells."""
    edges = np.arange(1, size) - 0.5
    axes.hlines(edges, -0.5, size - 0.5, color="white", linewidth=0.8)
    axes.vlines(edges, -0.5, size - 0.5, color="white", linewidth=0.8)


def percent(share: float) -> str:
    """Return whole per cents; nothing for nothing, and no rounding to none or to all.

    >>> percent(0.0), percent(0.004), percent(0.126), percent(0.997)
    ('', '<1', '13', '>99')
    """
    if share == 0:
        return ""
    if share < 0.01:
        return "<1"
    return ">99" if 0.99 < share < 1 else f"{100 * share:.0f}"


def _say_why(axes: Axes, cell: Cell, size: int) -> None:
    """Write the reason, in a panel of the size that a matrix of `size` classes would have."""
    axes.text(
        0.5, 0.5, textwrap.fill(cell.short_reason, 30), transform=axes.transAxes, ha="center", va="center", fontsize=9
    )
    axes.set(xlim=(-0.5, max(size, 1) - 0.5), ylim=(max(size, 1) - 0.5, -0.5), aspect="equal")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
