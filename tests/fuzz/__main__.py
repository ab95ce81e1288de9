"""Damaged and odd files and settings: does any of them end in a traceback, or give another number under the same id?

    python -m tests.fuzz                              # 480 cases, some minutes; exit status 0 where none does
    python -m tests.fuzz --seed 7 --files 1000        # others, and more

Each file is a small dataset with some mutations: bytes flipped or cut, columns and chunks changed, pictures of other
kinds, names of classes, links. It is checked, converted and, where a sweep would take it, trained on for an epoch: a
row that is COMPLETE must be that of the clean run with the same trial id. Each grid is a YAML file with tokens changed,
planned with --dry-run. Each setting is a process with odd environment variables, which trains the clean dataset. Each
manifest lies beside true galaxies, and each file of thumbnails is read as a report does: none may write outside its
folder and the cache, or take more than 500 MB. Each search is a results folder as a stranger may send it, of which a
report is made: no connection, nothing outside it. Rows are mutated by Hypothesis among sound ones, which must all be
read, and a report is written of them.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from tests.analysis.pictures import blank_pictures
from tests.fuzz import grids, hdf5, manifests, parquet, rows, searches, settings, thumbnails

MOST_MEGABYTES: Final = 500
TRAIN: Final = Path(__file__).with_name("train.py")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--files", type=int, default=220, metavar="N", help="HDF5 and Parquet files (default: 220)")
    parser.add_argument("--grids", type=int, default=100, metavar="N", help="YAML files (default: 100)")
    parser.add_argument("--strangers", type=int, default=60, metavar="N", help="manifests and thumbnails (default: 60)")
    parser.add_argument("--settings", type=int, default=20, metavar="N", help="environments (default: 20)")
    parser.add_argument("--searches", type=int, default=40, metavar="N", help="results of searches (default: 40)")
    parser.add_argument("--rows", type=int, default=40, metavar="N", help="folders to report on (default: 40)")
    parser.add_argument("--reasons", type=int, default=0, metavar="N", help="the most common reasons to print")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        os.environ["GALAXYTL_CACHE_DIR"] = f"{folder}/cache"
        os.environ["GALAXYTL_WEIGHTS_DIR"] = ""
        fuzz = Fuzz(Path(folder), options.seed)
        fuzz.run_files(options.files)
        fuzz.run_grids(options.grids)
        fuzz.run_strangers(options.strangers)
        fuzz.run_settings(options.settings)
        fuzz.run_searches(options.searches)
        fuzz.run_rows(options.rows)
    for reason, count in fuzz.reasons.most_common(options.reasons):
        print(f"{count:5} refused: {reason}")
    print(", ".join(f"{count} {what}" for what, count in sorted(fuzz.ends.items())))
    for problem in fuzz.problems:
        print(f"PROBLEM {problem}")
    return 1 if fuzz.problems else 0


class Fuzz:
    """One run: `ends` counts how the cases ended, `problems` names those that must not end so."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.seed = folder, seed
        self.ends: Counter[str] = Counter()
        self.problems: list[str] = []
        self.reasons: Counter[str] = Counter()
        self._said = ""
        self._clean = self._clean_rows()

    def _clean_rows(self) -> dict[str, Any]:
        """trial_id -> what the undamaged files give; every container must give the same row."""
        from tests.fuzz.train import row_of

        found = {}
        for name, write in (("hdf5", hdf5.write), ("parquet", parquet.write)):
            place = write(self.folder / f"clean-{name}", random.Random(self.seed), mutations=0)
            trial_id, row = row_of(str(place))
            assert found.setdefault(trial_id, row) == row, "the clean files differ"
        self.clean_data = str(place)
        return found

    def run_files(self, count: int) -> None:
        for number in range(count):
            rng = random.Random(f"{self.seed} file {number}")
            kind, write = (("hdf5", hdf5.write), ("parquet", parquet.write))[number % 2]
            place = write(self.folder / f"{kind}-{number}", rng, mutations=1 + number % 3)
            with self._watched(f"{kind} file {number}"):
                self._try_dataset(place)

    def _try_dataset(self, place: Path) -> None:
        from galaxytl.data import DataError
        from galaxytl.data.__main__ import main as data_command
        from tests.fuzz.train import row_of

        status, said = self._command(data_command, ["check", str(place)], (0, 1, 2)), self._said
        self._command(data_command, ["convert", str(place), "--to", f"{place}.copy.h5"], (0, 2))
        try:
            trial_id, row = row_of(str(place))
        except DataError as error:
            self.reasons["sweep: " + re.sub(r"\d+|/\S*", "_", str(error))[:110]] += 1
            self.ends["datasets refused"] += 1
            return
        if status == 2 and "each time, the file is damaged" not in said:  # a damaged LZF chunk reads as memory was
            raise AssertionError(f"check cannot read what a sweep takes: {said}")
        known = self._clean.setdefault(trial_id, row)
        if row["status"] == "COMPLETE" and row != known:
            raise AssertionError(f"the row of {trial_id} differs from the clean one: {row} is not {known}")
        self.ends[f"datasets {row['status']}"] += 1

    def run_grids(self, count: int) -> None:
        from sweep.run import main as sweep_command

        for number in range(count):
            path = self.folder / f"grid-{number}.yaml"
            path.write_bytes(grids.text(random.Random(f"{self.seed} grid {number}")))
            arguments = ["--grid", str(path), "--data", self.clean_data, "--out", f"{self.folder}/out", "--dry-run"]
            with self._watched(f"grid {number}: {path.read_bytes()!r}"):
                status = self._command(sweep_command, arguments, (0, 2))
                self.ends["grids refused" if status else "grids planned"] += 1

    def run_rows(self, count: int) -> None:
        """Reports take half a second each, reading a hundredth of it."""
        for what, number, check in (("reads", 50 * count, rows.try_reading), ("reports", count, rows.try_analysis)):
            place = self.folder / f"rows-{what}"
            place.mkdir()
            with self._watched(f"rows, {what}"):
                if number:
                    check(place, number, self.seed)
                self.ends[f"rows, {what}"] += number

    def run_strangers(self, count: int) -> None:
        canary = self.folder / "canary"
        (canary / "folder").mkdir(parents=True)
        (canary / "file").write_text("private")
        before = _listing(canary)
        for number in range(count):
            rng = random.Random(f"{self.seed} stranger {number}")
            place = self.folder / f"stranger-{number}"
            with self._watched(f"stranger {number} ({place.name})"):
                if number % 2:
                    manifests.write(place, rng, self.clean_data, canary)
                else:
                    thumbnails.write(place, rng)
                Path("/proc/self/clear_refs").write_text("5")  # the peak of memory begins anew
                memory = _megabytes("VmRSS")
                (self._try_manifest if number % 2 else self._try_thumbnails)(place)
                taken = _megabytes("VmHWM") - memory
                if taken > MOST_MEGABYTES or _listing(canary) != before:
                    raise AssertionError(f"it took {taken} MB, and left {_listing(canary)} of {before}")

    def _try_manifest(self, place: Path) -> None:
        from galaxytl.data.__main__ import main as data_command

        status = self._command(data_command, ["check", str(place)], (0, 1, 2))
        self.ends["manifests refused" if status == 2 else "manifests taken"] += 1

    def _try_thumbnails(self, folder: Path) -> None:
        from galaxytl.results.thumbnails import ThumbnailsError, read_thumbnails

        try:
            shown = read_thumbnails(folder)
            shown.pictures(list(shown.labels)[:20])
        except ThumbnailsError as error:
            self.reasons["thumbnails: " + re.sub(r"\d+|/\S*", "_", str(error))[:110]] += 1
            self.ends["thumbnails refused"] += 1
        else:
            self.ends["thumbnails shown"] += 1

    def run_settings(self, count: int) -> None:
        for number in range(count):
            rng = random.Random(f"{self.seed} setting {number}")
            changes = settings.environment(rng, self.folder / f"home-{number}")
            with self._watched(f"setting {number}: {changes}"):
                done = subprocess.run(
                    [sys.executable, str(TRAIN), self.clean_data],
                    env={**os.environ, "PYTHONPATH": str(TRAIN.parents[2]), **changes},
                    capture_output=True,
                    text=True,
                    check=False,
                )
                self._judge_setting(done)

    def _judge_setting(self, done: subprocess.CompletedProcess[str]) -> None:
        if done.returncode == 2 and "Traceback" not in done.stderr:
            self.ends["settings refused"] += 1
            return
        if done.returncode:
            raise AssertionError(f"exit status {done.returncode}: {done.stderr[-1500:]}")
        trial_id, row = json.loads(done.stdout.splitlines()[-1])
        if row != json.loads(json.dumps(self._clean.get(trial_id))):
            raise AssertionError(f"{trial_id}: {row} is not {self._clean.get(trial_id)}")
        self.ends["settings with the same row"] += 1

    def run_searches(self, count: int) -> None:
        """Each is read for a report: no connection, and what lies beside its folder stays as it is."""
        outside = self.folder / "outside"
        outside.mkdir()
        shutil.copy(searches.write(self.folder / "search-clean", random.Random(), mutations=0) / "study.db", outside)
        before = searches.content_of(outside)
        for number in range(count):
            rng = random.Random(f"{self.seed} search {number}")
            folder = searches.write(self.folder / f"search-{number}", rng, mutations=1 + number % 3)
            with self._watched(f"search {number}"):
                self._try_search(folder)
                if searches.content_of(outside) != before:
                    raise AssertionError("a file outside the results folder has changed")

    def _try_search(self, folder: Path) -> None:
        from analysis.run.__main__ import main as report_command

        report = folder.with_name(f"{folder.name}-report")
        with searches.connections() as asked, blank_pictures():
            status = self._command(report_command, [str(folder), "--out", str(report)], (0, 2))
        if asked:
            raise AssertionError(f"a connection was wanted to {asked}")
        if unseen := searches.unseen_in(report):
            raise AssertionError(f"{unseen} hold what cannot be seen")
        if searches.UNSEEN.search(self._said):
            raise AssertionError(f"the terminal was sent what cannot be seen: {self._said[:500]!r}")
        self.ends["searches refused" if status else "searches reported"] += 1

    def _command(self, command: Callable[[list[str]], int], arguments: list[str], allowed: Sequence[int]) -> int:
        """The exit status of one of the project's commands, which must be allowed, without a traceback."""
        out, errors = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
            status = command(arguments)
        text = out.getvalue() + errors.getvalue()
        self._said = text
        if status == 2:
            self.reasons[re.sub(r"\d+|/\S*", "_", errors.getvalue()).strip()[:110]] += 1
        if status not in allowed or "Traceback" in text or "unforeseen" in text:
            raise AssertionError(f"{arguments[0]} ended with {status}: {text[-800:]}")
        return status

    @contextlib.contextmanager
    def _watched(self, case: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # the very thing that is looked for
            where = "" if isinstance(error, AssertionError) else traceback.format_exc()[-1200:]
            self.problems.append(f"{case}: {error} {where}")
            print(f"PROBLEM {case}: {error}", flush=True)


def _listing(folder: Path) -> dict[str, tuple[int, int]]:
    """All that lies in a folder, by its path, with size and time."""
    states = {str(path): path.stat() for path in sorted(folder.rglob("*"))}
    return {name: (state.st_size, state.st_mtime_ns) for name, state in states.items()}


def _megabytes(name: str) -> int:
    status = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in status if line.startswith(name)).split()[1]) // 1024


if __name__ == "__main__":
    sys.exit(main())
