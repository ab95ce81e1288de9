"""What is said about the paper's claims and about the comparisons behind them, section by section.

claims = judge(trials, grid)
as_markdown(sections(claims)), summary(claims)

Claims are grouped by what they are about, which is where they stand in the paper; what its own numbers decide comes
before what trials decide.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from analysis.claims.verdicts import LEVEL, PAPER, SETTINGS, Judged, count_verdicts
from analysis.report.sections import Listing, Section
from analysis.statistics.intervals import CONFIDENCE
from analysis.statistics.seeds import MIN_SEEDS
from analysis.statistics.texts import p_digits
from analysis.trials.banner import SUBSTITUTED
from analysis.trials.load import show_value

if TYPE_CHECKING:
    from analysis.claims.about_trials import Claims
    from analysis.claims.arms import TrialSetting
    from analysis.claims.comparisons import Compared, Comparison, Estimate

OVERVIEW: Final = "The paper's claims"
TOPICS: Final = (
    ("earlier work", r"reference"),
    ("curves", r"Figures 4-15"),
    ("confusion matrices", r"Figures (16|18|20)|abstract, section 3\.2"),
    ("data", r"2\.1"),
    ("networks", r"2\.[23]"),
    ("scores", r""),
)
"""Topic -> what is found in the place of its claims, and in none before it."""
ORDER: Final = ("data", "networks", "scores", "curves", "confusion matrices", "earlier work")
"""As the paper has them, but for earlier work."""

RULES: Final = (
    "CONFIRMED: the test over seeds, corrected by Holm's method within the claim's family, is on the claimed side, with"
    f" {MIN_SEEDS} seeds or more of each setting; of the paper's own numbers: they agree to their last digit."
    " CONTRADICTED: on the other side; they cannot all be right. COMPATIBLE: the paper's own numbers agree with the"
    " claim and do not prove it. NOT_CONFIRMED: none of these, or too few seeds, which speak of these trained networks"
    " alone. NOT_TESTABLE: trials or a library are missing, the galaxies are simulated or not the paper's, or random"
    " weights stand in for ImageNet's."
)
SEEDS: Final = "Seeds: how many each setting has; none where the paper's own numbers decide, or trials are missing."
NO_SEEDS: Final = "No trial decides these, so they have no number of seeds."
CURVES: Final = (
    "A curve counts by one number a trial: its mean over the epochs, its first value, the epochs to 90 % of its last"
    " value (known to one epoch), and validation minus training loss at the end. Validation accuracy varies with its"
    " images as if each setting had its own; losses vary with them as they do at the end on the test part, image by"
    " image, where there are predictions, and are else taken as they are on these images."
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
    """Return at most two lines for the terminal."""
    lines = [_not_judged(claims) if claims.other_data else f"claims: {_counts(claims)}"] if claims.is_of_paper else []
    found = [c.accuracy for compared in claims.compared for c in compared.comparisons]
    settings = [one for one in found if one.about == SETTINGS]
    parts = []
    if settings:
        differ = sum(one.adjusted < LEVEL for one in settings)
        parts.append(f"{differ} of {len(settings)} pairs of settings differ in accuracy (Holm's method)")
    if rest := len(found) - len(settings):
        parts.append(f"{rest} {'pair has' if rest == 1 else 'pairs have'} fewer than {MIN_SEEDS} seeds of each")
    return (*lines, *([f"comparisons: {'; '.join(parts)}"] if parts else []))


def _counts(claims: Claims) -> str:
    """Count what trials decide and the rest, each by itself: much is CONFIRMED by the paper's own arithmetic."""
    return f"by trials {count_verdicts(claims.trials)}; without trials {count_verdicts(claims.arithmetic)}"


def _not_judged(claims: Claims) -> str:
    return f"claims: none is judged, as the paper's are about Galaxy10 DECaLS and the data are {claims.other_data}"


def sections(claims: Claims) -> list[Section]:
    """Return the claims first, then what was compared at Table 1's settings; other settings are details."""
    if not claims.is_of_paper:
        found = []
    elif claims.other_data:
        found = [Section(OVERVIEW, None, (f"N{_not_judged(claims).removeprefix('claims: n')}.",))]
    else:
        found = claims_sections(claims.judged)
    if claims.at_table:
        found.append(_curves(claims.at_table.setting))
    varied = _varied(claims.compared)
    for compared in claims.compared:
        found += _comparisons(compared, varied, is_detail=compared is not claims.at_table)
    return found


def claims_sections(judged: Sequence[Judged]) -> list[Section]:
    """Show how many there are of each verdict, then topic by topic."""
    topics = by_topic(judged)
    return [_overview(topics), *(_topic_section(topic, own) for topic, own in topics.items())]


def by_topic(judged: Sequence[Judged]) -> dict[str, list[Judged]]:
    """Return topic -> its claims, in the order given; topics without a claim are left out."""
    found = {topic: [one for one in judged if topic_of(one) == topic] for topic in ORDER}
    return {topic: own for topic, own in found.items() if own}


def topic_of(judged: Judged) -> str:
    """
    >>> topic_of(Judged("", "section 3.1, Table 1", "CONFIRMED", ""))
    'scores'
    """
    return next(topic for topic, place in TOPICS if re.search(place, judged.where))


def _overview(topics: Mapping[str, Sequence[Judged]]) -> Section:
    """Show how many have which verdict. Without claims that trials decide there is no column of them."""
    parts = {topic: _by_judge(own) for topic, own in topics.items()}
    columns = [1] if not any(by_trials for by_trials, _ in parts.values()) else [0, 1]
    headings = ("Claims", *(("Judged by trials", "Judged without trials")[column] for column in columns))
    rows = tuple(
        (f"about {topic}", *(count_verdicts(own[column]) for column in columns)) for topic, own in parts.items()
    )
    return Section(OVERVIEW, Listing(headings, rows), (RULES,))


def _by_judge(judged: Sequence[Judged]) -> tuple[list[Judged], list[Judged]]:
    """Return those that trials decide, and those that the paper's own numbers or published facts do."""
    return [one for one in judged if one.about != PAPER], [one for one in judged if one.about == PAPER]


def _topic_section(topic: str, judged: Sequence[Judged]) -> Section:
    """Show a topic's claims. Without trials there is no column of seeds."""
    by_trials = any(one.seeds for one in judged)
    rows = tuple(
        (one.claim, one.where, one.verdict, *([seeds_of_claim(one)] if by_trials else []), one.evidence)
        for one in judged
    )
    headings = ("Claim", "In the paper", "Verdict", *(["Seeds"] if by_trials else []), "Evidence")
    sentences = (SEEDS if by_trials else NO_SEEDS, *([CURVES] if topic == "curves" else []))
    return Section(f"{OVERVIEW} about {topic}", Listing(headings, rows), sentences)


def _curves(setting: TrialSetting) -> Section:
    """Show what the claims about curves compare, at the settings of Table 1."""
    from analysis.claims.about_curves import CURVE_HEADINGS, curve_rows

    how = (
        "Means over seeds, and their standard deviation. Area: of the watched accuracy, its mean over the epochs."
        " Epochs to 90 % of its last value; empty where a network has collapsed, and so converges to nothing. Loss gap:"
        " that of the watched part minus that of the training part at the last epoch, in nats."
    )
    listing = Listing(CURVE_HEADINGS, curve_rows(setting), {1, 3, 4, 5})
    return Section("Curves in numbers", listing, (how,))


def seeds_of_claim(judged: Judged) -> str:
    """
    >>> seeds_of_claim(Judged("", "", "CONFIRMED", "", "settings", (("A", 3), ("B", 3))))
    '3 each'
    >>> seeds_of_claim(Judged("", "", "NOT_TESTABLE", "", "networks", (("A", 3), ("B", 0))))
    '3, 0'
    """
    numbers = [number for _, number in judged.seeds]
    if not any(numbers):
        return "none"
    if len(numbers) > 1 and len(set(numbers)) == 1:
        return f"{numbers[0]} each"
    return ", ".join(map(str, numbers))


def _varied(compared: Sequence[Compared]) -> tuple[str, ...]:
    """Return the settings in which what is compared differs."""
    from analysis.trials.table1_cells import SETTINGS

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
            (effect.family.removeprefix("2 x 2, "), effect.name, *_cells(effect.accuracy), str(effect.f1))
            for effect in compared.effects
        )
        headings = ("Network", "Effect", "Accuracy", f"{CONFIDENCE:.0%} interval", "p", "F1")
        heading = f"Pretraining and freezing, 2 x 2{at}"
        sentences = (*_stand_ins(compared), *(() if is_detail else (EFFECTS,)))
        yield Section(heading, Listing(headings, rows, {2, 4}), sentences, is_detail)


def _stand_ins(compared: Compared) -> Iterator[str]:
    """Return which of the arms called by ImageNet's name lack its weights."""
    names = [arm.name for arm in compared.setting.arms.values() if arm.spec.is_substituted]
    if names:
        yield f"{SUBSTITUTED}: {'; '.join(names)}."


def _at(compared: Compared, varied: Sequence[str]) -> str:
    names = [name for name in varied if not (compared.what and name == "image_size")]
    settings = [f"{name} {show_value(compared.setting.value(name))}" for name in names]
    parts = [part for part in (compared.what, ", ".join(settings)) if part]
    return f": {'; '.join(parts)}" if parts else ""


def _row(found: Comparison) -> tuple[str, ...]:
    return (found.name, *_cells(found.accuracy), str(found.f1) if found.f1 else "-", found.method)


def _cells(estimate: Estimate) -> tuple[str, str, str]:
    return f"{estimate.value:+.3f}", str(estimate.interval), p_digits(estimate.adjusted, "<0.001")
