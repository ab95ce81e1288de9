"""The paper's statements about its trials, judged by ours: which network, which start, and why.

    claims = judge(trials, grid)
    claims.judged            # arithmetic ones first: a Judged for each

One function a claim, here and in `about_errors`; in `about_curves` one row a claim. Each is given what could be
compared at the settings of Table 1, and decides by `verdicts.verdict_by_test`.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from analysis.claims import about_curves, about_errors
from analysis.claims.about_arithmetic import arithmetic_claims
from analysis.claims.arms import OFF, ON, Arm, TrialSetting, key_of, trial_settings
from analysis.claims.comparisons import Compared, Comparison, compare, compare_sizes, share_variance
from analysis.claims.judging import Place, Question, decide, in_words, is_other_data, p_text, size_text
from analysis.claims.verdicts import CONFIRMED, CONTRADICTED, LEVEL, NOT_CONFIRMED, Judged, Verdict, verdict_of_all
from analysis.statistics.intervals import Share, holm
from analysis.statistics.seeds import MIN_SEEDS, mean_over_seeds
from analysis.trials.load import Trials
from analysis.trials.paper import BACKBONES
from analysis.trials.subject import is_of_paper
from analysis.trials.table1_cells import PaperGrid

RANKING: Final = ("MobileNet", "ResNet50", "VGG16")
"""From the best to the worst, as the paper has it."""
POOR: Final = 0.05
"""How much better than always naming the largest class a network may be and still perform poorly: our choice."""
WHERE: Final = "section 3.1, Table 1"
NO_TABLE: Final = "there is no Table 1, at whose settings this is judged; what was left out says why"


@dataclass(frozen=True)
class Claims:
    """What was judged, and all that was compared, setting by setting."""

    arithmetic: tuple[Judged, ...]
    trials: tuple[Judged, ...]
    compared: tuple[Compared, ...]
    at_table: Compared | None
    """The one of them at the settings of Table 1."""
    other_data: str = ""
    """Name of the data where they are real galaxies and not the paper's: no claim is then judged by trials."""
    is_of_paper: bool = True
    """Whether they are in the paper's classes at all; else its claims are not spoken of."""

    @property
    def judged(self) -> tuple[Judged, ...]:
        return (*self.arithmetic, *self.trials)


def judge(trials: Trials, grid: PaperGrid | None) -> Claims:
    """Judge all claims. Those about trials are of the trials of `grid`, Table 1's; without it they are NOT_TESTABLE."""
    settings = trial_settings(trials)
    compared = tuple(compare(setting) for setting in settings)
    of_table = [r for cell in grid.cells for r in cell.complete] if grid else []
    key = key_of(of_table[0].spec) if of_table else None
    at_table = next((c for c in compared if c.setting.key == key), None)
    of_trials = trial_claims(at_table, settings)
    arithmetic, of_all = arithmetic_claims(), compared + compare_sizes(settings)
    is_the_papers = all(is_of_paper(r.spec) for r in trials.results)
    return Claims(arithmetic, of_trials, of_all, at_table, other_data(trials), is_the_papers)


def other_data(trials: Trials) -> str:
    """Return the name of the data where they are real and not the paper's, else nothing."""
    return next((r.spec.dataset for r in trials.results if is_other_data(r.spec)), "")


def trial_claims(compared: Compared | None, settings: Sequence[TrialSetting]) -> tuple[Judged, ...]:
    """Judge all claims about trials: `compared` is at the settings of Table 1, `settings` are all that there are. A
    further claim is a function and one more row here."""
    compared = compared or Compared(TrialSetting((), {}, (NO_TABLE,)), ())
    return (
        *(imagenet_helps(compared, backbone) for backbone in RANKING),
        *(networks_rank(compared, start) for start in (ON, OFF)),
        f1_ranks_alike(compared),
        *(fewer_parameters_are_better(compared, start) for start in (ON, OFF)),
        vgg16_cannot_be_trained(settings),
        *about_errors.error_claims(compared.setting),
        *about_curves.curve_claims(compared.setting),
        *about_curves.training_claims(compared.setting, settings),
    )


def _all_positive(question: Question, compared: Compared) -> Judged:
    """Return what is said of a claim that each of the question's arms is more accurate than the next one."""
    arms = question.arms(compared.setting)
    steps = [_between(compared, *pair) for pair in itertools.pairwise(arms)]
    found = [step for step in steps if step]
    if len(found) < len(steps):
        return question.lacking(compared.setting, skipped=compared.skipped)
    verdict = verdict_of_all(decide(step.accuracy) for step in found)
    return question.conclude(verdict, "; ".join(map(in_words, found)), arms, [step.accuracy for step in found])


def imagenet_helps(compared: Compared, backbone: str) -> Judged:
    """Judge that ImageNet weights give a better accuracy: said of MobileNet, and that the same holds for VGG and ResNet
    (abstract and conclusion too). Family: the three networks."""
    claim = f"{backbone} is better with ImageNet weights"
    return _all_positive(Question(claim, WHERE, ((backbone, ON), (backbone, OFF))), compared)


def networks_rank(compared: Compared, start: str) -> Judged:
    """Judge that MobileNet has a better accuracy than ResNet, and ResNet than VGG (abstract: MobileNet is the best).
    The text compares the trials with ImageNet weights; Table 1 has the same order without. Family: the three pairs of
    networks."""
    return _all_positive(Question(f"MobileNet > ResNet50 > VGG16 ({start})", WHERE, _ranking(start)), compared)


def _ranking(start: str) -> tuple[Place, ...]:
    return tuple((backbone, start) for backbone in RANKING)


def f1_ranks_alike(compared: Compared) -> Judged:
    """Judge that F1 shows the same order as accuracy does, with ImageNet weights. Family: the three pairs."""
    question = Question(f"F1 ranks MobileNet > ResNet50 > VGG16 ({ON})", WHERE, _ranking(ON))
    arms = question.arms(compared.setting)
    found = [_between(compared, *pair) for pair in itertools.pairwise(arms)]
    steps = [(step.name, step.f1) for step in found if step and step.f1]
    if len(steps) < len(found):
        return question.lacking(compared.setting, "F1 wants the predictions", compared.skipped)
    verdict = verdict_of_all(decide(f1) for _, f1 in steps)
    texts = [f"{name}: {f1}, {p_text(f1)}{size_text(f1)}" for name, f1 in steps]
    return question.conclude(verdict, "; ".join(texts), arms, [f1 for _, f1 in steps])


def fewer_parameters_are_better(compared: Compared, start: str) -> Judged:
    """Judge that the networks differ because of their numbers of trainable parameters: few train well, many converge
    too slowly. So of two neighbours by that number the smaller must be the better. Family: the three pairs."""
    claim = f"the more parameters are trained, the worse the network ({start})"
    question = Question(claim, "section 3.1", tuple((backbone, start) for backbone in BACKBONES))
    arms = [arm for arm in question.arms(compared.setting) if arm and "trainable" in arm.results[0].num_parameters]
    if len(arms) < len(question.places):
        what = "the rows do not say how many parameters were trained"
        return question.lacking(compared.setting, what, compared.skipped)
    arms.sort(key=_num_trained)
    verdicts, texts, estimates = [], [", ".join(f"{arm.backbone} {_num_trained(arm):,}" for arm in arms)], []
    for small, large in itertools.pairwise(arms):
        step, sign = _between(compared, small, large), 1
        if not step:
            step, sign = _between(compared, large, small), -1
        if not step:
            return question.lacking(compared.setting, skipped=compared.skipped)
        verdicts.append(decide(step.accuracy, sign))
        texts.append(in_words(step))
        estimates.append(step.accuracy)
    return question.conclude(verdict_of_all(verdicts), "; ".join(texts), arms, estimates)


def _num_trained(arm: Arm) -> int:
    return arm.results[0].num_parameters["trainable"]


def vgg16_cannot_be_trained(settings: Sequence[TrialSetting]) -> Judged:
    """Judge that VGG performs poorly and cannot be trained properly, with ImageNet weights or without (section 3.2),
    for its many parameters (section 3.1). One trained network that is no longer poor, better by more than POOR than
    always naming the largest class, contradicts it, whatever its setting's other seeds do. Family: all VGG16 trials
    here on the test part, each by an exact binomial test. That it is poor is confirmed of settings: no trial is better
    by POOR or more, nor is the mean over seeds, at the setting of each start that has the most seeds."""
    claim, where = "VGG16 cannot be trained, with ImageNet weights or without", "sections 3.1, 3.2"
    arms = [arm for setting in settings for arm in setting.arms.values() if arm.backbone == "VGG16"]
    absent = tuple(("VGG16", start) for start in (ON, OFF) if start not in {arm.start for arm in arms})
    question = Question(claim, where, absent)
    if absent:
        return question.lacking(TrialSetting((), {}))
    shares = [(arm, share, _majority(arm)) for arm in arms for share in _accuracies(arm)]
    tested = holm([_binomial(share, majority.value + POOR) for _, share, majority in shares])
    better = [s for s, p in zip(shares, tested, strict=True) if p < LEVEL and s[1].value > s[2].value + POOR]
    arm, share, majority = max(shares, key=lambda s: s[1].value - s[2].value)
    evidence = (
        f"{len(better)} of {len(shares)} trials are better than always naming the largest class ({majority.value:.3f})"
        f" by more than {POOR:g}; the best, {arm.start}, {arm.spec.optimizer} at {arm.spec.learning_rate:g}, has"
        f" accuracy {share.text}"
    )
    if better:
        evidence = f"{evidence}: one trained network is enough to say that it can be trained, not how often it is"
        return question.conclude_of_networks(CONTRADICTED, evidence, arms)
    poor = all(share.interval.high <= majority.value + POOR for _, share, majority in shares)
    of_seeds = [max((arm for arm in arms if arm.start == start), key=lambda arm: arm.num_seeds) for start in (ON, OFF)]
    verdict: Verdict = CONFIRMED if poor and all(map(_is_poor, of_seeds)) else NOT_CONFIRMED
    return question.conclude(verdict, evidence, of_seeds)


def _is_poor(arm: Arm) -> bool:
    """Return whether the mean over seeds is at most POOR above the share of the largest class, seeds and images
    considered."""
    if arm.num_seeds < MIN_SEEDS:
        return False
    values = [share.value for share in _accuracies(arm)]
    found = mean_over_seeds(values, share_variance(float(np.mean(values)), arm.num_images))
    return found.interval.high <= _majority(arm).value + POOR


def _accuracies(arm: Arm) -> list[Share]:
    return [Share(int(np.count_nonzero(one.right)), arm.num_images) for one in arm.predictions]


def _majority(arm: Arm) -> Share:
    return Share(int(np.bincount(arm.predictions[0].labels).max()), arm.num_images)


def _binomial(share: Share, expected: float) -> float:
    from scipy.stats import binomtest

    return float(binomtest(share.right, share.total, min(1.0, expected)).pvalue)


def _between(compared: Compared, first: Arm | None, second: Arm | None) -> Comparison | None:
    return compared.of(first, second) if first and second else None
