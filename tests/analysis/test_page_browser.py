"""The page in a real browser: the system's Chromium, without a window. Skips where there is none.

GALAXYTL_TEST_BROWSER names one that is not on the PATH.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from analysis.run import main
from galaxytl.trial import FAILED
from tests.analysis.fakes import make_result, make_spec
from tests.analysis.folders import other_sweep, paper_grid, write_folder

NAMES = ("chromium", "chromium-browser", "google-chrome")
HOSTILE = "</script><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = os.environ.get("GALAXYTL_TEST_BROWSER") or next(filter(None, map(shutil.which, NAMES)), None)
    if not path:
        pytest.skip(f"no browser: none of {', '.join(NAMES)} is on the PATH, and GALAXYTL_TEST_BROWSER is not set")
    as_root = ["--no-sandbox"] if os.geteuid() == 0 else []  # Chromium refuses root its sandbox
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=path, args=as_root)
        yield launched
        launched.close()


def report_of(folder: Path, num_trials: int) -> Path:
    """The page of the paper's grid and another sweep, of `num_trials` in all; one message is hostile."""
    hostile = make_result(
        make_spec("VGG16", seed=9, dataset="simulated"), status=FAILED, message=HOSTILE, metrics={}, confusion=()
    )
    paper = write_folder(folder / "paper", [*paper_grid(dataset="simulated"), hostile])
    other = write_folder(folder / "other", other_sweep(num_trials - 7, dataset="simulated"))
    assert main([str(paper), str(other), "--out", str(folder / "report")]) == 0
    return folder / "report" / "index.html"


@pytest.fixture(scope="module")
def hundred(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return report_of(tmp_path_factory.mktemp("hundred"), 100)


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


@pytest.fixture
def opened(browser: Browser, hundred: Path) -> Iterator[Opened]:
    found = open_page(browser, hundred, viewport={"width": 1280, "height": 900})
    yield found
    found.page.close()


def test_it_opens_without_a_complaint_and_asks_for_nothing(opened: Opened, hundred: Path) -> None:
    assert opened.complaints == []
    assert [url for url in opened.requests if not url.startswith("data:")] == [hundred.as_uri()]


def test_a_hostile_message_is_shown_and_does_nothing(opened: Opened) -> None:
    assert opened.page.title() != "owned"
    assert any(HOSTILE in text for text in opened.texts("#trial-table .message"))


def test_a_script_that_is_not_the_pages_own_does_not_run(opened: Opened) -> None:
    """Were something not escaped, the page's policy would still stop it."""
    opened.page.evaluate(
        """() => {
            const script = document.createElement("script");
            script.textContent = "document.title = 'owned'";
            document.body.append(script);
        }"""
    )

    assert opened.page.title() != "owned"
    assert "Content Security Policy" in opened.complaints[0]


def test_all_images_load(opened: Opened) -> None:
    widths = opened.page.evaluate("[...document.images].map((image) => image.complete && image.naturalWidth)")

    assert len(widths) == 23  # the paper's 19 and two sheets; by learning rate, collapses
    assert all(width > 0 for width in widths)
    assert all(opened.page.evaluate("[...document.images].map((image) => image.alt)"))


def test_the_table_sorts_numbers_as_numbers_both_ways(opened: Opened) -> None:
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


def test_rates_in_powers_of_ten_and_words_sort_too(opened: Opened) -> None:
    opened.heading("learning rate").click()
    rates = [float(text) for text in opened.column("learning rate")]
    opened.heading("backbone").click()
    backbones = opened.column("backbone")

    assert rates == sorted(rates)
    assert rates[0] == 1e-5
    assert backbones == sorted(backbones)
    assert opened.heading("learning rate").get_attribute("aria-sort") is None


def test_the_table_filters_by_several_words(opened: Opened) -> None:
    opened.page.get_by_label("Show trials with").fill("vgg16 FAILED")
    shown = opened.page.locator("#trial-table tbody tr:not([hidden])")

    assert 0 < shown.count() < 100
    assert set(opened.column("backbone")) == {"VGG16"}
    assert set(opened.column("status")) == {"FAILED"}
    assert opened.page.locator("#filter output").inner_text() == f"{shown.count()} of 100"
    opened.page.get_by_label("Show trials with").fill("")
    assert shown.count() == 100


@pytest.mark.parametrize("width", [390, 768, 1280])
def test_no_width_makes_the_page_scroll_sideways(browser: Browser, hundred: Path, width: int) -> None:
    opened = open_page(browser, hundred, viewport={"width": width, "height": 844})
    inner, letters = opened.page.evaluate(
        "[document.documentElement.scrollWidth, parseFloat(getComputedStyle(document.body).fontSize)]"
    )

    assert inner <= width
    assert letters >= 16
    opened.page.close()


def test_without_javascript_everything_but_sorting_is_there(browser: Browser, hundred: Path) -> None:
    opened = open_page(browser, hundred, java_script_enabled=False)

    assert opened.page.locator("#trial-table tbody tr").count() == 100
    assert opened.page.locator("#trial-table button").count() == 0
    assert not opened.page.locator("#filter").is_visible()
    assert opened.page.get_by_role("heading", name="Left out, and why").is_visible()
    opened.page.close()


def test_it_prints(opened: Opened, tmp_path: Path) -> None:
    path = tmp_path / "page.pdf"
    opened.page.pdf(path=path, prefer_css_page_size=True)
    data = path.read_bytes()

    assert data.startswith(b"%PDF")
    assert data.count(b"/Type /Page\n") >= 4
    assert len(data) > 50_000


@pytest.mark.parametrize(
    "selector", ["p", ".note", ".paper", "dt", "a", ".bad", "#trial-table th", "figcaption", ".warning"]
)
def test_text_stands_out_from_its_ground(browser: Browser, hundred: Path, selector: str) -> None:
    """The contrast that WCAG 2 asks of text, 4.5 to 1, by its formula of relative luminance."""
    opened = open_page(browser, hundred)
    colours = opened.page.evaluate(COLOURS, selector)
    opened.page.close()

    assert colours
    assert min(contrast(*pair) for pair in colours) >= 4.5


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
    red, green, blue = (s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in shares)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_the_contrast_of_black_on_white_is_21() -> None:
    assert contrast([0, 0, 0], [255, 255, 255]) == pytest.approx(21)


def test_a_hundred_trials_take_at_most_5_megabytes(hundred: Path) -> None:
    assert hundred.stat().st_size <= 5_000_000


@pytest.mark.slow
def test_a_thousand_trials_are_written_and_open_within_a_minute(browser: Browser, tmp_path: Path) -> None:
    """30 s where nothing else runs. Seconds of this process while it writes, and all of the browser's."""
    began = time.process_time()
    path = report_of(tmp_path, 1000)
    written = time.process_time() - began
    began = time.monotonic()
    opened = open_page(browser, path)
    shown = time.monotonic() - began

    assert opened.page.locator("#trial-table tbody tr").count() == 1000
    opened.heading("accuracy").click()
    assert opened.column("accuracy")[0] == min(text for text in opened.column("accuracy") if text)
    assert written + shown <= 60
    opened.page.close()
