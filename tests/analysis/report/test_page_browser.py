"""The page in a real browser, as nothing else runs its script and lays it out: the system's Chromium, without a window.

Skips where there is none; GALAXYTL_TEST_BROWSER names one that is not on the PATH.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from analysis.figures.style import save
from analysis.run.__main__ import main
from galaxytl.trial import FAILED
from tests.analysis.collapsing import by_rate, factorial
from tests.analysis.fakes import make_compared, make_result, make_spec, make_tested
from tests.analysis.folders import other_sweep, own_grid, paper_grid, write_folder
from tests.analysis.more_fakes import write_thumbnails
from tests.analysis.sure_networks import Planted

NAMES = ("chromium", "chromium-browser", "google-chrome")
HOSTILE = "</script><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = os.environ.get("GALAXYTL_TEST_BROWSER") or next(filter(None, map(shutil.which, NAMES)), None)
    if not path:
        pytest.skip("no browser on the PATH or at GALAXYTL_TEST_BROWSER: apt-get install chromium")
    as_root = ["--no-sandbox"] if os.geteuid() == 0 else []  # Chromium refuses root its sandbox
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=path, args=as_root)
        yield launched
        launched.close()


def save_few(figure: Figure, stem: Path) -> tuple[Path, Path]:
    """A matrix and curves; the others are a coloured rectangle: to draw all takes 30 seconds."""
    if re.match("figure-(04|16)-", stem.name):
        return save(figure, stem)
    png, svg = stem.with_suffix(".png"), stem.with_suffix(".svg")
    Image.new("RGB", (1280, 780), "steelblue").save(png)
    svg.write_bytes(png.read_bytes() * 2)  # the page takes the smaller one
    return png, svg


def make_hundred(folder: Path) -> Path:
    """The page of the paper's grid and another sweep, of 100 trials in all; one message is hostile."""
    failed = {"status": FAILED, "message": HOSTILE, "metrics": {}, "confusion": ()}
    hostile = make_result(make_spec("VGG16", seed=9, dataset="simulated"), **failed)
    paper = write_folder(folder / "paper", [*paper_grid(dataset="simulated"), hostile])
    other = write_folder(folder / "other", other_sweep(93, dataset="simulated"))
    assert main([str(paper), str(other), "--out", str(folder / "report")]) == 0
    return folder / "report" / "index.html"


@pytest.fixture(scope="module")
def hundred(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("analysis.figures.plans.save", save_few)
        return make_hundred(tmp_path_factory.mktemp("hundred"))


@dataclass
class Opened:
    """A page, with everything that it complained of and all that it asked for."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def texts(self, selector: str) -> list[str]:
        return self.page.locator(selector).all_text_contents()

    def heading(self, name: str) -> Any:
        return self.page.locator("#trial-table thead th").filter(has_text=name).first

    def column(self, name: str) -> list[str]:
        """The texts of a column of the table of trials, as shown."""
        number = [text.strip() for text in self.texts("#trial-table thead th")].index(name) + 1
        return self.texts(f"#trial-table tbody tr:not([hidden]) > :nth-child({number})")


def open_page(browser: Browser, path: Path, **context: Any) -> Opened:
    page = browser.new_page(**context)
    opened = Opened(page)
    page.on("console", lambda message: opened.complaints.append(message.text))
    page.on("pageerror", lambda error: opened.complaints.append(str(error)))
    page.on("request", lambda request: opened.requests.append(request.url))
    page.goto(path.as_uri())
    return opened


def open_all(page: Page) -> None:
    page.evaluate("for (const own of document.querySelectorAll('details')) own.open = true")


@pytest.fixture(scope="module")
def opened(browser: Browser, hundred: Path) -> Iterator[Opened]:
    """Opened once: no test needs the page as another has left it."""
    own = open_page(browser, hundred, viewport={"width": 1280, "height": 900})
    open_all(own.page)
    yield own
    own.page.close()


def test_it_opens_without_a_complaint_asks_for_nothing_and_shows_all_images(opened: Opened, hundred: Path) -> None:
    images = opened.page.evaluate("[...document.images].map((own) => [own.complete && own.naturalWidth, own.alt])")

    assert opened.complaints == []
    assert [url for url in opened.requests if not url.startswith("data:")] == [hundred.as_uri()]
    assert len(images) == 25  # the paper's 19 and two sheets; by learning rate, collapses, two rankings
    assert all(width > 0 and text for width, text in images)


@pytest.mark.rest
def test_a_page_with_all_its_figures_is_small(tmp_path: Path) -> None:
    assert 1_000_000 < make_hundred(tmp_path).stat().st_size <= 5_000_000


def test_a_hostile_message_is_shown_and_does_nothing_and_no_other_script_runs(opened: Opened) -> None:
    """Were something not escaped, the page's policy would still stop it."""
    assert any(HOSTILE in text for text in opened.texts("#trial-table .message"))
    title, number = opened.page.title(), len(opened.complaints)
    assert title != "owned"
    opened.page.evaluate(
        """() => {
            const script = document.createElement("script");
            script.textContent = "document.title = 'intruder'";
            document.body.append(script);
        }"""
    )

    assert opened.page.title() == title
    assert "Content Security Policy" in opened.complaints[number]
    del opened.complaints[number:]


def test_the_table_sorts_numbers_as_numbers_both_ways_and_words(opened: Opened) -> None:
    before = opened.column("accuracy")
    opened.heading("accuracy").click()
    rising = opened.column("accuracy")
    opened.heading("accuracy").locator("button").press("Enter")
    falling = opened.column("accuracy")

    values = sorted(float(text) for text in before if text)
    empty = [""] * before.count("")
    assert len(values) < 100
    assert rising == [*(f"{value:.3f}" for value in values), *empty]
    assert falling == [*(f"{value:.3f}" for value in reversed(values)), *empty]
    assert opened.heading("accuracy").get_attribute("aria-sort") == "descending"
    opened.heading("learning rate").click()
    rates = [float(text) for text in opened.column("learning rate")]
    assert (rates, rates[0]) == (sorted(rates), 1e-5)
    assert opened.heading("accuracy").get_attribute("aria-sort") is None
    opened.heading("backbone").click()
    assert opened.column("backbone") == sorted(opened.column("backbone"))


def test_the_table_filters_by_several_words(opened: Opened) -> None:
    opened.page.get_by_label("Show trials with").fill("vgg16 FAILED")
    shown = opened.page.locator("#trial-table tbody tr:not([hidden])")

    assert 0 < shown.count() < 100
    assert set(opened.column("backbone")) == {"VGG16"}
    assert set(opened.column("status")) == {"FAILED"}
    assert opened.page.locator("#filter output").inner_text() == f"{shown.count()} of 100"
    opened.page.get_by_label("Show trials with").fill("")
    assert shown.count() == 100


def test_no_width_makes_the_page_scroll_sideways(opened: Opened) -> None:
    for width in (390, 768, 1280):
        opened.page.set_viewport_size({"width": width, "height": 900})
        inner, letters = opened.page.evaluate(
            "[document.documentElement.scrollWidth, parseFloat(getComputedStyle(document.body).fontSize)]"
        )
        assert inner <= width
        assert letters >= 16


PHONE, DESK = 390, 1280
MOST_SCREENS = 6
"""Of 900 pixels, that the page is high at 1280 pixels with all that can be folded folded."""


def planted_grid(folder: Path, seeds: int = 3) -> Path:
    """The paper's grid with probabilities and pictures, so that the page has all that it can have."""
    folder.mkdir(parents=True)
    planted = Planted(folder, 100)
    for seed in range(seeds):
        for backbone in ("VGG16", "ResNet50", "MobileNet"):
            planted.add(make_spec(backbone, "ON", seed=seed), 0.7)
            planted.add(make_spec(backbone, "OFF", seed=seed), 0.4)
    write_thumbnails(folder, {row: row % 10 for row in range(100)})
    return write_folder(folder, planted.results)


def folders_of(kind: str, place: Path) -> list[Path]:
    compared = [make_compared(30 - i, 60, learning_rate=10.0 ** -(2 + i % 3), seed=i) for i in range(20)]
    results = {
        "own classes": own_grid,
        "a hundred classes": lambda: own_grid(100),
        "the VGG question": lambda: factorial(by_rate),
        "a search": lambda: [*compared, make_tested(compared[0])],
    }
    if kind == "Galaxy10":
        return [planted_grid(place / "paper"), write_folder(place / "other", other_sweep(94))]
    return [write_folder(place / "results", results[kind]())]


WIDER = """() => {
    const bad = [];
    for (const own of document.querySelectorAll("table, img, pre, p, li, dd, summary, h1, h2, h3")) {
        const box = (own.closest(".scroll") || own).getBoundingClientRect();
        const isOut = box.width && (box.right > innerWidth || box.left < 0);
        if (isOut) bad.push(own.tagName + " " + own.textContent.slice(0, 40));
    }
    return bad;
}"""
OVER_ONE_ANOTHER = """() => {
    const bad = [];
    for (const parent of document.querySelectorAll("body, header, main, section, details, dl, dl div, figure, ul")) {
        let last = -Infinity;
        for (const own of parent.children) {
            const box = own.getBoundingClientRect();
            if (!box.height || own.matches(".skip, dd")) continue;
            if (box.top < last - 1) bad.push(own.tagName + " " + own.textContent.slice(0, 40));
            last = box.bottom;
        }
    }
    return bad;
}"""


@pytest.mark.rest
@pytest.mark.parametrize("kind", ["Galaxy10", "own classes", "a hundred classes", "the VGG question", "a search"])
def test_the_first_screens_are_few_and_nothing_is_wider_than_the_page(
    browser: Browser, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Folded as it opens, and with everything unfolded; at the width of a desk and of a phone."""
    monkeypatch.setattr("analysis.figures.plans.save", save_rectangle)
    assert main([*map(str, folders_of(kind, tmp_path)), "--out", str(tmp_path / "report")]) == 0
    for width in (DESK, PHONE):
        page = open_page(browser, tmp_path / "report" / "index.html", viewport={"width": width, "height": 900}).page
        height = page.evaluate("document.documentElement.scrollHeight")
        assert width == PHONE or height <= MOST_SCREENS * 900
        for _ in range(2):
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert page.evaluate(WIDER) == []
            assert page.evaluate(OVER_ONE_ANOTHER) == []
            open_all(page)
        assert page.evaluate("document.documentElement.scrollHeight") > height
        page.close()


def save_rectangle(figure: Figure, stem: Path) -> tuple[Path, Path]:
    """A picture of the figure's shape: to draw them takes half a minute."""
    png, svg = stem.with_suffix(".png"), stem.with_suffix(".svg")
    Image.new("RGB", [int(100 * side) for side in figure.get_size_inches()], "steelblue").save(png)
    svg.write_bytes(png.read_bytes() * 2)
    return png, svg


def test_a_link_opens_what_is_folded(browser: Browser, hundred: Path) -> None:
    opened = open_page(browser, hundred)
    folded = opened.page.locator("#evidence > details").first
    assert not folded.evaluate("own => own.open")
    opened.page.evaluate("location.hash = document.querySelector('#evidence > details').id")
    opened.page.wait_for_function("document.querySelector('#evidence > details').open")
    opened.page.close()


def test_without_javascript_everything_but_sorting_is_there(browser: Browser, hundred: Path) -> None:
    opened = open_page(browser, hundred, java_script_enabled=False)

    assert opened.page.locator("#trial-table tbody tr").count() == 100
    assert opened.page.locator("#trial-table button").count() == 0
    assert not opened.page.locator("#trial-table").is_visible()
    opened.page.locator("#all-trials > summary").click()  # folded without a script too
    assert opened.page.locator("#trial-table").is_visible()
    assert not opened.page.locator("#filter").is_visible()
    assert opened.page.get_by_role("heading", name="Left out, and why").is_visible()
    opened.page.close()


@pytest.mark.rest
def test_it_prints(opened: Opened) -> None:
    data = opened.page.pdf(prefer_css_page_size=True)

    assert data.startswith(b"%PDF")
    assert data.count(b"/Type /Page\n") >= 4
    assert len(data) > 50_000


def test_text_stands_out_from_its_ground(opened: Opened) -> None:
    """The contrast that WCAG 2 asks of text, 4.5 to 1, by its formula of relative luminance."""
    for selector in ("p", ".note", ".paper", "dt", "a", ".bad", "#trial-table th", "figcaption", ".warning"):
        colours = opened.page.evaluate(COLOURS, selector)
        assert colours, selector
        assert min(contrast(*pair) for pair in colours) >= 4.5, selector
    assert contrast([0, 0, 0], [255, 255, 255]) == pytest.approx(21)


COLOURS = """(selector) => [...document.querySelectorAll(selector)].slice(0, 20).map((element) => {
    const parse = (text) => text.match(/[\\d.]+/g).map(Number);
    let ground = element;
    while (ground && parse(getComputedStyle(ground).backgroundColor)[3] === 0) ground = ground.parentElement;
    return [getComputedStyle(element).color, ground ? getComputedStyle(ground).backgroundColor : "rgb(255, 255, 255)"]
        .map((text) => parse(text).slice(0, 3));
})"""


def contrast(first: list[float], second: list[float]) -> float:
    """Of two colours of 0 to 255: WCAG 2.2, "contrast ratio"."""
    light, dark = sorted((luminance(first), luminance(second)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: list[float]) -> float:
    shares = [value / 255 for value in colour]
    linear = [s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in shares]
    return float(np.dot([0.2126, 0.7152, 0.0722], linear))
