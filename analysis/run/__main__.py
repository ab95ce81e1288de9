"""The report of one or several results folders: of grids, of a search, or of both.

    python -m analysis.run results/paper --out report/
    python -m analysis.run results/paper results/vgg-collapse results/search --out report/

It prints a summary, Table 1 with the paper's values beside ours, and of a search the trial that was chosen and how sure
the choice is; it writes them, the figures and every trial into report/index.html, one page that opens anywhere. Of data
other than Galaxy10's classes it says nothing of the paper.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from analysis.run.scope import ReportScope, scope_of
from analysis.trials.load import AnalysisError, choose_dataset, gather, keep_where
from analysis.trials.remote import is_uri, localised, shown
from galaxytl.system.command import Parser, path_or_uri, run_command
from galaxytl.system.foreign_text import visible

if TYPE_CHECKING:
    from analysis.report.contents import ReportFiles


def main(argv: Sequence[str] | None = None) -> int:
    return run_command(lambda: story(parse(argv)), known=(AnalysisError, OSError))


def story(arguments: argparse.Namespace) -> int:
    with localised(arguments.results, arguments.out) as (folders, out):
        scope = read(folders, arguments.dataset, arguments.where)
        files = write(scope, arguments, out)
        from analysis.report.terminal import show

        show(files)
    if is_uri(arguments.out):
        print(f"Stored at {visible(shown(arguments.out))}")
    return 0


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(prog="python -m analysis.run", description=(__doc__ or "").split("\n")[0])
    parser.add_argument(
        "results",
        nargs="+",
        type=path_or_uri,
        metavar="RESULTS",
        help="folders written by sweep.run, or URIs, like s3://...",
    )
    parser.add_argument(
        "--out", type=path_or_uri, default="report", help="folder of the report, or a URI (default: report)"
    )
    parser.add_argument("--dataset", help="name, or beginning of the fingerprint, where the folders hold several")
    parser.add_argument(
        "--where", action="append", default=[], metavar="FIELD=VALUE",
        help="keep the trials with this setting, as learning_rate=0.001; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--storage", metavar="URL",
        help="where a search's Optuna study is, if not in the results folder; no server is asked without it",
    )  # fmt: skip
    options: argparse.Namespace = parser.parse_args(argv)
    return options


def read(folders: Sequence[Path], dataset: str | None, conditions: Sequence[str]) -> ReportScope:
    trials = keep_where(choose_dataset(gather(folders), dataset), conditions)
    scope = scope_of(trials, folders)
    if scope.search and conditions:
        note = f"only trials with {' and '.join(conditions)} were compared; a search may have chosen another one"
        return replace(scope, search=replace(scope.search, problems=(*scope.search.problems, note)))
    return scope


def write(scope: ReportScope, arguments: argparse.Namespace, out: Path) -> ReportFiles:
    # matplotlib takes a second that --help and a refusal need not wait for
    from analysis.run.write import Request, write_report

    return write_report(scope, Request(out, as_typed(arguments), arguments.storage))


def as_typed(arguments: argparse.Namespace) -> str:
    """Return the command, for the report, without passwords; a study's address may hold one, and is left out."""
    words = [*map(shown, arguments.results), "--out", shown(arguments.out)]
    words += ["--dataset", arguments.dataset] if arguments.dataset else []
    words += [word for condition in arguments.where for word in ("--where", condition)]
    return " ".join(["python -m analysis.run", shlex.join(words), *(["--storage URL"] if arguments.storage else [])])


if __name__ == "__main__":
    sys.exit(main())
