"""Classify images with a network that `python -m sweep.export` wrote.

python -m galaxytl.classify galaxy.keras images/ --to classes.csv            # also a catalogue, HDF5, Parquet, FITS,
python -m galaxytl.classify galaxy.keras galaxy.jpg --to classes.csv         # npz, tar, one picture, s3://bucket/...
python -m galaxytl.classify galaxy.keras survey.h5 --to classes.parquet --tta --embeddings --explain sheet.png

A run that was interrupted goes on where it was: give the same command again.

Exit status: 0 done, 1 done but for images that cannot be read, which are listed in classes.unreadable.csv, 2 it could
not be done; 130, 143, 129 interrupted (Ctrl-C, SIGTERM, SIGHUP).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Final

from galaxytl.classify.formats import ending_of
from galaxytl.classify.result import Summary, unreadable_file
from galaxytl.classify.run import BATCH_SIZE, Options, classify
from galaxytl.data.progress import TerminalProgress
from galaxytl.networks.exported import ModelError
from galaxytl.networks.gpu_memory import DeviceError
from galaxytl.system.command import Parser, UsageError, path, path_or_uri, run_command, whole_number
from galaxytl.system.console import Console
from galaxytl.system.foreign_text import visible
from galaxytl.system.locations import DataError
from galaxytl.trial.reading import add_images, images_of

SHOWN: Final = 10
"""Classes that the last line names."""


def main(argv: Sequence[str] | None = None) -> int:
    stopped = "interrupted; what was done is kept: the same command goes on from there"
    known = (DataError, ModelError, DeviceError, OSError)

    def story() -> int:
        options = parse(argv)
        with TerminalProgress(Console(stderr=True)) as progress:
            summary = classify(options, progress)
        return _ended(options, summary)

    return run_command(story, known=known, stopped=stopped)


def parse(argv: Sequence[str] | None = None) -> Options:
    """Return what the command line asks for. Raises UsageError."""
    given = make_parser().parse_args(argv)
    options = Options(
        model=given.model,
        images=given.images,
        out=given.to,
        reading=images_of(given),
        embeddings=given.embeddings,
        symmetries=given.tta,
        sheet=given.explain,
        batch_size=given.batch_size,
        address=given.address or "",
    )
    _check_outputs(options)
    return options


def make_parser() -> Parser:
    parser = Parser(prog="python -m galaxytl.classify", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", type=path, metavar="MODEL.keras", help="what `python -m sweep.export` wrote")
    what = "a folder, a catalogue of paths, HDF5, Parquet, FITS, npz, tar, or one picture: a path or URI"
    parser.add_argument("images", type=path_or_uri, metavar="IMAGES", help=what)
    parser.add_argument("--to", type=path, required=True, metavar="FILE", help="a .csv, .parquet or .h5 file")
    parser.add_argument("--embeddings", action="store_true", help="add the backbone's features, a mean over the image")
    parser.add_argument("--tta", action="store_true", help="take the mean over the eight symmetries of the square")
    sheet = "draw the images of which it is most and least certain, and where it looks (Grad-CAM)"
    parser.add_argument("--explain", type=path, metavar="SHEET.png", help=sheet)
    number = whole_number(1, 65536)
    parser.add_argument("--batch-size", type=number, default=BATCH_SIZE, metavar="N", help="default: %(default)s")
    address = "a running Ray cluster whose machines share the work; all must see model and images under the same names"
    parser.add_argument("--address", metavar="HOST:PORT", help=address)
    add_images(parser)
    return parser


def _check_outputs(options: Options) -> None:
    ending_of(options.out)
    for option, file in (("--to", options.out), ("--explain", options.sheet)):
        if file and file.is_dir():
            raise UsageError(f"{option} must name a file; {file} is a folder")
    if options.model.suffix != ".keras":
        raise UsageError(f"the model must be a .keras file that python -m sweep.export wrote; got {options.model}")
    if options.sheet and options.sheet.exists():
        raise UsageError(f"--explain must name a file that is not there yet; {options.sheet} is: remove it")
    if options.out.exists():
        raise UsageError(f"--to must name a file that is not there yet; {options.out} is: remove it, or name another")
    if options.sheet:
        if options.sheet.suffix.lower() != ".png":
            raise UsageError(f"--explain must name a file that ends with .png; got '{options.sheet}'")
        options.sheet.parent.mkdir(parents=True, exist_ok=True)
        if not os.access(options.sheet.parent, os.W_OK):
            raise UsageError(
                f"--explain must name a file that can be written; {options.sheet.parent} is write-protected"
            )


def _ended(options: Options, summary: Summary) -> int:
    """Say what came out; return the exit status."""
    out = f"{options.out}" + (f", {options.sheet}" if options.sheet else "")
    names = summary.class_names
    counts = ", ".join(f"{number:,} {visible(names[label])}" for label, number in summary.counts.most_common(SHOWN))
    more = f" and {len(summary.counts) - SHOWN} classes more" if len(summary.counts) > SHOWN else ""
    print(f"{len(summary.rows):,} images classified: {counts}{more}. Written: {out}")
    if summary.unreadable:
        number = f"{summary.unreadable:,} image{' ' if summary.unreadable == 1 else 's '}"
        print(
            f"{number}cannot be read: see {unreadable_file(options.out)}. The first: {summary.reason}", file=sys.stderr
        )
    return 1 if summary.unreadable else 0


if __name__ == "__main__":
    sys.exit(main())
