"""Write the report: Table 1 in four formats, the figures, and `report.md`, which holds them together.

report = write_report(grid, Path("report"))
report.files       # every file written, in the order of the report
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from analysis.banner import Banner
from analysis.cells import PaperGrid, paper_cell
from analysis.figures import Drawn, write_figures
from analysis.paper import CONFUSION_SHEET, CURVES_SHEET
from analysis.tables import Table1, as_csv, as_latex, as_markdown, as_text, escape_markdown
from galaxytl.trial import TrialResult

FIGURES = "figures"  # folder of the pictures inside the report's folder


@dataclass(frozen=True)
class Report:
    """What was written. `texts` are report.md and the tables; `drawn` says which figures could not be."""

    table: Table1
    texts: tuple[Path, ...]
    drawn: Drawn

    @property
    def files(self) -> tuple[Path, ...]:
        return (*self.texts, *(path for pair in self.drawn.written.values() for path in pair))


def write_report(grid: PaperGrid, folder: Path) -> Report:
    """Write everything into `folder`, which is made if need be; files of an earlier report are written over."""
    (folder / FIGURES).mkdir(parents=True, exist_ok=True)
    table = Table1.of(grid)
    drawn = write_figures(grid, table.banner, folder / FIGURES)
    texts = {
        "report.md": report_markdown(grid, table, drawn),
        "table1.txt": as_text(table),
        "table1.md": as_markdown(table),
        "table1.csv": as_csv(table),
        "table1.tex": as_latex(table),
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    return Report(table, tuple(folder / name for name in texts), drawn)


def report_markdown(grid: PaperGrid, table: Table1, drawn: Drawn) -> str:
    sections = [
        "# The paper's grid, run again\n",
        as_markdown(table),
        *_figures(drawn),
        _trials(grid, table.banner),
        _listed("Left out, and why", grid.problems, "Nothing was left out."),
    ]
    return "\n".join(sections)


def _figures(drawn: Drawn) -> Iterator[str]:
    sheets = [stem for stem in drawn.written if stem in (CURVES_SHEET, CONFUSION_SHEET) or "metrics" in stem]
    yield "## Figures\n"
    yield from (_embedded(stem, drawn) for stem in sheets)
    yield "## Figure by figure\n"
    yield from (_embedded(stem, drawn) for stem in drawn.written if stem not in sheets)
    if drawn.not_drawn:
        lines = [f"{drawn.captions[stem]} {why}" for stem, why in drawn.not_drawn.items()]
        yield _listed("Figures that could not be drawn", lines, "")


def _embedded(stem: str, drawn: Drawn) -> str:
    png, svg = (f"{FIGURES}/{path.name}" for path in drawn.written[stem])
    caption = drawn.captions[stem]
    return f"![{caption}]({png})\n\n{caption} ([SVG]({svg}))\n"


def _trials(grid: PaperGrid, banner: Banner) -> str:
    headings = ["trial", "row of Table 1", "status", "backbone", "weights", "trained", "optimizer", "learning rate"]
    headings += ["batch", "epochs", "seed", "wall time", "device", "message"]
    lines = ["## Trials\n", f"{escape_markdown(banner.warning)}\n"] if banner.warning else ["## Trials\n"]
    lines += ["| " + " | ".join(headings) + " |", "|" + " --- |" * len(headings)]
    for result in (*grid.results, *grid.outside):
        lines.append("| " + " | ".join(escape_markdown(text) for text in _trial(result)) + " |")
    return "\n".join(lines) + "\n"


def _trial(result: TrialResult) -> list[str]:
    spec, cell = result.spec, paper_cell(result.spec)
    row = f"{cell.backbone} {cell.imagenet}" if cell else "none"
    trained = "head" if spec.unfrozen_blocks == 0 else f"head and {spec.unfrozen_blocks} blocks"
    settings = [spec.backbone, spec.weights_label, trained, spec.optimizer, f"{spec.learning_rate:g}"]
    numbers = [str(spec.batch_size), str(spec.num_epochs), str(spec.seed), duration(result.timings.get("total"))]
    device = result.environment.get("device", "not recorded")
    return [result.trial_id, row, result.status, *settings, *numbers, device, " ".join(result.message.split())]


def duration(seconds: float | None) -> str:
    """Wall time for people.

    >>> duration(7.25), duration(75.5), duration(7384), duration(None)
    ('7.2 s', '1 min 16 s', '2 h 03 min', 'not recorded')
    """
    if seconds is None:
        return "not recorded"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def _listed(heading: str, lines: tuple[str, ...] | list[str], empty: str) -> str:
    items = "\n".join(f"- {escape_markdown(line)}" for line in lines)
    return f"## {heading}\n\n{items or empty}\n"
