"""Images that a network gets wrong, one by one: where they lie in the sky, what was said of them, and their pictures.

    wrong = wrong_of(networks)          # of one network a setting, the lowest seed that has stored its probabilities
    sections(wrong)                     # the most surely wrong of the first setting, with pictures
    csv_of(wrong, banner)               # all of them

Which setting is the first is not chosen by the test part: it is the best by validation accuracy, or the report's first.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from analysis.report.formats import csv_text
from analysis.report.sections import Listing, Section
from analysis.scores.class_sections import class_names, leading_setting
from analysis.trials.banner import Banner
from analysis.trials.repeats import Networks, Repeats
from galaxytl.results.predictions import CatalogueEntry, PredictionsError, Probabilities, read_catalogue
from galaxytl.results.thumbnails import ThumbnailsError, read_thumbnails
from galaxytl.trial import TrialResult

if TYPE_CHECKING:
    import pandas as pd

NAME: Final = "wrong_images.csv"
MARK: Final = "setting,trial,row,id,ra,dec,true_class,"
"""How the file begins: tells an earlier report's from a user's own."""
NUM_SHOWN: Final = 24
"""Images that the page shows."""
UNKNOWN: Final = CatalogueEntry()


@dataclass(frozen=True)
class WrongImage:
    """`probability` is that of the class named, `of_true` that of the true one."""

    row: int
    true: int
    named: int
    probability: float
    of_true: float


@dataclass(frozen=True, eq=False)
class Wrong:
    """Of one network, the surest first; `num_images` is the number of the test part's."""

    setting: str
    trial: TrialResult
    names: tuple[str, ...]
    num_images: int
    images: tuple[WrongImage, ...]
    entries: Mapping[int, CatalogueEntry] = field(default_factory=dict)
    """row -> what the catalogue says of it, where it says anything."""
    folder: Path = Path()


def wrong_of(networks: Networks) -> list[Wrong]:
    """Return a network a setting, the leading setting's first; none of settings without probabilities."""
    first = leading_setting(networks)
    ordered = [*([first] if first else []), *(own for own in networks.shown if own is not first)]
    found = (_wrong(own, networks) for own in ordered)
    return [one for one in found if one]


def _wrong(own: Repeats, networks: Networks) -> Wrong | None:
    result = next((r for r in own.results if r.trial_id in networks.probabilities), None)
    if result is None:
        return None
    found = networks.probabilities[result.trial_id]
    folder, images, entries = networks.folders.get(result.trial_id, Path()), _images(found), {}
    with contextlib.suppress(PredictionsError):
        entries = read_catalogue(folder, result, [image.row for image in images])
    names = class_names(result, found.values.shape[1])
    return Wrong(own.name, result, names, len(found.rows), images, entries, folder)


def _images(found: Probabilities) -> tuple[WrongImage, ...]:
    wrong = np.flatnonzero(~found.right)
    named, true = found.predicted[wrong], found.labels[wrong]
    sure, of_true = found.values[wrong, named], found.values[wrong, true]
    order = np.lexsort((found.rows[wrong], -sure))
    columns = (column[order].tolist() for column in (found.rows[wrong], true, named, sure, of_true))
    return tuple(WrongImage(*values) for values in zip(*columns, strict=True))


def sections(wrong: Sequence[Wrong]) -> list[Section]:
    """Return the section of the first network; none without one, or where it has all images right."""
    if not wrong or not wrong[0].images:
        return []
    own = wrong[0]
    pictures, why = _pictures(own)
    shown = [image for image in own.images if image.row in pictures or not pictures][:NUM_SHOWN]
    rows = tuple(_row(image, own) for image in shown)
    headings = ("Row", "Id", "RA (deg)", "Dec (deg)", "True class", "Named", "Its probability", "The true one's")
    listing = Listing(headings, rows, {0, 2, 3, 6, 7}, tuple(pictures.get(image.row, b"") for image in shown))
    if not own.entries:
        listing = _without(listing, (1, 2, 3))
    which = "those with a picture that it is surest of" if pictures else f"the surest; there are no pictures: {why}"
    number = f"{len(own.images):,} of {own.num_images:,} test images are wrong"
    said = f"{number} in {own.setting}, trial {own.trial.trial_id}, seed {own.trial.spec.seed}."
    beside = f"Shown: {len(shown)}, {which}. {NAME} has all, and those of one network of each setting."
    return [Section("Images that are wrong, one by one", listing, (f"{said} {beside}",), is_long=True)]


def _row(image: WrongImage, own: Wrong) -> tuple[str, ...]:
    entry = own.entries.get(image.row, UNKNOWN)
    place = ("" if np.isnan(value) else f"{value:.5f}" for value in (entry.ra, entry.dec))
    classes = (own.names[image.true], own.names[image.named])
    return (str(image.row), entry.id, *place, *classes, f"{image.probability:.3f}", f"{image.of_true:.3f}")


def _without(listing: Listing, columns: Sequence[int]) -> Listing:
    """Return it without columns of which nothing is known."""
    left = [number for number in range(len(listing.headings)) if number not in columns]
    rows = tuple(tuple(row[number] for number in left) for row in listing.rows)
    right = {place for place, number in enumerate(left) if number in listing.right}
    return Listing(tuple(listing.headings[number] for number in left), rows, right, listing.pictures)


def _pictures(own: Wrong) -> tuple[dict[int, bytes], str]:
    """Return row -> PNG of the surest that have one, or why there are none."""
    try:
        thumbnails = read_thumbnails(own.folder)
        rows = [image.row for image in own.images if thumbnails.labels.get(image.row) == image.true][:NUM_SHOWN]
        found = {row: _png(pixels) for row, pixels in thumbnails.pictures(rows).items()}
    except ThumbnailsError as error:
        return {}, str(error)
    return found, "" if found else f"{thumbnails.path} holds none of these images"


def _png(pixels: NDArray[np.uint8]) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def csv_of(wrong: Sequence[Wrong], banner: Banner) -> str:
    """Return a row an image and network. The banner is two columns, so that no row can lose it."""
    import pandas as pd  # half a second that `--help` need not wait for

    return csv_text(pd.concat([_frame(own) for own in wrong]).assign(warning=banner.warning, run_on=banner.run_on))


def _frame(own: Wrong) -> pd.DataFrame:
    import pandas as pd

    entries = [own.entries.get(image.row, UNKNOWN) for image in own.images]
    return pd.DataFrame(
        {
            "setting": own.setting,
            "trial": own.trial.trial_id,
            "row": [image.row for image in own.images],
            "id": [entry.id for entry in entries],
            "ra": [entry.ra for entry in entries],
            "dec": [entry.dec for entry in entries],
            "true_class": [own.names[image.true] for image in own.images],
            "named_class": [own.names[image.named] for image in own.images],
            "probability_of_named": [round(image.probability, 6) for image in own.images],
            "probability_of_true": [round(image.of_true, 6) for image in own.images],
        }
    )
