"""All pairs of settings, with one correction: which are told apart, and which are not.

    ranking = rank(arms)                        # of the settings that have three seeds or more
    [place.name for place in ranking.places]    # the best mean accuracy first
    ranking.groups                              # ((0, 1, 2), (2, 3)): places that no test tells apart

Each pair is tested over seeds as any two arms are (`comparisons`), and all p-values of the ranking are Holm's together.
That is what Demsar 2006 (JMLR 7, 1) does over data sets, with seeds in their place, and with pairwise tests of the
accuracies in place of Nemenyi's of mean ranks: whether two settings differ then does not hang on which others there are
(Benavoli, Corani and Mangili 2016, JMLR 17, 5), and images count.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from analysis.claims.arms import Arm, load_arm
from analysis.claims.comparisons import Estimate, NotComparedError, compare_shares, holm_of, share_variance
from analysis.claims.verdicts import LEVEL
from analysis.collapse.settings import OPTIMIZER_FIELDS
from analysis.report import rerun
from analysis.report.answer import Command
from analysis.report.sections import Listing, Section
from analysis.statistics.intervals import CONFIDENCE
from analysis.statistics.seeds import MIN_SEEDS, SeedEstimate, mean_over_seeds
from analysis.trials.comparable import WEIGHTS, comparable
from analysis.trials.load import Trials, count_of
from analysis.trials.repeats import field_texts
from analysis.trials.starts import optimizer_name, rate_text, start_of
from galaxytl.results.predictions import PredictionsError
from galaxytl.trial import COMPLETE, SPEC_FIELDS, TrialResult, TrialSpec

NETWORKS: Final = ("backbone", *WEIGHTS, "unfrozen_blocks")
"""What differs between networks and starts at one setting of the rest."""
OPTIMIZERS: Final = (*OPTIMIZER_FIELDS, "batch_size")
"""What differs between the settings of one network's training."""
MOST_SETTINGS: Final = 30
"""That a figure or a table has room for; of more, the best."""
LETTERS: Final = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
RULE: Final = (
    "All pairs, tested over seeds and images, Holm's method over all of them. Settings that share a letter are not told"
    f" apart, which does not say that they are equal. Settings with fewer than {MIN_SEEDS} seeds have no place."
)


@dataclass(frozen=True, eq=False)
class RankedSetting:
    """A setting in a ranking, with its mean accuracy over seeds."""

    name: str
    arm: Arm
    accuracy: SeedEstimate


@dataclass(frozen=True)
class Ranking:
    """Settings by their mean accuracies, the best first."""

    places: tuple[RankedSetting, ...]
    pairs: Mapping[tuple[int, int], Estimate]
    """By two places, the better first: the better's accuracy minus the other's."""
    skipped: tuple[str, ...] = ()
    """A sentence for what has no place."""

    @property
    def groups(self) -> tuple[tuple[int, ...], ...]:
        """Neighbours of which no two are told apart, as many as that holds for; a place that is told from both
        neighbours makes one of its own."""
        return indistinct(len(self.places), [pair for pair, one in self.pairs.items() if one.adjusted < LEVEL])

    @property
    def num_told_apart(self) -> int:
        return sum(one.adjusted < LEVEL for one in self.pairs.values())


def rank(results: Sequence[TrialResult], folders: Mapping[str, Path]) -> Ranking:
    """Return the ranking of the COMPLETE trials' settings, all on one test part.

    `folders` is trial_id -> the results folder of its row. Settings of other images than the first's have no place.
    """
    return rank_arms(*_arms(results, folders))


def rank_arms(arms: Sequence[Arm], skipped: Sequence[str] = ()) -> Ranking:
    """Return the ranking of arms of MIN_SEEDS seeds or more; `skipped`: a sentence for what has no place."""
    places = sorted(_places(arms), key=lambda place: (-place.accuracy.value, place.name))
    left_out = len(places) - MOST_SETTINGS
    also = [f"{left_out} settings of lower accuracy are not in it"] if left_out > 0 else []
    return _ranking(places[:MOST_SETTINGS], [*skipped, *also])


def _arms(results: Sequence[TrialResult], folders: Mapping[str, Path]) -> tuple[list[Arm], list[str]]:
    """Return those that may have a place, and sentences on the others."""
    arms, skipped, few = [], [], 0
    for own in settings_in(results):
        if len(own) < MIN_SEEDS:
            few += 1
            continue
        try:
            arms.append(load_arm(own, folders))
        except PredictionsError as error:
            skipped.append(f"{setting_name(own[0].spec, ())}: {error}")
    if few:
        verb = "has" if few == 1 else "have"
        skipped.append(f"{count_of(few, 'setting')} {verb} fewer than {MIN_SEEDS} seeds")
    return arms, skipped


def settings_in(results: Sequence[TrialResult]) -> list[list[TrialResult]]:
    """Return the COMPLETE trials that differ in nothing but the seed, together."""
    found: dict[TrialSpec, list[TrialResult]] = {}
    for result in results:
        if result.status == COMPLETE:
            found.setdefault(result.spec.replace(seed=0), []).append(result)
    return list(found.values())


def _places(arms: Sequence[Arm]) -> list[RankedSetting]:
    specs = [arm.spec for arm in arms]
    varied = [name for name in SPEC_FIELDS if len({getattr(spec, name) for spec in specs}) > 1]
    return [RankedSetting(setting_name(arm.spec, varied), arm, _accuracy(arm)) for arm in arms]


def _accuracy(arm: Arm) -> SeedEstimate:
    values = [float(one.right.mean()) for one in arm.predictions]
    found = mean_over_seeds(values, share_variance(float(np.mean(values)), arm.num_images))
    return replace(found, interval=found.interval.within(0.0, 1.0))


def _ranking(places: Sequence[RankedSetting], skipped: Sequence[str]) -> Ranking:
    pairs = list(itertools.combinations(range(len(places)), 2))
    try:
        found = [compare_shares(places[i].arm, places[j].arm, lambda p: p.right)[0] for i, j in pairs]
    except NotComparedError as error:
        return Ranking((), {}, (*skipped, f"the settings are not ranked: {error}"))
    return Ranking(tuple(places), dict(zip(pairs, holm_of(found), strict=True)), tuple(skipped))


def indistinct(number: int, apart: Sequence[tuple[int, int]]) -> tuple[tuple[int, ...], ...]:
    """Return the longest runs of 0 to `number` - 1 in which no two are `apart`; none lies within another.

    >>> indistinct(4, [(0, 3), (1, 3)])
    ((0, 1, 2), (2, 3))
    """
    told = set(apart)
    runs: list[tuple[int, ...]] = []
    for first in range(number):
        last = first
        while last + 1 < number and not any((one, last + 1) in told for one in range(first, last + 1)):
            last += 1
        if not runs or last > runs[-1][-1]:
            runs.append(tuple(range(first, last + 1)))
    return tuple(runs)


def setting_name(spec: TrialSpec, varied: Collection[str]) -> str:
    """Return the network and its start, if one of them is `varied` among settings, and how it is trained, if that is.

    >>> spec = TrialSpec(dataset="d", dataset_fingerprint="0", weights="random", weights_requested="random")
    >>> setting_name(spec, ["optimizer", "batch_size"]), setting_name(spec.replace(unfrozen_blocks=0), [])
    ('Adam 1e-3, batch 32', 'MobileNet, random, frozen')
    """
    start = start_of(spec)
    blocks = "all blocks" if spec.unfrozen_blocks == "all" else f"{spec.unfrozen_blocks} blocks trained"
    network = f"{spec.backbone}, {start.title if start else f'{spec.weights_label}, {blocks}'}"
    texts = {
        network: NETWORKS,
        f"{optimizer_name(spec)} {rate_text(spec.learning_rate)}": ("optimizer", "momentum", "learning_rate"),
        f"decay {spec.weight_decay:g}": ("weight_decay",),
        f"batch {spec.batch_size}": ("batch_size",),
    }
    named = {name for names in texts.values() for name in names}
    further = field_texts(spec, [name for name in SPEC_FIELDS if name in varied and name not in named])
    parts = [text for text, names in texts.items() if set(names) & set(varied)]
    return ", ".join([*parts, *further]) or network


def section(ranking: Ranking, heading: str) -> Section:
    """Return the ranking as a table with letters: a letter a group (Piepho 2004, J. Comp. Graph. Stat. 13, 456)."""
    letters = [
        "".join(letter for letter, group in zip(LETTERS, ranking.groups, strict=False) if number in group)
        for number in range(len(ranking.places))
    ]
    rows = tuple(
        (place.name, str(place.arm.num_seeds), f"{place.accuracy.value:.3f}", str(place.accuracy.interval), own)
        for place, own in zip(ranking.places, letters, strict=True)
    )
    headings = ("Setting", "Seeds", "Accuracy", f"{CONFIDENCE:.0%} interval", "Not told apart")
    said = f"{ranking.num_told_apart} of {len(ranking.pairs)} pairs are told apart."
    return Section(heading, Listing(headings, rows, {1, 2}), (said, RULE, *(f"{text}." for text in ranking.skipped)))


@dataclass(frozen=True)
class RankingTheme:
    """What a ranking compares: settings that differ in `varied` and in nothing else."""

    stem: str
    name: str
    varied: tuple[str, ...]


THEMES: Final = (
    RankingTheme("critical-differences", "networks and starts", NETWORKS),
    RankingTheme("critical-differences-optimizers", "optimizer settings", OPTIMIZERS),
)


def unanswered(trials: Trials, grids: Mapping[Path, Path]) -> tuple[Command, ...]:
    """Return the question in a line with the command that runs the seeds that are lacking, in the folder that has most
    trials; nothing where there are no two settings. `grids`: results folder -> the grid file of its trials."""
    own = settings_in([r for r in trials.results if r.spec.scored_on == "test"])
    folders = Counter(trials.folders.get(result.trial_id) for setting in own for result in setting)
    folder = min(folders, key=lambda one: (-folders[one], str(one)), default=None)
    if len(own) < 2 or folder is None or folder not in grids:
        return ()
    seeds = str(MIN_SEEDS + 1 - min(MIN_SEEDS, *map(len, own)))
    what = f"Which settings can be told apart, by {MIN_SEEDS} seeds of each?"
    specs = [r.spec for r in trials.results]
    options = (*rerun.division(specs), *rerun.given_features(specs))
    return (Command(what, rerun.command(grids[folder], *options, "--seeds", seeds, out=folder)),)


def can_rank(results: Sequence[TrialResult]) -> bool:
    """Return whether two settings or more have seeds enough."""
    return sum(len(own) >= MIN_SEEDS for own in settings_in(results)) > 1


def ranking_of(theme: RankingTheme, results: Sequence[TrialResult], folders: Mapping[str, Path]) -> tuple[Ranking, str]:
    """Return the ranking of the most settings that the theme may compare, and what is said of those left out; without
    places where there are no two of MIN_SEEDS seeds."""
    complete = [result for result in results if result.status == COMPLETE]
    chosen = comparable(complete, theme.varied, can_rank)
    return rank(chosen.results, folders), chosen.left_out


def sections(results: Sequence[TrialResult], folders: Mapping[str, Path]) -> list[Section]:
    """Return a table for each theme of which there are two settings or more."""
    found = ((theme, *ranking_of(theme, results, folders)) for theme in THEMES)
    return [
        section(ranking, f"All pairs: {subject(theme, ranking)}")
        for theme, ranking, _ in found
        if len(ranking.places) > 1
    ]


def subject(theme: RankingTheme, ranking: Ranking) -> str:
    """Return what is ranked, with the network where the theme varies none."""
    network = setting_name(ranking.places[0].arm.spec, ()) if theme.varied == OPTIMIZERS and ranking.places else ""
    return f"{theme.name} of {network}" if network else theme.name
