"""How is a sweep? Asked from any terminal or machine that sees its results; nothing there is changed.

    python -m sweep.status results/lr                       # the folder, or where --storage keeps it: s3://bucket/sweeps/lr
    python -m sweep.status results/lr --watch               # again and again, until the sweep ends
    python -m sweep.status results/lr --json                # for programs; docs/status.md lists the keys
    python -m sweep.status results/lr --watch --html status.html       # a page that reloads itself

Exit status: 0 it was said, also of a sweep that was killed; 2 there is no sweep, or it cannot be read. With --watch: 0
all trials COMPLETE or PRUNED, 1 some FAILED or are missing, 3 the sweep was stopped or killed, 130 after Ctrl-C.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from rich.live import Live

from galaxytl.results.storage import StorageError
from galaxytl.system.command import Parser, UsageError, path, path_or_uri, run_command
from galaxytl.system.console import Console
from galaxytl.system.files import write_atomically
from galaxytl.system.locations import DataError
from sweep.status.page import MARK, page
from sweep.status.snapshot import Snapshot, as_json, take
from sweep.status.sources import read_files
from sweep.status.terminal import line, screen

LOOK_SECONDS: Final = 2.0
"""Between two looks of a watch, at least; of a large or distant sweep LOOK_SHARE times what one took."""
LOOK_SHARE: Final = 4.0
Show = Callable[[Snapshot], None]


@dataclass(frozen=True)
class StatusOptions:
    place: str
    watch: bool
    json: bool
    html: Path | None


def main(argv: Sequence[str] | None = None) -> int:
    def story() -> int:
        return run(parse(sys.argv[1:] if argv is None else argv), Console(highlight=False))

    return run_command(story, known=(DataError, StorageError, OSError), stopped="Stopped watching. The sweep goes on.")


def parse(argv: Sequence[str]) -> StatusOptions:
    """Return what `argv` asks for. Raises UsageError."""
    parser = Parser(
        prog="python -m sweep.status", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", type=path_or_uri, help="results folder of a sweep, or its copy's path or URI")
    parser.add_argument("--watch", action="store_true", help="look again every few seconds, until the sweep ends")
    parser.add_argument("--json", action="store_true", help="print JSON; with --watch, a line at each look")
    parser.add_argument("--html", type=path, metavar="FILE", help="write a page too, which a browser reloads by itself")
    given = parser.parse_args(argv)
    if given.html:
        _check_page(given.html)
    return StatusOptions(given.results, given.watch, given.json, given.html)


def _check_page(file: Path) -> None:
    """Raise UsageError unless a page can be written there, over nothing but a page of ours."""
    try:
        if not file.parent.is_dir():
            raise UsageError(f"--html must name a file in a folder that is there; got {file}")
        if MARK.encode() in file.read_bytes()[:1000]:
            return
    except FileNotFoundError:
        return
    except OSError as error:
        raise UsageError(f"--html must name a file; got {file}: {error.strerror}") from error
    raise UsageError(f"--html replaces nothing but its own page; {file} is none: remove it, or name another")


def run(options: StatusOptions, console: Console) -> int:
    """Show the status once, or until the sweep ends; the exit status."""
    began = time.monotonic()
    snapshot = take(read_files(options.place))
    with _shown(options, console) as show:
        show(snapshot)
        while options.watch and not snapshot.is_over:
            time.sleep(max(LOOK_SECONDS, LOOK_SHARE * (time.monotonic() - began)))
            began = time.monotonic()
            snapshot = _look_again(options.place, snapshot)
            show(snapshot)
    return snapshot.exit_status if options.watch else 0


def _look_again(place: str, before: Snapshot) -> Snapshot:
    """Return how the sweep is by now; what was seen before where its place does not answer just now."""
    try:
        return take(read_files(place))
    except (DataError, OSError) as error:
        return replace(before, problems=(f"this is as seen before: {error}",))


@contextlib.contextmanager
def _shown(options: StatusOptions, console: Console) -> Iterator[Show]:
    """Give what shows a snapshot: as text once, in place, a line each time that something is new, or as JSON."""
    last = ""

    def lines(snapshot: Snapshot) -> None:
        nonlocal last
        if (text := line(snapshot)) != last:
            console.print(text, markup=False, soft_wrap=True)
            last = text
        if snapshot.is_over:
            console.print(screen(snapshot), crop=False)

    with contextlib.ExitStack() as stack:
        text: Show = lambda snapshot: console.print(screen(snapshot), crop=False)  # noqa: E731
        if options.json:
            text = lambda snapshot: print(_json(snapshot, indent=None if options.watch else 1), flush=True)  # noqa: E731
        elif options.watch and console.is_terminal:
            live = stack.enter_context(Live(console=console, auto_refresh=False))
            text = lambda snapshot: live.update(screen(snapshot), refresh=True)  # noqa: E731
        elif options.watch:
            text = lines

        def show(snapshot: Snapshot) -> None:
            text(snapshot)
            if options.html:
                now = datetime.datetime.now().astimezone()
                write_atomically(options.html, page(snapshot, now).encode())

        yield show


def _json(snapshot: Snapshot, indent: int | None) -> str:
    return json.dumps(as_json(snapshot), indent=indent, allow_nan=False)


if __name__ == "__main__":
    sys.exit(main())
