"""The page as a file: whole, escaped, and with nothing to fetch. `test_page_browser.py` opens it."""

from __future__ import annotations

import dataclasses
import io
import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path

import pytest

from analysis.report.answer import Answer, Command
from analysis.report.contents import Contents, FigureFiles, Part
from analysis.report.markdown import report_markdown
from analysis.report.page import HEIGHT, MARGIN, MAX_POINTS, WIDTH, data_uri, page_html, sparkline
from analysis.report.sections import Listing, Section
from analysis.report.terminal import show_answer
from analysis.run.contents import contents_of
from analysis.run.scope import scope_of
from analysis.trials.load import gather
from galaxytl.system.console import Console
from galaxytl.system.foreign_text import visible
from galaxytl.trial import FAILED, TrialResult
from tests.analysis.fakes import make_result, make_spec
from tests.analysis.folders import other_sweep, paper_grid, write_folder

HOSTILE = (
    "</td></table></script><script>document.title='owned'</script><img src=x onerror=\"alert(1)\"> & 'q' {{ 7*7 }}"
)
UNICODE = "\N{GREEK SMALL LETTER LAMDA} \N{RIGHT-TO-LEFT OVERRIDE} \N{MILKY WAY}"


class Reader(HTMLParser):
    """Collects elements, ids, text, and what is opened and not closed."""

    VOID = ("meta", "img", "input", "br", "path")

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def read(text: str) -> Reader:
    reader = Reader()
    reader.feed(text)
    reader.close()
    assert reader.open == []
    return reader


@pytest.fixture(scope="module")
def contents(tmp_path_factory: pytest.TempPathFactory) -> Contents:
    """Markup wherever a row, a section or a folder has text."""
    failed = make_result(make_spec("VGG16"), status=FAILED, message=f"{HOSTILE} {UNICODE}", metrics={}, confusion=())
    odd = make_result(make_spec(backbone=HOSTILE, learning_rate=0.1), environment={"device": HOSTILE, HOSTILE: "1"})
    folder = write_folder(tmp_path_factory.mktemp("page") / "<b>paper", [*paper_grid()[1:], failed, odd])
    section = Section(HOSTILE, Listing((HOSTILE,), ((HOSTILE,),)), (HOSTILE,))
    figures = FigureFiles({}, {"one": HOSTILE}, {"one": HOSTILE})
    part = Part((f"label: {HOSTILE}",), (section,), (section,))
    return contents_of(scope_of(gather([folder]), [folder]), [part], figures, [Command(HOSTILE, HOSTILE)])


def report_on(folder: Path, results: list[TrialResult]) -> Contents:
    write_folder(folder, results)
    return contents_of(scope_of(gather([folder]), [folder]), [], FigureFiles({}, {}, {}), [])


def test_markup_in_texts_is_text_and_the_page_fetches_nothing(contents: Contents) -> None:
    text = page_html(contents)
    reader = read(text)

    assert len(reader.all("script")) == 1
    assert reader.all("img") == reader.all("link") == []
    assert not any(name.startswith("on") for _, attributes in reader.elements for name in attributes)
    assert reader.text.count("document.title='owned'") >= 8
    for words in ("{{ 7*7 }}", visible(UNICODE), "<b>paper"):
        assert words in reader.text
    assert not re.search(r"url\(|@import", text)
    (policy,) = (a["content"] or "" for a in reader.all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert re.search(r"script-src 'sha256-[\w+/]{43}='", policy)


def test_links_lead_somewhere_and_ids_are_unique(contents: Contents) -> None:
    many = Part(answers=tuple(Section(f"Question {i}") for i in range(5)))

    reader = read(page_html(dataclasses.replace(contents, parts=(*contents.parts, many))))

    ids = [attributes["id"] for _, attributes in reader.elements if "id" in attributes]
    links = [str(attributes["href"]) for attributes in reader.all("a")]
    assert len(set(ids)) == len(ids)
    assert links
    assert set(links) <= {f"#{own}" for own in ids}
    assert "Question 4" in reader.text


def test_every_trial_is_a_row_with_its_curves(tmp_path: Path) -> None:
    contents = report_on(tmp_path, other_sweep(20))

    text = page_html(contents)

    assert text.count('<svg class="spark"') == 40
    assert all(row.result.trial_id in text for row in contents.trials.rows)
    assert "There is no Table 1." in text
    assert text.count("diverged: NaN") >= 2
    assert '<td class="bad">FAILED</td>' in text


def test_the_smaller_of_the_two_pictures_is_inlined(contents: Contents, tmp_path: Path) -> None:
    png, svg = tmp_path / "a.png", tmp_path / "a.svg"
    figures = FigureFiles({"a": (png, svg)}, {"a": "A."}, {})

    for small, large in ((png, svg), (svg, png)):
        small.write_bytes(b"12")
        large.write_bytes(b"123456")
        (image,) = read(page_html(dataclasses.replace(contents, figures=figures))).all("img")
        assert image == {"src": data_uri(small), "alt": "A."}
    assert data_uri(svg) == "data:image/svg+xml;base64,MTI="


def test_a_warning_stands_at_the_top_and_real_data_have_none(tmp_path: Path) -> None:
    simulated, real = (
        page_html(report_on(tmp_path / name, paper_grid(dataset=name))) for name in ("simulated", "galaxy10_decals")
    )

    assert simulated.index("SIMULATED galaxies: not comparable") < simulated.index("<nav")
    assert "SIMULATED" not in real


def test_only_whole_words_are_set_off(contents: Contents) -> None:
    texts = ("1.0 (sic)", "ON", "EXPLAINED by nothing")
    section = Section("A", Listing(("Verdict",), tuple((text,) for text in (*texts, "EXPLAINED"))))

    page = page_html(dataclasses.replace(contents, parts=(Part(answers=(section,)),)))

    assert all(f"<td>{text}</td>" in page for text in texts)
    assert '<td class="good">EXPLAINED</td>' in page


def test_the_answer_is_the_first_thing_in_the_page_and_in_the_text(contents: Contents) -> None:
    answer = Answer(
        ("Does it?",), (f"VGG16 ON: EXPLAINED: {HOSTILE}",), settle=("More.",), commands=(Command("To type", HOSTILE),)
    )
    shown = dataclasses.replace(contents, answer=answer)

    page, text = page_html(shown), report_markdown(shown)

    head = page[: page.index("<nav")]
    assert '<strong>VGG16 ON: <span class="good">EXPLAINED</span>:</strong>' in head
    assert [head.index(f"<dt>{heading}</dt>") for heading, _ in answer.rows] == sorted(
        head.index(f"<dt>{heading}</dt>") for heading, _ in answer.rows
    )
    assert "What else could explain it" not in head
    assert len(read(page).all("script")) == 1
    assert text.index("## Asked") < text.index("## Answer") < text.index("## What would settle it")
    assert text.index("## What would settle it") < text.index("## In short")


def test_the_first_screen_of_a_terminal_is_as_wide_as_that_is(contents: Contents) -> None:
    sentence = "VGG16 ON: EXPLAINED: " + "words " * 60
    answer = Answer(("Does it?",), (sentence,), commands=(Command("To type", "python " + "x" * 100),))
    console = Console(highlight=False, width=80, file=(file := io.StringIO()))

    show_answer(answer, console)

    lines = file.getvalue().splitlines()
    assert all(len(line) <= 80 for line in lines if "python" not in line)
    assert any(line.endswith("x" * 100) for line in lines)  # a command is not broken: it is to be copied


# Small curves in the table of trials, against points that are known

LEFT, RIGHT, TOP, BOTTOM = MARGIN, WIDTH - MARGIN, MARGIN, HEIGHT - MARGIN


def with_curves(train: Sequence[float], watched: Sequence[float], quantity: str = "accuracy") -> TrialResult:
    pairs = zip(train, watched, strict=True)
    return make_result(history=tuple({quantity: own, f"val_{quantity}": other} for own, other in pairs))


def points_of(svg: str, name: str) -> list[tuple[float, float]]:
    path = next(element for element in ET.fromstring(svg) if element.get("class") == name)
    return [(float(x), float(y)) for x, y in re.findall(r"[ML]([\d.]+) ([\d.]+)", path.attrib["d"])]


def test_accuracy_goes_from_the_bottom_at_0_to_the_top_at_1() -> None:
    svg = sparkline(with_curves([0, 0.5, 1], [1, 0, 0.25]), "accuracy")

    assert points_of(svg, "train") == [(LEFT, BOTTOM), (WIDTH / 2, HEIGHT / 2), (RIGHT, TOP)]
    assert points_of(svg, "watched") == [(LEFT, TOP), (WIDTH / 2, BOTTOM), (RIGHT, BOTTOM - 0.25 * (BOTTOM - TOP))]
    assert ET.fromstring(svg).get("aria-label") == "accuracy 1.00 to 0.25"


def test_loss_fills_the_height_with_its_highest_value() -> None:
    svg = sparkline(with_curves([4, 2], [2, 0], "loss"), "loss")
    assert points_of(svg, "train") == [(LEFT, TOP), (RIGHT, HEIGHT / 2)]


def test_a_curve_that_became_nan_ends_with_a_cross_and_says_so() -> None:
    result = with_curves([2, 1, math.nan, math.nan], [2, math.inf, math.nan, math.nan], "loss")
    svg = sparkline(result, "loss")

    assert [len(points_of(svg, name)) for name in ("train", "watched")] == [2, 1]
    assert points_of(svg, "train")[-1][0] == pytest.approx(LEFT + (RIGHT - LEFT) / 3, abs=0.01)
    assert svg.count('class="end"') == 2
    assert "then not a number" in svg


def test_many_epochs_are_thinned_to_the_last_and_a_lone_finite_one_is_drawn() -> None:
    points = points_of(sparkline(with_curves([i / 499 for i in range(500)], [0.5] * 500), "accuracy"), "train")
    lone = [math.nan, 0.5, *[math.nan] * 198]

    assert len(points) <= MAX_POINTS
    assert (points[0], points[-1]) == ((LEFT, BOTTOM), (RIGHT, TOP))
    assert points == sorted(points)
    assert points_of(sparkline(with_curves(lone, lone), "accuracy"), "train")[0][1] == HEIGHT / 2


def test_one_epoch_is_a_dot_and_none_is_nothing() -> None:
    assert 'd="M2 11h.01"' in sparkline(with_curves([0.5], [0.5]), "accuracy")
    assert sparkline(make_result(history=()), "accuracy") == ""
    assert sparkline(with_curves([math.nan], [math.nan]), "accuracy") == ""
