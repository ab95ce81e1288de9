"""Every trial as a row of texts: what its spec varies, what came out, and what all trials have in common, said once.

table = TrialTable.of(results, folders)
table.columns, table.rows, table.common
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from analysis.statistics.class_scores import balanced_accuracy, matthews
from analysis.trials.banner import SUBSTITUTED
from analysis.trials.load import show_value
from analysis.trials.starts import setting
from analysis.trials.table1_cells import paper_cell
from galaxytl.trial import ADDED, SPEC_FIELDS, TrialResult, TrialSpec
from galaxytl.trial.epochs import ending_text

LEADING: Final = ("backbone", "weights", "unfrozen_blocks", "optimizer", "learning_rate")
"""Fields with a column of their own even where all trials have the same, before the scores; those that vary follow."""
CURVES: Final = ("accuracy", "loss")
"""Quantities whose curves stand after the scores."""
OF_SYMMETRIES: Final = {"tta_accuracy": "accuracy (8 symmetries)", "tta_f1_weighted": "F1 (8 symmetries)"}
"""Scores, with their headings, of trials that were scored on the mean over the symmetries of an image too."""
STAND_IN: Final = "random*"
STAND_IN_NOTE: Final = f"* {SUBSTITUTED}"
HIDDEN: Final = ("weights_requested", "weights_fingerprint", "dataset_fingerprint")
"""`weights` says what a table must say of them; the report's provenance has the fingerprints."""
HEADINGS: Final = {"unfrozen_blocks": "trained", "batch_size": "batch", "num_epochs": "epochs"}


@dataclass(frozen=True)
class Entry:
    """A cell's text, and the number that it is sorted by where the text is not that number."""

    text: str
    order: float | None = None


@dataclass(frozen=True)
class Column:
    """`curve` names the quantity of a column of curves: its entries are empty, they are drawn from the row's result."""

    heading: str
    is_number: bool = False
    curve: str = ""


@dataclass(frozen=True)
class TrialRow:
    result: TrialResult
    entries: tuple[Entry, ...]

    @property
    def message(self) -> str:
        return " ".join(self.result.message.split())


@dataclass(frozen=True)
class TrialTable:
    """`rows` have an entry a column; `common` are the fields that all specs share, with their values."""

    columns: tuple[Column, ...]
    rows: tuple[TrialRow, ...]
    common: tuple[tuple[str, str], ...]

    @classmethod
    def of(
        cls,
        results: Sequence[TrialResult],
        folders: Mapping[str, Path],
        in_table: Collection[str] = (),
        place: str = "row of Table 1",
    ) -> TrialTable:
        """Return the table. `folders` and `in_table` go by trial_id: where each row lies, and which are in Table 1.
        `place` heads the column of their rows there; without it there is none."""
        shown = [name for name in SPEC_FIELDS if name not in HIDDEN]
        varied = [name for name in shown if len({setting(r.spec, name) for r in results}) > 1]
        further = [name for name in varied if name not in LEADING]
        names = _folder_names([folders.get(r.trial_id, Path()) for r in results])
        columns = [Column("trial"), *(Column(_heading(name), _is_number(name)) for name in LEADING), *_OUTCOME]
        columns += [Column(_heading(name), _is_number(name)) for name in further]
        of_symmetries = [name for name in OF_SYMMETRIES if any(name in result.metrics for result in results)]
        columns += [Column(OF_SYMMETRIES[name], True) for name in of_symmetries]
        columns += [Column("wall time", True), *([Column(place)] if place else [])]
        columns += [Column("folder")] if names else []
        rows = []
        for result in results:
            lead = [Entry(result.trial_id), *(_setting(result.spec, name) for name in LEADING), *_outcome(result)]
            own = [
                *(_setting(result.spec, name) for name in further),
                *(_score(result, name) for name in of_symmetries),
                _wall_time(result),
                *([_row_of_table_1(result, in_table)] if place else []),
            ]
            folder = [Entry(names[folders.get(result.trial_id, Path())])] if names else []
            rows.append(TrialRow(result, (*lead, *own, *folder)))
        unsaid = [*LEADING, *varied, *(name for name in ADDED if getattr(results[0].spec, name) == ADDED[name])]
        common = [(name, show_value(getattr(results[0].spec, name))) for name in shown if name not in unsaid]
        return cls(tuple(columns), tuple(rows), tuple(common))

    @property
    def notes(self) -> tuple[str, ...]:
        """What explains the marks of the entries."""
        return (STAND_IN_NOTE,) if any(row.result.spec.is_substituted for row in self.rows) else ()

    @property
    def in_common(self) -> tuple[str, ...]:
        """One sentence, or none."""
        facts = ", ".join(f"{name} {value}" for name, value in self.common if value)
        return (f"All trials have {facts}.",) if facts else ()


_OUTCOME: Final = (
    Column("accuracy", True),
    *(Column(f"{quantity} by epoch", curve=quantity) for quantity in CURVES),
    Column("F1", True),
    Column("balanced accuracy", True),
    Column("MCC", True),
    Column("top class", True),
    Column("status"),
)


def _folder_names(folders: Sequence[Path]) -> dict[Path, str]:
    """Return what tells several folders apart, their own names if these differ; nothing for a single one."""
    different = list(dict.fromkeys(folders))
    names = [folder.name for folder in different]
    if len(different) == 1:
        return {}
    own = len(set(names)) == len(names)
    return {folder: folder.name if own else str(folder) for folder in different}


def _heading(name: str) -> str:
    return HEADINGS.get(name, name.replace("_", " "))


def _is_number(name: str) -> bool:
    return SPEC_FIELDS[name].type in ("int", "float")


def _row_of_table_1(result: TrialResult, in_table: Collection[str]) -> Entry:
    cell = paper_cell(result.spec) if result.trial_id in in_table else None
    return Entry(f"{cell.backbone} {cell.imagenet}" if cell else "none")


def _setting(spec: TrialSpec, name: str) -> Entry:
    value = setting(spec, name)
    if name == "unfrozen_blocks":
        return _trained(spec.unfrozen_blocks)
    if name == "weights" and spec.is_substituted:
        return Entry(STAND_IN)
    return Entry(f"{value:g}" if isinstance(value, float) else show_value(value))


def _trained(blocks: int | str) -> Entry:
    """Return which blocks are trained.

    >>> _trained(0).text, _trained(2).text, _trained("all").text
    ('head', 'head and 2 blocks', 'all')
    """
    if not isinstance(blocks, int):
        return Entry("all", 1e9)
    number = "" if blocks == 0 else " and 1 block" if blocks == 1 else f" and {blocks} blocks"
    return Entry(f"head{number}", blocks)


def _outcome(result: TrialResult) -> list[Entry]:
    """Return the entries of _OUTCOME."""
    accuracy, f1, top = (_score(result, name) for name in ("accuracy", "f1_weighted", "top_predicted_share"))
    status = ", ".join([result.status, *([ending] if (ending := ending_text(result)) else [])])
    return [accuracy, *(Entry("") for _ in CURVES), f1, *_of_classes(result), top, Entry(status)]


def _of_classes(result: TrialResult) -> list[Entry]:
    """Return balanced accuracy and MCC, from the confusion matrix, which rows of every version have."""
    if not any(map(any, result.confusion)):
        return [Entry(""), Entry("")]
    return [Entry(f"{score(result.confusion).value:.3f}") for score in (balanced_accuracy, matthews)]


def _wall_time(result: TrialResult) -> Entry:
    seconds = result.timings.get("total")
    return Entry(duration(seconds), seconds)


def _score(result: TrialResult, name: str) -> Entry:
    value = result.metrics.get(name)
    return Entry("" if value is None else "NaN" if math.isnan(value) else f"{value:.3f}")


def duration(seconds: float | None) -> str:
    """Return a wall time for people.

    >>> duration(7.25), duration(75.5), duration(7384), duration(None)
    ('7.2 s', '1 min 16 s', '2 h 03 min', 'not recorded')
    """
    if seconds is None:
        return "not recorded"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
