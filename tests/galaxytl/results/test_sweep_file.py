from __future__ import annotations

from pathlib import Path

import pytest

from galaxytl.results.sweep_file import (
    FILE_NAME,
    Shard,
    ShardNumber,
    SweepFile,
    read_shards,
    read_sweep_file,
    unfinished_text,
    write_shard,
    write_sweep_file,
)
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


def test_a_shard_comes_back_and_what_is_none_is_left_out(tmp_path: Path) -> None:
    shards = [Shard(ShardNumber(of, 1), "lr", ("a", "b"), ("a",)) for of in (2, 10)]
    for shard in shards:
        write_shard(tmp_path, shard)
    for name, text in (("shard-2-of-2", "[]"), ("shard-3-of-10", '{"format": 2}'), ("shard-1-of-3", "")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "shard.json").write_text(text)
    assert sorted(read_shards(tmp_path), key=lambda shard: shard.which) == shards


def test_which_shards_are_not_finished() -> None:
    first, second = (Shard(ShardNumber(3, n), "lr", tuple("abcd"), (own,)) for n, own in ((1, "a"), (2, "b")))
    assert unfinished_text([first, second], "a") == "not finished: 2/3 (1 trial left); not begun: 3/3 (2 trials left)"
    assert unfinished_text([first, second], "abcd") == unfinished_text([], "") == ""
    third = Shard(ShardNumber(3, 3), "lr", tuple("abcd"), ("c",))
    assert unfinished_text([first, second, third], "abc") == "of no shard of 3 (1 trial left)"
