"""The simulated galaxies: their format, that they are reproducible, and that the classes look like what they claim."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from sklearn.linear_model import RidgeClassifier

from galaxytl.data.__main__ import main as data_command
from galaxytl.data.galaxy10 import CLASS_COUNTS, CLASS_NAMES, NUM_CLASSES
from galaxytl.data.simulation import morphology, simulate
from galaxytl.data.simulation.sheet import write_sheet
from galaxytl.data.simulation.simulate import class_labels, simulate_galaxy
from tests.galaxies import draw_quickly

MERGING, ROUND, BETWEEN, CIGAR, BARRED, TIGHT, LOOSE, THIN, THIN_WITH_BULGE = range(1, 10)
SEED = 3


@cache
def galaxies(label: int, count: int = 12) -> NDArray[np.float64]:
    """`count` images of one class, (count, 256, 256, 3), in counts."""
    return np.stack([simulate_galaxy(index, label, SEED).image for index in range(count)]).astype(float)


@cache
def bare(label: int, count: int = 12) -> NDArray[np.float32]:
    """The same galaxies in r, after the seeing, without field, noise and stretch: (count, S, S) nanomaggies."""
    drawn = []
    for index in range(count):
        rng = np.random.default_rng([SEED, index])
        light = morphology.DRAWERS[label](rng, simulate.GRID, simulate.draw_population(rng, label))
        drawn.append(simulate.convolve(light, simulate.seeing_kernels(rng))[1])
    return np.stack(drawn)


def axis_ratio(light: NDArray[np.float32]) -> float:
    """Minor over major axis from the second moments of the light."""
    rows, columns = np.mgrid[: light.shape[0], : light.shape[1]]
    variances = np.linalg.eigvalsh(np.cov(rows.ravel(), columns.ravel(), aweights=np.maximum(light, 0).ravel()))
    return float(np.sqrt(variances[0] / variances[1]))


def area(image: NDArray[np.float64]) -> int:
    """Pixels near the centre that are brighter than 90 counts."""
    return int((image[28:228, 28:228].mean(axis=2) > 90).sum())


def redness(image: NDArray[np.float64], low: float, high: float) -> float:
    """Mean of R - B over central pixels whose brightness lies in this range, counts."""
    centre = image[88:168, 88:168]
    brightness = centre.mean(axis=2)
    chosen = centre[(brightness > low) & (brightness < high)]
    return float((chosen[:, 0] - chosen[:, 2]).mean())


def median_axis_ratio(label: int) -> float:
    return float(np.median([axis_ratio(light) for light in bare(label)]))


# --- one galaxy


def test_a_galaxy_depends_on_seed_index_and_label_alone() -> None:
    first = simulate_galaxy(5, LOOSE, SEED)
    simulate_galaxy(6, ROUND, SEED)
    np.random.default_rng().random()
    again = simulate_galaxy(5, LOOSE, SEED)
    assert np.array_equal(first.image, again.image)
    assert (first.redshift, first.ra, first.dec) == (again.redshift, again.ra, again.dec)
    for other in (
        simulate_galaxy(6, LOOSE, SEED),
        simulate_galaxy(5, LOOSE, SEED + 1),
        simulate_galaxy(5, TIGHT, SEED),
    ):
        assert not np.array_equal(first.image, other.image)


def test_a_galaxy_has_galaxy10s_format() -> None:
    for label in range(NUM_CLASSES):
        galaxy = simulate_galaxy(0, label, SEED)
        assert (galaxy.image.shape, galaxy.image.dtype, galaxy.label) == ((256, 256, 3), np.uint8, label)
        assert 0 < galaxy.redshift <= 0.3
        assert 0 <= galaxy.ra < 360
        assert -18 <= galaxy.dec <= 34
        assert galaxy.pxscale == 0.262


def test_what_cannot_be_drawn_is_refused() -> None:
    with pytest.raises(ValueError, match="0 to 9; got 10"):
        simulate_galaxy(0, 10, SEED)
    with pytest.raises(ValueError, match="got 0"):
        class_labels(0, SEED)


def test_the_sky_is_as_bright_and_as_noisy_as_galaxy10s() -> None:
    # 255 asinh(20 * 0.03) / sqrt(20) = 32.4 is what the viewer makes of an empty sky. In the published images the
    # robust scatter is 8 to 15 counts, and most of it is grey: JPEG halves the colour grid.
    corners = np.concatenate([galaxies(label)[:, :40, :40].reshape(-1, 3) for label in (ROUND, TIGHT, CIGAR)])
    middle = np.median(corners, axis=0)
    scatter = 1.4826 * np.median(np.abs(corners - middle), axis=0)
    assert np.all(np.abs(middle - 32.4) < 3)
    assert np.all((scatter > 7) & (scatter < 16))
    sky = corners[np.abs(corners - middle).max(axis=1) < 40]
    assert np.corrcoef(sky.T)[0, 2] > 0.5


def test_the_stretch_is_the_viewers() -> None:
    bands = np.array([0.5, 0.2, 1.0], np.float32).reshape(3, 1, 1)  # g, r, z in nanomaggies
    scaled = np.array([1.0 * 2.2, 0.2 * 3.4, 0.5 * 6.0]) + 0.03  # R, G, B
    expected = np.clip(scaled * np.arcsinh(20 * scaled.mean()) / np.sqrt(20) / scaled.mean(), 0, 1)
    assert simulate.stretch(bands)[0, 0] == pytest.approx(expected, rel=1e-5)


def test_seeing_keeps_the_light() -> None:
    rng = np.random.default_rng(0)
    light = np.zeros((3, simulate.GRID.side, simulate.GRID.side), np.float32)
    light[:, 100, 130] = [1.0, 2.0, 3.0]
    blurred = simulate.convolve(light, simulate.seeing_kernels(rng))
    assert blurred.sum(axis=(1, 2)) == pytest.approx([1, 2, 3], rel=1e-4)
    for band in blurred:
        assert np.unravel_index(band.argmax(), band.shape) == (100, 130)
        width = 0.262 * 2 * np.sqrt((band > band.max() / 2).sum() / np.pi)  # full width at half maximum, arcsec
        assert 0.8 < width < 1.7


# --- ten classes


@pytest.mark.rest
def test_axis_ratios_fall_from_round_to_edge_on() -> None:
    ratios = [median_axis_ratio(label) for label in (ROUND, BETWEEN, CIGAR, THIN)]
    assert ratios == sorted(ratios, reverse=True)
    assert ratios[0] > 0.85
    assert ratios[3] < 0.3
    assert max(axis_ratio(light) for light in bare(THIN)) < 0.6 * min(axis_ratio(light) for light in bare(ROUND))


def prominence(light: NDArray[np.float32]) -> float:
    """Peak brightness over that of the ridge one standard deviation of the light away along the major axis."""
    rows, columns = np.mgrid[: light.shape[0], : light.shape[1]] - (light.shape[0] - 1) / 2
    places, weights = np.stack([rows.ravel(), columns.ravel()]), np.maximum(light, 0).ravel()
    variances, axes = np.linalg.eigh(np.cov(places, aweights=weights))
    along = np.abs(axes[:, 1] @ places) / np.sqrt(variances[1])
    return float(light.max() / light.ravel()[(along > 0.95) & (along < 1.05)].max())


@pytest.mark.rest
def test_a_bulge_outshines_the_middle_of_an_edge_on_galaxy() -> None:
    without, with_bulge = ([prominence(light) for light in bare(label)] for label in (THIN, THIN_WITH_BULGE))
    assert np.median(without) < 2.3
    assert np.median(with_bulge) > 2.7


def test_spirals_fill_more_of_the_frame_than_round_galaxies() -> None:
    loose, round_ones = (np.median([area(image) for image in galaxies(label)]) for label in (LOOSE, ROUND))
    assert loose > 1.5 * round_ones


@pytest.mark.parametrize("label", [BARRED, TIGHT, LOOSE])
def test_spirals_have_red_centres_and_bluer_arms(label: int) -> None:
    gradients = [redness(image, 180, 256) - redness(image, 70, 130) for image in galaxies(label)]
    assert np.median(gradients) > 10


def second_peak(light: NDArray[np.float32]) -> float:
    """The second-brightest local maximum of the light (S, S), as a share of the brightest."""
    # About one seeing disk a pixel; without the outermost two pixels the galaxy's centre lies inside one.
    coarse = light[2:-2, 2:-2].reshape(71, 4, 71, 4).mean(axis=(1, 3))
    side = len(coarse)
    around = [coarse[1 + i : side - 1 + i, 1 + j : side - 1 + j] for i in (-1, 0, 1) for j in (-1, 0, 1) if i or j]
    peaks = np.sort(coarse[1:-1, 1:-1][coarse[1:-1, 1:-1] > np.max(around, axis=0)])
    return float(peaks[-2] / peaks[-1]) if len(peaks) > 1 else 0.0


@pytest.mark.rest
def test_mergers_have_a_second_nucleus_and_smooth_galaxies_none() -> None:
    assert np.mean([second_peak(light) > 0.15 for light in bare(MERGING)]) >= 0.5
    assert all(second_peak(light) < 0.05 for light in bare(ROUND))


# --- labels


def test_labels_have_galaxy10s_proportions() -> None:
    counts = np.bincount(class_labels(1000, SEED), minlength=NUM_CLASSES)
    assert counts.sum() == 1000
    assert np.all(np.abs(counts - 1000 * np.array(CLASS_COUNTS) / 17736) < 1)
    assert np.array_equal(np.bincount(class_labels(17736, SEED)), CLASS_COUNTS)
    for num_images in (30, 31, 60, 100):
        labels = class_labels(num_images, SEED)
        assert (labels.dtype, len(labels)) == (np.int64, num_images)
        assert np.bincount(labels, minlength=NUM_CLASSES).min() >= 3  # none of thirty and more has fewer

    first, same, other = class_labels(200, 0), class_labels(200, 0), class_labels(200, 1)
    assert np.array_equal(first, same)
    assert not np.array_equal(first, other)
    assert np.array_equal(np.sort(first), np.sort(other))
    assert not np.array_equal(first, np.sort(first))


# --- the folder


# --- for learning


def small(images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Images at 32 x 32, flattened, in 0 to 1."""
    tiles = [np.asarray(Image.fromarray(image).resize((32, 32), Image.Resampling.BILINEAR)) for image in images]
    return np.stack(tiles).reshape(len(images), -1) / 255


@pytest.mark.rest  # 240 galaxies are drawn for it
def test_a_linear_model_learns_something_but_not_everything() -> None:
    labels = class_labels(240, SEED)
    features = small(np.stack([simulate_galaxy(row, int(label), SEED).image for row, label in enumerate(labels)]))
    accuracy = RidgeClassifier(30.0).fit(features[:170], labels[:170]).score(features[170:], labels[170:])
    majority = np.bincount(labels[170:]).max() / 70
    assert majority + 0.12 < accuracy < 0.85


# --- the sheet


def test_a_sheet_shows_every_class_of_every_source(tmp_path: Path) -> None:
    images = np.stack([np.full((8, 8, 3), 20 * label + 40, np.uint8) for label in range(NUM_CLASSES)])
    labels = np.arange(NUM_CLASSES)
    path = tmp_path / "docs" / "sheet.png"
    write_sheet(path, {"first": (images, labels), "second": (images[::-1], labels)}, CLASS_NAMES, per_class=1)
    with Image.open(path) as sheet:
        colours = {pixel for _, pixel in sheet.convert("RGB").getcolors(maxcolors=1 << 20) or []}
        assert 1500 < sheet.width < 1700
    for label in range(len(CLASS_NAMES)):
        level = (20 * label + 40) // 8 * 8
        assert (level, level, level) in colours
    with pytest.raises(ValueError, match="at least one"):
        write_sheet(path, {}, CLASS_NAMES)


def test_a_sheet_of_anybodys_classes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    draw_quickly(monkeypatch, tmp_path / "cache")
    for number in range(12):
        place = tmp_path / "mine" / ("a_class_of_a_long_name", "bright")[number % 2] / f"{number:02}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8 + number, 9, 3), 100 * (number % 2) + 8 * number, np.uint8)).save(place)
    command = ["sheet", "--data", str(tmp_path / "mine"), "--out", str(tmp_path / "sheet.png")]
    assert data_command(command) == 0
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width < 400
        colours = {pixel for _, pixel in sheet.convert("RGB").getcolors(maxcolors=1 << 20) or []}
    shown = [100 * (number % 2) + 8 * number for number in range(6)]
    assert {(level // 8 * 8,) * 3 for level in shown} <= colours
    assert data_command([*command, "--data", "simulated:30"]) == 2
    assert "must have the same classes; the first has a_class_of_a_long_name, bright" in capsys.readouterr().err
