"""What a trial starts from, and how far it came: the words that several figures share.

start_of(spec).title          # "ImageNet, frozen*": the star where random weights stand in
is_collapsed(result)          # names one class, or several at chance
distance_from_paper(spec)     # (1, 1.0): another optimizer, and a learning rate a decade off
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from analysis.trials.endings import ending_of, share
from analysis.trials.paper import BACKBONES
from analysis.trials.subject import is_of_paper
from galaxytl.results.collapse import ONE_CLASS_SHARE, SLIGHT_KAPPA
from galaxytl.trial import ADDED, SPEC_FIELDS, TrialResult, TrialSpec
from galaxytl.trial.optimizers import OPTIMIZERS

IMAGENET_FROZEN, FROM_SCRATCH = "ImageNet, frozen", "from scratch"
RANDOM_FROZEN, FINE_TUNED = "random, frozen", "ImageNet, fine-tuned"
STARTS: Final = (IMAGENET_FROZEN, FROM_SCRATCH, RANDOM_FROZEN, FINE_TUNED)
PAPERS: Final = (IMAGENET_FROZEN, FROM_SCRATCH)
"""ON and OFF."""
COLLAPSED_NOTE: Final = (
    f"collapsed: one class takes {100 * ONE_CLASS_SHARE:.0f} % of the predictions or more at a kappa of at most"
    f" {SLIGHT_KAPPA}, or kappa is at chance"
)
PAPER_RATE: Final = 1e-3
NOT_OF_TRAINING: Final = (
    *("num_classes", "targets", "fit", "group_by", "official_split", "num_folds", "fold", "test_time_augmentation"),
)
"""Those of the fields that later versions added which say what is trained on and scored, and not how it is trained."""
PAPER_FIELDS: Final = (
    *("preprocessing", "augmentation", "head_units", "head_dropout"),
    *("optimizer", "momentum", "weight_decay", "class_weighting"),
    *(name for name in ADDED if name not in NOT_OF_TRAINING),
)
"""Whose defaults are what the paper is taken to have done, as the learning rate's, PAPER_RATE; not the size of the
run, which a laptop's is far from."""


@dataclass(frozen=True)
class Start:
    """Ordered as STARTS are."""

    name: str
    is_substituted: bool = False

    @property
    def title(self) -> str:
        return self.name + ("*" if self.is_substituted else "")

    def __lt__(self, other: Start) -> bool:
        own, others = ((STARTS.index(start.name), start.is_substituted) for start in (self, other))
        return own < others


def start_of(spec: TrialSpec) -> Start | None:
    """Return it by the weights asked for; None where only some blocks are trained."""
    name = start_name(spec)
    return Start(name, spec.is_substituted) if name else None


def start_name(spec: TrialSpec) -> str | None:
    """Return one of STARTS, or None."""
    names = {
        ("imagenet", 0): IMAGENET_FROZEN,
        ("random", "all"): FROM_SCRATCH,
        ("random", 0): RANDOM_FROZEN,
        ("imagenet", "all"): FINE_TUNED,
    }
    return names.get((spec.weights_requested, spec.unfrozen_blocks))


def is_collapsed(result: TrialResult) -> bool:
    """Return of a COMPLETE trial whether it names one class, or several at chance (`analysis.trials.endings`)."""
    return ending_of(result).is_collapse


def has_learned(result: TrialResult) -> bool:
    """Return of a COMPLETE trial whether it has not collapsed, and is surely better than always naming the commonest
    class."""
    found = share(result)
    surely = found is not None and found.interval.low > result.metrics.get("majority_share", math.inf)
    return surely and not is_collapsed(result)


def distance_from_paper(spec: TrialSpec) -> tuple[int, float]:
    """Return how many of PAPER_FIELDS differ from what the paper is taken to have done, and the learning rate by how
    many decades; tuples, so that the first goes before the second."""
    different = sum(getattr(spec, name) != SPEC_FIELDS[name].default for name in PAPER_FIELDS)
    return different, round(abs(math.log10(spec.learning_rate / PAPER_RATE)), 6)


def is_paper_setting(spec: TrialSpec) -> bool:
    """Return whether this is a trial of the paper, as far as it says what it did; what it does not say is assumed. Of
    other data it is none."""
    start = start_of(spec)
    return is_of_paper(spec) and start is not None and start.name in PAPERS and distance_from_paper(spec) == (0, 0.0)


def ordered_backbones(names: Iterable[str]) -> list[str]:
    """Return the paper's in the paper's order, then the others by name; each once."""
    present = set(names)
    return [*(name for name in BACKBONES if name in present), *sorted(present - set(BACKBONES))]


def setting(spec: TrialSpec, name: str) -> object:
    """Return a field's value; of weights, what a table must print for them."""
    return spec.weights_label if name == "weights" else getattr(spec, name)


def optimizer_name(spec: TrialSpec) -> str:
    """Return the optimizer's name, with its momentum, and whether that is Nesterov's.

    >>> optimizer_name(TrialSpec(dataset="d", dataset_fingerprint="0", optimizer="sgd", momentum=0.9))
    'SGD 0.9'
    """
    name = OPTIMIZERS[spec.optimizer].label
    return f"{name} {spec.momentum:g}{' Nesterov' if spec.nesterov else ''}" if spec.momentum else name


def momentum_note(results: Iterable[TrialResult]) -> str:
    """Return what the number after an optimizer's name is, where there is one."""
    shown = sorted({optimizer_name(r.spec) for r in results if r.spec.momentum})
    return f"{shown[0]}: with momentum {shown[0].split()[1]}" if shown else ""


def rate_text(rate: float) -> str:
    """Return a learning rate with at most two digits.

    >>> rate_text(1e-4), rate_text(0.00031623), rate_text(1.0)
    ('1e-4', '3.2e-4', '1e0')
    """
    digits, exponent = f"{rate:.1e}".split("e")
    return f"{digits.removesuffix('.0')}e{int(exponent)}"
