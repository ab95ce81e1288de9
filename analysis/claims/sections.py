"""What is said about the paper's claims and about the comparisons behind them, section by section.

claims = judge(trials, grid)
as_markdown(sections(claims)), summary(claims)

Claims are grouped by what they are about, which is where they stand in the paper. What its own printed numbers decide
hangs on no trial, and stands by itself: it is counted among no run's verdicts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from analysis.claims.verdicts import LEVEL, NOT_TESTABLE, SETTINGS, Judged, count_verdicts
from analysis.report.answer import Command
from analysis.report.sections import Listing, Section
from analysis.statistics.intervals import CONFIDENCE
from analysis.statistics.seeds import MIN_SEEDS
from analysis.statistics.texts import p_digits
from analysis.trials.banner import SUBSTITUTED
from analysis.trials.load import show_value
from analysis.trials.starts import NOT_OF_TRAINING
from galaxytl.trial import ADDED, FOLD_FIELDS

if TYPE_CHECKING:
    from analysis.claims.about_trials import Claims
    from analysis.claims.arms import TrialSetting
    from analysis.claims.comparisons import Compared, Comparison, Estimate

OVERVIEW: Final = "The paper's claims"
ARITHMETIC: Final = "The paper's own printed numbers, checked by arithmetic"
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
SEEDS: Final = "Seeds: how many each setting has."
NO_TRIAL: Final = "No trial has a say in these: they are the same in every report, and say nothing of a run."
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
COMMON: Final = (
    *("optimizer", "learning_rate", "momentum", "weight_decay", "batch_size", "num_epochs", "image_size"),
    *("preprocessing", "max_images", "test_fraction", "validation_fraction", "split_seed"),
)
"""Settings that are named of a pair beside what it differs in."""
EFFECTS: Final = (
    "Main effects: the mean of two differences. Interaction: what pretraining adds to a frozen network minus what it"
    " adds to a trained one. Over seeds, as the comparisons; of one seed by the bootstrap, of these networks alone. p:"
    " Holm's within the network."
)


def summary(claims: Claims) -> tuple[str, ...]:
    """Return at most two lines for the terminal."""
    lines = [_of_claims(claims)] if claims.is_of_paper and not unanswered(claims) else []
    apart = [
        compared for compared in claims.compared if not _is_of_fold(compared)
    ]  # else each pair would count K times
    found = [c.accuracy for compared in apart for c in compared.comparisons]
    settings = [one for one in found if one.about == SETTINGS]
    parts = []
    if settings:
        differ = sum(one.adjusted < LEVEL for one in settings)
        parts.append(f"{differ} of {len(settings)} pairs of settings differ in accuracy (Holm's method)")
    if rest := len(found) - len(settings):
        parts.append(f"{rest} {'pair has' if rest == 1 else 'pairs have'} fewer than {MIN_SEEDS} seeds of each")
    return (*lines, *([f"comparisons: {'; '.join(parts)}"] if parts else []))


def _is_of_fold(compared: Compared) -> bool:
    return bool(compared.setting.key) and bool(compared.setting.value("num_folds"))


def _of_claims(claims: Claims) -> str:
    """Count what trials decide, and nothing else: much is CONFIRMED by the paper's own arithmetic."""
    if claims.other_data:
        return _not_judged(claims)
    return f"claims judged by these trials: {count_verdicts(claims.trials)}"


def _not_judged(claims: Claims) -> str:
    return f"claims: none is judged, as the paper's are about Galaxy10 DECaLS and the data are {claims.other_data}"


def unanswered(claims: Claims) -> tuple[Command, ...]:
    """Return the question of the paper's claims in a line with the command that answers it, where no trial does."""
    if not claims.is_of_paper or claims.other_data or any(one.verdict != NOT_TESTABLE for one in claims.trials):
        return ()
    what = f"Do the paper's {len(claims.trials)} claims hold, on Galaxy10 DECaLS with ImageNet's weights?"
    return (Command(what, f"python -m sweep.run --grid paper --seeds {MIN_SEEDS} --data Galaxy10_DECals.h5"),)


def sections(claims: Claims) -> list[Section]:
    """Return the claims first, then what was compared at Table 1's settings; other settings are details."""
    if not claims.is_of_paper:
        found = []
    elif claims.other_data:
        found = [Section(OVERVIEW, None, (f"N{_not_judged(claims).removeprefix('claims: n')}.",))]
    else:
        found = claims_sections(claims.trials, claims.arithmetic)
    if claims.at_table:
        found.append(_curves(claims.at_table.setting))
    varied = _varied(claims.compared)
    for compared in claims.compared:
        found += _comparisons(compared, varied, is_detail=compared is not claims.at_table)
    return found


def claims_sections(by_trials: Sequence[Judged], arithmetic: Sequence[Judged]) -> list[Section]:
    """Show how many there are of each verdict, then topic by topic those that have trials; and by themselves those that
    the paper's own numbers or published facts decide."""
    topics = by_topic([one for one in by_trials if one.has_trials])
    found = [_overview(by_trials), *(_topic_section(topic, own) for topic, own in topics.items())]
    return [*found, *([_arithmetic(arithmetic)] if arithmetic else [])]


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


def _overview(judged: Sequence[Judged]) -> Section:
    """Show how many have which verdict by trials; in a sentence those without any, which have no place in a table."""
    topics = by_topic([one for one in judged if one.has_trials])
    without = sum(not one.has_trials for one in judged)
    absent = f"{without} of {len(judged)} claims have no trials to judge them by here."
    sentences = (*([RULES] if topics else []), *([absent] if without else []))
    return Section(OVERVIEW, _counts(topics, "Judged by these trials") if topics else None, sentences)


def _counts(topics: Mapping[str, Sequence[Judged]], heading: str) -> Listing:
    return Listing(("Claims", heading), tuple((f"about {topic}", count_verdicts(own)) for topic, own in topics.items()))


def _topic_section(topic: str, judged: Sequence[Judged], by_trials: bool = True) -> Section:
    """Show a topic's claims; of arithmetic there is no column of seeds."""
    rows = tuple(
        (one.claim, one.where, one.verdict, *([seeds_of_claim(one)] if by_trials else []), one.evidence)
        for one in judged
    )
    headings = ("Claim", "In the paper", "Verdict", *(["Seeds"] if by_trials else []), "Evidence")
    sentences = (SEEDS if by_trials else NO_TRIAL, *([CURVES] if by_trials and topic == "curves" else []))
    return Section(f"{OVERVIEW} about {topic}", Listing(headings, rows), sentences)


def arithmetic_sections(judged: Sequence[Judged]) -> list[Section]:
    """Show what the paper's own numbers or published facts decide: how many of each verdict, then topic by topic."""
    topics = by_topic(judged)
    overview = Section(ARITHMETIC, _counts(topics, "Judged without trials"), (RULES,))
    return [overview, *(_topic_section(topic, own, by_trials=False) for topic, own in topics.items())]


def _arithmetic(judged: Sequence[Judged]) -> Section:
    """Show all of them in one table, beside which a report has those that trials decide."""
    rows = tuple(
        (topic, one.claim, one.where, one.verdict, one.evidence)
        for topic, own in by_topic(judged).items()
        for one in own
    )
    return Section(ARITHMETIC, Listing(("About", "Claim", "In the paper", "Verdict", "Evidence"), rows), (NO_TRIAL,))


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
    >>> seeds_of_claim(Judged("", "", "NOT_CONFIRMED", "", "networks", (("A", 3), ("B", 1))))
    '3, 1'
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
        headings = ("First", "Second", "Accuracy", f"{CONFIDENCE:.0%} interval", "p", "F1", "Method")
        listing = Listing(headings, rows, {2, 4}) if rows else None
        notes = (_in_common(compared), *([] if is_detail else [METHODS])) if rows else ()
        yield Section(f"Comparisons{at}", listing, (*_stand_ins(compared), *compared.skipped, *notes), is_detail)
    if compared.effects:
        effects = tuple(
            (effect.family.removeprefix("2 x 2, "), effect.name, *_cells(effect.accuracy), str(effect.f1))
            for effect in compared.effects
        )
        of_effects = ("Network", "Effect", "Accuracy", f"{CONFIDENCE:.0%} interval", "p", "F1")
        heading = f"Pretraining and freezing, 2 x 2{at}"
        sentences = (*_stand_ins(compared), *(() if is_detail else (EFFECTS,)))
        yield Section(heading, Listing(of_effects, effects, {2, 4}), sentences, is_detail)


def _stand_ins(compared: Compared) -> Iterator[str]:
    """Return which of the arms called by ImageNet's name lack its weights."""
    names = [arm.name for arm in compared.setting.arms.values() if arm.spec.is_substituted]
    if names:
        yield f"{SUBSTITUTED}: {'; '.join(names)}."


def _at(compared: Compared, varied: Sequence[str]) -> str:
    names = [name for name in varied if _is_used(compared.setting, name) and _is_shared(compared, name)]
    settings = [f"{name} {show_value(compared.setting.value(name))}" for name in names]
    parts = [part for part in (compared.what, ", ".join(settings)) if part]
    return f": {'; '.join(parts)}" if parts else ""


def _is_used(setting: TrialSetting, name: str) -> bool:
    """Return whether the trials of a setting differ in a field from trials of before there was the field; or whether
    it was always there."""
    is_fold = name == "fold" and setting.value("num_folds")
    return bool(is_fold) or name not in ADDED or setting.value(name) != ADDED[name]


def _is_shared(compared: Compared, name: str) -> bool:
    return not (compared.what and name == "image_size")


def _in_common(compared: Compared) -> str:
    """Return what both settings of each pair have beside their names."""
    further = [name for name in ADDED if name not in NOT_OF_TRAINING or name in FOLD_FIELDS]
    used = [name for name in further if _is_used(compared.setting, name)]
    names = [name for name in (*COMMON, *used) if _is_shared(compared, name)]
    texts = [f"{name.replace('_', ' ')} {show_value(compared.setting.value(name))}" for name in names]
    return f"Accuracy and F1: the first minus the second. Both settings of each pair have {', '.join(texts)}."


def _row(found: Comparison) -> tuple[str, ...]:
    return (*found.names, *_cells(found.accuracy), str(found.f1) if found.f1 else "-", found.method)


def _cells(estimate: Estimate) -> tuple[str, str, str]:
    return f"{estimate.value:+.3f}", str(estimate.interval), p_digits(estimate.adjusted, "<0.001")
