"""How the figures look, and how they are saved: one look, no pyplot, the same bytes from the same numbers.

with style():
    figure = new_figure(6.4, 4.0, "galaxy10_decals, 12,415 training and 5,321 test images")
    draw_point(axes, 1e-3, point, "#D55E00")     # of several seeds; explain_marks(figure, points) says what it means
    paths = save(figure, folder / "figure-03-metrics")
"""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Literal

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.ticker import Formatter, LogLocator, NullFormatter
from matplotlib.transforms import Bbox

from analysis.trials.seed_points import Point
from analysis.trials.starts import rate_text
from galaxytl.system.files import write_atomically
from galaxytl.system.foreign_text import visible
from galaxytl.trial import TrialResult

# Okabe M and Ito K 2008, "Color universal design": told apart with every common colour blindness.
COLOURS = {"VGG16": "#D55E00", "ResNet50": "#009E73", "MobileNet": "#0072B2"}
MORE_COLOURS = ("#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Theirs too, for further backbones; not their yellow, which is too pale for a line on white."""
INK, GREY, PALE = "#222222", "#767676", "#D0D0D0"
CONFUSION_COLOURS = "Blues"
COLLAPSE_COLOURS = ("#F3EEE6", "#EDA75A", "#8C2D04")
"""From no trial to all, in lightness too."""
DPI = 200
CROSS = "X"
Colour = str | tuple[float, float, float]

_RC: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same picture on every machine
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": INK,
    "text.parse_math": False,  # a dollar in a trial's message is a dollar; hence `set_log`
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "svg.hashsalt": "galaxytl",
    "svg.fonttype": "path",
}


def style() -> AbstractContextManager[None]:
    """Apply the look for as long as the `with` lasts."""
    return mpl.rc_context(_RC)


def new_figure(width: float, height: float, footer: str) -> Figure:
    """Return a figure of width x height inches with its bottom line. 200 dpi: 5 inches show as 1000 pixels."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    engine = figure.get_layout_engine()
    if isinstance(engine, ConstrainedLayoutEngine):
        engine.set(w_pad=0.06, h_pad=0.06)  # inches
    # The footer is the figure's x label because the layout keeps room for that, and for no free text.
    lines = textwrap.fill(footer, int(width * 19))  # about 20 letters of 7 points take an inch
    figure.supxlabel(lines, fontsize=7, color=GREY, x=0.01, ha="left")
    return figure


def save(figure: Figure, stem: Path) -> tuple[Path, Path]:
    """Write stem.png and stem.svg, with no date in them; returns both paths."""
    png, svg = stem.with_suffix(".png"), stem.with_suffix(".svg")
    for text in figure.findobj(Text):
        if (shown := visible(text.get_text(), keep="\n")) != text.get_text():
            text.set_text(shown)
    write_atomically(png, _bytes(figure, "png", dpi=DPI, metadata={"Software": None}))
    figure.set_layout_engine("none")  # the layout stands: solving it again would double the time
    for axes in figure.axes:
        # The layout's last digits depend on where objects lie in memory, and the SVG's names of clips on all digits.
        axes.set_position(Bbox(axes.get_position().get_points().round(9)))
    write_atomically(svg, _bytes(figure, "svg", metadata={"Date": None}))
    return png, svg


def _bytes(figure: Figure, ending: str, **settings: Any) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format=ending, **settings)
    return file.getvalue()


def set_log(axes: Axes, axis: Literal["x", "y"]) -> None:
    """Make an axis logarithmic, with labels that are plain text: matplotlib's own are TeX, which the style does not
    read. Decades are labelled; 2 and 5 between them too where the values span less than two decades."""
    axes.set(**{f"{axis}scale": "log"})
    own = axes.xaxis if axis == "x" else axes.yaxis
    own.set_major_locator(_Decades())
    own.set_major_formatter(_PlainNumbers())
    own.set_minor_formatter(NullFormatter())


class _Decades(LogLocator):
    def tick_values(self, vmin: float, vmax: float) -> Sequence[float]:
        self.set_params(subs=(1, 2, 5) if vmin > 0 and vmax < 100 * vmin else (1,))
        return super().tick_values(vmin, vmax)


class _PlainNumbers(Formatter):
    """Of one axis all alike."""

    def __call__(self, value: float, pos: int | None = None) -> str:
        return number_texts([value])[0]

    def format_ticks(self, values: Sequence[float]) -> list[str]:
        low, high = sorted(self.axis.get_view_interval()) if self.axis else (-math.inf, math.inf)
        is_drawn = [low <= value <= high for value in values]  # the others lie beyond the ends of the axis
        texts = iter(number_texts([value for value, drawn in zip(values, is_drawn, strict=True) if drawn]))
        return [next(texts) if drawn else "" for drawn in is_drawn]


def number_texts(values: Sequence[float]) -> list[str]:
    """Return them as digits where all of them are short, else all as powers of ten.

    >>> number_texts([0.1, 1.0, 1000.0]), number_texts([1.0, 20000.0])
    (['0.1', '1', '1,000'], ['1e0', '2e4'])
    """
    if all(0.001 <= value < 10_000 for value in values):
        return [f"{value:,.4g}" if value < 1000 else f"{value:,.0f}" for value in values]
    return [rate_text(value) for value in values]


def backbone_colours(backbones: Iterable[str]) -> dict[str, str]:
    """Return a colour a backbone, the paper's three always the same; of more than seven some share one.

    >>> backbone_colours(["VGG16", "EfficientNetB0"])
    {'VGG16': '#D55E00', 'EfficientNetB0': '#CC79A7'}
    """
    names = list(backbones)
    further = sorted(set(names) - set(COLOURS))
    more = {name: MORE_COLOURS[index % len(MORE_COLOURS)] for index, name in enumerate(further)}
    return {name: COLOURS.get(name) or more[name] for name in names}


def tint(colour: str, share: float) -> tuple[float, float, float]:
    """Return the colour mixed with white: share 1 is the colour itself, 0 is white."""
    red, green, blue = mpl.colors.to_rgb(colour)
    return (1 - share + share * red, 1 - share + share * green, 1 - share + share * blue)


def add_legend(figure: Figure, marks: Sequence[Any], columns: int, **settings: Any) -> None:
    """Explain the marks above the figure."""
    figure.legend(handles=marks, loc="outside upper right", ncols=columns, frameon=False, fontsize=8, **settings)


def draw_point(axes: Axes, x: float, point: Point, colour: Colour, *, shape: str = "o", size: float = 4.5) -> None:
    """Draw a mark. Filled: no seed has collapsed; open: some have; a cross: all. A bar: `low_high`. A ring: the paper's
    setting. A triangle at the bottom: a seed has failed."""
    if point.num_failed:
        axes.plot([x], [0.03], color=INK, markersize=4, linestyle="", marker="^", clip_on=False, gid="failed")
    if not point.complete:
        return
    if ends := point.low_high:
        axes.vlines(x, *ends, color=colour, linewidth=1, alpha=0.7, zorder=2)
    style: dict[str, Any] = {"marker": shape, "markersize": size, "markerfacecolor": colour, "markeredgecolor": colour}
    if point.has_all_collapsed:
        style |= {"marker": CROSS, "markersize": size + 2.5, "markeredgecolor": "white", "markeredgewidth": 0.6}
    elif point.has_some_collapsed:
        style |= {"markerfacecolor": "white", "markeredgewidth": 1.1}
    counted = f"collapsed {point.num_collapsed} of {len(point.complete)}"
    axes.plot([x], [point.mean], linestyle="", zorder=3, gid=counted, **style)
    if point.is_paper_setting:
        axes.plot([x], [point.mean], "o", markersize=12, markerfacecolor="none", markeredgecolor=INK, zorder=4)


def draw_reference(axes: Axes, results: Sequence[TrialResult]) -> None:
    """Draw a line at the accuracy of always naming the commonest class."""
    share = next((r.metrics["majority_share"] for r in results if "majority_share" in r.metrics), None)
    if share is not None:
        axes.axhline(share, color=GREY, linewidth=0.9, linestyle=":", zorder=1)


def explain_marks(figure: Figure, points: Sequence[Point]) -> None:
    marks = []
    if any(point.has_some_collapsed for point in points):
        marks.append(_mark("some seeds collapsed", "o", "white", GREY, 5))
    if any(point.has_all_collapsed for point in points):
        marks.append(_mark("all seeds collapsed", CROSS, GREY, GREY, 6))
    if any(point.num_failed for point in points):
        marks.append(_mark("a seed failed", "^", INK, INK, 4))
    if any(point.is_paper_setting for point in points):
        marks.append(_mark("the paper's setting (assumed)", "o", "none", INK, 10))
    marks.append(Line2D([], [], color=GREY, linewidth=0.9, linestyle=":", label="always the commonest class"))
    add_legend(figure, marks, len(marks), columnspacing=1.4)


def _mark(label: str, shape: str, face: str, edge: str, size: float) -> Line2D:
    return Line2D(
        [], [], linestyle="", marker=shape, markerfacecolor=face, markeredgecolor=edge, markersize=size, label=label
    )
