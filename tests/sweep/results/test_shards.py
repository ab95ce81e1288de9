"""Drivers beside each other in one results folder: real processes, a real folder, and trials that take no time."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from galaxytl.results.frame import load_results
from galaxytl.results.rows import read_results, rows_files
from galaxytl.results.sweep_file import Shard, ShardNumber, read_shards, write_shard
from galaxytl.system.command import UsageError
from galaxytl.trial import COMPLETE, FAILED, TrialResult, TrialSpec
from sweep.results import lease, shards
from sweep.results.folder import lead
from sweep.results.lease import LeaseError
from sweep.results.models import BestModels, model_name
from sweep.results.shards import living, take_on
from sweep.run import main
from sweep.status.snapshot import Snapshot, take
from sweep.status.sources import read_files
from sweep.status.texts import facts
from tests.sweep.shard_driver import BEAT_SECONDS, GO
from tests.sweep.sweeps import ROOT, wait_for

AXES = ("--set", "split_seed=0,1,2,3,4", "--set", "learning_rate=1e-2,1e-3")
FIRST, SECOND, OTHERS = ShardNumber(3, 1), ShardNumber(3, 2), ShardNumber(2, 1)


@dataclass
class Toys:
    """Ten heads on given features, of five splits."""

    place: Path
    name: str = "toys"
    processes: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def out(self) -> Path:
        return self.place / self.name

    def arguments(self, *more: str, axes: tuple[str, ...] = AXES) -> list[str]:
        given = ("--grid", "smoke", "--data", "simulated:100", "--features", str(self.place / "features.npy"))
        sizes = ("--set", "validation_fraction=0.2", "--set", "num_epochs=1", "--gpus-per-trial", "0")
        return [*given, *sizes, *axes, "--out", str(self.out), "--profile", "laptop", *more]

    def start(self, *more: str, waits: bool = True) -> subprocess.Popen[str]:
        """A driver; one that waits goes on from its first row when `go` is called."""
        go = self.place / "go" if waits else Path("/")
        command = [sys.executable, "-m", "tests.sweep.shard_driver", *self.arguments(*more)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        environment = {**os.environ, GO: str(go)}
        self.processes.append(subprocess.Popen(command, cwd=ROOT, text=True, env=environment, **pipes))  # type: ignore[call-overload]
        return self.processes[-1]

    def go(self) -> None:
        (self.place / "go").touch()

    def said(self, *more: str, **axes: tuple[str, ...]) -> tuple[int, str]:
        """What a driver in this process says, and its status."""
        with contextlib.redirect_stdout(io.StringIO()) as said, contextlib.redirect_stderr(said):
            return main(self.arguments(*more, **axes)), " ".join(said.getvalue().split())

    def status(self) -> Snapshot:
        return take(read_files(str(self.out)))


@dataclass
class Seen:
    """What was seen of shards that ran together, one of which was killed."""

    refused: dict[str, tuple[int, str]] = field(default_factory=dict)
    statuses: dict[str, Snapshot] = field(default_factory=dict)
    ended: dict[str, tuple[int, str]] = field(default_factory=dict)
    killed: tuple[str, ...] = ()
    """The trials that the killed one had finished."""


@pytest.fixture(scope="module")
def toys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Toys]:
    place = tmp_path_factory.mktemp("shards")
    np.save(place / "features.npy", np.random.default_rng(0).normal(size=(100, 8)).astype(np.float32))
    toys = Toys(place)
    yield toys
    for process in toys.processes:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def seen(toys: Toys) -> Seen:
    """Two of three shards begin at the same time; meanwhile others come, and are refused, or leave them their trials;
    the second is killed, and comes again; another number of shards goes on, and a driver of all ends it."""
    seen = Seen()

    def end(name: str, process: subprocess.Popen[str]) -> None:
        said, _ = process.communicate(timeout=400)
        seen.ended[name] = process.returncode, " ".join(said.split())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lease, "BEAT_SECONDS", BEAT_SECONDS)
        first, second = toys.start("--shard", "1/3"), toys.start("--shard", "2/3")
        wait_for(lambda: len(read_results(toys.out).results) == 2, "both to have a row")
        seen.refused["again"] = toys.said("--shard", "2/3")
        seen.refused["all"] = toys.said()
        seen.refused["of another grid"] = toys.said("--shard", "3/3", axes=("--set", "split_seed=0,1"))
        seen.statuses["running"] = toys.status()
        other = toys.start("--shard", "1/2")
        wait_for(lambda: len(read_results(toys.out).results) == 3, "the one of two to have a row")
        second.kill()
        end("killed", second)
        seen.killed = tuple(row.trial_id for row in read_results(SECOND.folder(toys.out)).results)
        toys.go()
        end("first", first)
        end("other", other)
        seen.statuses["killed"] = toys.status()
        end("second", toys.start("--shard", "2/3"))
        seen.statuses["second ended"] = toys.status()
        end("all", toys.start())
        seen.statuses["ended"] = toys.status()
    return seen


def together(test: Any) -> Any:
    """Mark what looks at processes: they take a while, and want both cores."""
    return pytest.mark.alone(pytest.mark.rest(test))


def text_of(snapshot: Snapshot) -> str:
    return dict(facts(snapshot)).get("Shards", "")


@together
def test_no_trial_is_lost_and_none_is_trained_twice_whoever_is_killed_and_however_many_there_are(
    seen: Seen, toys: Toys
) -> None:
    lines = [line for path in rows_files(toys.out) for line in path.read_text().splitlines()]
    rows = read_results(toys.out)
    assert (len(lines), len(rows.results), rows.problems) == (10, 10, ())
    assert len(load_results(toys.out)) == 10
    assert len(rows_files(toys.out)) >= 3
    assert len(seen.killed) == 1


@together
def test_each_ends_as_it_should_and_says_what_it_left_to_others(seen: Seen) -> None:
    assert {name: status for name, (status, _) in seen.ended.items() if name != "other"} == {
        "killed": -9,
        "first": 0,
        "second": 0,
        "all": 0,
    }
    status, said = seen.ended["other"]
    assert "trials of this part are left to shard 1/3, which has them in hand" in said
    assert status == (1 if "not run" in said else 0)
    assert "Shard 1/2: " in said
    assert " of 10 trials" in said


@together
@pytest.mark.parametrize(
    ("who", "message"),
    [
        ("again", "one driver at a time may write to a results folder; {out}/shard-2-of-3 is led by process"),
        ("all", "without --shard one driver trains all that is left, and none beside it; shards 1/3, 2/3 of {out} are"),
        ("of another grid", "shards of one folder are of one grid, with the same data, weights and --profile; {out}"),
    ],
)
def test_who_cannot_run_beside_them_is_refused(seen: Seen, toys: Toys, who: str, message: str) -> None:
    status, said = seen.refused[who]
    assert (status, message.format(out=toys.out) in said) == (2, True), said


@together
def test_status_sees_one_sweep_and_which_shards_are_not_finished(seen: Seen) -> None:
    running, killed, ended = (seen.statuses[name] for name in ("running", "killed", "ended"))
    assert (running.state, running.counts.total, running.counts.complete) == ("running", 10, 2)
    assert [(shard.number, shard.state) for shard in running.shards] == [("1/3", "running"), ("2/3", "running")]
    assert "not begun: 3/3 (" in text_of(running)
    assert killed.state == "gone"
    assert "not finished: 2/3 (" in text_of(killed)
    assert (ended.state, ended.counts.complete, ended.counts.to_do) == ("ended", 10, 0)
    assert "all trials of the grid have ended" in text_of(ended)


@together
def test_the_weights_of_the_best_of_all_are_there(seen: Seen, toys: Toys) -> None:
    best = max(read_results(toys.out).results, key=lambda row: row.metrics["accuracy"])
    assert seen.ended["all"][0] == 0
    assert [path.stem for path in (toys.out / "models").glob("*")] == [best.trial_id]


@together
def test_a_dry_run_shows_the_part_and_the_whole_and_leaves_nothing(toys: Toys) -> None:
    elsewhere = Toys(toys.place, "new")
    status, said = elsewhere.said("--shard", "2/4", "--dry-run")
    assert (status, elsewhere.out.exists()) == (0, False), said
    assert "Shard 2/4: 2 of 10 trials, 20.0% of the work 4 shards have trials, each from 20.0% to 40.0%" in said
    assert "1/4: 4 trials, 40.0% 2/4: 2 trials, 20.0% (this one)" in said
    assert "Plan: 2 trials in 1 group" in said
    empty, said = elsewhere.said("--shard", "30/30", "--dry-run")
    assert (empty, "nothing to do: the grid has fewer groups of trials than there are shards" in said) == (0, True)


# Without processes


IDS = tuple(TrialSpec(dataset="d", dataset_fingerprint="f", seed=seed).trial_id for seed in range(4))


@pytest.fixture
def out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(lease, "BEAT_SECONDS", 0.2)
    return tmp_path


def test_a_trial_in_hand_is_left_to_a_shard_that_lives_and_taken_from_one_that_does_not(out: Path) -> None:
    with lead(out, "", print, FIRST):
        assert take_on(out, Shard(FIRST, "lr", IDS, IDS[:2]), [], print)[1] == {}
        shard, others = take_on(out, Shard(OTHERS, "lr", IDS, IDS[1:]), [], print)
        assert (shard.trials, others) == (IDS[2:], {FIRST: {IDS[1]}})
        assert take_on(out, Shard(OTHERS, "lr", IDS, IDS[1:]), [IDS[1]], print)[1] == {}
    shard, others = take_on(out, Shard(OTHERS, "lr", IDS, IDS[1:]), [], print)
    assert (shard.trials, others) == (IDS[1:], {})


def test_a_trial_that_two_shards_leave_to_each_other_is_taken_back(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both were killed with it in hand, and begin again at the same time."""
    for which, trials in ((FIRST, IDS[:2]), (OTHERS, IDS[1:])):
        which.folder(out).mkdir()
        take_on(out, Shard(which, "lr", IDS, trials), [], print)

    def living_and_leaving(folders: Iterable[Path], say: object) -> list[Path]:
        write_shard(out, Shard(FIRST, "lr", IDS, IDS[:1]))  # it, too, has seen the other one live
        return list(folders)

    monkeypatch.setattr(shards, "living", living_and_leaving)
    assert take_on(out, Shard(OTHERS, "lr", IDS, IDS[1:]), [], print) == (Shard(OTHERS, "lr", IDS, IDS[1:]), {})
    assert {one.which: one.trials for one in read_shards(out)} == {FIRST: IDS[:1], OTHERS: IDS[1:]}


def test_a_shard_that_prepares_is_seen(out: Path) -> None:
    with lead(out, "", print, FIRST):
        (seen,) = take(read_files(str(out))).shards
    assert (seen.number, seen.state, seen.left) == ("1/3", "running", 0)


def test_weights_of_a_failed_trial_may_be_those_of_another_shards_next_try(out: Path) -> None:
    (out / "models").mkdir()
    specs = [TrialSpec(dataset="d", dataset_fingerprint="f", seed=seed) for seed in (0, 1)]
    rows = [TrialResult(spec=spec, status=status) for spec, status in zip(specs, (FAILED, COMPLETE), strict=True)]
    for row in rows:
        (out / model_name(row.spec)).touch()
    with lead(out, "", print, FIRST) as folder:
        BestModels(folder, 0, rows)
    assert [path.stem for path in (out / "models").iterdir()] == [rows[0].trial_id]


def test_another_grid_may_come_when_the_shards_of_the_one_before_are_finished(out: Path) -> None:
    FIRST.folder(out).mkdir()
    take_on(out, Shard(FIRST, "lr", IDS[:2], IDS[:2]), [], print)
    wider = Shard(SECOND, "lr", IDS, IDS[2:])
    with pytest.raises(UsageError, match="has shard 1/3, not finished, of lr with 2 trials, 2 of them among those"):
        take_on(out, wider, IDS[:1], print)
    assert [one.which for one in read_shards(out)] == [FIRST]
    assert take_on(out, wider, IDS[:2], print)[0] == wider


def test_a_driver_of_all_keeps_shards_away(out: Path) -> None:
    with (
        lead(out, "", print),
        pytest.raises(LeaseError, match="not beside a driver of all trials"),
        lead(out, "", print, FIRST),
    ):
        pass
    with lead(out, "", print, FIRST):
        assert living([FIRST.folder(out), out], print) == [FIRST.folder(out)]
