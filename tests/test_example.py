"""docs/example.ipynb runs from its first cell to its last, as a person would run it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "docs" / "example.ipynb"


def code_of(notebook: dict[str, Any]) -> str:
    """Its code cells, one after the other; the value at a cell's end is what a notebook would show."""
    return "\n\n".join("".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code")


def test_it_is_plain_python() -> None:
    """So that no Jupyter is needed to run it: no magic, and no call of a shell."""
    code = code_of(json.loads(NOTEBOOK.read_text()))
    compile(code, str(NOTEBOOK), "exec")
    assert [line for line in code.splitlines() if line.lstrip().startswith(("%", "!"))] == []
    assert [name for name in ("open_dataset(", "run_grid(", "load_results(", "classify(") if name not in code] == []


@pytest.mark.rest
@pytest.mark.alone
def test_it_runs(tmp_path: Path) -> None:
    """In one process of its own. Ray, which `run_grid` starts, is what it is about."""
    script = tmp_path / "example.py"
    script.write_text(
        code_of(json.loads(NOTEBOOK.read_text())) + "\n\nprint(trials.status.tolist(), figure.axes, len(classes))\n"
    )
    own = {**os.environ, "PYTHONPATH": str(ROOT), "MPLBACKEND": "agg"}
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, check=False, cwd=tmp_path, env=own, timeout=550
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "200 simulated galaxies, not real ones of 10 classes: " in done.stdout
    assert "COMPLETE accuracy 0." in done.stdout
    assert f"{['COMPLETE'] * 8}" in done.stdout
    assert (tmp_path / "example-results" / "learning-rates.png").stat().st_size > 1000
