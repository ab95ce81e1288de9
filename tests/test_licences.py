"""Everything that is installed is locked with its hashes, and its licence is listed."""

from __future__ import annotations

import re
import tomllib
from email.message import Message

import pytest

from tests import licences
from tests.licences import LOCKS, ROOT, licence_of, page, pinned


def required(extra: str = "") -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    texts = project["optional-dependencies"][extra] if extra else project["dependencies"]
    return {normal(re.split(r"[\[<>=~! ]", text)[0]) for text in texts}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_has_what_is_required_each_with_hashes_and_names_no_index(lock: str) -> None:
    text = (ROOT / lock).read_text()
    names = {normal(name) for name in pinned(text)}
    assert required() | required("dev" if lock == LOCKS[0] else "gpu") <= names | {"galaxytl"}
    assert {"setuptools", "wheel"} <= names  # with which the project itself is built
    blocks = re.split(r"\n(?=\S)", text.strip())
    assert len(blocks) >= len(names)
    assert [
        block for block in blocks if not re.match(r"\S+==\S+ .*\\(\n    --hash=sha256:[0-9a-f]{64}( \\)?)+$", block)
    ] == []
    assert "://" not in text
    assert "index" not in re.sub(r"^[\w.-]+==", "", text, flags=re.MULTILINE)


def test_the_gpus_lock_has_the_same_versions() -> None:
    usual, gpu = (pinned((ROOT / lock).read_text()) for lock in LOCKS)
    assert {name: (usual[name], gpu[name]) for name in usual.keys() & gpu.keys() if usual[name] != gpu[name]} == {}
    assert any(name.startswith("nvidia-") for name in gpu)


def test_everything_locked_is_listed_with_its_licence() -> None:
    listed = dict(re.findall(r"^\| (\S+) \| (.+?) \| .+ \|$", licences.PAGE.read_text(), re.MULTILINE))
    locked = pinned((ROOT / LOCKS[1]).read_text()) | pinned((ROOT / LOCKS[0]).read_text())
    assert locked.items() <= listed.items(), "make licences"
    assert required() <= {normal(name) for name in listed}


def test_copyleft_is_flagged() -> None:
    text = page({"a": ("1", "MIT"), "b": ("2", "GPL-3.0-or-later"), "c": ("3", "Mozilla Public License 2.0 (MPL 2.0)")})
    assert "**Copyleft**, in whole or in part: b (GPL-3.0-or-later), c (Mozilla" in text
    assert "a (MIT)" not in text
    assert "| a | 1 | MIT |" in text
    said = Message()
    assert licence_of(said) == "not said"
    said["License"] = "Copyright (c) 2015\nmore"
    assert licence_of(said) == "Copyright (c) 2015"
    said["Classifier"] = "License :: OSI Approved :: BSD License"
    assert licence_of(said) == "BSD License"
    said["License-Expression"] = "BSD-3-Clause"
    assert licence_of(said) == "BSD-3-Clause"
