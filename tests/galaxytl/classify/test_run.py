"""A whole run, by the command, with a toy network: what it writes, and how it ends."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from PIL import Image

from galaxytl.classify import parts, run
from galaxytl.classify.__main__ import main
from galaxytl.classify.parts import folder_of
from galaxytl.classify.run import Options, classify
from galaxytl.data.hot_copy import Size
from galaxytl.learning.augmentation.symmetries import symmetries
from galaxytl.results.temperature import tempered
from tests.galaxies import real_sample
from tests.galaxytl.classify.conftest import CLASS_NAMES, TEMPERATURE, colours, describe, network_of, write

NAMES = ("round", "edge_on", "merging", "other_one")
P, C = ([f"{letter}_{name}" for name in NAMES] for letter in "pc")
SAME = 1e-5


class Silent:
    """A reporter that is told how far it is, and stops everything at some number of images."""

    def __init__(self, stop_at: int = -1) -> None:
        self.seen: list[int] = []
        self.stop_at = stop_at

    def update(self, what: str, done: int, total: int) -> None:
        self.seen.append(done)
        if done == self.stop_at:
            raise KeyboardInterrupt

    def say(self, text: str) -> None: ...


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """JPEGs of other sides than the network's."""
    place = tmp_path_factory.mktemp("images")
    for number, image in enumerate(colours(10, 60)):
        Image.fromarray(image[: 40 + 2 * number]).save(place / f"{number}.jpg")
    return place


def squares(folder: Path) -> np.ndarray:
    """Return what training would have seen of a folder of JPEGs."""
    return np.stack([Size(32).of(np.asarray(Image.open(file))) for file in sorted(folder.iterdir())])


def table_in(file: Path) -> list[dict[str, str]]:
    with file.open() as lines:
        return list(csv.DictReader(lines))


def test_a_folder_of_pictures(model: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "classes.csv"
    assert main([str(model), str(folder), "--to", str(out), "--batch-size", "4"]) == 0
    found = pd.read_csv(out)
    expected = network_of(model).predict(squares(folder), verbose=0)
    assert found["file"].tolist() == [f"{number}.jpg" for number in range(10)]
    assert found[P].to_numpy() == pytest.approx(expected, abs=SAME)
    assert found[C].to_numpy() == pytest.approx(tempered(expected, TEMPERATURE), abs=SAME)
    assert (found["class"] == expected.argmax(axis=1)).all()
    assert len(set(found["class"])) > 1
    assert found["name"].tolist() == [CLASS_NAMES[number] for number in found["class"]]
    assert found["probability"].to_numpy() == pytest.approx(expected.max(axis=1), abs=SAME)
    assert found["entropy"].between(0, np.log(4)).all()
    assert list(tmp_path.iterdir()) == [out]
    said = capsys.readouterr()
    assert "10 images classified" in said.out
    assert "trained on simulated galaxies, not real ones" in said.err


def test_real_galaxies_as_hdf5_with_all_that_can_be_asked_for(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "classes.h5"
    asked = ["--tta", "--embeddings", "--explain", str(tmp_path / "sheet.png")]
    assert main([str(model), str(real_sample()), "--to", str(out), *asked]) == 0
    with h5py.File(real_sample()) as file:
        pixels = np.stack([Size(32).of(image) for image in file["images"]])
        is_known = bool(np.isfinite(file["ra"][:]).any())
    network = network_of(model)
    views = [network.predict(np.ascontiguousarray(view), verbose=0) for view in symmetries(pixels)]
    with h5py.File(out) as file:
        assert file["probabilities"][:] == pytest.approx(np.mean(views, axis=0), abs=SAME)
        of_temperature = np.mean([tempered(view, TEMPERATURE) for view in views], axis=0)
        assert file["calibrated_probabilities"][:] == pytest.approx(of_temperature, abs=SAME)
        assert file["embedding"].shape == (100, 8)
        assert ("ra" in file) == is_known
        assert file.attrs["class_names"].tolist() == list(CLASS_NAMES)
        assert set(file["name"].asstr()[:]) <= set(CLASS_NAMES)
        assert len(json.loads(file.attrs["model"])["sha256"]) == 64
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width > 1000


def test_parquet_and_one_picture(model: Path, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "one.parquet"
    assert main([str(model), str(folder / "3.jpg"), "--to", str(out), "--embeddings"]) == 0
    table = pq.read_table(out)
    (row,) = table.to_pylist()
    assert row["file"] == "3.jpg"
    expected = network_of(model).predict(squares(folder)[3:4], verbose=0)[0]
    assert [row[name] for name in P] == pytest.approx(expected, abs=SAME)
    assert len(row["embedding"]) == 8
    assert json.loads(table.schema.metadata[b"galaxytl"])["class_names"] == list(CLASS_NAMES)


def test_those_that_cannot_be_read_are_listed(
    model: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = tmp_path / "images"
    shutil.copytree(folder, images)
    (images / "4.jpg").write_bytes(b"\xff\xd8\xff and no more")
    Image.new("RGBA", (40, 40)).save(images / "5.png")
    out = tmp_path / "classes.csv"
    assert main([str(model), str(images), "--to", str(out), "--batch-size", "3"]) == 1
    found = table_in(tmp_path / "classes.unreadable.csv")
    assert [(one["row"], one["file"]) for one in found] == [("4", "4.jpg"), ("6", "5.png")]
    assert "pictures must be opaque" in found[1]["reason"]
    rows = table_in(out)
    assert [row["row"] for row in rows] == ["0", "1", "2", "3", "5", "7", "8", "9", "10"]
    assert "2 images cannot be read: see" in capsys.readouterr().err


def test_a_run_that_was_stopped_goes_on(
    model: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "ROWS_HELD", 2)
    whole, out = tmp_path / "whole.csv", tmp_path / "classes.csv"
    classify(Options(model, str(folder), whole, batch_size=2), Silent())
    with pytest.raises(KeyboardInterrupt):
        classify(Options(model, str(folder), out, batch_size=2), Silent(stop_at=4))
    assert not out.exists()
    second = Silent()
    classify(Options(model, str(folder), out, batch_size=3), second)
    assert second.seen == [4, 7, 10]  # none of the first four images again
    first, again = pd.read_csv(whole), pd.read_csv(out)
    assert first["file"].tolist() == again["file"].tolist()
    assert again[P].to_numpy() == pytest.approx(first[P].to_numpy(), abs=SAME)


def test_other_options_do_not_go_on(
    model: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "classes.csv"
    with pytest.raises(KeyboardInterrupt):
        classify(Options(model, str(folder), out, batch_size=2), Silent(stop_at=4))
    assert main([str(model), str(folder), "--to", str(out), "--tta"]) == 2
    assert "it is of other options, no --tta and no --embeddings" in capsys.readouterr().err


def test_the_end_is_written_though_all_was_done_before(
    model: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kill between the last part and the result."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    out = tmp_path / "classes.csv"
    with monkeypatch.context() as patch:
        patch.setattr(run, "write_result", full)
        assert main([str(model), str(folder), "--to", str(out)]) == 2
    assert main([str(model), str(folder), "--to", str(out)]) == 0
    assert len(pd.read_csv(out)) == 10


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["{model}", "{nothing}", "--to", "{out}.csv"], "there must be images to classify"),
        (["{model}", "{folder}", "--to", "{out}.xlsx"], "--to must name a file that ends with .csv, .parquet, .h5"),
        (["{model}", "{folder}", "--to", "{model}"], "--to must name a file that ends with"),
        (["{model}", "{folder}", "--to", "{folder}"], "--to must name a file that ends with"),
        (["{nothing}.keras", "{folder}", "--to", "{out}.csv"], "sweep.export"),
        (["{truncated}", "{folder}", "--to", "{out}.csv"], "sweep.export"),
        (["{text}", "{folder}", "--to", "{out}.csv"], "sweep.export"),
        (["{model}", "{text}", "--to", "{out}.csv"], "must be of a kind that can be read"),
        (["{model}", "{damaged}", "--to", "{out}.csv"], "the only one cannot"),
        (["{model}", "{folder}", "--to", "{out}.csv", "--explain", "sheet.jpg"], "ends with .png"),
        (["{model}", "{folder}", "--to", "{out}.csv", "--columns", "mass"], "there is the column id"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    model: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    (tmp_path / "truncated.keras").write_bytes(model.read_bytes()[:-200])
    (tmp_path / "text.txt").write_text("no model")
    (tmp_path / "damaged.jpg").write_bytes(b"\xff\xd8\xff and no more")
    places = {"model": model, "folder": folder, "nothing": tmp_path / "nothing", "out": tmp_path / "classes"}
    places |= {"truncated": tmp_path / "truncated.keras", "text": tmp_path / "text.txt"}
    places |= {"damaged": tmp_path / "damaged.jpg"}
    assert main([word.format(**places) for word in words]) == 2
    line = capsys.readouterr().err
    assert said in line
    assert "unforeseen" not in line
    assert not (tmp_path / "classes.csv").exists()
    assert not folder_of(tmp_path / "classes.csv").exists()


def test_a_result_that_is_there_stays(model: Path, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "classes.csv").write_text("mine")
    assert main([str(model), str(folder), "--to", str(tmp_path / "classes.csv")]) == 2
    assert (tmp_path / "classes.csv").read_text() == "mine"


def test_a_model_with_code_inside_is_refused(
    model: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import keras

    image = keras.Input((32, 32, 3), dtype="uint8")
    bad = keras.layers.Lambda(lambda pixels: pixels, name="network")
    write(keras.Model(image, bad(image)), tmp_path / "bad.keras")
    describe(tmp_path / "bad.keras")
    assert main([str(tmp_path / "bad.keras"), str(folder), "--to", str(tmp_path / "o.csv")]) == 2
    assert "sweep.export" in capsys.readouterr().err


@pytest.mark.rest
def test_a_run_that_was_killed_goes_on(model: Path, folder: Path, tmp_path: Path) -> None:
    """By SIGKILL, which only another process can be sent: its lock goes with it."""
    out = tmp_path / "classes.csv"
    program = (
        "import sys; from galaxytl.classify import parts; from galaxytl.classify.__main__ import main;"
        "parts.ROWS_HELD = 2; update = parts.Parts.flush\n"
        "def flush(self):\n"
        "    update(self); import time; self.stop >= 4 and time.sleep(600)\n"
        "parts.Parts.flush = flush; sys.exit(main(sys.argv[1:]))"
    )
    words = [str(model), str(folder), "--to", str(out), "--batch-size", "2"]
    with subprocess.Popen([sys.executable, "-c", program, *words]) as process:
        while process.poll() is None and len(list(folder_of(out).glob("*.parquet"))) < 2:
            time.sleep(0.1)
        assert main(words) == 2  # while the other one holds the parts
        process.kill()
    second = Silent()
    classify(Options(model, str(folder), out, batch_size=2), second)
    assert second.seen[0] == 4
    assert len(pd.read_csv(out)) == 10
