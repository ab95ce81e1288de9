"""How often verdicts are wrong, and intervals miss, where the truth is known: what bench_verdicts.py runs.

    rates = list(CHECKS["comparisons"].run(number=3, rounds=1000, seed=0))      # of Rate

A verdict is wrong where it says what is not so. Where nothing is said (INCONCLUSIVE, NOT_CONFIRMED), nothing is wrong.
Where counts decide, all of them are gone through, at rates from 0 to 1 by 0.01: the rate is then exact.
"""

from __future__ import annotations

import functools
import itertools
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Any, Final

import numpy as np
from scipy.stats import binom
from verdict_truths import (
    COMMONEST,
    COUNTS,
    NUM_IMAGES,
    OPTIMIZERS,
    Floats,
    arm_of,
    collapses,
    confusion_at,
    confusion_of,
    easiness,
    plain_arm,
    result_of,
    shared_easiness,
    spec_of,
)

from analysis import claims, class_sections, collapse, collapse_answer, collapse_settings, splits, summary
from analysis.all_pairs import rank_arms
from analysis.arms import FROZEN_RANDOM, OFF, ON, Arm, Setting, key_of
from analysis.cells import Cell
from analysis.claims_errors import vgg16_names_class_8
from analysis.claims_rules import decide, is_equivalent
from analysis.comparisons import Estimate, compare, compare_shares, holm_of
from analysis.failure import Kind, kind_of
from analysis.interactions import examine_interactions
from analysis.paper import TABLE_1
from analysis.predictions import Predictions
from analysis.repeats import Networks, Repeats
from analysis.rivals import Effect, contrasts
from analysis.starts import FINE_TUNED
from analysis.statistics.beta_binomial import reduction
from analysis.statistics.calibration import bins_of
from analysis.statistics.equivalence import MARGIN
from analysis.statistics.interaction import Cells, interaction
from analysis.statistics.intervals import Interval, Share, difference
from analysis.statistics.seeds import MIN_SEEDS, difference_over_seeds, mean_over_seeds, paired_over_seeds
from analysis.verdicts import CONFIRMED, CONTRADICTED

LEVEL: Final = 0.05
SEEDS: Final = (1, 2, 3, 5, 10)
SCATTERS: Final = ((0.012, 0.012), (0.022, 0.022), (0.055, 0.055), (0.012, 0.055))
"""Over seeds, of two settings: a head on fixed features, what is usual, a network from scratch; and unequal ones."""
GRID: Final = np.linspace(0, 1, 101)
"""Rates of collapse at which the worst is looked for."""
BEYOND: Final = 3.5
"""Standard errors of the simulation by which a rate may lie beyond its level."""
DECIDED: Final = (CONFIRMED, CONTRADICTED)
HALF: Final = 0.5


@dataclass(frozen=True)
class Rate:
    """How often `what` happened in `rounds`; of a coverage, how often the truth was inside. Exact where `rounds` is 0.
    `truth`: of several, the one at which it is worst."""

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
        return math.sqrt(value * (1 - value) / self.rounds) if self.rounds else 0.0

    @property
    def holds(self) -> bool:
        """Whether as many in `rounds`, or more to the wrong side, are as probable at the level as BEYOND says."""
        wrong = 1 - self.value if self.is_coverage else self.value
        level = 1 - self.level if self.is_coverage else self.level
        if not self.rounds:
            return wrong <= level + 5e-4  # as it is printed
        return float(binom.sf(round(wrong * self.rounds) - 1, self.rounds, level)) >= NormalDist().cdf(-BEYOND)


def worst(rates: Iterable[Rate]) -> Rate:
    """The one furthest to the wrong side of its level."""
    return max(rates, key=lambda rate: -rate.value if rate.is_coverage else rate.value)


def simulated(what: str, seeds: Any, happened: Iterable[bool], truth: str = "", level: float = LEVEL) -> Rate:
    found = list(happened)
    return Rate(what, str(seeds), float(np.mean(found)), len(found), level, truth=truth)


def covered(what: str, seeds: Any, inside: Iterable[bool], truth: str = "", level: float = 1 - LEVEL) -> Rate:
    return replace(simulated(what, seeds, inside, truth, level), is_coverage=True)


# two settings, and several


def comparison_rates(number: int, rounds: int, seed: int) -> Iterator[Rate]:
    yield from _two_settings((number, number), SCATTERS, rounds, seed)
    if number == max(SEEDS):
        yield from _two_settings((3, number), (*SCATTERS, (0.055, 0.012)), rounds, seed)
        yield from _two_settings((1, number), SCATTERS[:1], rounds, seed)
    if number >= MIN_SEEDS:
        yield from _rankings(number, rounds // 2, seed)


def _two_settings(
    seeds: tuple[int, int], scatters: Sequence[tuple[float, float]], rounds: int, seed: int
) -> Iterator[Rate]:
    label = str(seeds[0]) if seeds[0] == seeds[1] else f"{seeds[0]} + {seeds[1]}"
    rates: dict[str, list[Rate]] = {}
    for index, scatter in enumerate(scatters):
        rng, name = np.random.default_rng([seed, *seeds, index]), f"scatter {scatter[0]:g}, {scatter[1]:g}"
        drawn = [_two(seeds, scatter, 0.0, rng) for _ in range(rounds)]
        for kind, own in (("", [pair for pair, _, _ in drawn]), (", counts", [pair for _, pair, _ in drawn])):
            wrong = [decide(one) in DECIDED for one in own]
            rates.setdefault(f"better{kind}", []).append(simulated(f"one is better{kind}", label, wrong, name))
            true = [0.0 if min(seeds) > 1 else offset for *_, offset in drawn]
            what = "interval of the difference" if min(seeds) > 1 else "interval, these networks alone"
            inside = [value in one.interval for value, one in zip(true, own, strict=True)]
            rates.setdefault(f"interval{kind}", []).append(covered(f"{what}{kind}", label, inside, name))
        if min(seeds) >= MIN_SEEDS:
            too_equal = [is_equivalent(_two(seeds, scatter, MARGIN, rng)[0]) for _ in range(rounds // 2)]
            rates.setdefault("equivalent", []).append(simulated("equivalent", label, too_equal, name))
    unequal = 0.011 if seeds[0] != seeds[1] and min(seeds) > 1 else 0.0  # as `statistics.seeds` says
    for rate in map(worst, rates.values()):
        yield replace(rate, level=rate.level - unequal if rate.is_coverage else rate.level + unequal)


def _two(
    seeds: tuple[int, int], scatters: tuple[float, float], apart: float, rng: np.random.Generator
) -> tuple[Estimate, Estimate, float]:
    """Of two settings: image by image, by counts alone, and by how much these networks' seeds are apart."""
    shared = shared_easiness(NUM_IMAGES, rng)
    offsets = [rng.normal(0, scatter, number) for scatter, number in zip(scatters, seeds, strict=True)]
    places = (spec_of("MobileNet", ON), 0.6 + apart), (spec_of("MobileNet", OFF), 0.6)
    first, second = (
        plain_arm(spec, easiness(mean, shared, rng), own, rng)
        for (spec, mean), own in zip(places, offsets, strict=True)
    )
    paired, _ = compare_shares(first, second, _right)
    counts, _ = compare_shares(replace(first, why_unpaired="counts"), second, _right)
    one, other = (holm_of([found])[0] for found in (paired, counts))
    return one, other, float(offsets[0].mean() - offsets[1].mean()) + apart


def _right(predictions: Predictions) -> Any:
    return predictions.right


def _rankings(number: int, rounds: int, seed: int) -> Iterator[Rate]:
    """Four settings, whose seeds scatter by 0.012, 0.022, 0.055 and 0.012."""
    rng, apart, inside = np.random.default_rng([seed, number, 4]), [], []
    specs = [spec_of("VGG16", OFF, 0, tuple(sorted(own.items()))) for own in OPTIMIZERS]
    for _ in range(rounds):
        shared = shared_easiness(NUM_IMAGES, rng)
        arms = [
            plain_arm(spec, easiness(0.6, shared, rng), rng.normal(0, scatter, number), rng)
            for spec, scatter in zip(specs, (0.012, 0.022, 0.055, 0.012), strict=True)
        ]
        ranking = rank_arms(arms)
        apart.append(ranking.num_told_apart > 0)
        inside += [0.6 in place.accuracy.interval for place in ranking.places]
    yield simulated("all pairs: any told apart", number, apart)
    yield replace(covered("all pairs: interval of an accuracy", number, inside), rounds=rounds)


# the paper's claims


def claim_rates(number: int, rounds: int, seed: int) -> Iterator[Rate]:
    """Families of claims, each with Holm's p-values of its own: whether any of a family is decided."""
    wanted = max(4, round(rounds * {1: 0.03, 2: 0.03, 3: 0.3, 5: 0.2}.get(number, 0.1)))
    counts: Counter[str] = Counter()
    for n in range(wanted):
        own, longer = equal_networks(number, np.random.default_rng([seed, number, n]))
        compared = compare(own)
        judged = [(_family(one.claim), one.verdict in DECIDED) for one in claims.trial_claims(compared, (own, longer))]
        judged += [
            ("2 x 2 of pretraining and freezing", effect.accuracy.adjusted < LEVEL) for effect in compared.effects
        ]
        judged = [(family, is_decided) for family, is_decided in judged if not _is_of_collapse(family)]
        counts.update(dict.fromkeys((family for family, _ in judged), 0))
        counts.update({family for family, is_decided in judged if is_decided})
    if number < MIN_SEEDS:
        settings = [count for family, count in counts.items() if not family.startswith("2 x 2")]
        yield Rate("claims about settings, any", str(number), max(settings) / wanted, wanted)
        return
    yield from (Rate(f"claim: {family}", str(number), count / wanted, wanted) for family, count in counts.items())


def _family(claim: str) -> str:
    """The claim, whichever network it is of.

    >>> _family("VGG16's loss curves lie lower with ImageNet weights")
    'loss curves lie lower'
    """
    text = re.sub(r"^(MobileNet|ResNet50|VGG16)('s)? (?!>|conv.*than|conf)", "", claim)
    for long, short in SHORT.items():
        text = text.replace(long, short)
    return text


SHORT: Final = {
    " with ImageNet weights": "",
    "(ImageNet ": "(",
    "MobileNet > ResNet50 > VGG16": "order",
    "F1 ranks order": "order by F1",
    "the more parameters are trained, the worse the network": "more parameters are worse",
    "some classes are classified better": "some classes gain",
    "MobileNet confuses classes 7 and 8 less": "classes 7 and 8 less confused",
    "takes other classes for class 2 less": "class 2 less named",
    "validation loss ends further above its training loss": "wider gap of losses",
    "MobileNet converges in fewer epochs than ResNet50 and VGG16": "MobileNet converges first",
    "is better after the first epoch": "better after one epoch",
    "is better after more epochs": "better after more epochs",
}


def _is_of_collapse(claim: str) -> bool:
    """Claims that networks which learn contradict rightly."""
    return "cannot be trained" in claim or "class 8 for all" in claim


NETWORK_SCATTERS: Final = {
    **{("MobileNet", start): scatter for start, scatter in ((ON, 0.055), (OFF, 0.012))},
    **{("ResNet50", start): scatter for start, scatter in ((ON, 0.012), (OFF, 0.022))},
    **{("VGG16", start): scatter for start, scatter in ((ON, 0.012), (OFF, 0.055))},
    **{("MobileNet", start): 0.022 for start in (FINE_TUNED, FROZEN_RANDOM)},
}
"""Over seeds: unequal within every claim."""


def equal_networks(number: int, rng: np.random.Generator, num_images: int = 200) -> tuple[Setting, Setting]:
    """Equally good networks at the settings of Table 1, and ResNet50 and VGG16 with twice as many epochs."""
    labels = rng.choice(10, num_images, p=np.array(COUNTS) / NUM_IMAGES)
    shared = shared_easiness(num_images, rng)

    def arm(backbone: str, start: str, **fields: Any) -> Arm:
        offsets = rng.normal(0, NETWORK_SCATTERS[backbone, start], number)
        spec = spec_of(backbone, start, 0, tuple(fields.items()))
        return arm_of(spec, labels, easiness(0.6, shared, rng), offsets, rng)

    own = {place: arm(*place) for place in NETWORK_SCATTERS}
    longer = {place: arm(*place, num_epochs=40) for place in own if place[0] != "MobileNet"}
    first, second = (Setting(key_of(next(iter(arms.values())).spec), arms) for arms in (own, longer))
    return first, second


# the collapse of VGG16


def collapse_rates(number: int, rounds: int, seed: int) -> Iterator[Rate]:
    for what in NULLS:
        yield _of_one_arm(what, number)
        rates = []
        for shares in OF_BOTH_ARMS[what]:
            rng = np.random.default_rng([seed, number, len(rates)])
            wrong = (_is_said(what, _drawn(shares, number, rng)) for _ in range(max(4, rounds // 5)))
            rates.append(simulated(f"{what}, both arms", number, wrong, f"rates {', '.join(map(str, shares))}"))
        yield worst(rates)
    if number >= MIN_SEEDS:
        rng = np.random.default_rng([seed, number])
        yield simulated("EXPLAINED by no cure", number, (_is_no_cure_said(number, rng) for _ in range(rounds // 5)))


NULLS: Final[dict[str, Callable[[Floats, Floats], Any]]] = {
    "EXPLAINED": lambda paper, other: paper == other,
    "NOT_EXPLAINED": lambda _, other: other <= HALF,
    "NOT_REPRODUCED": lambda paper, _: paper >= HALF,
}
"""Verdict -> whether it is wrong at rates of collapse with the paper's setting and with the other one."""
OF_BOTH_ARMS: Final = {
    "EXPLAINED": ((0.5,) * 4, (0.7,) * 4, (0.9,) * 4),
    "NOT_EXPLAINED": ((1.0, 0.5, 1.0, 1.0), (0.9, 0.5, 0.9, 0.9)),
    "NOT_REPRODUCED": ((0.5, 0.1), (0.6, 0.6)),
}
"""Verdict -> rates of collapse with the paper's setting and with each other one, at which it is wrong."""
OTHER_ARM: Final = {
    "absent": (),
    "EXPLAINED": (True, False),
    "NOT_EXPLAINED": (True, True),
    "NOT_REPRODUCED": (False, False),
}
"""How the other arm comes out: whether all seeds of each setting collapse."""


def _of_one_arm(what: str, number: int) -> Rate:
    """Exactly, at the worst rates, with the other arm as it is the worst."""
    choice, test = map(len, collapse.halves(range(number)))
    wrong = NULLS[what](GRID[:, None], GRID)
    rates = []
    for other in ("absent", what):
        said = np.array(_table(number, other)) == what
        chances = np.einsum("abc,pa,qb,qc->pq", said.astype(float), *map(_pmf, (number, choice, test)), optimize=True)
        p, q = np.unravel_index(np.where(wrong, chances, -1.0).argmax(), chances.shape)
        truth = f"rates {GRID[p]:.2f} and {GRID[q]:.2f}, other arm {other}"
        rates.append(Rate(f"{what}, an arm", str(number), float(chances[p, q]), 0, truth=truth))
    return worst(rates)


@functools.cache
def _pmf(total: int) -> Floats:
    """Of each count at each rate of the grid: (101, total + 1)."""
    return np.asarray(binom.pmf(np.arange(total + 1), total, GRID[:, None]))


@functools.cache
def _table(number: int, other: str) -> list[list[list[str]]]:
    """The verdict on an arm with the paper's setting and another one: by how many seeds of the one collapse, and of the
    other's that choose and that test."""
    choice, test = collapse.halves(range(number))
    beside = {("OFF", setting): [is_all] * number for setting, is_all in enumerate(OTHER_ARM[other])}

    def verdict(own: int, chosen: int, tested: int) -> str:
        others = {*choice[:chosen], *test[:tested]}
        outcomes = {("ON", 0): [seed < own for seed in range(number)], ("ON", 1): [s in others for s in range(number)]}
        return collapse.examine(collapses({**outcomes, **beside})).arms[0].verdict.value

    counts = [range(total + 1) for total in (number, len(choice), len(test))]
    return [[[verdict(a, b, c) for c in counts[2]] for b in counts[1]] for a in counts[0]]


def _drawn(shares: Sequence[float], number: int, rng: np.random.Generator) -> tuple[tuple[bool, ...], ...]:
    """Arm by arm and setting by setting."""
    return tuple(tuple((rng.random(number) < share).tolist()) for _ in ("ON", "OFF") for share in shares)


def _is_said(verdict: str, outcomes: tuple[tuple[bool, ...], ...]) -> bool:
    half = len(outcomes) // 2
    places = [(arm, setting) for arm in ("ON", "OFF") for setting in range(half)]
    study = collapse.examine(collapses(dict(zip(places, outcomes, strict=True))))
    return any(arm.verdict.value == verdict for arm in study.arms)


def _is_no_cure_said(number: int, rng: np.random.Generator) -> bool:
    """The alternative never collapses, and is as good as always naming the commonest class."""
    rows = collapses({("ON", 0): [True] * number})
    right = rng.binomial(NUM_IMAGES, COMMONEST) / NUM_IMAGES - COMMONEST
    for seed in range(number):
        accuracy = COMMONEST + right + rng.normal(0, 0.012)
        spec = spec_of("VGG16", ON, seed, tuple(sorted(OPTIMIZERS[1].items())))
        rows.append(result_of(spec, accuracy, confusion_at(accuracy)))
    return collapse.examine(rows).arms[0].verdict is collapse.Verdict.EXPLAINED


# what else removes it


def rival_rates(number: int, rounds: int, seed: int) -> Iterator[Rate]:
    effects = _effects(number)
    removes, keeps = effects == Effect.REMOVES.value, effects == Effect.KEEPS.value
    grid, pmf = GRID[::2], _pmf(number)[::2]
    p, q, r = np.meshgrid(grid, grid, grid, indexing="ij", sparse=True)
    for what, cases in (
        ("rival REMOVES, any of two", ((removes.any(axis=0), (q == p) & (r == p)), (removes[0], (q == p) & (r <= 1)))),
        ("rival KEEPS", ((keeps[0], (p <= 1) & (q <= HALF) & (r <= 1)),)),
    ):
        rates = []
        for said, wrong in cases:
            chances = np.einsum("abc,pa,qb,rc->pqr", said.astype(float), pmf, pmf, pmf, optimize=True)
            at = np.unravel_index(np.where(wrong, chances, -1.0).argmax(), chances.shape)
            truth = f"rates {', '.join(f'{grid[i]:.2f}' for i in at)}"
            rates.append(Rate(what, str(number), float(chances[at]), 0, truth=truth))
        yield worst(rates)
    if number >= MIN_SEEDS:
        yield _interaction(number, rounds, seed)
        rng = np.random.default_rng([seed, number])
        yield worst(_family_of_interactions(number, share, rounds // 20, rng) for share in (0.5, 0.9))


def _effects(number: int) -> Any:
    """What is said of two rivals, preprocessing and epochs, by how many seeds collapse with the paper's setting, the
    one and the other: (2, number + 1, number + 1, number + 1)."""
    counts = range(number + 1)
    found = [[[_said_of(number, (a, b, c)) for c in counts] for b in counts] for a in counts]
    return np.moveaxis(np.array(found), -1, 0)


def _said_of(number: int, counts: tuple[int, int, int]) -> tuple[str, str]:
    ways: tuple[dict[str, Any], ...] = ({}, {"preprocessing": "backbone"}, {"num_epochs": 60})
    rows = [
        row
        for count, way in zip(counts, ways, strict=True)
        for row in collapses({("ON", 0): [n < count for n in range(number)]}, **way)
    ]
    found = {contrast.factor: contrast.effect.value for contrast in contrasts(rows)}
    return found["preprocessing"], found["epochs"]


def _interaction(number: int, rounds: int, seed: int) -> Rate:
    """Exactly for few seeds; else simulated at rates p, q, r, q + r - p."""
    if number <= 5:
        shape = (number + 1,) * 4
        rejected = np.array([_p_value(number, counts) <= LEVEL for counts in np.ndindex(shape)], float).reshape(shape)
        pmf, steps = _pmf(number)[::2], len(GRID[::2])
        chances = np.einsum("abcd,pa,qb,rc->pqrd", rejected, pmf, pmf, pmf, optimize=True)
        p, q, r = np.indices((steps,) * 3)
        s = q + r - p
        possible = (s >= 0) & (s < steps)
        return Rate(
            "interaction of two", str(number), float((chances[possible] * pmf[s[possible]]).sum(axis=1).max()), 0
        )
    rates = []
    for p, q, r in ((0.5, 0.5, 0.5), (0.9, 0.5, 0.6), (1.0, 0.7, 0.8), (0.9, 0.9, 0.9), (0.95, 0.95, 0.95)):
        drawn = np.random.default_rng([seed, number]).binomial(number, (p, q, r, q + r - p), (rounds, 4))
        shown = (_p_value(number, tuple(counts)) <= LEVEL for counts in drawn.tolist())
        rates.append(simulated("interaction of two", number, shown, f"rates {p}, {q}, {r}"))
    return worst(rates)


@functools.cache
def _p_value(number: int, counts: tuple[int, ...]) -> float:
    return interaction(Cells(*(Share(count, number) for count in counts)))


def _family_of_interactions(number: int, share: float, rounds: int, rng: np.random.Generator) -> Rate:
    """Three optimizer settings, two ways of preprocessing, two numbers of epochs: none changes anything."""
    ways = [{"preprocessing": p, "num_epochs": e} for p in ("divide_by_255", "backbone") for e in (20, 60)]
    shown = []
    for _ in range(max(4, rounds)):
        rows = [
            row for way in ways for k in range(3) for row in collapses({("ON", k): rng.random(number) < share}, **way)
        ]
        shown.append(any(found.is_shown for found in examine_interactions(rows)))
    return simulated("interaction, any of a family", number, shown, f"rates {share}")


# intervals


def interval_rates(number: int, rounds: int, seed: int) -> Iterator[Rate]:
    rng = np.random.default_rng([seed, number])
    yield from _intervals_of_rates(number, rounds, rng)
    if number > 1:
        yield from _intervals_over_seeds(number, rounds, rng)
        yield _paired_accuracies(number, rounds, rng)
    yield from _accuracies(number, rounds // 2, rng)
    yield from _class_scores(number, rounds // (4 if number < 5 else 10), rng)
    if number >= MIN_SEEDS:
        yield _calibration_errors(number, rounds, rng)


def _intervals_of_rates(number: int, rounds: int, rng: np.random.Generator) -> Iterator[Rate]:
    """Exactly: on the average over rates, and at the worst."""
    counts, pmf = range(number + 1), _pmf(number)
    shares = [Share(count, number) for count in counts]
    inside = np.array([[rate in share.interval for share in shares] for rate in GRID], float)
    rates = (pmf * inside).sum(axis=1)
    yield Rate("Wilson, mean over rates", str(number), float(rates.mean()), 0, 1 - LEVEL, is_coverage=True)
    yield Rate("Wilson, worst rate", str(number), _worst_wilson(number), 0, WORST_WILSON, is_coverage=True)
    ends = [[difference(first, second) for second in shares] for first in shares]
    low, high = (np.array([[getattr(one, end) for one in row] for row in ends]) for end in ("low", "high"))
    grid, chances = GRID[::2], pmf[::2]
    found = np.empty((len(grid), len(grid)))
    for p, q in np.ndindex(found.shape):
        apart = grid[p] - grid[q]
        found[p, q] = chances[p] @ ((low <= apart) & (apart <= high)) @ chances[q]
    yield Rate("Newcombe, mean over rates", str(number), float(found.mean()), 0, MEAN_NEWCOMBE, is_coverage=True)
    yield Rate("Newcombe, worst rates", str(number), float(found.min()), 0, WORST_NEWCOMBE, is_coverage=True)
    priors = rng.beta(0.5, 0.5, (10 * rounds, 2))
    posteriors = functools.cache(lambda a, b: reduction(shares[a], shares[b]).interval)
    drawn = zip(priors, rng.binomial(number, priors).tolist(), strict=True)
    yield covered("posterior, rates of its prior", number, (p - q in posteriors(a, b) for (p, q), (a, b) in drawn))


WORST_WILSON, MEAN_NEWCOMBE, WORST_NEWCOMBE, SKEWED, TRAINING_MATTERS = 0.79, 0.945, 0.79, 0.91, 0.87
"""Coverages that are lower than 0.95, as the docstrings of these intervals say."""


def _worst_wilson(number: int) -> float:
    """Next to an end of an interval, where coverage jumps."""
    ends = [end for count in range(number + 1) for end in _ends(Share(count, number).interval)]
    rates = np.clip([end + step for end in ends for step in (-1e-9, 1e-9)], 0, 1)
    return min(
        sum(binom.pmf(count, number, rate) for count in range(number + 1) if rate in Share(count, number).interval)
        for rate in rates
    )


def _ends(interval: Interval) -> tuple[float, float]:
    return interval.low, interval.high


def _intervals_over_seeds(number: int, rounds: int, rng: np.random.Generator) -> Iterator[Rate]:
    """Of normal scores: seeds scatter by 1, in the second setting also by 0.2; images move all of them by 0 to 2."""
    rates: dict[str, list[Rate]] = {}
    for images, scatter in itertools.product((0.0, 0.5, 2.0), (1.0, 0.2)):
        common = rng.normal(0, images, (2, rounds, 1))
        first, second = (rng.normal(0, s, (rounds, number)) + c for s, c in zip((1.0, scatter), common, strict=True))
        name, variance = f"scatter 1 and {scatter:g}, images {images:g}", 2 * images**2
        mean = (0 in mean_over_seeds(one, images**2).interval for one in first)
        welch = (0 in difference_over_seeds(a, b, variance).interval for a, b in zip(first, second, strict=True))
        paired = (0 in paired_over_seeds(a, b, variance).interval for a, b in zip(first, second, strict=True))
        found = (("t, mean over seeds", mean), ("Welch, difference", welch), ("t, paired by seed", paired))
        for what, inside in found:
            rates.setdefault(what, []).append(covered(what, number, inside, name))
    yield from map(worst, rates.values())


def _accuracies(number: int, rounds: int, rng: np.random.Generator) -> Iterator[Rate]:
    """As the collapse's answer and the summary print them; of one seed, that of this network."""
    rates: dict[str, list[Rate]] = {}
    for mean, scatter in ((0.6, 0.002), (0.6, 0.012), (0.6, 0.055), (0.95, 0.002), (0.95, 0.012)):
        inside: dict[str, list[bool]] = {"accuracy, the answer's": [], "accuracy, the summary's": []}
        for _ in range(max(4, rounds // 4)):
            truth, results = _scored(number, mean, scatter, rng)
            of_answer = collapse_settings.settings_of(results)[0].accuracy()
            inside["accuracy, the answer's"].append(of_answer is not None and truth in of_answer.interval)
            found = summary.accuracy_interval(Cell(TABLE_1[0], tuple(results)))
            inside["accuracy, the summary's"].append(is_printed(truth, found))
        for what, own in inside.items():
            rates.setdefault(what, []).append(covered(what, number, own, f"{mean}, scatter {scatter}"))
    yield from map(worst, rates.values())


def _scored(number: int, mean: float, scatter: float, rng: np.random.Generator, setting: int = 0) -> tuple[float, Any]:
    """The accuracy over all images, of one seed that of its network; and the trials of a setting's seeds, to 70 % of
    which an image is as hard as to one another."""
    offsets, hard = rng.normal(0, scatter, number), rng.random(NUM_IMAGES)
    own = rng.random((number, NUM_IMAGES))
    right = np.where(rng.random(own.shape) < 0.7, hard, own) < mean + offsets[:, None]
    spec = functools.partial(spec_of, "VGG16", ON, fields=tuple(sorted(OPTIMIZERS[setting].items())))
    results = [
        result_of(spec(seed), count / NUM_IMAGES, ((count, NUM_IMAGES - count), (0, 0)))
        for seed, count in enumerate(np.count_nonzero(right, axis=1).tolist())
    ]
    return mean + (float(offsets[0]) if number == 1 else 0.0), results


def is_printed(truth: float, text: str) -> bool:
    """Whether the last interval in a text has the truth, to three decimals."""
    low, high = map(float, re.findall(r"(-?\d\.\d+) to (-?\d\.\d+)", text)[-1])
    return low - 5e-4 <= truth <= high + 5e-4


def _paired_accuracies(number: int, rounds: int, rng: np.random.Generator) -> Rate:
    """The alternative's accuracy minus the paper's, by the seeds of the test."""
    inside = []
    for _ in range(rounds // 4):
        (_, own), (_, others) = _scored(number, 0.6, 0.022, rng), _scored(number, 0.6, 0.055, rng, setting=1)
        first, second = collapse_settings.settings_of([*own, *others])
        arm = collapse.Arm("ON", collapse.Verdict.INCONCLUSIVE, "", first, second, test_seeds=tuple(range(number)))
        found = collapse_answer.accuracy_difference(arm)
        inside.append(found is not None and 0 in found[0].interval)
    return covered("accuracy, paired difference", number, inside)


def _class_scores(number: int, rounds: int, rng: np.random.Generator) -> Iterator[Rate]:
    """Balanced accuracy, MCC and the recall of the smallest class as they are printed."""
    labels = np.repeat(np.arange(10), COUNTS)
    inside: dict[str, list[bool]] = {"balanced accuracy": [], "MCC": [], "recall, a class of 100 images": []}
    for _ in range(max(4, rounds)):
        easy, offsets = rng.choice((0.4, 0.8), NUM_IMAGES), rng.normal(0, 0.022, number)
        right = rng.random((number, NUM_IMAGES)) < easy + offsets[:, None]
        wrong = (labels + 1 + (rng.random(right.shape) * 9).astype(int)) % 10
        confusions = [confusion_of(labels, one) for one in np.where(right, labels, wrong)]
        specs = (spec_of("VGG16", ON, seed) for seed in range(number))
        results = tuple(result_of(s, 0.6, c, class_names=()) for s, c in zip(specs, confusions, strict=True))
        own = Repeats("VGG16", results)
        scores, recalls = class_sections.sections(Networks((own,), (own,)))
        row, recall = scores.listing.rows[0], recalls.listing.rows[4]
        accuracy = 0.6 + (float(offsets[0]) if number == 1 else 0.0)
        for what, truth, text in zip(
            inside, (accuracy, _matthews_at(accuracy), accuracy), (row[3], row[4], recall[2]), strict=True
        ):
            inside[what].append(is_printed(truth, text))
    for what, found in inside.items():
        yield covered(what, number, found)


def _matthews_at(accuracy: float) -> float:
    """Of endless images, where wrong ones go to each other class alike."""
    true = np.array(COUNTS) / NUM_IMAGES
    expected = np.where(np.eye(10, dtype=bool), accuracy, (1 - accuracy) / 9) * true[:, None]
    named = expected.sum(axis=0)
    spread = math.sqrt((1 - (true**2).sum()) * (1 - (named**2).sum()))
    return float((accuracy - (true * named).sum()) / spread)


def _calibration_errors(number: int, rounds: int, rng: np.random.Generator) -> Rate:
    """Of these images: seeds that are surer than they are right by 0.03 on the average."""
    sure = rng.uniform(0.3, 1.0, 500)
    probabilities = np.column_stack([sure, *[(1 - sure) / 9] * 9])

    def error() -> float:
        right = rng.random(len(sure)) < sure - rng.normal(0.03, 0.03)
        return bins_of(probabilities, np.where(right, 0, 1)).error

    truth = float(np.mean([error() for _ in range(4000)]))
    inside = (truth in mean_over_seeds([error() for _ in range(number)]).interval for _ in range(rounds))
    return covered("calibration error, these images", number, inside, level=SKEWED)


# splits of the data


def split_rates(number: int, rounds: int, seed: int) -> Iterator[Rate]:
    """`number` splits with two seeds each. Each split draws 30 % of the same images for its test part."""
    if number < 2:
        return
    rng = np.random.default_rng([seed, number])
    rates = []
    for training in (0.0, 1.0):
        inside = []
        for _ in range(rounds // 2):
            found = splits.difference(*_replicated(number, training, rng))
            inside.append(found is not None and 0 in found.interval)
        rates.append(covered("splits, ON - OFF", f"{number} spl", inside, f"training part {training:g}"))
    yield rates[0]
    yield replace(rates[1], what="  where training images matter as much", level=TRAINING_MATTERS)
    added = (_p_of_splits(number, rng) <= LEVEL for _ in range(rounds))
    yield simulated("splits add to what seeds scatter", f"{number} spl", added)


def _replicated(number: int, training: float, rng: np.random.Generator) -> list[splits.Replicated]:
    """Accuracies ON and OFF, of which the difference is 0 over all images there are, 2,000 of which are the data."""
    total, num_test = 2000, 600
    differences, worth = rng.normal(0, 0.6, total), rng.normal(0, 0.6 * training * math.sqrt(7 / 3), total)
    found: list[dict[int, list[Any]]] = [{}, {}]
    for split in range(number):
        order = rng.permutation(total)
        apart = float(differences[order[:num_test]].mean() + worth[order[num_test:]].mean())
        for place, sign in enumerate((0.5, -0.5)):
            specs = [spec_of("MobileNet", (ON, OFF)[place], seed, (("split_seed", split),)) for seed in range(2)]
            accuracies = 0.6 + sign * apart + rng.normal(0, 0.012, 2)
            found[place][split] = [result_of(s, float(a)) for s, a in zip(specs, accuracies, strict=True)]
    return [splits.Replicated(own) for own in found]


def _p_of_splits(number: int, rng: np.random.Generator) -> float:
    spec = spec_of("MobileNet", ON)
    rows = {n: [result_of(spec, float(a)) for a in 0.6 + rng.normal(0, 0.02, 2)] for n in range(number)}
    return splits.Replicated(rows).components.p_value


# single networks


def network_rates(number: int, rounds: int, seed: int) -> Iterator[Rate]:
    rng = np.random.default_rng([seed, number])
    if number == 1:
        learned = [kind_of(_guess(rng)) is Kind.LEARNED for _ in range(rounds)]
        yield simulated("a network that guesses: learned", 1, learned, level=LEVEL / 2)
        for images in (63, NUM_IMAGES):
            yield from _two_networks(images, rounds, rng)
    above = {"VGG16 cannot be trained: CONTRADICTED": 0.0, "VGG16 cannot be trained: CONFIRMED": claims.POOR}
    for what, better in above.items():
        verdict = CONTRADICTED if better == 0 else CONFIRMED
        said = (_says_of_training(number, better, rng) == verdict for _ in range(max(4, rounds // 5)))
        yield simulated(f"claim: {what}", number, said)
    named = np.array([_says_of_naming(number, constant) in DECIDED for constant in range(number + 1)], float)
    half = float(binom.pmf(np.arange(number + 1), number, HALF) @ named)
    yield Rate("claim: VGG16 names class 8 for all", str(number), half, 0)


def _guess(rng: np.random.Generator) -> Any:
    confusion = rng.multinomial(COUNTS, rng.dirichlet(np.ones(10)))
    accuracy = float(np.trace(confusion) / confusion.sum())
    return result_of(spec_of("VGG16", OFF), accuracy, tuple(map(tuple, confusion.tolist())))


def _two_networks(images: int, rounds: int, rng: np.random.Generator) -> Iterator[Rate]:
    """McNemar's test and Newcombe's interval of networks that are right on the same images, mostly or hardly."""
    apart, inside, f1 = [], [], []
    for only in (0.01, 0.1, 0.3):
        own: tuple[list[bool], list[bool]] = [], []
        for _ in range(rounds // 2):
            place = rng.choice(4, images, p=(0.95 - 2 * only, only, only, 0.05))
            arms = [_of_answers(spec_of("MobileNet", s), place, n) for n, s in ((1, ON), (2, OFF))]
            found, _ = compare_shares(arms[0], arms[1], _right)
            own[0].append(found.p_value < LEVEL)
            own[1].append(0 in found.interval)
        apart.append(simulated("McNemar, two networks", f"{images}im", own[0], f"{only} only one"))
        inside.append(covered("  its interval, Newcombe", f"{images}im", own[1], f"{only} only one"))
    yield worst(apart)
    yield worst(inside)
    for _ in range(rounds // 20 if images == NUM_IMAGES else 0):
        shared, labels = shared_easiness(images, rng), rng.choice(10, images, p=np.array(COUNTS) / NUM_IMAGES)
        places = [("MobileNet", start) for start in (ON, OFF)]
        arms = {p: arm_of(spec_of(*p), labels, easiness(0.6, shared, rng), np.zeros(1), rng) for p in places}
        compared = compare(Setting(key_of(spec_of(*places[0])), arms)).comparisons[0].f1
        f1.append(compared is not None and 0 in compared.interval)
    if f1:
        yield covered("  interval of F1, bootstrap", f"{images}im", f1)


def _of_answers(spec: Any, place: Any, bit: int) -> Arm:
    """Right where `place` (N,) is 0, or the number of the network."""
    zeros = np.zeros(len(place), np.int64)
    wrong = ~((place == 0) | (place == bit))
    one = Predictions(np.arange(len(place)), zeros, wrong.astype(np.int64), zeros.astype(float), 2)
    return Arm((result_of(spec, 0.6),), (one,))


def _says_of_training(number: int, better: float, rng: np.random.Generator) -> str:
    """Of networks that are so much better than always naming the largest class, their seeds scattering by 0.012 where
    they are better at all."""
    arms = {}
    for start in (ON, OFF):
        accuracies = COMMONEST + better + (rng.normal(0, 0.012, number) if better else np.zeros(number))
        counts = rng.binomial(NUM_IMAGES, accuracies)
        labels = np.repeat(np.arange(10), COUNTS)
        rows, unknown = np.arange(NUM_IMAGES), np.full(NUM_IMAGES, np.nan)
        named = [np.where(rows < count, labels, (labels + 1) % 10) for count in counts]
        results = tuple(_named(start, seed) for seed in range(number))
        arms["VGG16", start] = Arm(results, tuple(Predictions(rows, labels, one, unknown, 10) for one in named))
    return claims.vgg16_cannot_be_trained([Setting(key_of(spec_of("VGG16", ON)), arms)]).verdict


@functools.cache
def _named(start: str, seed: int) -> Any:
    return result_of(spec_of("VGG16", start, seed), 0.2)


def _says_of_naming(number: int, constant: int) -> str:
    """Of so many networks that name class 8 for all images, the others no class for many."""
    labels = np.repeat(np.arange(10), 10)
    shown = [np.full(100, 7) if seed < constant else labels for seed in range(number)]
    unknown, rows = np.full(100, np.nan), np.arange(100)
    arm = Arm(
        tuple(_named(OFF, seed) for seed in range(number)),
        tuple(Predictions(rows, labels, one, unknown, 10) for one in shown),
    )
    return vgg16_names_class_8(Setting(key_of(arm.spec), {("VGG16", OFF): arm}), OFF).verdict


CHECKS: Final[dict[str, Callable[[int, int, int], Iterator[Rate]]]] = {
    "comparisons": comparison_rates,
    "claims": claim_rates,
    "collapse": collapse_rates,
    "rivals": rival_rates,
    "intervals": interval_rates,
    "splits": split_rates,
    "networks": network_rates,
}
"""By name; each takes how many seeds a setting has, the number of rounds, and a seed of all random numbers."""
PLANTED: Final = {
    "one is better": "equal accuracies, 0.6 on 5,321 images; over seeds 0.012 to 0.055",
    "equivalent": f"the same, {MARGIN} apart, the smallest difference of interest",
    "all pairs: any": "four equal settings, over seeds 0.012, 0.022, 0.055, 0.012",
    "claims about": "the same networks as below",
    "claim: is better": "equal networks, unequal scatters 0.012 to 0.055; any of a family",
    "EXPLAINED, an": "both settings collapse equally often, the worst rate of 0 to 1; as this verdict, "
    "or no trial, in the other arm",
    "EXPLAINED, both": "four settings, all collapse in 0.5, 0.7 or 0.9; said of either arm",
    "EXPLAINED by no": "1 and 0 collapse; but the alternative is as good as naming the commonest class",
    "NOT_EXPLAINED, an": "the other setting collapses in at most half; the paper's at any rate",
    "NOT_EXPLAINED, both": "one of three others collapses in half, the rest in 0.9 or 1",
    "NOT_REPRODUCED, an": "the paper's setting collapses in at least half; the other at any rate",
    "NOT_REPRODUCED, both": "the paper's setting collapses in 0.5 or 0.6",
    "rival REMOVES": "preprocessing and epochs change nothing, or the second alone does",
    "rival KEEPS": "at most half collapse with the rival, any rate without",
    "interaction of": "rates p, q, r, q + r - p, the worst of them",
    "interaction, any": "3 optimizer settings x 2 ways of preprocessing x 2 numbers of epochs, all alike",
    "Wilson, mean": "rates from 0 to 1; collapse rates of so many seeds",
    "Newcombe, mean": "two rates from 0 to 1; their difference",
    "posterior": "two rates of Beta(1/2, 1/2); their difference",
    "t, mean": "normal scores, seeds 1 and 1 or 0.2, images 0, 0.5 or 2; the worst",
    "accuracy, paired": "equal accuracies 0.6, over seeds 0.022 and 0.055",
    "accuracy, the answer": "accuracies 0.6 and 0.95, over seeds 0.002 to 0.055; the worst",
    "balanced accuracy": "each class 0.6 right, over seeds 0.022",
    "calibration": "seeds surer than right by 0.03, over seeds 0.03: skewed, as errors are",
    "splits, ON": "no difference over all images; 30 % of 2,000 test, and make all of the scatter",
    "splits add": "all splits alike, two seeds each",
    "a network": "truth and prediction have nothing to do with each other; per network",
    "McNemar": "two networks, equally good; each alone right on 0.01, 0.1 or 0.3",
    "claim: VGG16 cannot be trained: CONTRA": "all as good as naming the largest class",
    "claim: VGG16 cannot be trained: CONF": f"all better by {claims.POOR}, over seeds 0.012",
    "claim: VGG16 names": "half of the networks do",
}
"""Beginning of a kind -> the truth, which is not what is then said, or which the interval is to have."""
