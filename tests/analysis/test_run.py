"""The command, from the folder to the report."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from analysis.paper import TABLE_1
from analysis.run import main
from galaxytl.results import FILE_NAME, append_result
from galaxytl.trial import FAILED
from tests.analysis.fakes import make_result, make_spec


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
        append_result(folder, make_result(make_spec(cell.backbone, cell.imagenet), accuracy=cell.accuracy.value))
    failed = make_spec("MobileNet", "OFF")
    append_result(folder, make_result(failed, status=FAILED, message="no memory", history=(), confusion=(), metrics={}))
    append_result(folder, make_result(make_spec(unfrozen_blocks="all", learning_rate=1e-5)))
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
        3 + 18 - 3
    )  # PNG and SVG of all but MobileNet OFF's own three


def test_what_was_not_drawn_is_reported_and_no_older_picture_stays(report: Ran) -> None:
    assert "figure-17-confusion-mobilenet-imagenet-off: FAILED: no memory" in report.stdout
    assert not (report.out / "figures" / "figure-17-confusion-mobilenet-imagenet-off.png").exists()


def test_it_prints_table_1(report: Ran) -> None:
    assert "galaxy10_decals" in report.stdout
    assert report.stdout.count("0.823") >= 2
    assert (report.out / "table1.txt").read_text().split() == report.stdout.split("\nWritten:")[0].split()


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
    append_result(folder, make_result())
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
