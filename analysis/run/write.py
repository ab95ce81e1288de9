"""Write a report: figures first, as everything embeds them, then its contents as files.

files = write_report(scope, request)
files.contents, files.page, files.texts
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from analysis.claims import claims_file
from analysis.figures.catalogue import plan_figures
from analysis.figures.plans import Material, write_figures
from analysis.report import rerun, table1
from analysis.report.answer import Command
from analysis.report.contents import Contents, FigureFiles, ReportFiles
from analysis.report.formats import csv_text
from analysis.report.markdown import FIGURES, TABLES, report_markdown
from analysis.report.page import page_html
from analysis.report.table_files import begins_with, write_tables
from analysis.run.contents import contents_of
from analysis.run.parts import Sources, report_parts
from analysis.run.scope import ReportScope
from analysis.scores import class_files, wrong_images
from analysis.search.choice import Search
from analysis.trials.banner import Banner
from analysis.trials.load import AnalysisError, Trials, show_value
from analysis.trials.repeats import read_networks
from analysis.trials.starts import setting
from galaxytl.system.files import write_atomically
from galaxytl.system.foreign_text import visible
from galaxytl.system.inside import inside
from galaxytl.trial import COMPLETE, TrialResult

if TYPE_CHECKING:  # study.py imports Optuna: a second that only a report of a search needs
    from analysis.search.study import Study

PAGE: Final = "index.html"
AGAIN: Final = "again"
"""Folder of the grid files that run the trials again."""
BEST: Final = "best.yaml"
"""Grid of a search's choice."""
EARLIER: Final = {
    claims_file.NAME: claims_file.MARK,
    class_files.NAME: class_files.SCORES_MARK,
    wrong_images.NAME: wrong_images.MARK,
    "search.md": "# A search and its choice\n",  # of earlier versions: report.md has it all
}
"""Files that an earlier report may have left and this one lacks, and how they begin: a user's own stay."""


@dataclass(frozen=True)
class Request:
    """What the user asked for: `command` as it was typed, `storage` is where a search's study is now."""

    out: Path
    command: str = ""
    storage: str | None = None


def write_report(scope: ReportScope, request: Request) -> ReportFiles:
    """Write everything into the request's folder, which is made if need be; files of an earlier report are replaced.

    A link is replaced, never followed. Raises AnalysisError where the folder cannot be written, or one in it is a link.
    """
    out, trials, grid = request.out, scope.trials, scope.grid
    studies = _studies(scope, request.storage)
    with _writing_into(out):
        out.mkdir(parents=True, exist_ok=True)
        for name in (AGAIN, FIGURES, TABLES, class_files.FOLDER):
            inside(out, name)
        grids = rerun.write_grids(trials, out / AGAIN)
        networks = read_networks(trials, grid.results if grid else ())
        figures = _draw(Material(trials.results, trials.folders, networks, studies, grid), out / FIGURES)
        parts = report_parts(Sources(scope, networks, studies, grids))
        best = scope.search.best if scope.search else None
        best_command = (
            rerun.command(out / BEST, *rerun.division([best.spec]), *rerun.given_features([best.spec])) if best else ""
        )
        commands = [*_again(grids, trials), *_commands(best_command, request.command)]
        contents = contents_of(scope, parts, figures, commands)
        texts = _write_texts({**_texts(contents), **(_search_texts(scope.search) if scope.search else {})}, out)
        if scope.search and not best_command:  # an earlier search's choice must not be taken for this one's
            (out / BEST).unlink(missing_ok=True)
        tables = write_tables(contents.sections, contents.banner, out / TABLES)
        page = out / PAGE
        write_atomically(page, page_html(contents).encode())
        return ReportFiles(contents, page, texts, tables, tuple(grids.values()), best_command)


def _studies(scope: ReportScope, storage: str | None) -> list[Study]:
    if not scope.search:
        return []
    from analysis.search.study import read_study

    return [read_study(folder, storage) for folder in scope.search.source_folders]


@contextmanager
def _writing_into(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise AnalysisError(
            f"--out must be a folder that can be written; got '{folder}': {error.strerror or error}. Choose another one"
        ) from error


def _draw(material: Material, folder: Path) -> FigureFiles:
    folder.mkdir(exist_ok=True)
    return write_figures(plan_figures(material), folder)


def _again(grids: Mapping[Path, Path], trials: Trials) -> Iterator[Command]:
    """Yield a command a grid file. `grids`: results folder -> the file."""
    for source, path in grids.items():
        own = [r for r in trials.results if trials.folders.get(r.trial_id) == source]
        what = f"The trials of {path.stem}, where {rerun.what_data_is(own)}"
        specs = [r.spec for r in own]
        yield Command(what, rerun.command(path, *rerun.division(specs), *rerun.given_features(specs)))


def _commands(best_command: str, own_command: str) -> list[Command]:
    commands = []
    if best_command:
        commands.append(Command("The search's best trial, on the test part", best_command))
    if own_command:
        commands.append(Command("This report", own_command))
    return commands


def _write_texts(texts: Mapping[str, str], out: Path) -> tuple[Path, ...]:
    for name, mark in EARLIER.items():
        if name not in texts and begins_with(out / name, mark):
            (out / name).unlink()
    for path in (out / class_files.FOLDER).glob("*.csv"):
        if not path.is_symlink() and begins_with(path, class_files.MARK):
            path.unlink()
    for name, text in texts.items():
        (out / name).parent.mkdir(exist_ok=True)
        write_atomically(out / name, text.encode())
    return tuple(out / name for name in texts)


def _texts(contents: Contents) -> dict[str, str]:
    """Return the files beside the page, by name."""
    texts = {"report.md": report_markdown(contents)}
    if contents.table:
        table, stem = contents.table, "table1" if contents.subject.is_of_paper else "scores"
        texts |= {f"{stem}.txt": table1.as_text(table), f"{stem}.md": table1.as_markdown(table)}
        texts |= {f"{stem}.csv": csv_text(table1.as_frame(table)), f"{stem}.tex": table1.as_latex(table)}
    return texts | {name: text for part in contents.parts for name, text in part.files.items()}


def _search_texts(search: Search) -> dict[str, str]:
    """Return the files of a search: its choice, to be run again, and a row a trial."""
    banner = Banner.of_search(search.results)
    best = {BEST: rerun.best_yaml(search.best, len(search.ranking), banner)} if search.best else {}
    return {**best, "search.csv": search_csv(search, banner)}


def search_csv(search: Search, banner: Banner) -> str:
    """Return a row a trial, the ranking first. The banner is two columns, so that no row can lose it."""
    import pandas as pd  # half a second that a refusal need not wait for

    ranks = {r.trial_id: rank for rank, r in enumerate(search.ranking, start=1)}
    others = [r for r in search.results if r.trial_id not in ranks]
    results = (*search.ranking, *others)
    records = [{name: visible(str(v)) for name, v in _record(r, search, ranks, banner)} for r in results]
    return csv_text(pd.DataFrame(records))


def _record(result: TrialResult, search: Search, ranks: dict[str, int], banner: Banner) -> Iterator[tuple[str, Any]]:
    """Yield the columns of a row: scores of the validation part after the last epoch, so that those of a PRUNED trial
    are of an earlier one."""
    last = result.history[-1] if result.history else {}
    is_complete = result.status == COMPLETE
    yield from (("rank", ranks.get(result.trial_id, "")), ("trial_id", result.trial_id), ("status", result.status))
    yield "reason", " ".join(result.message.split())
    for name in search.varied:
        yield name, show_value(setting(result.spec, name))
    yield "epochs_done", int(last.get("epoch", 0))
    yield "validation_accuracy", result.metrics["accuracy"] if is_complete else last.get("val_accuracy", "")
    yield "validation_loss", result.metrics["loss"] if is_complete else last.get("val_loss", "")
    yield from (("warning", banner.warning), ("run_on", banner.run_on))
