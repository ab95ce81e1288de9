"""Draw the diagrams of docs/architecture.md as SVG: the house of the code, and a trial's path.

    python docs/build_diagrams.py       # docs/house.svg and docs/trial-path.svg

The house is drawn from the tree on that page, so that folders and questions are written once. An SVG file is shown by
GitHub and by the site alike, and needs no script.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple
from xml.sax.saxutils import escape

DOCS: Final = Path(__file__).resolve().parent
WIDTH: Final = 790
COLUMN: Final = 250
GAP: Final = 20
INK: Final = "#1b2330"
PALE: Final = "#eef1fb"
EDGE: Final = "#3f51b5"
PACKAGES: Final = ("sweep", "galaxytl", "analysis")


class Step(NamedTuple):
    """One hop of a trial's path."""

    title: str
    file: str
    text: str
    hands_on: str


PATH: Final = (
    Step("1. Options", "sweep/run.py", "reads the command, and leads the results folder", "a grid or a search"),
    Step("2. Trials", "sweep/grids/axes.py", "expands the grid; a search asks for some trials at a time", "TrialSpecs"),
    Step("3. Plan", "sweep/planning/plan.py", "drops trials that have a row, groups the rest", "groups"),
    Step("4. Ray", "sweep/scheduling/worker.py", "gets a group on some node, and tells of its epochs", "one group"),
    Step("5. Training", "galaxytl/training.py", "trains the group, and keeps checkpoints", "TrialResults"),
    Step("6. Row", "sweep/results/folder.py", "appends one line to trials.jsonl for each trial", "rows"),
)


def folders(page: str) -> Iterator[tuple[str, str]]:
    """Yield each folder of the architecture page's tree and the question that it answers."""
    for line in re.sub(r"\n {20,}", " ", page.split("```\n")[1]).splitlines():
        path, _, text = line.partition(" ")
        if path.endswith("/") and path.split("/")[0] in PACKAGES:
            yield path.rstrip("/"), re.split(r"(?<=\?)|[.;:] ", text.strip())[0]


def words(x: float, y: float, text: str, style: str = "") -> str:
    """Return a line of text."""
    return f'<text x="{x:.0f}" y="{y:.0f}" {style}>{escape(text)}</text>'


def box(x: float, y: float, width: float, height: float, fill: str = PALE) -> str:
    """Return a rectangle."""
    place = f'x="{x:.0f}" y="{y:.0f}" width="{width:.0f}" height="{height:.0f}"'
    return f'<rect {place} rx="6" fill="{fill}" stroke="{EDGE}"/>'


def arrow(start: tuple[float, float], end: tuple[float, float], style: str = "") -> str:
    """Return a line with a head at its end."""
    (x1, y1), (x2, y2) = start, end
    return f'<path d="M{x1:.0f} {y1:.0f} L{x2:.0f} {y2:.0f}" stroke="{EDGE}" marker-end="url(#tip)" {style}/>'


def drawing(height: float, title: str, parts: Sequence[str]) -> str:
    """Return an SVG file."""
    size = f'width="{WIDTH}" height="{height:.0f}" viewBox="0 0 {WIDTH} {height:.0f}"'
    start = f'<svg xmlns="http://www.w3.org/2000/svg" role="img" {size}'
    tip = '<marker id="tip" markerWidth="9" markerHeight="9" refX="8" refY="4" orient="auto">'
    return "\n".join(
        [
            f'{start} font-family="sans-serif" font-size="14" fill="{INK}">',
            f"<title>{escape(title)}</title>",
            f'<defs>{tip}<path d="M0 0 L9 4 L0 8 z" fill="{EDGE}"/></marker></defs>',
            f'<rect width="{WIDTH}" height="{height:.0f}" fill="white"/>',
            *parts,
            "</svg>\n",
        ]
    )


def column(x: float, rooms: Sequence[tuple[str, str]]) -> tuple[float, list[str]]:
    """Return where a package ends, and its parts: its folders below each other, each with its question."""
    parts, y = [], 46.0
    for path, question in rooms:
        size, name = (12, path.partition("/")[2]) if "/" in path else (18, path)
        parts.append(words(x + 12, y, f"{name}/", f'font-family="monospace" font-weight="bold" font-size="{size}"'))
        lines = textwrap.wrap(question, 34)
        parts += [words(x + 12, y + 16 + 15 * i, line, 'font-size="12"') for i, line in enumerate(lines)]
        y += 23 + 15 * len(lines)
    return y, parts


def house(page: str) -> str:
    """Return the picture of the packages and their folders."""
    rooms = list(folders(page))
    columns = {name: [room for room in rooms if room[0].split("/")[0] == name] for name in PACKAGES}
    drawn = [column(number * (COLUMN + GAP), own) for number, own in enumerate(columns.values())]
    height = max(end for end, _ in drawn) - 30
    parts = [box(number * (COLUMN + GAP), 20, COLUMN, height) for number in range(len(drawn))]
    parts += [part for _, own in drawn for part in own]
    middle = COLUMN + GAP
    parts += [arrow((COLUMN, 40), (middle, 40)), arrow((2 * middle, 40), (2 * middle - GAP, 40))]
    below = height + 20
    parts += [
        box(middle, below + 50, COLUMN, 44, "white"),
        words(middle + 12, below + 77, "results folder: a row for each trial", 'font-size="13"'),
        arrow((COLUMN / 2, below), (middle, below + 66), 'stroke-dasharray="5 4"'),
        words(0, below + 60, "the driver writes rows", 'font-size="12"'),
        arrow((middle + COLUMN, below + 66), (2 * middle + COLUMN / 2, below), 'stroke-dasharray="5 4"'),
        words(2 * middle + 110, below + 60, "a report reads rows", 'font-size="12"'),
        words(0, below + 115, "Solid arrow: imports. Dotted arrow: where results go.", 'font-size="12"'),
    ]
    return drawing(below + 125, "The folders of the three packages", parts)


def path_of_a_trial() -> str:
    """Return the picture of the six hops, three in a line."""
    parts: list[str] = []
    for number, step in enumerate(PATH):
        x, y = number % 3 * (COLUMN + GAP), 20 + number // 3 * 190
        parts += [
            box(x, y, COLUMN, 116),
            words(x + 12, y + 26, step.title, 'font-weight="bold" font-size="16"'),
            words(x + 12, y + 48, step.file, 'font-family="monospace" font-size="12"'),
            *(
                words(x + 12, y + 70 + 17 * i, line, 'font-size="13"')
                for i, line in enumerate(textwrap.wrap(step.text, 34))
            ),
            words(x + 12, y + 134, f"hands on: {step.hands_on}", 'font-style="italic" font-size="13"'),
        ]
        if number % 3 < 2:
            parts.append(arrow((x + COLUMN, y + 58), (x + COLUMN + GAP, y + 58)))
    first, last = COLUMN / 2, 2 * (COLUMN + GAP) + COLUMN / 2
    back = f"M{last + 110:.0f} 136 V180 H{first:.0f} V206"
    note = "The same command again reads the rows first, and trains what has none. Reports read the rows alone."
    parts += [
        f'<path d="{back}" fill="none" stroke="{EDGE}" marker-end="url(#tip)"/>',
        words(0, 385, note, 'font-size="13"'),
    ]
    return drawing(400, "A trial's path, from the command to its row", parts)


def pictures() -> dict[str, str]:
    """Return the text of each file in docs/."""
    page = (DOCS / "architecture.md").read_text()
    return {"house.svg": house(page), "trial-path.svg": path_of_a_trial()}


if __name__ == "__main__":
    for name, text in pictures().items():
        (DOCS / name).write_text(text)
        print(DOCS / name)
