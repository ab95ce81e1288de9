from __future__ import annotations

from pathlib import Path

import pytest

from galaxytl.results.sweep_file import FILE_NAME, SweepFile, read_sweep_file, write_sweep_file
from galaxytl.trial.reading import Reading


def test_where_data_and_weights_are_comes_back_without_passwords(tmp_path: Path) -> None:
    settings = SweepFile("s3://me:geheim@bucket/galaxies.h5", "/weights", Reading(label_columns=("a", "b")))
    write_sweep_file(tmp_path, settings)
    found = read_sweep_file(tmp_path)
    assert found
    assert (found.weights_dir, found.reading) == (settings.weights_dir, settings.reading)
    assert "geheim" not in (tmp_path / FILE_NAME).read_text()


@pytest.mark.parametrize(
    "text", ["", "{}", '{"format": 2}', '{"format": 1, "data": "x", "weights_dir": "", "reading": {"a": 1}}']
)
def test_what_cannot_be_known_is_none(tmp_path: Path, text: str) -> None:
    assert read_sweep_file(tmp_path) is None
    (tmp_path / FILE_NAME).write_text(text)
    assert read_sweep_file(tmp_path) is None
