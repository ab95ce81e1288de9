from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from galaxytl.system.process import TAKEN_OUT, USERS, absolute, cpu_quota, settle, usable_cpus
from galaxytl.trial import TrialResult

ROOT = Path(__file__).parents[3]
CHANGING = {
    "JAX_DEFAULT_PRNG_IMPL": "rbg",
    "JAX_THREEFRY_PARTITIONABLE": "0",
    "KERAS_MAX_STEPS_PER_EPOCH": "1",
    "KERAS_NNX_ENABLED": "1",
    "ONEDNN_DEFAULT_FPMATH_MODE": "BF16",
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    "PYTHONWARNINGS": "error",
    "TF_DETERMINISTIC_OPS": "1",
    "TF_ENABLE_ONEDNN_OPTS": "0",
    "TF_FUNCTION_JIT_COMPILE_DEFAULT": "1",
    "TF_XLA_FLAGS": "--tf_xla_auto_jit=2 --tf_xla_cpu_global_jit",
    "XLA_FLAGS": "--xla_no_such_flag",
}
"""Each of them alone changes a digit, or ends a trial, with the backend that reads it."""
HARMLESS = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONHASHSEED": "7", "OMP_NUM_THREADS": "1", "TZ": "Asia/Kathmandu"}
SETTINGS = {"floatx": "float16", "epsilon": 0.1, "image_data_format": "channels_first", "nnx_enabled": True}
TRAINED_ELSEWHERE = """
import functools, json, sys
from pathlib import Path
import pytest
from tests.galaxytl import toy, trials
with pytest.MonkeyPatch.context() as patch:
    register = functools.cache(lambda: toy.register(patch))  # imports Keras: when `train` has
    data, out, depth = sys.argv[1:]
    spec = trials.tiny_spec(Path(data)).replace(unfrozen_blocks=json.loads(depth))
    result = trials.run(spec, Path(data), Path(out), watcher=trials.watching(phase=lambda ids, text: register()))
    print(json.dumps(result.to_dict()))
"""


@pytest.mark.rest
def test_what_other_programs_left_changes_no_digit_of_a_trial(galaxies_file: Path, tmp_path: Path) -> None:
    """In processes of their own, because libraries read variables when they are loaded."""

    def trained(folder: Path, variables: Mapping[str, str]) -> TrialResult:
        folder.mkdir()
        (folder / "keras").mkdir()
        (folder / "keras" / "keras.json").write_text(json.dumps(SETTINGS if variables else {}))
        own = {"PYTHONPATH": str(ROOT), "KERAS_HOME": "keras", "KERAS_BACKEND": os.environ.get("KERAS_BACKEND", "")}
        command = [sys.executable, "-c", TRAINED_ELSEWHERE, galaxies_file, folder / "out", '"all"']
        environment = {**os.environ, **variables, **own, "GALAXYTL_CACHE_DIR": "cache"}
        done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return TrialResult.from_dict(json.loads(done.stdout.splitlines()[-1]))

    here, there = trained(tmp_path / "here", {}), trained(tmp_path / "there", {**CHANGING, **HARMLESS})
    assert (there.trial_id, there.status, there.message) == (here.trial_id, "COMPLETE", "")
    assert there.metrics == here.metrics
    assert [epoch["loss"] for epoch in there.history] == [epoch["loss"] for epoch in here.history]
    assert json.loads((tmp_path / "there" / "keras" / "keras.json").read_text()) == SETTINGS


def test_what_changes_numbers_is_taken_out_by_name_and_what_a_machine_is_stays() -> None:
    users = {"KERAS_BACKEND": "jax", "TF_CPP_MIN_LOG_LEVEL": "3", "JAX_PLATFORMS": "cpu", "TF_CLI_CONFIG_FILE": "/t"}
    environment = {**CHANGING, **HARMLESS, **users}
    assert settle(environment) == sorted(CHANGING)
    assert environment == {**HARMLESS, **users, "TF_ENABLE_ONEDNN_OPTS": "1"}
    environment["XLA_FLAGS"] = "--xla_gpu_cuda_data_dir=/opt/cuda --xla_cpu_enable_fast_math=true"
    assert settle(environment) == ["XLA_FLAGS"]
    assert environment["XLA_FLAGS"] == "--xla_gpu_cuda_data_dir=/opt/cuda"


NAMES = st.sampled_from([name.replace("*", "X") for name in (*TAKEN_OUT, *USERS)] + ["PATH", "GALAXYTL_WEIGHTS_DIR"])


@given(st.dictionaries(NAMES, st.text("a=-/~ ", max_size=9)))
def test_settled_once_there_is_nothing_left_to_settle(environment: dict[str, str]) -> None:
    before = dict(environment)
    settle(environment)
    settled = dict(environment)
    assert settle(environment) == []
    assert environment == settled
    assert settled.get("PATH") == before.get("PATH")


def test_folders_are_absolute_for_processes_that_start_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/ada")
    environment = {"GALAXYTL_WEIGHTS_DIR": "w", "KERAS_HOME": "~/k", "GALAXYTL_CACHE_DIR": "/c", "XDG_CACHE_HOME": ""}
    assert settle(environment) == []
    assert environment["GALAXYTL_WEIGHTS_DIR"] == str(tmp_path / "w")
    assert (environment["KERAS_HOME"], environment["GALAXYTL_CACHE_DIR"]) == ("/home/ada/k", "/c")
    assert environment["XDG_CACHE_HOME"] == ""
    assert absolute("~nobody-of-this-name/w") == Path("~nobody-of-this-name/w")


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no CPU affinity")
def test_cpus_are_those_that_the_process_may_use() -> None:
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        assert usable_cpus() == 1
    finally:
        os.sched_setaffinity(0, allowed)
    assert 1 <= usable_cpus() <= len(allowed)


@pytest.mark.parametrize(
    ("contents", "cpus"),
    [(["150000 100000"], 1.5), (["max 100000"], None), (["200000", "100000"], 2.0), (["-1", "100000"], None)],
)
def test_quota_of_a_container(contents: list[str], cpus: float | None, tmp_path: Path) -> None:
    files = [tmp_path / str(i) for i in range(len(contents))]
    for file, content in zip(files, contents, strict=True):
        file.write_text(f"{content}\n")
    assert cpu_quota(files) == cpus
    assert cpu_quota([tmp_path / "none"]) is None
