"""Text of others is shown, never obeyed: at the door of rows, in errors, and on the terminal."""

from __future__ import annotations

import io
import json
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.table import Table
from rich.text import Text

from galaxytl.learning.outcome import failure_message
from galaxytl.results.rows import FILE_NAME, read_results
from galaxytl.system.command import run_command
from galaxytl.system.console import Console
from galaxytl.system.foreign_text import visible, visible_values
from galaxytl.trial import FAILED, TrialResult, TrialSpec

UNSEEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
NASTY = "\x1b[2J\x1b]0;owned\x07\r\n\x00\x7f\x85\x9b31m\u2028\u202e\u2066\ufeff\ud800\uffff"
SPEC = TrialSpec(dataset="simulated", dataset_fingerprint="0f3a")


@given(st.text(st.characters()))
def test_all_of_it_can_be_seen_and_what_can_be_seen_stays(text: str) -> None:
    shown = visible(text)
    assert not {unicodedata.category(letter) for letter in shown} & UNSEEN
    assert visible(shown) == shown
    shown.encode()
    assert len(shown) >= len(text)
    assert (shown == text) == (not {unicodedata.category(letter) for letter in text} & UNSEEN)


def test_each_is_named() -> None:
    assert visible(NASTY) == (r"\x1b[2J\x1b]0;owned\x07\r\n\x00\x7f\x85\x9b31m\u2028\u202e\u2066\ufeff\ud800\uffff")
    assert visible("a\nb\x1b", keep="\n") == "a\nb\\x1b"
    assert visible("Größe \u3000 λ 銀河 🌌") == "Größe \u3000 λ 銀河 🌌"
    assert visible("gal\udcff") == "gal\\xff"  # a file's name that is no UTF-8
    assert visible_values({"a\n": ["\x1b", 1, None, ("\r",)]}) == {"a\\n": ["\\x1b", 1, None, ("\\r",)]}


def test_a_result_is_visible_wherever_it_comes_from(tmp_path: Path) -> None:
    told = {"message": NASTY, "class_names": ["a", NASTY], "environment": {"host": NASTY, NASTY: "1"}, "started": NASTY}
    row = json.loads(json.dumps(TrialResult(spec=SPEC, status=FAILED).to_dict())) | told
    (tmp_path / FILE_NAME).write_text(json.dumps(row) + "\n")

    (result,) = read_results(tmp_path).results

    shown = visible(NASTY)
    assert (result.message, result.started, result.class_names) == (shown, shown, ("a", shown))
    assert result.environment == {"host": shown, shown: "1"}
    assert TrialResult(spec=SPEC, status=FAILED, message=NASTY).message == shown  # a worker's


def test_a_row_whose_spec_cannot_be_shown_is_left_out(tmp_path: Path) -> None:
    """Its id is the hash of those very letters."""
    row = TrialResult(
        spec=SPEC.replace(dataset=f"simulated{NASTY.encode(errors='ignore').decode()}"), status=FAILED
    ).to_dict()
    (tmp_path / FILE_NAME).write_text(json.dumps(row) + "\n")

    rows = read_results(tmp_path)

    assert rows.results == ()
    assert "dataset must be text that can be shown" in rows.problems[0]
    assert rows.problems[0].isprintable()


def test_a_traceback_keeps_its_lines(tmp_path: Path) -> None:
    report = tmp_path / "errors" / "0f3a.txt"
    report.parent.mkdir()
    report.symlink_to(tmp_path / "private")

    message = failure_message(RuntimeError(f"no column {NASTY}"), report)

    assert message.startswith("RuntimeError: no column")
    text = report.read_text()
    assert text.count("\n") > 1
    assert visible(text, keep="\n") == text
    assert not (tmp_path / "private").exists()


def test_an_error_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    def story() -> int:
        raise OSError(f"{NASTY} cannot be read: try another")

    assert run_command(story) == 2
    said = capsys.readouterr().err
    assert said == f"error: {visible(NASTY)} cannot be read: try another\n"


@pytest.mark.parametrize("is_terminal", [True, False])
def test_the_console_obeys_rich_alone(is_terminal: bool) -> None:
    file = io.StringIO()
    colours = "truecolor" if is_terminal else None
    console = Console(file=file, force_terminal=is_terminal, width=100, color_system=colours, highlight=False)
    table = Table("name")
    table.add_row(Text("[red]x\x1b[31m\u202e", style="bold"))
    console.print(table)
    console.print("a note \x1b]0;owned\x07", markup=False)

    said = file.getvalue()
    assert "[red]x\\x1b" in said  # cut to the width that a terminal would have given it
    assert "\x1b[31m" not in said
    assert "\x1b]0" not in said
    assert "a note \\x1b]0;owned" in said
    assert ("\x1b[1m" in said) == is_terminal  # rich's own
