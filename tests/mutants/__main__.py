"""Sixty deliberate faults: does the suite catch them?

    python -m tests.mutants                     # all of them; exit status 0 where at least 57 are caught
    python -m tests.mutants lease 07 --jobs 1   # those with one of these words in their names; all must be caught

A mutant is a patch beside this file, a slip of a few lines that a tired colleague could make. Above its `diff` stands
what is wrong and what that means for a user, and after `Guard:` the test files that must notice. Each is applied to a
copy of the repository, where these files run whole, with what is marked `rest` or `alone`. Files with tests that want
the machine for themselves come last, one at a time.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Final

ROOT: Final = Path(__file__).parents[2]
NEEDED: Final = 57
WHERE_FROM: Final = "import analysis, galaxytl, sweep; print(analysis.__file__, galaxytl.__file__, sweep.__file__)"
TEST_FAILED: Final = 1
"""Pytest's exit status; others say that it could not run the tests."""


@dataclass(frozen=True)
class Mutant:
    name: str
    patch: Path
    guards: tuple[str, ...]
    """Test files, relative to the repository."""
    is_alone: bool
    """Whether a guard has tests that must not run beside others."""


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="part of a mutant's name (default: all)")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="mutants at the same time (default: 2)")
    options = parser.parse_args(argv)
    mutants = [m for m in all_mutants() if not options.names or any(name in m.name for name in options.names)]
    if not mutants or options.jobs < 1:
        parser.error(f"NAME must be part of a mutant's name, --jobs 1 or more; got {options.names}, {options.jobs}")
    with copies(options.jobs) as free:
        check(mutants, free, options.jobs)
        with ThreadPoolExecutor(options.jobs) as threads:
            caught = list(threads.map(lambda m: is_caught(m, free), [m for m in mutants if not m.is_alone]))
        caught += [is_caught(m, free) for m in mutants if m.is_alone]
    print(f"{sum(caught)} of {len(mutants)} caught")
    return 0 if sum(caught) >= min(NEEDED, len(mutants)) else 1


def all_mutants() -> list[Mutant]:
    return [read_mutant(patch) for patch in sorted(Path(__file__).parent.glob("*.patch"))]


def read_mutant(patch: Path) -> Mutant:
    """Raises ValueError where it names no guard, and OSError where one is not there."""
    found = re.search(r"^Guard: (.+)$", patch.read_text(), re.MULTILINE)
    if not found:
        raise ValueError(f"a mutant must have a line 'Guard: tests/...' above its diff; {patch} has none")
    guards = tuple(found[1].split())
    return Mutant(patch.stem, patch, guards, any("mark.alone" in (ROOT / guard).read_text() for guard in guards))


@contextmanager
def copies(number: int) -> Iterator[SimpleQueue[Path]]:
    """Copies of the repository's files that nobody uses, to be taken and put back; without what git ignores."""
    listed = subprocess.run(
        ["git", "ls-files", "-coz", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    files = [name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        free: SimpleQueue[Path] = SimpleQueue()
        for copy in [Path(folder) / str(i) for i in range(number)]:
            for name in files:
                (copy / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, copy / name, follow_symlinks=False)
            free.put(copy)
        yield free


def check(mutants: Sequence[Mutant], free: SimpleQueue[Path], jobs: int) -> None:
    """Raises SystemExit unless every patch applies, the copy's packages are what is imported, also by processes in
    other folders, and the guards pass without a mutant: 'caught' would mean nothing."""
    copy = free.get()
    stale = [m.name for m in mutants if apply(copy, m, "--check").returncode]
    if stale:
        raise SystemExit(f"a mutant must apply to the files as they are; these do not any more: {', '.join(stale)}")
    command = [sys.executable, "-c", WHERE_FROM]
    places = subprocess.run(command, cwd="/", env=environment(copy), capture_output=True, text=True, check=True).stdout
    assert all(Path(place).is_relative_to(copy) for place in places.split()), places
    guards = sorted({guard for mutant in mutants for guard in mutant.guards})
    print(f"{len(mutants)} mutants; first the {len(guards)} files that guard against them, as they are", flush=True)
    beside = ("-m", "not alone", "--numprocesses", str(jobs), "--dist", "loadfile")
    for choice in (beside, ("-m", "alone")):
        done = run_tests(copy, [*choice, *guards])
        if done.returncode not in (0, 5):  # 5: none was chosen
            raise SystemExit(f"{done.stdout[-8000:]}\nthe guards must pass without a mutant")
    free.put(copy)


def is_caught(mutant: Mutant, free: SimpleQueue[Path]) -> bool:
    """Whether a test of the mutant's guards fails; prints which."""
    copy, began = free.get(), time.monotonic()
    apply(copy, mutant).check_returncode()
    try:
        done = run_tests(copy, mutant.guards)
    finally:
        apply(copy, mutant, "--reverse").check_returncode()
        free.put(copy)
    failed = re.findall(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.MULTILINE) if done.returncode == TEST_FAILED else []
    missed = "MISSED" if done.returncode == 0 else f"ERROR, the tests could not run:\n{done.stdout[-2000:]}\n"
    text = f"caught by {failed[0]}" if failed else missed
    print(f"{mutant.name}: {text} ({time.monotonic() - began:.1f} s)", flush=True)
    return bool(failed)


def apply(copy: Path, mutant: Mutant, *options: str) -> subprocess.CompletedProcess[str]:
    command = ["git", "apply", *options, str(mutant.patch)]
    return subprocess.run(command, cwd=copy, capture_output=True, text=True, check=False)


def run_tests(copy: Path, arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *arguments]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return subprocess.run(command, cwd=copy, env=environment(copy), **streams, text=True, check=False)


def environment(copy: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(copy)}


if __name__ == "__main__":
    sys.exit(main())
