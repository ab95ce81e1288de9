"""Gather the trials of several results folders, and choose among them without ever mixing datasets.

trials = gather([Path("results/paper")])         # an error where two folders contradict each other
trials = choose_dataset(trials, None)            # an error when there are several
trials = keep_where(trials, ["learning_rate=0.001"])
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from analysis.trials.copies import ContradictionError, Copy, choose_copy
from galaxytl.results.rows import FILE_NAME, Rows, read_results, rows_files
from galaxytl.results.sweep_file import read_shards, unfinished_text
from galaxytl.system.inside import check_links
from galaxytl.trial import COMPLETE, SPEC_FIELDS, SpecError, TrialResult, parse_field


class AnalysisError(ValueError):
    """The results cannot be analysed as asked; the message says why and what to do."""


@dataclass(frozen=True)
class Trials:
    """Readable trials, one a trial_id, and a sentence for everything that was left out."""

    results: tuple[TrialResult, ...]
    problems: tuple[str, ...] = ()
    folders: Mapping[str, Path] = field(default_factory=dict)
    """trial_id -> the results folder of its row: its other files lie there."""
    replaced: tuple[TrialResult, ...] = ()
    """Earlier rows of these trials in one folder, that ended as they did."""


def gather(folders: Sequence[Path]) -> Trials:
    """Read the folders: the trials `in_order`, whatever the order of folders and rows.

    Raises AnalysisError for a folder that holds no readable trial and for a trial whose rows contradict each other,
    OutsideError for a folder with links."""
    copies: dict[str, list[Copy]] = {}
    problems: list[str] = []
    for folder in sorted(dict.fromkeys(folders)):
        rows = _read_folder(folder)
        problems += rows.problems
        for result in (*rows.results, *rows.replaced):
            copies.setdefault(result.trial_id, []).append(Copy(folder, result))
    chosen = {trial_id: _chosen(own) for trial_id, own in copies.items()}
    results = in_order(copy.result for copy in chosen.values())
    in_several = [r.trial_id for r in results if len({copy.folder for copy in copies[r.trial_id]}) > 1]
    problems += [_which(chosen[trial_id], copies[trial_id]) for trial_id in in_several]
    return Trials(results, tuple(problems), {r.trial_id: chosen[r.trial_id].folder for r in results})


def in_order(results: Iterable[TrialResult]) -> tuple[TrialResult, ...]:
    """Return them by what was asked for, field by field as a spec has them, the seed last but one: equal for the same
    trials, whoever finished first."""
    return tuple(sorted(results, key=_place))


def _place(result: TrialResult) -> list[tuple[bool, Any]]:
    """Return a key in which numbers go before words, which `unfrozen_blocks` has both."""
    values = (getattr(result.spec, name) for name in SPEC_FIELDS)
    return [(isinstance(value, str), value) for value in values]


def _read_folder(folder: Path) -> Trials:
    if not folder.is_dir():
        raise AnalysisError(f"a results folder must exist; got '{folder}'. Pass the folder given to the sweep's --out")
    check_links(folder)
    if not rows_files(folder):
        hint = _nearby(folder)
        raise AnalysisError(f"a results folder must hold {FILE_NAME}; '{folder}' holds none.{hint}")
    try:
        rows = read_results(folder)
    except OSError as error:
        raise AnalysisError(f"a results folder must be readable; '{folder / FILE_NAME}' is not: {error}") from error
    results = tuple(r for r in rows.results if r.status != COMPLETE or r.is_scored)
    unscored = _unscored(folder / FILE_NAME, len(rows.results) - len(results))
    if not results:
        why = "".join(f" {problem}." for problem in (*rows.problems[:1], *unscored))
        how = "" if rows.num_newer else " Run the sweep again: it trains what has no row"
        rule = f"a results folder must hold a readable trial; '{folder / FILE_NAME}' holds none"
        raise AnalysisError(f"{rule}.{why}{how}")
    replaced = tuple(r for r in rows.replaced if r.status != COMPLETE or r.is_scored)
    return Trials(results, (*rows.problems, *unscored, *_unfinished(folder, rows)), replaced=replaced)


def _unfinished(folder: Path, rows: Rows) -> list[str]:
    """Return what shards of the folder's sweep have not trained yet."""
    shards = read_shards(folder)
    text = unfinished_text(shards, rows.by_id().keys())
    return [f"{folder}: of its grid {len(shards):,} shards have begun; {text}"] if text else []


def _unscored(path: Path, number: int) -> list[str]:
    rule = "a COMPLETE trial must have an accuracy from 0 to 1 and a loss"
    return [f"{path}: {rule}; {count_of_trials(number)} without them left out"] if number else []


def _nearby(folder: Path) -> str:
    inside = sorted(path.parent for path in folder.glob(f"*/{FILE_NAME}"))
    return f" Did you mean '{inside[0]}'?" if inside else " Pass the folder that a sweep has written"


def _chosen(copies: Sequence[Copy]) -> Copy:
    try:
        return choose_copy(copies)
    except ContradictionError as error:
        raise AnalysisError(str(error)) from error


def _which(chosen: Copy, copies: Sequence[Copy]) -> str:
    """Return which of a trial's copies counts, for the reader."""
    found = ", ".join(f"{copy.result.status} in '{copy.folder}'" for copy in copies)
    return f"trial {chosen.result.trial_id} is in several folders, {found}: that of '{chosen.folder}' is used"


def choose_dataset(trials: Trials, wanted: str | None) -> Trials:
    """Keep the trials of one dataset, by its name or the beginning of its fingerprint.

    Raises AnalysisError when none fits, or when more than one does: numbers of two datasets are never averaged,
    nor set side by side in one table.
    """
    present = Counter((r.spec.dataset, r.spec.dataset_fingerprint) for r in trials.results)
    kept = [key for key in present if wanted is None or key[0] == wanted or key[1].startswith(wanted)]
    listing = "; ".join(f"{name} {mark[:12]} ({count_of_trials(count)})" for (name, mark), count in present.items())
    if not kept:
        raise AnalysisError(f"--dataset must name a dataset of these results: {listing}; got '{wanted}'")
    if len(kept) > 1:
        received = f"'{wanted}' fits {len(kept)} of" if wanted is not None else "these results hold"
        raise AnalysisError(
            f"a report is about one dataset; {received} {listing}. Choose with --dataset NAME, or with"
            " --dataset and the beginning of a fingerprint"
        )
    chosen = tuple(r for r in trials.results if (r.spec.dataset, r.spec.dataset_fingerprint) == kept[0])
    return replace(trials, results=chosen)


def keep_where(trials: Trials, conditions: Sequence[str]) -> Trials:
    """Keep the trials that meet every "field=value". Raises AnalysisError when none does.

    A condition on `weights_fingerprint` takes the beginning of one, and is asked only of trials of the backbones
    that have it: each backbone has a weights file of its own, and trials from scratch have none.
    """
    results = trials.results
    for condition in conditions:
        name, value = _parse_condition(condition)
        kept = _keep(results, name, value)
        if not kept:
            present = " or ".join(sorted({show_value(getattr(r.spec, name)) for r in results}))
            raise AnalysisError(f"--where {condition} fits none of the trials; they have {name}={present}")
        results = kept
    return replace(trials, results=results)


def _parse_condition(condition: str) -> tuple[str, Any]:
    name, equals, text = condition.partition("=")
    if not equals or not text:
        raise AnalysisError(f"--where takes field=value, as in learning_rate=0.001; got '{condition}'")
    try:
        return name.strip(), parse_field(name.strip(), text.strip())
    except SpecError as error:
        raise AnalysisError(f"--where {condition}: {error}") from error


def _keep(results: Iterable[TrialResult], name: str, value: Any) -> tuple[TrialResult, ...]:
    results = tuple(results)
    if name != "weights_fingerprint":
        return tuple(r for r in results if getattr(r.spec, name) == value)
    own = {r.spec.backbone for r in results if r.spec.weights_fingerprint.startswith(value)}

    def fits(result: TrialResult) -> bool:
        mark = result.spec.weights_fingerprint
        return result.spec.backbone not in own or not mark or mark.startswith(value)

    return tuple(r for r in results if own and fits(r))


def mixed(results: Iterable[TrialResult], names: Sequence[str]) -> dict[str, Counter[str]]:
    """Return those of the spec's fields `names` in which the trials differ: field -> how many trials have each
    value."""
    specs = [result.spec for result in results]
    values = {name: Counter(show_value(getattr(spec, name)) for spec in specs) for name in names}
    return {name: counts for name, counts in values.items() if len(counts) > 1}


def differences(values: Mapping[str, Counter[str]]) -> tuple[str, str]:
    """Return what `mixed` found, for an error's message: the values, field by field, and the --where of the commonest
    ones."""
    listing = "; ".join(f"{name}: {counts_text(counts)}" for name, counts in values.items())
    choice = " ".join(f"--where {name}={counts.most_common(1)[0][0]}" for name, counts in values.items())
    return listing, choice


def counts_text(counts: Counter[Any]) -> str:
    """Return values with their numbers of trials.

    >>> counts_text(Counter({"adam": 2, "sgd": 1}))
    'adam (2 trials), sgd (1 trial)'
    """
    return ", ".join(f"{value} ({count_of_trials(count)})" for value, count in counts.items())


def count_of(number: int, noun: str) -> str:
    """Return a number of things.

    >>> count_of(1, "seed"), count_of(3, "seed")
    ('1 seed', '3 seeds')
    """
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def count_of_trials(number: int) -> str:
    return count_of(number, "trial")


def show_value(value: Any) -> str:
    """Return a field's value as `--where` takes it.

    >>> show_value(1e-4), show_value("adam"), show_value(True)
    ('0.0001', 'adam', 'true')
    """
    return value if isinstance(value, str) else json.dumps(value)
