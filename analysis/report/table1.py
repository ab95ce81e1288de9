"""The scores of the paper's grid as a pandas frame and as terminal text, Markdown, CSV and LaTeX: Table 1, the paper's
values beside ours; of data that are not the paper's, ours alone.

    table = Table1.of(grid)
    print(as_markdown(table))

Every format carries the banner: what was run, and whether it is simulated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from analysis.report.formats import (
    escape_latex,
    escape_markdown,
    latex_row,
    latex_table,
    markdown_banner,
    markdown_table,
)
from analysis.statistics.intervals import CONFIDENCE
from analysis.trials.banner import Banner
from analysis.trials.paper import METRICS
from analysis.trials.subject import describe
from analysis.trials.table1_cells import MISSING, Cell, PaperGrid
from galaxytl.system.console import Console
from galaxytl.system.foreign_text import visible
from galaxytl.trial import COMPLETE

if TYPE_CHECKING:
    import pandas as pd

TITLE = "Table 1. Scores on the test split: ours, and the paper's beside them"
SIC = "(sic): as printed in the paper; no F1 can exceed 1."
INTERVAL = f"{CONFIDENCE:.0%} interval"
INTERVAL_NOTE = (
    f"{INTERVAL}: of our accuracy, over seeds and test images; where there is one seed, over images, of that network"
    " alone."
)
WIDTH = 100  # columns of the terminal that the table fits


@dataclass(frozen=True)
class Table1Row:
    """One cell of the grid as it is printed; `notes` are the footnotes it refers to, counted from 1."""

    cell: Cell
    notes: tuple[int, ...]

    @property
    def scores(self) -> tuple[str, ...]:
        """Our three scores; where there is none, the first says why."""
        if self.cell.status == COMPLETE:
            return tuple(str(self.cell.score(metric)) for metric in METRICS)
        return ("missing" if self.cell.status == MISSING else self.cell.status, "", "")

    @property
    def interval(self) -> str:
        """Of the accuracy; empty where it is not known."""
        return str(self.cell.interval or "")

    @property
    def printed(self) -> tuple[str, ...]:
        return tuple(str(self.cell.paper.printed(metric)) for metric in METRICS)


@dataclass(frozen=True)
class Table1:
    """The rows in the paper's order, the banner above and the footnotes below."""

    rows: tuple[Table1Row, ...]
    banner: Banner
    footnotes: tuple[str, ...]
    title: str
    has_paper: bool
    """Whether the paper's values stand beside ours."""

    @classmethod
    def of(cls, grid: PaperGrid) -> Table1:
        texts: list[str] = []
        rows = []
        for cell in grid.cells:
            own = _footnotes(cell)
            texts += [text for text in own if text not in texts]
            rows.append(Table1Row(cell, tuple(texts.index(text) + 1 for text in own)))
        title = TITLE if grid.subject.is_of_paper else f"Scores on the test split: {describe(grid.results)}"
        return cls(tuple(rows), Banner.of(grid), tuple(texts), title, grid.subject.is_of_paper)

    @property
    def interval_heading(self) -> str:
        return INTERVAL

    def with_interval(self, row: Table1Row) -> list[str]:
        """Return `values`, with the interval of our accuracy after it."""
        first, *others = self.values(row)
        return [first, row.interval, *others]

    def values(self, row: Table1Row) -> list[str]:
        """Return ours and the paper's by turns, in the order of METRICS; or ours."""
        if not self.has_paper:
            return list(row.scores)
        return [text for pair in zip(row.scores, row.printed, strict=True) for text in pair]

    @property
    def short_title(self) -> str:
        """Without its number."""
        return self.title.removeprefix("Table 1. ")

    @property
    def legend(self) -> str:
        """How to read the numbers that are not plain."""
        parts = [SIC] if self.has_paper else []
        if any(len(row.cell.complete) > 1 for row in self.rows):
            parts.append("±: sample standard deviation over seeds.")
        return " ".join(parts)

    @property
    def full_legend(self) -> str:
        """The legend of a table with intervals."""
        return " ".join([self.legend, INTERVAL_NOTE]).strip()


def _footnotes(cell: Cell) -> list[str]:
    notes = [cell.weights_label] if cell.is_substituted else []
    if cell.message and cell.complete:
        lost = len(cell.results) - len(cell.complete)
        notes.append(f"{cell.paper.title}, {lost} of {len(cell.results)} seeds not complete: {cell.message}")
    elif cell.message:
        notes.append(f"{cell.paper.title}, {cell.status}: {cell.message}")
    return notes


def _marks(row: Table1Row) -> str:
    return "".join(f" [{number}]" for number in row.notes)


def as_rich(table: Table1, width: int = WIDTH) -> Group:
    """Return the table for a terminal of 80 columns or more: of fewer than WIDTH, the paper's values stand below ours.
    Text objects, so that no message is read as markup."""
    beside, below = table.has_paper and width >= WIDTH, table.has_paper and width < WIDTH
    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("Model", "ImageNet"):
        grid.add_column(heading, no_wrap=True)
    for heading in METRICS.values():
        name = heading.replace(" ", "\n") + "\n(paper's)" * below
        grid.add_column(name, justify="right", no_wrap=True)
        if beside:
            grid.add_column("paper", justify="right", style="dim", width=5)
    grid.add_column("Seeds", justify="right")
    for row in table.rows:
        lead = [row.cell.paper.backbone, row.cell.paper.imagenet + _marks(row)]
        values = ["\n".join(pair) for pair in zip(row.scores, row.printed, strict=True)] if below else table.values(row)
        grid.add_row(*(Text(visible(text, keep="\n")) for text in (*lead, *values, row.cell.seeds)))
    warning = [Text(visible(table.banner.warning), style="bold red")] if table.banner.warning else []
    above = [Text(visible(table.title), style="bold"), *warning, Text(visible(table.banner.run_on))]
    notes = [Text(f"[{number}] {visible(note)}") for number, note in enumerate(table.footnotes, start=1)]
    legend = [Text(table.legend, style="dim")] if table.legend else []
    return Group(*above, grid, *legend, *notes)


def as_text(table: Table1, width: int = WIDTH) -> str:
    """Return what the terminal shows, without colours."""
    console = Console(width=width, color_system=None, legacy_windows=False)
    with console.capture() as capture:
        console.print(as_rich(table, width))
    return "\n".join(line.rstrip() for line in capture.get().splitlines()) + "\n"


def as_markdown(table: Table1) -> str:
    headings = ["Model", "ImageNet"]
    for heading in METRICS.values():
        headings += [heading, "paper"] if table.has_paper else [heading]
    headings.insert(3, INTERVAL)
    rows = [
        (row.cell.paper.backbone, row.cell.paper.imagenet + _marks(row), *table.with_interval(row), row.cell.seeds)
        for row in table.rows
    ]
    lines = [f"**{escape_markdown(table.title)}**", "", *markdown_banner(table.banner), ""]
    lines += [*markdown_table([*headings, "Seeds"], rows, set(range(2, len(headings) + 1))), ""]
    lines += [table.full_legend, ""]
    lines += [f"\\[{number}\\] {escape_markdown(note)}  " for number, note in enumerate(table.footnotes, start=1)]
    return "\n".join(lines).rstrip() + "\n"


def as_frame(table: Table1) -> pd.DataFrame:
    """Return one row a cell, numbers as numbers: per metric ours, its std over seeds, and the paper's.

    The banner is the columns `run_on` and `warning`, so that the file stays plain CSV and no row can lose it.
    """
    import pandas as pd  # half a second that `--help` need not wait for

    return pd.DataFrame([_record(row, table) for row in table.rows])


def _record(row: Table1Row, table: Table1) -> dict[str, Any]:
    cell = row.cell
    record: dict[str, Any] = {"model": cell.paper.backbone, "imagenet": cell.paper.imagenet, "status": cell.status}
    record |= {"n": len(cell.complete), "n_trials": len(cell.results), "weights": cell.weights_label}
    for metric in METRICS:
        score, printed = cell.score(metric), cell.paper.printed(metric)
        record[metric] = score.mean if score else None
        record[f"{metric}_std"] = score.std if score else None
        if table.has_paper:
            record |= {f"{metric}_paper": printed.value, f"{metric}_paper_sic": printed.sic}
    interval = cell.interval
    record |= {"accuracy_low": interval.low if interval else None, "accuracy_high": interval.high if interval else None}
    return record | {"message": cell.message, "warning": table.banner.warning, "run_on": table.banner.run_on}


def as_latex(table: Table1) -> str:
    """Return a `table` environment for booktabs; escapes everything that comes from a result."""
    caption = " ".join([table.short_title + ".", *(f"{line}." for line in table.banner.lines)])
    body = [*_latex_head(table), r"\midrule", *(_latex_row(row, table) for row in table.rows)]
    columns = "ll" + "r" * (len(METRICS) * (2 if table.has_paper else 1) + 1)
    notes = [rf"[{number}] {escape_latex(note)}" for number, note in enumerate(table.footnotes, start=1)]
    legend = [escape_latex(table.legend)] if table.legend else []
    text = latex_table(r"% needs \usepackage{booktabs}", caption, columns, body, [*legend, *notes])
    return text.replace("\n\\begin{tabular}", "\n\\label{tab:transfer-scores}\n\\begin{tabular}", 1)


def _latex_head(table: Table1) -> list[str]:
    if not table.has_paper:
        return [latex_row(("Model", "ImageNet", *METRICS.values(), "Seeds"))]
    groups = " & ".join(rf"\multicolumn{{2}}{{c}}{{{escape_latex(heading)}}}" for heading in METRICS.values())
    rules = "".join(rf"\cmidrule(lr){{{first}-{first + 1}}}" for first in (3, 5, 7))
    heading = "Model & ImageNet" + " & ours & paper" * len(METRICS) + r" & Seeds \\"
    return [rf" & & {groups} & \\", rules, heading]


def _latex_row(row: Table1Row, table: Table1) -> str:
    marks = rf"\,{_marks(row).strip().replace(' ', '')}" if row.notes else ""
    lead = f"{escape_latex(row.cell.paper.backbone)} & {row.cell.paper.imagenet}{marks} & "
    return lead + latex_row((*table.values(row), row.cell.seeds))
