"""Sweeps that start from something of the user's own, from the command to the rows; only Ray is left out."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from galaxytl.learning import groups
from galaxytl.results.rows import read_results
from galaxytl.trial import COMPLETE, SpecError, TrialResult, TrialSpec
from galaxytl.trial.rules import ON_FEATURES
from sweep.export.__main__ import main as export
from sweep.run import main
from tests.galaxies import LABELS
from tests.sweep.here import sweep_here

WIDTH = 5
ALSO = ("--profile", "laptop", "--set", "num_epochs=3")


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    sweep_here(monkeypatch)
    monkeypatch.chdir(tmp_path)


def features(seed: int = 0) -> np.ndarray:
    """Return features of the images that tell their classes apart."""
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(10, WIDTH))[LABELS] + 0.1 * rng.normal(size=(40, WIDTH))).astype(np.float32)


def rows(out: str) -> dict[str, TrialResult]:
    return {result.trial_id: result for result in read_results(Path(out)).results}


def test_heads_are_trained_on_features_of_any_model(
    galaxies_file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A grid's networks, starts and depths give way; heads share a pass, and their optimum is known."""
    np.save("a.npy", features())
    command = ["--data", str(galaxies_file), *ALSO, "--set", "learning_rate=1e-1,1e-2"]
    assert main([*command, "--features", "zoobot=a.npy", "--out", "out"]) == 0
    said = capsys.readouterr().out
    assert "a.npy: 40 rows of 5 numbers" in said
    assert "in the dataset's order, which cannot be checked, as the file has no ids" in said
    found = rows("out")
    assert {r.status for r in found.values()} == {COMPLETE}
    assert {(r.spec.backbone, r.spec.weights, r.spec.image_size, r.num_fused) for r in found.values()} == {
        ("features:zoobot", "given", 32, 2)
    }
    assert {r.num_parameters["total"] for r in found.values()} == {(WIDTH + 1) * 10}
    assert all(r.certificate["excess_loss"] >= 0 for r in found.values())
    assert max(r.metrics["accuracy"] for r in found.values()) > 0.3

    # the same content elsewhere, in another type: the same trials, none of which is run again
    Path("b").mkdir()
    np.save("b/other.npy", features().astype(np.float64))
    monkeypatch.setattr(groups.HeadsRun, "train", None)
    assert main([*command, "--features", "zoobot=b/other.npy", "--out", "out"]) == 0
    assert rows("out") == found
    assert main([*command, "--features", "a.npy", "--out", "out", "--dry-run"]) == 0
    assert "2: 0 finished, 0 failed, 2 to run" in capsys.readouterr().out

    assert export(["out", "--to", "galaxy.keras", "--trial", next(iter(found))]) == 2
    assert "is a head on given features: a model of images needs the program that computed them" in (
        capsys.readouterr().err
    )


def test_a_trial_is_not_trained_on_other_features_than_its_sweep_saw(
    galaxies_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.save("a.npy", features())
    opened = groups.Run._open

    def change(run: groups.Run) -> object:
        np.save("a.npy", features(seed=1))
        return opened(run)

    monkeypatch.setattr(groups.Run, "_open", change)
    assert main(["--data", str(galaxies_file), *ALSO, "--features", "a.npy", "--out", "out"]) == 1
    (row,) = rows("out").values()
    assert "a.npy must hold the features" in row.message
    assert "that the sweep saw" in row.message


def test_a_search_chooses_heads_on_features(galaxies_file: Path) -> None:
    np.save("a.npy", features())
    size = ("--search", "optuna", "--trials", "3", "--set", "validation_fraction=0.4", "--batch", "3")
    command = ["--data", str(galaxies_file), *ALSO, *size, "--features", "a.npy", "--out", "out"]
    assert main(command) == 0
    found = rows("out").values()
    assert {r.spec.backbone for r in found} == {"features"}
    assert len({r.spec.learning_rate for r in found}) == 3
    assert [r.spec.scored_on for r in found if r.status == COMPLETE].count("test") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--features a.npy --set augmentation=true", "--features leaves augmentation nothing to do"),
        ("--features a.npy --set unfrozen_blocks=0,2", "got --set unfrozen_blocks=2"),
        ("--features a.npy --set backbone=VGG16", "give it or --set backbone, not both"),
        ("--features zoobot=a.npy --grid two.yaml", "the grid must name no other features; got features:astroclip. L"),
        ("--features a/b=a.npy", "--features takes FILE or NAME=FILE"),
        ("--set backbone=features:zoobot", "got backbone=features:zoobot, and no --features FILE"),
        ("--features s3://b/a.npy", "--features must be a path of this machine; got the URI"),
        ("--features short.npy", "short.npy must have a row for each of the dataset's 40 images; it has 39"),
        ("--features nan.npy", "those of image 0 are not"),
        ("--features nowhere.npy", "can be read here, and on each node; got"),
        ("--set backbone=features --set weights=given --set unfrozen_blocks=0", "got backbone=features, and no --feat"),
    ],
)
def test_what_does_not_go_with_features_is_refused(
    galaxies_file: Path, capsys: pytest.CaptureFixture[str], arguments: str, message: str
) -> None:
    np.save("a.npy", features())
    Path("two.yaml").write_text("scientific: {backbone: [features:zoobot, features:astroclip]}")
    np.save("short.npy", features()[:-1])
    np.save("nan.npy", features() * np.nan)
    assert main(["--data", str(galaxies_file), *ALSO, *arguments.split(), "--out", "out"]) == 2
    assert message in capsys.readouterr().err
    assert not rows("out")


OWN = """
import keras

def build(image_size):
    image = keras.Input((image_size, image_size, 3))
    x = keras.layers.MaxPooling2D(8)(keras.layers.Conv2D(4, 3, padding="same", kernel_initializer="ones")(image))
    return keras.Model(image, x)

def drawn(image_size):
    image = keras.Input((image_size, image_size, 3))
    return keras.Model(image, keras.layers.Conv2D(2, 3, strides=8)(image))

def raises(image_size):
    return [][image_size]
"""


def test_a_grid_is_run_with_a_network_of_ones_own(
    galaxies_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the grid asks for ImageNet weights, it starts from what it comes with."""
    (tmp_path / "ones_own.py").write_text(OWN)
    monkeypatch.setattr(sys, "path", [*sys.path])
    command = ["--data", str(galaxies_file), "--profile", "laptop", "--set", "num_epochs=1", "--no-diagnostics"]
    assert main([*command, "--backbone", "ones_own:build", "--out", "out"]) == 0
    found = [(r.spec.weights, r.spec.weights_requested, r.spec.unfrozen_blocks) for r in rows("out").values()]
    assert sorted(found, key=str) == [("given", "given", 0), ("random", "random", "all")]
    assert all(r.spec.weights_fingerprint and r.status == COMPLETE for r in rows("out").values())

    (trial_id,) = (trial_id for trial_id, r in rows("out").items() if r.spec.weights == "given")
    assert export(["out", "--to", "galaxy.keras", "--trial", trial_id]) == 0
    capsys.readouterr()
    assert main([*command, "--backbone", "ones_own:drawn", "--out", "drawn"]) == 0
    said = capsys.readouterr().out
    assert "1 combination skipped: weights must be random where building the network draws other weights" in said
    assert main([*command, "--backbone", "ones_own:raises", "--out", "none"]) == 2
    assert (
        "ones_own:raises raised IndexError: list index out of range (ones_own.py, line 14)" in capsys.readouterr().err
    )


def test_a_spec_of_features_has_no_depth_and_no_augmentation() -> None:
    spec = TrialSpec(
        dataset="d", dataset_fingerprint="0", backbone="features", weights_requested="given", **ON_FEATURES
    )
    assert (spec.weights_label, spec.is_substituted, spec.trains_head_only) == ("given", False, True)
    with pytest.raises(SpecError, match=r"on given features, which no image enters, mixup must be 0\.0"):
        spec.replace(mixup=0.2)
    with pytest.raises(SpecError, match="weights=given is of given features, or of a network of your own"):
        spec.replace(backbone="VGG16")
