from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from galaxytl.data.__main__ import main
from galaxytl.data.galaxy10 import CLASS_COUNTS
from tests.galaxies import make_images, real_sample, write_hdf5

COUNT = 100
LABELS = np.arange(COUNT) % 10
ARCSEC = 1 / 3600


def write(path: Path, **changed: Any) -> Path:
    """100 different galaxies, 10 a class, a degree apart; nothing is wrong with them."""
    columns: dict[str, Any] = {"images": make_images(COUNT), "ans": LABELS.astype(np.uint8)}
    columns |= {"ra": np.arange(100.0), "dec": np.zeros(COUNT), "redshift": np.full(COUNT, 0.1)}
    return write_hdf5(path, **(columns | {"pxscale": np.full(COUNT, 0.262)} | changed))


def check(path: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, Any]]:
    capsys.readouterr()
    status = main(["check", str(path), "--json"])
    return status, json.loads(capsys.readouterr().out)


def codes(report: dict[str, Any], harmful: bool) -> set[str]:
    return {finding["code"] for finding in report["findings"] if finding["harmful"] == harmful}


def changed(values: np.ndarray, rows: Any, value: Any) -> np.ndarray:
    values = values.copy()
    values[rows] = value
    return values


def test_nothing_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, report = check(write(tmp_path / "g.h5"), capsys)
    assert (status, report["verdict"], report["findings"]) == (0, "fine", [])
    assert (report["images"], report["class_counts"], report["published_counts"]) == (100, [10] * 10, None)
    assert report["known"] == {"ra": 100, "dec": 100, "redshift": 100, "pxscale": 100}
    assert len(report["fingerprint"]) == 64


IMAGES = make_images(COUNT)
FLAT = changed(IMAGES, 3, 7)
COPIED = changed(IMAGES, 13, IMAGES[3])
CONTRADICTED = changed(IMAGES, 14, IMAGES[3])
DEGREES = np.arange(100.0)


@pytest.mark.parametrize(
    ("columns", "code", "rows"),
    [
        ({"images": changed(IMAGES, [3, 64], 0)}, "black", [3, 64]),
        ({"images": FLAT}, "one_colour", [3]),
        ({"images": CONTRADICTED}, "conflicting_duplicates", [14]),
        ({"ra": changed(DEGREES, 9, 360.5)}, "ra_out_of_range", [9]),
        ({"ra": changed(DEGREES, 9, np.inf)}, "ra_out_of_range", [9]),
        ({"dec": changed(np.zeros(COUNT), 5, -91)}, "dec_out_of_range", [5]),
        ({"ans": changed(LABELS, LABELS == 9, 0) + 9 * (np.arange(COUNT) == 99)}, "unsplittable", []),
    ],
)
def test_what_would_spoil_a_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], columns: dict[str, Any], code: str, rows: list[int]
) -> None:
    status, report = check(write(tmp_path / "g.h5", **columns), capsys)
    assert (status, report["verdict"]) == (1, "harmful")
    assert codes(report, harmful=True) == {code}
    assert next(finding["rows"] for finding in report["findings"] if finding["code"] == code) == rows


@pytest.mark.parametrize(
    ("columns", "code", "count"),
    [
        ({"images": COPIED}, "duplicates", 1),
        ({"ra": changed(DEGREES, 20, 1 - ARCSEC)}, "close_positions", 1),
        ({"ra": changed(DEGREES, 20, 360 - ARCSEC)}, "close_positions", 1),
        ({"ra": None, "pxscale": None}, "missing_columns", 2),
        ({"ra": np.full(COUNT, np.nan)}, "missing_columns", 1),
        ({"redshift": changed(np.zeros(COUNT), [1, 2], [-0.5, 11])}, "redshift_out_of_range", 2),
        ({"pxscale": changed(np.ones(COUNT), 1, 0)}, "pxscale_out_of_range", 1),
        ({"ans": changed(LABELS, LABELS == 9, 0)}, "empty_classes", 1),
        ({"ans": changed(LABELS, np.arange(29, 100, 10), 0)}, "small_classes", 1),
    ],
)
def test_what_a_user_must_know(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], columns: dict[str, Any], code: str, count: int
) -> None:
    status, report = check(write(tmp_path / "g.h5", **columns), capsys)
    assert (status, report["verdict"]) == (0, "usable")
    assert code in codes(report, harmful=False)
    assert next(finding["count"] for finding in report["findings"] if finding["code"] == code) == count


def test_positions_that_are_not_known_are_fine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, report = check(write(tmp_path / "g.h5", ra=changed(DEGREES, slice(50), np.nan)), capsys)
    assert (status, report["findings"], report["known"]["ra"]) == (0, [], 50)


def test_a_leak_of_the_papers_split_is_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ra = np.repeat(np.arange(50.0), 2)
    status, report = check(write(tmp_path / "g.h5", ra=ra), capsys)
    leak = next(finding for finding in report["findings"] if finding["code"] == "leak_train_test")
    assert status == 0
    assert leak["count"] > 5
    assert "galaxies have images on both sides of the train/test split; --group-by-sky prevents it" in leak["message"]
    assert "50 pairs of images within 2 arcsec" in report["findings"][0]["message"]


def test_one_position_for_all_cannot_be_grouped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, report = check(write(tmp_path / "g.h5", ra=np.zeros(COUNT)), capsys)
    assert status == 1
    assert codes(report, harmful=True) == {"unsplittable_by_sky"}


def test_a_file_that_claims_to_be_the_published_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, report = check(write(tmp_path / "Galaxy10_DECals.h5"), capsys)
    assert (status, codes(report, harmful=True)) == (1, {"class_counts"})
    assert report["published_counts"] == list(CLASS_COUNTS)


@pytest.mark.parametrize("damage", ["missing", "truncated", "no labels"])
def test_what_cannot_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: str) -> None:
    path = write_hdf5(tmp_path / "g.h5", **({"ans": None} if damage == "no labels" else {}))
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:5000])
    if damage == "missing":
        path.unlink()
    status, report = check(path, capsys)
    assert (status, report["verdict"], report["uri"]) == (2, "unreadable", str(path))
    assert "g.h5" in report["error"]
    assert main(["check", str(path)]) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_the_table_is_for_people(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = changed(COPIED, 60, 0)
    assert main(["check", str(write(tmp_path / "Galaxy10_DECals.h5", images=images))]) == 1
    out = " ".join(capsys.readouterr().out.split())
    for words in (
        "images 100",
        "2 Round Smooth 10 10.0% 2,645",
        "harmful 1 image black all over 60",
        "warning 1 image equal to an earlier image of the same class 13",
        "harmful: it would spoil a run",
    ):
        assert words in out


def test_real_galaxies_are_usable(capsys: pytest.CaptureFixture[str]) -> None:
    status, report = check(real_sample(), capsys)
    assert status == 0
    assert codes(report, harmful=True) == set()
