"""What each question adds to a report, in its order. A further table is a file with its sections and a row here.

parts = report_parts(Sources(scope, networks, studies, grids))
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from analysis.claims import claims_file
from analysis.claims import sections as claims_sections
from analysis.claims.about_trials import judge
from analysis.collapse import verdict
from analysis.collapse.answer import collapse_answer, is_answered, settling, unanswered
from analysis.collapse.sections import collapse_sections, look_beside
from analysis.collapse.settings import is_asked
from analysis.report.contents import Part
from analysis.report.sections import Section
from analysis.run.scope import ReportScope
from analysis.scores import (
    all_pairs,
    class_files,
    class_sections,
    ensembles,
    folds,
    hard_images,
    image_curves,
    reliability,
    splits,
    wrong_images,
)
from analysis.search.sections import SCORES, search_sections
from analysis.trials.banner import Banner
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
    sections = tuple(collapse_sections(study, beside, trials.results))
    if not is_answered(study):
        return Part(evidence=sections, unanswered=(unanswered(study, trials),))
    answer = collapse_answer(study, beside, trials.results, settling(study, beside, trials, own.grids))
    return Part((), sections[:1], sections[1:], answer=answer, figure="collapse-rate")


def claims_part(own: Sources) -> Part:
    """Return the paper's statements, judged by the trials of grids, and what these compare."""
    trials = own.scope.of_grids
    if not trials.results:
        return Part()
    claims = judge(trials, own.scope.grid)
    in_one_line = "; ".join(claims_sections.summary(claims))
    return Part(
        (in_one_line,) if in_one_line else (),
        evidence=tuple(claims_sections.sections(claims)),
        unanswered=claims_sections.unanswered(claims),
        files={claims_file.NAME: claims_file.claims_json(claims, trials)},
    )


def search_part(own: Sources) -> Part:
    """Return what a search found, which the terminal shows too; its scores come first."""
    if not own.scope.search:
        return Part()
    sections = tuple(search_sections(own.scope.search, own.studies))
    scores = tuple(section for section in sections if section.heading == SCORES)
    others = tuple(section for section in sections if section not in scores)
    return Part((), scores, others, printed=sections, figure="search-course")


def pairs_part(own: Sources) -> Part:
    """Return which settings are told apart; where seeds are too few for that, how to have more."""
    trials = own.scope.of_grids
    found = tuple(all_pairs.sections(trials.results, trials.folders))
    return Part(evidence=found, unanswered=() if found else all_pairs.unanswered(trials, own.grids))


def folds_part(own: Sources) -> Part:
    """Return the means over folds, and which settings differ there."""
    found = folds.cross_validation(own.scope.of_grids.results)
    return Part(found.summary, answers=folds.sections(found))


def class_part(own: Sources) -> Part:
    files = class_files.files(own.networks, Banner.of_search(own.scope.trials.results))
    return Part(evidence=tuple(class_sections.sections(own.networks)), files=files)


def wrong_part(own: Sources) -> Part:
    """Return the images that networks have wrong, with a file of all of them."""
    wrong = [one for one in wrong_images.wrong_of(own.networks) if one.images]
    banner = Banner.of_search(own.scope.trials.results)
    files = {wrong_images.NAME: wrong_images.csv_of(wrong, banner)} if wrong else {}
    return Part(evidence=tuple(wrong_images.sections(wrong)), files=files)


PARTS: Final[tuple[PartMaker, ...]] = (
    collapse_part,
    claims_part,
    pairs_part,
    folds_part,
    tables(lambda own: splits.sections(own.scope.of_grids.results)),
    class_part,
    tables(lambda own: reliability.sections(own.networks)),
    tables(lambda own: ensembles.sections(own.networks)),
    tables(lambda own: hard_images.sections(hard_images.hard_of(own.networks))),
    wrong_part,
    tables(lambda own: image_curves.sections(own.scope.trials.results)),
    search_part,
)


def report_parts(own: Sources) -> list[Part]:
    """Return them. Where none has found anything that a table of its own shows, and there is no Table 1, the scores of
    the settings come first."""
    parts = [part(own) for part in PARTS]
    is_said = own.scope.grid or any(part.answers for part in parts)
    return parts if is_said else list(map(_scores_first, parts))


def _scores_first(part: Part) -> Part:
    first = tuple(section for section in part.evidence if section.heading == class_sections.SCORES)
    return replace(part, answers=first, evidence=tuple(s for s in part.evidence if s not in first)) if first else part
