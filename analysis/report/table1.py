"""Table 1, the paper's values beside ours, as a pandas frame and as terminal text, Markdown, CSV and LaTeX.

    table = Table1.of(grid)
    print(as_markdown(table))

Every format carries the banner: what was run, and whether it is simulated.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from analysis.trials.banner import Banner
from analysis.trials.paper import METRICS
from analysis.trials.table1_cells import MISSING, Cell, PaperGrid
from galaxytl.system.console import Console
from galaxytl.system.foreign_text import visible
from galaxytl.trial import COMPLETE

if TYPE_CHECKING:
    import pandas as pd

TITLE = "Table 1. Scores on the test split: ours, and the paper's beside them"
WIDTH = 100  # columns of the terminal that the table fits
FORMULA = (*"=+-@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""How a spreadsheet's formulas begin, in letters of full width too."""


@dataclass(frozen=True)
class Row:
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
    def printed(self) -> tuple[str, ...]:
        return tuple(str(self.cell.paper.printed(metric)) for metric in METRICS)

    @property
    def values(self) -> list[str]:
        """Ours and the paper's by turns, in the order of METRICS."""
        return [text for pair in zip(self.scores, self.printed, strict=True) for text in pair]


@dataclass(frozen=True)
class Table1:
    """The rows in the paper's order, the banner above and the footnotes below."""

    rows: tuple[Row, ...]
    banner: Banner
    footnotes: tuple[str, ...]

    @classmethod
    def of(cls, grid: PaperGrid) -> Table1:
        texts: list[str] = []
        rows = []
        for cell in grid.cells:
            own = _footnotes(cell)
            texts += [text for text in own if text not in texts]
            rows.append(Row(cell, tuple(texts.index(text) + 1 for text in own)))
        return cls(tuple(rows), Banner.of(grid), tuple(texts))

    @property
    def legend(self) -> str:
        """How to read the numbers that are not plain."""
        parts = ["(sic): as printed in the paper; no F1 can exceed 1."]
        if any(len(row.cell.complete) > 1 for row in self.rows):
            parts.append("±: sample standard deviation over seeds.")
        return " ".join(parts)


def _footnotes(cell: Cell) -> list[str]:
    notes = [cell.weights_label] if cell.is_substituted else []
    if cell.message and cell.complete:
        lost = len(cell.results) - len(cell.complete)
        notes.append(f"{cell.paper.title}, {lost} of {len(cell.results)} seeds not complete: {cell.message}")
    elif cell.message:
        notes.append(f"{cell.paper.title}, {cell.status}: {cell.message}")
    return notes


def _marks(row: Row) -> str:
    return "".join(f" [{number}]" for number in row.notes)


def as_rich(table: Table1) -> Group:
    """For a terminal of at least WIDTH columns. Text objects, so that no message is read as markup."""
    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("Model", "ImageNet"):
        grid.add_column(heading, no_wrap=True)
    for heading in METRICS.values():
        grid.add_column(heading.replace(" ", "\n"), justify="right", no_wrap=True)
        grid.add_column("paper", justify="right", style="dim", width=5)
    grid.add_column("Seeds", justify="right")
    for row in table.rows:
        lead = [row.cell.paper.backbone, row.cell.paper.imagenet + _marks(row)]
        grid.add_row(*(Text(visible(text)) for text in (*lead, *row.values, row.cell.seeds)))
    above = [Text(TITLE, style="bold"), *banner_text(table.banner)]
    notes = [Text(f"[{number}] {visible(note)}") for number, note in enumerate(table.footnotes, start=1)]
    return Group(*above, grid, Text(table.legend, style="dim"), *notes)


def banner_text(banner: Banner) -> list[Text]:
    warning = [Text(visible(banner.warning), style="bold red")] if banner.warning else []
    return [*warning, Text(visible(banner.run_on))]


def as_text(table: Table1, width: int = WIDTH) -> str:
    """What the terminal shows, without colours."""
    console = Console(width=width, color_system=None, legacy_windows=False)
    with console.capture() as capture:
        console.print(as_rich(table))
    return "\n".join(line.rstrip() for line in capture.get().splitlines()) + "\n"


def as_markdown(table: Table1) -> str:
    headings = ["Model", "ImageNet"]
    for heading in METRICS.values():
        headings += [heading, "paper"]
    lines = [f"**{TITLE}**", ""]
    if table.banner.warning:
        lines += [f"> **{escape_markdown(table.banner.warning)}**", ">"]
    lines += [f"> {escape_markdown(table.banner.run_on)}", ""]
    lines += [_markdown_row([*headings, "Seeds"]), _markdown_row(["---", "---", *["---:"] * 7])]
    for row in table.rows:
        lead = [row.cell.paper.backbone, escape_markdown(row.cell.paper.imagenet + _marks(row))]
        lines.append(_markdown_row([*lead, *row.values, row.cell.seeds]))
    lines += ["", table.legend, ""]
    lines += [f"\\[{number}\\] {escape_markdown(note)}  " for number, note in enumerate(table.footnotes, start=1)]
    return "\n".join(lines).rstrip() + "\n"


def _markdown_row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def escape_markdown(text: str) -> str:
    """Escape what Markdown would read as markup in a name or a message."""
    return "".join(f"\\{letter}" if letter in r"\|*_[]<>`#$&~" else letter for letter in visible(text))


def as_frame(table: Table1) -> pd.DataFrame:
    """One row a cell, numbers as numbers: per metric ours, its std over seeds, and the paper's.

    The banner is the columns `run_on` and `warning`, so that the file stays plain CSV and no row can lose it.
    """
    import pandas as pd  # half a second that `--help` need not wait for

    return pd.DataFrame([_record(row, table.banner) for row in table.rows])


def _record(row: Row, banner: Banner) -> dict[str, Any]:
    cell = row.cell
    record: dict[str, Any] = {"model": cell.paper.backbone, "imagenet": cell.paper.imagenet, "status": cell.status}
    record |= {"n": len(cell.complete), "n_trials": len(cell.results), "weights": cell.weights_label}
    for metric in METRICS:
        score, printed = cell.score(metric), cell.paper.printed(metric)
        record[metric] = score.mean if score else None
        record[f"{metric}_std"] = score.std if score else None
        record[f"{metric}_paper"] = printed.value
        record[f"{metric}_paper_sic"] = printed.sic
    return record | {"message": cell.message, "warning": banner.warning, "run_on": banner.run_on}


def as_csv(table: Table1) -> str:
    return as_frame(table).map(escape_csv).to_csv(index=False, lineterminator="\n")


_NUMBER = r"[-+]?(?:\d[\d,]*(?:\.\d+)?|\.\d+|inf)(?:e[-+]?\d+)?"
_NUMBERS = re.compile(rf"{_NUMBER}(?: to {_NUMBER})?(?: \[{_NUMBER} to {_NUMBER}\])?", re.ASCII)


def escape_csv(value: Any) -> Any:
    """A cell of which no spreadsheet makes a formula: an apostrophe before it says that it is text (OWASP, "CSV
    injection"). Numbers, alone and as an interval, stay as they are.

    >>> escape_csv("=1+1"), escape_csv("-0.5"), escape_csv("+0.02 [-0.05 to 0.11]"), escape_csv("-1+1"), escape_csv(2)
    ("'=1+1", '-0.5', '+0.02 [-0.05 to 0.11]', "'-1+1", 2)
    """
    if not isinstance(value, str):
        return value
    text = visible(value)
    is_formula = text.lstrip()[:1] in FORMULA and not _NUMBERS.fullmatch(text)
    return f"'{text}" if is_formula else text


def as_latex(table: Table1) -> str:
    """A `table` environment for booktabs; escapes everything that comes from a result."""
    caption = " ".join([TITLE.removeprefix("Table 1. ") + ".", *(f"{line}." for line in table.banner.lines)])
    groups = " & ".join(rf"\multicolumn{{2}}{{c}}{{{escape_latex(heading)}}}" for heading in METRICS.values())
    rules = "".join(rf"\cmidrule(lr){{{first}-{first + 1}}}" for first in (3, 5, 7))
    body = [_latex_row(row) for row in table.rows]
    notes = [rf"[{number}] {escape_latex(note)}" for number, note in enumerate(table.footnotes, start=1)]
    lines = [
        r"% needs \usepackage{booktabs}",
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escape_latex(caption)}}}",
        r"\label{tab:transfer-scores}",
        r"\begin{tabular}{llrrrrrrr}",
        r"\toprule",
        rf" & & {groups} & \\",
        rules,
        "Model & ImageNet" + " & ours & paper" * len(METRICS) + r" & Seeds \\",
        r"\midrule",
        *body,
        r"\bottomrule",
        r"\end{tabular}",
        *[rf"\par\footnotesize {line}" for line in (escape_latex(table.legend), *notes)],
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _latex_row(row: Row) -> str:
    marks = rf"\,{_marks(row).strip().replace(' ', '')}" if row.notes else ""
    lead = [escape_latex(row.cell.paper.backbone), row.cell.paper.imagenet + marks]
    return " & ".join([*lead, *(escape_latex(text) for text in (*row.values, row.cell.seeds))]) + r" \\"


_LATEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$"}
_LATEX |= {"|": r"\textbar{}", "<": r"\textless{}", ">": r"\textgreater{}"}
_LATEX |= {"↑": r"$\uparrow$", "↓": r"$\downarrow$", "→": r"$\to$", "≥": r"$\ge$", "≤": r"$\le$"}
_LATEX |= {letter: f"\\{letter}" for letter in "&%$#_{}"}


def escape_latex(text: str) -> str:
    r"""Escape LaTeX's special characters.

    >>> escape_latex("5% of a_b")
    '5\\% of a\\_b'
    """
    escaped = "".join(_LATEX.get(letter, letter) for letter in visible(text))
    return "{}" + escaped if escaped.startswith(("[", "*")) else escaped  # a row's end would take it for its own
