"""Ray Tune runs the trials.

One Ray trial trains a group of specs; groups are taken one by one, as there is room, so that a search can make each
with what the ones before have told it. A trial keeps its own checkpoint in the results folder, and a
finished trial is a row in trials.jsonl, so a restart needs nothing of Tune's state: it asks for what has no row. Tune's
own folder (result.json, progress.csv) is ray/, beside Ray's log, for the tools that read it. Of a group its TensorBoard
events would have the trials' ids in their tags, so that none overlay: `sweep.progress.trackers` writes those.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event, Thread
from typing import Any

from galaxytl.learning.job import Group, Workplace
from galaxytl.networks import device
from galaxytl.training import train
from galaxytl.trial import FAILED, TrialResult
from sweep.scheduling import worker
from sweep.scheduling.board import Board
from sweep.scheduling.cluster import (  # before ray: it sets what ray reads at its import
    check_versions,
    cluster,
    own_versions,
)
from sweep.scheduling.feed import Feed, InOrder, Room
from sweep.scheduling.ray_private import trainable_read_once
from sweep.scheduling.resources import Available, ClusterError, Where, resources_per_trial, spare_place
from sweep.scheduling.worker import (
    STOPS_ALL,
    Terms,
    TrainGroup,
    group_of,
    report_seconds,
    unfinished,
    unfinished_config,
)
from sweep.scheduling.worker_deaths import MAX_WORKER_DEATHS, death_message, end_of, last_line, split_worn_out

import ray  # isort: skip
from ray import tune  # isort: skip
from ray.tune.logger import CSVLoggerCallback, JsonLoggerCallback  # isort: skip
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy  # isort: skip

IDLE_SECONDS = 300.0
"""Without a group that runs, after which the driver says what it waits for. A cloud's machine comes within minutes."""
MAX_WAITING = 64
"""Groups that wait for room, of which a cluster that can grow hears. Tune and Ray look at each at every step."""


@dataclass(frozen=True)
class Reporter:
    """What the driver does when a trial says something."""

    phases: Callable[[dict[str, str]], None]
    epochs: Callable[[dict[str, dict[str, float]]], Mapping[str, str] | None]
    """Told the last epochs of some trials; gives those that are to stop there, and why."""
    finished: Callable[..., None]
    """Told the results, one or more, of a report."""
    note: Callable[[str], None]
    decides_at: frozenset[int] = frozenset()
    """Epochs after which a worker waits for what `epochs` says of them."""
    nodes: Callable[[dict[str, str]], None] = lambda _: None
    """Told on which machine each of some trials begins."""


@dataclass(frozen=True)
class Work:
    """Groups, in the order to start them."""

    groups: Iterator[Group | None]
    """None: there is none now, and will be when others have ended."""
    at_once: int
    """The most groups that run at the same time."""
    may_autoscale: bool = True
    """Whether Tune may ask for groups that wait for room, so that a cluster can grow. False for a search: a group
    planned early would miss what is learned meanwhile."""


def run_trials(
    work: Work, workplace: Workplace, where: Where, reporter: Reporter, train_group: TrainGroup = train
) -> None:
    """Train all groups, in order; each result goes to `reporter.finished` as soon as it is there.

    Tune gives up the whole sweep when Ray kills a worker for want of memory. Then the rest is scheduled anew, on a
    cluster without left-overs and with half as many groups at once; each goes on from its last epoch. A group that was
    running each time, or whose worker died as often as it may, is parted into single trials, and a single trial that
    goes on like that is a FAILED row: it takes no other down. Raises ClusterError, and what `reporter` raises.
    """
    left: list[Group] = []
    deaths: Counter[str] = Counter()
    reached: dict[str, int] = {}
    at_once = work.at_once
    while True:
        events = _ToReporter(reporter, reached)
        if where.early and where.early.is_free:
            events.reached_at["begin"] = where.early.made
        events.reach("plan")
        with _cluster(where, reporter.note) as available:
            events.reach("Ray")
            same = own_versions() if where.address else {}
            if same:
                check_versions()
            room = _room(available, where, at_once, work.may_autoscale)
            reporter.note(room.text)
            feed = Feed(itertools.chain(left, work.groups), room)
            error = _run_round(feed, _Round(workplace, room, train_group, same, where.log.parent / "ray"), events)
            events.reach("training")
        events.reach("shutdown")
        _log_seconds(where.log, events.reached_at)
        left = unfinished(feed.offered, events.finished)
        if not left and feed.is_empty:
            return
        begun = events.running | events.progressed | events.died | events.finished
        if not begun:  # a next round would end alike
            raise ClusterError(f"Ray Tune gave up: {last_line(error)}; see {where.log}")
        if error:
            at_once = max(1, events.num_running // 2)
            reporter.note(f"{last_line(error)} Going on with at most {at_once} at once.")
            deaths.update(events.running - events.progressed)
        worn_out = events.died | {trial_id for trial_id in deaths if deaths[trial_id] > MAX_WORKER_DEATHS}
        for spec in [group.specs[0] for group in left if len(group.specs) == 1 and group.specs[0].trial_id in worn_out]:
            events.finish(TrialResult(spec=spec, status=FAILED, message=death_message(error)))
        left = split_worn_out(unfinished(left, events.finished), worn_out)
        for trial_id in worn_out:
            del deaths[trial_id]


def _cluster(where: Where, note: Callable[[str], object]) -> contextlib.AbstractContextManager[Available]:
    """Return the cluster that was begun while the sweep was planned; of a later round, a new one."""
    if where.early and where.early.is_free:
        return where.early.cluster(note)
    return cluster(where.address, where.log, note)


def _log_seconds(log: Path, reached_at: Mapping[str, float]) -> None:
    """Add to Ray's log, where there is one, what each part of a round took after the one before."""
    parts = sorted(reached_at.items(), key=lambda part: part[1])
    texts = [f"{name} {at - before:.1f} s" for (_, before), (name, at) in itertools.pairwise(parts)]
    with contextlib.suppress(OSError):
        if log.is_file():
            with log.open("a", encoding="utf-8") as file:
                file.write(f"Seconds: {', '.join(texts)}\n")


def _room(available: Available, where: Where, at_once: int, may_autoscale: bool) -> Room:
    trial = resources_per_trial(available, at_once, where.cpus, where.gpus)
    workers = min(at_once, available.room_for(trial))
    num_offered = min(at_once, workers + MAX_WAITING) if may_autoscale else workers
    return Room(trial, workers, num_offered, *spare_place(available, trial))


@dataclass(frozen=True)
class _Round:
    """How Tune trains the groups of a feed on the connected cluster."""

    workplace: Workplace
    room: Room
    train_group: TrainGroup
    versions: Mapping[str, str]
    """That the workers must have; empty: any."""
    files: Path
    """Tune's own."""


def _run_round(feed: Feed, how: _Round, events: _ToReporter) -> str:
    """Train what `feed` gives. Returns the error that made Tune give up, or ""."""
    share, spare = how.room.trial, how.room.spare
    events.board = _board_here()
    trainable = tune.with_parameters(
        worker.train_group,
        workplace=replace(how.workplace, num_threads=max(1, int(share.cpus)), gpus=share.gpus),
        board=events.board,
        terms=Terms(
            events.reporter.decides_at,
            report_seconds(how.room.workers),
            how.versions,
            int(spare.cpus),
            device.backend(),
        ),
        train=how.train_group,
    )
    tuner = tune.Tuner(
        tune.with_resources(trainable, how.room.request),
        tune_config=tune.TuneConfig(
            search_alg=feed,
            scheduler=InOrder(),
            num_samples=-1,  # as many as the feed gives
            reuse_actors=True,
            max_concurrent_trials=how.room.num_offered + how.room.num_spare,
            trial_name_creator=_trial_name,
            trial_dirname_creator=_trial_name,
        ),
        run_config=tune.RunConfig(
            name=time.strftime("%Y%m%d-%H%M%S"),
            storage_path=str(how.files.resolve()),
            failure_config=tune.FailureConfig(max_failures=MAX_WORKER_DEATHS),
            callbacks=[events, JsonLoggerCallback(), CSVLoggerCallback()],
            verbose=0,
        ),
    )
    with _relay(events, how.room), trainable_read_once():
        try:
            tuner.fit()
        except (RuntimeError, ray.exceptions.RayError, tune.TuneError) as error:
            if events.broken or feed.broken:  # what the driver itself could not do is no fault of Tune's
                raise (events.broken or feed.broken) from error  # type: ignore[misc]
            return str(error)
    return ""


def _board_here() -> Any:
    """Make the board on the driver's own node: it must not die with another. Who cannot reach it asks until it can."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    board = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(Board)
    return board.options(scheduling_strategy=here).remote()


@contextlib.contextmanager
def _relay(events: _ToReporter, room: Room) -> Iterator[None]:
    """Pass what trials put on the board to the reporter, twice a second; and say it when nothing runs for long."""
    stop = Event()

    def relay() -> None:
        ran = time.monotonic()
        while not stop.wait(0.5):
            with contextlib.suppress(ray.exceptions.RayError):
                phases, nodes = ray.get(events.board.read.remote(), timeout=2)
                if nodes:
                    events.reach("first worker")
                events.reporter.nodes(nodes)
                events.reporter.phases(phases)
            if events.num_running:
                ran = time.monotonic()
            elif time.monotonic() - ran > IDLE_SECONDS:
                ran = math.inf  # once
                events.reporter.note(
                    f"Nothing runs: for {IDLE_SECONDS / 60:.0f} minutes no node has had room for a trial of "
                    f"{room.trial.cpus:g} CPUs and {room.trial.gpus:g} GPUs. It goes on when one comes; after Ctrl-C "
                    "the same command goes on with the nodes that are there then."
                )

    thread = Thread(target=relay, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()  # it holds references to objects of Ray's, which must be gone before Ray is


class _ToReporter(tune.Callback):
    """Passes Tune's events to the reporter, and keeps which trials are running, finished, or died with their worker."""

    def __init__(self, reporter: Reporter, reached: dict[str, int] | None = None) -> None:
        """reached: the last epoch of each trial, in this round or before."""
        self.reporter = reporter
        self.reached = {} if reached is None else reached
        self.progressed: set[str] = set()
        """Trials that were further in this round than ever before."""
        self.running: set[str] = set()
        self.finished: set[str] = set()
        self.died: set[str] = set()
        self._groups: set[str] = set()
        """Tune's ids of those that run."""
        self.reached_at: dict[str, float] = {}
        """When, by time.monotonic(), each part of the round had ended, in order."""
        self.board: Any = None
        self.broken: Exception | None = None
        """What the reporter raised."""

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its callbacks for a restore that we do not use

    @property
    def num_running(self) -> int:
        """Groups, not trials."""
        return len(self._groups)

    def reach(self, part: str) -> None:
        """Note that this part has ended now, where it had not before."""
        self.reached_at.setdefault(part, time.monotonic())

    def on_trial_start(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        self.running |= {spec.trial_id for spec in group_of(trial.config).specs} - self.finished
        self._groups.add(trial.trial_id)

    def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: dict[str, Any], **info: Any) -> None:
        self.reach("first report")
        with self._own_errors():
            if text := result.get(STOPS_ALL):
                raise ClusterError(text)
            if (latest := result.get("epochs")) and (stopped := self.reporter.epochs(latest)):
                ray.get(self.board.stop.remote(dict(stopped)))  # the worker asks when this returns
            self._note_progress(result.get("epochs") or {})
            self.finish(*(TrialResult.from_dict(json.loads(row)) for row in result.pop("rows", ())))

    @contextlib.contextmanager
    def _own_errors(self) -> Iterator[None]:
        """Note that what is raised here is the driver's, though Tune may raise it as its own."""
        try:
            yield
        except Exception as error:
            self.broken = error
            raise

    def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        self._groups.discard(trial.trial_id)

    def on_trial_recover(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """Note that its worker died, and have another begin with what is left."""
        self._groups.discard(trial.trial_id)
        error = _error_of(trial)
        self.reporter.note(f"{_trial_name(trial)}: its worker {end_of(error)}; it goes on from its last epoch.")
        trial.set_config(unfinished_config(trial.config, self.finished))

    def on_trial_error(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """Note that its worker died as often as it may: a single trial has failed, a group is parted (`run_trials`).

        One that came further meanwhile goes on in the next round: its machines die, which is no fault of its own.
        """
        self._groups.discard(trial.trial_id)
        message = death_message(_error_of(trial) or "it could not be started, perhaps for want of memory")
        unfinished = [spec for spec in group_of(trial.config).specs if spec.trial_id not in self.finished]
        if any(spec.trial_id in self.progressed for spec in unfinished):
            return
        if len(unfinished) == 1:
            with self._own_errors():
                self.finish(TrialResult(spec=unfinished[0], status=FAILED, message=message))
        else:
            self.died |= {spec.trial_id for spec in unfinished}

    def _note_progress(self, latest: Mapping[str, Mapping[str, float]]) -> None:
        for trial_id, epoch in latest.items():
            if epoch["epoch"] > self.reached.get(trial_id, 0):
                self.reached[trial_id] = int(epoch["epoch"])
                self.progressed.add(trial_id)

    def finish(self, *results: TrialResult) -> None:
        new = [result for result in results if result.trial_id not in self.finished]  # Tune may tell of a report twice
        if new:
            self.reporter.finished(*new)
            ended = {result.trial_id for result in new}
            self.finished |= ended
            self.running -= ended


def _trial_name(trial: Any) -> str:
    specs = group_of(trial.config).specs
    number = f"-{len(specs)}-trials" if len(specs) > 1 else ""
    backbone = re.sub(r"[^\w.-]+", "-", specs[0].backbone)  # of a path, or a function of a module
    return f"{backbone}-{specs[0].weights}-{specs[0].unfrozen_blocks}-{specs[0].trial_id[:8]}{number}"


def _error_of(trial: Any) -> str:
    """Return what Ray said of the deaths of a trial's worker, in Tune's own file: the results folder gets a copy
    later."""
    if not trial.error_file:
        return ""
    with contextlib.suppress(OSError):
        return Path(trial.error_file).read_text(encoding="utf-8", errors="replace")
    return ""
