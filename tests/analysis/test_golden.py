"""The report of a tiny real sweep, as it was looked at and found right. After a change that is meant:

    python -m tests.analysis.test_golden          # writes golden/expected anew: read the difference

The rows in golden/sweep are of `python -m sweep.run --grid paper --out tests/analysis/golden/sweep --set num_epochs=2
--set max_images=100 --seeds 2`, without checkpoints, Ray's folder and thumbnails.
"""

from __future__ import annotations

import contextlib
import io
import shutil
import tempfile
from pathlib import Path

from analysis.run.__main__ import main
from tests.analysis.pictures import blank_pictures

GOLDEN = Path(__file__).parent / "golden"
EXPECTED = GOLDEN / "expected"
SUFFIXES = {".md", ".csv", ".tex", ".txt", ".yaml"}


def written(out: Path) -> dict[str, str]:
    """Name -> text of the report's tables and words, and what the terminal shows of them."""
    shown = io.StringIO()
    with contextlib.chdir(GOLDEN), contextlib.redirect_stdout(shown), contextlib.redirect_stderr(shown):
        assert main(["sweep", "--out", str(out)]) == 0
    files = {p.relative_to(out).as_posix(): p.read_text() for p in sorted(out.rglob("*")) if p.suffix in SUFFIXES}
    terminal = shown.getvalue().split("\nWritten:")[0] + "\n"
    texts = {"terminal.txt": terminal, **files}
    return {name: text.replace(str(out), "report") for name, text in texts.items()}


def test_the_report_is_as_it_was_found_right(tmp_path: Path) -> None:
    with blank_pictures():
        found = written(tmp_path / "report")
    expected = {p.relative_to(EXPECTED).as_posix(): p.read_text() for p in EXPECTED.rglob("*") if p.is_file()}

    assert found.keys() == expected.keys()
    for name, text in expected.items():
        assert found[name] == text, f"{name} has changed; if that is meant: python -m tests.analysis.test_golden"


def regenerate() -> None:
    shutil.rmtree(EXPECTED, ignore_errors=True)
    with tempfile.TemporaryDirectory() as folder, blank_pictures():
        for name, text in written(Path(folder) / "report").items():
            (EXPECTED / name).parent.mkdir(parents=True, exist_ok=True)
            (EXPECTED / name).write_text(text)


if __name__ == "__main__":
    regenerate()
