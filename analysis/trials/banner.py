"""What every table and figure must say about itself: the data and settings it was run on, and what is not real in it.

banner = Banner.of(grid)
banner.run_on      # "galaxy10_decals: 12,415 training and 5,321 test images, 224 x 224 pixels; 20 epochs; ..."
banner.warning     # "SIMULATED galaxies: not comparable with the paper's values", or nothing
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from analysis.trials.load import count_of
from analysis.trials.subject import SHORT_VOTES, VOTES, describe, is_of_paper
from analysis.trials.table1_cells import PaperGrid
from galaxytl.trial import DAMAGE, TrialResult, TrialSpec

SIMULATED = "SIMULATED galaxies: not comparable with the paper's values"
DAMAGED = "DAMAGED data"
SUBSTITUTED = "random weights (ImageNet weights not found)"
STAR = f"* {SUBSTITUTED}"


@dataclass(frozen=True)
class Banner:
    """Lines for people; `warning` is empty on real data."""

    run_on: str
    warning: str
    footer: str
    """The least that a figure says of its data, short enough for its bottom line."""

    @classmethod
    def of(cls, grid: PaperGrid) -> Banner:
        results = grid.results or grid.outside
        if not results:
            return cls("no trials", "", "no trials")
        spec = results[0].spec
        parts = [f"{_name(results)}: {_images(results)}"]
        parts += _settings(spec) if grid.results else ["no trial of the paper's grid"]
        parts += [VOTES] if _has_votes(results) else []
        parts.append(_devices(results))
        warning = "; ".join(_about_data(results))
        return cls("; ".join(part for part in parts if part), warning, _footer(results))

    @classmethod
    def of_search(cls, results: Sequence[TrialResult]) -> Banner:
        """Return that of trials that a search compares. They differ in most settings: it says what they have in
        common."""
        num_substituted = sum(r.spec.is_substituted for r in results)
        warnings = _about_data(results)
        warnings += [f"{SUBSTITUTED} in {num_substituted} of {len(results)} trials"] if num_substituted else []
        sizes, epochs = ({getattr(r.spec, name) for r in results} for name in ("image_size", "num_epochs"))
        counts = dict.fromkeys(_images([r]) for r in results if r.num_images)
        parts = [
            f"{_name(results)}: {' or '.join(counts) or _images(results)}",
            *(_size(size) for size in sizes if len(sizes) == 1),
        ]
        parts += [count_of(number, "epoch") for number in epochs if len(epochs) == 1]
        parts += [*([VOTES] if _has_votes(results) else []), _devices(results)]
        return cls("; ".join(part for part in parts if part), "; ".join(warnings), _footer(results))

    def bottom_line(self, results: Iterable[TrialResult], *notes: str) -> str:
        """Return the bottom line of a figure of these trials; it explains the star of their titles."""
        star = STAR if any(r.spec.is_substituted for r in results) else ""
        return "; ".join(filter(None, (self.footer, star, *notes)))

    def caption(self, text: str, results: Iterable[TrialResult]) -> str:
        """Return `text`, and what is not real in the figure: a caption is read where the bottom line is too small."""
        star = f"{STAR}." if any(r.spec.is_substituted for r in results) else ""
        simulated = f"{SIMULATED}." if SIMULATED in self.warning else ""
        damaged = f"{DAMAGED}." if DAMAGED in self.warning else ""
        return " ".join(part for part in (text, simulated, damaged, star) if part)

    @property
    def lines(self) -> tuple[str, ...]:
        return tuple(line for line in (self.warning, self.run_on) if line)


def _about_data(results: Iterable[TrialResult]) -> list[str]:
    """Return what is not real in the data, and what is wrong with it: a warning each."""
    results = list(results)
    damages = sorted({r.environment[DAMAGE] for r in results if DAMAGE in r.environment})
    simulated = [SIMULATED] if results[0].spec.is_simulated else []
    return [*simulated, *(f"{DAMAGED}, accepted by who ran the sweep: {damage}" for damage in damages)]


def _footer(results: Sequence[TrialResult]) -> str:
    kind = "simulated galaxies, not comparable with the paper" if results[0].spec.is_simulated else ""
    damaged = DAMAGED if any(DAMAGE in r.environment for r in results) else ""
    votes = SHORT_VOTES if _has_votes(results) else ""
    return "; ".join(part for part in (f"{_name(results)}, {_images(results)}", kind, damaged, votes) if part)


def _name(results: Sequence[TrialResult]) -> str:
    """Return the dataset's name; of data that are not the paper's, what they are."""
    return results[0].spec.dataset if is_of_paper(results[0].spec) else describe(results)


def _has_votes(results: Iterable[TrialResult]) -> bool:
    return any(r.spec.targets == "votes" for r in results)


def _images(results: Iterable[TrialResult]) -> str:
    counts: dict[str, int] = next((r.num_images for r in results if r.num_images), {})
    if not counts:
        return "number of images not recorded"
    validation = f", {counts['validation']:,} validation" if counts.get("validation") else ""
    return f"{counts.get('train', 0):,} training{validation} and {counts.get('test', 0):,} test images"


def _settings(spec: TrialSpec) -> list[str]:
    """Return the settings that all trials of the grid share."""
    momentum = f", momentum {spec.momentum:g}" if spec.momentum else ""
    decay = f", weight decay {spec.weight_decay:g}" if spec.weight_decay else ""
    return [
        _size(spec.image_size),
        count_of(spec.num_epochs, "epoch"),
        f"{spec.optimizer}, learning rate {spec.learning_rate:g}{momentum}{decay}, batches of {spec.batch_size}",
    ]


def _size(pixels: int) -> str:
    return f"{pixels} x {pixels} pixels"


def _devices(results: Iterable[TrialResult]) -> str:
    return " and ".join(sorted({r.environment["device"] for r in results if r.environment.get("device")}))
