"""`check_dataset` on galaxies in memory, and once each what the command makes of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from galaxytl.data import Dataset
from galaxytl.data.__main__ import main
from galaxytl.data.check import Report, _about_twins, check_dataset
from galaxytl.data.files.classes import Classes
from galaxytl.data.files.containers import ArraySource
from galaxytl.data.files.fingerprint import ContentHash
from galaxytl.data.galaxy10 import CLASS_COUNTS, CLASS_NAMES
from tests.galaxies import make_images, real_sample, write_hdf5

COUNT = 100
LABELS = np.arange(COUNT) % 10
ARCSEC = 1 / 3600
IMAGES = np.ascontiguousarray(make_images(COUNT)[:, :8, :8])
DEGREES = np.arange(100.0)
FINE = {"ra": DEGREES, "dec": np.zeros(COUNT), "redshift": np.full(COUNT, 0.1), "pxscale": np.full(COUNT, 0.262)}
"""With IMAGES, corners of such, and LABELS: 100 different galaxies, a degree apart; nothing is wrong with them."""


def report_of(images: np.ndarray = IMAGES, labels: np.ndarray = LABELS, uri: str = "g.h5", **columns: Any) -> Report:
    content = ContentHash()
    content.add(images)
    source = ArraySource(images, Classes(labels, CLASS_NAMES), FINE | columns)
    return check_dataset(Dataset(uri, "galaxy10_layout_100_images", content.hexdigest(source.classes), source, Path()))


def codes(report: Report, harmful: bool) -> set[str]:
    return {finding.code for finding in report.findings if finding.harmful == harmful}


def changed(values: np.ndarray, rows: Any, value: Any) -> np.ndarray:
    values = values.copy()
    values[rows] = value
    return values


def test_nothing_wrong() -> None:
    report = report_of()
    assert (report.verdict, report.findings) == ("fine", ())
    assert (report.images, report.class_counts, report.published_counts) == (100, (10,) * 10, None)
    assert report.known == {"ra": 100, "dec": 100, "redshift": 100, "pxscale": 100}
    assert report.sizes == {"8 x 8": 100}
    half = report_of(ra=changed(DEGREES, slice(50), np.nan))  # positions that are not known are fine
    assert (half.findings, half.known["ra"]) == ((), 50)


@pytest.mark.parametrize(
    ("columns", "code", "rows"),
    [
        ({"images": changed(IMAGES, [3, 64, 65, 66], 0)}, "black", (3, 64, 65, 66)),
        ({"images": changed(IMAGES, range(4), 7)}, "one_colour", (0, 1, 2, 3)),
        ({"images": changed(IMAGES, range(14, 18), IMAGES[3])}, "conflicting_duplicates", (14, 15, 16, 17)),
        ({"ra": changed(DEGREES, range(6, 10), 360.5)}, "ra_out_of_range", (6, 7, 8, 9)),
        ({"ra": changed(DEGREES, range(6, 10), np.inf)}, "ra_out_of_range", (6, 7, 8, 9)),
        ({"dec": changed(np.zeros(COUNT), range(4), -91)}, "dec_out_of_range", (0, 1, 2, 3)),
        ({"labels": changed(LABELS, LABELS == 9, 0) + 9 * (np.arange(COUNT) == 99)}, "unsplittable", ()),
        ({"ra": np.zeros(COUNT)}, "unsplittable_by_sky", ()),
        ({"uri": "Galaxy10_DECals.h5"}, "class_counts", ()),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_would_spoil_a_run(columns: dict[str, Any], code: str, rows: tuple[int, ...]) -> None:
    report = report_of(**columns)
    assert report.verdict == "harmful"
    assert codes(report, harmful=True) == {code}
    assert next(finding.rows for finding in report.findings if finding.code == code) == rows
    assert report.published_counts == (CLASS_COUNTS if code == "class_counts" else None)


@pytest.mark.parametrize(
    ("columns", "code", "count"),
    [
        ({"images": changed(IMAGES, 13, IMAGES[3])}, "duplicates", 1),
        ({"images": changed(IMAGES, [3, 64, 65], 0)}, "black", 3),
        ({"images": changed(IMAGES, 3, 7)}, "one_colour", 1),
        ({"images": changed(IMAGES, 14, IMAGES[3])}, "conflicting_duplicates", 1),
        ({"ra": changed(DEGREES, 9, np.inf)}, "ra_out_of_range", 1),
        ({"ra": changed(DEGREES, 20, 1 - ARCSEC)}, "close_positions", 1),
        ({"ra": changed(DEGREES, 20, 360 - ARCSEC)}, "close_positions", 1),
        ({name: np.full(COUNT, np.nan) for name in ("ra", "pxscale")}, "missing_columns", 2),
        ({"redshift": changed(np.zeros(COUNT), [1, 2], [-0.5, 11])}, "redshift_out_of_range", 2),
        ({"pxscale": changed(np.ones(COUNT), 1, 0)}, "pxscale_out_of_range", 1),
        ({"labels": changed(LABELS, LABELS == 9, 0)}, "empty_classes", 1),
        ({"labels": changed(LABELS, np.arange(29, 100, 10), 0)}, "small_classes", 1),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_a_user_must_know(columns: dict[str, Any], code: str, count: int) -> None:
    report = report_of(**columns)
    assert report.verdict == "usable"
    assert next(finding.count for finding in report.findings if finding.code == code) == count


def test_what_is_published_with_twins_of_two_classes_is_used_as_it_is() -> None:
    published = np.repeat(np.arange(10), CLASS_COUNTS)
    for labels, harmful in ((published, False), (published[1:], True)):
        finding = next(_about_twins(np.zeros(len(labels), np.int64), labels))
        assert (finding.code, finding.harmful) == ("conflicting_duplicates", harmful)


def test_a_leak_of_the_papers_split_is_counted() -> None:
    report = report_of(ra=np.repeat(np.arange(50.0), 2))
    leak = next(finding for finding in report.findings if finding.code == "leak_train_test")
    assert report.verdict == "usable"
    assert leak.count > 5
    assert "galaxies have images on both sides of the train/test split; --group-by-sky prevents it" in leak.message
    assert "50 pairs of images within 2 arcsec" in report.findings[0].message


def check(path: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, Any]]:
    capsys.readouterr()
    status = main(["check", str(path), "--json"])
    return status, json.loads(capsys.readouterr().out)


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
    images = changed(changed(make_images(), range(20, 24), 0), 13, make_images()[3])
    assert main(["check", str(write_hdf5(tmp_path / "Galaxy10_DECals.h5", images=images, ra=None))]) == 1
    out = " ".join(capsys.readouterr().out.split())
    for words in (
        "images 40",
        "2 Round Smooth 4 10.0% 2,645",
        "harmful 4 images black all over 20, 21, 22, 23",
        "warning 1 image equal to an earlier image of the",
        "no image has a value for ra, dec",
        "harmful: it would spoil a run",
    ):
        assert words in out


def test_real_galaxies_are_usable(capsys: pytest.CaptureFixture[str]) -> None:
    status, report = check(real_sample(), capsys)
    assert (status, report["verdict"], len(report["fingerprint"])) == (0, "usable", 64)
    assert not any(finding["harmful"] for finding in report["findings"])
