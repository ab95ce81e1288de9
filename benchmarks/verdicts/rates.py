"""How often verdicts are wrong where the truth is known: what bench_verdicts.py runs.

    rates = list(comparison_rates(number=3, rounds=1000, seed=0))      # of Rate

A verdict is wrong where it says what is not so. Where nothing is said (INCONCLUSIVE, NOT_CONFIRMED), nothing is wrong.
Where counts decide, all of them are gone through, at rates from 0 to 1 by 0.01: the rate is then exact.
"""

from __future__ import annotations

import functools
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from statistics import NormalDist
from typing import Any, Final

import numpy as np
from scipy.stats import binom
from verdicts.truths import (
    COMMONEST,
    COUNTS,
    NUM_IMAGES,
    OPTIMIZERS,
    Floats,
    arm_of,
    collapses,
    confusion_at,
    easiness,
    plain_arm,
    plain_result,
    predictions_of,
    result_of,
    shared_easiness,
    spec_of,
)

from analysis.claims import about_trials
from analysis.claims.about_errors import vgg16_names_class_8
from analysis.claims.arms import FROZEN_RANDOM, OFF, ON, Arm, TrialSetting, key_of
from analysis.claims.comparisons import Estimate, compare, compare_shares, holm_of
from analysis.claims.judging import decide, is_equivalent
from analysis.claims.verdicts import CONFIRMED, CONTRADICTED
from analysis.collapse import verdict as collapse
from analysis.collapse.interactions import examine_interactions
from analysis.collapse.rivals import Effect, contrasts
from analysis.scores.all_pairs import rank_arms
from analysis.statistics.equivalence import MARGIN
from analysis.statistics.interaction import Cells, interaction
from analysis.statistics.intervals import Share
from analysis.statistics.seeds import MIN_SEEDS
from analysis.trials.endings import Ending, ending_of
from analysis.trials.starts import FINE_TUNED

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
RIGHT: Final = attrgetter("right")


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
    """Return the one furthest to the wrong side of its level."""
    return max(rates, key=lambda rate: -rate.value if rate.is_coverage else rate.value)


def worst_of_each(rates: Iterable[Rate]) -> Iterator[Rate]:
    """Give the worst of each kind, in the order in which the kinds come."""
    by_kind: dict[str, list[Rate]] = {}
    for rate in rates:
        by_kind.setdefault(rate.what, []).append(rate)
    yield from map(worst, by_kind.values())


def simulated(what: str, seeds: Any, happened: Iterable[bool], truth: str = "", level: float = LEVEL) -> Rate:
    """Return how often something `happened`."""
    rounds = list(happened)
    return Rate(what, str(seeds), float(np.mean(rounds)), len(rounds), level, truth=truth)


def covered(what: str, seeds: Any, inside: Iterable[bool], truth: str = "", level: float = 1 - LEVEL) -> Rate:
    """Return how often the truth was `inside`."""
    return replace(simulated(what, seeds, inside, truth, level), is_coverage=True)


# two settings, and several


def comparison_rates(number: int, rounds: int, seed: int) -> Iterator[Rate]:
    """Give the rates of comparisons of two settings, and of several."""
    several: list[tuple[tuple[int, int], Sequence[tuple[float, float]]]] = [((number, number), SCATTERS)]
    if number == max(SEEDS):
        several += [((3, number), (*SCATTERS, (0.055, 0.012))), ((1, number), SCATTERS[:1])]
    for seeds, scatters in several:
        unequal = 0.011 if seeds[0] != seeds[1] and min(seeds) > 1 else 0.0  # as `statistics.seeds` says
        for rate in worst_of_each(_two_settings(seeds, scatters, rounds, seed)):
            yield replace(rate, level=rate.level - unequal if rate.is_coverage else rate.level + unequal)
    if number >= MIN_SEEDS:
        yield from _rankings(number, rounds // 2, seed)


def _two_settings(
    seeds: tuple[int, int], scatters: Sequence[tuple[float, float]], rounds: int, seed: int
) -> Iterator[Rate]:
    label = str(seeds[0]) if seeds[0] == seeds[1] else f"{seeds[0]} + {seeds[1]}"
    what = "interval of the difference" if min(seeds) > 1 else "interval, these networks alone"
    for index, scatter in enumerate(scatters):
        rng, name = np.random.default_rng([seed, *seeds, index]), f"scatter {scatter[0]:g}, {scatter[1]:g}"
        drawn = [_two(seeds, scatter, 0.0, rng) for _ in range(rounds)]
        true = [0.0 if min(seeds) > 1 else offset for *_, offset in drawn]
        for kind, own in (("", [pair for pair, _, _ in drawn]), (", counts", [pair for _, pair, _ in drawn])):
            yield simulated(f"one is better{kind}", label, [decide(one) in DECIDED for one in own], name)
            inside = [value in one.interval for value, one in zip(true, own, strict=True)]
            yield covered(f"{what}{kind}", label, inside, name)
        if min(seeds) >= MIN_SEEDS:
            too_equal = [is_equivalent(_two(seeds, scatter, MARGIN, rng)[0]) for _ in range(rounds // 2)]
            yield simulated("equivalent", label, too_equal, name)


def _two(
    seeds: tuple[int, int], scatters: tuple[float, float], apart: float, rng: np.random.Generator
) -> tuple[Estimate, Estimate, float]:
    """Compare two settings: image by image, by counts alone, and by how much these networks' seeds are apart."""
    shared = shared_easiness(NUM_IMAGES, rng)
    offsets = [rng.normal(0, scatter, number) for scatter, number in zip(scatters, seeds, strict=True)]
    places = (spec_of("MobileNet", ON), 0.6 + apart), (spec_of("MobileNet", OFF), 0.6)
    first, second = (
        plain_arm(spec, easiness(mean, shared, rng), own, rng)
        for (spec, mean), own in zip(places, offsets, strict=True)
    )
    paired, _ = compare_shares(first, second, RIGHT)
    counts, _ = compare_shares(replace(first, why_unpaired="counts"), second, RIGHT)
    one, other = (holm_of([estimate])[0] for estimate in (paired, counts))
    return one, other, float(offsets[0].mean() - offsets[1].mean()) + apart


def _rankings(number: int, rounds: int, seed: int) -> Iterator[Rate]:
    """Rank four settings, whose seeds scatter by 0.012, 0.022, 0.055 and 0.012."""
    rng, apart, inside = np.random.default_rng([seed, number, 4]), [], []
    specs = [spec_of("VGG16", OFF, 0, own) for own in OPTIMIZERS]
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
    """Give, of each family of claims, with Holm's p-values of its own, how often any of the family is decided."""
    wanted = max(4, round(rounds * {1: 0.03, 2: 0.03, 3: 0.25, 5: 0.15}.get(number, 0.08)))
    counts: Counter[str] = Counter()
    for n in range(wanted):
        own, longer = equal_networks(number, np.random.default_rng([seed, number, n]))
        compared = compare(own)
        claims = about_trials.trial_claims(compared, (own, longer))
        judged = [(_family(one.claim), one.verdict in DECIDED) for one in claims if not _is_of_collapse(one.claim)]
        judged += [("2 x 2 of pretraining and freezing", one.accuracy.adjusted < LEVEL) for one in compared.effects]
        counts.update(dict.fromkeys((family for family, _ in judged), 0))
        counts.update({family for family, is_decided in judged if is_decided})
    if number < MIN_SEEDS:
        settings = [count for family, count in counts.items() if not family.startswith("2 x 2")]
        yield Rate("claims about settings, any", str(number), max(settings) / wanted, wanted)
        return
    yield from (Rate(f"claim: {family}", str(number), count / wanted, wanted) for family, count in counts.items())


def _family(claim: str) -> str:
    """Return the claim, whichever network it is of.

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
    """Return whether networks that learn contradict the claim rightly."""
    return "cannot be trained" in claim or "class 8 for all" in claim


NETWORK_SCATTERS: Final = {
    **{("MobileNet", start): scatter for start, scatter in ((ON, 0.055), (OFF, 0.012))},
    **{("ResNet50", start): scatter for start, scatter in ((ON, 0.012), (OFF, 0.022))},
    **{("VGG16", start): scatter for start, scatter in ((ON, 0.012), (OFF, 0.055))},
    **{("MobileNet", start): 0.022 for start in (FINE_TUNED, FROZEN_RANDOM)},
}
"""Over seeds: unequal within every claim."""


def equal_networks(number: int, rng: np.random.Generator, num_images: int = 200) -> tuple[TrialSetting, TrialSetting]:
    """Return equally good networks at the settings of Table 1, and ResNet50 and VGG16 with twice as many epochs."""
    labels = rng.choice(10, num_images, p=np.array(COUNTS) / NUM_IMAGES)
    shared = shared_easiness(num_images, rng)

    def arm(backbone: str, start: str, **fields: Any) -> Arm:
        offsets = rng.normal(0, NETWORK_SCATTERS[backbone, start], number)
        spec = spec_of(backbone, start, 0, tuple(fields.items()))
        return arm_of(spec, labels, easiness(0.6, shared, rng), offsets, rng)

    own = {place: arm(*place) for place in NETWORK_SCATTERS}
    longer = {place: arm(*place, num_epochs=40) for place in own if place[0] != "MobileNet"}
    first, second = (TrialSetting(key_of(next(iter(arms.values())).spec), arms) for arms in (own, longer))
    return first, second


# the collapse of VGG16


def collapse_rates(number: int, rounds: int, seed: int) -> Iterator[Rate]:
    """Give the rates of wrong verdicts on VGG16's collapse."""
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
    """Return the exact rate, at the worst rates, with the other arm as it is the worst."""
    choice, test = map(len, collapse.halves(range(number)))
    wrong = NULLS[what](GRID[:, None], GRID)
    rates = []
    for other in ("absent", what):
        said = np.array(_table(number, other)) == what
        chances = np.einsum("abc,pa,qb,qc->pq", said.astype(float), *map(pmf_of, (number, choice, test)), optimize=True)
        p, q = np.unravel_index(np.where(wrong, chances, -1.0).argmax(), chances.shape)
        truth = f"rates {GRID[p]:.2f} and {GRID[q]:.2f}, other arm {other}"
        rates.append(Rate(f"{what}, an arm", str(number), float(chances[p, q]), 0, truth=truth))
    return worst(rates)


@functools.cache
def pmf_of(total: int) -> Floats:
    """Return the probability of each count at each rate of the grid: (101, total + 1)."""
    return np.asarray(binom.pmf(np.arange(total + 1), total, GRID[:, None]))


@functools.cache
def _table(number: int, other: str) -> list[list[list[str]]]:
    """Return the verdict on an arm with the paper's setting and another one, by how many seeds of the one collapse, and
    of the other's that choose and that test."""
    choice, test = collapse.halves(range(number))
    beside = {("OFF", setting): [is_all] * number for setting, is_all in enumerate(OTHER_ARM[other])}

    def verdict(own: int, chosen: int, tested: int) -> str:
        others = {*choice[:chosen], *test[:tested]}
        outcomes = {("ON", 0): [seed < own for seed in range(number)], ("ON", 1): [s in others for s in range(number)]}
        return collapse.study_collapse(collapses({**outcomes, **beside})).arms[0].verdict.value

    counts = [range(total + 1) for total in (number, len(choice), len(test))]
    return [[[verdict(a, b, c) for c in counts[2]] for b in counts[1]] for a in counts[0]]


def _drawn(shares: Sequence[float], number: int, rng: np.random.Generator) -> tuple[tuple[bool, ...], ...]:
    """Draw who collapses, arm by arm and setting by setting."""
    return tuple(tuple((rng.random(number) < share).tolist()) for _ in ("ON", "OFF") for share in shares)


def _is_said(verdict: str, outcomes: tuple[tuple[bool, ...], ...]) -> bool:
    half = len(outcomes) // 2
    places = [(arm, setting) for arm in ("ON", "OFF") for setting in range(half)]
    study = collapse.study_collapse(collapses(dict(zip(places, outcomes, strict=True))))
    return any(arm.verdict.value == verdict for arm in study.arms)


def _is_no_cure_said(number: int, rng: np.random.Generator) -> bool:
    """Return the verdict where the alternative never collapses, and is as good as naming the commonest class."""
    rows = collapses({("ON", 0): [True] * number})
    right = rng.binomial(NUM_IMAGES, COMMONEST) / NUM_IMAGES - COMMONEST
    for seed in range(number):
        accuracy = COMMONEST + right + rng.normal(0, 0.012)
        rows.append(result_of(spec_of("VGG16", ON, seed, OPTIMIZERS[1]), accuracy, confusion_at(accuracy)))
    return collapse.study_collapse(rows).arms[0].verdict is collapse.Explanation.EXPLAINED


# what else removes it


def rival_rates(number: int, rounds: int, seed: int) -> Iterator[Rate]:
    """Give the rates of wrong words on what else removes the collapse."""
    effects = _effects(number)
    removes, keeps = effects == Effect.REMOVES.value, effects == Effect.KEEPS.value
    grid, pmf = GRID[::2], pmf_of(number)[::2]
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
    """Return what is said of two rivals, preprocessing and epochs, by how many seeds collapse with the paper's setting,
    the one and the other: (2, number + 1, number + 1, number + 1)."""
    counts = range(number + 1)
    effects = [[[_effects_at(number, (a, b, c)) for c in counts] for b in counts] for a in counts]
    return np.moveaxis(np.array(effects), -1, 0)


def _effects_at(number: int, counts: tuple[int, int, int]) -> tuple[str, str]:
    ways: tuple[dict[str, Any], ...] = ({}, {"preprocessing": "backbone"}, {"num_epochs": 60})
    rows = [
        row
        for count, way in zip(counts, ways, strict=True)
        for row in collapses({("ON", 0): [n < count for n in range(number)]}, **way)
    ]
    effects = {contrast.factor: contrast.effect.value for contrast in contrasts(rows)}
    return effects["preprocessing"], effects["epochs"]


def _interaction(number: int, rounds: int, seed: int) -> Rate:
    """Return the rate, exact for few seeds, else simulated at rates p, q, r, q + r - p."""
    if number <= 5:
        shape = (number + 1,) * 4
        rejected = np.array([_p_value(number, counts) <= LEVEL for counts in np.ndindex(shape)], float).reshape(shape)
        pmf, steps = pmf_of(number)[::2], len(GRID[::2])
        chances = np.einsum("abcd,pa,qb,rc->pqrd", rejected, pmf, pmf, pmf, optimize=True)
        p, q, r = np.indices((steps,) * 3)
        s = q + r - p
        possible = (s >= 0) & (s < steps)
        largest = float((chances[possible] * pmf[s[possible]]).sum(axis=1).max())
        return Rate("interaction of two", str(number), largest, 0)
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
    """Take three optimizer settings, two ways of preprocessing, two numbers of epochs: none changes anything."""
    ways = [{"preprocessing": p, "num_epochs": e} for p in ("divide_by_255", "backbone") for e in (20, 60)]
    shown = []
    for _ in range(max(4, rounds)):
        rows = [
            row for way in ways for k in range(3) for row in collapses({("ON", k): rng.random(number) < share}, **way)
        ]
        shown.append(any(one.is_shown for one in examine_interactions(rows)))
    return simulated("interaction, any of a family", number, shown, f"rates {share}")


# single networks


def network_rates(number: int, rounds: int, seed: int) -> Iterator[Rate]:
    """Give the rates of what is said of networks one by one."""
    rng = np.random.default_rng([seed, number])
    if number == 1:
        learned = [ending_of(_guess(rng)) is Ending.LEARNED for _ in range(rounds)]
        yield simulated("a network that guesses: learned", 1, learned, level=LEVEL / 2)
        for images in (63, NUM_IMAGES):
            yield from worst_of_each(_two_networks(images, rounds, rng))
            if images == NUM_IMAGES and rounds >= 20:
                yield covered("  interval of F1, bootstrap", f"{images}im", _f1_inside(images, rounds // 20, rng))
    above = {"VGG16 cannot be trained: CONTRADICTED": 0.0, "VGG16 cannot be trained: CONFIRMED": about_trials.POOR}
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
    """Give McNemar's test and Newcombe's interval of networks that are right on the same images, mostly or hardly."""
    for only in (0.01, 0.1, 0.3):
        pairs = []
        for _ in range(rounds // 2):
            place = rng.choice(4, images, p=(0.95 - 2 * only, only, only, 0.05))
            arms = [_of_answers(spec_of("MobileNet", s), place, n) for n, s in ((1, ON), (2, OFF))]
            pairs.append(compare_shares(arms[0], arms[1], RIGHT)[0])
        apart, inside = [pair.p_value < LEVEL for pair in pairs], [0 in pair.interval for pair in pairs]
        yield simulated("McNemar, two networks", f"{images}im", apart, f"{only} only one")
        yield covered("  its interval, Newcombe", f"{images}im", inside, f"{only} only one")


def _f1_inside(images: int, rounds: int, rng: np.random.Generator) -> Iterator[bool]:
    """Give whether the interval of the difference of F1 has the truth, 0."""
    places = [("MobileNet", start) for start in (ON, OFF)]
    for _ in range(rounds):
        shared, labels = shared_easiness(images, rng), rng.choice(10, images, p=np.array(COUNTS) / NUM_IMAGES)
        arms = {p: arm_of(spec_of(*p), labels, easiness(0.6, shared, rng), np.zeros(1), rng) for p in places}
        f1 = compare(TrialSetting(key_of(spec_of(*places[0])), arms)).comparisons[0].f1
        yield f1 is not None and 0 in f1.interval


def _of_answers(spec: Any, place: Any, bit: int) -> Arm:
    """Return a network that is right where `place` (N,) is 0, or the number of the network."""
    wrong = ~((place == 0) | (place == bit))
    labels = np.zeros(len(place), np.int64)
    return Arm((result_of(spec, 0.6),), (predictions_of(labels, wrong.astype(np.int64), labels.astype(float), 2),))


def _says_of_training(number: int, better: float, rng: np.random.Generator) -> str:
    """Return the verdict on networks that are so much better than always naming the largest class, their seeds
    scattering by 0.012 where they are better at all."""
    arms, labels = {}, np.repeat(np.arange(10), COUNTS)
    for start in (ON, OFF):
        accuracies = COMMONEST + better + (rng.normal(0, 0.012, number) if better else np.zeros(number))
        counts = rng.binomial(NUM_IMAGES, accuracies)
        named = [np.where(np.arange(NUM_IMAGES) < count, labels, (labels + 1) % 10) for count in counts]
        arms["VGG16", start] = _naming(start, labels, named)
    return about_trials.vgg16_cannot_be_trained([TrialSetting(key_of(spec_of("VGG16", ON)), arms)]).verdict


def _says_of_naming(number: int, constant: int) -> str:
    """Return the verdict on so many networks that name class 8 for all images, the others no class for many."""
    labels = np.repeat(np.arange(10), 10)
    arm = _naming(OFF, labels, [np.full(100, 7) if seed < constant else labels for seed in range(number)])
    return vgg16_names_class_8(TrialSetting(key_of(arm.spec), {("VGG16", OFF): arm}), OFF).verdict


def _naming(start: str, labels: Any, named: Sequence[Any]) -> Arm:
    """Return VGG16's networks, seed by seed, that name these classes."""
    results = tuple(plain_result(spec_of("VGG16", start, seed), 0.2) for seed in range(len(named)))
    return Arm(results, tuple(predictions_of(labels, one) for one in named))
