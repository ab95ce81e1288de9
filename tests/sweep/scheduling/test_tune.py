from __future__ import annotations

import contextlib
import gc
import itertools
import json
import os
import random
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest

from galaxytl.learning.job import Group, Workplace
from galaxytl.system.credentials import forget
from galaxytl.trial import COMPLETE, FAILED, TrialResult, TrialSpec
from sweep.scheduling import cluster, ray_private, tune, worker
from sweep.scheduling.board import Board
from sweep.scheduling.feed import Feed, InOrder, Room
from sweep.scheduling.resources import Available, ClusterError, Resources, Where, resources_per_trial
from sweep.scheduling.worker import config_of, group_of, report_seconds, unfinished_config
from sweep.scheduling.worker_deaths import death_message


def having(*nodes: tuple[float, float]) -> Available:
    """CPUs and GPUs of each."""
    return Available(tuple(Resources(*node) for node in nodes))


def test_what_a_worker_raises_is_kept_by_tune_and_so_has_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSWORD", "hush4hush5")

    def fails(text: str) -> None:
        with worker.without_secrets_in_errors():
            try:
                raise OSError(text)
            except OSError as error:
                raise ValueError("cannot go on") from error

    with pytest.raises(RuntimeError, match="ValueError: cannot go on") as masked:
        fails("postgresql://me:hush1@host/db does not take hush4hush5")
    assert "hush" not in repr(masked.value)
    assert not masked.value.__cause__
    assert masked.value.__suppress_context__
    with pytest.raises(ValueError, match="cannot go on"):  # as it is
        fails("no such host")
    forget()


@pytest.mark.parametrize(
    ("available", "num_trials", "cpus", "gpus", "room"),
    [
        (having((2, 0)), 6, 1, 0, 2),  # a laptop
        (having((16, 0)), 1, 16, 0, 1),
        (having((64, 8)), 2, 32, 1, 2),
        (having(*[(2, 0)] * 4), 2, 2, 0, 4),  # a trial fits on one node
        (having((4, 8)), 8, 1, 1, 4),
        (having((32, 0), (8, 1)), 6, 8, 1, 1),  # CPUs of a node without GPU are none of a trial's that has one
        (having((0, 0), (4, 1), (64, 8)), 100, 4, 1, 9),  # all GPUs are used
        (having((4, 0), (16, 0)), 3, 5, 0, 3),
    ],
)
def test_default_share_of_a_trial(available: Available, num_trials: int, cpus: float, gpus: float, room: int) -> None:
    share = resources_per_trial(available, num_trials, None, None)
    assert (share.cpus, share.gpus, available.room_for(share)) == (cpus, gpus, room)


def test_what_the_user_says_counts_where_it_fits_on_a_node() -> None:
    share = resources_per_trial(having((32, 2), (32, 2)), 10, 3, 0.5)
    assert (share.cpus, share.gpus) == (3, 0.5)
    nodes = "they have 8 CPUs and 0 GPUs or 2 CPUs and 1 GPUs; asked for"
    for cpus, gpus in ((9, None), (None, 2), (3, 1)):
        with pytest.raises(ClusterError, match=f"must fit on one node, and {nodes}"):
            resources_per_trial(having((8, 0), (2, 1), (2, 1)), 6, cpus, gpus)
    with pytest.raises(ClusterError, match="they have nothing; asked for 1 CPUs"):
        resources_per_trial(having(), 6, None, None)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        ("ray.exceptions.OutOfMemoryError: Task was killed", "out of memory: the worker"),
        ("Traceback\n  x\nActorDiedError: reset\n", "the worker process died 3 times: ActorDiedError: reset"),
        (
            "Failure # 1\nray::ImplicitFunc.train() (pid=7)\n  x\nOSError: Full\n",
            "the worker failed 3 times: OSError: Full",
        ),
    ],
)
def test_it_is_said_what_a_worker_died_of_and_where_it_only_failed(error: str, message: str) -> None:
    assert death_message(error).startswith(message)


def test_what_other_programs_set_for_tune_is_not_heeded_and_what_a_machine_is_stays() -> None:
    users = {"RAY_ADDRESS": "auto", "RAY_TMPDIR": "/scratch", "TUNE_GLOBAL_CHECKPOINT_S": "60", "PATH": "/bin"}
    others = {"TUNE_RESULT_BUFFER_LENGTH": "100", "RAY_CHDIR_TO_TRIAL_DIR": "1", "RAY_AIR_LOCAL_CACHE_DIR": "/x"}
    environment = {**users, **others}
    ray_private.settle(environment)
    assert environment.items() >= users.items()
    assert environment["RAY_CHDIR_TO_TRIAL_DIR"] == os.environ["RAY_CHDIR_TO_TRIAL_DIR"] == "0"
    assert environment.keys().isdisjoint({"TUNE_RESULT_BUFFER_LENGTH", "RAY_AIR_LOCAL_CACHE_DIR"})


def test_worker_computes_with_the_drivers_backend_or_says_why_it_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    assert worker.use_backend("") == ""
    assert os.environ["KERAS_BACKEND"] == "tensorflow"
    assert "KERAS_BACKEND must be tensorflow or jax; got 'torch'" in worker.use_backend("torch")
    assert os.environ["KERAS_BACKEND"] == "torch"


def test_python_collects_nothing_while_ray_shuts_down(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A reference to an object of Ray's that is collected then, in any thread, ends the driver without a word."""
    collects: list[bool] = []
    here = SimpleNamespace(get_node_id=lambda: "")
    fake = SimpleNamespace(
        init=lambda **_: None,
        nodes=list,
        get_runtime_context=lambda: here,
        shutdown=lambda: collects.append(gc.isenabled()),
    )
    monkeypatch.setattr(cluster, "ray", fake)
    monkeypatch.setattr(cluster, "_log_to", lambda file: None)
    monkeypatch.setattr(cluster, "show_workers_output", Mock())
    monkeypatch.setattr(cluster, "logging", Mock())
    monkeypatch.setattr(cluster, "KEEP_MEMORY", {})
    with cluster.cluster(None, tmp_path / "log"):
        assert gc.isenabled()
    assert (collects, gc.isenabled()) == ([False], True)


SPECS = [TrialSpec(dataset="simulated", dataset_fingerprint="0f3a", seed=seed) for seed in range(3)]
GROUPS = [Group((SPECS[0],)), Group((SPECS[1], SPECS[2]))]
WHERE = Where(None, None, None, Path("sweep.log"))
Round = list[list[int]]
"""The seeds in each group."""


class Rounds:
    """Rounds of Tune that end as told, and what each was given."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.num_rounds = 0
        self.given: list[Round] = []
        self.rooms: list[int] = []
        self.results: list[TrialResult] = []
        monkeypatch.setattr(tune, "cluster", self._no_cluster)
        monkeypatch.setattr(tune, "_run_round", self._run_round)

    @contextlib.contextmanager
    def _no_cluster(self, *_: object) -> Iterator[Available]:
        yield having((2, 0))

    def _run_round(self, feed: Feed, how: tune._Round, events: tune._ToReporter) -> str:
        self.num_rounds += 1
        error = self.end(feed, events)
        if feed.offered:
            self.rooms.append(how.room.num_offered)
            self.given.append([[spec.seed for spec in group.specs] for group in feed.offered])
        return error

    def end(self, feed: Feed, events: tune._ToReporter) -> str:
        """Tune takes all groups and gives up, with the first group running."""
        groups = list(taken(feed))
        events.running |= {spec.trial_id for group in groups[:1] for spec in group.specs}
        return "OutOfMemoryError" if groups else ""

    def run(self, groups: Iterator[Group | None] | None = None, at_once: int = 2, may_autoscale: bool = True) -> None:
        work = tune.Work(groups or iter(GROUPS), at_once, may_autoscale)
        reporter = tune.Reporter(lambda _: None, lambda _: None, self.results.append, lambda _: None)
        tune.run_trials(work, Workplace("simulated", Path()), WHERE, reporter)


def taken(feed: Feed) -> Iterator[Group]:
    """As Tune takes them, until there is none now or at all."""
    for number in itertools.count():
        config = feed.suggest(f"{len(feed.offered)}-{number}")
        if not isinstance(config, dict):
            return
        yield group_of(config)


def test_who_ran_each_time_that_tune_gave_up_fails_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    rounds = Rounds(monkeypatch)
    rounds.run()
    parted = [[1], [2]]
    assert rounds.given == [[[0], [1, 2]]] * 3 + [[[1, 2]]] * 3 + [parted] * 3 + [[[2]]] * 3
    assert [result.spec.seed for result in rounds.results] == [0, 1, 2]
    assert {result.status for result in rounds.results} == {FAILED}
    assert rounds.rooms == [2] + [1] * 11  # with half as many at once, from the first time on


def die(events: tune._ToReporter, group: Group, error: str = "ActorDiedError: segmentation fault") -> None:
    with tempfile.NamedTemporaryFile("w") as file:
        file.write(error)
        file.flush()
        events.on_trial_error(1, [], SimpleNamespace(trial_id="", config=config_of(group), error_file=file.name))


def complete(events: tune._ToReporter, group: Group) -> None:
    for spec in group.specs:
        events.finish(TrialResult(spec=spec, status=COMPLETE))


def test_group_whose_worker_dies_is_parted_and_only_the_trial_at_fault_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    rounds = Rounds(monkeypatch)

    def end(feed: Feed, events: tune._ToReporter) -> str:
        for group in taken(feed):
            (die if SPECS[2] in group.specs else complete)(events, group)
        return ""

    monkeypatch.setattr(rounds, "end", end)
    rounds.run()
    assert rounds.given == [[[0], [1, 2]], [[1], [2]]]
    assert [result.status for result in rounds.results] == [COMPLETE, COMPLETE, FAILED]
    assert rounds.results[2].message == "the worker process died 3 times: ActorDiedError: segmentation fault"


def test_a_trial_whose_machines_die_goes_on_as_long_as_it_comes_further(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two rounds end with an epoch that it had not reached before; in the third it only repeats the last one."""
    rounds = Rounds(monkeypatch)

    def end(feed: Feed, events: tune._ToReporter) -> str:
        for group in taken(feed):
            epochs = {SPECS[0].trial_id: {"epoch": float(min(rounds.num_rounds, 2))}}
            events.on_trial_result(1, [], None, {"epochs": epochs})
            die(events, group)
        return ""

    monkeypatch.setattr(rounds, "end", end)
    rounds.run(iter(GROUPS[:1]))
    assert rounds.given == [[[0]]] * 3
    assert [result.status for result in rounds.results] == [FAILED]


def test_tune_that_begins_nothing_is_not_asked_for_ever_and_groups_that_never_come_are_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rounds = Rounds(monkeypatch)
    with pytest.raises(ClusterError, match="Ray Tune gave up"):
        rounds.run(itertools.repeat(None), may_autoscale=False)
    monkeypatch.setattr(rounds, "end", lambda *_: "broken")
    with pytest.raises(ClusterError, match=r"Ray Tune gave up: broken; see sweep\.log"):
        rounds.run()
    assert rounds.num_rounds == 2


@pytest.mark.parametrize(
    ("at_once", "may_autoscale", "room"), [(8, True, 8), (8, False, 2), (10_000, True, 2 + tune.MAX_WAITING)]
)
def test_a_search_has_no_more_groups_than_there_is_room_for(
    monkeypatch: pytest.MonkeyPatch, at_once: int, may_autoscale: bool, room: int
) -> None:
    """A grid's may wait in Tune's queue, where a cluster that can grow sees them; but not all of a long grid."""
    rounds = Rounds(monkeypatch)
    rounds.run(iter(GROUPS[:1]), at_once=at_once, may_autoscale=may_autoscale)
    assert rounds.rooms[0] == room  # of two CPUs


def test_many_workers_report_more_seldom_so_that_the_driver_can_follow() -> None:
    assert [report_seconds(workers) for workers in (1, 25, 100, 1000)] == [0.5, 0.5, 2.0, 20.0]


class History:
    """A Tune controller's trials as they come, run, wait again after their worker's death, and end."""

    def __init__(self, seed: int) -> None:
        self.trials: list[Any] = []
        self.random = random.Random(seed)

    def get_trials(self) -> list[Any]:
        return self.trials

    def happen(self, order: Any) -> None:
        """Something at random; `order` is told of it as Tune tells a scheduler."""
        if self.random.random() < 0.4:
            self.trials.append(SimpleNamespace(trial_id=str(len(self.trials)), status="PENDING"))
            order.on_trial_add(self, self.trials[-1])
        elif live := [trial for trial in self.trials if trial.status in ("PENDING", "RUNNING")]:
            trial = self.random.choice(live)
            trial.status = self.random.choice(["PENDING", "RUNNING", "TERMINATED", "ERROR"])
            if trial.status == "TERMINATED":
                self.random.choice(
                    [lambda: order.on_trial_complete(self, trial, {}), lambda: order.on_trial_remove(self, trial)]
                )()
            elif trial.status == "ERROR":
                order.on_trial_error(self, trial)


def test_trials_start_in_tunes_own_order_without_a_look_at_those_that_have_ended() -> None:
    history, order, tunes = History(seed=0), InOrder(), tune.tune.schedulers.FIFOScheduler()
    for _ in range(2000):
        history.happen(order)
        assert order.choose_trial_to_run(None) is tunes.choose_trial_to_run(history)
    live = sum(trial.status in ("PENDING", "RUNNING") for trial in history.trials)
    assert len(order._live) == live < len(history.trials) / 2


def running(events: tune._ToReporter, tune_id: str, group: Group) -> Any:
    trial = SimpleNamespace(trial_id=tune_id, config=config_of(group), error_file=None, set_config=lambda _: None)
    events.on_trial_start(1, [], trial)
    return trial


def to_reporter(finished: Any = None, note: Any = None) -> tune._ToReporter:
    def nothing(*_: object) -> None:
        """Hears no more than that."""

    return tune._ToReporter(tune.Reporter(nothing, nothing, finished or nothing, note or nothing))


def test_what_the_driver_cannot_do_with_a_failed_trial_is_no_fault_of_tunes() -> None:
    def full(*_: TrialResult) -> None:
        raise OSError("No space left on device")

    events = to_reporter(finished=full)
    with pytest.raises(OSError, match="No space"):
        die(events, GROUPS[0])
    assert str(events.broken) == "No space left on device"


def test_it_is_said_once_when_nothing_runs_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """A trial runs for 600 seconds, and then there is none for 900."""
    notes: list[str] = []
    said_at: list[float] = []
    events = to_reporter(note=lambda text: (notes.append(text), said_at.append(clock.now)))
    events.board = SimpleNamespace(read=SimpleNamespace(remote=lambda: None))
    trial = running(events, "0", GROUPS[0])
    clock = SimpleNamespace(now=0.0)

    def wait(seconds: float) -> bool:
        clock.now += seconds
        if clock.now == 600:
            events.on_trial_complete(1, [], trial)
        return clock.now == 1500

    at_once = SimpleNamespace(start=lambda: None, join=lambda: None)
    monkeypatch.setattr(tune.ray, "get", lambda *_, **__: ({}, {}))
    monkeypatch.setattr(tune, "time", SimpleNamespace(monotonic=lambda: clock.now))
    monkeypatch.setattr(tune, "Event", lambda: SimpleNamespace(wait=wait, set=lambda: None))
    monkeypatch.setattr(tune, "Thread", lambda target, daemon: (target(), at_once)[1])
    with tune._relay(events, Room(Resources(4, 1), 1, 1, Resources(0, 0), 0)):
        pass
    assert len(notes) == 1
    assert "no node has had room for a trial of 4 CPUs and 1 GPUs" in notes[0]
    assert 600 + tune.IDLE_SECONDS <= said_at[0] <= 601 + tune.IDLE_SECONDS


def test_groups_that_run_are_counted_as_they_start_and_end() -> None:
    events = to_reporter()
    first, second, third = (running(events, str(number), GROUPS[number % 2]) for number in range(3))
    assert events.num_running == 3
    events.on_trial_complete(1, [], first)
    events.on_trial_recover(1, [], second)
    assert events.num_running == 1
    events.on_trial_start(1, [], second)
    events.on_trial_error(1, [], third)
    assert events.num_running == 1


# What Tune asks for


class Groups:
    """Groups as a search has them: each made when it is asked for, the last when those before have ended."""

    def __init__(self) -> None:
        self.made = 0
        self.ended: set[str] = set()

    def __iter__(self) -> Iterator[Group | None]:
        for group in GROUPS:
            self.made += 1
            yield group
        while len(self.ended) < 3:
            yield None
        self.made += 1
        yield Group((SPECS[0].replace(seed=9),))


def test_after_a_round_that_ended_with_dead_workers_the_same_groups_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    rounds, groups = Rounds(monkeypatch), Groups()

    def end(feed: Feed, events: tune._ToReporter) -> str:
        for number in itertools.count():
            config = feed.suggest(str(number))
            if config == feed.FINISHED:
                return ""
            group = group_of(config)
            if len(group.specs) == 2:  # its worker dies as often as it may
                die(events, group)
            else:
                complete(events, group)
            groups.ended |= events.finished
            feed.on_trial_complete(str(number), error=len(group.specs) == 2)
        raise AssertionError

    monkeypatch.setattr(rounds, "end", end)
    rounds.run(iter(groups), at_once=2, may_autoscale=False)
    assert rounds.given == [[[0], [1, 2]], [[1], [2], [9]]]
    assert [result.spec.seed for result in rounds.results] == [0, 1, 2, 9]
    assert {result.status for result in rounds.results} == {COMPLETE}
    assert groups.made == 3


def test_a_worker_hears_of_its_own_groups_trials_only() -> None:
    """A search has thousands of others, and each worker asks."""
    board = Board()
    board.stop({"b": "asha: too low", "c": "asha: too low"})
    assert board.stopped(["a", "c"]) == {"c": "asha: too low"}
    assert board.stopped(["d"]) == {}


def test_the_board_tells_each_phase_and_node_once() -> None:
    board = Board()
    board.say(["a", "b"], "opening the dataset")
    board.say(["a"], "training")
    board.place(["a", "b"], "node-1")
    assert board.read() == ({"a": "training", "b": "opening the dataset"}, {"a": "node-1", "b": "node-1"})
    assert board.read() == ({}, {})


def test_a_group_survives_its_way_to_the_worker_and_begins_again_without_what_was_finished() -> None:
    """Also where all were, and the worker died before it could say that it had come to the end."""
    group = Group((SPECS[0], SPECS[1]), stored=(2, 0), stop_collapsed=3, diagnostics=True)
    assert group_of(config_of(group)) == group
    for num_finished in range(3):
        left = unfinished_config(config_of(group), {spec.trial_id for spec in group.specs[:num_finished]})
        assert group_of(left) == replace(group, specs=group.specs[num_finished:])


def test_a_report_that_tune_tells_of_twice_is_told_once() -> None:
    told: list[str] = []
    reporter = tune.Reporter(
        lambda _: None, lambda _: None, lambda *ended: told.extend(r.trial_id for r in ended), lambda _: None
    )
    events = tune._ToReporter(reporter)
    result = TrialResult(spec=TrialSpec(dataset="simulated", dataset_fingerprint="0f3a"), status=COMPLETE)
    for _ in range(2):
        events.on_trial_result(0, [], SimpleNamespace(), {"rows": [json.dumps(result.to_dict())]})
    assert told == [result.trial_id]


def test_the_log_says_where_the_seconds_went(tmp_path: Path) -> None:
    """Parts in the order of their ends: the first report may be there before the board tells of the worker."""
    log = tmp_path / "sweep.log"
    reached = {"begin": 10.0, "plan": 12.0, "Ray": 12.5, "first worker": 19.0, "first report": 18.5, "shutdown": 20.0}
    tune._log_seconds(log, reached)
    assert not log.exists()
    log.touch()
    tune._log_seconds(log, reached)
    text = "Seconds: plan 2.0 s, Ray 0.5 s, first report 6.0 s, first worker 0.5 s, shutdown 1.0 s\n"
    assert log.read_text() == text
