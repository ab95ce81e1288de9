"""What a report says: the table of trials, the summary, the versions, and what was left out."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from analysis.report.answer import Answer
from analysis.report.contents import Contents, FigureFiles, Part
from analysis.report.sections import Section
from analysis.report.trial_table import TrialTable
from analysis.run.contents import accuracy_interval, contents_of
from analysis.run.scope import scope_of
from analysis.trials.load import Trials, gather
from analysis.trials.provenance import mixed_versions, provenance
from analysis.trials.table1_cells import fill_cells
from galaxytl.trial import FAILED, TrialResult
from tests.analysis.fakes import make_result, make_spec
from tests.analysis.folders import other_sweep, paper_grid, write_folder


def report_on(tmp_path: Path, *parts: Part, **folders: list[TrialResult]) -> Contents:
    paths = [write_folder(tmp_path / name, results) for name, results in folders.items()]
    return contents_of(scope_of(gather(paths), paths), parts, FigureFiles({}, {}, {}), [])


def column(table: TrialTable, heading: str) -> list[str]:
    (number,) = (i for i, own in enumerate(table.columns) if own.heading == heading)
    return [row.entries[number].text for row in table.rows]


def headings(table: TrialTable) -> list[str]:
    return [own.heading for own in table.columns]


def test_every_setting_is_in_a_column_or_said_to_be_common() -> None:
    results = [make_result(make_spec(batch_size=size, optimizer="sgd", momentum=0.9)) for size in (16, 64)]

    table = TrialTable.of(results, {})

    assert column(table, "batch") == ["16", "64"]
    assert column(table, "optimizer") == ["sgd", "sgd"]
    assert "momentum" not in headings(table)
    assert dict(table.common)["momentum"] == "0.9"
    assert "batch_size" not in dict(table.common)
    assert all(len(row.entries) == len(table.columns) for row in table.rows)


def test_folders_have_a_column_where_there_are_several(tmp_path: Path) -> None:
    one = report_on(tmp_path, paper=paper_grid()).trials
    two = report_on(tmp_path, paper=paper_grid(), other=other_sweep(6)).trials

    assert "folder" not in headings(one)
    assert column(two, "folder") == ["paper"] * 6 + ["other"] * 6
    cells = [f"{name} {imagenet}" for imagenet in ("ON", "OFF") for name in ("VGG16", "ResNet50", "MobileNet")]
    assert column(two, "row of Table 1") == cells + ["none"] * 6


def test_scores_over_the_symmetries_have_columns_where_some_trial_has_them() -> None:
    plain, asked = make_result(), make_result(make_spec(test_time_augmentation=True))
    both = {"tta_accuracy": 0.75, "tta_f1_weighted": 0.5}
    table = TrialTable.of([plain, dataclasses.replace(asked, metrics={**asked.metrics, **both})], {})
    assert column(table, "accuracy (8 symmetries)") == ["", "0.750"]
    assert column(table, "F1 (8 symmetries)") == ["", "0.500"]
    assert not any("symmetries)" in heading for heading in headings(TrialTable.of([plain], {})))


def test_a_stand_in_is_starred_and_the_star_explained() -> None:
    stand_in = make_spec(weights="random", weights_requested="imagenet", weights_fingerprint="", dataset="simulated")

    table = TrialTable.of([make_result(stand_in)], {})

    assert column(table, "weights") == ["random*"]
    assert table.notes == ("* random weights (ImageNet weights not found)",)
    assert TrialTable.of([make_result()], {}).notes == ()


def test_the_summary_has_what_ran_the_data_the_best_row_and_the_questions_lines(tmp_path: Path) -> None:
    asked = Answer(("Does it?",), ("VGG16 ON: EXPLAINED: it does.",))
    part = Part(("VGG16, ImageNet ON: EXPLAINED",), (Section("A"),), (Section("B"),), answer=asked)

    contents = report_on(tmp_path, part, Part(evidence=(Section("C"),)), paper=paper_grid(), other=other_sweep(10))

    ran, data, best, verdict = contents.summary
    assert ran == f"ran: 16 trials of {tmp_path / 'paper'}, {tmp_path / 'other'}: 15 COMPLETE, 1 FAILED"
    assert data.startswith("data: galaxy10_decals: 12,415 training and 5,321 test images; ")
    # Wilson's interval of 4,379 of 5,321
    assert best.endswith(
        "MobileNet, ImageNet ON, accuracy 0.823 (95% interval 0.812 to 0.833 over 5,321 test images, one network;"
        " the paper: 0.823)"
    )
    assert verdict == "VGG16, ImageNet ON: EXPLAINED"
    assert [section.heading for section in contents.sections] == ["A", "B", "C"]
    without = report_on(tmp_path, paper=paper_grid())
    assert not any(line.startswith("best row") for line in without.summary)  # the answer has it
    assert best.endswith(without.answer.answer[0].rstrip("."))


def test_an_interval_over_seeds_is_students() -> None:
    """Of 0.4, 0.5 and 0.6: 0.5 +- t(0.975, 2) * 0.1 / sqrt(3), and t is 4.3027; joined by squares with 1.96 standard
    errors of one half of 5,321 images, 0.0134. Seeds that agree leave the images."""
    results = [make_result(make_spec(seed=seed), accuracy=0.4 + seed / 10) for seed in range(3)]
    grid = fill_cells(Trials(tuple(results)))

    assert accuracy_interval(grid.cell("MobileNet", "ON")) == "95% interval 0.251 to 0.749 over 3 seeds"
    alike = fill_cells(Trials(tuple(make_result(make_spec(seed=seed), accuracy=0.5) for seed in range(2))))
    assert accuracy_interval(alike.cell("MobileNet", "ON")) == "95% interval 0.487 to 0.513 over 2 seeds"


def test_mixed_versions_of_the_code_are_flagged() -> None:
    old = {"galaxytl": "0.1"}
    cases: list[tuple[dict[str, str], dict[str, str], list[str]]] = [
        (old, old, []),
        (old, {"galaxytl": "0.2"}, ["galaxytl 0.1 (1 trial), 0.2 (1 trial)"]),
        (old, {}, ["galaxytl 0.1 (1 trial), not recorded (1 trial)"]),
        ({"keras_backend": "jax"}, {"keras_backend": "tensorflow"}, ["keras_backend jax (1 trial), tensorflow"]),
        ({"numpy": "2.0"}, {"numpy": "2.1"}, []),
    ]
    for first, second, expected in cases:
        flags = mixed_versions([make_result(environment=first), make_result(environment=second)])
        assert len(flags) == len(expected)
        assert all(text in flag for text, flag in zip(expected, flags, strict=True))


def test_mixed_versions_are_among_the_problems_of_the_report(tmp_path: Path) -> None:
    new = [make_result(r.spec.replace(seed=1), environment={"galaxytl": "9.9"}) for r in paper_grid()]

    assert any("9.9 (6 trials)" in text for text in report_on(tmp_path, paper=paper_grid(), newer=new).problems)
    assert not report_on(tmp_path, paper=paper_grid()).problems


def test_provenance_names_data_weights_and_versions_in_full() -> None:
    rows = dict(provenance([make_result(make_spec(name)) for name in ("VGG16", "MobileNet")]))

    assert rows["data"] == f"galaxy10_decals, fingerprint {'0f3a' * 16}"
    assert rows["ImageNet weights of VGG16"] == "f00dvgg16"
    assert rows["device"] == "NVIDIA H200"
    assert rows["started"] == "2025-01-02 03:04 UTC"


def test_trials_without_a_score_and_figures_not_drawn_are_left_out_aloud(tmp_path: Path) -> None:
    undrawn = FigureFiles({}, {"figure-12": "Figure 12."}, {"figure-12": "no history"})
    for message, expected in (("no memory", "no memory"), ("", "no reason given")):
        failed = make_result(make_spec("VGG16"), status=FAILED, message=message, metrics={}, confusion=())
        contents = report_on(tmp_path, paper=[*paper_grid()[1:], failed])

        with_figure = dataclasses.replace(contents, figures=undrawn)

        assert with_figure.left_out == (f"1 trial FAILED: {expected}", "Figure 12. Not drawn: no history")
