"""What is in a dataset, and what is wrong with it.

    report = check_dataset(open_dataset("Galaxy10_DECals.h5"))
    print_report(report, Console()); report.verdict        # "fine", "usable" or "harmful"

A finding is harmful where it would spoil a run: parts that are missing, more than a few images without content, labels
that contradict each other, positions that cannot be, a full dataset that is not the published one, a split that cannot
be made. The others are for the reader to weigh. A sweep stops at what is harmful in the content (`content_findings`).
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from galaxytl.data import sky
from galaxytl.data.dataset import Dataset
from galaxytl.data.files.classes import counts_of
from galaxytl.data.files.containers import ID_COLUMN, SKY_COLUMNS
from galaxytl.data.findings import CLASS_NAMES, NOTES, SHOWN, Finding, is_many, on_rows
from galaxytl.data.galaxy10 import CLASS_COUNTS, FILE_NAME, NUM_CLASSES
from galaxytl.data.scan import Progress, Scan
from galaxytl.data.splits import describe_leaks, leaks, split_indices
from galaxytl.system.foreign_text import visible
from galaxytl.system.locations import DataError
from galaxytl.trial import TrialSpec

FEW_SIZES = 4
"""So many different sizes of images are told one by one."""
VERDICTS = {
    "fine": "nothing is wrong with it",
    "usable": "it can be used; read the warnings",
    "harmful": "it would spoil a run",
}


@dataclass(frozen=True)
class Report:
    """All that `check` tells of a dataset."""

    uri: str
    name: str
    fingerprint: str
    images: int
    class_counts: tuple[int, ...]
    class_names: tuple[str, ...]
    published_counts: tuple[int, ...] | None
    """Of the published file, where this one is or claims to be it."""
    known: dict[str, int]
    """Column -> images that have a value in it."""
    findings: tuple[Finding, ...]
    sizes: dict[str, int]
    """Height and width, like "424 x 424" pixels -> images; the smallest first."""
    ids: dict[int, str]
    """Rows that findings name -> what the dataset calls these images."""

    @property
    def verdict(self) -> str:
        if any(finding.harmful for finding in self.findings):
            return "harmful"
        return "fine" if all(finding.code in NOTES for finding in self.findings) else "usable"

    def to_dict(self) -> dict[str, Any]:
        return {"verdict": self.verdict, **dataclasses.asdict(self)}


def check_dataset(dataset: Dataset, on_progress: Progress | None = None) -> Report:
    """Read every image, in bounded memory, unless opening the dataset has just done it; raises DataError when one
    cannot be read."""
    scan = dataset.scan or sky.scan_images(dataset, on_progress)
    twins = sky.twins(scan.digests)
    counts = tuple(np.bincount(dataset.labels, minlength=len(dataset.class_names)).tolist())
    published = CLASS_COUNTS if _claims_to_be_published(dataset) else None
    findings = (*content_findings(dataset, scan), *_about_splits(dataset, sky.united(twins, dataset.columns)))
    known = {name: number_known(values) for name, values in dataset.columns.items()}
    named = (dataset.uri, dataset.name, dataset.fingerprint, len(dataset), counts, dataset.class_names)
    return Report(*named, published, known, findings, sizes_of(scan.sides), ids_of(findings, dataset.columns))


def sizes_of(sides: NDArray[np.int32] | None) -> dict[str, int]:
    """Return how many images have each height and width, of `sides` (N, 2); in the order of their pixels."""
    if sides is None:
        return {}
    found, counts = np.unique(sides, axis=0, return_counts=True)
    order = np.argsort(found.prod(axis=1, dtype=np.int64), kind="stable")
    names = [f"{height} x {width}" for height, width in found[order].tolist()]
    return dict(zip(names, counts[order].tolist(), strict=True))


def ids_of(findings: Iterable[Finding], columns: Mapping[str, NDArray[Any]]) -> dict[int, str]:
    """Return what the dataset calls the images that the findings name, by their rows."""
    rows = sorted({row for finding in findings for row in finding.rows}) if ID_COLUMN in columns else []
    return {row: str(columns[ID_COLUMN][row]) for row in rows}


def number_known(values: NDArray[Any]) -> int:
    """Return how many of a column's values (N,) are known."""
    return int(np.sum(values != "" if values.dtype.kind in "UO" else ~np.isnan(values)))


def content_findings(dataset: Dataset, scan: Scan) -> tuple[Finding, ...]:
    """Return what is wrong with the images, labels and columns, whatever is to be done with them."""
    twins = sky.twins(scan.digests)
    return (
        *dataset.source.findings,
        *_about_classes(dataset),
        *_about_pixels(scan),
        *_about_twins(np.where(scan.one_colour, np.arange(len(twins)), twins), dataset.labels),
        *_about_columns(dataset.columns, dataset.name.startswith("galaxy10")),
        *_about_positions(dataset.columns, dataset.labels),
    )


def _claims_to_be_published(dataset: Dataset) -> bool:
    return len(dataset) == sum(CLASS_COUNTS) or dataset.uri.rstrip("/").endswith(FILE_NAME)


def _about_classes(dataset: Dataset) -> Iterator[Finding]:
    counts = np.bincount(dataset.labels, minlength=len(dataset.class_names)).tolist()
    if note := dataset.source.classes.note:
        yield Finding(CLASS_NAMES, False, note)
    if _claims_to_be_published(dataset) and tuple(counts) != CLASS_COUNTS:
        wrong = sum(count != right for count, right in itertools.zip_longest(counts, CLASS_COUNTS, fillvalue=0))
        rule = f"{FILE_NAME}, or {sum(CLASS_COUNTS):,} images, must have the published number of images of each class"
        yield Finding("class_counts", True, f"{rule}; {wrong} of {NUM_CLASSES} differ", wrong)
    classes = range(len(dataset.class_names))
    if empty := [label for label in classes if not counts[label]]:
        yield Finding("empty_classes", False, f"no image of {_named(empty, dataset.class_names)}", len(empty))
    if small := [label for label in classes if 0 < counts[label] < 3]:
        message = "fewer than 3 images, too few for a train, a validation and a test part: "
        yield Finding("small_classes", False, message + _named(small, dataset.class_names), len(small))


def _about_pixels(scan: Scan) -> Iterator[Finding]:
    empty = np.flatnonzero(scan.one_colour)
    for code, message, rows in (
        ("black", "black all over", np.flatnonzero(scan.black)),
        ("one_colour", "of a single colour", np.flatnonzero(scan.one_colour & ~scan.black)),
    ):
        if rows.size:
            yield on_rows(code, message, rows, harmful=is_many(len(empty), len(scan.black)))


def _about_twins(twins: NDArray[np.int64], labels: NDArray[np.int64]) -> Iterator[Finding]:
    copies = np.flatnonzero(twins != np.arange(len(twins)))
    differ = labels[copies] != labels[twins[copies]]
    if differ.any():
        many = (
            is_many(int(differ.sum()), len(labels)) and counts_of(labels) != CLASS_COUNTS
        )  # what is published is as it is
        yield on_rows("conflicting_duplicates", "equal to an earlier image of another class", copies[differ], many)
    if (~differ).any():
        yield on_rows("duplicates", "equal to an earlier image of the same class", copies[~differ], harmful=False)


def _about_columns(columns: Mapping[str, NDArray[np.float64]], is_galaxy10: bool) -> Iterator[Finding]:
    missing = [name for name in SKY_COLUMNS if np.isnan(columns[name]).all()]
    if missing and is_galaxy10:  # others' images need none
        message = f"no image has a value for {', '.join(missing)}"
        if {"ra", "dec"} & set(missing):
            message += f": images within {sky.CLOSE_ARCSEC:g} arcsec of each other cannot be found"
        yield Finding("missing_columns", False, message, len(missing))
    ranges = {"ra": (0, 360), "dec": (-90, 90), "redshift": (0, 10), "pxscale": (1e-6, np.inf)}
    rules = {
        "ra": "a right ascension outside 0 to 360 degrees",
        "dec": "a declination outside -90 to 90 degrees",
        "redshift": "a redshift outside 0 to 10 (no trial uses it)",
        "pxscale": "a pixel scale that is not above 0 (no trial uses it)",
    }
    for name, rule in rules.items():
        low, high = ranges[name]
        values = columns[name]
        outside = np.flatnonzero(~np.isnan(values) & ~((values >= low) & (values <= high) & np.isfinite(values)))
        if outside.size:
            example = f"with {rule}, such as {values[outside[0]]:g}"
            many = name in ("ra", "dec") and is_many(len(outside), len(values))
            yield on_rows(f"{name}_out_of_range", example, outside, harmful=many)


def _about_positions(columns: Mapping[str, NDArray[np.float64]], labels: NDArray[np.int64]) -> Iterator[Finding]:
    ra, dec = columns["ra"], columns["dec"]
    pairs = sky.count_close_pairs(ra, dec)
    if not pairs:
        return
    links = sky.close_links(ra, dec)
    differing = int(np.sum(labels[links[:, 0]] != labels[links[:, 1]]))
    message = (
        f"{pairs:,} {'pair' if pairs == 1 else 'pairs'} of images within {sky.CLOSE_ARCSEC:g} arcsec of each other"
    )
    if differing:
        message += f"; with different classes in {differing} or more of them"
    rows = tuple(np.unique(links)[:SHOWN].tolist())
    yield Finding("close_positions", False, message, pairs, rows)


def _about_splits(dataset: Dataset, groups: NDArray[np.int64]) -> Iterator[Finding]:
    spec = TrialSpec(dataset=dataset.name, dataset_fingerprint=dataset.fingerprint)
    try:
        torn = leaks(split_indices(dataset.labels, spec), groups)
    except DataError as error:
        yield Finding("unsplittable", True, f"the paper's split cannot be made: {error}")
        return
    for (sides, found), sentence in zip(torn.items(), describe_leaks(torn), strict=True):
        rows = tuple(found[:SHOWN].tolist())
        yield Finding(
            f"leak_{sides.replace('/', '_')}", False, f"the paper's split, seed 0: {sentence}", len(found), rows
        )
    try:
        split_indices(dataset.labels, spec, groups)
    except DataError as error:
        yield Finding("unsplittable_by_sky", True, f"a split with --group-by-sky cannot be made: {error}")


def _named(labels: list[int], names: tuple[str, ...]) -> str:
    return ", ".join(f"{label} ({names[label]})" for label in labels)


def print_report(report: Report, console: Console) -> None:
    """Write the report as tables that a person reads."""
    console.print(_summary_table(report))
    console.print(_class_table(report))
    if report.findings:
        console.print(_findings_table(report))
    style = {"fine": "bold green", "usable": "bold yellow", "harmful": "bold red"}[report.verdict]
    console.print(f"[{style}]{report.verdict}[/]: {VERDICTS[report.verdict]}", highlight=False)


def _summary_table(report: Report) -> Table:
    table = Table.grid(padding=(0, 2))
    known = ", ".join(f"{name} {number:,}" for name, number in report.known.items() if number)
    lines = {
        "dataset": report.name,
        "where": report.uri,
        "images": f"{report.images:,}",
        "pixels": _sizes(report.sizes),
        "fingerprint": report.fingerprint,
        "with a value": f"{known} images" if known else "no column beside image and class",
    }
    for name, value in lines.items():
        table.add_row(f"[bold]{name}[/]", escape(value))
    return table


def _sizes(sizes: Mapping[str, int]) -> str:
    """Name each size with its images where they are few, else the smallest and the largest."""
    if len(sizes) == 1:
        return f"{next(iter(sizes))}, all images"
    if len(sizes) <= FEW_SIZES:
        return ", ".join(f"{size} ({count:,})" for size, count in sizes.items())
    first, *_, last = sizes
    return f"{len(sizes):,} sizes, from {first} to {last}"


def _class_table(report: Report) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("class", justify="right")
    table.add_column("name", overflow="fold")
    for name in ("images", "share", *(("published",) if report.published_counts else ())):
        table.add_column(name, justify="right")
    for label, count in enumerate(report.class_counts):
        row = [str(label), escape(visible(report.class_names[label])), f"{count:,}", f"{count / report.images:.1%}"]
        if report.published_counts:
            published = report.published_counts[label]
            row.append(f"{published:,}" if published == count else f"[red]{published:,}[/]")
        table.add_row(*row)
    return table


def _findings_table(report: Report) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("kind")
    table.add_column("finding", overflow="fold")
    table.add_column("first images" if report.ids else "first rows", overflow="fold")
    for finding in sorted(report.findings, key=lambda finding: not finding.harmful):
        kind = "[red]harmful[/]" if finding.harmful else "note" if finding.code in NOTES else "[yellow]warning[/]"
        rows = (visible(report.ids.get(row, str(row))) for row in finding.rows)
        table.add_row(kind, escape(finding.message), escape(", ".join(rows)))
    return table
