"""Tables of sections as CSV, Markdown and LaTeX, and grid files that run the same trials again."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from analysis.report.rerun import grid_names, grid_yaml
from analysis.report.sections import Listing, Section
from analysis.report.table_files import formats, stems
from analysis.trials.banner import Banner
from galaxytl.trial import TrialResult, TrialSpec
from sweep.grids.axes import expand
from sweep.grids.yaml_grid import read_grid
from tests.analysis.fakes import make_compared, make_result, make_spec
from tests.analysis.folders import other_sweep, paper_grid

BANNER = Banner("simulated: 10 images", "SIMULATED galaxies", "")
LISTING = Listing(
    ("Claim", "p"), (("100 % of a_b, \N{GREEK SMALL LETTER KAPPA} \N{GREATER-THAN OR EQUAL TO} 0", "0.05"),), {1}
)
SECTION = Section("Claims: 1", LISTING, ("It's $5.",))


def test_csv_has_the_rows_and_the_banner() -> None:
    (row,) = csv.DictReader(io.StringIO(formats(SECTION, BANNER)[".csv"]))
    banner = {"warning": "SIMULATED galaxies", "run_on": "simulated: 10 images"}
    assert row == {"Claim": LISTING.rows[0][0], "p": "0.05", **banner}


def test_latex_is_escaped_balanced_and_carries_the_banner() -> None:
    text = formats(SECTION, BANNER)[".tex"]

    assert r"100 \% of a\_b" in text
    assert r"$\ge$ 0 & 0.05 \\" in text
    assert r"It's \$5." in text
    assert r"\caption{Claims: 1. SIMULATED galaxies. simulated: 10 images.}" in text
    assert text.count(r"\begin{") == text.count(r"\end{") == 2


def test_long_texts_break_their_lines_in_latex() -> None:
    wide = Section("Why", Listing(("Status", "Why"), (("FAILED", "a reason that is longer than a short word" * 2),)))
    assert r"\begin{tabular}{lp{0.70\linewidth}}" in formats(wide, BANNER)[".tex"]


def test_markdown_begins_with_the_banner_and_a_section_without_a_table_has_no_files() -> None:
    beginning = "> SIMULATED galaxies\n>\n> simulated: 10 images\n\n## Claims: 1\n"
    assert formats(SECTION, BANNER)[".md"].startswith(beginning)
    with pytest.raises(ValueError, match="got 'Note' without one"):
        formats(Section("Note"), BANNER)


def test_file_names_are_different_and_of_plain_letters() -> None:
    headings = ["../../etc/passwd", "Was VGG16's collapse: 1", "Was VGG16's collapse: 2", "\N{DEGREE SIGN}"]
    names = stems([Section(heading) for heading in headings])
    assert names == ["etc-passwd", "was-vgg16-s-collapse", "was-vgg16-s-collapse-2", "table"]


def run_again(results: list[TrialResult], path: Path) -> set[TrialSpec]:
    """The specs that the grid file gives a sweep on the same data and weights."""
    path.write_text(grid_yaml("again", results, BANNER))
    spec = results[0].spec
    base = TrialSpec(dataset=spec.dataset, dataset_fingerprint=spec.dataset_fingerprint)
    return set(expand(read_grid(path), base).specs)


def without_weights(result: TrialResult) -> TrialSpec:
    """As a sweep has a spec before it has looked at the weights."""
    return result.spec.replace(weights_fingerprint="", weights_requested="imagenet")


@pytest.mark.parametrize(
    "results",
    [paper_grid(), other_sweep(40), [make_result()], [make_compared(30, learning_rate=0.00031622776601683794)]],
    ids=["paper", "other settings", "one trial", "a search's"],
)
def test_the_grid_file_gives_exactly_the_trials(results: list[TrialResult], tmp_path: Path) -> None:
    assert {without_weights(result) for result in results} == {
        spec.replace(weights_requested="imagenet") for spec in run_again(results, tmp_path / "again.yaml")
    }


def test_a_stand_in_is_run_again_as_what_was_asked_for(tmp_path: Path) -> None:
    stand_in = make_spec(weights="random", weights_requested="imagenet", weights_fingerprint="", dataset="simulated")
    (spec,) = run_again([make_result(stand_in)], tmp_path / "again.yaml")
    assert spec.weights == "imagenet"


def test_what_no_grid_file_can_say_of_a_split_stands_above_it() -> None:
    """Which images stay together, whose split it is, and what file holds given features, are options of a sweep."""
    spec = make_spec(group_by="night sky\nname: x", official_split="0" * 64)
    head = grid_yaml("again", [make_result(spec)], BANNER).split("\nname: ")[0]
    assert "# options, beside --data: --split official --group-by 'night sky" in head
    assert "options" not in grid_yaml("again", [make_result()], BANNER)
    given = make_spec("features:zoobot", weights="given", weights_requested="given")
    assert "# options, beside --data: --features zoobot=FILE\n" in grid_yaml("again", [make_result(given)], BANNER)


def test_folders_of_one_name_have_different_grids() -> None:
    folders = [Path("a/paper"), Path("b/paper"), Path("c/my sweep!")]
    assert list(grid_names(folders).values()) == ["paper-again", "paper-again-2", "my-sweep-again"]
