"""The command, from the folder to the report."""

from __future__ import annotations

import contextlib
import csv
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from analysis.listings import MARK
from analysis.paper import TABLE_1
from analysis.run import main
from galaxytl.results import FILE_NAME, append_results
from galaxytl.trial import FAILED, PRUNED, TrialResult
from tests.analysis.fakes import (
    make_compared,
    make_result,
    make_spec,
    make_tested,
    write_probabilities,
    write_search_file,
)
from tests.analysis.folders import other_sweep, write_folder


@dataclass(frozen=True)
class Ran:
    """One run of the command: its folder, exit code and what it printed."""

    out: Path
    code: int
    stdout: str
    stderr: str


def run(argv: Sequence[str], out: Path) -> Ran:
    stdout, stderr = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
        code = main([*argv, "--out", str(out)])
    return Ran(out, code, stdout.getvalue(), stderr.getvalue())


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """Five complete cells, one failed without curves, one trial outside the grid, one half-written line."""
    folder = tmp_path_factory.mktemp("results")
    for cell in TABLE_1[:-1]:
        append_results(folder, make_result(make_spec(cell.backbone, cell.imagenet), accuracy=cell.accuracy.value))
    failed = make_spec("MobileNet", "OFF")
    append_results(
        folder, make_result(failed, status=FAILED, message="no memory", history=(), confusion=(), metrics={})
    )
    append_results(folder, make_result(make_spec(unfrozen_blocks="all", learning_rate=1e-5)))
    with (folder / FILE_NAME).open("a") as file:
        file.write('{"schema":1')
    out = tmp_path_factory.mktemp("report")
    (out / "figures").mkdir()
    (out / "figures" / "figure-17-confusion-mobilenet-imagenet-off.png").write_text("an older report's")
    return run([str(folder)], out)


EXPECTED = (
    "figure-03-metrics",
    "figures-04-15-curves",
    "figures-16-21-confusion",
    "figure-04-loss-mobilenet-imagenet-on",
    "figure-05-accuracy-mobilenet-imagenet-on",
    "figure-10-loss-resnet50-imagenet-off",
    "figure-15-accuracy-vgg16-imagenet-off",
    "figure-16-confusion-mobilenet-imagenet-on",
    "figure-18-confusion-resnet50-imagenet-on",
    "figure-21-confusion-vgg16-imagenet-off",
)


def test_it_writes_tables_figures_and_report(report: Ran) -> None:
    assert report.code == 0
    for name in ("report.md", "table1.txt", "table1.md", "table1.csv", "table1.tex"):
        assert (report.out / name).stat().st_size > 0
        assert name in report.stdout
    for stem in EXPECTED:
        assert (report.out / "figures" / f"{stem}.png").read_bytes()[:4] == b"\x89PNG"
        assert "</svg>" in (report.out / "figures" / f"{stem}.svg").read_text()
    assert len(list((report.out / "figures").iterdir())) == 2 * (
        3 + 18 - 3 + 1
    )  # PNG and SVG of all but MobileNet OFF's own three, and of accuracy by learning rate


def test_what_was_not_drawn_is_reported_and_no_older_picture_stays(report: Ran) -> None:
    assert "7 figures could not be drawn; the page says which, and why" in report.stdout
    assert "Figure 17. Confusion matrix, MobileNet, ImageNet OFF. Not drawn: FAILED: no memory" in (
        (report.out / "report.md").read_text().replace("\\", "")
    )
    assert not (report.out / "figures" / "figure-17-confusion-mobilenet-imagenet-off.png").exists()


def test_it_prints_table_1(report: Ran) -> None:
    assert "galaxy10_decals" in report.stdout
    assert report.stdout.count("0.823") >= 2
    assert (report.out / "table1.txt").read_text().split() == printed_table_1(report.stdout)


def printed_table_1(stdout: str) -> list[str]:
    rest = stdout.split("Table 1. ", maxsplit=1)[1].split("\nTable 1 is of", maxsplit=1)[0]
    return f"Table 1. {rest}".split()


def test_the_summary_comes_first_and_the_page_is_the_first_file(report: Ran) -> None:
    lines = report.stdout.splitlines()

    assert lines[0].startswith("ran: 7 trials of ")
    assert "best row of Table 1: MobileNet, ImageNet ON, accuracy 0.823 (95% interval 0.812 to 0.833" in report.stdout
    assert lines[lines.index("Written:") + 1].startswith(f"  {report.out}/index.html (")


def test_the_half_written_line_and_the_outsider_are_told(report: Ran) -> None:
    assert "(half-written) was left out" in report.stderr
    assert "1 trial is in none of Table 1's rows" in report.stderr


def test_the_report_lists_trials_problems_and_pictures_that_exist(report: Ran) -> None:
    text = (report.out / "report.md").read_text()

    assert "half-written" in text
    assert make_spec(unfrozen_blocks="all", learning_rate=1e-5).trial_id in text
    assert "1 min 16 s" in text
    pictures = [part.split(")")[0] for part in text.split("](figures/")[1:]]
    assert pictures
    assert all((report.out / "figures" / picture).exists() for picture in pictures)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    folder = tmp_path / "results"
    folder.mkdir()
    append_results(folder, make_result())
    return folder


def test_errors_name_rule_value_and_way_out(tmp_path: Path, results: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "garbage").mkdir()
    (tmp_path / "garbage" / FILE_NAME).write_text("not JSON\n")
    (tmp_path / "file").write_text("")
    cases = [
        ([str(tmp_path / "nowhere")], "report", f"must exist; got '{tmp_path / 'nowhere'}'"),
        ([str(tmp_path / "empty")], "report", "must hold trials.jsonl"),
        ([str(tmp_path / "garbage")], "report", "must hold a readable trial"),
        ([str(results)], "file", "--out must be a folder that can be written"),
        ([str(results), "--where", "learning_rat=1"], "report", "Did you mean 'learning_rate'?"),
        ([str(results), "--dataset", "zoo"], "report", "--dataset must name a dataset of these results"),
    ]
    for argv, out, message in cases:
        ran = run(argv, tmp_path / out)
        assert (ran.code, ran.stdout) == (2, "")
        assert ran.stderr.startswith("error: ")
        assert message in ran.stderr
        assert "Traceback" not in ran.stderr


def test_simulated_and_real_galaxies_in_two_folders_are_refused(tmp_path: Path, results: Path) -> None:
    simulated = write_folder(tmp_path / "simulated", [make_result(make_spec(dataset="simulated"))])

    ran = run([str(results), str(simulated)], tmp_path / "report")

    assert (ran.code, ran.stdout) == (2, "")
    assert "a report is about one dataset" in ran.stderr
    assert not (tmp_path / "report").exists()


def test_a_folder_of_several_settings_has_a_report_without_table_1(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "lr", other_sweep(6) + other_sweep(6, optimizer="sgd"))

    ran = run([str(folder)], tmp_path / "report")

    spoken = " ".join(ran.stdout.split())
    assert ran.code == 0
    assert "There is no Table 1." in spoken
    assert "Choose with --where field=value, as in --where optimizer=" in spoken
    assert not (tmp_path / "report" / "table1.txt").exists()
    assert "There is no Table 1." in (tmp_path / "report" / "index.html").read_text()


def test_where_gives_a_folder_of_several_settings_its_table_1(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "lr", other_sweep(6) + other_sweep(6, optimizer="sgd"))

    ran = run(
        [str(folder), "--where", "optimizer=sgd", "--where", "learning_rate=1e-5", "--where", "seed=0"],
        tmp_path / "report",
    )

    assert ran.code == 0
    assert "sgd, learning rate 1e-05" in " ".join(ran.stdout.split())
    assert "--where optimizer=sgd" in (tmp_path / "report" / "report.md").read_text()


def test_the_address_of_a_storage_is_not_in_the_report(tmp_path: Path, results: Path) -> None:
    """It may hold a password."""
    run([str(results), "--storage", "postgresql://me:secret@db/study"], tmp_path / "report")

    for name in ("index.html", "report.md"):
        text = (tmp_path / "report" / name).read_text()
        assert "secret" not in text
        assert "--storage URL" in text


# Searches


def simulated_search(folder: Path) -> list[TrialResult]:
    """22 complete trials that differ in optimizer and learning rate, random weights in ImageNet's place, one pruned
    trial; the best is scored on the test part. Its study is in the folder."""
    data = {"dataset": "simulated", "weights": "random", "weights_requested": "imagenet", "weights_fingerprint": ""}
    results = [
        make_compared(20 + i, 63, learning_rate=10 ** (-4 + i / 10), optimizer=("adam", "sgd")[i % 2], **data)
        for i in range(22)
    ]
    best, runner_up = results[-1], results[-2]
    write_probabilities(folder, best, [True] * 41 + [False] * 22)
    write_probabilities(folder, runner_up, [False] * 3 + [True] * 40 + [False] * 20)
    reason = "asha: 0.1 after epoch 2 is below the best third of 12 trials (0.3)"
    pruned = replace(make_compared(5, 63, learning_rate=0.5, **data), status=PRUNED, message=reason, metrics={})
    tested = make_tested(best, right=2500)
    for result in (*results, pruned, tested):
        append_results(folder, result)
    write_search_file(folder)
    tell_study(folder, results)
    return [*results, pruned, tested]


def tell_study(folder: Path, results: Sequence[TrialResult]) -> None:
    import optuna

    study = optuna.create_study(
        study_name="search", storage=f"sqlite:///{folder}/study.db", directions=["maximize", "minimize"]
    )
    for number, result in enumerate(results):
        name = f"learning_rate@{result.spec.optimizer}"
        params = {"optimizer": result.spec.optimizer, name: result.spec.learning_rate}
        kinds = {
            "optimizer": optuna.distributions.CategoricalDistribution(["adam", "sgd"]),
            name: optuna.distributions.FloatDistribution(1e-4, 1.0, log=True),
        }
        values = [result.metrics["accuracy"], 1e9 if number < 20 else 2e9]
        attributes = {"trial_id": result.trial_id}
        study.add_trial(
            optuna.trial.create_trial(params=params, distributions=kinds, values=values, user_attrs=attributes)
        )
    write_search_file(folder, objectives=[["val_accuracy", "maximize"], ["multiply_adds", "minimize"]])


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Ran, list[TrialResult]]:
    folder = tmp_path_factory.mktemp("searched")
    results = simulated_search(folder)
    return run([str(folder)], tmp_path_factory.mktemp("search-report")), results


def test_a_search_has_its_own_report_and_no_table_1(searched: tuple[Ran, list[TrialResult]]) -> None:
    ran, _ = searched

    assert (ran.code, ran.stderr) == (0, "")
    assert "Table 1" not in ran.stdout
    assert "MISSING" not in ran.stdout
    assert {path.name for path in ran.out.iterdir()} == {
        *("index.html", "report.md", "search.md", "search.csv", "best.yaml"),
        *("tables", "again", "figures"),
    }
    assert f"python -m sweep.run --grid {ran.out}/best.yaml --data DATA" in ran.stdout


def test_a_search_is_summed_up_within_80_columns(searched: tuple[Ran, list[TrialResult]]) -> None:
    ran, results = searched
    best, runner_up = results[21], results[20]
    text, spoken = ran.stdout.split("\nWritten:")[0], " ".join(ran.stdout.split())

    assert max(map(len, text.splitlines())) <= 80
    assert f"The best by validation accuracy: trial {best.trial_id}" in text
    assert f"trial {runner_up.trial_id}, cannot be told apart on 63 images" in spoken
    assert "PRUNED 1 asha: 0.1 after epoch 2" in spoken
    assert "0.651 0.528 to 0.757 63 validation images" in spoken
    assert "0.470 0.456 to 0.483 5,321 test images" in spoken
    assert "learning_rate@adam 11 -" in spoken  # of the importances: no fANOVA, as half the trials have no such rate
    assert "where adam was chosen" not in spoken
    assert "where adam was chosen: 11 trials completed" in (ran.out / "search.md").read_text()
    assert "Pareto front: 2 trials that no other beats in all objectives" in spoken
    assert results[19].trial_id in text.split("Pareto front")[1]


def test_simulated_galaxies_and_stand_ins_are_named_wherever_a_search_is(
    searched: tuple[Ran, list[TrialResult]],
) -> None:
    ran, _ = searched
    stand_ins = "random weights (ImageNet weights not found) in 23 of 23 trials"
    texts = {path.name: path.read_text() for path in ran.out.rglob("*.*") if path.parent.name != "figures"}

    assert len(texts) > 12
    for text in (*texts.values(), ran.stdout):
        plain = " ".join(html.unescape(text).replace("\\", "").split())
        assert "SIMULATED galaxies: not comparable with the paper's values" in plain
        # the report, its tables and the grid file are of the trial on the test part too
        assert stand_ins in plain or stand_ins.replace("23", "24") in plain
    rows = list(csv.DictReader(io.StringIO(texts["search.csv"])))
    assert len(rows) == 23
    assert all(row["weights"] == "random (ImageNet weights not found)" and stand_ins in row["warning"] for row in rows)


def test_a_grid_and_a_search_are_reported_side_by_side(tmp_path: Path, results: Path) -> None:
    best = make_compared(40, seed=1)
    for result in (best, make_compared(30, seed=2), make_tested(best)):
        append_results(results, result)

    ran = run([str(results)], tmp_path / "report")

    assert ran.code == 0
    assert "Table 1" in ran.stdout
    assert f"The best by validation accuracy: trial {best.trial_id}" in ran.stdout
    assert "in none of Table 1's rows" not in ran.stderr
    rows = list(csv.DictReader(io.StringIO((tmp_path / "report" / "table1.csv").read_text())))
    assert [row["n_trials"] for row in rows] == ["0", "0", "1", "0", "0", "0"]
    assert {"table1.csv", "report.md", "search.md", "best.yaml"} < {p.name for p in (tmp_path / "report").iterdir()}


def test_a_study_that_is_gone_is_a_sentence(tmp_path: Path) -> None:
    folder = tmp_path / "search"
    folder.mkdir()
    append_results(folder, make_compared())
    write_search_file(folder)

    ran = run([str(folder)], tmp_path / "report")

    assert ran.code == 0
    assert "Importances are not available: the study's file" in ran.stdout
    assert "--storage" in ran.stdout


def test_a_search_without_a_choice_leaves_no_older_one(tmp_path: Path) -> None:
    folder, out = tmp_path / "search", tmp_path / "report"
    folder.mkdir()
    out.mkdir()
    (out / "best.yaml").write_text("an older report's")
    (out / "tables").mkdir()
    older, users = (out / "tables" / name for name in ("scores.tex", "mine.tex"))
    older.write_text(f"{MARK}\n")
    older.with_suffix(".csv").write_text("an older report's")
    users.write_text("a user's own")
    append_results(folder, replace(make_compared(), status=FAILED, message="no memory", metrics={}))

    ran = run([str(folder)], out)

    assert ran.code == 0
    assert "No trial is complete: there is none to choose." in ran.stdout
    assert not (out / "best.yaml").exists()
    assert not older.exists()
    assert not older.with_suffix(".csv").exists()
    assert users.exists()
    assert (out / "tables" / "a-search.tex").exists()


def test_a_part_of_a_search_is_said_to_be_one(tmp_path: Path) -> None:
    folder = tmp_path / "search"
    folder.mkdir()
    for result in (make_compared(40, seed=1), make_compared(30, seed=2)):
        append_results(folder, result)

    ran = run([str(folder), "--where", "seed=2"], tmp_path / "report")

    assert "only trials with seed=2 were compared" in ran.stderr
    assert "only trials with seed=2 were compared" in (tmp_path / "report" / "search.md").read_text()


def test_two_splits_in_one_search_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "search"
    folder.mkdir()
    for result in (make_compared(split_seed=0), make_compared(split_seed=1)):
        append_results(folder, result)

    ran = run([str(folder)], tmp_path / "report")

    assert (ran.code, ran.stdout) == (2, "")
    assert "split_seed: 0 (1 trial), 1 (1 trial)" in ran.stderr
    assert run([str(folder), "--where", "split_seed=0"], tmp_path / "report").code == 0
