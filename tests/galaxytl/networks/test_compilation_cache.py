"""What JAX has compiled is there for the next process, changes no digit, and is nobody else's; a cache that is damaged,
or cannot be used, is done without."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from subprocess import PIPE
from typing import Any

import pytest

from galaxytl.networks import compilation_cache
from galaxytl.system import process
from tests.architecture import ROOT

TRAINED = """
import json, sys
from pathlib import Path
import pytest
from tests.galaxytl import toy, trials
toy.register(pytest.MonkeyPatch())
data, out = map(Path, sys.argv[1:])
result = trials.run(trials.tiny_spec(data).replace(unfrozen_blocks=1), data, out)
print(json.dumps([result.message, result.metrics, [epoch["loss"] for epoch in result.history]]))
"""


def test_the_folder_is_ones_own_and_one_for_each_kind_of_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GALAXYTL_CACHE_DIR", str(tmp_path))
    folder = compilation_cache.own_folder()
    assert folder
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert compilation_cache.own_folder() == folder
    monkeypatch.setattr(process, "usable_cpus", lambda: 99)
    assert compilation_cache.own_folder() != folder
    monkeypatch.setenv("GALAXYTL_CACHE_DIR", str(folder / ".used"))  # no folder
    assert compilation_cache.own_folder() is None


def test_what_was_written_by_half_goes_and_what_is_whole_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GALAXYTL_CACHE_DIR", str(tmp_path))
    folder = compilation_cache.own_folder()
    assert folder
    for name in ("jit_step-1-cache", "jit_step-1-atime", "jit_step-2-cache"):
        (folder / name).write_bytes(b"x")
    assert compilation_cache.own_folder() == folder
    assert sorted(path.name for path in folder.glob("jit*")) == ["jit_step-1-atime", "jit_step-1-cache"]


@pytest.mark.rest
@pytest.mark.skipif(not find_spec("jax"), reason="jax is not installed")
def test_a_later_process_reads_what_was_compiled_and_comes_to_the_same_digits(
    galaxies_file: Path, tmp_path: Path
) -> None:
    """In processes of their own, which is what it is about: two at once find nothing there, the next one all of it, and
    the last one damaged files, of which JAX warns."""

    def started(number: int, **variables: str) -> subprocess.Popen[str]:
        cache = {"GALAXYTL_CACHE_DIR": str(tmp_path / "cache"), "JAX_ENABLE_COMPILATION_CACHE": "1"}
        command = [sys.executable, "-c", TRAINED, galaxies_file, tmp_path / str(number)]
        environment = {**os.environ, **cache, "KERAS_BACKEND": "jax", **variables}
        return subprocess.Popen(command, cwd=ROOT, env=environment, text=True, stdout=PIPE, stderr=PIPE)

    def ended(process: subprocess.Popen[str]) -> tuple[Any, str]:
        said, warned = process.communicate()
        assert process.returncode == 0, warned
        return json.loads(said.splitlines()[-1]), warned

    def found(pattern: str) -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in (tmp_path / "cache" / "compiled").glob(f"*/{pattern}")}

    without, _ = ended(started(0, JAX_ENABLE_COMPILATION_CACHE="0"))
    assert not found("*-cache")
    (first, warned), (twin, warned_too) = [ended(process) for process in [started(1), started(2)]]
    assert "compilation cache" not in warned + warned_too
    compiled, used = found("*-cache"), found("*-atime")
    assert any(path.name.startswith("jit_train_step") for path in compiled)
    later, warned = ended(started(3))
    assert "compilation cache" not in warned
    assert found("*-cache") == compiled
    assert all(content != used[path] for path, content in found("*-atime").items())
    for path, content in compiled.items():
        path.write_bytes(content[: len(content) // 2])
    last, warned = ended(started(4))
    assert "Error reading persistent compilation cache entry" in warned
    assert without == first == twin == later == last
    assert first[0] == ""
