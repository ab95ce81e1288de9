"""Rich's console, with the texts of others."""

from __future__ import annotations

import io

from rich.table import Table

from galaxytl.system.console import Console


def test_a_terminal_obeys_no_text_and_shows_no_password() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=80, color_system=None)
    table = Table("place")
    table.add_row("s3://me:s3cr3t-word@bucket/a\x1b]0;title\x07")
    console.print(table)
    console.print("https://me:s3cr3t-word@host/b", markup=False)
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    assert "s3cr3t-word" not in printed
    assert "s3://***@bucket/a" in printed or "s3://me:***@bucket/a" in printed
    assert "\x07" not in printed
