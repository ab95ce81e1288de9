"""Somebody's own images, from the command that a user types to the report. Only Ray is left out: groups are trained in
this process, on a network of 1,616 weights. What Ray does with Galaxy10 is in `tests/sweep/test_run_ray.py`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from analysis.run.__main__ import main as analyse
from galaxytl.data.__main__ import main as data
from galaxytl.results.rows import read_results
from galaxytl.trial import COMPLETE, TrialResult
from sweep.run import main as sweep
from tests.analysis.pictures import blank_pictures
from tests.galaxies import encode, make_bucket, real_sample, s3_server
from tests.sweep.here import QUICK, sweep_here

KINDS = ("barred spiral", "elliptical", "merger", "ring")
FEW = ("--set", "optimizer=adam", "--set", "learning_rate=1e-3,1e-4", "--set", "unfrozen_blocks=0")


@pytest.fixture(scope="module", autouse=True)
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        sweep_here(patch)
        patch.chdir(tmp_path_factory.mktemp("home"))
        make_everything()
        yield


def pictures(number: int, kinds: int, side: int = 40) -> Iterator[tuple[int, np.ndarray]]:
    """Kinds of images that differ in colour and pattern, each a little larger than the one before."""
    rng = np.random.default_rng(0)
    for row in range(number):
        kind, size = row % kinds, side + row % 5
        image = rng.integers(0, 60, (size, size + row % 3, 3), dtype=np.uint8)
        image[:: 2 + kind, :, kind % 3] += 40 * (1 + kind % 4)
        yield kind, image


def make_everything() -> None:
    """What users have: a folder a class, a catalogue, a table with text labels and votes, FITS cutouts."""
    from astropy.io import fits

    rows = []
    for row, (kind, image) in enumerate(pictures(48, len(KINDS))):
        folder = Path("my_galaxies", KINDS[kind])
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"g{row:02d}.{'jpg' if row % 2 else 'png'}", quality=95)
        path = folder.relative_to("my_galaxies") / f"g{row:02d}.{'jpg' if row % 2 else 'png'}"
        votes = {f"smooth_{name.split()[0]}": int(10 * (name == KINDS[kind])) + row % 3 for name in KINDS}
        rows.append(
            {"file_loc": f"my_galaxies/{path}", "label": KINDS[kind], "ra": row * 7.0, "dec": row - 20.0, **votes}
            | {"id_str": f"J{row:04d}", "field": row // 3, "bytes": encode(image)}
        )
        cutout = Path("cutouts", KINDS[kind], f"g{row:02d}.fits")
        cutout.parent.mkdir(parents=True, exist_ok=True)
        cube = image.astype(np.float32).transpose(2, 0, 1)[::-1] / 100
        fits.PrimaryHDU(cube, fits.Header({"BANDS": "grz"})).writeto(cutout)
    table = pd.DataFrame(rows)
    table.drop(columns="bytes").to_csv("catalogue.csv", index=False)
    inside = table.rename(columns={"label": "smooth_or_featured", "id_str": "id"}).drop(columns="file_loc")
    inside["image"] = [{"bytes": content, "path": None} for content in inside.pop("bytes")]
    inside.to_parquet("gz_decals.parquet")


def run(*arguments: str, out: str) -> list[TrialResult]:
    """Type a sweep's command; its rows, all of them COMPLETE."""
    assert sweep([*arguments, "--out", out, *QUICK]) == 0
    results = read_results(Path(out)).results
    assert {result.status for result in results} == {COMPLETE}
    return list(results)


def report(out: str) -> str:
    """Type the analysis's command; the whole report as Markdown, with blank pictures."""
    with blank_pictures():
        assert analyse([out, "--out", f"{out}-report"]) == 0
    return Path(f"{out}-report", "report.md").read_text()


@pytest.mark.rest
def test_a_folder_a_class(capsys: pytest.CaptureFixture[str]) -> None:
    results = run("--grid", "lr", "--data", "my_galaxies/", *FEW, out="lr")
    assert {result.class_names for result in results} == {KINDS}
    assert {(result.spec.num_classes, len(result.confusion)) for result in results} == {(4, 4)}
    assert "own_classes_48_images: 48 images of 4 classes (barred spiral, elliptical" in capsys.readouterr().out
    text = report("lr")
    assert "barred spiral" in text
    assert "VGG" not in text
    assert "NOT_CONFIRMED" not in text


@pytest.mark.rest
def test_a_catalogue_with_groups_and_what_it_knows() -> None:
    arguments = ("--grid", "paper", "--data", "catalogue.csv", "--group-by", "field", "--columns", "field")
    results = run(*arguments, out="catalogue")
    assert {result.class_names for result in results} == {KINDS}
    assert {result.spec.group_by for result in results} == {"field"}
    stored = pd.read_parquet(Path("catalogue", results[0].probabilities))
    assert {"ra", "dec", "field"} <= set(stored.columns)
    assert (stored["dec"] == stored["row"] - 20).all()
    report("catalogue")


@pytest.mark.rest
def test_a_search_over_pictures_in_parquet() -> None:
    arguments = ("--search", "optuna", "--trials", "4", "--data", "gz_decals.parquet")
    results = run(*arguments, "--label-column", "smooth_or_featured", out="search")
    assert {result.class_names for result in results} == {KINDS}
    assert "barred spiral" in report("search")


def test_votes() -> None:
    columns = ",".join(f"smooth_{name.split()[0]}" for name in KINDS)
    results = run("--grid", "lr", "--data", "catalogue.csv", "--label-column", columns, *FEW, out="votes")
    assert {result.spec.targets for result in results} == {"votes"}
    assert {result.class_names for result in results} == {("barred", "elliptical", "merger", "ring")}
    assert "vote" in report("votes")


@pytest.mark.rest
def test_fits_cutouts() -> None:
    results = run("--grid", "paper", "--data", "cutouts/", "--fits-bands", "g,r,z", out="fits")
    assert {result.class_names for result in results} == {KINDS}


def digits(folder: Path) -> None:
    """Scikit-learn's: 8 x 8 grey pixels, ten classes."""
    from sklearn.datasets import load_digits

    found = load_digits()
    for row in range(0, len(found.images), 5):
        place = folder / str(found.target[row])
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray((found.images[row] * 15.9).astype(np.uint8)).save(place / f"{row}.png")


def regrouped(folder: Path, kinds: int) -> None:
    """Write the real galaxies in so many classes that mean nothing."""
    with h5py.File(real_sample()) as file:
        for row, image in enumerate(file["images"]):
            place = folder / f"kind {row % kinds}"
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(place / f"{row}.png", compress_level=1)


@pytest.mark.parametrize(
    "kinds", [0, pytest.param(2, marks=pytest.mark.rest), pytest.param(37, marks=pytest.mark.rest)]
)
def test_other_peoples_images(kinds: int) -> None:
    """Digits (0), and the real galaxies as 2 and as 37 classes, through grid, search and report."""
    folder = Path(f"images{kinds}")
    regrouped(folder, kinds) if kinds else digits(folder)
    wanted = tuple(f"{'kind' if kinds else 'class'} {kind}" for kind in range(kinds or 10))
    out = f"of{kinds}"
    frozen = (
        "--data",
        str(folder),
        "--set",
        "unfrozen_blocks=0",
        "--set",
        "stratified=true",
        "--set",
        "test_fraction=0.4",
    )
    results = run("--grid", "paper", *frozen, out=out)
    assert {tuple(sorted(result.class_names)) for result in results} == {tuple(sorted(wanted))}
    assert {np.array(result.confusion).shape for result in results} == {(len(wanted), len(wanted))}
    assert wanted[1] in report(out)
    if kinds == 37:
        return  # of two or three images a class there is none for a validation part
    searched = run("--search", "optuna", "--trials", "2", "--batch", "2", *frozen, out=f"{out}-search")
    assert {result.spec.num_classes for result in searched} == {len(wanted)}


def test_check_and_convert(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def fingerprint_of(place: str) -> str:
        capsys.readouterr()
        assert data(["check", place, "--json"]) == 0
        return str(json.loads(capsys.readouterr().out)["fingerprint"])

    assert data(["check", "my_galaxies/"]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in KINDS)
    assert printed.rstrip().endswith("fine: nothing is wrong with it")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    with s3_server() as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        shared = f"{make_bucket(url, 'own-galaxies')}/mine/"
        assert data(["convert", "my_galaxies/", "--to", shared]) == 0
        assert fingerprint_of(shared) == fingerprint_of("my_galaxies/")
