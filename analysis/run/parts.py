"""What each question adds to a report, in its order. A further table is a file with its sections and a row here.

parts = report_parts(Sources(scope, networks, studies, grids))
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from analysis.claims import claims_file
from analysis.claims import sections as claims_sections
from analysis.claims.about_trials import judge
from analysis.collapse import verdict
from analysis.collapse.answer import collapse_answer, settling
from analysis.collapse.sections import collapse_sections, look_beside
from analysis.collapse.settings import BACKBONE, is_asked
from analysis.report.contents import Part
from analysis.report.sections import Section
from analysis.run.scope import ReportScope
from analysis.scores import all_pairs, class_sections, ensembles, hard_images, image_curves, reliability, splits
from analysis.search.sections import search_sections
from analysis.trials.repeats import Networks

if TYPE_CHECKING:  # study.py imports Optuna: a second that only a report of a search needs
    from analysis.search.study import Study


@dataclass(frozen=True)
class Sources:
    """What the parts of one report are made from."""

    scope: ReportScope
    networks: Networks = field(default_factory=Networks)
    """What the networks say of each image."""
    studies: Sequence[Study] = ()
    grids: Mapping[Path, Path] = field(default_factory=dict)
    """Results folder -> the grid file that runs its trials again."""


PartMaker = Callable[[Sources], Part]


def tables(sections: Callable[[Sources], Iterable[Section]]) -> PartMaker:
    """Return the maker of a part that is evidence alone."""
    return lambda own: Part(evidence=tuple(sections(own)))


def collapse_part(own: Sources) -> Part:
    """Return whether VGG16's collapse comes from its optimizer settings, of the trials of grids. Of data that are not
    the paper's nobody asks without trials of the setting at which it collapsed there."""
    trials = own.scope.of_grids
    if not trials.results or not (own.scope.subject.is_of_paper or is_asked(trials.results)):
        return Part()
    study = verdict.study_collapse(trials.results)
    beside = look_beside(trials.results, study)
    first, *others = collapse_sections(study, beside, trials.results)
    answer = None
    if any(r.spec.backbone == BACKBONE for r in trials.results):
        answer = collapse_answer(study, beside, trials.results, settling(study, beside, trials, own.grids))
    return Part((), (first,), tuple(others), answer=answer)


def claims_part(own: Sources) -> Part:
    """Return the paper's statements, judged by the trials of grids, and what these compare."""
    trials = own.scope.of_grids
    if not trials.results:
        return Part()
    claims = judge(trials, own.scope.grid)
    in_one_line = "; ".join(claims_sections.summary(claims))
    files = {claims_file.NAME: claims_file.claims_json(claims, trials)}
    return Part((in_one_line,) if in_one_line else (), (), tuple(claims_sections.sections(claims)), files=files)


def search_part(own: Sources) -> Part:
    """Return what a search found, which the terminal shows too."""
    search = own.scope.search
    return Part(evidence=tuple(search_sections(search, own.studies)) if search else (), is_printed=True)


PARTS: Final[tuple[PartMaker, ...]] = (
    collapse_part,
    claims_part,
    tables(lambda own: all_pairs.sections(own.scope.of_grids.results, own.scope.of_grids.folders)),
    tables(lambda own: splits.sections(own.scope.of_grids.results)),
    tables(lambda own: class_sections.sections(own.networks)),
    tables(lambda own: reliability.sections(own.networks)),
    tables(lambda own: ensembles.sections(own.networks)),
    tables(lambda own: hard_images.sections(hard_images.hard_of(own.networks))),
    tables(lambda own: image_curves.sections(own.scope.trials.results)),
    search_part,
)


def report_parts(own: Sources) -> list[Part]:
    return [part(own) for part in PARTS]
