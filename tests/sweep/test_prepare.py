"""--fetch: what a sweep would read, and the commands for a machine without a network."""

from __future__ import annotations

import argparse
import re
import shlex
from pathlib import Path

import pytest

from galaxytl.networks.weights import Weights
from galaxytl.trial.reading import add_reading
from sweep import prepare
from sweep.command_line import OF_READING, parse
from sweep.doctor.__main__ import parse as parse_doctor
from sweep.run import main

Asked = list[tuple[str, Path]]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Asked:
    """The weights that were asked for, each with the folder where it was to lie; the working folder is empty."""
    names: Asked = []

    def fetched(name: str, folder: Path, _: object) -> Weights:
        names.append((name, folder))
        return Weights(folder / f"{name}.h5", "f00d" * 16)

    monkeypatch.setattr(prepare, "fetch_weights", fetched)
    monkeypatch.chdir(tmp_path)
    return names


def commands(printed: str) -> tuple[list[str], list[str]]:
    """Return the words of the doctor's command and of the sweep's, behind `python -m`."""
    check, run = (re.findall(rf"^{name} +python -m (.+)$", printed, re.MULTILINE) for name in ("Check", "Run"))
    return shlex.split(*check)[1:], shlex.split(*run)[1:]


def test_what_a_grid_reads_is_fetched_and_the_same_sweep_is_printed(
    asked: Asked, galaxies_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("galaxies.h5").write_bytes(galaxies_file.read_bytes())
    words = ["--grid", "lr", "--backbone=VGG16,Xception", "--seeds", "2", "--label-column", "ans", "--weights-dir", "w"]
    assert main([*words, "--data", "galaxies.h5", "--fetch"]) == 0
    assert asked == [("VGG16", tmp_path / "w"), ("Xception", tmp_path / "w")]
    assert [path.name for path in tmp_path.iterdir()] == ["galaxies.h5"]  # no results folder
    check, run = commands(capsys.readouterr().out)
    (tmp_path / "w").mkdir()
    assert parse(run, "") == parse([*words, f"--data={tmp_path}/galaxies.h5"], "")
    doctor = parse_doctor(check).questions
    assert (doctor.data, doctor.weights_dir) == (f"{tmp_path}/galaxies.h5", f"{tmp_path}/w")
    assert doctor.backbones == ("VGG16", "Xception")
    assert doctor.reading["label_columns"] == ("ans",)
    parser = argparse.ArgumentParser(add_help=False)
    add_reading(parser)
    assert {name for action in parser._actions for name in action.option_strings} == {*OF_READING}


def test_a_sweep_that_reads_nothing_fetches_nothing(asked: Asked, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--fetch", "--set", "weights=random", "--data", "simulated:300"]) == 0
    assert asked == []
    assert commands(capsys.readouterr().out) == ([], ["--set", "weights=random", "--data", "simulated:300"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--data s3://b/galaxies/", "--fetch wants a dataset that lies on a disk; got --data s3://b/galaxies/"),
        ("--data no.h5", "no.h5 does not exist"),
        ("--search optuna", "--fetch of a search must be told its networks: --backbone NAME,NAME; got none"),
        ("--weights-dir file", "--weights-dir must be a folder; got file"),
        ("--backbone VGG61", "got 'VGG61'. Did you mean"),
    ],
)
def test_what_cannot_be_fetched_is_said(
    asked: Asked, words: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("file").touch()
    assert main([*words.split(), "--fetch"]) == 2
    assert message in capsys.readouterr().err
    assert asked == []


def test_the_profile_says_which_part_of_the_images_it_takes() -> None:
    spec = prepare.base_spec(prepare.NO_DATASET, "laptop")
    whole = "laptop: 32 px, 20 epochs, batches of 16 (or: --profile paper)"
    assert prepare.profile_text("laptop", spec, 1000) == whole
    assert prepare.profile_text("laptop", spec.replace(max_images=0), 17736) == whole
    part = "laptop: 1,000 of 17,736 images, 32 px, 20 epochs (or: --profile paper)"
    assert prepare.profile_text("laptop", spec, 17736) == part
