"""How every command reads its options, and how it ends, in this process; with `| head`, in its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import pytest

from analysis import audit
from analysis.run import __main__ as report
from galaxytl.data import __main__ as data
from galaxytl.system import command
from galaxytl.system.command import Parser, UsageError, path, path_or_uri, run_command, whole_number
from sweep import run
from sweep.doctor import __main__
from tests.sweep.sweeps import ROOT

COMMANDS = [run.main, __main__.main, report.main, audit.main, data.main]

# How it ends


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where tracebacks are kept."""
    monkeypatch.setattr(command.tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture(autouse=True)
def hangups() -> Iterator[None]:
    """Also where the tests run under nohup, which ignores them."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


def failing(error: BaseException) -> Callable[[], int]:
    def story() -> int:
        raise error

    return story


def test_what_its_story_returns_is_its_status() -> None:
    assert [run_command(lambda: status) for status in (0, 1)] == [0, 1]  # noqa: B023


def test_a_known_error_is_its_message(temporary: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(failing(OSError("s3://me:secret@there is full"))) == 2
    assert run_command(failing(UsageError("--out must be a folder"))) == 2
    assert run_command(failing(MemoryError("Unable to allocate 4 TiB"))) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("error: s3://me:***@there is full\nerror: --out must be a folder\n")
    assert "\nerror: there must be enough memory for what is read and computed; it ran out (Unable" in said.err
    assert not list(temporary.iterdir())


def test_an_unforeseen_error_is_a_line_and_a_file_that_nobody_else_reads(
    temporary: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(failing(KeyError("of\nmany lines"))) == 2
    (kept,) = temporary.iterdir()
    (line,) = capsys.readouterr().err.splitlines()
    said = "unforeseen error: KeyError: 'of\\nmany lines'"
    assert line == f"{said}; the traceback lies in {kept}; please report it"
    assert "in failing" not in kept.read_text()
    assert "raise error" in kept.read_text()
    assert kept.stat().st_mode & 0o777 == 0o600


@pytest.mark.usefixtures("temporary")
@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("in a thread"), "unforeseen error: ValueError: in a thread; the traceback lies in "),
        (SystemExit(1), ""),  # rich raises it where nobody reads, in whichever thread
    ],
)
def test_an_error_in_a_thread_is_a_line_too(
    error: BaseException, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def story() -> int:
        thread = threading.Thread(target=failing(error))
        thread.start()
        thread.join()
        return 0

    assert run_command(story) == 0
    said = capsys.readouterr().err
    assert said.startswith(line)
    assert bool(said) == bool(line)


def handlers() -> list[object]:
    return [signal.getsignal(number) for number in (signal.SIGINT, *command.ENDING_SIGNALS)]


@pytest.mark.parametrize(
    ("sent", "status"),
    [((signal.SIGINT,), 130), ((signal.SIGTERM, signal.SIGHUP), 143), ((signal.SIGHUP, signal.SIGTERM), 129)],
)
def test_a_signal_ends_it_as_ctrl_c_does_and_what_it_holds_is_let_go_of(
    sent: tuple[signal.Signals, ...], status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """The second comes while it ends, as schedulers send them, and does not cut that short."""
    first, *second = sent
    let_go, before = [], handlers()

    def story() -> int:
        try:
            os.kill(os.getpid(), first)
        finally:
            for number in second:
                os.kill(os.getpid(), number)
            let_go.append(True)
        return 0

    assert run_command(story, stopped="Stopped. Go on.") == status
    assert let_go == [True]
    assert capsys.readouterr().err == "\nStopped. Go on.\n"
    assert handlers() == before


def test_what_is_ignored_as_by_nohup_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert run_command(lambda: os.kill(os.getpid(), signal.SIGHUP) or 0) == 0
    finally:
        signal.signal(signal.SIGHUP, before)


def test_an_error_while_a_signal_ends_it_changes_no_status(capsys: pytest.CaptureFixture[str]) -> None:
    """As a terminal that is gone, which cannot be written to."""

    def story() -> int:
        try:
            os.kill(os.getpid(), signal.SIGHUP)
        finally:
            raise OSError(5, "Input/output error")

    assert run_command(story) == 129
    assert "Input/output error" in capsys.readouterr().err


def test_a_librarys_handlers_are_put_back() -> None:
    def librarys(_number: int, _frame: FrameType | None) -> None: ...

    before = handlers()
    with command.own_handlers():
        signal.signal(signal.SIGTERM, librarys)
    assert handlers() == before


def test_a_reader_that_has_gone_is_no_error() -> None:
    """In a process of its own: it ends with what Python itself would say of its output."""
    reader, writer = os.pipe()
    os.close(reader)
    audits = [sys.executable, "-m", "analysis.audit"]
    done = subprocess.run(audits, stdout=writer, stderr=subprocess.PIPE, cwd=ROOT, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


def test_a_letter_that_a_terminal_cannot_show_is_named() -> None:
    own = os.environ | {"PYTHONIOENCODING": "ascii"}
    story = "lambda: print('K\\xf6ln', chr(0xdcff)) or 1 / 0"
    code = f"from galaxytl.system.command import run_command; run_command({story})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, cwd=ROOT, env=own, check=True)
    assert done.stdout == b"K\\xf6ln \\xff\n"
    assert done.stderr.startswith(b"unforeseen error: ZeroDivisionError: division by zero")


# Its options


@pytest.fixture
def parser() -> Parser:
    made = Parser(prog="test")
    made.add_argument("--out", type=path)
    made.add_argument("--data", type=path_or_uri)
    made.add_argument("--seeds", type=whole_number(1, 20))
    made.add_argument("--set", action="append")
    return made


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("--out a --out=b", "an option is given once; got --out 2 times"),
        ("--ou a", "unknown option '--ou'. Did you mean '--out'?"),
        ("--out a b", "nothing is known to do with 'b'."),
        ("--data=", "data must not be empty"),
        ("--set=", "set must not be empty"),
        ("--out=", "must be a path; got ''"),
        ("--out=s3://bucket/a", "must be a path of this machine; got the URI 's3://bucket/a'"),
        ("--out ~nobody-of-this-name/a", "~ must be a home folder that is known; got '~nobody-of-this-name/a'"),
        ("--data gal\udcff.h5", "must be UTF-8; got 'gal\udcff.h5'"),
        ("--seeds 020", "must be a whole number from 1 to 20; got '020'"),
        ("--seeds 21", "must be a whole number from 1 to 20; got '21'"),
        ("--seeds 1_0", "must be a whole number from 1 to 20; got '1_0'"),
    ],
)
def test_what_is_said_twice_or_not_at_all_is_refused(parser: Parser, given: str, message: str) -> None:
    with pytest.raises(UsageError) as refusal:
        parser.parse_args(given.split())
    assert message in str(refusal.value)


def test_options_that_collect_values_repeat_and_a_home_folder_is_found(
    parser: Parser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    options = parser.parse_args(["--set", "a", "--set", "b", "--out=~/x", "--data=~/f.h5", "--seeds", "20"])
    assert vars(options) == {"set": ["a", "b"], "out": Path("/home/ada/x"), "data": "/home/ada/f.h5", "seeds": 20}
    assert [path_or_uri(text) for text in ("s3://b/~", "simulated:30")] == ["s3://b/~", "simulated:30"]


@pytest.mark.parametrize("main", COMMANDS)
def test_every_command_refuses_in_a_line(main: Callable[[list[str]], int], capsys: pytest.CaptureFixture[str]) -> None:
    for given in (["--otu", "x"], ["--help-me"]):
        assert main(given) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("error: ")


def test_who_has_no_home_is_told_what_to_set(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a process of a user without entry among the users, whose HOME is not set."""
    monkeypatch.setattr(os.path, "expanduser", lambda text: text)
    monkeypatch.delenv("GALAXYTL_CACHE_DIR")
    assert run_command(lambda: 0) == 2
    assert capsys.readouterr().err.startswith("error: a user must have a home folder; this one has none: set GALAXYTL_")
    monkeypatch.setenv("GALAXYTL_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("HOME", "")
    assert run_command(lambda: 0) == 0
    assert os.environ["HOME"] == str(tmp_path)
