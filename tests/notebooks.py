"""Run a notebook without Jupyter, cell by cell, and keep what each one shows.

    python -m tests.notebooks docs/tutorials/paper.ipynb shown/

The notebook writes its files into the folder in which this is started. shown/cells.json has the text of each code cell,
shown/cell-02-1.png the first figure of the third.
"""

from __future__ import annotations

import ast
import contextlib
import io
import json
import sys
from pathlib import Path
from typing import Any


def sources(notebook: Path) -> list[str]:
    """Return its code cells."""
    cells = json.loads(notebook.read_text())["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def shown(source: str, names: dict[str, Any]) -> str:
    """Run a cell and return what it prints, and after that the value of its last line; ";" at its end hides that."""
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) and not source.rstrip().endswith(";") else None
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(tree, "cell", "exec"), names)
        value = eval(compile(ast.Expression(last.value), "cell", "eval"), names) if isinstance(last, ast.Expr) else None
    return printed.getvalue() + ("" if value is None else f"{value}\n")


def main(notebook: Path, folder: Path) -> None:
    import matplotlib as mpl
    import pandas as pd

    mpl.use("agg")
    import matplotlib.pyplot as plt

    pd.set_option("display.width", 160, "display.max_columns", 20)
    folder.mkdir(parents=True, exist_ok=True)
    names: dict[str, Any] = {"__name__": "__main__"}
    texts = []
    for number, source in enumerate(sources(notebook)):
        texts.append(shown(source, names))
        (folder / "cells.json").write_text(json.dumps(texts, indent=1))
        for figure in plt.get_fignums():
            plt.figure(figure).savefig(folder / f"cell-{number:02d}-{figure}.png", dpi=80)
        plt.close("all")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
