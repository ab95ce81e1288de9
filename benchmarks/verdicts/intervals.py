"""How often intervals miss, where the truth is known: what bench_verdicts.py runs beside verdicts/rates.py.

rates = list(interval_rates(number=3, rounds=1000, seed=0))      # of Rate
"""

from __future__ import annotations

import functools
import itertools
import math
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.stats import binom
from verdicts.rates import GRID, LEVEL, Rate, covered, pmf_of, simulated, worst_of_each
from verdicts.truths import COUNTS, NUM_IMAGES, OPTIMIZERS, confusion_of, result_of, spec_of

from analysis.claims.arms import OFF, ON
from analysis.collapse import answer, settings, verdict
from analysis.run import contents
from analysis.scores import class_sections, splits
from analysis.statistics.beta_binomial import reduction
from analysis.statistics.calibration import bins_of
from analysis.statistics.intervals import Share, difference
from analysis.statistics.seeds import MIN_SEEDS, difference_over_seeds, mean_over_seeds, paired_over_seeds
from analysis.trials.paper import TABLE_1
from analysis.trials.repeats import Networks, Repeats
from analysis.trials.table1_cells import Cell


def interval_rates(number: int, rounds: int, seed: int) -> Iterator[Rate]:
    """Give the coverages of intervals over so many seeds."""
    rng = np.random.default_rng([seed, number])
    yield from _intervals_of_rates(number, rounds, rng)
    if number > 1:
        yield from worst_of_each(_intervals_over_seeds(number, rounds, rng))
        yield _paired_accuracies(number, rounds, rng)
    yield from worst_of_each(_accuracies(number, rounds // 2, rng))
    yield from _class_scores(number, rounds // (4 if number < 5 else 10), rng)
    if number >= MIN_SEEDS:
        yield _calibration_errors(number, rounds, rng)


def _intervals_of_rates(number: int, rounds: int, rng: np.random.Generator) -> Iterator[Rate]:
    """Give exact coverages: on the average over rates, and at the worst."""
    counts, pmf = range(number + 1), pmf_of(number)
    shares = [Share(count, number) for count in counts]
    inside = np.array([[rate in share.interval for share in shares] for rate in GRID], float)
    rates = (pmf * inside).sum(axis=1)
    yield Rate("Wilson, mean over rates", str(number), float(rates.mean()), 0, 1 - LEVEL, is_coverage=True)
    yield Rate("Wilson, worst rate", str(number), _worst_wilson(number), 0, WORST_WILSON, is_coverage=True)
    ends = [[difference(first, second) for second in shares] for first in shares]
    low, high = (np.array([[getattr(one, end) for one in row] for row in ends]) for end in ("low", "high"))
    grid, chances = GRID[::2], pmf[::2]
    rates = np.empty((len(grid), len(grid)))
    for p, q in np.ndindex(rates.shape):
        apart = grid[p] - grid[q]
        rates[p, q] = chances[p] @ ((low <= apart) & (apart <= high)) @ chances[q]
    yield Rate("Newcombe, mean over rates", str(number), float(rates.mean()), 0, MEAN_NEWCOMBE, is_coverage=True)
    yield Rate("Newcombe, worst rates", str(number), float(rates.min()), 0, WORST_NEWCOMBE, is_coverage=True)
    priors = rng.beta(0.5, 0.5, (10 * rounds, 2))
    posteriors = functools.cache(lambda a, b: reduction(shares[a], shares[b]).interval)
    drawn = zip(priors, rng.binomial(number, priors).tolist(), strict=True)
    yield covered("posterior, rates of its prior", number, (p - q in posteriors(a, b) for (p, q), (a, b) in drawn))


WORST_WILSON, MEAN_NEWCOMBE, WORST_NEWCOMBE, SKEWED, TRAINING_MATTERS = 0.79, 0.945, 0.79, 0.91, 0.87
"""Coverages that are lower than 0.95, as the docstrings of these intervals say."""


def _worst_wilson(number: int) -> float:
    """Return the coverage next to an end of an interval, where it jumps."""
    intervals = [Share(count, number).interval for count in range(number + 1)]
    ends = [end for own in intervals for end in (own.low, own.high)]
    rates = np.clip([end + step for end in ends for step in (-1e-9, 1e-9)], 0, 1)
    return min(sum(binom.pmf(n, number, rate) for n, own in enumerate(intervals) if rate in own) for rate in rates)


def _intervals_over_seeds(number: int, rounds: int, rng: np.random.Generator) -> Iterator[Rate]:
    """Take normal scores: seeds scatter by 1, in the second setting also by 0.2; images move all of them by 0 to 2."""
    for images, scatter in itertools.product((0.0, 0.5, 2.0), (1.0, 0.2)):
        common = rng.normal(0, images, (2, rounds, 1))
        first, second = (rng.normal(0, s, (rounds, number)) + c for s, c in zip((1.0, scatter), common, strict=True))
        name, variance = f"scatter 1 and {scatter:g}, images {images:g}", 2 * images**2
        mean = (0 in mean_over_seeds(one, images**2).interval for one in first)
        welch = (0 in difference_over_seeds(a, b, variance).interval for a, b in zip(first, second, strict=True))
        paired = (0 in paired_over_seeds(a, b, variance).interval for a, b in zip(first, second, strict=True))
        yield covered("t, mean over seeds", number, mean, name)
        yield covered("Welch, difference", number, welch, name)
        yield covered("t, paired by seed", number, paired, name)


def _accuracies(number: int, rounds: int, rng: np.random.Generator) -> Iterator[Rate]:
    """Take intervals as the collapse's answer and the summary print them; of one seed, that of this network."""
    for mean, scatter in ((0.6, 0.002), (0.6, 0.012), (0.6, 0.055), (0.95, 0.002), (0.95, 0.012)):
        name, in_answer, in_summary = f"{mean}, scatter {scatter}", [], []
        for _ in range(max(4, rounds // 4)):
            truth, results = _scored(number, mean, scatter, rng)
            accuracy = settings.optimizer_settings(results)[0].accuracy()
            in_answer.append(accuracy is not None and truth in accuracy.interval)
            in_summary.append(is_printed(truth, contents.accuracy_interval(Cell(TABLE_1[0], tuple(results)))))
        yield covered("accuracy, the answer's", number, in_answer, name)
        yield covered("accuracy, the summary's", number, in_summary, name)


def _scored(number: int, mean: float, scatter: float, rng: np.random.Generator, setting: int = 0) -> tuple[float, Any]:
    """Return the accuracy over all images, of one seed that of its network; and the trials of a setting's seeds, to
    70 % of which an image is as hard as to one another."""
    offsets, hard = rng.normal(0, scatter, number), rng.random(NUM_IMAGES)
    own = rng.random((number, NUM_IMAGES))
    right = np.where(rng.random(own.shape) < 0.7, hard, own) < mean + offsets[:, None]
    results = [
        result_of(
            spec_of("VGG16", ON, seed, OPTIMIZERS[setting]), count / NUM_IMAGES, ((count, NUM_IMAGES - count), (0, 0))
        )
        for seed, count in enumerate(np.count_nonzero(right, axis=1).tolist())
    ]
    return mean + (float(offsets[0]) if number == 1 else 0.0), results


def is_printed(truth: float, text: str) -> bool:
    """Return whether the last interval in a text has the truth, to three decimals."""
    low, high = map(float, re.findall(r"(-?\d\.\d+) to (-?\d\.\d+)", text)[-1])
    return low - 5e-4 <= truth <= high + 5e-4


def _paired_accuracies(number: int, rounds: int, rng: np.random.Generator) -> Rate:
    """Take the alternative's accuracy minus the paper's, by the seeds of the test."""
    inside = []
    for _ in range(rounds // 4):
        (_, own), (_, others) = _scored(number, 0.6, 0.022, rng), _scored(number, 0.6, 0.055, rng, setting=1)
        first, second = settings.optimizer_settings([*own, *others])
        arm = verdict.CollapseArm(
            "ON", verdict.Explanation.INCONCLUSIVE, "", first, second, test_seeds=tuple(range(number))
        )
        apart = answer.accuracy_difference(arm)
        inside.append(apart is not None and 0 in apart[0].interval)
    return covered("accuracy, paired difference", number, inside)


def _class_scores(number: int, rounds: int, rng: np.random.Generator) -> Iterator[Rate]:
    """Take balanced accuracy, MCC and the recall of the smallest class as they are printed."""
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
        scores, _, recalls = class_sections.sections(Networks((own,), (own,)))
        row, recall = scores.listing.rows[0], recalls.listing.rows[4]
        accuracy = 0.6 + (float(offsets[0]) if number == 1 else 0.0)
        texts = (accuracy, row[3]), (_matthews_at(accuracy), row[4]), (accuracy, recall[2])
        for own_list, (truth, text) in zip(inside.values(), texts, strict=True):
            own_list.append(is_printed(truth, text))
    yield from (covered(what, number, shown) for what, shown in inside.items())


def _matthews_at(accuracy: float) -> float:
    """Return MCC of endless images, where wrong ones go to each other class alike."""
    true = np.array(COUNTS) / NUM_IMAGES
    expected = np.where(np.eye(10, dtype=bool), accuracy, (1 - accuracy) / 9) * true[:, None]
    named = expected.sum(axis=0)
    spread = math.sqrt((1 - (true**2).sum()) * (1 - (named**2).sum()))
    return float((accuracy - (true * named).sum()) / spread)


def _calibration_errors(number: int, rounds: int, rng: np.random.Generator) -> Rate:
    """Take seeds that are surer than they are right by 0.03 on the average, on these images."""
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
    """Give rates over `number` splits with two seeds each; each draws 30 % of the same images for its test part."""
    if number < 2:
        return
    rng = np.random.default_rng([seed, number])
    rates = []
    for training in (0.0, 1.0):
        inside = []
        for _ in range(rounds // 2):
            apart = splits.start_difference(*_replicated(number, training, rng))
            inside.append(apart is not None and 0 in apart.interval)
        rates.append(covered("splits, ON - OFF", f"{number} spl", inside, f"training part {training:g}"))
    yield rates[0]
    yield replace(rates[1], what="  where training images matter as much", level=TRAINING_MATTERS)
    added = (_p_of_splits(number, rng) <= LEVEL for _ in range(rounds))
    yield simulated("splits add to what seeds scatter", f"{number} spl", added)


def _replicated(number: int, training: float, rng: np.random.Generator) -> list[splits.Replicated]:
    """Return accuracies ON and OFF, whose difference is 0 over all images there are; 2,000 of these are the data."""
    total, num_test = 2000, 600
    differences, worth = rng.normal(0, 0.6, total), rng.normal(0, 0.6 * training * math.sqrt(7 / 3), total)
    results: list[dict[int, list[Any]]] = [{}, {}]
    for split in range(number):
        order = rng.permutation(total)
        apart = float(differences[order[:num_test]].mean() + worth[order[num_test:]].mean())
        for place, sign in enumerate((0.5, -0.5)):
            specs = [spec_of("MobileNet", (ON, OFF)[place], seed, (("split_seed", split),)) for seed in range(2)]
            accuracies = 0.6 + sign * apart + rng.normal(0, 0.012, 2)
            results[place][split] = [result_of(s, float(a)) for s, a in zip(specs, accuracies, strict=True)]
    return [splits.Replicated(own) for own in results]


def _p_of_splits(number: int, rng: np.random.Generator) -> float:
    spec = spec_of("MobileNet", ON)
    rows = {n: [result_of(spec, float(a)) for a in 0.6 + rng.normal(0, 0.02, 2)] for n in range(number)}
    return splits.Replicated(rows).components.p_value
