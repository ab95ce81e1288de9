"""The story of a classification: images in a stream through a network, parts on disk, and the result of them.

summary = classify(Options(Path("galaxy.keras"), "images/", Path("classes.csv")), progress)
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from galaxytl.classify.formats import Facts
from galaxytl.classify.images import Images, open_images, pixels_of
from galaxytl.classify.parts import Parts, Work, open_parts
from galaxytl.classify.predictions import Asked
from galaxytl.classify.result import Summary, summary_of, unreadable_file, write_result, write_unreadable
from galaxytl.classify.rows import Rows, compiled, load, on_cluster, ranges_of, tables_of
from galaxytl.classify.sheet import Example, examples, write_sheet
from galaxytl.data.hot_copy import Size
from galaxytl.data.progress import Reporter
from galaxytl.networks.exported import Description, read_description
from galaxytl.system.cache import cache_dir
from galaxytl.system.locations import DataError
from galaxytl.trial.reading import ImagesAlone

BATCH_SIZE: Final = 64
"""Images that go through the network together."""


@dataclass(frozen=True)
class Options:
    """What is asked for."""

    model: Path
    """What `python -m sweep.export` wrote."""
    images: str
    """A path or URI, or a dataset's name."""
    out: Path
    """A file that is not there yet."""
    reading: ImagesAlone = dataclasses.field(default_factory=ImagesAlone)
    embeddings: bool = False
    symmetries: bool = False
    """Take the mean over the eight symmetries of the square."""
    sheet: Path | None = None
    """Of examples, and where the network looks."""
    batch_size: int = BATCH_SIZE
    address: str = ""
    """Of a running Ray cluster, HOST:PORT or auto, whose machines share the work; "": this process does it."""


def classify(options: Options, progress: Reporter) -> Summary:
    """Classify all images, or those that a run before has left, and write the result.

    Raises ModelError, DataError, also where no image can be read, UsageError where another run is at work or was of
    other work, and OSError.
    """
    description = read_description(options.model)
    spec, names = description.spec, tuple(description.class_names)
    size = Size(spec.image_size, spec.fit)
    asked = Asked(size, names, description.temperature, options.embeddings, options.symmetries)
    images = open_images(_absolute(options.images), options.reading, cache_dir(), progress)
    for note in (*_notes(description), *images.notes):
        progress.say(f"note: {note}")
    network = functools.cache(functools.partial(load, options.model))
    facts = Facts(names, _facts(options.model, description))
    with open_parts(options.out, _work(options, images, asked)) as parts:
        if parts.stop < len(images):
            _predict(parts, _tables(options, images, asked, network, parts.stop, progress), len(images), progress)
        summary = summary_of(parts, names)
        write_unreadable(parts, summary, unreadable_file(options.out))
        if len(summary.rows):
            if options.sheet:
                shown = _examples(images, summary, network(), size)
                trained = "simulated galaxies" if spec.is_simulated else spec.dataset
                title = f"Most and least certain of each class: {spec.backbone} trained on {trained}"
                write_sheet(options.sheet, shown, title)
            write_result(parts, options.out, facts)
    if not len(summary.rows):
        every = f"none of {summary.unreadable:,} can" if summary.unreadable > 1 else "the only one cannot"
        raise DataError(f"there must be an image that can be read; {every}: {summary.reason}")
    return summary


def _absolute(uri: str) -> str:
    """Return the same images from any working folder: a machine of a cluster has another one."""
    return str(Path(uri).absolute()) if Path(uri).exists() else uri


def _notes(description: Description) -> list[str]:
    """Return what must be said of a network, as its result would be taken for more."""
    spec = description.spec
    simulated = ["the network was trained on simulated galaxies, not real ones"] if spec.is_simulated else []
    return simulated + ([f"its backbone started from {spec.weights_label} weights"] if spec.is_substituted else [])


@functools.cache
def _sha256(model: Path) -> str:
    with model.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _facts(model: Path, description: Description) -> dict[str, Any]:
    spec = description.spec
    trained = {"dataset": spec.dataset, "backbone": spec.backbone, "image_size": spec.image_size}
    return {"file": model.name, "sha256": _sha256(model), "trial_id": spec.trial_id, **trained}


def _work(options: Options, images: Images, asked: Asked) -> Work:
    options_said = ["--tta"] * asked.symmetries + ["--embeddings"] * asked.embeddings
    return Work(_sha256(options.model), str(options.model), images.fingerprint, images.uri, options_said)


def _tables(
    options: Options, images: Images, asked: Asked, network: Callable[[], Any], start: int, progress: Reporter
) -> Generator[Any, None, None]:
    """Return what gives what is said of the images from row `start` on, in order, by this process or by a cluster."""
    rows = (start, len(images))
    if not options.address:
        number = -(-(len(images) - start) // -(-(len(images) - start) // options.batch_size))
        return tables_of(images, asked, compiled(network(), number, asked), rows)  # the last batch is hardly smaller
    where = (_absolute(options.images), options.reading, images.fingerprint)
    make = functools.partial(Rows, options.model.resolve(), where, asked, options.batch_size)
    return on_cluster(options.address, make, ranges_of(*rows), progress.say)


def _predict(parts: Parts, tables: Generator[Any, None, None], total: int, progress: Reporter) -> None:
    """Add what is left of the images to the parts."""
    if parts.stop:
        progress.say(f"{parts.stop:,} of {total:,} images were classified before: it goes on from there")
    progress.update("classifying", parts.stop, total)
    with contextlib.closing(tables) as found:
        for table in found:
            parts.add(table)
            progress.update("classifying", parts.stop, total)
    parts.flush()


def _examples(images: Images, summary: Summary, network: Any, size: Size) -> list[Example]:
    """Return what a sheet shows."""
    from galaxytl.networks.classifier import heat_maps

    places = examples(summary)
    rows = summary.rows[places].tolist()
    pixels = pixels_of(images, size, rows)
    heat = heat_maps(network, pixels, summary.classes[places])
    names = images.columns.get("file", images.columns.get("id"))
    called = [str(names[row]) if names is not None else f"image {row}" for row in rows]
    return [
        Example(image, warm, summary.class_names[summary.classes[place]], float(summary.probabilities[place]), name)
        for image, warm, place, name in zip(pixels, heat, places, called, strict=True)
    ]
