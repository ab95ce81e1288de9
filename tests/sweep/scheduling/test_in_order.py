"""A classification by the machines of a running Ray cluster is that of one machine."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from galaxytl.classify import rows
from galaxytl.classify.__main__ import main as classify
from tests.galaxytl.classify.conftest import colours, model
from tests.sweep.sweeps import joining

__all__ = ["model"]  # a fixture

pytestmark = [pytest.mark.rest, pytest.mark.alone]


def pictures(folder: Path, number: int) -> Path:
    folder.mkdir()
    for i, image in enumerate(colours(number)):
        Image.fromarray(image).save(folder / f"{i:02d}.png")
    return folder


def test_a_cluster_says_what_one_machine_says(
    ray_address: str, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pieces of a few images go to Ray's workers, one image of which cannot be read; rows come back in order."""
    folder = pictures(tmp_path / "images", 30)
    (folder / "15.png").write_bytes(b"no picture")
    for name, value in joining(ray_address).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(rows, "ROWS_A_TIME", 7)
    monkeypatch.chdir(tmp_path)
    assert classify([str(model), "images", "--to", "one.csv"]) == 1
    assert classify([str(model), "images", "--to", "many.csv", "--address", ray_address]) == 1
    one, many = pd.read_csv("one.csv"), pd.read_csv("many.csv")
    assert many["file"].tolist() == one["file"].tolist() == [f"{i:02d}.png" for i in range(30) if i != 15]
    assert many["class"].tolist() == one["class"].tolist()
    assert np.allclose(many["probability"], one["probability"], atol=1e-6)
    assert Path("many.unreadable.csv").read_text() == Path("one.unreadable.csv").read_text()


def test_what_goes_wrong_on_the_cluster_is_said_here(
    ray_address: str, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = pictures(tmp_path / "images", 3)
    for name, value in joining(ray_address).items():
        monkeypatch.setenv(name, value)
    assert classify([str(model), str(folder), "--to", str(tmp_path / "a.csv"), "--address", "127.0.0.1:9"]) == 2
    assert "no Ray cluster answers at 127.0.0.1:9" in capsys.readouterr().err

    def other_images(images: rows.Images) -> str:
        return "changed"

    monkeypatch.setattr("galaxytl.classify.images.Images.fingerprint", property(other_images))
    assert classify([str(model), str(folder), "--to", str(tmp_path / "b.csv"), "--address", ray_address]) == 2
    assert "every machine must see the same images" in capsys.readouterr().err
    assert os.listdir(folder)
