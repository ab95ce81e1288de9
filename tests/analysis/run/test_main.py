"""The command, from the folder to the report, in this process. The reports of the module's fixtures have figures, saved
blank (`pictures.py`); the others have none."""

from __future__ import annotations

import contextlib
import csv
import html
import io
import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import optuna
import pytest

from analysis.claims.claims_file import MARK as CLAIMS_MARK
from analysis.report.table_files import MARK
from analysis.run.__main__ import as_typed, main, parse
from analysis.trials.paper import TABLE_1
from galaxytl.results.rows import FILE_NAME
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
from tests.analysis.pictures import blank_pictures

LOST = {"status": FAILED, "message": "no memory", "metrics": {}}


@pytest.fixture(scope="module", autouse=True)
def quick() -> Iterator[None]:
    with blank_pictures():
        yield


@pytest.fixture(autouse=True)
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("analysis.run.write.plan_figures", lambda *_: [])


@dataclass(frozen=True)
class Ran:
    """One run of the command: its folder, exit code and what it printed."""

    out: Path
    code: int
    stdout: str
    stderr: str

    @property
    def spoken(self) -> str:
        return " ".join(self.stdout.split())

    def text(self, name: str) -> str:
        return (self.out / name).read_text()


def run(folders: Path | Sequence[Path], out: Path, options: str = "") -> Ran:
    paths = [str(folder) for folder in ([folders] if isinstance(folders, Path) else folders)]
    with contextlib.redirect_stdout(io.StringIO()) as stdout, contextlib.redirect_stderr(io.StringIO()) as stderr:
        code = main([*paths, *shlex.split(options), "--out", str(out)])
    return Ran(out, code, stdout.getvalue(), stderr.getvalue())


def reported(place: Path, results: Iterable[TrialResult], options: str = "") -> Ran:
    return run(write_folder(place / "results", results), place / "report", options)


OUTSIDER = make_spec(unfrozen_blocks="all", learning_rate=1e-5)
LOST_FIGURE = "figure-17-confusion-mobilenet-imagenet-off"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """Five complete cells, one failed without curves, one trial outside the grid, one half-written line; an older
    report's picture of the failed one."""
    place = tmp_path_factory.mktemp("grid")
    results = [make_result(make_spec(c.backbone, c.imagenet), accuracy=c.accuracy.value) for c in TABLE_1[:-1]]
    failed = make_result(make_spec("MobileNet", "OFF"), **LOST, history=(), confusion=())
    folder = write_folder(place / "results", [*results, failed, make_result(OUTSIDER)])
    with (folder / FILE_NAME).open("a") as file:
        file.write('{"schema":1')
    figures = place / "report" / "figures"
    figures.mkdir(parents=True)
    (figures / f"{LOST_FIGURE}.png").write_text("an older report's")
    return run(folder, place / "report")


def test_it_writes_tables_figures_and_report(report: Ran) -> None:
    assert report.code == 0
    assert report.stdout.startswith("Asked\n  Which of the paper's networks")
    assert "\nran: 7 trials of " in report.stdout
    for name in ("report.md", "table1.txt", "table1.md", "table1.csv", "table1.tex"):
        assert report.text(name)
        assert name in report.stdout
    stems = {path.stem for path in (report.out / "figures").iterdir()}
    assert stems > {
        *("figure-03-metrics", "figures-04-15-curves", "figures-16-21-confusion"),
        *("figure-04-loss-mobilenet-imagenet-on", "figure-05-accuracy-mobilenet-imagenet-on"),
        *("figure-10-loss-resnet50-imagenet-off", "figure-15-accuracy-vgg16-imagenet-off"),
        *("figure-16-confusion-mobilenet-imagenet-on", "figure-21-confusion-vgg16-imagenet-off"),
    }
    assert len(stems) == 3 + 18 - 3 + 1  # all but MobileNet OFF's own three, and accuracy by learning rate
    pictures = [part.split(")")[0] for part in report.text("report.md").split("](figures/")[1:]]
    assert {Path(picture).stem for picture in pictures} == stems
    assert all((report.out / "figures" / picture).exists() for picture in pictures)


def test_what_was_not_drawn_or_not_read_is_told_and_no_older_picture_stays(report: Ran) -> None:
    text = report.text("report.md").replace("\\", "")

    assert "12 figures could not be drawn; the page says which, and why" in report.stdout
    assert "Figure 17. Confusion matrix, MobileNet, ImageNet OFF. Not drawn: FAILED: no memory" in text
    assert not (report.out / "figures" / f"{LOST_FIGURE}.png").exists()
    assert "(half-written) was left out" in report.stderr
    assert "1 trial is in none of Table 1's rows" in report.stderr
    for words in ("half-written", OUTSIDER.trial_id, "1 min 16 s"):
        assert words in text


def test_it_prints_table_1_below_the_summary_and_the_page_as_the_first_file(report: Ran) -> None:
    lines = report.stdout.splitlines()
    printed = report.stdout.split("Table 1. ", maxsplit=1)[1].split("\nTable 1 is of", maxsplit=1)[0]

    assert report.text("table1.txt").split() == f"Table 1. {printed}".split()
    assert "galaxy10_decals" in report.stdout
    assert report.stdout.count("MobileNet, ImageNet ON, accuracy 0.823 (95% interval 0.812 to 0.833") == 1
    assert lines[lines.index("Written:") + 1].startswith(f"  {report.out}/index.html (")


def test_errors_name_rule_value_and_way_out(tmp_path: Path) -> None:
    nowhere, empty, garbage = tmp_path / "nowhere", tmp_path, write_folder(tmp_path / "garbage", [])
    (garbage / FILE_NAME).write_text("not JSON\n")
    (tmp_path / "file").touch()
    own = write_folder(tmp_path / "own", [make_result()])
    simulated = write_folder(tmp_path / "simulated", [make_result(make_spec(dataset="simulated"))])
    splits = write_folder(tmp_path / "splits", [make_compared(split_seed=0), make_compared(split_seed=1)])
    cases = [
        (nowhere, "report", "", f"must exist; got '{nowhere}'"),
        (empty, "report", "", "must hold trials.jsonl"),
        (garbage, "report", "", "must hold a readable trial"),
        (own, "file", "", "--out must be a folder that can be written"),
        (own, "report", "--where learning_rat=1", "Did you mean 'learning_rate', 'learning_rate_floor' or"),
        (own, "report", "--dataset zoo", "--dataset must name a dataset of these results"),
        ([own, simulated], "report", "", "a report is about one dataset"),
        (splits, "report", "", "split_seed: 0 (1 trial), 1 (1 trial)"),
    ]
    for folders, out, options, message in cases:
        ran = run(folders, tmp_path / out, options)
        assert (ran.code, ran.stdout) == (2, "")
        assert ran.stderr.startswith("error: ")
        assert message in ran.stderr
    assert not (tmp_path / "report").exists()
    assert run(splits, tmp_path / "report", "--where split_seed=0").code == 0


def test_a_folder_of_several_settings_has_table_1_of_those_that_where_chooses(tmp_path: Path) -> None:
    results = other_sweep(6) + other_sweep(6, optimizer="sgd")
    chosen = "--where optimizer=sgd --where learning_rate=1e-5 --where seed=0"

    ran = reported(tmp_path / "all", results)
    ran_where = reported(tmp_path / "chosen", results, chosen)

    assert (ran.code, ran_where.code) == (0, 0)
    assert "There is no Table 1." in ran.spoken
    assert "Choose with --where field=value, as in --where optimizer=" in ran.spoken
    assert not (ran.out / "table1.txt").exists()
    assert "There is no Table 1." in ran.text("index.html")
    assert "sgd, learning rate 1e-05" in ran_where.spoken
    assert chosen in ran_where.text("report.md").replace("\\", "")


def test_no_password_of_an_address_is_in_the_report(tmp_path: Path) -> None:
    ran = reported(tmp_path, [make_result()], "--storage postgresql://me:secret@db/study")

    for name in ("index.html", "report.md"):
        assert "secret" not in ran.text(name)
        assert "--storage URL" in ran.text(name)
    command = as_typed(parse(["s3://me:secret@bucket/a", "--out", "s3://me:secret@bucket/b", "--where", "seed=1"]))
    assert shlex.split(command)[3:] == ["s3://me:***@bucket/a", "--out", "s3://me:***@bucket/b", "--where", "seed=1"]


# Searches

SIMULATED = {"dataset": "simulated", "weights": "random", "weights_requested": "imagenet", "weights_fingerprint": ""}


def simulated_search() -> list[TrialResult]:
    """22 complete trials that differ in optimizer and learning rate, random weights in ImageNet's place; one pruned
    trial; the best, on the test part."""
    results = [
        make_compared(20 + i, 63, learning_rate=10 ** (-4 + i / 10), optimizer=("adam", "sgd")[i % 2], **SIMULATED)
        for i in range(22)
    ]
    reason = "asha: 0.1 after epoch 2 is below the best third of 12 trials (0.3)"
    stopped = make_compared(5, 63, learning_rate=0.5, **SIMULATED)
    return [*results, replace(stopped, status=PRUNED, message=reason, metrics={}), make_tested(results[-1], right=2500)]


def tell_study(folder: Path, results: Sequence[TrialResult]) -> None:
    """The search's study, with how costly each trial was as a second objective."""
    goals = [["val_accuracy", "maximize"], ["multiply_adds", "minimize"]]
    study = optuna.create_study(
        study_name="search", storage=f"sqlite:///{folder}/study.db", directions=[way for _, way in goals]
    )
    optimizers = optuna.distributions.CategoricalDistribution(["adam", "sgd"])
    rates = optuna.distributions.FloatDistribution(1e-4, 1.0, log=True)
    for number, result in enumerate(results):
        name = f"learning_rate@{result.spec.optimizer}"
        trial = optuna.trial.create_trial(
            params={"optimizer": result.spec.optimizer, name: result.spec.learning_rate},
            distributions={"optimizer": optimizers, name: rates},
            values=[result.metrics["accuracy"], 1e9 if number < 20 else 2e9],
            user_attrs={"trial_id": result.trial_id},
        )
        study.add_trial(trial)
    write_search_file(folder, objectives=goals)


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Ran, list[TrialResult]]:
    place, results = tmp_path_factory.mktemp("search"), simulated_search()
    folder = write_folder(place / "results", results)
    write_probabilities(folder, results[21], [True] * 41 + [False] * 22)
    write_probabilities(folder, results[20], [False] * 3 + [True] * 40 + [False] * 20)
    tell_study(folder, results[:22])
    return run(folder, place / "report"), results


def test_a_search_is_reported_without_table_1_within_80_columns(searched: tuple[Ran, list[TrialResult]]) -> None:
    ran, results = searched
    text = ran.stdout.split("\nWritten:")[0]

    assert (ran.code, ran.stderr) == (0, "")
    assert "Table 1" not in ran.stdout
    assert "MISSING" not in ran.stdout
    names = ("index.html", "report.md", "search.csv", "class_scores.csv", "best.yaml")
    folders = ("tables", "confusion", "again", "figures")
    assert {path.name for path in ran.out.iterdir()} == {*names, *folders}
    assert f"python -m sweep.run --grid {ran.out}/best.yaml --data DATA" in ran.stdout
    assert max(map(len, text.splitlines())) <= 80
    for words in (
        f"The best by validation accuracy: trial {results[21].trial_id}",
        f"the runner-up, trial {results[20].trial_id} (",
        "cannot be told apart on 63 images",
        "PRUNED 1 asha: 0.1 after epoch 2",
        "0.651 0.528 to 0.757 63 validation images",
        "0.470 0.456 to 0.483 5,321 test images",
        "learning_rate@adam 11 -",  # of the importances: no fANOVA, as half the trials have no such rate
        "Pareto front: 2 trials that no other beats in all objectives",
    ):
        assert words in ran.spoken
    assert "where adam was chosen" not in ran.spoken
    assert "where adam was chosen: 11 trials completed" in ran.text("report.md")
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


def test_a_grid_and_a_search_are_reported_side_by_side(tmp_path: Path) -> None:
    best = make_compared(40, seed=1)

    ran = reported(tmp_path, [make_result(), best, make_compared(30, seed=2), make_tested(best)])

    assert ran.code == 0
    assert "Table 1" in ran.stdout
    assert f"The best by validation accuracy: trial {best.trial_id}" in ran.stdout
    assert "in none of Table 1's rows" not in ran.stderr
    rows = list(csv.DictReader(io.StringIO(ran.text("table1.csv"))))
    assert [row["n_trials"] for row in rows] == ["0", "0", "1", "0", "0", "0"]
    assert {"table1.csv", "report.md", "search.csv", "best.yaml"} < {path.name for path in ran.out.iterdir()}


def test_a_part_of_a_search_and_a_study_that_is_gone_are_said(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "search", [make_compared(40, seed=1), make_compared(30, seed=2)])
    write_search_file(folder)

    ran = run(folder, tmp_path / "report", "--where seed=2")

    assert ran.code == 0
    assert "Importances are not available: the study's file" in ran.stdout
    assert "--storage" in ran.stdout
    for text in (ran.stderr, ran.text("report.md")):
        assert "only trials with seed=2 were compared" in text


def test_a_search_without_a_choice_leaves_no_older_one_and_what_is_the_users(tmp_path: Path) -> None:
    tables = tmp_path / "report" / "tables"
    tables.mkdir(parents=True)
    older = [tmp_path / "report" / "best.yaml", tables / "scores.tex", tables / "scores.csv"]
    for path in older:
        path.write_text(f"{MARK}\n")
    (tables / "mine.tex").write_text("a user's own")
    claims = tmp_path / "report" / "claims.json"
    claims.write_text(f"{CLAIMS_MARK}\n}}")
    older.append(tmp_path / "report" / "search.md")
    older[-1].write_text("# A search and its choice\n\n")

    ran = reported(tmp_path, [replace(make_compared(), **LOST)])

    assert ran.code == 0
    assert "No trial is complete: there is none to choose." in ran.stdout
    assert not any(path.exists() for path in [*older, claims])
    assert (tables / "mine.tex").exists()
    assert (tables / "a-search.tex").exists()
