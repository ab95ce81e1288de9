"""Look at datasets from the command line.

python -m galaxytl.data sheet --data Galaxy10_DECals.h5 --data simulated --out galaxies.png
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from galaxytl.data import DataError, open_dataset
from galaxytl.data.galaxy10 import IMAGE_SIDE
from galaxytl.data.sheet import write_sheet


def main(argv: Sequence[str] | None = None) -> int:
    options = make_parser().parse_args(argv)
    try:
        draw_sheet(options.data, options.out)
    except (DataError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def draw_sheet(uris: Sequence[str], out: Path) -> None:
    """Write a PNG with galaxies of each class, one block of rows a dataset."""
    sources = {}
    for uri in uris:
        dataset = open_dataset(uri)
        name = "Galaxy10 DECaLS" if dataset.name.startswith("galaxy10") else dataset.name
        sources[name] = (dataset.resized(IMAGE_SIDE).images, dataset.labels)
    write_sheet(out, sources)
    print(out)


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m galaxytl.data", description=(__doc__ or "").splitlines()[0])
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    sheet = commands.add_parser("sheet", help="draw a contact sheet: a few galaxies of each class")
    sheet.add_argument("--data", action="append", required=True, metavar="URI", help="repeat to compare datasets")
    sheet.add_argument("--out", type=Path, required=True, metavar="FILE.png")
    return parser


if __name__ == "__main__":
    sys.exit(main())
