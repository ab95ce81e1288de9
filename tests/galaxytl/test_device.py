from __future__ import annotations

from pathlib import Path

import keras
import pytest

from galaxytl import device
from galaxytl.training import environment


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


def test_random_weights_of_another_backend_have_other_activations(monkeypatch: pytest.MonkeyPatch) -> None:
    from galaxytl.features import activations_folder
    from galaxytl.trial import TrialSpec

    drawn = TrialSpec(dataset="d", dataset_fingerprint="f", weights="random", weights_requested="random")
    read = TrialSpec(dataset="d", dataset_fingerprint="f", weights_fingerprint="w")
    found = {}
    for backend in ("tensorflow", "jax"):
        monkeypatch.setenv("KERAS_BACKEND", backend)
        found[backend] = [activations_folder(spec, "rows", 0) for spec in (drawn, read)]
    assert found["tensorflow"][0] != found["jax"][0]
    assert found["tensorflow"][1] == found["jax"][1]
