"""What a network says of images: probabilities, calibrated ones, entropy, embeddings; and a table of it.

for batch, found in predictions(batches, classifier, asked): table_of(images, batch, found, asked)
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from galaxytl.classify.images import Batch, Images
from galaxytl.data.hot_copy import Size
from galaxytl.learning.augmentation.symmetries import symmetries
from galaxytl.networks.exported import ModelError
from galaxytl.results.temperature import tempered

if TYPE_CHECKING:
    from galaxytl.networks.classifier import Classifier  # imports Keras

PROBABILITIES, CALIBRATED, EMBEDDING = "probabilities", "calibrated_probabilities", "embedding"
"""Columns with a list of numbers an image."""
REASON: Final = "reason"
"""Column that says why an image cannot be read; null for those that can."""
OURS: Final = re.compile(
    r"row|file|id|ra|dec|class|name|probability|calibrated|entropy|reason|embedding|(calibrated_)?probabilities"
    r"|[pc]_.*|e\d+"
)
"""Names of columns that a table has, whatever the dataset has."""


@dataclass(frozen=True)
class Asked:
    """What is to be said of each image, by one network."""

    size: Size
    """That the network sees."""
    class_names: tuple[str, ...]
    temperature: float | None = None
    """By which logits are divided for calibrated probabilities (Guo et al. 2017); None: there are none."""
    embeddings: bool = False
    symmetries: bool = False
    """Take the mean over the eight symmetries of the square: four turns, each mirrored and not."""


@dataclass(frozen=True)
class Predictions:
    """Of n images, in their order."""

    probabilities: NDArray[np.float32]
    """(n, C)."""
    calibrated: NDArray[np.float32] | None
    """(n, C)."""
    embeddings: NDArray[np.float32] | None
    """(n, channels) means over the backbone's last feature map."""


def entropies(probabilities: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return those (n,) of probabilities (n, C), in nats: 0 where one class is certain, log C where all are alike."""
    values = probabilities.astype(np.float64)
    return np.asarray(-(values * np.log(np.where(values > 0, values, 1.0))).sum(axis=1))


def predictions(
    batches: Iterable[Batch], classifier: Classifier, asked: Asked
) -> Iterator[tuple[Batch, Predictions | None]]:
    """Yield each batch with what the network says of its images, None where it has no image; one more batch is under
    way meanwhile."""
    before: tuple[Batch, list[Any]] | None = None
    for batch in batches:
        views = symmetries(batch.pixels) if asked.symmetries else [batch.pixels]
        started = batch, [classifier.start(view) for view in views] if len(batch.pixels) else []
        if before:
            yield _ended(*before, classifier, asked)
        before = started
    if before:
        yield _ended(*before, classifier, asked)


def _ended(
    batch: Batch, under_way: Sequence[Any], classifier: Classifier, asked: Asked
) -> tuple[Batch, Predictions | None]:
    if not under_way:
        return batch, None
    views = [classifier.outputs(view, len(batch.pixels)) for view in under_way]
    probabilities = np.mean([view["probabilities"] for view in views], axis=0, dtype=np.float64)
    if not np.isfinite(probabilities).all():
        raise ModelError("a network must give a probability of each class; this one gives none for some images")
    of_temperature = None
    if asked.temperature is not None:
        of_temperature = np.mean([tempered(view["probabilities"], asked.temperature) for view in views], axis=0).astype(
            np.float32
        )
    embeddings = np.stack([view["embeddings"] for view in views]).mean(axis=0) if asked.embeddings else None
    return batch, Predictions(np.asarray(probabilities, np.float32), of_temperature, embeddings)


def table_of(images: Images, batch: Batch, found: Predictions | None, asked: Asked) -> Any:
    """Return a pyarrow.Table with a row for each image from `batch.first` to `batch.stop`, also for those that cannot
    be read, which have REASON and no prediction."""
    import pyarrow as pa

    names = asked.class_names
    number, rows = batch.stop - batch.first, batch.rows - batch.first
    columns: dict[str, Any] = {"row": pa.array(np.arange(batch.first, batch.stop), pa.int64())}
    for name, values in images.columns.items():
        part = values[batch.first : batch.stop]
        columns[_name_of(name, images)] = _column(part)
    if found is None:
        probabilities = np.empty((0, len(names)), np.float32)
        found = Predictions(probabilities, probabilities, None)
    classes = found.probabilities.argmax(axis=1)
    place = np.arange(len(classes))
    columns["class"] = _spread(classes.astype(np.int32), rows, number)
    columns["name"] = pa.DictionaryArray.from_arrays(columns["class"], pa.array(names)).cast(pa.string())
    columns["probability"] = _spread(found.probabilities[place, classes], rows, number)
    if asked.temperature is not None and found.calibrated is not None:
        columns["calibrated"] = _spread(found.calibrated[place, classes], rows, number)
    columns["entropy"] = _spread(entropies(found.probabilities).astype(np.float32), rows, number)
    columns[PROBABILITIES] = _lists(found.probabilities, rows, number)
    if asked.temperature is not None and found.calibrated is not None:
        columns[CALIBRATED] = _lists(found.calibrated, rows, number)
    if found.embeddings is not None:
        columns[EMBEDDING] = _lists(found.embeddings, rows, number)
    columns[REASON] = pa.array([batch.unreadable.get(row) for row in range(batch.first, batch.stop)], pa.string())
    return pa.table(columns)


def _name_of(name: str, images: Images) -> str:
    """Return what a column of the dataset is called beside ours."""
    is_asked = name in images.reading.columns and name not in ("file", "id", "ra", "dec")
    return f"data_{name}" if is_asked and OURS.fullmatch(name) else name


def _column(values: Any) -> Any:
    import pyarrow as pa

    if isinstance(values, np.ndarray) and values.dtype.kind in "UO":
        return pa.array(values.astype(object), pa.string())
    return pa.array(values) if isinstance(values, np.ndarray) else values.cast(pa.string())


def _spread(values: NDArray[Any], rows: NDArray[np.int64], number: int) -> Any:
    """Return an Arrow array (number,) with values (n,) at `rows`, and null elsewhere."""
    import pyarrow as pa

    all_values, is_null = np.zeros(number, values.dtype), np.ones(number, bool)
    all_values[rows], is_null[rows] = values, False
    return pa.array(all_values, mask=is_null)


def _lists(values: NDArray[np.float32], rows: NDArray[np.int64], number: int) -> Any:
    """Return an Arrow array (number,) of lists of float32 with values (n, D) at `rows`, and zeros elsewhere."""
    import pyarrow as pa

    all_values = np.zeros((number, values.shape[1]), np.float32)
    all_values[rows] = values
    return pa.FixedSizeListArray.from_arrays(pa.array(all_values.reshape(-1)), values.shape[1])
