"""Optuna, told the truth: a study's suggestions as trials, and what became of each. Pairs with `sweep.search.study`,
which opens studies; only files named sweep/search* import optuna.

    search = Search(study, problem)
    specs = search.resume(rows_by_id)          # what a driver that died had under way
    specs = search.ask(8)                      # several at once: those that share features train together
    search.epochs({trial_id: epoch})           # -> {trial_id: why it is to stop now}
    search.finished(result)                    # COMPLETE, PRUNED or FAILED, after its row is on disk

The rows are the truth, the study follows: a row is appended before its trial is told, and `resume` tells what a killed
driver could not. A stopped trial is PRUNED with its intermediate values, a crashed or diverged one FAIL with the reason
(user attribute "reason"). Every trial that was asked for has the user attributes "fields", what the space gave, and
"trial_id", of its row; one that has neither was being suggested when its driver died. Suggestions are made in a copy
of the study in memory (`sweep.search.study_copy`).
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState

from galaxytl.trial import COMPLETE, PRUNED, SpecError, TrialResult, TrialSpec
from sweep.search.ask_space import Asking, Found, SpaceError, parameters_of, place_of
from sweep.search.stopping import Rule
from sweep.search.study import StudyError, make_sampler, refusal
from sweep.search.study_copy import Mirror

HOPELESS: Final = 10
"""When so many trials have ended and all have failed, more of them would fail too."""


@dataclass(frozen=True)
class Problem:
    """What is searched, and how."""

    asking: Asking
    build: Callable[[Mapping[str, Any]], TrialSpec]
    """The trial with these fields; raises SpecError where there can be none."""
    objectives: tuple[str, ...]
    """Names of `sweep.search.objectives.OBJECTIVES`; early stopping goes by the first."""
    measure: Callable[[TrialResult, str], float]
    """An objective's value of a COMPLETE result."""
    rule: Rule
    num_trials: int
    sampler: str = "TPESampler"
    seed: int = 0

    def ending(self, result: TrialResult) -> tuple[TrialState, Sequence[float] | None, str]:
        """What the study is told of a result: state, values of a complete one, and why it is not complete."""
        if result.status != COMPLETE:
            return TrialState.PRUNED if result.status == PRUNED else TrialState.FAIL, None, result.message
        values = [self.measure(result, name) for name in self.objectives]
        if all(map(math.isfinite, values)):
            return TrialState.COMPLETE, values, ""
        return TrialState.FAIL, None, "an objective is not a finite number"

    def traced(self, spec: TrialSpec) -> Found | None:
        """The parameters that give exactly this trial, on the same images and with the same weights."""
        found = parameters_of(self.asking, _asked_for(spec))
        return found if found and self.built(found.fields) == spec else None

    def built(self, fields: Mapping[str, Any]) -> TrialSpec | None:
        """None where there can be no such trial."""
        try:
            return self.build(fields)
        except SpecError:
            return None


class Search:
    """A study and its trials under way."""

    def __init__(self, study: optuna.Study, problem: Problem, check: Callable[[], None] = lambda: None) -> None:
        """`check` raises, before each write, when the study may be written to no more."""
        self.study, self._problem = study, problem
        self._mirror = Mirror(study, problem.asking, check)
        self._live: dict[str, int] = {}
        """Numbers of the trials under way, by trial_id."""
        self._reported: dict[str, set[int]] = defaultdict(set)
        self._known: set[str] = set()
        self._num_asked = 0
        self._ended: Counter[TrialState] = Counter()
        self._reasons: Counter[str] = Counter()

    @property
    def is_running(self) -> bool:
        return bool(self._live)

    @property
    def num_left(self) -> int:
        """Trials that are still to be asked for."""
        return 0 if self.gave_up else max(0, self._problem.num_trials - self._num_asked)

    @property
    def gave_up(self) -> str:
        """Why no more trials are asked for; empty while there is hope."""
        failed = self._ended[TrialState.FAIL]
        if failed < HOPELESS or self._ended.total() > failed:
            return ""
        reason, count = self._reasons.most_common(1)[0]
        return f"all of the first {failed} trials failed, {count} of them with: {reason}"

    # What earlier drivers left

    def resume(self, rows: Mapping[str, TrialResult]) -> list[TrialSpec]:
        """Tell the study what has a row (by trial_id); the specs of trials that were under way, to go on with.

        A trial without fields was never suggested in full: it is told FAIL, and another is asked for in its place. One
        whose fields give another trial by now, as when a weights file was replaced on the way, is told FAIL too. Raises
        StudyError when the study's trials began with other weights than they would now.
        """
        self._check_weights(rows)
        for known in latest(self.study.get_trials(deepcopy=False)):
            self._remember(known)
        specs = []
        for frozen in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            trial = Trial(self.study, frozen._trial_id)  # Optuna has no other way to go on with one
            trial_id = frozen.user_attrs.get("trial_id")
            if trial_id is None:
                self._reap(frozen, trial)
                continue
            self._live[trial_id] = trial.number
            spec = self._problem.built(frozen.user_attrs["fields"])
            if trial_id in rows:
                self.finished(rows[trial_id])
            elif spec and spec.trial_id == trial_id:
                specs.append(spec)
            else:
                why = "its fields give another trial by now: the weights are others"
                self._mirror.tell(self._live.pop(trial_id), TrialState.FAIL, reason=why)
        return specs

    def _check_weights(self, rows: Mapping[str, TrialResult]) -> None:
        """The first trial of each network and start must be what its fields give now. All else that a trial is made of
        is in the study's identity; the weights files are known only when they are looked at, or downloaded."""
        first: dict[Any, FrozenTrial] = {}
        for trial in self.study.get_trials(deepcopy=False):
            if fields := trial.user_attrs.get("fields"):
                first.setdefault((fields.get("backbone"), fields.get("weights")), trial)
        for trial in first.values():
            trial_id, fields = trial.user_attrs["trial_id"], trial.user_attrs["fields"]
            try:
                now = self._problem.build(fields)
            except SpecError as error:
                raise StudyError(refusal(self.study, f"a trial that cannot be now ({error})", "none")) from error
            if now.trial_id != trial_id:
                row = rows.get(trial_id)
                before = _start_text(row.spec) if row else "other weights"
                known = f"trials of {now.backbone} that began with {before}"
                raise StudyError(refusal(self.study, known, f"{_start_text(now)}: see --weights-dir"))

    def _reap(self, frozen: FrozenTrial, trial: Trial) -> None:
        """Of one that was being suggested when its driver died; if it was to be tried first, it waits again."""
        first = frozen.system_attrs.get("fixed_params")
        waiting = self.study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
        if first and all(other.system_attrs.get("fixed_params") != first for other in waiting):
            self.study.enqueue_trial(first)
        trial.set_user_attr("reaped", True)
        trial.set_user_attr("reason", "its driver died while it was being suggested")
        self.study.tell(trial, state=TrialState.FAIL)

    def _remember(self, trial: FrozenTrial) -> None:
        facts, state = trial.user_attrs, trial.state
        trial_id = facts.get("trial_id", "")
        self._known.add(trial_id)
        self._reported[trial_id] = set(trial.intermediate_values)
        for epoch, value in trial.intermediate_values.items():
            self._problem.rule.record(epoch, {trial_id: self._score(value)})
        half_asked = state == TrialState.RUNNING and not trial_id
        if state == TrialState.WAITING or half_asked or "reaped" in facts or "known_before" in facts:
            return
        self._num_asked += 1
        if state.is_finished() and "equal_to" not in facts:
            self._count(state, facts.get("reason", ""))

    def enqueue(self, specs: Iterable[TrialSpec]) -> int:
        """Have these tried first, as far as the space has them; how many it has. Once a study: a second call, or one
        on a resumed study, does nothing."""
        if self.study.user_attrs.get("enqueued") is not None:
            return int(self.study.user_attrs["enqueued"])
        built = [self._problem.built(_asked_for(spec)) for spec in specs]
        traced = [found for spec in built if spec and (found := self._problem.traced(spec))]
        for found in traced:
            self.study.enqueue_trial(found.values, skip_if_exists=True)  # a driver may have died half way
        self.study.set_user_attr("enqueued", len(traced))
        return len(traced)

    def add_known(self, results: Iterable[TrialResult], own: bool = False) -> int:
        """Tell the study of trials that it does not know, as far as the space has them; how many were added.

        Of other sweeps those count whose curves are on the same validation images; they are not among the trials that
        are asked for. `own`: trials of this search, which a lost study had forgotten.
        """
        added = 0
        for result in results:
            if not own and result.curves_on != "validation":  # of one that failed, no curves are known
                continue
            known = replace(result, spec=result.spec.replace(scored_on="validation"))
            found = None if known.trial_id in self._known else self._problem.traced(known.spec)
            if found is None:
                continue
            trial = self._as_finished(known, found, own)
            self.study.add_trial(trial)
            self._remember(trial)
            added += 1
        return added

    def _as_finished(self, result: TrialResult, found: Found, own: bool) -> FrozenTrial:
        state, values, reason = self._problem.ending(result)
        attributes = {"trial_id": result.trial_id, "fields": found.fields, "reason": reason}
        return optuna.trial.create_trial(
            state=state,
            values=values,
            params=found.values,
            distributions={name: _distribution(*asked) for name, asked in found.asked.items()},
            user_attrs=attributes if own else {**attributes, "known_before": True},
            intermediate_values=self._last_epoch(result) if state == TrialState.PRUNED else {},
        )

    def _last_epoch(self, result: TrialResult) -> dict[int, float]:
        """Nothing with several objectives, where Optuna knows no intermediate values."""
        last = result.history[-1:] if len(self._problem.objectives) == 1 else ()
        values = {int(epoch["epoch"]): self._value(epoch) for epoch in last}
        return {epoch: value for epoch, value in values.items() if math.isfinite(value)}

    # New trials

    def ask(self, number: int) -> list[TrialSpec]:
        """Up to `number` new specs; none when all have been asked for, or there is no hope."""
        specs: list[TrialSpec] = []
        while len(specs) < number and self.num_left:
            spec = self._ask_one()
            specs += [spec] if spec else []
        return specs

    def _ask_one(self) -> TrialSpec | None:
        """None where the suggestion was no trial, or one that there has been: it is told FAIL, and why."""
        trial = self._mirror.ask(
            make_sampler(self._problem.sampler, _seed(self._problem.seed, self._mirror.num_trials))
        )
        self._num_asked += 1
        try:
            fields = self._problem.asking(trial)
            spec = self._problem.build(fields)
        except (SpaceError, SpecError) as error:
            self._count(TrialState.FAIL, str(error))
            self._mirror.keep(trial, {}, reason=str(error))
            return None
        if spec.trial_id in self._known:
            equal = {"equal_to": spec.trial_id}
            self._mirror.keep(trial, equal, reason=f"equal to an earlier trial, {spec.trial_id}")
            return None
        self._mirror.keep(trial, {"fields": dict(fields), "trial_id": spec.trial_id})
        self._known.add(spec.trial_id)
        self._live[spec.trial_id] = trial.number
        return spec

    # What becomes of them

    def epochs(self, latest: Mapping[str, Mapping[str, float]]) -> dict[str, str]:
        """The latest epochs of some trials (by trial_id); those that are to stop there, each with the reason."""
        together: dict[int, dict[str, float]] = defaultdict(dict)
        for trial_id, epoch in latest.items():
            if trial_id in self._live and int(epoch["epoch"]) in self._problem.rule.decides_at:
                together[int(epoch["epoch"])][trial_id] = self._value(epoch)
        stopped: dict[str, str] = {}
        for epoch_number, values in together.items():
            for trial_id, value in values.items():
                self._report(trial_id, self._live[trial_id], epoch_number, value)
            scores = {trial_id: self._score(value) for trial_id, value in values.items()}
            stopped |= self._problem.rule.decide(epoch_number, scores)
        return stopped

    def finished(self, result: TrialResult) -> None:
        """Tell the study how a trial ended; what is none of its trials under way is left alone."""
        number = self._live.pop(result.trial_id, None)
        if number is None:
            return
        state, values, reason = self._problem.ending(result)
        self._count(state, reason)
        if state == TrialState.PRUNED:
            for epoch, value in self._last_epoch(result).items():
                self._report(result.trial_id, number, epoch, value)
        self._mirror.tell(number, state, values, reason)

    def _count(self, state: TrialState, reason: str) -> None:
        """How a trial of the search has ended."""
        self._ended[state] += 1
        if state == TrialState.FAIL:
            self._reasons[reason] += 1

    def _report(self, trial_id: str, number: int, epoch: int, value: float) -> None:
        """Once an epoch, and not where Optuna knows no intermediate values: with several objectives."""
        if len(self._problem.objectives) == 1 and epoch not in self._reported[trial_id] and math.isfinite(value):
            self._reported[trial_id].add(epoch)
            self._mirror.report(number, value, epoch)

    def _value(self, epoch: Mapping[str, float]) -> float:
        """What a study keeps of an epoch: the first objective, or the accuracy where that is a cost."""
        name = self._problem.objectives[0]
        return epoch[name] if name in epoch else epoch["val_accuracy"]

    def _score(self, value: float) -> float:
        """The higher the better."""
        return -value if self._problem.objectives[0] == "val_loss" else value


def latest(trials: Iterable[FrozenTrial]) -> list[FrozenTrial]:
    """Without those that were trained again (`sweep.search.reconcile`): of equal ids the last one counts."""
    trials = list(trials)
    last = {trial.user_attrs.get("trial_id"): trial.number for trial in trials}
    return [t for t in trials if "trial_id" not in t.user_attrs or last[t.user_attrs["trial_id"]] == t.number]


def _asked_for(spec: TrialSpec) -> dict[str, Any]:
    """The fields that a space gave, where random weights stand in for ImageNet's: those that it had asked for."""
    return {**spec.fields(), "weights": spec.weights_requested}


def _start_text(spec: TrialSpec) -> str:
    """What a trial's backbone begins with: "ImageNet weights 0f3a6c1e9b2d"."""
    if spec.is_substituted:
        return spec.weights_label
    return f"{spec.weights_label} weights {spec.weights_fingerprint[:12]}".rstrip()


def _seed(seed: int, number: int) -> int:
    """Of suggestion `number`: a resumed search neither repeats random numbers nor depends on where it was cut."""
    return int.from_bytes(hashlib.sha256(f"suggestion/{seed}/{number}".encode()).digest()[:4], "big")


def _distribution(kind: str, arguments: tuple[Any, ...], how: dict[str, Any]) -> optuna.distributions.BaseDistribution:
    kinds = {
        "categorical": optuna.distributions.CategoricalDistribution,
        "float": optuna.distributions.FloatDistribution,
        "int": optuna.distributions.IntDistribution,
    }
    return kinds[kind](*arguments, **how)


@dataclass(frozen=True)
class Rehearsal:
    broken: Counter[str]
    """The rules that suggestions broke, and how often."""
    parameters: tuple[str, ...]
    """A line for each parameter that the space asked for: its name and its values."""


def rehearse(problem: Problem, number: int = 50) -> Rehearsal:
    """Ask the space at random, in a study that is thrown away.

    Raises SpaceError when the space fails, SpecError when no suggestion can be a trial.
    """
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(problem.seed))
    broken: Counter[str] = Counter()
    last: SpecError | None = None
    for _ in range(number):
        try:
            problem.build(problem.asking(study.ask()))
        except SpecError as error:
            last = error
            broken[str(error).partition("; got ")[0]] += 1
    if last and broken.total() == number:
        where = place_of(problem.asking.space)
        raise SpecError(f"a space must suggest trials that can be; none of {number} suggestions was: {last}{where}")
    distributions = {n: d for trial in study.get_trials() for n, d in trial.distributions.items()}
    return Rehearsal(broken, tuple(f"{name:24} {_values_text(d)}" for name, d in sorted(distributions.items())))


def _values_text(distribution: Any) -> str:
    if isinstance(distribution, optuna.distributions.CategoricalDistribution):
        return ", ".join(map(str, distribution.choices))
    steps = f" in steps of {distribution.step:g}" if distribution.step not in (None, 1) else ""
    return f"{distribution.low:g} to {distribution.high:g}{', logarithmic' if distribution.log else steps}"
