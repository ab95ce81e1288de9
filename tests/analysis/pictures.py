"""Reports whose figures are composed as ever, but saved blank: saving is nine tenths of a report's seconds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from matplotlib.figure import Figure


def save_blank(_: Figure, stem: Path) -> tuple[Path, Path]:
    """In place of `analysis.style.save`, which test_figures.py and test_page_browser.py see at work."""
    png, svg = stem.with_suffix(".png"), stem.with_suffix(".svg")
    png.write_bytes(b"\x89PNG")
    svg.write_text("<svg></svg>")
    return png, svg


@contextmanager
def blank_pictures() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("analysis.figures.save", save_blank)
        yield
