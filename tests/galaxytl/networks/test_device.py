from __future__ import annotations

import gc
import importlib
import json
import os
import subprocess
import sys
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest

from galaxytl.learning.outcome import environment
from galaxytl.networks import device, gpu_memory
from galaxytl.networks.gpu_memory import DeviceError, GpuMemory


def test_backend_is_kerass_own() -> None:
    assert device.backend() == keras.backend.backend()
    assert environment()["keras_backend"] == keras.backend.backend()


@pytest.mark.parametrize(
    ("settings", "backend"),
    [('{"backend": "jax"}', "jax"), ("{", "tensorflow"), ("[]", "tensorflow"), (None, "tensorflow")],
)
def test_without_a_variable_kerass_file_says_the_backend(
    settings: str | None, backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    if settings is not None:
        (tmp_path / "keras.json").write_text(settings)
    assert device.backend() == backend


@pytest.mark.parametrize("backend", ["torch", "numpy", "openvino", "TensorFlow"])
def test_other_backends_are_refused_by_name(backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_BACKEND", backend)
    with pytest.raises(
        DeviceError, match=f"KERAS_BACKEND must be tensorflow or jax; got '{backend}': set the variable"
    ):
        device.check_backend()
    monkeypatch.delenv("KERAS_BACKEND")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    device.check_backend()
    (tmp_path / "keras.json").write_text(json.dumps({"backend": backend}))
    with pytest.raises(DeviceError, match=f"backend in {tmp_path}/keras.json must be tensorflow or jax"):
        device.check_backend()


def test_random_weights_of_another_backend_have_other_activations(monkeypatch: pytest.MonkeyPatch) -> None:
    from galaxytl.learning.features import activations_folder
    from galaxytl.trial import TrialSpec

    drawn = TrialSpec(dataset="d", dataset_fingerprint="f", weights="random", weights_requested="random")
    read = TrialSpec(dataset="d", dataset_fingerprint="f", weights_fingerprint="w")
    found = {}
    for backend in ("tensorflow", "jax"):
        monkeypatch.setenv("KERAS_BACKEND", backend)
        found[backend] = [activations_folder(spec, "rows", 0) for spec in (drawn, read)]
    assert found["tensorflow"][0] != found["jax"][0]
    assert found["tensorflow"][1] == found["jax"][1]


# GPUs that are given: this process has none, whatever it is promised


@pytest.mark.parametrize("given", [0.25, 1.0])
def test_a_gpu_that_is_given_and_not_there_is_an_error_with_what_is_seen(
    given: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    if device.num_gpus():
        pytest.skip("this machine has a GPU")
    for none in (None, 0.0):
        device.check_gpus(none)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    with pytest.raises(DeviceError) as caught:
        device.check_gpus(given)
    assert "must see the GPU that a trial was given, and no other (CUDA_VISIBLE_DEVICES=3); on " in str(caught.value)
    assert "it sees 0: start Ray there with as many --num-gpus as nvidia-smi lists" in str(caught.value)


def test_a_trial_is_given_one_gpu_at_most() -> None:
    with pytest.raises(DeviceError, match=r"computes on one GPU, or on a share of one, .* no more; got 2"):
        device.check_gpus(2.0)


@pytest.fixture
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    names = ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "TF_FORCE_GPU_ALLOW_GROWTH")
    for name in (*names, "XLA_PYTHON_CLIENT_PREALLOCATE", "XLA_PYTHON_CLIENT_MEM_FRACTION"):
        monkeypatch.setenv(name, "")  # so that it is as before afterwards
        monkeypatch.delenv(name)
    return


@pytest.mark.usefixtures("clean_environment")
@pytest.mark.parametrize(
    ("gpus", "visible", "fraction"), [(None, None, None), (1.0, None, None), (0.0, "", None), (0.25, None, "0.2250")]
)
def test_what_is_said_before_the_framework_is_loaded(
    gpus: float | None, visible: str | None, fraction: str | None
) -> None:
    device.configure(None, gpus)
    assert os.environ.get("CUDA_VISIBLE_DEVICES") == visible
    assert os.environ.get("XLA_PYTHON_CLIENT_MEM_FRACTION") == fraction


class Config:
    """TensorFlow's, of a machine with one GPU, as far as `device` asks it."""

    LogicalDeviceConfiguration = SimpleNamespace

    def __init__(self) -> None:
        self.limits: list[int] = []
        self.grows: list[str] = []
        self.experimental = SimpleNamespace(set_memory_growth=lambda gpu, on: self.grows.append(gpu))

    def list_physical_devices(self, kind: str) -> list[str]:
        return [kind]

    def set_logical_device_configuration(self, gpu: str, devices: list[Any]) -> None:
        self.limits += [one.memory_limit for one in devices]


@pytest.mark.parametrize(
    ("gpus", "total", "limits"), [(None, 80_000, []), (1.0, 80_000, []), (0.25, 80_000, [18_000]), (0.5, 0, [])]
)
def test_a_process_that_shares_a_gpu_takes_its_share_at_most(
    gpus: float | None, total: int, limits: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nobody says how much memory there is, it grows."""
    memory = [GpuMemory("0", "GPU-a", total, total)] if total else []
    monkeypatch.setattr(gpu_memory, "read_memory", lambda: memory)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    config = Config()
    device._limit_memory(config, gpus)
    assert (config.limits, config.grows) == (limits, [] if limits else ["GPU"])


LOADED = """
import sys
from galaxytl.networks import device
device.quiet_framework()
device._start_keras()
unused = [name for name in device.UNUSED if name in sys.modules and name != device.backend()]
if device.backend() == "jax":
    import jax._src.xla_bridge
    found = bool(jax._src.xla_bridge._backends)
else:
    from tensorflow.python.eager import context
    found = context.context()._initialized
print("keras" in sys.modules, unused, found)
"""


@pytest.mark.rest
def test_a_framework_is_loaded_without_looking_for_devices_and_without_what_is_not_used() -> None:
    """What a process may use is set after that (`device.configure`)."""
    loaded = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, check=True)
    assert loaded.stdout == "True [] False\n"


def test_what_is_absent_for_an_import_is_absent_in_this_thread_alone() -> None:
    with device._absent("wave"):
        with pytest.raises(ModuleNotFoundError, match="wave"):
            importlib.import_module("wave")
        with ThreadPoolExecutor(1) as thread:
            assert thread.submit(importlib.import_module, "wave").result().__name__ == "wave"
    sys.modules.pop("wave")
    assert importlib.import_module("wave")


@pytest.mark.skipif(device.backend() != "tensorflow", reason="JAX keeps nothing of a gradient of one's own")
def test_what_is_traced_with_a_gradient_of_its_own_is_let_go() -> None:
    """Where this fails in its first line, TensorFlow lets it go by itself: `forgetting_gradients` is needed no more."""

    def traced() -> weakref.ref[Any]:
        graphs = []

        def step(x: Any) -> Any:
            graphs.append(weakref.ref(x.graph))
            return keras.ops.silu(x)

        assert device.compiled(step, xla=False)(np.zeros(3, np.float32)).numpy().tolist() == [0, 0, 0]
        return graphs[0]

    kept = traced()
    with device.forgetting_gradients():
        let_go = traced()
    gc.collect()
    assert kept() is not None
    assert let_go() is None
