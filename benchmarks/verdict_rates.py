"""How often verdicts are wrong, and intervals miss, where the truth is known: what bench_verdicts.py runs.

    rates = CHECKS["comparisons"](rounds=1000, seed=0)      # a list of Rate

A verdict is wrong where it says what is not so. Where nothing is said (INCONCLUSIVE, NOT_CONFIRMED), nothing is wrong.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Any, Final

import numpy as np
from scipy.stats import binom
from verdict_truths import COUNTS, Truth, arm_of, collapses, result_of, spec_of

from analysis import claims, collapse, comparisons, rivals
from analysis.arms import Setting, key_of
from analysis.claims_rules import decide
from analysis.failure import Kind, kind_of
from analysis.gather import Trials
from analysis.rivals import Effect
from analysis.statistics.beta_binomial import reduction
from analysis.statistics.equivalence import MARGIN
from analysis.statistics.interaction import Cells, interaction
from analysis.statistics.intervals import Pairs, Share, difference, mcnemar
from analysis.statistics.seeds import difference_over_seeds, mean_over_seeds, paired_over_seeds
from analysis.verdicts import CONFIRMED, CONTRADICTED

LEVEL: Final = 0.05
SEEDS: Final = (1, 2, 3, 5, 10)
SCATTERS: Final = ((0.012, 0.012), (0.022, 0.022), (0.055, 0.055), (0.012, 0.055))
"""Over seeds, of two settings: a head on fixed features, what is usual, a network from scratch; and unequal ones."""
NUM_IMAGES: Final = 5321
BEYOND: Final = 3.0
"""Standard errors of the simulation by which a rate may lie beyond its level."""


@dataclass(frozen=True)
class Rate:
    """How often `what` happened in `rounds`; of a coverage, how often the truth was inside."""

    what: str
    seeds: str
    value: float
    rounds: int
    level: float = LEVEL
    is_coverage: bool = False
    truth: str = ""

    @property
    def error(self) -> float:
        """Standard error of the simulation; that of the level where the rate is 0 or 1."""
        value = self.value if 0 < self.value < 1 else self.level
        return math.sqrt(value * (1 - value) / self.rounds)

    @property
    def holds(self) -> bool:
        """Whether as many in `rounds`, or more to the wrong side, are as probable at the level as BEYOND says."""
        wrong = round((1 - self.value if self.is_coverage else self.value) * self.rounds)
        level = 1 - self.level if self.is_coverage else self.level
        return float(binom.sf(wrong - 1, self.rounds, level)) >= NormalDist().cdf(-BEYOND)


def without_advice() -> None:
    """Leave out, in this process, what the report says beside its verdicts and takes most of its seconds for: how many
    seeds would decide, and what collapse goes with over all trials."""
    for module, name, value in (
        (comparisons, "seeds_needed", lambda *_: None),
        (collapse, "seeds_that_decide", lambda *_: None),
        (rivals, "attribute", lambda *_: []),
    ):
        if not hasattr(module, name):
            raise AttributeError(f"{module.__name__} has no {name} to leave out")
        setattr(module, name, value)


def worst(rates: Sequence[Rate]) -> Rate:
    """The one furthest to the wrong side of its level."""
    return max(rates, key=lambda rate: -rate.value if rate.is_coverage else rate.value)


def comparison_rates(rounds: int, seed: int) -> Iterator[Rate]:
    """Two equally good settings: a claim that one is better must be neither confirmed nor contradicted."""
    counts = [(number, number) for number in SEEDS] + [(3, 10), (1, 10)]
    for seeds in counts:
        wrong, inside, equal = [], [], []
        for scatter in SCATTERS:
            name = f"scatter {scatter[0]:g}, {scatter[1]:g}"
            found = [_compared(Truth(scatter=scatter), seeds, [seed, *seeds, n]) for n in range(rounds)]
            wrong.append(_rate("claim on accuracy", seeds, [decide(one) in _DECIDED for one in found], name))
            if min(seeds) > 1:
                cover = [0 in one.interval for one in found]
                inside.append(_rate("  its interval, Welch", seeds, cover, name, is_coverage=True))
                apart = Truth(0.6 + MARGIN, 0.6, scatter)
                far = [_compared(apart, seeds, [seed + 1, *seeds, n]) for n in range(rounds // 2)]
                too_equal = [one.equivalence is not None and one.equivalence.p_value < LEVEL for one in far]
                equal.append(_rate("  equivalent, at the margin", seeds, too_equal, name))
        yield from (worst(rates) for rates in (wrong, inside, equal) if rates)


_DECIDED: Final = (CONFIRMED, CONTRADICTED)


def _compared(truth: Truth, seeds: tuple[int, int], stream: Sequence[int]) -> comparisons.Estimate:
    arms = truth.arms(seeds, NUM_IMAGES, np.random.default_rng(stream))
    found, _ = comparisons.compare_shares(*arms, lambda p: p.right)
    return comparisons.holm_of([found])[0]


def _rate(
    what: str, seeds: Any, happened: Iterable[bool], truth: str = "", level: float = LEVEL, *, is_coverage: bool = False
) -> Rate:
    found = list(happened)
    level = 1 - level if is_coverage else level
    return Rate(what, _seeds(seeds), float(np.mean(found)), len(found), level, is_coverage, truth)


def _seeds(seeds: Any) -> str:
    if isinstance(seeds, tuple):
        return str(seeds[0]) if len(set(seeds)) == 1 else " + ".join(map(str, seeds))
    return str(seeds)


def claim_rates(rounds: int, seed: int) -> Iterator[Rate]:
    """Three networks with two starts, all equally good: every claim of the report about differences, F1, losses, gaps
    and classes, with the bootstrap, on few images, as that takes its time."""
    for number in SEEDS:
        counts: Counter[str] = Counter()
        wanted = max(10, rounds // (10 if number < 10 else 20))
        for n in range(wanted):
            setting, trials = equal_networks(number, np.random.default_rng([seed, number, n]))
            judged = claims.trial_claims(comparisons.compare(setting), trials)
            counts.update(dict.fromkeys((one.claim for one in judged), 0))
            counts.update(one.claim for one in judged if one.verdict in _DECIDED and not _is_of_collapse(one.claim))
        rates = [
            Rate(f"claim: {claim}", str(number), count / wanted, wanted)
            for claim, count in counts.items()
            if not _is_of_collapse(claim)
        ]
        yield from (rates if number == 3 else [replace(worst(rates), what="worst of all claims")])


def _is_of_collapse(claim: str) -> bool:
    """Claims that networks which learn contradict rightly."""
    return "cannot be trained" in claim or "class 8 for all" in claim


def equal_networks(num_seeds: int, rng: np.random.Generator, num_images: int = 200) -> tuple[Setting, Trials]:
    labels = rng.choice(10, num_images, p=np.array(COUNTS) / sum(COUNTS))
    shared = rng.uniform(-0.125, 0.125, num_images)
    arms = {}
    for backbone, start in itertools.product(("MobileNet", "ResNet50", "VGG16"), ("ON", "OFF")):
        easy = 0.6 + shared + rng.uniform(-0.125, 0.125, num_images)
        offsets = rng.normal(0, 0.022, num_seeds)
        arms[backbone, f"ImageNet {start}"] = arm_of((backbone, start), labels, easy, offsets, rng)
    results = tuple(result for arm in arms.values() for result in arm.results)
    return Setting(key_of(results[0].spec), arms), Trials(results)


def collapse_rates(rounds: int, seed: int) -> Iterator[Rate]:
    """Both arms of the collapse question, at rates that make each verdict wrong; an error of either arm counts."""
    for number in SEEDS:
        for what, cases in WRONG.items():
            rates = []
            for name, shares in cases.items():
                rng = np.random.default_rng([seed, number, len(rates)])
                wrong = (_is_said(what, _drawn(shares, number, rng)) for _ in range(max(20, rounds // 4)))
                rates.append(_rate(what, number, wrong, f"rates {name}"))
            yield worst(rates)


WRONG: Final[dict[str, dict[str, tuple[float, ...]]]] = {
    "EXPLAINED": {
        f"{share:g}, {'all three' if number > 1 else 'the other'} alike": (share,) * (number + 1)
        for share in (0.5, 0.7, 0.9)
        for number in (1, 3)
    },
    "NOT_EXPLAINED": {
        **{f"{share:g}, the other 0.5": (share, 0.5) for share in (0.6, 0.8, 1.0)},
        "1, one of three 0.5": (1.0, 0.5, 1.0, 1.0),
        "0.9, one of three 0.4": (0.9, 0.9, 0.9, 0.4),
    },
    "NOT_REPRODUCED": {f"{share:g}": (share, 0.1) for share in (0.5, 0.6, 0.8)},
}
"""Verdict -> rates of collapse with the paper's setting and with each other one, at which it is wrong."""


def _drawn(shares: Sequence[float], number: int, rng: np.random.Generator) -> tuple[tuple[bool, ...], ...]:
    """Arm by arm and setting by setting."""
    return tuple(tuple((rng.random(number) < share).tolist()) for _ in ("ON", "OFF") for share in shares)


def _is_said(verdict: str, outcomes: tuple[tuple[bool, ...], ...]) -> bool:
    half = len(outcomes) // 2
    places = [(arm, setting) for arm in ("ON", "OFF") for setting in range(half)]
    return any(v == verdict for v in _verdicts(tuple(zip(places, outcomes, strict=True))))


_KNOWN: dict[Any, tuple[str, ...]] = {}
"""The verdicts by outcomes: few seeds have few of them."""


def _verdicts(outcomes: tuple[tuple[tuple[str, int], tuple[bool, ...]], ...]) -> tuple[str, ...]:
    if outcomes not in _KNOWN:
        study = collapse.examine(collapses(dict(outcomes)))
        _KNOWN[outcomes] = tuple(arm.verdict.value for arm in study.arms)
    return _KNOWN[outcomes]


def rival_rates(rounds: int, seed: int) -> Iterator[Rate]:
    """Preprocessing and epochs that change nothing, beside the paper's setting, or after which half of the seeds
    collapse; and interactions that there are none of."""
    most = max(20, rounds)
    for number in SEEDS:
        removes, keeps = [], []
        for share in (0.5, 0.7, 0.9):
            rng = np.random.default_rng([seed, number, int(share * 10)])
            effects = [_effects((share,) * 3, number, rng) for _ in range(most)]
            removes.append(
                _rate("rival REMOVES", number, (Effect.REMOVES in own.values() for own in effects), f"rate {share}")
            )
        for share in (0.6, 0.8, 1.0):
            rng = np.random.default_rng([seed + 1, number, int(share * 10)])
            effects = [_effects((share, 0.5, share), number, rng) for _ in range(most)]
            wrong = (own.get("preprocessing") is Effect.KEEPS for own in effects)
            keeps.append(_rate("rival KEEPS", number, wrong, f"rate {share}"))
        yield from (worst(removes), worst(keeps))
        yield _interactions(number, rounds, seed)


def _effects(shares: Sequence[float], number: int, rng: np.random.Generator) -> dict[str, Effect]:
    return _effects_of(number, tuple(rng.binomial(number, shares).tolist()))


@functools.cache
def _effects_of(number: int, counts: tuple[int, ...]) -> dict[str, Effect]:
    """`counts`: how many of the seeds collapse, each way."""
    ways: tuple[dict[str, Any], ...] = ({}, {"preprocessing": "backbone"}, {"num_epochs": 60})
    rows = [
        row
        for count, way in zip(counts, ways, strict=True)
        for row in collapses({("ON", 0): [n < count for n in range(number)]}, **way)
    ]
    return {contrast.factor: contrast.effect for contrast in rivals.examine_rivals(rows).contrasts}


def _interactions(number: int, rounds: int, seed: int) -> Rate:
    rates = []
    for p, q, r in ((0.5, 0.5, 0.5), (0.9, 0.5, 0.6), (1.0, 0.7, 0.8), (0.9, 0.9, 0.9)):
        rng = np.random.default_rng([seed, number])
        shares = (p, q, r, q + r - p)
        cells = (Cells(*(Share(int(n), number) for n in rng.binomial(number, shares))) for _ in range(rounds))
        rates.append(_rate("interaction", number, (interaction(one) <= LEVEL for one in cells), f"rates {p}, {q}, {r}"))
    return worst(rates)


def interval_rates(rounds: int, seed: int) -> Iterator[Rate]:
    """Of the intervals that are printed; of shares, by rates from 0 to 1, each as likely."""
    for number in SEEDS:
        rng = np.random.default_rng([seed, number])
        yield from _share_intervals(number, rounds, rng)
        if number > 1:
            yield from _seed_intervals(number, rounds, rng)
    for number in (63, NUM_IMAGES):
        rng = np.random.default_rng([seed, number])
        pairs = [_pairs(number, rng) for _ in range(rounds)]
        yield _rate("McNemar, these two networks", f"{number} img", (mcnemar(one) < LEVEL for one in pairs))
        yield _rate("  its interval, Newcombe", f"{number} img", (0 in one.interval for one in pairs), is_coverage=True)


def _share_intervals(number: int, rounds: int, rng: np.random.Generator) -> Iterator[Rate]:
    truths, priors = rng.random((rounds, 2)), rng.beta(0.5, 0.5, (rounds, 2))
    drawn = [tuple(Share(int(n), number) for n in rng.binomial(number, own)) for own in truths]
    inside = [truth[0] in first.interval for truth, (first, _) in zip(truths, drawn, strict=True)]
    yield _rate("Wilson, collapse rate", number, inside, "rates uniform", is_coverage=True)
    inside = [own[0] - own[1] in difference(*shares) for own, shares in zip(truths, drawn, strict=True)]
    yield _rate("Newcombe, reduction", number, inside, "rates uniform", is_coverage=True)
    drawn = [tuple(Share(int(n), number) for n in rng.binomial(number, own)) for own in priors]
    some = list(zip(priors, drawn, strict=True))[: rounds // 2]
    inside = [own[0] - own[1] in reduction(*shares).interval for own, shares in some]
    yield _rate("posterior of the reduction", number, inside, "rates of its prior", is_coverage=True)


def _seed_intervals(number: int, rounds: int, rng: np.random.Generator) -> Iterator[Rate]:
    """Of normal scores: seeds scatter by 1, and images move all of them by 0 or 1."""
    for images in (0.0, 0.5, 1.0):
        common, own, other = rng.normal(0, images, (2, rounds)), *rng.normal(0, 1, (2, rounds, number))
        name = f"images {images:g} of the seeds"
        first, second = own + common[0][:, None], other + common[1][:, None]
        mean = (0 in mean_over_seeds(one, images**2).interval for one in first)
        yield _rate("t, mean over seeds", number, mean, name, is_coverage=True)
        welch = (0 in difference_over_seeds(a, b, 2 * images**2).interval for a, b in zip(first, second, strict=True))
        yield _rate("Welch, difference", number, welch, name, is_coverage=True)
        paired = (0 in paired_over_seeds(a, b, 2 * images**2).interval for a, b in zip(first, second, strict=True))
        yield _rate("paired by seed", number, paired, name, is_coverage=True)


def _pairs(number: int, rng: np.random.Generator) -> Pairs:
    both, first, second, neither = rng.multinomial(number, (0.5, 0.1, 0.1, 0.3))
    return Pairs(int(both), int(first), int(second), int(neither))


def chance_rates(rounds: int, seed: int) -> Iterator[Rate]:
    """Networks that guess, or are as good as always naming the largest class and no better."""
    rng = np.random.default_rng(seed)
    learned = [kind_of(_guess(rng)) is Kind.LEARNED for _ in range(rounds)]
    yield _rate("a network that guesses: learned", 1, learned, level=LEVEL / 2)
    for number in SEEDS:
        wrong = [_is_contradicted(number, rng) for _ in range(max(20, rounds // 4))]
        yield _rate("claim: VGG16 cannot be trained", number, wrong, "as good as the largest class")


def _guess(rng: np.random.Generator) -> Any:
    confusion = rng.multinomial(COUNTS, [0.1] * 10)
    accuracy = float(np.trace(confusion) / confusion.sum())
    return result_of(spec_of("VGG16", "OFF"), accuracy, tuple(map(tuple, confusion.tolist())))


def _is_contradicted(number: int, rng: np.random.Generator) -> bool:
    rows = []
    for arm, seed in itertools.product(("ON", "OFF"), range(number)):
        right = rng.binomial(COUNTS, max(COUNTS) / sum(COUNTS))
        confusion = np.diag(right) + np.roll(np.diag(COUNTS - right), 1, axis=1)
        accuracy = float(right.sum() / sum(COUNTS))
        rows.append(result_of(spec_of("VGG16", arm, seed=seed), accuracy, tuple(map(tuple, confusion.tolist()))))
    return claims.vgg16_cannot_be_trained(Trials(tuple(rows))).verdict == CONTRADICTED


CHECKS: Final[dict[str, Callable[[int, int], Iterator[Rate]]]] = {
    "comparisons": comparison_rates,
    "claims": claim_rates,
    "collapse": collapse_rates,
    "rivals": rival_rates,
    "intervals": interval_rates,
    "chance": chance_rates,
}
"""By name; each takes the number of rounds, and a seed."""
