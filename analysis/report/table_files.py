"""A section's table for other programs and for a paper: CSV, Markdown and LaTeX, each with the banner.

paths = write_tables(sections, banner, Path("report/tables"))
texts = formats(section, banner)       # {".csv": ..., ".md": ..., ".tex": ...}
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from analysis.report.formats import csv_text, escape_latex, escape_markdown, latex_row, latex_table
from analysis.report.sections import Listing, Section, as_markdown
from analysis.trials.banner import Banner
from galaxytl.system.files import write_atomically
from galaxytl.system.foreign_text import visible

MARK: Final = "% written by analysis.run; needs \\usepackage{booktabs}"
"""First line of each LaTeX table: tells an earlier report's files from a user's own."""
LONG: Final = 30
"""Letters, from which on a column of LaTeX breaks its lines."""
MAX_STEM: Final = 60


def write_tables(sections: Iterable[Section], banner: Banner, folder: Path) -> tuple[Path, ...]:
    """Write three files for each section that has a table; those of an earlier report that this one lacks are
    removed."""
    own = [section for section in sections if section.listing]
    _remove_earlier(folder)
    if own:
        folder.mkdir(exist_ok=True)
    paths = []
    for stem, section in zip(stems(own), own, strict=True):
        for ending, text in formats(section, banner).items():
            paths.append(folder / f"{stem}{ending}")
            write_atomically(paths[-1], text.encode())
    return tuple(paths)


def _remove_earlier(folder: Path) -> None:
    """Remove only what this program wrote: the LaTeX file of each table says so in its first line."""
    for path in folder.glob("*.tex"):
        if not path.is_symlink() and begins_with(path, MARK):
            for ending in (".csv", ".md", ".tex"):
                path.with_suffix(ending).unlink(missing_ok=True)


def begins_with(path: Path, mark: str) -> bool:
    """Return whether a file is there that begins with these words."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(mark.encode())) == mark.encode()


def formats(section: Section, banner: Banner) -> dict[str, str]:
    """Return ending -> text. Raises ValueError for a section without a listing."""
    if section.listing is None:
        raise ValueError(f"a table's files are of a section with a listing; got '{section.heading}' without one")
    return {
        ".csv": _csv(section.listing, banner),
        ".md": _quoted(banner) + as_markdown([section]),
        ".tex": _latex(section, section.listing, banner),
    }


def stems(sections: Iterable[Section]) -> list[str]:
    """Return a file's stem a section, from its heading up to a colon; a number makes equal ones different.

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
    """Return the rows; the banner is two columns, so that no row can lose it."""
    import pandas as pd  # half a second that `--help` need not wait for

    headings = [*listing.headings, "warning", "run_on"]
    rows = [(*row, banner.warning, banner.run_on) for row in listing.rows]
    # visible first: pandas has no place for half a surrogate
    return csv_text(pd.DataFrame([map(visible, row) for row in rows], columns=[*map(visible, headings)]))


def _quoted(banner: Banner) -> str:
    return "".join(f"> {escape_markdown(line)}\n>\n" for line in banner.lines).removesuffix(">\n") + "\n"


def _latex(section: Section, listing: Listing, banner: Banner) -> str:
    caption = " ".join(f"{line}." for line in (section.heading, *banner.lines))
    body = [latex_row(listing.headings), r"\midrule", *map(latex_row, listing.rows)]
    return latex_table(MARK, caption, "".join(_columns(listing)), body, map(escape_latex, section.sentences))


def _columns(listing: Listing) -> list[str]:
    texts = zip(*listing.rows, strict=True) if listing.rows else [()] * len(listing.headings)
    long = [max(map(len, column), default=0) > LONG for column in texts]
    width = 0.7 / max(1, sum(long))  # the rest of the line is for the short columns
    wide = rf"p{{{width:.2f}\linewidth}}"
    return ["r" if number in listing.right else wide if own else "l" for number, own in enumerate(long)]
