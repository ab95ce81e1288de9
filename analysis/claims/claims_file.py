"""`claims.json`: what was judged of the paper's claims, for programs that grade a replication.

    text = claims_json(judge(trials, grid), trials)
    json.loads(text)["claims"][0]["verdict"]          # "CONFIRMED"

FORMAT is raised when a reader of the old files would misunderstand the new ones; a further key is no reason.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from analysis.claims.sections import by_topic
from analysis.claims.verdicts import LEVEL, Judged
from analysis.statistics.seeds import MIN_SEEDS
from analysis.trials.banner import Banner
from analysis.trials.load import Trials
from analysis.trials.subject import describe, is_of_paper
from galaxytl.system.foreign_text import visible
from galaxytl.trial import COMPLETE, TrialResult

if TYPE_CHECKING:
    from analysis.claims.about_trials import Claims

NAME: Final = "claims.json"
FORMAT: Final = 1
OTHER: Final = "the paper's claims are about Galaxy10 DECaLS, and these data are others"
MARK: Final = '{\n  "what": "claims of Xu (2023), judged by analysis.run"'
"""How the file begins: tells an earlier report's from a user's own."""


def claims_json(claims: Claims, trials: Trials) -> str:
    """Return the file's text: strict JSON in ASCII, whose order depends on the trials alone.

    `claims` has every claim in the order of the report, and none where the data are not the paper's; `trials` are the
    ids of all that could be used: COMPLETE, and scored on the test part.
    """
    results = trials.results
    datasets = sorted({(r.spec.dataset, r.spec.dataset_fingerprint) for r in results})
    used = (r.trial_id for r in results if r.status == COMPLETE and r.spec.scored_on == "test")
    values = {
        "what": "claims of Xu (2023), judged by analysis.run",
        "format": FORMAT,
        "level": round(LEVEL, 6),
        "min_seeds": MIN_SEEDS,
        "warning": _warning(results),
        "datasets": [{"name": name, "fingerprint": fingerprint} for name, fingerprint in datasets],
        "claims": [_claim(one, topic) for topic, own in by_topic(_judged(claims, results)).items() for one in own],
        "trials": sorted(used),
    }
    return json.dumps(_visible(values), indent=2, allow_nan=False) + "\n"


def _warning(results: Sequence[TrialResult]) -> str:
    """Return what is not real in the data, or that the paper says nothing of them."""
    if not results:
        return ""
    subject = "" if is_of_paper(results[0].spec) else f"{OTHER}: {describe(results)}"
    return "; ".join(filter(None, (Banner.of_search(results).warning, subject)))


def _judged(claims: Claims, results: Sequence[TrialResult]) -> tuple[Judged, ...]:
    """Return all that is judged; nothing of data that the paper says nothing of."""
    return claims.judged if all(is_of_paper(r.spec) for r in results) else ()


def _claim(judged: Judged, topic: str) -> dict[str, Any]:
    return {
        "claim": judged.claim,
        "topic": topic,
        "where": judged.where,
        "verdict": judged.verdict,
        "reason": judged.reason,
        "about": judged.about,
        "seeds": [{"setting": setting, "seeds": number} for setting, number in judged.seeds],
        "evidence": judged.evidence,
    }


def _visible(value: Any) -> Any:
    """Return the value with all texts as every other file of the report shows them; a row's may be a stranger's."""
    if isinstance(value, dict):
        return {visible(key): _visible(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_visible(one) for one in value]
    return visible(value) if isinstance(value, str) else value
