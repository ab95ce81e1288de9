"""Texts and tables as Markdown, LaTeX and CSV: one writer each, for every table of a report.

markdown_table(("Score", "Value"), [("accuracy", "0.635")], right={1})     # lines
latex_table(latex_row(("Score", "Value")), ...); csv_text(frame)

pandas writes the CSV. Its Markdown needs a package more (tabulate) and pads the cells, so that one row's length would
change every line: both markups are written here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence, Set
from typing import TYPE_CHECKING, Any, Final

from analysis.trials.banner import Banner
from galaxytl.system.foreign_text import visible

if TYPE_CHECKING:
    import pandas as pd

FORMULA: Final = (*"=+-@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""How a spreadsheet's formulas begin, in letters of full width too."""
_NUMBER = r"[-+]?(?:\d[\d,]*(?:\.\d+)?|\.\d+|inf)(?:e[-+]?\d+)?"
_NUMBERS = re.compile(rf"{_NUMBER}(?: to {_NUMBER})?(?: \[{_NUMBER} to {_NUMBER}\])?", re.ASCII)
_LATEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$"}
_LATEX |= {"|": r"\textbar{}", "<": r"\textless{}", ">": r"\textgreater{}"}
_LATEX |= {"↑": r"$\uparrow$", "↓": r"$\downarrow$", "→": r"$\to$", "≥": r"$\ge$", "≤": r"$\le$"}
_LATEX |= {letter: f"\\{letter}" for letter in "&%$#_{}"}


def escape_markdown(text: str) -> str:
    """Escape what Markdown would read as markup in a name or a message."""
    return "".join(f"\\{letter}" if letter in r"\|*_[]<>`#$&~" else letter for letter in visible(text))


def markdown_table(headings: Sequence[str], rows: Iterable[Sequence[str]], right: Set[int] = frozenset()) -> list[str]:
    """Return the lines of a table, its texts escaped; `right` are the columns, from 0, that are aligned right."""
    ruler = ["---:" if number in right else "---" for number in range(len(headings))]
    texts = [[escape_markdown(text) for text in row] for row in (headings, *rows)]
    return ["| " + " | ".join(row) + " |" for row in (texts[0], ruler, *texts[1:])]


def markdown_banner(banner: Banner) -> list[str]:
    """Return the lines of a quotation, the warning in bold."""
    warning = [f"> **{escape_markdown(banner.warning)}**", ">"] if banner.warning else []
    return [*warning, f"> {escape_markdown(banner.run_on)}"]


def escape_csv(value: Any) -> Any:
    """Return a cell of which no spreadsheet makes a formula: an apostrophe before it says that it is text (OWASP, "CSV
    injection"). Numbers, alone and as an interval, stay as they are.

    >>> escape_csv("=1+1"), escape_csv("-0.5"), escape_csv("+0.02 [-0.05 to 0.11]"), escape_csv("-1+1"), escape_csv(2)
    ("'=1+1", '-0.5', '+0.02 [-0.05 to 0.11]', "'-1+1", 2)
    """
    if not isinstance(value, str):
        return value
    text = visible(value)
    is_formula = text.lstrip()[:1] in FORMULA and not _NUMBERS.fullmatch(text)
    return f"'{text}" if is_formula else text


def csv_text(frame: pd.DataFrame) -> str:
    """Return a frame as CSV, headings and cells escaped."""
    escaped = frame.map(escape_csv).set_axis([escape_csv(name) for name in frame.columns], axis="columns")
    return escaped.to_csv(index=False, lineterminator="\n")


def escape_latex(text: str) -> str:
    r"""Escape LaTeX's special characters.

    >>> escape_latex("5% of a_b")
    '5\\% of a\\_b'
    """
    escaped = "".join(_LATEX.get(letter, letter) for letter in visible(text))
    return "{}" + escaped if escaped.startswith(("[", "*")) else escaped  # a row's end would take it for its own


def latex_row(texts: Iterable[str]) -> str:
    """Return a row of a tabular, its texts escaped."""
    return " & ".join(escape_latex(text) for text in texts) + r" \\"


def latex_table(first: str, caption: str, columns: str, body: Iterable[str], notes: Iterable[str]) -> str:
    r"""Return a `table` environment for booktabs: its `first` line, the caption, which is escaped, the lines of a
    tabular with these `columns`, and notes, which are LaTeX."""
    lines = [
        first,
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escape_latex(caption)}}}",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        *body,
        r"\bottomrule",
        r"\end{tabular}",
        *(rf"\par\footnotesize {note}" for note in notes),
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"
