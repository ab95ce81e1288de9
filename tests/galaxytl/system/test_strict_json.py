"""Damaged JSON, wherever the project keeps some: refused in a sentence, or made anew."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from galaxytl.data import DataError
from galaxytl.data.files.classes import in_parquet
from galaxytl.data.files.manifest import read_manifest
from galaxytl.data.simulation.stored import is_complete
from galaxytl.networks import blocks, device
from galaxytl.results.checkpoints import load_checkpoint, num_epochs
from galaxytl.results.search.search_file import SearchFileError, read_search_file
from galaxytl.system.cache import SEAL, is_intact
from galaxytl.system.locations import locate
from galaxytl.system.strict_json import LARGEST, MOST_BRACKETS, JsonError, check_depth, read_json
from sweep.planning import speeds

DAMAGE = {
    "nested": b"[" * 100_000,
    "nested objects": b'{"a":' * 100_000,
    "NaN": b'{"format": 2, "devices": {"cpu": {"step": [NaN, 1.0]}}}',
    "Infinity": b"-Infinity",
    "a number of 5,000 digits": b"9" * 5000,
    "NULs": bytes(4096),
    "Latin-1": b'"\xe9"',
    "half": b'{"format": 1, "x',
    "two": b"{}{}",
    "nothing": b"",
}
OTHER = {
    "a list": b"[1]",
    "a text": b'"x"',
    "null": b"null",
    "wrong types": b'{"format": [], "devices": 3, "rows": {}}',
}


@pytest.mark.parametrize("text", DAMAGE.values(), ids=DAMAGE)
def test_what_is_no_strict_json_is_refused(text: bytes) -> None:
    with pytest.raises(JsonError, match=r"^must be JSON.*") as caught:
        read_json(text)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 300


def test_what_json_allows_is_read() -> None:
    values = {"a": [1, 2.5, None, True, "é\n\u2028"], "b": {"c": {}}, "d": "\U0001f30c"}
    for text in (json.dumps(values), json.dumps(values, ensure_ascii=False, indent=1), "\ufeff" + json.dumps(values)):
        assert read_json(text.encode()) == values
    assert read_json(b'["\\ud800", {"\\udfff": "\\ud83c\\udf0c"}]') == ["\\ud800", {"\\udfff": "\U0001f30c"}]
    assert read_json(b"[" * 500 + b"]" * 500)
    with pytest.raises(JsonError, match="at most 32 lists and objects inside each other"):
        check_depth(read_json(b"[" * 500 + b"]" * 500))


def test_a_text_is_refused_before_it_takes_memory() -> None:
    for text in (b" " * (LARGEST + 1), b"[" + b"{}," * MOST_BRACKETS):
        with pytest.raises(JsonError, match="at most"):
            read_json(text)


def _checkpoint(text: bytes) -> bytes:
    content = io.BytesIO()
    np.savez(content, history=np.frombuffer(text, np.uint8))
    return content.getvalue()


def _refuses(error: type[Exception], read: Callable[[], object]) -> bool:
    with pytest.raises(error):
        read()
    return True


def _loaded(folder: Path, text: bytes) -> bool:
    (folder / "x.npz").write_bytes(_checkpoint(text))
    return load_checkpoint(folder / "x.npz", {}) == ({}, [])


READERS: dict[str, tuple[str, Callable[[Path, bytes], bool]]] = {
    "speeds": ("speeds.json", lambda folder, _: speeds._read(folder / "speeds.json") == {}),
    "structure": ("x.json", lambda folder, _: blocks._read(folder / "x.json") is None),
    "seal": (SEAL, lambda folder, _: not is_intact(folder)),
    "simulated galaxies": ("manifest.json", lambda folder, _: not is_complete(folder, 3, 0)),
    "manifest": ("manifest.json", lambda folder, _: _refuses(DataError, lambda: read_manifest(locate(str(folder))))),
    "search.json": ("search.json", lambda folder, _: _refuses(SearchFileError, lambda: read_search_file(folder))),
    "checkpoint": ("x", _loaded),
    "checkpoint at a storage": ("x", lambda _, text: num_epochs(_checkpoint(text)) == 0),
    "keras.json": ("keras.json", lambda folder, _: device.backend() == "tensorflow"),
    "class names of Parquet": ("x", lambda _, text: in_parquet({b"huggingface": text}) == []),
}


@pytest.mark.parametrize("reader", READERS)
def test_no_reader_ends_in_a_traceback(reader: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    file, is_refused = READERS[reader]
    for what, text in {**DAMAGE, **OTHER}.items():
        (tmp_path / file).write_bytes(text)
        assert is_refused(tmp_path, text), what
