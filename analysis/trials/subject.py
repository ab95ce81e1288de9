"""What a report is about: the paper's study, of Galaxy10 DECaLS or of simulated galaxies, or anybody's own images.

is_of_paper(spec)        # whether the paper's values may stand beside a trial's
describe(results)        # "28 images of 4 classes (a, b, c, d)"
subject = subject_of(results); subject.title, subject.table
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from galaxytl.system.foreign_text import names_text
from galaxytl.trial import TrialResult, TrialSpec

PAPERS: Final = ("galaxy10_decals", "galaxy10_layout_")
"""How `galaxytl.data.dataset` begins the names of Galaxy10 DECaLS and of images in its classes."""
OWN: Final = "own_classes_"
"""How it begins the name of data that nobody has named."""
VOTES: Final = (
    "trained towards fractions of votes: the loss is against these, all other scores are of the leading class"
)
SHORT_VOTES: Final = "loss against fractions of votes"


@dataclass(frozen=True)
class Subject:
    """The words in which reports of the paper's data and of others differ."""

    title: str
    question: str
    table: str
    """What the table of the paper's grid is called, in a sentence."""
    heading: str
    """Of its section."""
    is_of_paper: bool


OF_PAPER: Final = Subject(
    "Galaxy classification by transfer learning, run again",
    "Xu (2023) trained VGG16, ResNet50 and MobileNet on Galaxy10 DECaLS, with ImageNet weights and without, and found"
    " VGG16 at the level of guessing. This report runs that study again and asks whether the collapse comes from its"
    " optimizer settings.",
    "Table 1",
    "Table 1",
    is_of_paper=True,
)


def subject_of(results: Sequence[TrialResult]) -> Subject:
    """Return what the trials of one dataset are about."""
    if all(is_of_paper(r.spec) for r in results):
        return OF_PAPER
    data = describe(results)
    return Subject(
        f"Image classification by transfer learning: {data}",
        f"Networks were trained on {data}. This report says how well each of them classifies images that it was not"
        " trained on, and how sure that is.",
        "the grid's table",
        "The grid",
        is_of_paper=False,
    )


def is_of_paper(spec: TrialSpec) -> bool:
    """Return whether the trial is of Galaxy10's images or classes, or of simulated ones."""
    return spec.targets == "classes" and (spec.is_simulated or spec.dataset.startswith(PAPERS))


def describe(results: Sequence[TrialResult]) -> str:
    """Return what the data of the trials, which are of one dataset, are: how many images were used at most, and of
    which classes."""
    spec = results[0].spec
    number = max((sum(r.num_images.values()) for r in results), default=0)
    names = names_text(next((r.class_names for r in results if r.class_names), ()))
    images = f"{number:,} images" if number else "images"
    own_name = "" if spec.dataset.startswith(OWN) else f"{spec.dataset}: "
    return f"{own_name}{images} of {spec.num_classes:,} classes{f' ({names})' if names else ''}"
