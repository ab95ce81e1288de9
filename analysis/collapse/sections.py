"""The VGG question as sections of a report: the verdicts, the test behind them, the rivals, and the convex certificate.

sections = collapse_sections(study, look_beside(results, study), results)
"""

from __future__ import annotations

import math
import statistics
import textwrap
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from analysis.claims.about_arithmetic import WHAT_ON_IMPLIES, blind_f1, row_in_words
from analysis.collapse.answer import (
    QUESTION,
    Beside,
    accuracy_sentence,
    cures_sentence,
    is_answered,
    meaning,
    posterior_sentence,
    what_is_open,
)
from analysis.collapse.interactions import Interaction, examine_interactions
from analysis.collapse.rivals import Contrast, Level, Rivals, examine_rivals, training_label
from analysis.collapse.sensitivity import HALF_NAMES, Sensitivity, sensitivity
from analysis.collapse.settings import (
    BACKBONE,
    OPTIMIZER_FIELDS,
    Setting,
    key_without,
    mean_validation,
    optimizer_label,
    seeds_named,
)
from analysis.collapse.verdict import LEVEL, SHARES, STATEMENT, CollapseArm, CollapseStudy, Explanation
from analysis.report.sections import Listing, Section
from analysis.statistics.seeds import MIN_SEEDS
from analysis.statistics.texts import listed, p_digits
from analysis.trials.endings import Ending, ending_of, one_class_scores
from analysis.trials.load import mixed, show_value
from analysis.trials.paper import TABLE_1
from analysis.trials.subject import is_of_paper
from galaxytl.results.collapse import ONE_CLASS_SHARE
from galaxytl.trial import SPEC_FIELDS, TrialResult

WEIGHTS = ("weights", "weights_requested", "weights_fingerprint")
SHOWN_OF_HEADS = ("backbone", *WEIGHTS, "preprocessing", *OPTIMIZER_FIELDS, "seed")
"""Fields that the certificate's table shows whether they differ or not; and the seed, which it sums up."""
NUM_HEAD_NUMBERS = 6
RIVALS = (
    "The rival removes it: the paper's setting collapses in at least half of its trials, the changed one in fewer, p is"
    f" at most {LEVEL}. It does not: the changed one collapses in more than half, surely (exact test at {LEVEL} each)."
    f" Too few: under {MIN_SEEDS} trials. A rival is ruled out only where it does not remove the collapse."
)
INTERACTIONS = (
    "How often each of four settings collapses. p: an exact test that the first change lowers the rate by as much with"
    " the second as without it, corrected by Holm over the arm. Where either alone removes the collapse, the other has"
    " nothing left to remove: that, too, is an interaction."
)


def look_beside(results: Sequence[TrialResult], study: CollapseStudy) -> Beside:
    """Return what the answer names beside the verdicts."""
    interactions = examine_interactions(results, study.arms)
    return Beside(examine_rivals(results, study.arms), interactions, sensitivity(results, study))


def collapse_sections(study: CollapseStudy, beside: Beside, results: Sequence[TrialResult]) -> Iterator[Section]:
    """Return all that is known of the question, the answer first, where there are trials for one; what the paper says,
    of its own data only."""
    if is_answered(study):
        yield _verdicts(study, beside)
    yield from _sensitivity(beside.sensitivity)
    for arm in study.arms:
        if arm.paper:
            yield _settings(arm)
    has_paper = all(is_of_paper(r.spec) for r in results)
    yield from _rivals(beside.rivals)
    if has_paper and len(beside.rivals.parameters) > 1:
        yield _parameters(beside.rivals)
    yield from _interactions(beside.interactions)
    yield from _certificate(results)
    yield _kinds(results)
    if has_paper:
        yield _paper_rows()
    if is_answered(study):
        yield Section("The test, as it was stated beforehand", None, _paragraphs(STATEMENT), is_detail=True)


def _verdicts(study: CollapseStudy, beside: Beside) -> Section:
    headings = ("Arm", "Verdict", "Paper's setting", "Alternative", "Reduction (95 %)", "p", "p (Holm)")
    rows = tuple(_verdict_row(arm) for arm in study.arms)
    sentences = [f"{arm.name}: {_sentence(arm, beside)}" for arm in study.arms]
    return Section(
        QUESTION,
        Listing(headings, rows, right={5, 6}),
        (*sentences, *study.problems),
    )


def _verdict_row(arm: CollapseArm) -> tuple[str, ...]:
    other = f"{arm.alternative.label}: {_share(arm.alternative, arm.test_seeds)}" if arm.alternative else ""
    paper = f"{arm.paper.label}: {_share(arm.paper)}" if arm.paper else ""
    reduction = str(arm.reduction) if arm.reduction else ""
    return (
        f"{BACKBONE} {arm.name}",
        arm.verdict.value,
        paper,
        other,
        reduction,
        p_digits(arm.p_value),
        p_digits(arm.corrected),
    )


def _share(setting: Setting, seeds: Sequence[int] | None = None) -> str:
    found = setting.collapsed(seeds)
    return f"{found} collapse" if found else "no seed"


def _sentence(arm: CollapseArm, beside: Beside) -> str:
    parts = [meaning(arm, beside), *(f"{text[:1].upper()}{text[1:]}." for text in what_is_open(arm, beside))]
    parts += filter(
        None, (cures_sentence(arm, beside), posterior_sentence(arm), accuracy_sentence(arm), beside.changes_of(arm))
    )
    if arm.verdict is Explanation.INCONCLUSIVE and not arm.obstacle:
        parts.append(
            f"{arm.seeds_needed} seeds would decide it at such rates (power 0.8, level {LEVEL})."
            if arm.seeds_needed
            else "At such rates no number of seeds that one can run would decide it."
        )
    if arm.alternative and arm.choice_seeds:
        chosen, tested = (seeds_named(seeds) for seeds in (arm.choice_seeds, arm.test_seeds))
        parts.append(
            f"{arm.alternative.label} was chosen of {len(arm.others)} other settings by collapse rate, then by "
            f"validation accuracy, on {chosen}, and tested on {tested}."
        )
    return " ".join(parts)


def _settings(arm: CollapseArm) -> Section:
    """Show every optimizer setting of an arm."""
    settings = [arm.paper, *arm.others] if arm.paper else list(arm.others)
    rows = tuple(
        (s.label, _share(s), str(share.interval) if (share := s.collapsed()) else "", *_of_choice(arm, s))
        for s in settings
    )
    of_choice = ("Seeds of the choice", "Collapse there", "Validation accuracy there")
    listing = Listing(("Optimizer, learning rate", "Seeds", "Collapse rate (95 %)", *of_choice), rows, {5})
    why = (
        "The paper's assumed setting first, which is not chosen; then in the order of the choice: the least collapsed, "
        "then the highest validation accuracy, on the first half of the seeds that a setting shares with the paper's."
    )
    return Section(f"{BACKBONE} {arm.name}: every optimizer setting", listing, (why,), is_detail=True)


def _of_choice(arm: CollapseArm, setting: Setting) -> tuple[str, str, str]:
    """Return what had a say in the choice, and nothing else."""
    if setting is arm.paper:
        return "", "", ""
    seeds = arm.choice_of(setting)
    value = mean_validation(setting, seeds)
    return ", ".join(map(str, seeds)), _share(setting, seeds), f"{value:.3f}" if math.isfinite(value) else ""


def _rivals(rivals: Rivals) -> Iterator[Section]:
    if rivals.contrasts:
        headings = ("Arm", "Changed", "To", "Paper's", "Changed", "Reduction (95 %)", "p (Holm)", "The rival")
        contrasts = tuple(
            (_where(c), c.factor, c.other_level, *_numbers(c), p_digits(c.corrected), c.effect.value)
            for c in rivals.contrasts
        )
        yield Section(
            "Rivals: one thing changed, all else at the paper's setting",
            Listing(headings, contrasts, right={6}),
            (RIVALS, *_confounders(rivals), "Other networks have BatchNorm, and differ in everything else too."),
        )
    if rivals.attribution:
        shares = tuple(
            (a.factor, f"{a.explained:.2f}", f"{a.by_chance:.2f}", "; ".join(_level(one) for one in a.levels))
            for a in rivals.attribution
        )
        listing = Listing(("Factor", "Explained", "By chance", "Collapsed, by level"), shares, right={1, 2})
        how = (
            "Explained: the share of the uncertainty about collapse that the factor removes (Theil's coefficient), and "
            "what it would remove by chance. Shares do not add up where a grid ties factors together."
        )
        yield Section(f"What the collapse of {BACKBONE} goes with, over all its trials", listing, (how,))


def _where(contrast: Contrast) -> str:
    """Return the arm; of a reference that is not the paper's setting, that too."""
    return ", ".join(filter(None, (f"{BACKBONE} {contrast.arm}", contrast.reference)))


def _numbers(contrast: Contrast) -> tuple[str, str, str]:
    reduction = "" if contrast.confounders else str(contrast.reduction)
    return str(contrast.paper), str(contrast.other), reduction


def _confounders(rivals: Rivals) -> Iterator[str]:
    for c in rivals.contrasts:
        if c.confounders:
            yield f"{c.arm}, {c.change}: no contrast, as its trials differ in {listed(c.confounders)} too."


def _interactions(found: Sequence[Interaction]) -> Iterator[Section]:
    if not found:
        return
    headings = ("Arm", "First", "Second", "Neither", "First alone", "Second alone", "Both", "p (Holm)")
    rows = tuple(
        (
            i.arm,
            i.first,
            " with ".join(filter(None, (i.second, i.held))),
            *map(str, i.cells.shares),
            p_digits(i.corrected),
        )
        for i in found
    )
    listing = Listing(headings, rows, right={7})
    heading = "Two things changed: does one work only with, or only without, the other?"
    yield Section(heading, listing, (INTERACTIONS,), is_detail=True)


def _sensitivity(found: Sequence[Sensitivity]) -> Iterator[Section]:
    if not found:
        return
    from_rates = (f"Collapse from {name}" for name in HALF_NAMES.values())
    headings = ("Arm", "One class from", *from_rates, "Halves of the seeds")
    rows = tuple(
        (one.arm, f"{share:.2f}", *_verdicts_at(one, share), _halves(one, share)) for one in found for share in SHARES
    )
    text = (
        "The verdict at other thresholds: the share of the predictions from which on a network names one class, and "
        "the collapse rate from which on a setting collapses. The statement has 0.95 and 1/2, and the first half of "
        "the seeds chooses; the last column has the verdicts of other halves."
    )
    yield Section("What the verdict hangs on", Listing(headings, rows), (text,), is_detail=True)


def _verdicts_at(one: Sensitivity, share: float) -> Iterator[str]:
    yield from (row.verdict.value for row in one.rows if row.one_class_share == share)


def _halves(one: Sensitivity, share: float) -> str:
    """Say how many give which verdict, beside the threshold of the statement."""
    if share != ONE_CLASS_SHARE or not one.of_halves:
        return ""
    counts = ", ".join(f"{verdict.value} {number}" for verdict, number in one.of_halves)
    return f"{counts} (of {'all' if one.are_all_halves else 'at random'} {one.num_halves})"


def _level(level: Level) -> str:
    return f"{level.level} {level.collapsed.right}/{level.collapsed.total}"


def _parameters(rivals: Rivals) -> Section:
    rows = tuple((p.label, f"{p.trainable:,}", f"{p.collapsed} collapse") for p in rivals.parameters)
    fewest, most = rivals.parameters[0], rivals.parameters[-1]
    contradicted = fewest.backbone == BACKBONE and fewest.collapsed.value >= most.collapsed.value
    said = (
        f"{BACKBONE} trains the fewest weights: too many of them cannot be why it fails in the paper."
        if contradicted
        else f"{fewest.backbone} trains the fewest weights, {most.backbone} the most."
    )
    listing = Listing(("Network, frozen", "Weights that are trained", "Paper's setting"), rows, right={1})
    return Section("The paper's own explanation: the number of parameters", listing, (said,))


def _certificate(results: Sequence[TrialResult]) -> Iterator[Section]:
    """Show how far heads on frozen features are from the optimum of their convex loss."""
    certified = [r for r in results if r.certificate]
    if not certified:
        return
    others = mixed(certified, [name for name in SPEC_FIELDS if name not in SHOWN_OF_HEADS])
    groups: dict[tuple[Any, ...], list[TrialResult]] = defaultdict(list)
    for r in certified:
        groups[key_without(r.spec)].append(r)
    rows = sorted(_certificate_row(group, list(others)) for group in groups.values())
    of_features = ("Network", "Weights", "Preprocessing", "Optimizer", *others, "Optimal loss", "Certified")
    headings = (*of_features, "Accuracy there", "Trials' loss", "Above optimum", "Trials' accuracy")
    numbers = range(len(headings) - NUM_HEAD_NUMBERS, len(headings))
    yield Section(
        "How far heads are from the best that any optimizer could do",
        Listing(headings, tuple(rows), right=frozenset(numbers)),
        (
            "A head on frozen features is softmax regression, a convex problem: its optimum is computed, and certified "
            "to within the number given (nats an image, of the training images). A trial far above it is a failure of "
            "its optimizer, by theorem; one near it that scores badly is not.",
            "Optimal for the training images is not best for the test images: the accuracy there is of that optimum.",
        ),
        is_detail=True,
    )


def _certificate_row(results: Sequence[TrialResult], others: Sequence[str]) -> tuple[str, ...]:
    """Sum up trials that differ in their seed alone; `others` are further fields in which the table's trials differ."""
    spec = results[0].spec
    key = (spec.backbone, spec.weights_label, spec.preprocessing, optimizer_label(spec))
    settings = (show_value(getattr(spec, name)) for name in others)

    def mean(name: str) -> float:
        return statistics.fmean(r.certificate.get(name, math.nan) for r in results)

    excess = [r.certificate.get("excess_loss", math.nan) for r in results]
    above = f"{min(excess):.2f}" if len(excess) == 1 else f"{min(excess):.2f} to {max(excess):.2f}"
    accuracies = [r.metrics["accuracy"] for r in results if "accuracy" in r.metrics]
    accuracy = f"{statistics.fmean(accuracies):.3f}" if accuracies else ""
    optimum = (f"{mean('optimal_loss'):.3f}", f"{mean('gap_bound'):.4f}", f"{mean('optimal_accuracy'):.3f}")
    return (*key, *settings, *optimum, f"{mean('trial_loss'):.2f}", above, accuracy)


def _kinds(results: Sequence[TrialResult]) -> Section:
    counts: dict[tuple[str, str], dict[Ending, int]] = defaultdict(lambda: defaultdict(int))
    for r in results:
        counts[r.spec.backbone, training_label(r.spec)][ending_of(r)] += 1
    rows = tuple((*key, *(str(counts[key][kind]) for kind in Ending)) for key in sorted(counts))
    listing = Listing(("Network", "Start", *(kind.value for kind in Ending)), rows, right={2, 3, 4, 5, 6})
    return Section("What became of the trials", listing, (), is_detail=True)


def _paper_rows() -> Section:
    rows = []
    for cell in TABLE_1:
        if cell.backbone == BACKBONE:
            printed = (cell.accuracy.value, cell.precision.value, cell.f1.value)
            expected = " / ".join(f"{score:.3f}" for score in one_class_scores(printed[0]))
            rows.append((cell.imagenet, " / ".join(f"{score:.3f}" for score in printed), expected, row_in_words(cell)))
    listing = Listing(("ImageNet", "Printed", "If it named one class", "So it named"), tuple(rows))
    why = (
        "Accuracy, weighted precision and F1. Naming one class of share p whatever the image gives p, p^2 and "
        "2 p^2 / (1 + p). The two rows fail in different ways, so they are two questions."
    )
    best = blind_f1()
    of_on = (
        f"Naming classes without looking at the image can be expected to give an F1 of {best.f1:.3f} at most (standard"
        f" deviation {best.deviation:.4f}). {WHAT_ON_IMPLIES}."
    )
    return Section(f"The paper's two {BACKBONE} rows", listing, (why, of_on), is_detail=True)


def _paragraphs(text: str) -> tuple[str, ...]:
    """Return its paragraphs and numbered points, each as one line."""
    points: list[str] = []
    for line in textwrap.dedent(text).splitlines():
        stripped = line.strip()
        starts = not line.startswith(" ") or stripped.split(" ")[0].isupper()
        if not stripped:
            points.append("")
        elif starts and (not points or points[-1] == "" or stripped[:1].isdigit() or stripped.split(" ")[0].isupper()):
            points.append(stripped)
        else:
            points[-1] = f"{points[-1]} {stripped}"
    return tuple(" ".join(point.split()) for point in points if point)
