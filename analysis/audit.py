"""The paper's arithmetic, checked: which of its statements its own numbers bear out. No trial is needed.

    python -m analysis.audit
    python -m analysis.audit --markdown > audit.md

Statements that need trials are judged in the report of `analysis.run`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from analysis.claims.about_arithmetic import arithmetic_claims
from analysis.claims.sections import arithmetic_sections
from analysis.report.sections import Section, as_markdown, as_rich
from galaxytl.system.command import Parser, run_command

WIDTH = (80, 100)
"""Columns of the printed table: at least, and at most."""


def main(argv: Sequence[str] | None = None) -> int:
    return run_command(lambda: story(parse(argv)))


def story(arguments: argparse.Namespace) -> int:
    sections = arithmetic_sections(arithmetic_claims())
    if arguments.markdown:
        print(as_markdown(sections))
    else:
        show(sections)
    return 0


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(prog="python -m analysis.audit", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--markdown", action="store_true", help="print Markdown instead of a terminal's table")
    options: argparse.Namespace = parser.parse_args(argv)
    return options


def show(sections: Sequence[Section]) -> None:
    from galaxytl.system.console import Console

    low, high = WIDTH
    console = Console(highlight=False, width=min(high, max(low, Console().width)))
    console.print(as_rich(sections))


if __name__ == "__main__":
    sys.exit(main())
