"""Table 1 in its formats: the values, the banner, the footnotes, the escapes."""

from __future__ import annotations

import csv
import io
import itertools
from typing import Any

import pytest

from analysis.report.formats import csv_text
from analysis.report.table1 import Table1, as_frame, as_latex, as_markdown, as_text
from analysis.trials.load import Trials
from analysis.trials.paper import TABLE_1
from analysis.trials.table1_cells import fill_cells
from galaxytl.trial import FAILED, TrialResult
from tests.analysis.fakes import make_result, make_spec


def table_of(*results: TrialResult) -> Table1:
    return Table1.of(fill_cells(Trials(results)))


def as_csv(table: Table1) -> str:
    return csv_text(as_frame(table))


def full_table(**changes: Any) -> Table1:
    """Six trials with accuracies 0.10, 0.11, ... in the paper's order."""
    specs = [make_spec(cell.backbone, cell.imagenet, **changes) for cell in TABLE_1]
    return table_of(*(make_result(spec, accuracy=0.1 + index / 100) for index, spec in enumerate(specs)))


def line_with(text: str, *words: str) -> str:
    return next(line for line in text.splitlines() if all(word in line for word in words))


def test_terminal_table_fits_and_has_ours_beside_the_papers() -> None:
    text = as_text(full_table())

    assert max(len(line) for line in text.splitlines()) <= 100
    assert " ".join(line_with(text, "VGG16", "ON").split()) == "VGG16 ON 0.100 0.142 0.200 0.136 0.000 0.142 1"
    assert line_with(text, "MobileNet", "OFF").split()[-2:] == ["9.663", "1"]
    assert "(sic)" in text


def test_in_80_columns_the_papers_values_stand_below_ours() -> None:
    lines = as_text(full_table(), 80).splitlines()
    assert max(map(len, lines)) <= 80
    assert sum(line.count("(paper's)") for line in lines) == 3
    assert any("Seeds" in line for line in lines)
    ours, papers = next(pair for pair in itertools.pairwise(lines) if pair[0].lstrip().startswith("VGG16"))
    assert "0.142" in papers
    assert "0.142" not in ours


def test_rows_stand_in_the_papers_order() -> None:
    frame = as_frame(full_table())
    assert list(frame["accuracy"]) == pytest.approx([0.10, 0.11, 0.12, 0.13, 0.14, 0.15])
    assert list(frame["accuracy_paper"]) == [0.142, 0.625, 0.823, 0.157, 0.564, 0.686]
    assert list(frame["f1_weighted_paper_sic"]) == [False] * 5 + [True]


@pytest.mark.parametrize("write", [as_text, as_markdown, as_latex, as_csv])
def test_every_format_says_what_was_run(write: Any) -> None:
    text = " ".join(write(full_table()).replace("\\_", "_").split())

    for fact in ("galaxy10_decals", "12,415 training", "5,321 test", "224 x 224", "20 epochs", "adam", "NVIDIA H200"):
        assert fact in text
    assert "learning rate 0.001" in text
    assert "SIMULATED" not in text


@pytest.mark.parametrize("write", [as_text, as_markdown, as_latex, as_csv])
def test_every_format_says_that_data_are_simulated_and_weights_random(write: Any) -> None:
    spec = make_spec(dataset="simulated", weights="random", weights_fingerprint="")
    text = write(table_of(make_result(spec)))
    assert "SIMULATED galaxies: not comparable with the paper's values" in text
    assert "random (ImageNet weights not found)" in text


def test_several_seeds_are_mean_and_deviation_in_numbers_and_text() -> None:
    table = table_of(*(make_result(make_spec(seed=seed), accuracy=a) for seed, a in enumerate((0.4, 0.6))))
    row = as_frame(table).set_index(["model", "imagenet"]).loc[("MobileNet", "ON")]

    assert (row["accuracy"], row["n"]) == (pytest.approx(0.5), 2)
    assert row["accuracy_std"] == pytest.approx(0.02**0.5)
    assert "0.500±0.141" in as_text(table)
    assert r"0.500$\pm$0.141" in as_latex(table)


def test_missing_and_failed_cells_and_some_failed_seeds_say_so() -> None:
    lost = [make_spec("VGG16", "OFF"), make_spec("ResNet50", seed=1)]
    failed = [make_result(spec, status=FAILED, message="loss is NaN", metrics={}) for spec in lost]
    table = table_of(make_result(make_spec("ResNet50")), *failed)
    text = as_text(table)

    assert "missing" in line_with(text, "MobileNet", "ON")
    assert "1 of 2" in line_with(text, "ResNet50", "ON")
    assert "FAILED" in line_with(text, "VGG16", "OFF [2]")
    assert "[1] ResNet50, ImageNet ON, 1 of 2 seeds not complete: loss is NaN" in text
    assert "[2] VGG16, ImageNet OFF, FAILED: loss is NaN" in text
    statuses = ["MISSING", "COMPLETE", "MISSING", "FAILED", "MISSING", "MISSING"]
    assert list(as_frame(table)["status"]) == statuses


def test_messages_are_escaped_in_each_format_and_not_read_as_markup() -> None:
    nasty = "5% of a_b & {c} #1 $x ~ ^ \\ | <b> [bold]text[/bold]"
    table = table_of(make_result(make_spec("VGG16", "ON"), status=FAILED, message=nasty, metrics={}))
    note = line_with(as_latex(table), "[1] VGG16")
    rows = list(csv.DictReader(io.StringIO(as_csv(table))))

    assert r"5\% of a\_b \& \{c\} \#1 \$x \textasciitilde{} \textasciicircum{} \textbackslash{}" in note
    assert r"\textbar{} \textless{}b\textgreater{}" in note
    assert "[bold]text[/bold]" in as_text(table)
    assert r"\|" in line_with(as_markdown(table), "VGG16, ImageNet ON")
    assert (len(rows), rows[0]["message"], rows[0]["accuracy"]) == (6, nasty, "")


def test_latex_table_is_balanced() -> None:
    text = as_latex(full_table())
    body = text.split(r"\midrule")[1].split(r"\bottomrule")[0].strip().splitlines()

    assert [line.count("&") for line in body] == [8] * 6
    assert all(line.endswith(r"\\") for line in body)
    assert text.count(r"\begin{") == text.count(r"\end{") == 2
    assert text.count("{") - text.count(r"\{") == text.count("}") - text.count(r"\}")
