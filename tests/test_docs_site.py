"""The pages as a site, and whether docs/troubleshooting.md knows every kind of error and every way to fail."""

from __future__ import annotations

import importlib.util
import io
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from rich.console import Console

from galaxytl.learning.job import Diverged
from galaxytl.learning.outcome import failure_message
from sweep.grids.axes import describe
from sweep.grids.builtin import GRIDS
from sweep.planning.table import plan_table
from sweep.scheduling.worker_deaths import RAISED, death_message
from sweep.search.stopping import SCHEDULERS
from tests.sweep.fakes import toy_plan, toy_spec
from tests.test_docs import ROOT
from tests.test_docs_commands import blocks

TROUBLE = (ROOT / "docs" / "troubleshooting.md").read_text()
INTERNAL = {"NulsError"}
"""Errors that no user sees: they are caught, and said in other words."""


def program(name: str) -> ModuleType:
    """Return a program of docs/ as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def pages() -> ModuleType:
    return program("build_pages")


def test_every_kind_of_error_is_explained() -> None:
    files = [path for package in ("galaxytl", "sweep", "analysis") for path in (ROOT / package).rglob("*.py")]
    found = {name for file in files for name in re.findall(r"^class ([A-Z]\w*)\(\w*Error\)", file.read_text(), re.M)}
    explained = set(re.findall(r"`([A-Z]\w+)`", TROUBLE))
    assert len(found) > 30
    assert {name for name in found if name not in INTERNAL | {"Diverged"}} - explained == set()


def test_every_way_in_which_a_trial_fails_is_explained(tmp_path: Path) -> None:
    """By the headings: a message without its numbers begins with the words of one."""
    report = tmp_path / "errors" / "0f3a.txt"
    said = [
        failure_message(MemoryError("OOM when allocating"), report),
        failure_message(Diverged("the loss became nan in epoch 3/20"), report),
        failure_message(Diverged("the logits are not finite after the last epoch"), report),
        death_message("Task was killed: OutOfMemory"),
        death_message("the actor died"),
        death_message(f"{RAISED} OSError: no room"),
    ]
    headings = [
        code.split("...")
        for line in re.findall(r"^### (.+)$", TROUBLE, re.M)
        for code in re.findall(r"`([^`]+)`", line)
    ]
    for message in said:
        assert any(all(part.strip() in message for part in parts) for parts in headings), message
    assert "traceback: errors/0f3a.txt" in failure_message(RuntimeError("what?"), report)
    assert "`SomethingError: ... (traceback: errors/....txt)`" in TROUBLE


def test_every_way_in_which_a_search_stops_a_trial_is_explained() -> None:
    begins = ["collapsed: one class whatever the image"] + [f"{name}: " for name in SCHEDULERS if name != "none"]
    assert [text for text in begins if f"| `{text}" not in TROUBLE] == []


def test_costs_are_those_of_the_grids() -> None:
    table = (ROOT / "docs" / "costs.md").read_text()
    for name, make in GRIDS.items():
        trials = re.findall(r"(?:laptop|paper) profile: (\d+) trials a seed", make.__doc__ or "")
        row = re.search(rf"^\| `{name}` \| (\d+) \|[^|]+\| (\d+) \|", table, re.MULTILINE)
        assert row, name
        assert list(row.groups()) == trials, name


def test_messages_are_collected_from_the_code(pages: ModuleType) -> None:
    texts = {text: (file, kind) for file, kind, text in pages.messages()}
    assert len(texts) > 400
    assert texts["--folds says how large the test part is: leave out --set test_fraction"] == (
        "sweep/command_line.py",
        "UsageError",
    )
    assert any(text.startswith("a trial must fit on one node, and they have {...}") for text in texts)


def test_commands_are_what_help_prints(pages: ModuleType) -> None:
    assert "--trials-per-gpu N" in pages.commands_page()
    assert "label_smoothing = 0.0" in pages.fields_page()
    assert "## vgg-collapse" in pages.grids_page()


def test_the_diagrams_show_the_code_as_it_is() -> None:
    """If not: python docs/build_diagrams.py"""
    diagrams = program("build_diagrams")
    assert [name for name, text in diagrams.pictures().items() if (ROOT / "docs" / name).read_text() != text] == []
    assert [step.file for step in diagrams.PATH if not (ROOT / step.file).is_file()] == []


def test_the_plan_of_the_page_is_what_a_dry_run_prints() -> None:
    """Its axes, and the headings of its tables; times and sizes are of the machine that printed it."""
    (shown,) = blocks((ROOT / "docs" / "grids.md").read_text(), "text")
    unfrozen = [toy_spec(unfrozen_blocks=depth) for depth in (0, "all")]
    printed = io.StringIO()
    Console(file=printed, width=80).print(plan_table(toy_plan(unfrozen)))
    axes = describe(GRIDS["paper"]("laptop"))
    headings = [line for line in printed.getvalue().splitlines() if "multiply" in line or "backbone" in line]
    assert len(headings) == 4
    assert [line for line in axes if line.strip() not in shown] == []
    assert [text for text in headings if text.split() not in [line.split() for line in shown.splitlines()]] == []


@pytest.mark.rest
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    """Every link, anchor and page of the navigation is there, and nothing is fetched from elsewhere."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    page = (tmp_path / "site" / "reference" / "commands.html").read_text()
    assert "python -m sweep.run" in page
    assert re.findall(r"(?:src|href)=\"(https?://[^\"]+\.(?:js|css|woff2?)[^\"]*|https://unpkg[^\"]*)\"", page) == []
