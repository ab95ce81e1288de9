"""Which trial a search chooses: by its scores on the validation part, never by anything of the test part.

    best, *others = ranked(read_results(folder).results)
    tested = best.spec.replace(scored_on="test")             # the trial whose score on the test part is reported

Sweep and analysis both choose by this rule. Standard library only.
"""

from __future__ import annotations

from collections.abc import Iterable

from galaxytl.trial import TrialResult


def ranked(results: Iterable[TrialResult]) -> list[TrialResult]:
    """The COMPLETE trials that are scored on the validation part, the best first.

    By accuracy on the validation part after the last epoch; of equals by the lower loss there, then by trial_id, so
    that the order is the same everywhere.
    """
    candidates = [r for r in results if r.is_scored and r.spec.scored_on == "validation"]
    return sorted(candidates, key=lambda r: (-r.metrics["accuracy"], r.metrics["loss"], r.trial_id))
