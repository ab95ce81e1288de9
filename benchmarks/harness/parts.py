"""Parts of a benchmark, as its command line names them."""

from __future__ import annotations

import argparse
from collections.abc import Collection


def add_parts(
    parser: argparse.ArgumentParser, names: Collection[str], default: str = "all", what: str = "part"
) -> None:
    """Add an argument for any number of parts. By `type`: with `choices`, Python 3.11 refuses to be given none."""

    def part(text: str) -> str:
        if text not in names:
            raise argparse.ArgumentTypeError(f"a {what} must be one of {', '.join(names)}; got {text}")
        return text

    text = f"{', '.join(names)} (default: {default})"
    parser.add_argument(f"{what}s", nargs="*", type=part, metavar=what.upper(), help=text)
