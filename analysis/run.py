"""The report of one or several results folders: of a grid, of a search, or of both.

    python -m analysis.run results/paper --out report/
    python -m analysis.run results/search --out report/

Of a grid it prints Table 1, the paper's values beside ours; of a search the trial that was chosen, how sure the choice
is, and what that trial scores on the test part; of both the files written.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from analysis.cells import PaperGrid, fill_cells
from analysis.gather import AnalysisError, choose_dataset, gather, keep_where
from analysis.search import Search, examine, part

if TYPE_CHECKING:
    from analysis.report import Report
    from analysis.search_report import SearchReport


@dataclass(frozen=True)
class Found:
    """What the folders hold, at least one of the two."""

    grid: PaperGrid | None
    search: Search | None


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parse(argv)
    try:
        found = read(arguments.results, arguments.dataset, arguments.where)
        report = write(found.grid, arguments.out) if found.grid else None
        search_report = write_search(found.search, arguments.storage, arguments.out) if found.search else None
    except AnalysisError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    say_problems(found)
    if report:
        show(report)
    if search_report:
        show_search(search_report)
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
    parser.add_argument(
        "--storage", metavar="URL",
        help="where a search's Optuna study is now, if not where its search.json says, or if that lacks the password",
    )  # fmt: skip
    return parser.parse_args(argv)


def read(folders: Sequence[Path], dataset: str | None, conditions: Sequence[str]) -> Found:
    trials = keep_where(choose_dataset(gather(folders), dataset), conditions)
    searched, others = part(trials)
    if not searched.results:
        return Found(fill_cells(others), None)
    if conditions:
        kept = f"only trials with {' and '.join(conditions)} were compared; a search may have chosen another one"
        searched = replace(searched, problems=(*searched.problems, kept))
    return Found(fill_cells(others) if others.results else None, examine(searched))


def write(grid: PaperGrid, folder: Path) -> Report:
    from analysis.report import write_report  # matplotlib takes a second that --help and a refusal need not wait for

    with _writing_into(folder):
        return write_report(grid, folder)


def write_search(search: Search, storage: str | None, folder: Path) -> SearchReport:
    from analysis import search_report
    from analysis.study import read_study  # Optuna takes a second too

    studies = [read_study(source, storage) for source in search.source_folders]
    with _writing_into(folder):
        return search_report.write_search(search, studies, folder)


@contextmanager
def _writing_into(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise AnalysisError(
            f"--out must be a folder that can be written; got '{folder}': {error.strerror or error}. Choose another one"
        ) from error


def say_problems(found: Found) -> None:
    grid, search = found.grid, found.search
    problems = [*(grid.problems if grid else ()), *(search.problems if search else ())]
    for problem in dict.fromkeys(problems):
        print(f"warning: {problem}", file=sys.stderr)
    if grid and grid.outside:
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


def show_search(report: SearchReport) -> None:
    from rich.console import Console

    from analysis.sections import as_rich
    from analysis.tables import banner_text

    console = Console(highlight=False, width=max(80, Console().width))
    console.print(*banner_text(report.banner), as_rich(s for s in report.sections if not s.is_detail), sep="\n")
    print("\nWritten:")
    for path in report.texts:
        print(f"  {path}")
    if report.command:
        print(f"\nThe best trial again, on the test part; DATA is what the search had:\n  {report.command}")


if __name__ == "__main__":
    sys.exit(main())
