"""What the Optuna study of a search knows beyond the rows: its course, which parameters mattered, the Pareto front.

    reading = read_study(Path("results/search"))
    reading.trials                   # how each ended, and its values
    reading.importances[0].rows      # of all completed trials; then case by case
    reading.note                     # why there is nothing, if so: a study that cannot be read is no error

The only file of the analysis that imports Optuna. The study is made in memory, from what was asked and the rows, or
read from the database in which earlier versions kept it; nothing is written.

Two of Optuna's measures stand side by side. fANOVA (Hutter, Hoos and Leyton-Brown 2014, ICML): the share of the
variance of the objective, over the space, that a parameter explains by itself; for parameters that all trials have.
PED-ANOVA (Watanabe, Bansal and Hutter 2023, IJCAI, arXiv:2304.10255; for conditional parameters arXiv:2601.20800): how
differently the best trials choose a parameter. Both are estimates from the trials that the sampler happened to choose.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import optuna
import sqlalchemy
from optuna.importance import BaseImportanceEvaluator, FanovaImportanceEvaluator, PedAnovaImportanceEvaluator
from optuna.storages import JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from analysis.trials.endings import common_reasons
from galaxytl.results.rows import read_results
from galaxytl.results.search.asked_file import FILE_NAME as ASKED
from galaxytl.results.search.asked_file import Ending, Suggestion, ending_of, is_asked, read_asked
from galaxytl.results.search.search_file import SearchFile, SearchFileError, read_search_file
from galaxytl.results.search.study_file import num_rows, reader_of
from galaxytl.system.credentials import MASK, remember, without_secrets
from galaxytl.system.foreign_text import visible
from galaxytl.system.inside import OutsideError, check_journal, inside
from galaxytl.trial import COMPLETE, FAILED, PRUNED, TrialResult

TOP: Final = 5
"""Trials that PED-ANOVA takes for the best at the least, as its documentation asks."""
TOP_SHARE: Final = 0.1
"""Of the trials that PED-ANOVA takes for the best: Optuna's default."""
MIN_TRIALS: Final = 20
"""Of the same parameters, for importances to be given: the TOP are a quarter of them then."""
ROUNDING: Final = 1e-9
"""Importances before they are made to sum to 1 are of the order of 1; less than this in all is none."""
STATUSES: Final = {TrialState.COMPLETE: COMPLETE, TrialState.PRUNED: PRUNED, TrialState.FAIL: FAILED}
"""Of a trial that has ended -> that of its row."""
MOST_ENTRIES: Final = 200_000
"""Of a study that a results folder holds: rows of all tables, or lines of a journal."""
JOURNAL: Final = "journal:///"


class StudyError(ValueError):
    """The study cannot be read; the message says why."""


@dataclass(frozen=True)
class Importance:
    """Of one parameter. The measures of all parameters of a table sum to 1; None where there is none."""

    parameter: str
    num_trials: int
    """That have the parameter: a conditional one occurs in some only."""
    fanova: float | None
    ped_anova: float | None


@dataclass(frozen=True)
class Importances:
    """Of the parameters of some completed trials, the most important first."""

    case: str
    """What the trials have in common, as "sgd" of learning_rate@sgd; empty: all trials."""
    num_trials: int
    rows: tuple[Importance, ...] = ()
    note: str = ""
    """Why there are none."""


@dataclass(frozen=True)
class FrontTrial:
    """A trial that no other beats in one objective without losing in another."""

    trial_id: str
    values: tuple[float, ...]


@dataclass(frozen=True)
class StudyTrial:
    """One that has ended, as the study remembers it."""

    number: int
    """Of the study, from 0."""
    status: str
    trial_id: str
    """Empty for a suggestion that was no trial."""
    values: tuple[float, ...] = ()
    """Of the objectives; a COMPLETE trial's only."""
    stopped_at: float | None = None
    """The last value that a PRUNED trial reported."""
    known_before: bool = False
    """Told to the study, of an earlier sweep."""


@dataclass(frozen=True)
class Study:
    """What could be read."""

    folder: Path
    settings: SearchFile | None
    importances: tuple[Importances, ...] = ()
    """Of all trials, then of each case."""
    front: tuple[FrontTrial, ...] = ()
    """By the first objective, the best first; empty with one objective."""
    refused: tuple[tuple[str, int], ...] = ()
    """Suggestions that were no trial, and so have no row: reasons and how many."""
    note: str = ""
    """Why nothing could be read."""
    trials: tuple[StudyTrial, ...] = ()
    """Those that have ended, by number."""


@contextmanager
def _quiet() -> Iterator[None]:
    """Run the block without Optuna's log, and without the warnings whose subject every table here states itself."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            warnings.filterwarnings("ignore", "Some regimes for parameter")  # how many trials have a parameter
            warnings.filterwarnings("ignore", "Target and region quantiles")  # that a measure cannot tell
            yield
    finally:
        optuna.logging.set_verbosity(verbosity)


@_quiet()
def read_study(folder: Path, storage: str | None = None) -> Study:
    """Read the study that `folder`/search.json names, from `folder` alone: others may have written that file.
    From elsewhere, a server as well, where the user says so: `storage` is a URL."""
    try:
        settings = read_search_file(folder)
    except SearchFileError as error:
        return Study(folder, None, note=str(error))
    try:
        if is_asked(folder) and not storage:
            study, trials = _remade(folder, settings)
        else:
            study, trials = _copy(settings.study, storage or settings.storage, None if storage else folder)
    except StudyError as error:
        return Study(folder, settings, note=str(error))
    importances, front, refused = importances_of(study), front_of(study), _refused(study)
    return Study(folder, settings, importances, front, refused, trials=trials)


def _remade(folder: Path, settings: SearchFile) -> tuple[optuna.Study, tuple[StudyTrial, ...]]:
    """Make the study as `_copy` does, from what was asked and the rows. Raises StudyError."""
    path, names = folder / ASKED, [objective.name for objective in settings.objectives]
    try:
        inside(folder, ASKED)
        asked = read_asked(folder).suggestions
        _check_number(len(asked), path)
        rows = {row.trial_id: row for row in read_results(folder).results if row.spec.scored_on == "validation"}
        study = optuna.create_study(
            directions=[optuna.study.StudyDirection[objective.direction.upper()] for objective in settings.objectives]
        )
        ended = [
            (number, _frozen(one, ending))
            for number, one in enumerate(asked)
            if (ending := _ending(one, rows.get(one.trial_id), names))
        ]
        study.add_trials(trial for _, trial in ended)
    except StudyError:
        raise
    except Exception as error:  # as below
        raise StudyError(f"{path} cannot be read: {_reason(error)}") from error
    return study, tuple(_study_trial(trial, number) for number, trial in ended)


def _ending(suggestion: Suggestion, row: TrialResult | None, objectives: Sequence[str]) -> Ending | None:
    """Return how a trial has ended; None where it has not."""
    if suggestion.known:
        return suggestion.known
    if row:
        return ending_of(row, objectives, suggestion.costs)
    return Ending(FAILED, reason=suggestion.reason) if suggestion.reason or not suggestion.trial_id else None


def _frozen(suggestion: Suggestion, ending: Ending) -> FrozenTrial:
    """Return the trial as Optuna has it. Raises ValueError where its parameters are none."""
    facts = {"trial_id": suggestion.trial_id, "reason": ending.reason, "known_before": suggestion.known is not None}
    return optuna.trial.create_trial(
        state={status: state for state, status in STATUSES.items()}[ending.status],
        values=list(ending.values) or None,
        params=dict(suggestion.params),
        distributions={
            name: optuna.distributions.json_to_distribution(json.dumps(one))
            for name, one in suggestion.distributions.items()
        },
        user_attrs={name: value for name, value in facts.items() if value},
        intermediate_values=dict(ending.epochs),
    )


def _copy(name: str, url: str, folder: Path | None) -> tuple[optuna.Study, tuple[StudyTrial, ...]]:
    """Copy the study's ended trials into memory; returns them also as they were numbered. Raises StudyError."""
    try:
        storage = _open(url, folder)
        try:
            study = _load(name, storage, url)
            copy = optuna.create_study(directions=study.directions)
            ended = study.get_trials(deepcopy=False, states=tuple(STATUSES))
            _check_names(ended)
            copy.add_trials(ended)
            trials = trials_of(ended)
        finally:
            if isinstance(storage, RDBStorage):
                storage.remove_session()
                storage.engine.dispose()
    except StudyError:
        raise
    except Exception as error:  # Optuna believes what it reads: where that is not so, anything may come of it
        raise StudyError(f"{_shown(url)} cannot be read: {_reason(error)}. Pass another --storage URL") from error
    return copy, trials


def _check_names(trials: Sequence[FrozenTrial]) -> None:
    """Raise ValueError where what Optuna names by texts has other names."""
    for trial in trials:
        names = itertools.chain(trial.params, trial.distributions, trial.user_attrs, trial.system_attrs)
        if not all(isinstance(name, str) for name in names):
            raise ValueError(f"trial {trial.number} has parameters or attributes whose names are no texts")


def _load(name: str, storage: RDBStorage | JournalStorage, url: str) -> optuna.Study:
    try:
        return optuna.load_study(study_name=name, storage=storage)
    except KeyError as error:
        raise StudyError(f"{_shown(url)} holds no study called '{name}'. Pass another --storage URL") from error


def _open(url: str, folder: Path | None) -> RDBStorage | JournalStorage:
    """Open the storage at `url`, as it is: no table and no file is made. With `folder`, only from a file in that.
    Raises StudyError, or what Optuna does."""
    if url.startswith(JOURNAL):
        name = url.removeprefix(JOURNAL)
        path = _find(name if name.startswith("~") else f"/{name}", folder)
        if folder:
            with path.open("rb") as file:
                _check_number(sum(1 for _ in file), path)
        return JournalStorage(JournalFileBackend(str(path)))
    remember(url)
    parsed = sqlalchemy.make_url(url)
    is_file = parsed.get_backend_name() == "sqlite" and parsed.database
    if MASK in (parsed.password, *parsed.query.values()):
        raise StudyError(f"the password of {_shown(url)} is not kept. Pass --storage with the whole URL")
    if folder and not is_file:
        raise StudyError(f"{_shown(url)} cannot be read: a server is asked only where you say so. Pass --storage URL")
    if not is_file:
        return RDBStorage(url, skip_table_creation=True)
    path = _find(str(parsed.database), folder)
    connect = reader_of(path)
    check_journal(path.with_name(f"{path.name}-journal"))
    if folder:
        with contextlib.closing(connect()) as connection:
            _check_number(num_rows(connection), path)
    return RDBStorage("sqlite://", engine_kwargs={"creator": connect}, skip_table_creation=True)


def _check_number(found: int, path: Path) -> None:
    """Raise StudyError for more than are read unasked: Optuna takes 2 to 5 kB of memory for each of 50 bytes."""
    if found > MOST_ENTRIES:
        rule = f"a study in a results folder may have {MOST_ENTRIES:,} entries, as of some 10,000 trials"
        raise StudyError(f"{rule}; {path} has {found:,}. Where you know it to be sound, pass --storage URL")


def _find(name: str, folder: Path | None) -> Path:
    """Find a storage's file: in `folder`, which may have been moved with it, or, without one, where its URL says."""
    path = Path(name).expanduser()
    if folder:
        path = inside(folder, path.name or "..")
    if path.is_file():
        return path
    other = f" (its search.json says {visible(name)})" if folder else ""
    raise StudyError(f"the study's file {path} is not there. Pass --storage with the URL of where it is now{other}")


def _shown(url: str) -> str:
    """Return the URL without its password."""
    try:
        return visible(without_secrets(sqlalchemy.make_url(url).render_as_string(hide_password=True)))
    except (sqlalchemy.exc.ArgumentError, ValueError):
        return "the storage"


def _reason(error: Exception) -> str:
    """Say why in one line, with a database's own words where it has some. Those of an URL that cannot be parsed hold
    the URL."""
    if isinstance(error, sqlalchemy.exc.ArgumentError):
        return "it is no URL of a database, like sqlite:///study.db"
    inner = error.__cause__ or error
    if isinstance(inner, OutsideError):
        return str(inner).rstrip(".")
    text = " ".join(str(getattr(inner, "orig", None) or inner).split())
    return visible(without_secrets(text))[:200].rstrip(".") or type(error).__name__


@_quiet()
def importances_of(study: optuna.Study) -> tuple[Importances, ...]:
    """Return importances for the first objective: over all completed trials, then over those of each case."""
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    cases: dict[str, list[FrozenTrial]] = {}
    for trial in trials:
        for case in {case_of(name) for name in trial.params} - {""}:
            cases.setdefault(case, []).append(trial)
    direction = study.directions[0]
    parts = [_importances(case, own, direction) for case, own in sorted(cases.items()) if len(own) < len(trials)]
    return (_importances("", trials, direction), *parts)


def case_of(parameter: str) -> str:
    """
    >>> case_of("learning_rate@sgd"), case_of("backbone")
    ('sgd', '')
    """
    return parameter.partition("@")[2]


def _importances(case: str, trials: Sequence[FrozenTrial], direction: optuna.study.StudyDirection) -> Importances:
    number = len(trials)
    counts = Counter(n for trial in trials for n, kind in trial.distributions.items() if not kind.single())
    shared = [n for n in sorted(counts) if counts[n] == number and len({t.distributions[n] for t in trials}) == 1]
    wanted = shared if case else sorted(counts)
    if note := _why_none(trials, wanted):
        return Importances(visible(case), number, note=note)
    study = optuna.create_study(direction=direction)
    study.add_trials(_first_objective(trial) for trial in trials)
    chosen = [name for name in shared if len({trial.params[name] for trial in trials}) > 1]
    fanova = _evaluate(study, FanovaImportanceEvaluator(seed=0), chosen)
    ped_anova = _evaluate(study, PedAnovaImportanceEvaluator(target_quantile=max(TOP_SHARE, TOP / number)), wanted)
    rows = [Importance(visible(name), counts[name], fanova.get(name), ped_anova.get(name)) for name in wanted]
    rows.sort(key=lambda row: (-(row.fanova or 0.0), -(row.ped_anova or 0.0), row.parameter))
    return Importances(visible(case), number, tuple(rows))


def _why_none(trials: Sequence[FrozenTrial], parameters: Sequence[str]) -> str:
    if len(trials) < MIN_TRIALS:
        return f"importances want {MIN_TRIALS} completed trials; there are {len(trials)}"
    if len({trial.values[0] for trial in trials}) == 1:
        return "all completed trials have the same value"
    return "" if parameters else "no parameter has more than one value to choose from"


def _first_objective(trial: FrozenTrial) -> FrozenTrial:
    return optuna.trial.create_trial(
        params=trial.params, distributions=trial.distributions, value=trial.values[0], state=TrialState.COMPLETE
    )


def _evaluate(study: optuna.Study, evaluator: BaseImportanceEvaluator, parameters: list[str]) -> dict[str, float]:
    """Return importances that sum to 1, empty where the measure cannot tell, as where so many trials are equally good
    that PED-ANOVA takes all for the best: made to sum to 1, its zeros would be equal shares."""
    try:
        found = optuna.importance.get_param_importances(study, evaluator=evaluator, params=parameters, normalize=False)
    except RuntimeError:  # of a forest whose trees all are one leaf
        return {}
    total = sum(found.values())
    return {name: float(value / total) for name, value in found.items()} if total > ROUNDING else {}


def front_of(study: optuna.Study) -> tuple[FrontTrial, ...]:
    """Return Optuna's `best_trials`, by the first objective; none with one objective."""
    if len(study.directions) < 2:
        return ()
    sign = -1 if study.directions[0] == optuna.study.StudyDirection.MAXIMIZE else 1
    front = [FrontTrial(_text(t.user_attrs.get("trial_id", "unknown")), tuple(t.values)) for t in study.best_trials]
    return tuple(sorted(front, key=lambda trial: (sign * trial.values[0], trial.values[1:])))


def trials_of(trials: Sequence[FrozenTrial]) -> tuple[StudyTrial, ...]:
    """Return what is known of ended trials, by number."""
    return tuple(_study_trial(trial, trial.number) for trial in sorted(trials, key=lambda trial: trial.number))


def _study_trial(trial: FrozenTrial, number: int) -> StudyTrial:
    reported, facts = trial.intermediate_values, trial.user_attrs
    return StudyTrial(
        number=number,
        status=STATUSES[trial.state],
        trial_id=_text(facts.get("trial_id", "")),
        values=tuple(trial.values) if trial.state == TrialState.COMPLETE else (),
        stopped_at=reported[max(reported)] if reported and trial.state == TrialState.PRUNED else None,
        known_before=bool(facts.get("known_before", False)),
    )


def _refused(study: optuna.Study) -> tuple[tuple[str, int], ...]:
    failed = study.get_trials(deepcopy=False, states=(TrialState.FAIL,))
    attributes = [trial.user_attrs for trial in failed if "trial_id" not in trial.user_attrs]
    return common_reasons(_text(own.get("reason", "no reason given")) for own in attributes)


def _text(attribute: object) -> str:
    """Return an attribute of a trial, which may hold anything, as a text."""
    return visible(str(attribute))
