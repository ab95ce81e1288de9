"""The VGG question's first screen: its answer in one sentence an arm, with every rival that the sentence must name.

    beside = Beside(examine_rivals(results, arms), examine_interactions(results, arms), changes)
    collapse_answer(study, beside, results, again)

An answer says that the collapse comes from the optimizer's settings only where everything that must be tried was
tried and is shown not to remove it. A warm-up, a schedule, clipped gradients and the batch size are such settings:
where they remove the collapse, they are no rivals of that answer, and are said beside it. Else it says that other
settings remove it, and names in the same sentence what removes it as well, what is not ruled out, and what was not
tried (the rules: `analysis.collapse.rivals`).
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from analysis.collapse.confounding import not_recorded
from analysis.collapse.interactions import OTHERS, Interaction
from analysis.collapse.rivals import HALF, Contrast, Effect, Rivals
from analysis.collapse.sensitivity import Sensitivity
from analysis.collapse.settings import BACKBONE, arm_of
from analysis.collapse.verdict import (
    DISAGREE,
    CollapseArm,
    CollapseStudy,
    Explanation,
    seeds_for_any_verdict,
    varied_fields,
)
from analysis.report import rerun
from analysis.report.answer import Answer, Command, reservations, seeds_text
from analysis.statistics.beta_binomial import reduction
from analysis.statistics.intervals import CONFIDENCE, binomial_variance
from analysis.statistics.seeds import MIN_SEEDS, SeedEstimate, paired_over_seeds
from analysis.statistics.texts import listed
from analysis.trials.endings import Ending
from analysis.trials.load import Trials, count_of, count_of_trials, show_value
from analysis.trials.subject import describe, is_of_paper
from galaxytl.trial import TrialResult, TrialSpec

MEANING = {
    Explanation.EXPLAINED: "other optimizer settings remove the collapse",
    Explanation.NOT_EXPLAINED: "other optimizer settings collapse as well",
    Explanation.NOT_REPRODUCED: "the paper's setting does not collapse here",
    Explanation.INCONCLUSIVE: "the trials do not decide it",
}
ONLY = "the collapse comes from the optimizer's settings: nothing else that could be the cause removes it"
QUESTION = f"Does {BACKBONE}'s collapse come from its optimizer settings?"
OPEN = (Effect.UNDECIDED, Effect.TOO_FEW, Effect.CONFOUNDED)


@dataclass(frozen=True)
class Beside:
    """What stands beside the test."""

    rivals: Rivals = field(default_factory=lambda: Rivals((), (), ()))
    interactions: tuple[Interaction, ...] = ()
    sensitivity: tuple[Sensitivity, ...] = ()

    def notable(self, arm: str) -> tuple[Interaction, ...]:
        """Return, of the arm's interactions, those in which two things work together only, or undo each other; of those
        of the optimizer with the same factor the clearest, with all other settings where they are as clear."""
        own = [i for i in self.interactions if i.arm == arm and i.may_be and (i.is_joint or i.is_undone)]
        own.sort(key=lambda i: (i.corrected, i.p_value, -abs(i.cells.value), i.first))
        best = {(i.is_joint, i.second, i.held): i for i in reversed(own)}
        return tuple(i for i in own if best[i.is_joint, i.second, i.held] is i)

    def changes_of(self, arm: CollapseArm) -> str:
        """Return how the verdict hangs on the choices of the test; empty where it does not, or where there is none
        anyway."""
        return next((one.sentence for one in self.sensitivity if one.arm == arm.name and not arm.obstacle), "")


NOTHING = Beside()


def meaning(arm: CollapseArm, beside: Beside = NOTHING) -> str:
    """Return what the verdict means, with what removes the collapse as well, and why; sentences."""
    if not arm.paper:
        return f"{arm.why}."
    what = MEANING[arm.verdict] if arm.verdict is Explanation.NOT_REPRODUCED else _beside(arm, beside)
    return f"{what}. {arm.why[:1].upper()}{arm.why[1:]}.{_taken_as_alike(arm)}"


def _beside(arm: CollapseArm, beside: Beside) -> str:
    removes, joint = beside.rivals.of(arm.name, Effect.REMOVES), beside.notable(arm.name)
    is_open = bool(beside.rivals.of(arm.name, *OPEN) or beside.rivals.untried(arm.name))
    if arm.verdict is Explanation.EXPLAINED and not (removes or is_open or any(not i.is_of_optimizer for i in joint)):
        return "; ".join([ONLY, *map(_together, joint)])
    parts = [MEANING[arm.verdict], *map(_together, joint)]
    if removes and arm.verdict is Explanation.EXPLAINED:
        parts[0] += f", and so {'do' if len(removes) > 1 else 'does'} {_named(removes)}"
    elif removes:
        parts.insert(1, f"{_named(removes)} {'remove' if len(removes) > 1 else 'removes'} it")
    cures = [c for c in beside.rivals.cures(arm.name) if c.effect is Effect.REMOVES]
    if cures and arm.verdict is not Explanation.EXPLAINED:
        do = "remove it, settings" if len(cures) > 1 else "removes it, a setting"
        parts.insert(1, f"{_named(cures)} {do} of the optimizer too")
    may = [c for c in beside.rivals.of(arm.name, *OPEN) if c.paper.value >= HALF > c.other.value]
    if arm.verdict is Explanation.EXPLAINED and may:
        parts[0] += f", and perhaps {listed([f'{c.change} ({_state(c)})' for c in may])}"
    if arm.verdict is Explanation.EXPLAINED and is_open:
        parts.append("other causes are not ruled out")
    return "; ".join(parts)


def cures_sentence(arm: CollapseArm, beside: Beside) -> str:
    """Return what a warm-up, clipped gradients and the like do by themselves; empty where none was tried."""
    cures = beside.rivals.cures(arm.name)
    if not arm.paper or not cures or arm.verdict is Explanation.NOT_REPRODUCED:
        return ""
    tried = "; ".join(f"{c.change}, {c.other} collapse ({c.effect.value})" for c in cures)
    return f"The optimizer otherwise as in the paper's setting: {tried}."


def what_is_open(arm: CollapseArm, beside: Beside) -> tuple[str, ...]:
    """Return what no trial rules out, and why: clauses. Nothing where there is no collapse to explain."""
    if not arm.paper or arm.verdict is Explanation.NOT_REPRODUCED:
        return ()
    left, untried = beside.rivals.of(arm.name, *OPEN), beside.rivals.untried(arm.name)
    return (
        *([f"not ruled out: {listed([f'{c.change} ({_state(c)})' for c in left])}"] if left else []),
        *([f"not tried: {listed(untried)}"] if untried else []),
    )


def _taken_as_alike(arm: CollapseArm) -> str:
    """Return a sentence of what the trials that are compared do not record; empty where they record all."""
    if not arm.paper or not arm.alternative or not arm.test_seeds or arm.verdict is Explanation.NOT_REPRODUCED:
        return ""
    trials = [*arm.paper.trials(), *arm.alternative.trials(arm.test_seeds)]
    if silent := sum(not r.environment for r in trials):
        number = "No trial records" if silent == len(trials) else f"{silent} of {len(trials)} trials do not record"
        return f" {number} versions and device: they are taken to be the same."
    names = not_recorded(trials, ())
    return f" Some trials do not record {listed(names)}, taken to be the same." if names else ""


def _named(contrasts: Iterable[Contrast]) -> str:
    return listed([f"{c.change} ({c.other} collapse)" for c in contrasts])


def _state(contrast: Contrast) -> str:
    """Return why a rival is not ruled out."""
    if contrast.effect is Effect.CONFOUNDED:
        return f"could not be tested: its trials differ in {listed(contrast.confounders)} too"
    if contrast.effect is Effect.TOO_FEW:
        seeds = min(contrast.paper.total, contrast.other.total)
        return f"could not be tested: {count_of(seeds, 'seed')}"
    return f"{contrast.other} collapse"


def _together(found: Interaction) -> str:
    """Describe an interaction that the answer must name; with its p-value where the correction leaves it open."""
    at = f"with {found.held}, " if found.held else ""
    both = f"{found.cells.both} collapse"
    text = (
        f"{at}{found.first} and {found.second} remove it only together ({both})"
        if found.is_joint
        else f"{at}{found.first} no longer {'do' if found.first == OTHERS else 'does'} with {found.second} ({both})"
    )
    return text if found.is_shown else f"perhaps {text[:-1]}; p = {found.corrected:.2f} after correction)"


def accuracy_difference(arm: CollapseArm) -> tuple[SeedEstimate, int] | None:
    """Return the alternative's accuracy minus the paper's, paired by the seeds that tested the alternative, and how
    many these are; None for fewer than two, or where the two differ in more than the optimizer. The images count as if
    the two were of different ones, which is too wide where both have the same ones right."""
    if not arm.paper or not arm.alternative or arm.is_confounded:
        return None
    own, others = arm.paper.accuracies, arm.alternative.accuracies
    seeds = [seed for seed in arm.test_seeds if seed in own and seed in others]
    if len(seeds) < 2:
        return None
    first, second = [own[seed] for seed in seeds], [others[seed] for seed in seeds]
    images = min((sum(map(sum, r.confusion)) for r in arm.paper.trials(seeds) if r.confusion), default=0)
    variance = sum(binomial_variance(statistics.fmean(values), images) for values in (first, second))
    return paired_over_seeds(second, first, variance), len(seeds)


def accuracy_sentence(arm: CollapseArm) -> str:
    """Return both accuracies with intervals, and their difference; empty without an alternative."""
    if not arm.paper or not arm.alternative:
        return ""
    first, second = arm.accuracies
    texts = [
        f"{found.value:.3f} ({found.interval.within(0.0, 1.0)}) with {setting.label}"
        for found, setting in ((first, arm.paper), (second, arm.alternative))
        if found
    ]
    if lost := 0 if first else arm.paper.ends()[Ending.DIVERGED]:
        texts.append(f"none with {arm.paper.label}, whose loss became NaN in {lost} of {len(arm.paper.kinds)} seeds")
    if not texts:
        return ""
    text = f"Accuracy {', '.join(texts)}"
    if not (found := accuracy_difference(arm)):
        return f"{text}."
    difference, seeds = found
    within = difference.interval.within(-1.0, 1.0)
    return f"{text}; difference {difference.value:+.3f} ({within}), paired by the {seeds} seeds tested."


def posterior_sentence(arm: CollapseArm) -> str:
    """Return the posterior of the reduction of the collapse rate; empty without both counts, or where there is no
    collapse."""
    first = arm.paper.collapsed() if arm.paper else None
    second = arm.alternative.collapsed(arm.test_seeds) if arm.alternative else None
    if first is None or second is None or arm.verdict is Explanation.NOT_REPRODUCED or arm.is_confounded:
        return ""
    found = reduction(first, second)
    low, high = found.interval.low, found.interval.high
    return (
        f"Reduction of the collapse rate: {low:.2f} to {high:.2f} at {CONFIDENCE:.0%} (posterior, Jeffreys prior), "
        f"above 1/2 with probability {found.probability_above(0.5):.2f}."
    )


def verdict_lines(study: CollapseStudy, beside: Beside = NOTHING) -> tuple[str, ...]:
    """Return a line an arm: the answer in one sentence."""
    return tuple(f"{BACKBONE} {_short(arm.name)}: {arm.verdict.value}: {meaning(arm, beside)}" for arm in study.arms)


def _short(arm: str) -> str:
    """
    >>> _short("ON, random weights (ImageNet weights not found)"), _short("ON")
    ('ON, random weights', 'ON')
    """
    return arm.partition(" (")[0]


def collapse_answer(
    study: CollapseStudy, beside: Beside, results: Sequence[TrialResult], commands: Sequence[Command] = ()
) -> Answer:
    """Return the first screen, of the trials of grids. `commands` run the trials again with what is lacking."""
    own = [r for r in results if r.spec.backbone == BACKBONE]
    answer = [
        text
        for arm, line in zip(study.arms, verdict_lines(study, beside), strict=True)
        for text in (line, cures_sentence(arm, beside), _uncertainty(arm), beside.changes_of(arm))
        if text
    ]
    also = _by_arm(study, [_ruled_out(arm, beside) for arm in study.arms])
    settle = _by_arm(study, [_lacking(arm, beside) for arm in study.arms])
    return Answer(
        (f"{QUESTION} {_tested(study, own)}",),
        (*reservations(own), *answer),
        also,
        settle,
        tuple(commands) if settle else (),
    )


def is_answered(study: CollapseStudy) -> bool:
    """Return whether an arm has trials of the paper's and of other optimizer settings that can be compared."""
    return any(arm.paper for arm in study.arms)


def unanswered(study: CollapseStudy, trials: Trials) -> Command:
    """Return the question in a line, with the command that runs the trials that it needs; of trials that are there, why
    they do not answer it."""
    division = rerun.division(r.spec for r in trials.results)
    lost = [f"{_short(arm.name)}: {arm.why}." for arm in study.arms if not arm.why.startswith("no trial")]
    return Command(
        " ".join([QUESTION, *lost]), rerun.command("vgg-collapse", *division, "--seeds", str(SEEDS_TO_START))
    )


def _by_arm(study: CollapseStudy, texts: Sequence[str]) -> tuple[str, ...]:
    """Return each text with the arms that it is of: those of equal texts together."""
    names: dict[str, list[str]] = {}
    for arm, text in zip(study.arms, texts, strict=True):
        if text:
            names.setdefault(text, []).append(_short(arm.name))
    return tuple(f"{' and '.join(own)}: {text}" for text, own in names.items())


def _uncertainty(arm: CollapseArm) -> str:
    """Return how sure the numbers are; nothing where backgrounds disagree: the numbers of one are not those of the
    answer."""
    texts = (posterior_sentence(arm), accuracy_sentence(arm)) if arm.obstacle != DISAGREE else ()
    return " ".join(text for text in texts if text)


def _tested(study: CollapseStudy, results: Sequence[TrialResult]) -> str:
    """Return the trials and what they have in common."""
    arms = [arm for arm in study.arms if arm.paper]
    numbers = [len(setting.kinds) for arm in arms if arm.paper for setting in (arm.paper, *arm.others)]
    names: dict[str, list[str]] = {}
    for arm in arms:
        names.setdefault(arm.background, []).append(_short(arm.name))
    at = "; ".join(f"{' and '.join(own)} at {text}" if len(names) > 1 else f"at {text}" for text, own in names.items())
    tested = f" Tested with {seeds_text(number for number in numbers if number)}, {at}." if arms else ""
    data = results[0].spec.dataset if is_of_paper(results[0].spec) else describe(results)
    return f"{count_of_trials(len(results))} of {BACKBONE} on {data}.{tested}"


def _ruled_out(arm: CollapseArm, beside: Beside) -> str:
    """Return what else could explain it, what is shown not to, and the counts of what works together."""
    if not arm.paper or arm.verdict is Explanation.NOT_REPRODUCED:
        return ""
    out = beside.rivals.of(arm.name, Effect.KEEPS)
    removes = beside.rivals.of(arm.name, Effect.REMOVES)
    parts = [f"as good a cure: {listed([c.change for c in removes])}"] if removes else []
    parts += what_is_open(arm, beside)
    if out:
        parts.append(f"ruled out: {_named(out)}")
    parts += [found.sentence for found in beside.notable(arm.name)]
    return f"{'; '.join(parts)}." if parts else ""


def _lacking(arm: CollapseArm, beside: Beside) -> str:
    """Return what would settle it; empty where nothing is lacking."""
    parts = []
    if not arm.paper:
        return "trials of the paper's and of other optimizer settings, alike in all else, that come to their end."
    if arm.verdict is Explanation.NOT_REPRODUCED:
        return ""
    if arm.verdict is Explanation.INCONCLUSIVE:
        parts.append(_would_decide(arm))
    few = [c.change for c in beside.rivals.of(arm.name, Effect.TOO_FEW)]
    if few:
        parts.append(f"at least {MIN_SEEDS} seeds of {listed(few)}")
    undecided = [c.change for c in beside.rivals.of(arm.name, Effect.UNDECIDED)]
    if undecided:
        parts.append(f"more seeds of {listed(undecided)}")
    confounded = [c.change for c in beside.rivals.of(arm.name, Effect.CONFOUNDED)]
    if confounded:
        parts.append(f"{listed(confounded)} and the paper's setting by one version on one machine")
    if untried := beside.rivals.untried_factors(arm.name):
        parts.append(f"what was not tried: {', '.join(f'--set {_option(f, arm.paper.spec)}' for f in untried)}")
    if beside.rivals.of(arm.name, Effect.REMOVES) and arm.verdict is Explanation.EXPLAINED:
        parts.append("no number of seeds chooses between cures that all work: the gradients of the trials may")
    return f"{'; '.join(parts)}." if parts else ""


def _would_decide(arm: CollapseArm) -> str:
    if fixed := _to_fix(arm):
        return f"all seeds at one value of {listed([name for name, _ in fixed])}"
    if arm.obstacle == DISAGREE:
        own = ((name, getattr(arm.paper.spec, name)) for name in varied_fields(arm.backgrounds)) if arm.paper else ()
        where = " ".join(f"--where {name}={show_value(value)}" for name, value in own)
        return f"a report of one background at a time, as by {where}"
    if arm.obstacle:
        return "trials without what stands against a verdict"
    if arm.seeds_needed and not arm.test_seeds:
        return f"at least {arm.seeds_needed} seeds of each setting"
    if arm.seeds_needed:
        return f"{arm.seeds_needed} seeds would decide it at such rates"
    return "at such rates no number of seeds that one can run would decide it"


def _to_fix(arm: CollapseArm) -> tuple[tuple[str, int], ...]:
    """Return the seeds besides the seed, with a value to fix them at, where they make backgrounds of too few trials."""
    seeds = [len(one.paper.kinds) for one in arm.backgrounds if one.paper]
    names = [name for name in varied_fields(arm.backgrounds) if name.endswith("_seed")]
    if not arm.paper or arm.verdict is not Explanation.INCONCLUSIVE or not names or max(seeds) >= MIN_SEEDS:
        return ()
    return tuple((name, getattr(arm.paper.spec, name)) for name in names)


MORE_EPOCHS = 3
"""Times as many, to see whether they are what is lacking."""
SEEDS_TO_START = seeds_for_any_verdict()


def _option(factor: str, spec: TrialSpec) -> str:
    """Return what a sweep is to set, that it runs the paper's setting with this rival."""
    return {
        "preprocessing": "preprocessing=backbone",
        "epochs": f"num_epochs={MORE_EPOCHS * spec.num_epochs}",
        "start": "weights=imagenet,random",
        "network": "backbone=MobileNet",
    }[factor]


def settling(study: CollapseStudy, beside: Beside, trials: Trials, grids: Mapping[Path, Path]) -> tuple[Command, ...]:
    """Return the commands that run what is lacking: seeds, and rivals that were not tried. `grids`: results folder ->
    the grid file of its trials."""
    arms = [arm for arm in study.arms if arm.paper]
    folder, data = _folder(trials), rerun.what_data_is(trials.results)
    division = rerun.division(r.spec for r in trials.results)
    if not arms or folder is None or folder not in grids:
        return ()
    fixed = dict(pair for arm in arms for pair in _to_fix(arm))
    options = [word for name, value in fixed.items() for word in ("--set", f"{name}={value}")]
    options = options or _more_seeds(arms, beside)
    options = options or next(filter(None, (_first_untried(arm, beside) for arm in arms)), [])
    if not options:
        return ()
    what = f"To run next ({data}; what is done is not run again)"
    return (Command(what, rerun.command(grids[folder], *division, *options, out=folder)),)


def _folder(trials: Trials) -> Path | None:
    """Return the results folder that has most trials of the question."""
    own = (r for r in trials.results if r.spec.backbone == BACKBONE and arm_of(r.spec))
    counts = Counter(trials.folders.get(r.trial_id) for r in own)
    return min(counts, key=lambda folder: (-counts[folder], str(folder)), default=None)


def _more_seeds(arms: Sequence[CollapseArm], beside: Beside) -> list[str]:
    """Return the option that runs more seeds. A grid's --seeds counts up from each of its own, so that one more gives
    one more."""
    have = min(len(setting.kinds) for arm in arms for setting in (arm.paper, *arm.others) if setting)
    wanted = [arm.seeds_needed or 0 for arm in arms if arm.verdict is Explanation.INCONCLUSIVE]
    decided = [arm for arm in arms if arm.verdict in {Explanation.EXPLAINED, Explanation.NOT_EXPLAINED}]
    few = any(beside.rivals.of(arm.name, Effect.TOO_FEW, Effect.UNDECIDED) for arm in decided)
    needed = max([*wanted, max(MIN_SEEDS, have + 1) if few else 0])
    return ["--seeds", str(needed - have + 1)] if needed > have else []


def _first_untried(arm: CollapseArm, beside: Beside) -> list[str]:
    if arm.verdict is Explanation.NOT_REPRODUCED:
        return []
    untried = beside.rivals.untried_factors(arm.name)
    return ["--set", _option(untried[0], arm.paper.spec)] if arm.paper and untried else []
