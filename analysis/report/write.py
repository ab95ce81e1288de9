"""Write a report: figures first, as everything embeds them, then its contents as files.

written = write_report(found, request)
written.contents, written.files        # files: the page first
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from analysis.claims import claims_file
from analysis.claims import sections as claims_sections
from analysis.claims.about_trials import judge
from analysis.collapse import verdict
from analysis.collapse.answer import collapse_answer, settling
from analysis.collapse.sections import collapse_sections, look_beside
from analysis.collapse.settings import BACKBONE
from analysis.figures.catalogue import Drawn, Plan, plan_figures, write_plans
from analysis.figures.more_figures import plan_more
from analysis.report import rerun, table1
from analysis.report import table_files as listings
from analysis.report.answer import Command
from analysis.report.contents import Contents, Part
from analysis.report.markdown import FIGURES, report_markdown
from analysis.report.page import page_html
from analysis.report.scope import Found
from analysis.report.search_report import SearchReport, write_search
from analysis.scores import all_pairs, class_sections, ensembles, hard_images, image_curves, reliability, splits
from analysis.search.choice import part
from analysis.trials.banner import Banner
from analysis.trials.load import AnalysisError, Trials
from analysis.trials.repeats import Networks, read_networks
from analysis.trials.table1_cells import PaperGrid
from galaxytl.system.files import write_atomically
from galaxytl.system.inside import inside
from galaxytl.trial import TrialResult

if TYPE_CHECKING:  # study.py imports Optuna: a second that only a report of a search needs
    from analysis.search.study import Study

PAGE: Final = "index.html"
TABLES: Final = "tables"
AGAIN: Final = "again"
"""Folder of the grid files that run the trials again."""


@dataclass(frozen=True)
class Request:
    """What the user asked for: `command` as it was typed, `storage` is where a search's study is now."""

    out: Path
    command: str = ""
    storage: str | None = None


@dataclass(frozen=True)
class Written:
    """`texts` are the files beside the page, by group as the terminal lists them."""

    contents: Contents
    page: Path
    texts: tuple[Path, ...]
    listings: tuple[Path, ...]
    grids: tuple[Path, ...]
    search: SearchReport | None

    @property
    def figures(self) -> tuple[Path, ...]:
        return tuple(path for pair in self.contents.drawn.written.values() for path in pair)

    @property
    def files(self) -> tuple[Path, ...]:
        return (self.page, *self.texts, *self.listings, *self.grids, *self.figures)


def write_report(found: Found, request: Request) -> Written:
    """Write everything into the request's folder, which is made if need be; files of an earlier report are replaced.

    A link is replaced, never followed. Raises AnalysisError where the folder cannot be written, or one in it is a link.
    """
    studies = _studies(found, request.storage)
    with _writing_into(request.out):
        request.out.mkdir(parents=True, exist_ok=True)
        for name in (AGAIN, FIGURES, TABLES):
            inside(request.out, name)
        search = write_search(found.search, studies, request.out) if found.search else None
        grids = _write_grids(found, request.out / AGAIN)
        networks = read_networks(found.trials, found.grid.results if found.grid else ())
        drawn = _draw(plans_of(found, studies, networks), request.out / FIGURES)
        parts = parts_of(found, search, networks, grids)
        contents = Contents.of(found, parts, drawn, _commands(grids, search, request))
        return _write(contents, tuple(grids.values()), search, request.out)


def _studies(found: Found, storage: str | None) -> list[Study]:
    if not found.search:
        return []
    from analysis.search.study import read_study

    return [read_study(folder, storage) for folder in found.search.source_folders]


def parts_of(found: Found, search: SearchReport | None, networks: Networks, grids: Mapping[Path, Path]) -> list[Part]:
    """What each question adds, in the order of the report. A further question is one more Part here."""
    parts = []
    of_grids = part(found.trials)[1]
    if of_grids.results:
        parts += [collapse_part(of_grids, grids), claims_part(of_grids, found.grid)]
    parts.append(networks_part(networks, found.trials.results))
    if search:
        parts.append(Part(evidence=search.sections, is_printed=True))
    return parts


def collapse_part(trials: Trials, grids: Mapping[Path, Path]) -> Part:
    """Whether VGG16's collapse comes from its optimizer settings, of the trials of grids."""
    study = verdict.examine(trials.results)
    beside = look_beside(trials.results, study)
    first, *others = collapse_sections(study, beside, trials.results)
    asked = any(r.spec.backbone == BACKBONE for r in trials.results)
    answer = collapse_answer(study, beside, trials.results, settling(study, beside, trials, grids)) if asked else None
    return Part((), (first,), tuple(others), answer=answer)


def claims_part(trials: Trials, grid: PaperGrid | None) -> Part:
    """The paper's statements, judged."""
    claims = judge(trials, grid)
    in_one_line = "; ".join(claims_sections.summary(claims))
    files = {claims_file.NAME: claims_file.claims_json(claims, trials)}
    of_pairs = all_pairs.sections(trials.results, trials.folders)
    evidence = (*claims_sections.sections(claims), *of_pairs, *splits.sections(trials.results))
    return Part((in_one_line,), (), evidence, files=files)


def networks_part(networks: Networks, results: Sequence[TrialResult]) -> Part:
    """How good the networks are class by class, how sure they are, what they know together, and what they know with
    fewer images."""
    sections = [
        *class_sections.sections(networks),
        *reliability.sections(networks),
        *ensembles.sections(networks),
        *hard_images.sections(hard_images.hard_of(networks)),
        *image_curves.sections(results),
    ]
    return Part(evidence=tuple(sections))


def plans_of(found: Found, studies: Sequence[Study], networks: Networks) -> list[Plan]:
    """The figures of the report, in its order. Further ones are one more line here."""
    plans: list[Plan] = []
    if found.grid:
        plans += plan_figures(found.grid, Banner.of(found.grid))
    trials = found.trials
    plans += plan_more(trials.results, trials.folders, studies, Banner.of_search(trials.results), networks)
    return plans


@contextmanager
def _writing_into(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise AnalysisError(
            f"--out must be a folder that can be written; got '{folder}': {error.strerror or error}. Choose another one"
        ) from error


def _draw(plans: Sequence[Plan], folder: Path) -> Drawn:
    if plans:
        folder.mkdir(exist_ok=True)
    return write_plans(plans, folder)


def _write(contents: Contents, grids: Sequence[Path], search: SearchReport | None, out: Path) -> Written:
    texts = {"report.md": report_markdown(contents), **_table_1(contents)}
    texts |= {name: text for one in contents.parts for name, text in one.files.items()}
    if claims_file.NAME not in texts and _begins_with(out / claims_file.NAME, claims_file.MARK):
        (out / claims_file.NAME).unlink()
    for name, text in texts.items():
        write_atomically(out / name, text.encode())
    own = _write_listings(contents, out / TABLES)
    page = out / PAGE
    write_atomically(page, page_html(contents).encode())
    paths = (*(out / name for name in texts), *(search.texts if search else ()))
    return Written(contents, page, paths, own, tuple(grids), search)


def _table_1(contents: Contents) -> dict[str, str]:
    table = contents.table
    if table is None:
        return {}
    return {
        "table1.txt": table1.as_text(table),
        "table1.md": table1.as_markdown(table),
        "table1.csv": table1.as_csv(table),
        "table1.tex": table1.as_latex(table),
    }


def _write_listings(contents: Contents, folder: Path) -> tuple[Path, ...]:
    """Three files a section that has a table; those of an earlier report that this one lacks are removed."""
    sections = [section for section in contents.sections if section.listing]
    _remove_earlier(folder)
    if sections:
        folder.mkdir(exist_ok=True)
    paths = []
    for stem, section in zip(listings.stems(sections), sections, strict=True):
        for ending, text in listings.formats(section, contents.banner).items():
            paths.append(folder / f"{stem}{ending}")
            write_atomically(paths[-1], text.encode())
    return tuple(paths)


def _remove_earlier(folder: Path) -> None:
    """Only what this program wrote: the LaTeX file of each table says so in its first line."""
    for path in folder.glob("*.tex"):
        if not path.is_symlink() and _begins_with(path, listings.MARK):
            for ending in (".csv", ".md", ".tex"):
                path.with_suffix(ending).unlink(missing_ok=True)


def _begins_with(path: Path, mark: str) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(mark.encode())) == mark.encode()


def _write_grids(found: Found, folder: Path) -> dict[Path, Path]:
    """Results folder -> the grid file of its trials."""
    own: dict[Path, list[TrialResult]] = {}
    for result in found.trials.results:
        if source := found.trials.folders.get(result.trial_id):
            own.setdefault(source, []).append(result)
    if own:
        folder.mkdir(exist_ok=True)
    paths = {}
    for source, name in rerun.grid_names(own).items():
        paths[source] = folder / f"{name}.yaml"
        text = rerun.grid_yaml(name, own[source], Banner.of_search(own[source]))
        write_atomically(paths[source], text.encode())
    return paths


def _commands(grids: Mapping[Path, Path], search: SearchReport | None, request: Request) -> list[Command]:
    found = [
        Command(f"The trials of {path.stem}, where DATA is what the sweep was given as --data", rerun.command(path))
        for path in grids.values()
    ]
    if search and search.command:
        found.append(Command("The search's best trial, on the test part", search.command))
    if request.command:
        found.append(Command("This report", request.command))
    return found
