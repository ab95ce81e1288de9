"""The report of one or several results folders.

    python -m analysis.run results/paper --out report/

Prints Table 1, the paper's values beside ours, and the files written.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from analysis.cells import PaperGrid, fill_cells
from analysis.gather import AnalysisError, choose_dataset, gather, keep_where

if TYPE_CHECKING:
    from analysis.report import Report


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parse(argv)
    try:
        grid = read_grid(arguments.results, arguments.dataset, arguments.where)
        report = write(grid, arguments.out)
    except AnalysisError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    say_problems(grid)
    show(report)
    return 0


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m analysis.run", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("results", nargs="+", type=Path, metavar="RESULTS", help="folders written by sweep.run")
    parser.add_argument("--out", type=Path, default=Path("report"), help="folder of the report (default: report)")
    parser.add_argument("--dataset", help="name, or beginning of the fingerprint, where the folders hold several")
    parser.add_argument(
        "--where", action="append", default=[], metavar="FIELD=VALUE",
        help="keep the trials with this setting, as learning_rate=0.001; may be repeated",
    )  # fmt: skip
    return parser.parse_args(argv)


def read_grid(folders: Sequence[Path], dataset: str | None, conditions: Sequence[str]) -> PaperGrid:
    return fill_cells(keep_where(choose_dataset(gather(folders), dataset), conditions))


def write(grid: PaperGrid, folder: Path) -> Report:
    from analysis.report import write_report  # matplotlib takes a second that --help and a refusal need not wait for

    try:
        return write_report(grid, folder)
    except OSError as error:
        raise AnalysisError(
            f"--out must be a folder that can be written; got '{folder}': {error.strerror or error}. Choose another one"
        ) from error


def say_problems(grid: PaperGrid) -> None:
    for problem in grid.problems:
        print(f"warning: {problem}", file=sys.stderr)
    if grid.outside:
        trials = "trial is" if len(grid.outside) == 1 else "trials are"
        print(f"{len(grid.outside)} {trials} in none of Table 1's rows; report.md lists them", file=sys.stderr)


def show(report: Report) -> None:
    """Table 1, then the files: a line a figure, for its two formats."""
    from rich.console import Console

    from analysis.tables import WIDTH, as_rich

    # A narrower terminal breaks the lines; rich would cut the numbers off.
    console = Console(highlight=False, width=max(WIDTH, Console().width))
    console.print(as_rich(report.table))
    print("\nWritten:")
    for path in report.texts:
        print(f"  {path}")
    for png, svg in report.drawn.written.values():
        print(f"  {png} and {svg.suffix}")
    for stem, why in report.drawn.not_drawn.items():
        print(f"not drawn: {stem}: {why}")


if __name__ == "__main__":
    sys.exit(main())
