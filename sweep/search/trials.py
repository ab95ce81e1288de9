"""A search: Optuna's suggestions as trials, and what became of each.

    search = Search(problem, folder.asked(), rows_by_id, folder.append_asked)
    search.under_way                           # specs that a driver that died left
    specs = search.ask(8)                      # several at once: those that share features train together
    search.epochs({trial_id: epoch})           # -> {trial_id: why it is to stop now}
    search.finished(result)                    # COMPLETE, PRUNED or FAILED, after its row is on disk

What was asked (`galaxytl.results.search.asked_file`) and the rows are the truth. The study that suggests is in memory
(`sweep.search.study`) and made from both at each start: a stopped trial is PRUNED in it with its intermediate values, a
crashed or diverged one FAIL with the reason, one without a row RUNNING. A suggestion is on disk before it is trained.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import optuna

from galaxytl.networks.own import own_backbone
from galaxytl.results.search.asked_file import Asked, Ending, Suggestion, curve_of, ending_of, epoch_value
from galaxytl.trial import FAILED, SpecError, TrialResult, TrialSpec
from sweep.search.ask_space import ParameterMatch, SpaceError, SpaceSampler, parameters_of, place_of
from sweep.search.stopping import Rule
from sweep.search.study import MemoryStudy, StudyError, described, frozen_trial, refusal

HOPELESS: Final = 10
"""When so many trials have ended and all have failed, more of them would fail too."""
Lines = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Problem:
    """What is searched, and how."""

    sampler_of_space: SpaceSampler
    build: Callable[[Mapping[str, Any]], TrialSpec]
    """The trial with these fields; raises SpecError where there can be none."""
    objectives: tuple[str, ...]
    """Names of `galaxytl.results.search.search_file.OBJECTIVES`; early stopping goes by the first."""
    rule: Rule
    num_trials: int
    name: str = "search"
    """That the user calls the study by."""
    multiply_adds: Callable[[TrialSpec], float] = lambda spec: math.nan
    """The objective of this name."""
    sampler: str = "TPESampler"
    seed: int = 0

    def costs(self, spec: TrialSpec) -> dict[str, float]:
        """Return the objectives that are known before the training."""
        return {"multiply_adds": float(self.multiply_adds(spec))} if "multiply_adds" in self.objectives else {}

    def match(self, spec: TrialSpec) -> ParameterMatch | None:
        """Return the parameters that give exactly this trial, on the same images and with the same weights."""
        match = parameters_of(self.sampler_of_space, _requested_fields(spec))
        return match if match and self.built(match.fields) == spec else None

    def built(self, fields: Mapping[str, Any]) -> TrialSpec | None:
        """Return the trial with these fields; None where there can be no such trial."""
        try:
            return self.build(fields)
        except (SpecError, TypeError):  # the latter of fields that somebody has changed in a file
            return None


class Search:
    """The study of a problem and its trials under way."""

    def __init__(
        self,
        problem: Problem,
        asked: Asked = Asked(),  # noqa: B008 (it is frozen)
        rows: Mapping[str, TrialResult] | None = None,
        write: Callable[[Lines], object] = lambda lines: None,
    ) -> None:
        """`rows`: by trial_id. `write`: appends lines to `asked.jsonl`; raises when nothing may be written any more.

        Of what was asked, a trial whose fields give another one by now, as when a weights file was replaced on the way,
        is given up. Raises StudyError when the trials began with other weights than they would now.
        """
        self._problem, self._write = problem, write
        self._study = MemoryStudy(problem.objectives, problem.sampler, problem.seed)
        self._live: dict[str, int] = {}
        """Numbers of the trials under way, by trial_id."""
        self._costs: dict[str, Mapping[str, float]] = {}
        self._known: set[str] = set()
        self._num_asked = 0
        self._ended: Counter[str] = Counter()
        self._reasons: Counter[str] = Counter()
        self._first = asked.first
        tried = [one.params.items() for one in asked.suggestions if one.trial_id or one.equal_to]
        self._to_try_first = deque(p for p in asked.first or () if not any(p.items() <= params for params in tried))
        self.under_way: list[TrialSpec] = []
        """What a driver that died had begun, to go on with."""
        self._check_weights(asked.suggestions, rows or {})
        self._take_over(asked.suggestions, rows or {})

    @property
    def study(self) -> MemoryStudy:
        return self._study

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
        failed = self._ended[FAILED]
        if failed < HOPELESS or self._ended.total() > failed:
            return ""
        reason, count = self._reasons.most_common(1)[0]
        return f"all of the first {failed} trials failed, {count} of them with: {reason}"

    # What earlier drivers left

    def _check_weights(self, suggestions: Sequence[Suggestion], rows: Mapping[str, TrialResult]) -> None:
        """Check that the first trial of each network and start is what its fields give now. All else that a trial is
        made of is in the search's identity; the weights files are known only when they are looked at, or downloaded."""
        first: dict[Any, Suggestion] = {}
        for suggestion in suggestions:
            if suggestion.trial_id and (fields := suggestion.fields):
                first.setdefault((fields.get("backbone"), fields.get("weights")), suggestion)
        for suggestion in first.values():
            try:
                now = self._problem.build(suggestion.fields)
            except (SpecError, TypeError) as error:
                raise StudyError(
                    refusal(self._problem.name, f"a trial that cannot be now ({error})", "none")
                ) from error
            if now.trial_id != suggestion.trial_id:
                row = rows.get(suggestion.trial_id)
                before = _start_text(row.spec) if row else "other weights"
                known = f"trials of {now.backbone} that began with {before}"
                raise StudyError(refusal(self._problem.name, known, f"{_start_text(now)}: see --weights-dir"))

    def _take_over(self, suggestions: Sequence[Suggestion], rows: Mapping[str, TrialResult]) -> None:
        lines = []
        for number, suggestion in enumerate(suggestions):
            ending, trial_id = self._ending(suggestion, rows), suggestion.trial_id
            spec = self._problem.built(suggestion.fields) if ending is None else None
            if ending is None and (spec is None or spec.trial_id != trial_id):
                reason = "its fields give another trial by now: the weights are others"
                lines.append({"trial_id": trial_id, "reason": reason})
                ending = Ending(FAILED, reason=reason)
            elif spec:
                self._live[trial_id] = number
                self.under_way.append(spec)
            self._add(suggestion, ending)
        if lines:
            self._write(lines)

    def _ending(self, suggestion: Suggestion, rows: Mapping[str, TrialResult]) -> Ending | None:
        """Return how a trial has ended; None where it has not."""
        if suggestion.known:
            return suggestion.known
        if row := rows.get(suggestion.trial_id):
            return self._ending_of(row, suggestion.costs)
        return Ending(FAILED, reason=suggestion.reason) if suggestion.reason or not suggestion.trial_id else None

    def _ending_of(self, row: TrialResult, costs: Mapping[str, float]) -> Ending:
        """Return how the trial of a row ended, with the values at the rungs that it came to."""
        ending = ending_of(row, self._problem.objectives, costs)
        curve = {epoch: value for epoch, value in curve_of(row, self._problem.objectives) if math.isfinite(value)}
        rungs = {epoch: value for epoch, value in curve.items() if epoch in self._problem.rule.decides_at}
        return replace(ending, epochs=tuple((rungs | dict(ending.epochs)).items()))

    def _add(self, suggestion: Suggestion, ending: Ending | None) -> None:
        """Add a suggestion to the study, and to what is known of the search."""
        self._study.add([frozen_trial(suggestion, ending)])
        trial_id = suggestion.trial_id
        self._known.add(trial_id)
        self._costs[trial_id] = suggestion.costs
        for epoch, value in ending.epochs if ending else ():
            self._problem.rule.record(epoch, {trial_id: self._score(value)})
        if not suggestion.is_uncounted:
            self._num_asked += 1
            if ending and not suggestion.equal_to:
                self._count(ending)

    def knows(self, row: TrialResult) -> bool:
        return row.trial_id in self._known

    def enqueue(self, specs: Iterable[TrialSpec]) -> int:
        """Have these tried first, as far as the space has them; returns how many it has. Once a search: a second call,
        or one on a resumed search, does nothing."""
        if self._first is None:
            built = [self._problem.built(_requested_fields(spec)) for spec in specs]
            params = {s.trial_id: match.params for s in built if s and (match := self._problem.match(s))}
            self._first = tuple(params.values())
            self._to_try_first = deque(own for trial_id, own in params.items() if trial_id not in self._known)
            self._write([{"first": list(self._first)}])
        return len(self._first)

    def add_known(self, results: Iterable[TrialResult], own: bool = False) -> int:
        """Add trials that the study does not know, as far as the space has them; returns how many were added.

        Of other sweeps those count whose curves are on the same validation images; they are not among the trials that
        are asked for. `own`: trials of this search, which a lost `asked.jsonl` had.
        """
        suggestions = [one for result in results if (one := self._suggestion_of(result, own))]
        if suggestions:
            self._write([one.to_line() for one in suggestions])
        return len(suggestions)

    def _suggestion_of(self, result: TrialResult, own: bool) -> Suggestion | None:
        """Add the trial of a result where `add_known` does; returns its suggestion."""
        if not own and result.curves_on != "validation":  # of one that failed, no curves are known
            return None
        known = replace(result, spec=result.spec.replace(scored_on="validation"))
        match = None if known.trial_id in self._known else self._problem.match(known.spec)
        if match is None:
            return None
        costs = self._problem.costs(known.spec)
        ending = self._ending_of(known, costs) if own else ending_of(known, self._problem.objectives, costs)
        suggestion = Suggestion(
            params=match.params,
            distributions=described(match.distributions),
            trial_id=known.trial_id,
            fields=match.fields,
            costs=costs,
            is_uncounted=not own,
            known=None if own else ending,
        )
        self._add(suggestion, ending)
        return suggestion

    # New trials

    def ask(self, number: int) -> list[TrialSpec]:
        """Return up to `number` new specs; none when all have been asked for, or there is no hope."""
        specs: list[TrialSpec] = []
        lines: list[Mapping[str, Any]] = []
        while len(specs) < number and self.num_left:
            suggestion, spec = self._ask_one()
            lines.append(suggestion.to_line())
            specs += [spec] if spec else []
        if lines:
            self._write(lines)
        return specs

    def _ask_one(self) -> tuple[Suggestion, TrialSpec | None]:
        """Ask for a trial; no spec where it is none, or one that there has been: it has FAILED, and why is said."""
        trial = self._study.ask(self._to_try_first.popleft() if self._to_try_first else None)
        self._num_asked += 1
        fields: dict[str, Any] = {}
        spec, reason, equal_to = None, "", ""
        try:
            fields = self._problem.sampler_of_space(trial)
            spec = self._problem.build(fields)
        except (SpaceError, SpecError) as error:
            reason = str(error)
            self._count(Ending(FAILED, reason=reason))
        if spec and spec.trial_id in self._known:
            reason, equal_to, spec = f"equal to an earlier trial, {spec.trial_id}", spec.trial_id, None
        frozen = self._study.trials[trial.number]
        suggestion = Suggestion(
            params=frozen.params,
            distributions=described(frozen.distributions),
            trial_id=spec.trial_id if spec else "",
            fields=dict(fields) if spec else {},
            reason=reason,
            equal_to=equal_to,
            costs=self._problem.costs(spec) if spec else {},
            attributes={name: value for name, value in frozen.system_attrs.items() if name != "fixed_params"},
        )
        if spec:
            self._study.note(trial.number, {"fields": dict(fields), "trial_id": spec.trial_id})
            self._known.add(spec.trial_id)
            self._costs[spec.trial_id] = suggestion.costs
            self._live[spec.trial_id] = trial.number
        else:
            self._study.note(trial.number, {"equal_to": equal_to} if equal_to else {})
            self._study.end(trial.number, Ending(FAILED, reason=reason))
        return suggestion, spec

    # What becomes of them

    def epochs(self, latest: Mapping[str, Mapping[str, float]]) -> dict[str, str]:
        """Take trials' latest epochs, by trial_id; returns those that are to stop there, each with the reason."""
        together: dict[int, dict[str, float]] = defaultdict(dict)
        for trial_id, epoch in latest.items():
            if trial_id in self._live and int(epoch["epoch"]) in self._problem.rule.decides_at:
                together[int(epoch["epoch"])][trial_id] = epoch_value(epoch, self._problem.objectives[0])
        to_stop: dict[str, str] = {}
        for epoch_number, values in together.items():
            if len(self._problem.objectives) == 1:  # with several, Optuna knows no intermediate values
                for trial_id, value in values.items():
                    self._study.report(self._live[trial_id], epoch_number, value)
            scores = {trial_id: self._score(value) for trial_id, value in values.items()}
            to_stop |= self._problem.rule.decide(epoch_number, scores)
        return to_stop

    def finished(self, result: TrialResult) -> None:
        """Tell the study how a trial ended; what is none of its trials under way is left alone."""
        number = self._live.pop(result.trial_id, None)
        if number is not None:
            ending = self._ending_of(result, self._costs[result.trial_id])
            self._count(ending)
            self._study.end(number, ending)

    def _count(self, ending: Ending) -> None:
        """Count how a trial of the search has ended."""
        self._ended[ending.status] += 1
        if ending.status == FAILED:
            self._reasons[ending.reason] += 1

    def _score(self, value: float) -> float:
        """Return the score of a value: the higher the better."""
        return -value if self._problem.objectives[0] == "val_loss" else value


def _requested_fields(spec: TrialSpec) -> dict[str, Any]:
    """Return the fields that a space gave: where random weights stand in for ImageNet's, those that it asked for; and
    ImageNet's, where a network that is none of the table starts from its own in their place."""
    comes_with = spec.weights == "given" and own_backbone(spec.backbone)
    return {**spec.fields(), "weights": "imagenet" if comes_with else spec.weights_requested}


def _start_text(spec: TrialSpec) -> str:
    """Say what a trial's backbone begins with: "ImageNet weights 0f3a6c1e9b2d"."""
    if spec.is_substituted:
        return spec.weights_label
    return f"{spec.weights_label} weights {spec.weights_fingerprint[:12]}".rstrip()


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
            problem.build(problem.sampler_of_space(study.ask()))
        except SpecError as error:
            last = error
            broken[str(error).partition("; got ")[0]] += 1
    if last and broken.total() == number:
        where = place_of(problem.sampler_of_space.space)
        raise SpecError(f"a space must suggest trials that can be; none of {number} suggestions was: {last}{where}")
    distributions = {n: d for trial in study.get_trials() for n, d in trial.distributions.items()}
    return Rehearsal(broken, tuple(f"{name:24} {_values_text(d)}" for name, d in sorted(distributions.items())))


def _values_text(distribution: Any) -> str:
    if isinstance(distribution, optuna.distributions.CategoricalDistribution):
        return ", ".join(map(str, distribution.choices))
    steps = f" in steps of {distribution.step:g}" if distribution.step not in (None, 1) else ""
    return f"{distribution.low:g} to {distribution.high:g}{', logarithmic' if distribution.log else steps}"
