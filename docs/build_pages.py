"""Pages that are made from the code when the site is built: the hook that mkdocs.yml names.

    make docs        # build/site/index.html, which opens from the disk

Each command's --help, the fields of a trial, the built-in grids, every message of an error, the names for programs,
and the notebooks.
"""

from __future__ import annotations

import ast
import contextlib
import importlib
import inspect
import io
import json
import os
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[1]
PACKAGES: Final = ("galaxytl", "sweep", "analysis")
COMMANDS: Final = {
    "sweep.run": "sweep.run",
    "sweep.status": "sweep.status.__main__",
    "sweep.export": "sweep.export.__main__",
    "sweep.doctor": "sweep.doctor.__main__",
    "galaxytl.data check": "galaxytl.data.__main__",
    "galaxytl.data fetch": "galaxytl.data.__main__",
    "galaxytl.data convert": "galaxytl.data.__main__",
    "galaxytl.data sheet": "galaxytl.data.__main__",
    "galaxytl.classify": "galaxytl.classify.__main__",
    "analysis.run": "analysis.run.__main__",
    "analysis.audit": "analysis.audit",
}
"""What follows `python -m`, and the module whose `main` it is."""
NAMES: Final = {
    "Sweeps": ("sweep.api.run_grid", "sweep.api.run_search", "sweep.api.GridKeywords", "sweep.api.SearchKeywords"),
    "Results": ("galaxytl.results.frame.load_results", "galaxytl.results.frame.load_curves"),
    "Data": ("galaxytl.data.dataset.open_dataset", "galaxytl.trial.reading.Reading"),
    "One trial": (
        "galaxytl.trial.TrialSpec",
        "galaxytl.trial.TrialResult",
        "galaxytl.training.train",
        "galaxytl.learning.job.Group",
        "galaxytl.learning.job.Workplace",
    ),
}
"""The names of docs/api.md, where they are defined."""


def help_of(command: str, *words: str) -> str:
    """Return what a command's --help prints on 100 columns."""
    _, *sub = command.split()
    printed = io.StringIO()
    width, os.environ["COLUMNS"] = os.environ.get("COLUMNS"), "100"
    try:
        with contextlib.redirect_stdout(printed):
            importlib.import_module(COMMANDS[command]).main([*sub, *(words or ("--help",))])
    finally:
        os.environ.pop("COLUMNS")
        if width is not None:
            os.environ["COLUMNS"] = width
    return printed.getvalue()


def commands_page() -> str:
    """Return every command with its options."""
    blocks = [f"## python -m {name}\n\n```text\n{help_of(name)}```\n" for name in COMMANDS]
    return "\n".join(["# All commands and options\n", "Made from the code, by `--help` of each command.\n", *blocks])


def fields_page() -> str:
    """Return the fields of a trial."""
    text = help_of("sweep.run", "--help-fields")
    head = "# All fields of a trial\n\nMade from the code, by `python -m sweep.run --help-fields`.\n\n"
    return f"{head}```text\n{text}```\n"


def grids_page() -> str:
    """Return what the built-in grids are for and cost: the docstrings of sweep/grids/builtin.py."""
    grids = importlib.import_module("sweep.grids.builtin").GRIDS
    blocks = [f"## {name}\n\n```text\n{inspect.getdoc(make)}\n```\n" for name, make in grids.items()]
    return "\n".join(["# The built-in grids\n", "Made from the code, `sweep/grids/builtin.py`.\n", *blocks])


def python_page() -> str:
    """Return the names for programs, for mkdocstrings to fill in."""
    blocks = [f"## {title}\n\n" + "\n\n".join(f"::: {name}" for name in names) for title, names in NAMES.items()]
    return (
        "# Names for programs\n\nMade from the code. [From Python](../api.md) says how they are used.\n\n"
        + "\n\n".join(blocks)
    )


def messages() -> Iterator[tuple[str, str, str]]:
    """Yield (file, class of the error, text) of every error that the code raises; {...} is filled in when it is."""
    for file in sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and node.exc.args:
                text = " ".join(template(node.exc.args[0]).split())
                if " " in text:
                    yield str(file.relative_to(ROOT)), ast.unparse(node.exc.func).rpartition(".")[2], text


def template(node: ast.expr) -> str:
    """Return the text of an expression, with {...} where a value stands; "" where it is none."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(map(template, parts))
        case ast.FormattedValue():
            return "{...}"
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return template(left) + template(right)
        case ast.IfExp(body=first, orelse=second):
            return f"{template(first)} / {template(second)}"
    return ""


def messages_page() -> str:
    """Return every message, by the folder that it comes from."""
    by_folder: dict[str, list[str]] = defaultdict(list)
    for file, kind, text in messages():
        by_folder[file.rpartition("/")[0]].append(f"`{text.replace('`', chr(39))}` ({kind}, `{file}`)\n")
    parts = [f"## {folder}/\n\n" + "\n".join(lines) for folder, lines in by_folder.items()]
    return (
        "# All messages\n\nMade from the code: the text of every error that it raises. `{...}` stands for what is"
        " filled in. Messages say themselves what to do; [Troubleshooting](../troubleshooting.md) says more.\n\n"
        + "\n".join(parts)
    )


PAGES: Final[dict[str, Callable[[], str]]] = {
    "reference/commands.md": commands_page,
    "reference/fields.md": fields_page,
    "reference/grids.md": grids_page,
    "reference/messages.md": messages_page,
    "reference/python.md": python_page,
}


def notebook_page(notebook: Path) -> str:
    """Return a notebook as a page: its text, and its cells as Python."""
    cells = json.loads(notebook.read_text())["cells"]
    texts = ["".join(cell["source"]) for cell in cells]
    parts = [
        f"```python\n{text}\n```" if cell["cell_type"] == "code" else text
        for cell, text in zip(cells, texts, strict=True)
    ]
    return "\n\n".join([*parts, f"This page is the notebook `{notebook.relative_to(ROOT)}`.\n"])


def on_files(files: Any, config: Any) -> Any:
    """Add the pages; MkDocs calls this by its name."""
    from mkdocs.structure.files import File

    sys.path.insert(0, str(ROOT))
    for name, make in PAGES.items():
        files.append(File.generated(config, name, content=make()))
    for notebook in sorted((ROOT / "docs" / "tutorials").glob("*.ipynb")):
        files.append(File.generated(config, f"tutorials/{notebook.stem}.md", content=notebook_page(notebook)))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Lead a link to a notebook to its page; MkDocs calls this by its name."""
    return markdown.replace(".ipynb)", ".md)")
