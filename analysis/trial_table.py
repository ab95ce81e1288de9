"""Every trial as a row of texts: what its spec varies, what came out, and what all trials have in common, said once.

table = TrialTable.of(results, folders)
table.columns, table.rows, table.common
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from analysis.cells import paper_cell
from analysis.gather import show_value
from analysis.search import setting
from galaxytl.trial import SPEC_FIELDS, TrialResult, TrialSpec

ALWAYS: Final = ("backbone", "weights", "unfrozen_blocks", "optimizer", "learning_rate", "seed")
"""Fields with a column of their own even where all trials have the same."""
HIDDEN: Final = ("weights_requested", "weights_fingerprint")
"""`weights` says what a table must say of them; the report's provenance has the fingerprints."""
HEADINGS: Final = {"unfrozen_blocks": "trained", "batch_size": "batch", "num_epochs": "epochs"}


@dataclass(frozen=True)
class Entry:
    """A cell's text, and the number that it is sorted by where the text is not that number."""

    text: str
    order: float | None = None


@dataclass(frozen=True)
class Column:
    heading: str
    is_number: bool = False


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
    def of(cls, results: Sequence[TrialResult], folders: Mapping[str, Path]) -> TrialTable:
        shown = [name for name in SPEC_FIELDS if name not in HIDDEN]
        varied = [name for name in shown if len({setting(r.spec, name) for r in results}) > 1]
        settings = [name for name in SPEC_FIELDS if name in (*varied, *ALWAYS)]
        where = {r.trial_id: str(folders.get(r.trial_id, "")) for r in results}
        has_folders = len(set(where.values())) > 1
        columns = [Column("trial"), *([Column("folder")] if has_folders else []), Column("row of Table 1")]
        columns += [Column("status"), *(Column(_heading(name), _is_number(name)) for name in settings)]
        columns += [Column(heading, True) for heading in ("accuracy", "F1", "top class", "wall time")]
        rows = []
        for result in results:
            folder = [Entry(where[result.trial_id])] if has_folders else []
            own = [_setting(result.spec, name) for name in settings]
            lead = [Entry(result.trial_id), *folder, _row_of_table_1(result.spec), Entry(result.status)]
            rows.append(TrialRow(result, (*lead, *own, *_outcome(result))))
        common = [(name, show_value(setting(results[0].spec, name))) for name in shown if name not in settings]
        return cls(tuple(columns), tuple(rows), tuple(common))


def _heading(name: str) -> str:
    return HEADINGS.get(name, name.replace("_", " "))


def _is_number(name: str) -> bool:
    return SPEC_FIELDS[name].type in ("int", "float")


def _row_of_table_1(spec: TrialSpec) -> Entry:
    cell = paper_cell(spec)
    return Entry(f"{cell.backbone} {cell.imagenet}" if cell else "none")


def _setting(spec: TrialSpec, name: str) -> Entry:
    value = setting(spec, name)
    if name == "unfrozen_blocks":
        return _trained(spec.unfrozen_blocks)
    return Entry(f"{value:g}" if isinstance(value, float) else show_value(value))


def _trained(blocks: int | str) -> Entry:
    """
    >>> _trained(0).text, _trained(2).text, _trained("all").text
    ('head', 'head and 2 blocks', 'all')
    """
    if not isinstance(blocks, int):
        return Entry("all", 1e9)
    number = "" if blocks == 0 else " and 1 block" if blocks == 1 else f" and {blocks} blocks"
    return Entry(f"head{number}", blocks)


def _outcome(result: TrialResult) -> list[Entry]:
    scores = [_score(result, name) for name in ("accuracy", "f1_weighted", "top_predicted_share")]
    seconds = result.timings.get("total")
    return [*scores, Entry(duration(seconds), seconds)]


def _score(result: TrialResult, name: str) -> Entry:
    value = result.metrics.get(name)
    return Entry("" if value is None else "NaN" if math.isnan(value) else f"{value:.3f}")


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
