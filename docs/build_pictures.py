"""Make the screenshots of docs/ anew, by Chromium: of a sweep's status page, and of its report.

make pictures OUT=results/lr REPORT=report
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from PIL import Image

DOCS: Final = Path(__file__).resolve().parent
BROWSERS: Final = ("chromium", "chromium-browser", "google-chrome")
COLOURS: Final = 64
"""Of a picture: a page has few, and a palette makes its file small."""


def shoot(page: Path, picture: Path, width: int, height: int) -> None:
    """Write what a browser of this size shows of a page."""
    browser = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if browser is None:
        sys.exit(f"error: one of {', '.join(BROWSERS)} must be installed; none is")
    with tempfile.TemporaryDirectory() as folder:
        shot = Path(folder) / "shot.png"
        size = (f"--window-size={width},{height}", f"--screenshot={shot}", f"--user-data-dir={folder}/profile")
        words = [browser, "--headless", "--no-sandbox", "--hide-scrollbars", *size, page.resolve().as_uri()]
        subprocess.run(words, check=True, capture_output=True, timeout=120)
        with Image.open(shot) as image:
            image.convert("RGB").quantize(COLOURS).save(picture, optimize=True)
    print(f"{picture}: {picture.stat().st_size / 1e3:.0f} kB")


def main(results: str, report: str) -> None:
    """Show a sweep, and its report."""
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "status.html"
        subprocess.run([sys.executable, "-m", "sweep.status", results, "--html", page], check=True, capture_output=True)
        shoot(page, DOCS / "status-page.png", 1200, 620)
    shoot(Path(report) / "index.html", DOCS / "report-page.png", 1100, 1000)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(
            "error: two folders are needed, of a sweep's results and of its report: make pictures OUT=... REPORT=..."
        )
    main(*sys.argv[1:])
