"""How each of the project's commands reads its options, and how it ends: with one line and an exit status.

    def main(argv=None) -> int:
        return run_command(lambda: story(parse(argv)), known=(DataError, OSError))

    parser = Parser(prog="python -m ...")
    parser.add_argument("--out", type=path)           # ~ is the home folder

Exit status: what the story returns; 2 where it raised; 130, 143, 129 after Ctrl-C, SIGTERM, SIGHUP (128 + the signal);
141 where nobody reads what it prints (`| head`). Nothing ends in a traceback on the terminal: that of an error which
nobody foresaw goes to a file. Standard library only.
"""

from __future__ import annotations

import argparse
import codecs
import contextlib
import itertools
import os
import re
import select
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, Final, NoReturn

from galaxytl.system.credentials import (
    forget,
    remember,
    remember_environment,
    without_secrets,
)
from galaxytl.system.files import advice
from galaxytl.system.foreign_text import did_you_mean, visible
from galaxytl.system.locations import DataError, check_address

BAD_INPUT: Final = 2
COMMAND: Final = "galaxytl "
"""How sys.argv[0] begins where `galaxytl sweep` stands for `python -m sweep.run` (`galaxytl.__main__`)."""
COMPLETION: Final = "_ARGCOMPLETE"
"""The variable that is set where a shell asks how a word could go on."""
ENDING_SIGNALS: Final = (signal.SIGTERM, signal.SIGHUP)
"""What schedulers and closed terminals send."""
OUT_OF_MEMORY: Final = "free some, use a machine with more, or make what is read smaller"
ONE_WISH_SECONDS: Final = 5.0
"""Signals come in twos, as SIGTERM and SIGHUP: one that follows another so soon does not cut the ending short."""


class UsageError(ValueError):
    """The command line, or the environment, asks for something that cannot be done."""


@contextlib.contextmanager
def as_usage_error(kind: type[Exception]) -> Iterator[None]:
    """Turn errors of one kind into a UsageError with the same message."""
    try:
        yield
    except kind as error:
        raise UsageError(str(error)) from error


class Ended(KeyboardInterrupt):
    """A signal came that is to end the command: what cleans up after Ctrl-C does so after this too."""


# How a command ends


def run_command(
    story: Callable[[], int], known: tuple[type[Exception], ...] = (OSError,), stopped: str = "Stopped."
) -> int:
    """Return the exit status of `story`, after a line about what went wrong, if something did.

    known: errors whose message says all that the user needs. stopped: what is printed when a signal ended it.
    """
    _prepare_streams()
    _remember_secrets()
    received: list[int] = []
    with _without_secrets(), _signals_end_it(received), _threads_end_in_a_line():
        try:
            _have_a_home()
            status = story()
            sys.stdout.flush()
        except KeyboardInterrupt:
            _say(f"\n{stopped}")
            status = 128 + signal.SIGINT
        except SystemExit as error:
            status = _status_of(error)
        except Exception as error:
            if isinstance(error, BrokenPipeError) and _is_unread(sys.stdout):
                status = _unread()
            else:
                _say(_line_about(error, (UsageError, *known)))
                status = BAD_INPUT
        return 128 + received[0] if received else status


def _have_a_home() -> None:
    """Set HOME where there is none: astropy, Ray and Keras want one, and the cache will do."""
    if os.path.expanduser("~") == "~":
        cache = os.environ.get("GALAXYTL_CACHE_DIR")
        if not cache:
            raise UsageError("a user must have a home folder; this one has none: set GALAXYTL_CACHE_DIR to a folder")
        os.environ["HOME"] = os.path.abspath(cache)


@contextlib.contextmanager
def _signals_end_it(received: list[int]) -> Iterator[None]:
    """Have SIGTERM and SIGHUP raise Ended in the main thread, and note them in `received`. What is ignored stays so:
    nohup ignores SIGHUP."""
    last = -ONE_WISH_SECONDS

    def end(number: int, _frame: FrameType | None) -> None:
        nonlocal last
        before, last = last, time.monotonic()
        received.append(number)
        if last - before >= ONE_WISH_SECONDS:
            raise Ended(signal.Signals(number).name)

    with own_handlers():
        if threading.current_thread() is threading.main_thread():
            for number in ENDING_SIGNALS:
                if signal.getsignal(number) is not signal.SIG_IGN:
                    signal.signal(number, end)
        yield


@contextlib.contextmanager
def _threads_end_in_a_line() -> Iterator[None]:
    before = threading.excepthook

    def say(ended: threading.ExceptHookArgs) -> None:
        if ended.exc_type is not SystemExit:  # rich's, where nobody reads: the main thread hears of it too
            _say(_line_about(ended.exc_value or ended.exc_type(), ()))

    threading.excepthook = say
    try:
        yield
    finally:
        threading.excepthook = before


@contextlib.contextmanager
def own_handlers() -> Iterator[None]:
    """Have SIGTERM and SIGHUP handled as before afterwards, whatever a library has installed meanwhile."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only there can they be set
        return
    before = {number: signal.getsignal(number) for number in ENDING_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _status_of(error: SystemExit) -> int:
    """Return the status of --help and the like; rich raises it where nobody reads what is printed."""
    if isinstance(error.__context__, BrokenPipeError):
        return _unread()
    if isinstance(error.code, str):
        _say(error.code)
        return 1
    return error.code or 0


def _unread() -> int:
    """Return the status of programs whose reader has gone; what is still in the buffer goes nowhere, without a word."""
    _to_nowhere(sys.stdout)
    return 128 + signal.SIGPIPE


def _is_unread(stream: Any) -> bool:
    """Return whether it is a pipe whose reader has gone: others break too, between processes of ours."""
    look = select.poll()
    with contextlib.suppress(OSError, ValueError, AttributeError):
        look.register(stream.fileno(), 0)
    return any(events & select.POLLERR for _, events in look.poll(0))


def _to_nowhere(stream: Any) -> None:
    with contextlib.suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def _say(text: str) -> None:
    """Print a line, as far as that can be done: after SIGHUP there may be no terminal, and a disk may be full."""
    for stream, line in ((sys.stdout, ""), (sys.stderr, f"{text}\n")):
        try:
            stream.write(line)
            stream.flush()
        except (OSError, ValueError):
            _to_nowhere(stream)


def _line_about(error: BaseException, known: tuple[type[Exception], ...]) -> str:
    if isinstance(error, MemoryError):
        reason = f" ({text})" if (text := " ".join(str(error).split())[:200]) else ""
        return f"error: there must be enough memory for what is read and computed; it ran out{reason}: {OUT_OF_MEMORY}"
    if isinstance(error, known):
        line, how = f"error: {error}", advice(error)
        return visible(without_secrets(f"{line.rstrip('.')}. {how}" if how else line))
    said = " ".join(without_secrets(f"{type(error).__name__}: {error}").split())  # before a part of it is cut off
    return visible(f"unforeseen error: {said[:300]}; {_kept_traceback(error)}; please report it")


def _kept_traceback(error: BaseException) -> str:
    """Write the traceback, and return where it lies: a file for this user alone, as it may hold what is secret."""
    try:
        handle, name = tempfile.mkstemp(prefix="galaxytl-error-", suffix=".txt")
        with open(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(without_secrets("".join(traceback.format_exception(error))))
    except OSError as unkept:
        return f"its traceback could not be kept ({unkept})"
    return f"the traceback lies in {name}"


# What it prints


def _prepare_streams() -> None:
    """Have what a terminal cannot show printed as \\x.., and a stream that is closed written to nowhere."""
    codecs.register_error("shown", shown)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 (as long as the process)
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="shown")


def _remember_secrets() -> None:
    """Remember those of the command line and of the environment."""
    forget()
    for word in sys.argv:
        remember(word)
    remember_environment()


class _Masked:
    """A stream into which no secret is written."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        self._stream.write(without_secrets(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)


@contextlib.contextmanager
def _without_secrets() -> Iterator[None]:
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = map(_Masked, before)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def shown(error: UnicodeError) -> tuple[str | bytes, int]:
    """Replace a letter that cannot be written by \\x.., as Python names it; of a name that is no UTF-8, its byte.

    >>> codecs.register_error("shown", shown)
    >>> "gal\\udcff, Köln".encode("ascii", "shown").decode()
    'gal\\\\xff, K\\\\xf6ln'
    """
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letters = error.object[error.start : error.end]
    plain = "".join(chr(ord(letter) - 0xDC00) if "\udc80" <= letter <= "\udcff" else letter for letter in letters)
    return plain.encode("ascii", "backslashreplace").decode(), error.end


# Its options


class Parser(argparse.ArgumentParser):
    """No abbreviations; no option twice, but for those that collect values; no empty values. Raises UsageError."""

    def __init__(self, **settings: Any) -> None:
        prog = settings.get("prog") or ""
        if prog.startswith("python -m ") and sys.argv[0].startswith(COMMAND):
            settings["prog"] = sys.argv[0]
        super().__init__(**{"allow_abbrev": False, **settings})

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (--help lists the options)")

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        if COMPLETION in os.environ:
            import argcomplete

            argcomplete.autocomplete(self)  # and ends the process
        options, unknown = self.parse_known_args(args, namespace)
        if unknown:
            what = "unknown option" if unknown[0].startswith("-") else "nothing is known to do with"
            self.error(f"{what} '{unknown[0]}'.{did_you_mean(unknown[0], self._option_names())}")
        for name, value in vars(options).items():
            if value == "" or (isinstance(value, list) and "" in value):
                self.error(f"{name} must not be empty: leave it out, or give it a value; got ''")
        return options

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        given = sys.argv[1:] if args is None else list(args)
        for word in given:
            remember(word)
        self._refuse_repetitions(given)
        return super().parse_known_args(given, namespace)

    def _refuse_repetitions(self, given: Sequence[str]) -> None:
        """Refuse an option that is given twice: argparse itself takes the last value, and says nothing."""
        words = itertools.takewhile(lambda word: word != "--", given)
        by_name = {name: action for action in self._actions for name in action.option_strings}
        actions = [by_name[name] for word in words if (name := word.partition("=")[0]) in by_name]
        for action, count in Counter(actions).items():
            if count > 1 and not isinstance(action, argparse._AppendAction):
                self.error(f"an option is given once; got {' or '.join(action.option_strings)} {count} times")

    def _option_names(self) -> list[str]:
        """Return the names of all options, also those of its commands."""
        commands = [action for action in self._actions if isinstance(action, argparse._SubParsersAction)]
        parsers = [self, *(parser for action in commands for parser in action.choices.values())]
        return [name for parser in parsers for action in parser._actions for name in action.option_strings]


def path(text: str) -> Path:
    """Parse an option's path on this machine; ~ is the home folder."""
    if not text:
        raise argparse.ArgumentTypeError("must be a path; got ''")
    _check_utf8(text)
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", text):
        raise argparse.ArgumentTypeError(f"must be a path of this machine; got the URI '{text}'")
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise argparse.ArgumentTypeError(f"~ must be a home folder that is known; got '{text}': write it out") from None


def path_or_uri(text: str) -> str:
    """Parse a path or a URI: it stays as it is, but for ~ at its beginning."""
    _check_utf8(text)
    try:
        check_address(text)
    except DataError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return str(path(text)) if text.startswith("~") else text


def _check_utf8(text: str) -> None:
    """Refuse other names, which only the system itself can make use of: no Parquet file, no report and no database can
    hold it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        way_out = "rename it, or run with LC_ALL=C.UTF-8 if it is"
        raise argparse.ArgumentTypeError(f"must be UTF-8; got '{text}': {way_out}") from None


def whole_number(low: int, high: int) -> Callable[[str], int]:
    """Return the type of an option: a whole number in decimal digits, from `low` to `high`."""

    def parse(text: str) -> int:
        if not re.fullmatch(r"0|[1-9][0-9]{0,17}", text) or not low <= int(text) <= high:
            raise argparse.ArgumentTypeError(
                f"must be a whole number from {low} to {high}; got '{without_secrets(text)[:40]}'"
            )
        return int(text)

    return parse
