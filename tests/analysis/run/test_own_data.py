"""A report on somebody's own images is about these: nothing in it judges the paper, or is set beside it."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path

import pytest

from analysis.figures.bars import draw_metrics
from analysis.figures.catalogue import plan_figures
from analysis.figures.plans import Material
from analysis.report import rerun
from analysis.report.markdown import is_overview
from analysis.run.__main__ import main
from analysis.trials.banner import Banner
from analysis.trials.load import Trials
from analysis.trials.table1_cells import fill_cells
from galaxytl.trial import TrialResult
from galaxytl.trial.rules import ON_FEATURES
from tests.analysis.fakes import make_result, make_spec
from tests.analysis.folders import own_grid, paper_grid, write_folder
from tests.analysis.pictures import blank_pictures


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("analysis.run.write.plan_figures", lambda *_: [])


DATA = "40 images of 4 classes (a, b, c, d)"
OF_THE_PAPER = re.compile(r"\bpaper|Xu\b|Table 1|sic\b|galax(y|ies) |Galaxy10|Figures? \d", re.IGNORECASE)


def report(place: Path, results: list[TrialResult]) -> tuple[int, dict[str, str]]:
    """The exit code, and name -> text of what was written."""
    with blank_pictures():
        code = main([str(write_folder(place / "results", results)), "--out", str(place / "out")])
    files = [p for p in (place / "out").rglob("*") if p.suffix in (".html", ".md", ".csv", ".tex", ".txt", ".yaml")]
    texts = {p.name: p.read_text() for p in files}
    page = re.sub(r"<(style|script)>.*?</\1>|<[^>]*>", " ", texts["index.html"], flags=re.DOTALL)
    texts["index.html"] = html.unescape(page)
    return code, texts


@pytest.mark.usefixtures("undrawn")
def test_a_report_on_own_images_is_about_these(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, texts = report(tmp_path, own_grid())
    texts["terminal"] = " ".join(capsys.readouterr().out.split())

    assert code == 0
    for name, text in texts.items():
        assert not (found := OF_THE_PAPER.findall(text) + re.findall("collapse come", text)), f"{name} has {found}"
    assert texts["report.md"].startswith(f"# Image classification by transfer learning: {DATA}\n")
    assert DATA in texts["index.html"]
    assert f"Which of the grid's networks classifies {DATA} best? 6 trials, 1 seed a setting." in texts["terminal"]
    assert "Answer VGG16, ImageNet ON, accuracy 0.667" in texts["terminal"]
    assert texts["scores.csv"].splitlines()[0].count("accuracy") == 4  # ours, its deviation and its interval
    claims = json.loads((tmp_path / "out" / "claims.json").read_text())
    assert claims["claims"] == []
    assert "these data are others" in claims["warning"]


def test_figures_of_own_images_have_neither_the_papers_numbers_nor_its_values() -> None:
    grid = fill_cells(Trials(tuple(own_grid())))
    plans = {plan.stem: plan for plan in plan_figures(Material(grid.results, grid=grid))}
    own = " ".join(f"{plan.stem} {plan.caption} {plan.why_not}" for plan in plans.values())

    assert not OF_THE_PAPER.search(own.replace("the paper's setting", ""))  # of the VGG question
    assert {"metrics", "curves", "confusion", "loss-vgg16-imagenet-on"} <= plans.keys()
    assert next(stem for stem in plans if not is_overview(stem)) == "loss-mobilenet-imagenet-on"
    assert draw_metrics(grid, Banner.of(grid)).findobj(match=lambda a: OF_THE_PAPER.search(str(a))) == []


@pytest.mark.usefixtures("undrawn")
def test_the_vgg_question_is_asked_where_its_trials_are(tmp_path: Path) -> None:
    other = next(r for r in own_grid() if r.spec.backbone == "VGG16").spec.replace(learning_rate=1e-4)
    _, texts = report(tmp_path, [*own_grid(), make_result(other)])

    assert "Does VGG16's collapse come from its optimizer settings?" in texts["index.html"]
    assert "own explanation" not in texts["index.html"]
    assert "two VGG16 rows" not in texts["index.html"]


@pytest.mark.usefixtures("undrawn")
def test_of_other_settings_the_validation_part_chooses_one(tmp_path: Path) -> None:
    data = {"dataset": "own_classes_40_images", "num_classes": 4, "validation_fraction": 0.1}
    specs = [make_spec(unfrozen_blocks=n, **data) for n in (1, 2)]
    results = [make_result(spec, accuracy=0.4 + n / 10, curves_on="validation") for n, spec in enumerate(specs)]
    _, texts = report(tmp_path, results)

    assert not OF_THE_PAPER.search(texts["report.md"].replace("Smooth", ""))
    assert "MobileNet, ImageNet, 2 blocks trained: validation accuracy 0.500" in texts["report.md"]


def test_two_datasets_are_never_in_one_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with blank_pictures():
        code = main([str(write_folder(tmp_path / "both", [*own_grid(), *paper_grid()])), "--out", str(tmp_path / "o")])

    assert code == 2
    assert "a report is about one dataset" in capsys.readouterr().err


def test_votes_are_said_wherever_the_data_are() -> None:
    banner = Banner.of_search([make_result(make_spec(dataset="own_classes_40_images", targets="votes"))])

    assert "the loss is against these" in banner.run_on
    assert "loss against fractions of votes" in banner.footer


def test_a_command_says_that_features_are_given() -> None:
    zoobot, network = make_spec(backbone="features:zoobot", weights_requested="given", **ON_FEATURES), make_spec()
    assert rerun.given_features([zoobot, zoobot]) == ("--features", "zoobot=FILE")
    assert rerun.given_features([network]) == rerun.given_features([zoobot, network]) == ()


def test_a_command_says_how_the_images_were_divided() -> None:
    grouped = make_result(make_spec(group_by="survey", fit="crop", num_classes=4, dataset="own_classes_40_images"))

    assert rerun.division([grouped.spec]) == ["--group-by", "survey"]
    assert rerun.division([make_spec(official_split="0f3a")]) == ["--split", "official"]
    text = rerun.grid_yaml("again", [grouped, make_result(make_spec(seed=1))], Banner.of_search([grouped]))
    assert '"fit": "crop"' in text
    assert not re.search("group_by:|num_classes|official_split", text)
