"""What a Ray worker does with a group of trials, and how driver and worker talk.

Epochs and rows go to the driver by Tune, phases and what is to stop over a board (`sweep.scheduling.board`). It also
tells which node holds stored activations that another one lacks: they go from node to node by Ray. The other side is
`sweep.scheduling.tune`.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import platform
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from galaxytl.data import DataError
from galaxytl.learning.callbacks import Watcher
from galaxytl.learning.job import Group, Neighbours, Workplace
from galaxytl.networks import device
from galaxytl.networks.gpu_memory import DeviceError
from galaxytl.results.mirror import mirror_at
from galaxytl.results.predictions import ResultsFull
from galaxytl.results.storage import PATIENCE, waiting_for, with_retries
from galaxytl.system import cache
from galaxytl.system.credentials import remember_environment, without_secrets
from galaxytl.trial import TrialResult, TrialSpec
from sweep.scheduling.activation_copies import Answer
from sweep.scheduling.cluster import own_versions  # before ray: it sets what ray reads at its import
from sweep.scheduling.versions import refusal

import ray  # isort: skip
from ray import tune  # isort: skip
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy  # isort: skip

REPORT_SECONDS = 0.5
"""A group reports to Tune at most this often: a report costs milliseconds, and an epoch of heads may take less."""
REPORTS_A_SECOND = 50
"""Of epochs, that all workers together make at most: what a driver can take beside groups and rows."""
PART_BYTES = 32 * 2**20
"""Of a copy from node to node: four are under way at once, and a local object store holds 200 MiB."""
AT_ONCE = {"_generator_backpressure_num_objects": 4}
STOPS_ALL = "stops_all"
"""In a report: why no worker could go on, and the whole sweep is to stop."""
TrainGroup = Callable[[Group, Workplace, Watcher], Iterator[TrialResult]]
"""Trains a group: `galaxytl.training.train`; benchmarks of the scheduling itself have another."""


def report_seconds(num_workers: int) -> float:
    """Return how often each of so many workers may tell of epochs."""
    return max(REPORT_SECONDS, num_workers / REPORTS_A_SECOND)


@dataclass(frozen=True)
class Terms:
    """Between the driver and its workers."""

    decides_at: frozenset[int]
    """Epochs after which a worker waits for what the driver says of them."""
    seconds: float
    """From one report of epochs to the next, at least."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """Package versions that a worker must have (`sweep.scheduling.versions` refuses others)."""
    spare_cpus: int = 0
    """Of a worker on a node without GPU, beside others that have some."""
    backend: str = ""
    """Of Keras, as the driver has it; "": the node's own."""


@contextlib.contextmanager
def without_secrets_in_errors() -> Iterator[None]:
    """Raise what a worker raises without secrets: Tune keeps it, in error.txt and error.pkl in the results folder."""
    remember_environment()
    try:
        yield
    except Exception as error:
        frames = "".join(traceback.format_exception(error))
        if without_secrets(frames) == frames:
            raise
        raise RuntimeError(without_secrets(f"{type(error).__name__}: {error}")) from None


@without_secrets_in_errors()
def train_group(config: dict[str, Any], *, workplace: Workplace, board: Any, terms: Terms, train: TrainGroup) -> None:
    """Train the group in a Ray worker, report its trials' epochs, and each result as one JSON row. A worker of
    other versions than the driver's, or without its dataset, reports why it trains nothing: it would fail one trial
    after the other.

    A group that is started again, because its worker died, is without what it had reported (`unfinished_config`).
    """
    other = refusal(platform.node(), terms.versions, own_versions())
    if text := other or _absence(workplace) or use_backend(terms.backend):
        tune.report({STOPS_ALL: text})
        return
    group = group_of(config)
    trial_ids = [spec.trial_id for spec in group.specs]
    reports = Reports(board, terms.decides_at, trial_ids, terms.seconds)
    if group.specs:
        reports.node(platform.node())
        on_spare = config.get(ON_SPARE, False)
        if on_spare:
            workplace = replace(workplace, gpus=0.0, num_threads=max(1, terms.spare_cpus))
        say = functools.partial(reports.phase, trial_ids)
        workplace = replace(workplace, neighbours=Copier(board, trial_ids[0], say, at_any_price=on_spare))
        try:
            for result in _train_and_mirror(group, workplace, reports, train):
                reports.row(result)
        except ResultsFull as error:
            reports.send()
            tune.report({STOPS_ALL: str(error)})
            return
    reports.send()


def use_backend(backend: str) -> str:
    """Have this process use the driver's backend; why it cannot, or ""."""
    if not backend:
        return ""
    os.environ["KERAS_BACKEND"] = backend
    try:
        device.check_backend()
    except DeviceError as error:
        return str(error)
    return ""


def _absence(workplace: Workplace) -> str:
    """Return why this machine cannot train: it does not have the driver's dataset, or features, which the driver has
    at these paths."""
    places = {"dataset": workplace.data, "features": str(workplace.features or "")}
    absent = [what for what, place in places.items() if os.path.isabs(place) and not os.path.exists(place)]
    if not absent:
        return ""
    return (
        f"every node must have the {absent[0]} where the driver's machine has it; {platform.node()} has no "
        f"{places[absent[0]]}: "
        "mount it there, or take the node away, and the same command goes on"
    )


def _train_and_mirror(group: Group, workplace: Workplace, reports: Reports, train: TrainGroup) -> Iterator[TrialResult]:
    """Train; with a storage, in a folder of this machine; what a row names is at the storage before the row is told."""
    if not workplace.storage:
        yield from train(group, workplace, reports)
        return

    def away(error: DataError) -> None:
        reports.phase([spec.trial_id for spec in group.specs], waiting_for("storage", error))

    mirror = with_retries(lambda: mirror_at(workplace.storage), PATIENCE, away)
    mirror.fetch(group.specs, away)
    reports.on_checkpoint = functools.partial(mirror.follow, away)
    for result in train(group, replace(workplace, out=mirror.out), reports):
        mirror.push(away)
        yield result
        mirror.forget([result.spec])


class Copier(Neighbours):
    """Brings activations from the nodes that hold them, for one trial of this worker's group."""

    def __init__(self, board: Any, trial_id: str, say: Callable[[str], None], at_any_price: bool = False) -> None:
        """at_any_price: copy, however much faster they were computed: that was elsewhere."""
        self._board, self._trial_id, self._say, self._at_any_price = board, trial_id, say, at_any_price
        self._here = ray.get_runtime_context().get_node_id()

    def fetch(self, name: str, folder: Path) -> bool:
        """Copy what another node holds, after waiting for it where it is under way; False: this node is to make it."""
        while True:
            answer = ray.get(self._board.claim.remote(name, self._here, self._trial_id, self._at_any_price))
            if answer.what == "MAKE":
                return False
            if not _is_alive(answer.node):
                ray.get(self._board.lost.remote(name, answer.node))
            elif answer.what == "WAIT":
                self._say("frozen activations, waiting for another node that computes them")
                time.sleep(REPORT_SECONDS)
            elif self._copy(name, answer, folder):
                return True

    def _copy(self, name: str, answer: Answer, folder: Path) -> bool:
        self._say("frozen activations, copied from another node")
        cache.make_room(cache.cache_dir(), answer.bytes)
        try:
            for file, content in _read_on(answer.node, name):
                with (folder / file).open("ab") as copied:
                    copied.write(content)
            return True
        except ray.exceptions.RayError:  # removed there to make room, or the node died
            for begun in folder.iterdir():
                begun.unlink()
            ray.get(self._board.lost.remote(name, answer.node))
            return False

    def announce(self, name: str, folder: Path, seconds: float) -> None:
        size = sum(file.stat().st_size for file in folder.iterdir())
        self._board.made.remote(name, self._here, size, seconds)

    def give_up(self, name: str) -> None:
        self._board.lost.remote(name, self._here)


def _is_alive(node: str) -> bool:
    return node in {known["NodeID"] for known in ray.nodes() if known["Alive"]}


def _read_on(node: str, name: str) -> Iterator[tuple[str, bytes]]:
    """Yield what `read_entry` reads on that node. Raises RayError where it cannot, or the node dies."""
    pinned = NodeAffinitySchedulingStrategy(node, soft=False)
    reader = ray.remote(num_cpus=0, max_retries=0, num_returns="streaming", **AT_ONCE)(read_entry)
    parts = reader.options(scheduling_strategy=pinned).remote(name)

    def wait_for(what: Any) -> None:
        """Ray (2.60) by itself waits for ever where a node loses its power as it takes the task on."""
        while not ray.wait([what], timeout=REPORT_SECONDS)[0]:
            if not _is_alive(node):
                raise ray.exceptions.RayError(f"node {node} has died")

    while True:
        wait_for(parts)
        try:
            part = next(parts)
        except StopIteration:
            return
        wait_for(part)
        yield ray.get(part)


def read_entry(name: str) -> Iterator[tuple[str, bytes]]:
    """Yield the files of an entry of this node's cache, part by part. What is open stays readable when it is
    removed."""
    folder = cache.cache_dir() / "features" / name
    with contextlib.ExitStack() as stack:
        files = {
            path.name: stack.enter_context(path.open("rb")) for path in folder.iterdir() if path.name != cache.USED
        }
        for file, opened in files.items():
            while content := opened.read(PART_BYTES):
                yield file, content


class Reports(Watcher):
    """What a worker tells the driver, not more often than is of use: epochs and rows by Tune, phases on the board."""

    def __init__(
        self, board: Any, decides_at: frozenset[int], trial_ids: Sequence[str], seconds: float = REPORT_SECONDS
    ) -> None:
        """trial_ids: of the group; of others' ends, of which there may be thousands, nothing is asked. seconds: from
        one report of epochs to the next, at least."""
        self._board, self._decides_at, self._trial_ids, self._seconds = board, decides_at, trial_ids, seconds
        self._stopped: Mapping[str, str] = self._ask_stopped() if decides_at else {}
        self._epochs: dict[str, dict[str, float]] = {}
        self._rows: dict[str, str] = {}
        self._sent, self._said, self._saying = time.monotonic(), 0.0, ""
        self.on_checkpoint: Callable[[], object] = lambda: None

    def _ask_stopped(self) -> Mapping[str, str]:
        return ray.get(self._board.stopped.remote(self._trial_ids))

    def phase(self, trial_ids: Sequence[str], text: str) -> None:
        what = text.partition(",")[0]  # without the numbers that say how far it is
        if what != self._saying or time.monotonic() - self._said >= self._seconds:
            self._said, self._saying = time.monotonic(), what
            self._board.say.remote(trial_ids, text)

    def node(self, name: str) -> None:
        """Tell on which machine the group is trained."""
        self._board.place.remote(self._trial_ids, name)

    def epoch(self, latest: Mapping[str, dict[str, float]]) -> None:
        self._epochs.update(latest)
        if any(int(epoch["epoch"]) in self._decides_at for epoch in latest.values()):
            self.send()  # returns when the driver has decided
            self._stopped = self._ask_stopped()
        else:
            self._send_if_due(self._seconds)

    def ends(self, histories: Mapping[str, Sequence[dict[str, Any]]]) -> Mapping[str, str]:
        """Return those of the trials that the driver has stopped, and why."""
        return {trial_id: reason for trial_id, reason in self._stopped.items() if trial_id in histories}

    def checkpoint(self) -> None:
        self.on_checkpoint()

    def row(self, result: TrialResult) -> None:
        self._rows[result.trial_id] = json.dumps(result.to_dict())
        self._send_if_due(REPORT_SECONDS)  # what has not been sent is trained again if the worker dies

    def _send_if_due(self, seconds: float) -> None:
        if time.monotonic() - self._sent >= seconds:
            self.send()

    def send(self) -> None:
        tune.report({"epochs": self._epochs, "rows": list(self._rows.values())})  # returns when the driver has it
        self._epochs, self._rows, self._sent = {}, {}, time.monotonic()


ON_SPARE = "without_gpu"
"""In the config of a group that is for a node without GPU, beside others that have some."""
LABELS = ("backbone", "weights", "unfrozen_blocks", "optimizer", "learning_rate")
"""What Tune's own files say of a group, where its trials agree in it."""


def config_of(group: Group) -> dict[str, Any]:
    """Return a group as Tune's config: the whole of it as one JSON text, and what people look for beside it.

    One text, because Tune copies, flattens and writes a trial's config a dozen times.
    """
    specs = [spec.to_dict() for spec in group.specs]
    others = {"stop_collapsed": group.stop_collapsed, "diagnostics": group.diagnostics}
    labels = {name: spec[name] for spec in specs[:1] for name in LABELS if all(o[name] == spec[name] for o in specs)}
    text = json.dumps({"specs": specs, "stored": list(group.stored), **others})
    return {**labels, "trials": len(specs), "group": text}


def unfinished_config(config: Mapping[str, Any], finished: set[str]) -> dict[str, Any]:
    """Return the config of a group without its finished trials; perhaps none is left, and only its end was not
    reported."""
    group = group_of(config)
    left = config_of(replace(group, specs=tuple(spec for spec in group.specs if spec.trial_id not in finished)))
    return {**left, **{name: config[name] for name in (ON_SPARE,) if name in config}}


def group_of(config: Mapping[str, Any]) -> Group:
    return _group_of(config["group"])


@functools.lru_cache(maxsize=256)  # the driver asks several times for each group that is under way
def _group_of(text: str) -> Group:
    values = json.loads(text)
    specs = tuple(TrialSpec.from_dict(spec) for spec in values["specs"])
    return Group(specs, tuple(values["stored"]), values["stop_collapsed"], values["diagnostics"])


def unfinished(groups: Sequence[Group], finished: set[str]) -> list[Group]:
    left = [replace(g, specs=tuple(spec for spec in g.specs if spec.trial_id not in finished)) for g in groups]
    return [group for group in left if group.specs]
