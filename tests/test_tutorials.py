"""The notebooks of docs/tutorials run from the first cell to the last, and show what their text says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from tests.notebooks import shown, sources
from tests.test_docs_commands import words_of, wrong

ROOT = Path(__file__).parents[1]
TUTORIALS = ROOT / "docs" / "tutorials"


def run(name: str, home: Path) -> list[str]:
    """Run a notebook in an empty folder, in a process of its own, as Ray and Keras start in it; the text of its cells.

    No ImageNet weights are found: they would be fetched.
    """
    weights = home / "no-weights"
    weights.mkdir()
    own = {**os.environ, "PYTHONPATH": str(ROOT), "GALAXYTL_WEIGHTS_DIR": str(weights), "COLUMNS": "100"}
    words = [sys.executable, "-m", "tests.notebooks", TUTORIALS / name, "shown"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=home, env=own, timeout=550)
    assert done.returncode == 0, done.stderr[-2000:]
    return list(json.loads((home / "shown" / "cells.json").read_text()))


@pytest.mark.parametrize("notebook", sorted(TUTORIALS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_it_is_plain_python_without_outputs(notebook: Path) -> None:
    """So that no Jupyter is needed to run it, and that a change is read as one."""
    cells = json.loads(notebook.read_text())["cells"]
    assert [cell["id"] for cell in cells if cell.get("outputs")] == []
    for source in sources(notebook):
        compile(source, str(notebook), "exec")
        assert [line for line in source.splitlines() if line.lstrip().startswith(("%", "!"))] == []
    texts = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"]
    typed = [words for text in texts for line in text.splitlines() for words in words_of(line)]
    assert [fault for words in typed if (fault := wrong(words))] == []


def test_a_cell_shows_what_it_prints_and_its_last_value() -> None:
    names: dict[str, object] = {}
    assert shown("a = 2\nprint(a)\na + 1", names) == "2\n3\n"
    assert shown("a + 1;", names) == ""
    with pytest.raises(NameError):
        shown("b", names)


@pytest.mark.rest
@pytest.mark.alone
def test_the_paper_on_the_laptop(tmp_path: Path) -> None:
    cells = run("paper.ipynb", tmp_path)
    rows = cells[2]
    assert rows.count("COMPLETE") == 6
    assert rows.count("imagenet") == 3  # asked for; none was found, and the other column says so
    assert "SIMULATED galaxies" in cells[3]
    assert "random (ImageNet weights not found)" in cells[3]
    assert "guessing: 0.1" in cells[6]
    assert "of 60 images" in cells[6]
    assert (tmp_path / "paper-report" / "index.html").is_file()
    assert len(list((tmp_path / "shown").glob("*.png"))) == 2


@pytest.mark.rest
@pytest.mark.alone
def test_own_images_to_a_classified_galaxy(tmp_path: Path) -> None:
    cells = run("own-images.ipynb", tmp_path)
    assert "fine: nothing is wrong with it" in cells[2]
    assert (tmp_path / "own-report" / "index.html").is_file()
    classes = pd.read_csv(tmp_path / "classes.csv")
    assert len(classes) == 12
    drawn = classes.file.map(lambda file: Path(file).parent.name)
    assert (drawn == classes.name).sum() >= 6  # of 12, where guessing has 3: it has learned something
    assert (tmp_path / "classified.png").stat().st_size > 10_000
    assert len(list((tmp_path / "shown").glob("*.png"))) == 3
