"""Ranges of images as tables, each by itself: what a machine of a cluster does.

rows = Rows(model, (uri, reading, fingerprint), asked, 64)     # loads the network
table = rows((0, 4096))                                        # pyarrow.Table of these images
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Sequence
from importlib.metadata import distribution
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from galaxytl.classify.images import Images, batches, open_images
from galaxytl.classify.predictions import Asked, predictions, table_of
from galaxytl.data.progress import Unheard
from galaxytl.networks import device
from galaxytl.networks.exported import load_network
from galaxytl.system.cache import cache_dir
from galaxytl.system.command import UsageError
from galaxytl.system.locations import DataError
from galaxytl.trial.reading import ImagesAlone

if TYPE_CHECKING:
    from galaxytl.networks.classifier import Classifier  # imports Keras

GROUP: Final = "galaxytl.cluster"
"""Of entry points (pyproject.toml): what brings work to a cluster. This package knows no Ray."""
ROWS_A_TIME: Final = 4096
"""That a machine classifies at a time, so much work its death costs."""


def load(model: Path) -> Any:
    """Load the network of a model file, with Keras as this project sets it."""
    device.check_backend()
    device.quiet_framework()
    device.configure(None)
    return load_network(model)[0]


def compiled(network: Any, batch_size: int, asked: Asked) -> Classifier:
    """Compile a network for batches of a size."""
    from galaxytl.networks.classifier import Classifier

    return Classifier(network, batch_size, embeddings=asked.embeddings)


def tables_of(
    images: Images, asked: Asked, classifier: Classifier, rows: tuple[int, int]
) -> Generator[Any, None, None]:
    """Yield a pyarrow.Table for each batch of the images from the first of `rows` up to the second, in order."""
    with contextlib.closing(batches(images, asked.size, classifier.batch_size, rows)) as found:
        for batch, predicted in predictions(found, classifier, asked):
            yield table_of(images, batch, predicted, asked)


class Rows:
    """Classifies ranges of rows, on whatever machine. Every machine must see model and images under the same names."""

    def __init__(self, model: Path, images: tuple[str, ImagesAlone, str], asked: Asked, batch_size: int) -> None:
        """images: where they lie, how they are read, and the fingerprint that they have. Raises DataError where they
        have another one here, and ModelError."""
        uri, reading, fingerprint = images
        self._images = open_images(uri, reading, cache_dir(), Unheard())
        if self._images.fingerprint != fingerprint:
            raise DataError(f"every machine must see the same images; here {uri} has others, or other times of change")
        self._asked, self._classifier = asked, compiled(load(model), batch_size, asked)

    def __call__(self, rows: tuple[int, int]) -> Any:
        import pyarrow as pa

        tables = tables_of(self._images, self._asked, self._classifier, rows)
        return pa.concat_tables(list(tables), promote_options="default")


def on_cluster(
    address: str, make: Callable[[], Rows], ranges: Sequence[tuple[int, int]], say: Callable[[str], object]
) -> Generator[Any, None, None]:
    """Yield the tables of the ranges, in order, by the machines of a running cluster. Raises UsageError where nothing
    is installed that knows clusters, and what `make` raises there."""
    entries = [e for e in distribution("galaxytl").entry_points if (e.group, e.name) == (GROUP, "in_order")]
    if not entries:
        raise UsageError("--address wants the package sweep, which knows Ray; it is not installed here")
    yield from entries[0].load()(address, make, ranges, say)


def ranges_of(start: int, stop: int) -> list[tuple[int, int]]:
    """Return ranges of at most ROWS_A_TIME rows, one behind the other.

    >>> ranges_of(4000, 9000)
    [(4000, 8096), (8096, 9000)]
    """
    return [(first, min(first + ROWS_A_TIME, stop)) for first in range(start, stop, ROWS_A_TIME)]
