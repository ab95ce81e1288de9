"""Whether the networks are as sure as they are right: the section on calibration.

    sections(networks)

From the probabilities that each trial has stored of its test images. A temperature is fitted on those of the validation
part, where they are stored too, and judged on the test part; it is never fitted on the test part.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from analysis.report.sections import Listing, Section
from analysis.statistics.calibration import NUM_BINS, Bins, bins_of, brier, error_by_chance
from analysis.statistics.seeds import mean_over_seeds
from analysis.trials.repeats import Networks, Repeats
from galaxytl.results.predictions import Probabilities
from galaxytl.results.temperature import TEMPERATURES, Temperature, fit_temperature, nll, tempered

NOTHING: Final = "-"
WHAT: Final = (
    f"Predictions are sorted by confidence, the largest probability, into {NUM_BINS} bins of equal width (Guo et al."
    " 2017). ECE, the expected calibration error, is the mean distance between a bin's confidence and its share right."
    " Even a calibrated network has some, and more with fewer images: 'by chance' is what networks with these"
    " confidences would show if their probabilities were true, on average and, in brackets, at most in 95 % of cases."
    " Sureness is the mean confidence minus the accuracy: above 0 a network is surer than it is right. Brier is the"
    " squared distance from the truth, summed over classes (0 to 2). NLL is the cross-entropy in nats. Numbers are"
    " means over seeds; of three seeds or more, brackets hold their 95 % interval by Student's t, on these images."
)

OF_VOTES: Final = (
    "Trials that were trained towards votes: their Brier, NLL and temperature are measured against the votes, whose own"
    " entropy no NLL comes below. ECE and sureness call a prediction right where it is the class with the most votes,"
    " so that a network which gives the votes themselves looks less sure than it is right."
)


@dataclass(frozen=True, eq=False)
class Calibration:
    """Of one trial on its test images; `after` with the temperature that its validation images gave."""

    bins: Bins
    by_chance: tuple[float, float]
    """Mean, and the 95th percentile."""
    brier: float
    nll: float
    temperature: Temperature | None = None
    after: tuple[float, float, float] | None = None
    """ECE, Brier and NLL."""


def calibration_of(test: Probabilities, validation: Probabilities | None) -> Calibration:
    """Return the calibration on the test images, before and, where there are validation images, after a temperature."""
    by_chance = error_by_chance(test.values)
    before = Calibration(
        bins_of(test.values, test.labels),
        (float(by_chance.mean()), float(np.percentile(by_chance, 95))),
        brier(test.values, test.targets),
        nll(test.values, test.targets),
    )
    if validation is None:
        return before
    temperature = fit_temperature(validation.values, validation.targets)
    mended = tempered(test.values, temperature.value)
    after = (bins_of(mended, test.labels).error, brier(mended, test.targets), nll(mended, test.targets))
    return Calibration(before.bins, before.by_chance, before.brier, before.nll, temperature, after)


@dataclass(frozen=True, eq=False)
class SettingCalibration:
    """Of the seeds of one setting whose probabilities are there."""

    repeats: Repeats
    seeds: tuple[Calibration, ...]

    @functools.cached_property
    def pooled(self) -> Bins:
        """All seeds' predictions together: an image counts once a seed."""
        bins = [one.bins for one in self.seeds]
        counts, right = (np.sum([getattr(one, name) for one in bins], axis=0) for name in ("counts", "right"))
        return Bins(counts, right, np.sum([one.confidence for one in bins], axis=0))


@functools.lru_cache(maxsize=1)
def calibrations(networks: Networks) -> tuple[SettingCalibration, ...]:
    """Return those of the settings that are shown and have probabilities; kept, as section and figure want the same."""
    found = []
    for own in networks.shown:
        ids = [r.trial_id for r in own.results if r.trial_id in networks.probabilities]
        seeds = [calibration_of(networks.probabilities[key], networks.validation.get(key)) for key in ids]
        if seeds:
            found.append(SettingCalibration(own, tuple(seeds)))
    return tuple(found)


def sections(networks: Networks) -> list[Section]:
    """Return the section; none without probabilities."""
    found = calibrations(networks)
    if not found:
        return []
    headings: tuple[str, ...] = ("Setting", "Seeds", "ECE", "ECE by chance", "Sureness", "Brier", "NLL")
    further = ("Temperature", "ECE after", "Brier after", "NLL after")
    is_mended = any(one.after for own in found for one in own.seeds)
    rows = tuple(_row(own, is_mended) for own in found)
    headings += further if is_mended else ()
    of_votes = OF_VOTES if any(own.repeats.spec.targets == "votes" for own in found) else ""
    said = [WHAT, of_votes, _about_temperature(found), networks.not_shown, *networks.problems]
    listing = Listing(headings, rows, set(range(1, len(headings))))
    return [Section("Calibration: is a network as sure as it is right?", listing, tuple(filter(None, said)))]


def _row(own: SettingCalibration, is_mended: bool) -> tuple[str, ...]:
    seeds = own.seeds
    by_chance, at_most = (np.mean([one.by_chance[i] for one in seeds]) for i in (0, 1))
    cells = (
        own.repeats.name,
        str(len(seeds)),
        mean_text([one.bins.error for one in seeds]),
        f"{by_chance:.3f} [{at_most:.3f}]",
        f"{np.mean([one.bins.overconfidence for one in seeds]):+.3f}",
        mean_text([one.brier for one in seeds]),
        mean_text([one.nll for one in seeds]),
    )
    return (*cells, *_after(seeds)) if is_mended else cells


def _after(seeds: Sequence[Calibration]) -> tuple[str, ...]:
    """Return the scores after the temperature, of settings whose seeds all have a temperature."""
    after = [one.after for one in seeds if one.after]
    temperatures = [one.temperature for one in seeds if one.temperature]
    if len(after) < len(seeds):
        return (NOTHING,) * 4
    values = [one.value for one in temperatures]
    marked = " (at the end)" if any(one.is_at_end for one in temperatures) else ""
    geometric = math.exp(float(np.mean(np.log(values))))
    return (f"{geometric:.2f}{marked}", *(mean_text([scores[i] for scores in after]) for i in range(3)))


def mean_text(values: Sequence[float]) -> str:
    """Return the mean, with its 95 % interval by t over seeds from three on.

    >>> mean_text([0.1, 0.2]), mean_text([0.1, 0.2, 0.3])
    ('0.150', '0.200 [0.000 to 0.448]')
    """
    if len(values) < 3:
        return f"{np.mean(values):.3f}"
    found = mean_over_seeds(values)
    return f"{found.value:.3f} [{found.interval.within(0.0, math.inf)}]"


def _about_temperature(found: Sequence[SettingCalibration]) -> str:
    mended = [own.repeats.name for own in found if all(one.after for one in own.seeds)]
    if not mended:
        return (
            "No temperature is fitted: that takes probabilities of a validation part, which no setting here has for all"
            " of its seeds. Fitted on the test part it would be judged by what it was fitted to. A sweep with --set"
            " validation_fraction=0.1 stores them."
        )
    text = (
        "A temperature divides the logits: above 1 it makes a network less sure. It is fitted on the validation part,"
        " for each trial alone. ECE, Brier and NLL after it are of the test part. No prediction changes."
    )
    if any(one.temperature and one.temperature.is_at_end for own in found for one in own.seeds):
        low, high = TEMPERATURES
        text += (
            f" At the end: the best temperature of a seed or more is {low:g} or {high:g}, beyond which none is tried."
        )
    lacking = len(found) - len(mended)
    return f"{text} {NOTHING}: not all seeds have validation probabilities." if lacking else text
