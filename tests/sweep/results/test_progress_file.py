"""What a driver says comes through the file, and what is damaged, of another version or a stranger's is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sweep.results.progress_file import FILE_NAME, ProgressError, read_progress, write_progress
from tests.sweep.status.folders import progress, running, spec


def content(folder: Path) -> bytes:
    return (folder / FILE_NAME).read_bytes()


def test_words_survive_their_way_through_the_file(tmp_path: Path) -> None:
    for words in (
        progress(num_running=1, running=(running(spec(3), loss=0.5),), note="said", others={"FAILED": 2}),
        progress(estimate=None, begun=None, end="stopped", kind="search", scored_on="validation"),
    ):
        write_progress(tmp_path, words)
        assert read_progress(content(tmp_path)) == words


def test_a_key_of_a_later_version_is_no_damage_and_a_terminal_obeys_none(tmp_path: Path) -> None:
    write_progress(tmp_path, progress(note="\x1b[2Jerased"))
    values = {**json.loads(content(tmp_path)), "colour": "red"}
    assert read_progress(json.dumps(values).encode()).note == "\\x1b[2Jerased"


@pytest.mark.parametrize(
    ("name", "value"),
    [("format", 2), ("kind", "party"), ("end", "soon"), ("total", "many"), ("others", []), ("estimate", [1.0])],
)
def test_what_is_none_of_ours_is_refused(tmp_path: Path, name: str, value: object) -> None:
    write_progress(tmp_path, progress())
    values = {**json.loads(content(tmp_path)), name: value}
    with pytest.raises(ProgressError):
        read_progress(json.dumps(values).encode())
    with pytest.raises(ProgressError):
        read_progress(content(tmp_path)[:100])
