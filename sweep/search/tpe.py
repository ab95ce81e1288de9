"""Optuna's TPE, which sorts the trials into good and bad ones once a suggestion.

    sampler = SortsOnceTPE(seed=1, multivariate=True)     # suggests what TPESampler(seed=1, multivariate=True) does

Why: in a conditional space TPE samples what all trials have together, and each other parameter by itself. Optuna's own
(5.0) sorts all trials for each of them, though they are the same trials: in the default space, five times a suggestion
and, of 1,000 trials, a quarter of its time. No trial may change while another is being suggested: true of the copy of a
study that `sweep.search.study_copy` keeps.
"""

from __future__ import annotations

from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import TPESampler
from optuna.samplers._tpe import sampler as optunas
from optuna.trial import FrozenTrial, TrialState

Parted = tuple[list[FrozenTrial], list[FrozenTrial]]
"""Good trials and others, each by their numbers."""


class SortsOnceTPE(TPESampler):
    """With `constant_liar`, no `gamma` of the user's and no constraints: as `sweep.search.study` makes it."""

    _parted: tuple[int, Parted] | None = None
    """Of the latest suggestion, by its trial's id."""

    def _sample(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """As TPESampler._sample, but for the sorting."""
        if self._parted is None or self._parted[0] != trial._trial_id:
            self._parted = trial._trial_id, _part(study, trial)
        good, others = self._parted[1]
        below = self._build_parzen_estimator(study, search_space, good, handle_below=True)
        above = self._build_parzen_estimator(study, search_space, others, handle_below=False)
        samples = below.sample(self._rng.rng, self._n_ei_candidates)
        best = self._compare(samples, self._compute_acquisition_func(samples, below, above))
        return {name: asked.to_external_repr(best[name]) for name, asked in search_space.items()}


def _part(study: optuna.Study, trial: FrozenTrial) -> Parted:
    """All but `trial` that have ended with a value or are under way, which count as bad ones (the constant liar)."""
    states = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)
    others = [other for other in study.get_trials(deepcopy=False, states=states) if other.number != trial.number]
    num_ended = sum(other.state != TrialState.RUNNING for other in others)
    gamma = optunas.default_gamma if len(study.directions) == 1 else optunas.default_gamma_multiobjective
    return optunas._split_trials(study, others, gamma(num_ended))
