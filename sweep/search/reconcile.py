"""Where a study and the rows of its results folder do not agree: found before a search goes on, set right, or refused.

    lines = agree(study, problem, rows, folder)      # what there is to say of it; raises StudyError
    search.resume(rows)

A driver that was killed leaves a study that is a moment behind its rows; `Search.resume` makes up for that. This is
about the rest: a study or trials.jsonl from a backup, deleted lines, a power failure. The rows are the truth:

- A trial that has ended in the study and has no row is trained again, as a new trial of the study with the same
  parameters: what has ended, Optuna does not let go on. The later one counts (`sweep.search.trials.latest`).
- A row of a trial that the study does not know is told (`Search.add_known`).
- A trial that has ended otherwise than its row says is refused: one of the two is of another search.

A study is copied before anything of that kind is added to it.
"""

from __future__ import annotations

import itertools
import math
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import optuna
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from galaxytl.results.rows import FILE_NAME
from galaxytl.system.strict_json import JsonError, read_json
from galaxytl.trial import TrialResult
from sweep.search.study import JournalLock, StudyError, journal_path, open_storage, sqlite_url
from sweep.search.trials import Problem, latest


def agree(study: optuna.Study, problem: Problem, rows: Mapping[str, TrialResult], folder: Path) -> list[str]:
    """Make the study agree with the rows (by trial_id) of `folder`, but for what `Search` tells it anyway; a line for
    each thing that was found. Raises StudyError where it cannot be."""
    trials = latest(study.get_trials(deepcopy=False))
    ended = {t.user_attrs["trial_id"]: t for t in trials if t.state.is_finished() and "trial_id" in t.user_attrs}
    both = {trial_id: (ended[trial_id], rows[trial_id]) for trial_id in ended.keys() & rows.keys()}
    _refuse_contradictions(study, problem, both)
    lost = [t for trial_id, t in ended.items() if trial_id not in rows and _is_own(t, problem)]
    if lost and not rows:
        raise StudyError(
            f"a study goes on in its results folder; {len(lost)} trials of '{study.study_name}' have ended, and "
            f"{folder / FILE_NAME} has a row of none. Go on in the folder that has them, or choose another --study"
        )
    asked = {trial.user_attrs.get("trial_id") for trial in trials}
    unknown = [row for trial_id, row in rows.items() if trial_id not in asked]
    untold = [row for row in unknown if problem.traced(row.spec)]
    lines = []
    if outside := len(unknown) - len(untold):
        lines.append(
            f"note: {outside} rows are of trials that this search's space does not have: the study is not told"
        )
    if trials and (lost or untold):
        lines.append(f"note: the study and the rows disagree; a copy of the study as it was: {_copied(study, folder)}")
    if lost:
        lines.append(f"note: {len(lost)} trials have ended in the study, but have no row: trained again")
    for trial in lost:
        study.add_trial(_anew(trial))
    return lines


def _is_own(trial: FrozenTrial, problem: Problem) -> bool:
    """Whether it was asked for by this search and could be trained now: the same trial as then."""
    facts = trial.user_attrs
    spec = None if "known_before" in facts else problem.built(facts["fields"])
    return spec is not None and spec.trial_id == facts["trial_id"]


def _anew(trial: FrozenTrial) -> FrozenTrial:
    facts = {name: trial.user_attrs[name] for name in ("fields", "trial_id")}
    return optuna.trial.create_trial(
        state=TrialState.RUNNING, params=trial.params, distributions=trial.distributions, user_attrs=facts
    )


def _refuse_contradictions(
    study: optuna.Study, problem: Problem, pairs: Mapping[str, tuple[FrozenTrial, TrialResult]]
) -> None:
    """Raises StudyError when a trial has ended otherwise than its row says."""
    wrong = []
    for trial_id, (trial, row) in pairs.items():
        state, values, _ = problem.ending(row)
        known = trial.values if trial.state == TrialState.COMPLETE else None  # a pruned one's is its last epoch's
        if trial.state != state or not _are_close(known or (), values or ()):
            wrong.append((trial_id, _text(trial.state, known), _text(state, values)))
    if wrong:
        trial_id, of_study, of_row = wrong[0]
        raise StudyError(
            f"a study must say of a trial what its row says; in '{study.study_name}' {len(wrong)} trials ended "
            f"otherwise, as {trial_id}: {of_study}, its row {of_row}. The study or {FILE_NAME} is another search's, or "
            "was changed. Put the right one back, or choose another --study, which is told all rows"
        )


def _are_close(values: Sequence[float], others: Sequence[float]) -> bool:
    return len(values) == len(others) and all(map(math.isclose, values, others))


def _text(state: TrialState, values: Sequence[float] | None) -> str:
    return f"{state.name} {', '.join(f'{value:.6g}' for value in values or ())}".strip()


def _copied(study: optuna.Study, folder: Path) -> Path:
    """A database beside the rows, whatever storage the study is in; it can be named with --storage."""
    name = time.strftime("study-%Y%m%d-%H%M%S")
    names = itertools.chain([name], (f"{name}-{number}" for number in itertools.count(2)))
    path = next(path for path in (folder / f"{name}.db" for name in names) if not path.exists())
    storage = open_storage(sqlite_url(path.resolve()))
    optuna.copy_study(from_study_name=study.study_name, from_storage=study._storage, to_storage=storage)
    if isinstance(storage, RDBStorage):
        storage.remove_session()
        storage.engine.dispose()
    return path


def mend_journal(url: str) -> str:
    """Cut off what a driver that died while it wrote, or a power cut, left at a journal's end; what was done, if so.

    Optuna reads over a last line that is none, but appends to it: the study could not be opened another time.
    """
    path = journal_path(url)
    if path is None or not path.is_file():
        return ""
    lock = JournalLock(str(path))
    lock.acquire()  # nobody writes now
    try:
        content = path.read_bytes()
        whole = _end_of_logs(content)
        if whole == len(content) or not _is_log(content.partition(b"\n")[0]):  # not a journal
            return ""
        copy = path.with_name(f"{path.name}-{time.strftime('%Y%m%d-%H%M%S')}")
        copy.write_bytes(content)
        os.truncate(path, whole)
    finally:
        lock.release()
    cut = f"{len(content) - whole:,} bytes"
    return f"note: the end of {path}, {cut}, was half-written or damaged and was cut off; the file as it was: {copy}"


def _end_of_logs(content: bytes) -> int:
    """Where the last line ends that is one of a journal."""
    end = content.rfind(b"\n") + 1
    while end and not _is_log(content[(start := content.rfind(b"\n", 0, end - 1) + 1) : end]):
        end = start
    return end


def _is_log(line: bytes) -> bool:
    try:
        values = read_json(line)
    except JsonError:
        return False
    return isinstance(values, dict) and {"op_code", "worker_id"} <= values.keys()
