"""What is said about the paper's claims and about the comparisons behind them, section by section.

claims = judge(trials, grid)
as_markdown(sections(claims)), summary(claims)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from analysis.banner import SUBSTITUTED
from analysis.gather import show_value
from analysis.sections import Listing, Section
from analysis.statistics.intervals import CONFIDENCE
from analysis.statistics.seeds import MIN_SEEDS
from analysis.verdicts import LEVEL, SETTINGS, Judged, count_verdicts

if TYPE_CHECKING:
    from analysis.claims import Claims
    from analysis.comparisons import Compared, Comparison, Estimate

ARITHMETIC: Final = "The paper's claims that its own numbers decide"
TRIALS: Final = "The paper's claims that trials decide"

RULES: Final = (
    f"CONFIRMED: the test over seeds, of {MIN_SEEDS} seeds or more a setting, corrected by Holm's method within the"
    " claim's family, is on the claimed side. CONTRADICTED: on the other side. NOT_CONFIRMED: neither; or there are"
    " fewer seeds, and the numbers speak of these networks alone. NOT_TESTABLE: trials are missing, the galaxies are"
    " simulated, or random weights stand in for ImageNet's."
)
METHODS: Final = (
    "Two seeds or more of each: Welch's t over seeds, and the variance over images added; from"
    f" {MIN_SEEDS} of each on it is settings that are compared. One seed each: these two networks are compared, image"
    " by image, by Newcombe 1998's interval and McNemar's exact test; another seed may turn it. F1: weighted by class"
    " size, its variance over images by the bootstrap (2,000 resamples). Without predictions: counts, unpaired. p:"
    " Holm's within the family; intervals are not corrected."
)
EFFECTS: Final = (
    "Main effects: the mean of two differences. Interaction: what pretraining adds to a frozen network minus what it"
    " adds to a trained one. Over seeds, as the comparisons; of one seed by the bootstrap, of these networks alone. p:"
    " Holm's within the network."
)


def summary(claims: Claims) -> tuple[str, ...]:
    """At most two lines for the terminal."""
    lines = [f"claims: {count_verdicts(claims.judged)}"]
    found = [c.accuracy for compared in claims.compared for c in compared.comparisons]
    settings = [one for one in found if one.about == SETTINGS]
    parts = []
    if settings:
        differ = sum(one.adjusted < LEVEL for one in settings)
        parts.append(f"{differ} of {len(settings)} pairs of settings differ in accuracy (Holm's method)")
    if rest := len(found) - len(settings):
        parts.append(f"{rest} {'pair has' if rest == 1 else 'pairs have'} fewer than {MIN_SEEDS} seeds of each")
    return (*lines, *([f"comparisons: {'; '.join(parts)}"] if parts else []))


def sections(claims: Claims) -> list[Section]:
    """Claims first, then what was compared at Table 1's settings; other settings are details."""
    found = [claims_section(ARITHMETIC, claims.arithmetic), claims_section(TRIALS, claims.trials)]
    varied = _varied(claims.compared)
    for compared in claims.compared:
        found += _comparisons(compared, varied, is_detail=compared is not claims.at_table)
    return found


def claims_section(heading: str, judged: Sequence[Judged]) -> Section:
    rows = tuple((one.claim, one.where, one.verdict, one.evidence) for one in judged)
    listing = Listing(("Claim", "In the paper", "Verdict", "Evidence"), rows, {2})
    return Section(heading, listing, (f"Claims: {count_verdicts(judged)}.", RULES))


def _varied(compared: Sequence[Compared]) -> tuple[str, ...]:
    """Settings in which what is compared differs."""
    from analysis.cells import SETTINGS

    keys = [one.setting.key for one in compared]
    return tuple(name for name, values in zip(SETTINGS, zip(*keys, strict=True), strict=False) if len(set(values)) > 1)


def _comparisons(compared: Compared, varied: Sequence[str], is_detail: bool) -> Iterator[Section]:
    at = _at(compared, varied)
    if compared.comparisons or compared.skipped:
        rows = tuple(map(_row, compared.comparisons))
        headings = ("First - second", "Accuracy", f"{CONFIDENCE:.0%} interval", "p", "F1", "Method")
        listing = Listing(headings, rows, {1, 3}) if rows else None
        sentences = (*_stand_ins(compared), *compared.skipped, *([METHODS] if rows and not is_detail else []))
        yield Section(f"Comparisons{at}", listing, sentences, is_detail)
    if compared.effects:
        rows = tuple(
            (effect.family.removeprefix("2 x 2, "), effect.name, *_cells(effect.accuracy), _short(effect.f1))
            for effect in compared.effects
        )
        headings = ("Network", "Effect", "Accuracy", f"{CONFIDENCE:.0%} interval", "p", "F1")
        heading = f"Pretraining and freezing, 2 x 2{at}"
        sentences = (*_stand_ins(compared), *(() if is_detail else (EFFECTS,)))
        yield Section(heading, Listing(headings, rows, {2, 4}), sentences, is_detail)


def _stand_ins(compared: Compared) -> Iterator[str]:
    """Which of the arms called by ImageNet's name lack its weights."""
    names = [arm.name for arm in compared.setting.arms.values() if arm.spec.is_substituted]
    if names:
        yield f"{SUBSTITUTED}: {'; '.join(names)}."


def _at(compared: Compared, varied: Sequence[str]) -> str:
    names = [name for name in varied if not (compared.what and name == "image_size")]
    settings = [f"{name} {show_value(compared.setting.value(name))}" for name in names]
    parts = [part for part in (compared.what, ", ".join(settings)) if part]
    return f": {'; '.join(parts)}" if parts else ""


def _row(found: Comparison) -> tuple[str, ...]:
    return (found.name, *_cells(found.accuracy), _short(found.f1) if found.f1 else "-", found.method)


def _cells(estimate: Estimate) -> tuple[str, str, str]:
    p_value = "<0.001" if estimate.adjusted < 0.001 else f"{estimate.adjusted:.3f}"
    return f"{estimate.value:+.3f}", str(estimate.interval), p_value


def _short(estimate: Estimate) -> str:
    return f"{estimate.value:+.3f} [{estimate.interval}]"
