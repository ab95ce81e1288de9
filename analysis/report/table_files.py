"""A section's table for other programs and for a paper: CSV, Markdown and LaTeX, each with the banner.

files = formats(section, banner)       # {".csv": ..., ".md": ..., ".tex": ...}
names = stems(sections)                # "which-parameters-mattered", one a section, all different
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable
from typing import Final

from analysis.report.table1 import escape_csv, escape_latex, escape_markdown
from analysis.sections import Listing, Section, as_markdown
from analysis.trials.banner import Banner

MARK: Final = "% written by analysis.run; needs \\usepackage{booktabs}"
"""First line of each LaTeX table: tells an earlier report's files from a user's own."""
LONG: Final = 30
"""Letters, from which on a column of LaTeX breaks its lines."""
MAX_STEM: Final = 60


def formats(section: Section, banner: Banner) -> dict[str, str]:
    """Ending -> text. Raises ValueError for a section without a listing."""
    if section.listing is None:
        raise ValueError(f"a table's files are of a section with a listing; got '{section.heading}' without one")
    return {
        ".csv": _csv(section.listing, banner),
        ".md": _quoted(banner) + as_markdown([section]),
        ".tex": _latex(section, section.listing, banner),
    }


def stems(sections: Iterable[Section]) -> list[str]:
    """A file's stem a section, from its heading up to a colon; a number makes equal ones different.

    >>> stems([Section("The best: trial 1"), Section("The best: trial 2"), Section("100 %!")])
    ['the-best', 'the-best-2', '100']
    """
    found: list[str] = []
    for section in sections:
        words = re.findall(r"[a-z0-9_]+", section.heading.split(":")[0].lower())
        stem = "-".join(words)[:MAX_STEM].strip("-") or "table"
        number = 1
        while (name := stem if number == 1 else f"{stem}-{number}") in found:
            number += 1
        found.append(name)
    return found


def _csv(listing: Listing, banner: Banner) -> str:
    """The banner is two columns, so that no row can lose it."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    rows = [[*listing.headings, "warning", "run_on"]]
    rows += [[*row, banner.warning, banner.run_on] for row in listing.rows]
    writer.writerows(map(escape_csv, row) for row in rows)
    return file.getvalue()


def _quoted(banner: Banner) -> str:
    return "".join(f"> {escape_markdown(line)}\n>\n" for line in banner.lines).removesuffix(">\n") + "\n"


def _latex(section: Section, listing: Listing, banner: Banner) -> str:
    caption = " ".join(f"{line}." for line in (section.heading, *banner.lines))
    lines = [
        MARK,
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escape_latex(caption)}}}",
        rf"\begin{{tabular}}{{{''.join(_columns(listing))}}}",
        r"\toprule",
        _row(listing.headings),
        r"\midrule",
        *(_row(row) for row in listing.rows),
        r"\bottomrule",
        r"\end{tabular}",
        *(rf"\par\footnotesize {escape_latex(sentence)}" for sentence in section.sentences),
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _columns(listing: Listing) -> list[str]:
    texts = zip(*listing.rows, strict=True) if listing.rows else [()] * len(listing.headings)
    long = [max(map(len, column), default=0) > LONG for column in texts]
    width = 0.7 / max(1, sum(long))  # the rest of the line is for the short columns
    wide = rf"p{{{width:.2f}\linewidth}}"
    return ["r" if number in listing.right else wide if own else "l" for number, own in enumerate(long)]


def _row(texts: Iterable[str]) -> str:
    return " & ".join(escape_latex(text) for text in texts) + r" \\"
