"""The page of a status, as a file. How it looks is in `test_status.py`."""

from __future__ import annotations

from pathlib import Path

import pytest

from galaxytl.system.command import UsageError
from sweep.status.__main__ import parse
from sweep.status.page import MARK


def test_a_page_replaces_nothing_but_a_page_of_ours(tmp_path: Path) -> None:
    (tmp_path / "trials.jsonl").write_text('{"rows": "years of work"}')
    with pytest.raises(UsageError, match="--html replaces nothing but its own page"):
        parse([str(tmp_path), "--html", str(tmp_path / "trials.jsonl")])
    with pytest.raises(UsageError, match="in a folder that is there"):
        parse([str(tmp_path), "--html", str(tmp_path / "nowhere" / "page.html")])
    (tmp_path / "page.html").write_text(f"<html>{MARK}")
    assert parse([str(tmp_path), "--html", str(tmp_path / "page.html")]).html
