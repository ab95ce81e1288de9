"""Write what a search found: search.md, search.csv (a row a trial) and best.yaml (the chosen trial, to be run again).

report = write_search(search, studies, Path("report"))
report.banner, report.sections, report.texts
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.report.best import FILE_NAME as BEST_FILE
from analysis.report.best import best_yaml, run_again
from analysis.report.table1 import escape_csv, escape_markdown
from analysis.search.choice import Search, setting
from analysis.search.sections import search_sections
from analysis.sections import Section, as_markdown
from analysis.trials.banner import Banner
from analysis.trials.load import show_value
from galaxytl.system.files import write_atomically
from galaxytl.system.foreign_text import visible
from galaxytl.trial import COMPLETE, TrialResult

if TYPE_CHECKING:
    from analysis.search.study import Study


@dataclass(frozen=True)
class SearchReport:
    """What was written, and what the terminal shows of it."""

    banner: Banner
    sections: tuple[Section, ...]
    texts: tuple[Path, ...]
    command: str
    """That runs the chosen trial again; empty where none was chosen."""


def write_search(search: Search, studies: Sequence[Study], folder: Path) -> SearchReport:
    """Write the files into `folder`, which is made if need be; those of an earlier report are replaced."""
    folder.mkdir(parents=True, exist_ok=True)
    banner = Banner.of_search(search.results)
    sections = tuple(search_sections(search, studies))
    grid_file = folder / BEST_FILE
    texts = {"search.csv": search_csv(search, banner)}
    command = ""
    if search.best:
        texts[BEST_FILE] = best_yaml(search, search.best, banner)
        command = run_again(grid_file)
    else:
        grid_file.unlink(missing_ok=True)  # an earlier search's choice must not be taken for this one's
    texts["search.md"] = search_markdown(search, banner, sections, command)
    for name, text in texts.items():
        write_atomically(folder / name, text.encode())
    return SearchReport(banner, sections, tuple(folder / name for name in reversed(texts)), command)


def search_markdown(search: Search, banner: Banner, sections: Sequence[Section], command: str) -> str:
    lines = ["# A search and its choice", ""]
    if banner.warning:
        lines += [f"> **{escape_markdown(banner.warning)}**", ">"]
    lines += [f"> {escape_markdown(banner.run_on)}", "", as_markdown(sections)]
    if command:
        lines += ["## The best trial again", "", f"```\n{visible(command)}\n```", ""]
    lines += ["## Left out, and why", ""]
    lines += [f"- {escape_markdown(problem)}" for problem in search.problems] or ["Nothing was left out."]
    return "\n".join(lines) + "\n"


def search_csv(search: Search, banner: Banner) -> str:
    """A row a trial, the ranking first. The banner is two columns, so that no row can lose it."""
    file = io.StringIO()
    ranks = {r.trial_id: rank for rank, r in enumerate(search.ranking, start=1)}
    others = [r for r in search.results if r.trial_id not in ranks]
    records = [dict(_record(r, search, ranks, banner)) for r in (*search.ranking, *others)]
    writer = csv.DictWriter(file, list(records[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: escape_csv(value) for name, value in record.items()} for record in records)
    return file.getvalue()


def _record(result: TrialResult, search: Search, ranks: dict[str, int], banner: Banner) -> Iterator[tuple[str, Any]]:
    """Scores of the validation part after the last epoch, so that those of a PRUNED trial are of an earlier one."""
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
