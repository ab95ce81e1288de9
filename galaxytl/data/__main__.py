"""Fetch, check, convert and look at datasets from the command line.

python -m galaxytl.data fetch                              # download and verify Galaxy10_DECals.h5 (2.54 GB)
python -m galaxytl.data fetch galaxy10-sdss                # to where `--data galaxy10-sdss` looks for it
python -m galaxytl.data check Galaxy10_DECals.h5           # what is in it, what is wrong with it
python -m galaxytl.data convert Galaxy10_DECals.h5 --to s3://bucket/galaxy10/
python -m galaxytl.data sheet --data Galaxy10_DECals.h5 --data simulated --out galaxies.png

Exit status: 0 done, 1 `check` found what would spoil a run, 2 it could not be done; 130, 143, 129 interrupted
(Ctrl-C, SIGTERM, SIGHUP).
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from galaxytl.data import DataError, galaxy10_sdss, open_dataset
from galaxytl.data.dataset import open_source
from galaxytl.data.galaxy10 import FILE_NAME, HUB_DATASET
from galaxytl.data.progress import TerminalProgress
from galaxytl.system.cache import cache_dir, check_cache
from galaxytl.system.command import Parser, path, path_or_uri, run_command
from galaxytl.system.console import Console
from galaxytl.system.credentials import without_secrets
from galaxytl.system.foreign_text import names_text, visible
from galaxytl.trial.reading import AS_FOUND, Reading, add_reading, reading_of

MOST_COLUMNS: Final = 100
"""Classes on a sheet: 15,500 pixels."""


def main(argv: Sequence[str] | None = None) -> int:
    def story() -> int:
        options = make_parser().parse_args(argv)
        return int(options.run(options))

    kept = "interrupted; what was done is kept: the same command goes on from there"
    return run_command(story, known=(DataError, OSError), stopped=kept)


def fetch(options: argparse.Namespace) -> int:
    """Download the dataset, or what is missing of it."""
    from galaxytl.data.download.fetch import ZENODO, fetch_hdf5, fetch_parquet
    from galaxytl.data.download.http import RemoteFile

    if options.name:
        return _fetch_named(options)
    if bool(options.url) != bool(options.sha256):
        raise DataError(
            "--url and --sha256 must be given together: what comes from elsewhere is used if it is the same"
        )
    with TerminalProgress(Console(stderr=True), in_bytes=True) as progress:
        if options.source == "huggingface" and not options.url:
            target = options.out or Path(HUB_DATASET.split("/")[1])
            fetch_parquet(target, progress)
        else:
            remote = RemoteFile(options.url, options.sha256) if options.url else ZENODO
            target = options.out or Path()
            if target.is_dir():
                target /= Path(urlsplit(remote.url).path).name or FILE_NAME
            fetch_hdf5(remote, target, progress)
    print(f"Next: python -m galaxytl.data check {shlex.quote(str(target))}")
    return 0


def _fetch_named(options: argparse.Namespace) -> int:
    from galaxytl.data.download import presets

    if options.url or options.sha256 or options.source:
        raise DataError(f"--url, --sha256 and --source do not go with a name; got {options.name}")
    if options.name not in presets.PRESETS and not presets.HUB_NAME.fullmatch(options.name):
        known = ", ".join(presets.PRESETS)
        raise DataError(f"fetch takes {known}, or owner/name[:config] of Hugging Face; got '{options.name}'")
    target = options.out or presets.place_of(options.name)
    if options.out and options.out.is_dir():
        target = options.out / presets.place_of(options.name).name
    with TerminalProgress(Console(stderr=True), in_bytes=True) as progress:
        presets.fetch_preset(options.name, target, progress)
    shown = options.name if not options.out and presets.is_name(options.name) else str(target)
    print(f"Next: python -m galaxytl.data check {shlex.quote(shown)}")
    return 0


def _located(uri: str, reading: Reading = AS_FOUND) -> tuple[str, Reading]:
    """Return the path of a dataset that is given by name, and how it is read; all else as it is."""
    from galaxytl.data.download import presets

    with TerminalProgress(Console(stderr=True), in_bytes=True) as progress:
        return presets.located(uri, reading, progress)


def check(options: argparse.Namespace) -> int:
    """Print what is in a dataset and what is wrong with it; 1 when that would spoil a run."""
    from galaxytl.data.check import check_dataset, print_report

    check_cache()
    try:
        uri, reading = _located(options.uri, reading_of(options))
        with TerminalProgress(Console(stderr=True)) as progress:
            dataset = open_dataset(uri, on_progress=progress.update, reading=reading)
            report = check_dataset(dataset, progress.update)
    except (DataError, OSError) as error:
        if options.json:
            uri, text = without_secrets(options.uri), without_secrets(str(error))
            print(json.dumps({"verdict": "unreadable", "uri": uri, "error": text}))
        raise
    if options.json:
        print(json.dumps(report.to_dict()))
    else:
        print_report(report, Console())
    return 1 if report.verdict == "harmful" else 0


def convert(options: argparse.Namespace) -> int:
    """Write a copy in another container, and say what lies there now."""
    from galaxytl.data.convert import ConvertOptions
    from galaxytl.data.convert import convert as write_copy

    check_cache()
    uri, reading = _located(options.uri, reading_of(options))
    how = ConvertOptions(compression=options.compression, stratified=options.stratified, reading=reading)
    with TerminalProgress(Console(stderr=True)) as progress:
        copy = write_copy(uri, options.to, how, progress.update)
    done = "already there" if copy.already_there else "written"
    place = without_secrets(copy.uri)
    print(f"{place}: {done}, {copy.num_images:,} images of {copy.name}, fingerprint {copy.fingerprint}")
    if copy.split:
        print(f"Split column: {visible(copy.split)}")
    for note in copy.notes:
        print(f"note: {visible(note)}")
    return 0


def draw_sheet(options: argparse.Namespace) -> int:
    """Write a PNG with galaxies of each class, one block of rows a dataset."""
    from galaxytl.data.simulation.sheet import first_of_each, write_sheet

    check_cache()
    sources: dict[str, Any] = {}
    names: tuple[str, ...] = ()
    for given in options.data:
        uri, reading = _located(given, reading_of(options))
        opened, shown = open_source(uri, cache_dir(), reading=reading), without_secrets(given)
        names = names or opened.source.classes.names
        _check_classes(opened.source.classes.names, names, shown)
        is_decals = opened.name.startswith("galaxy10") and opened.name != galaxy10_sdss.NAME
        name = "Galaxy10 DECaLS" if is_decals else opened.name
        name = f"{name}, {shown}" if name in sources else name
        if name in sources:
            raise DataError(f"--data must name different datasets; got {shown} twice")
        sources[name] = first_of_each(opened.source)
    write_sheet(options.out, sources, names)
    print(options.out)
    return 0


def _check_classes(found: tuple[str, ...], names: tuple[str, ...], where: str) -> None:
    """Raise DataError for classes that a sheet of `names` does not show."""
    if len(names) > MOST_COLUMNS:
        raise DataError(f"a sheet has a column a class, at most {MOST_COLUMNS}; {where} has {len(names):,} classes")
    if found != names:
        rule = f"datasets of one sheet must have the same classes; the first has {names_text(names)}"
        raise DataError(f"{rule}, {where} has {names_text(found)}. Draw a sheet for each")


def make_parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m galaxytl.data", description=(__doc__ or "").splitlines()[0])
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_fetch(commands.add_parser("fetch", help="download and verify Galaxy10 DECaLS (2.54 GB), or another dataset"))
    looked_at = commands.add_parser("check", help="what is in a dataset, and what is wrong with it")
    _add_uri(looked_at)
    add_reading(looked_at)
    looked_at.add_argument("--json", action="store_true", help="print one JSON object, for programs")
    looked_at.set_defaults(run=check)
    _add_convert(commands.add_parser("convert", help="copy a dataset to HDF5 or Parquet, here or on s3://"))
    sheet = commands.add_parser("sheet", help="draw a contact sheet: a few images of each class")
    sheet.add_argument(
        "--data", type=path_or_uri, action="append", required=True, metavar="URI", help="repeat to compare datasets"
    )
    sheet.add_argument("--out", type=path, required=True, metavar="FILE.png")
    add_reading(sheet)
    sheet.set_defaults(run=draw_sheet)
    return parser


def _add_uri(parser: Parser) -> None:
    what = "a file, a folder of Parquet files or with a folder a class, simulated:300, ..."
    parser.add_argument("uri", type=path_or_uri, metavar="FILE-OR-URI", help=what)


def _add_fetch(parser: Parser) -> None:
    place = f"where to (default: ./{FILE_NAME}, or the folder ./{HUB_DATASET.split('/')[1]} from Hugging Face)"
    parser.add_argument("--out", type=path, metavar="FILE", help=place)
    parser.add_argument(
        "name",
        nargs="?",
        metavar="NAME",
        help="galaxy10, galaxy10-sdss, or owner/name[:config] on Hugging Face: to where --data NAME looks for it "
        "(default: Galaxy10 DECaLS, to the working folder)",
    )
    parser.add_argument("--source", choices=("zenodo", "huggingface"), help="default: zenodo")
    parser.add_argument("--url", help="fetch this file instead, a mirror for example; needs --sha256")
    parser.add_argument("--sha256", type=_sha256, metavar="HEX", help="what the file at --url must have")
    parser.set_defaults(run=fetch)


def _add_convert(parser: Parser) -> None:
    _add_uri(parser)
    add_reading(parser)
    target = "a .h5 or .parquet file, or a folder of Parquet files; a path or an s3:// URI"
    parser.add_argument("--to", type=path_or_uri, required=True, metavar="URI", help=target)
    parser.add_argument("--compression", choices=("gzip", "none"), default="gzip", help="of HDF5 images; default: gzip")
    parser.add_argument("--stratified", action="store_true", help="make Parquet's split column class by class")
    parser.set_defaults(run=convert)


def _sha256(text: str) -> str:
    if not re.fullmatch(r"[0-9a-fA-F]{64}", text):
        raise argparse.ArgumentTypeError(f"must be 64 hexadecimal digits; got '{text}'")
    return text.lower()


if __name__ == "__main__":
    sys.exit(main())
