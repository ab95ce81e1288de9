"""The only door to training: `train(group, workplace)` gives one TrialResult a spec, whatever happens to it. Only where
the results folder has no room for what a finished trial leaves there, it raises ResultsFull.

    results = list(train(Group((spec,), stored=(0,)), Workplace("simulated", Path("results/paper"))))

Importing this file starts no framework; `train` does.
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import importlib.metadata
import platform
import time
import traceback
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from galaxytl.data import DataError
from galaxytl.networks import device, gpu_memory
from galaxytl.networks.gpu_memory import DeviceError
from galaxytl.networks.weights import WeightsError
from galaxytl.results.checkpoints import Epoch, parted
from galaxytl.system import cache
from galaxytl.system.credentials import without_secrets
from galaxytl.system.files import write_atomically
from galaxytl.system.foreign_text import visible
from galaxytl.trial import DAMAGE, FAILED, TrialResult, TrialSpec

PACKAGES = ("galaxytl", "keras", "tensorflow", "jax", "numpy", "scikit-learn", "ray")
SPEAKS_FOR_ITSELF = (DataError, WeightsError, DeviceError)
"""Errors of what a trial stands on: its group fails with it, and no traceback says more."""


class ResultsFull(OSError):
    """There is no room in the results folder, which is no trial's fault: the next would end like this one."""


_checked: set[float] = set()
"""GPUs that this process was given and has looked at. Later on it holds memory of its own there."""


class Diverged(ArithmeticError):
    """The loss became NaN or infinite."""


class Pruned(Exception):
    """The trial was ended before its last epoch; says why."""


@dataclass(frozen=True)
class Group:
    """Trials of one `group_key` that one worker trains: heads in one pass, others one after the other."""

    specs: tuple[TrialSpec, ...]
    stored: tuple[int, ...] = ()
    """Cuts (`galaxytl.networks.blocks`) whose activations are kept on disk, from input to output, so in descending
    order; the trials read the last. Empty: they read images."""
    stop_collapsed: int = 0
    """Epochs in a row after which a trial that names one class whatever the image (`galaxytl.results.collapse`) is
    PRUNED; 0: never."""
    diagnostics: bool = False
    """Record what the gradients do (`galaxytl.train.diagnostics`) and, of heads, the optimum of their loss
    (`galaxytl.train.certificate`). Changes nothing else of the results."""


@dataclass(frozen=True)
class Workplace:
    """Where the data comes from and where the results go."""

    data: str
    """URI for open_dataset."""
    out: Path
    """Results folder: checkpoints/, probabilities/ and errors/ lie in it. Without `storage` all nodes share it."""
    weights_dir: Path | None = None
    num_threads: int | None = None
    """CPU threads that this process may use; None: all."""
    storage: str = ""
    """URI of the results folder's copy, where nodes meet that share no folder (`galaxytl.results.mirror`); "": none."""
    gpus: float | None = None
    """GPUs that this process was given, perhaps a share of one; None: it may use what it sees."""
    damage: str = ""
    """What is wrong with the dataset, where its user accepted it: the rows say so."""


@dataclass(frozen=True)
class Neighbours:
    """Other nodes, which may hold activations that this one lacks; by default there are none. `name` is of a folder of
    `galaxytl.train.features`."""

    fetch: Callable[[str, Path], bool] = lambda name, folder: False
    """Copies into an empty folder; False: it is for this node to compute them."""
    made: Callable[[str, Path, float], object] = lambda name, folder, seconds: None
    """Told what this node holds, and the seconds that making it took, infinity where that is not known."""
    gave_up: Callable[[str], object] = lambda name: None
    """Told what this node was to compute, and could not."""


@dataclass(frozen=True)
class Watcher:
    """Told about trials while they run: `phase(trial_ids, text)`, and `epoch({trial_id: its last epoch})`. Asked after
    each epoch: `stopped()`, the trials that are to end there, PRUNED, and why: {trial_id: reason}. Told when an epoch's
    checkpoints are written: `kept()`, by another thread; the next ones wait for it."""

    phase: Callable[[list[str], str], object] = lambda trial_ids, text: None
    epoch: Callable[[dict[str, dict[str, float]]], object] = lambda latest: None
    stopped: Callable[[], Mapping[str, str]] = dict
    neighbours: Neighbours = field(default_factory=Neighbours)
    kept: Callable[[], object] = lambda: None


@dataclass
class Clock:
    """Seconds spent in each named part of a group, without parts inside it; and the multiply-adds executed there."""

    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    multiply_adds: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        started, inside = time.perf_counter(), sum(self.seconds.values())
        try:
            yield
        finally:
            inside = sum(self.seconds.values()) - inside
            self.seconds[name] += time.perf_counter() - started - inside

    def count(self, name: str, multiply_adds: float) -> None:
        self.multiply_adds[name] += multiply_adds


@dataclass(frozen=True)
class Job:
    """A group, where it is trained, who is told; when it began, and the epochs of each trial so far."""

    group: Group
    workplace: Workplace
    watcher: Watcher
    started: str
    histories: dict[str, list[Epoch]] = field(default_factory=dict)


def train(group: Group, workplace: Workplace, watcher: Watcher | None = None) -> Iterator[TrialResult]:
    """Train a group's trials; yield each result as soon as it is there. No trial's failure stops another.

    Raises ResultsFull."""
    device.quiet_framework()
    device.configure(workplace.num_threads, workplace.gpus)
    together = group.specs[0].unfrozen_blocks == 0
    try:
        for specs in [group.specs] if together else [(spec,) for spec in group.specs]:
            yield from _train_or_fail(replace(group, specs=specs), workplace, watcher or Watcher())
    finally:
        cache.release()  # the next group of this process may need the room


def _train_or_fail(group: Group, workplace: Workplace, watcher: Watcher) -> list[TrialResult]:
    from galaxytl.networks import warm
    from galaxytl.train import groups

    started = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    job, clock, begun = Job(group, workplace, watcher, started), Clock(), time.perf_counter()
    kind = groups.HeadsRun if group.specs[0].unfrozen_blocks == 0 else groups.NetworkRun
    try:
        _check_device(job)
        results = kind(job, clock).results()
    except ResultsFull:
        raise
    except Exception as error:  # a failure is a row, whatever the libraries raise
        if not isinstance(error, Diverged):
            warm.forget()  # its memory may be what is short, its state what is wrong
        if group.stored and isinstance(error, cache.CacheFull):
            print(f"activations cannot be stored ({error}): they are computed whenever they are read", flush=True)
            return _train_or_fail(replace(group, stored=()), workplace, watcher)
        halves = _halves(group) if not isinstance(error, SPEAKS_FOR_ITSELF) else []
        if halves:  # some trial of the group, or their number, is at fault: the others must not pay
            return [result for half in halves for result in _train_or_fail(half, workplace, watcher)]
        results = [failed_row(spec, error, job) for spec in group.specs]
    clock.seconds["total"] = time.perf_counter() - begun
    return [_with_share(result, clock, len(results)) for result in results]


def _check_device(job: Job) -> None:
    """Raises DeviceError unless this process sees the GPUs that it was given and, before it first computes on them,
    has enough memory there."""
    gpus, trial_ids = job.workplace.gpus, [spec.trial_id for spec in job.group.specs]
    if gpus and gpus not in _checked:
        device.check_gpus(gpus)
        gpu_memory.wait_until_free(gpus, say=lambda text: job.watcher.phase(trial_ids, text))
        _checked.add(gpus)


def _halves(group: Group) -> list[Group]:
    """Nothing for a single trial."""
    middle = len(group.specs) // 2
    return [replace(group, specs=part) for part in (group.specs[:middle], group.specs[middle:]) if middle]


def _with_share(result: TrialResult, clock: Clock, num_fused: int) -> TrialResult:
    """The result with its share of what the group took: the sum over a sweep's rows is what the sweep took."""
    seconds = {name: round(value / num_fused, 4) for name, value in clock.seconds.items()}
    multiply_adds = {name: value / num_fused for name, value in clock.multiply_adds.items()}
    return replace(result, timings=seconds, multiply_adds=multiply_adds, num_fused=num_fused)


def failed_row(spec: TrialSpec, error: Exception, job: Job) -> TrialResult:
    """The FAILED row of a trial, with the epochs that it had."""
    history, records = parted(job.histories.get(spec.trial_id, ()))
    return TrialResult(
        spec=spec,
        status=FAILED,
        message=failure_message(error, job.workplace.out / "errors" / f"{spec.trial_id}.txt"),
        history=history,
        diagnostics=records,
        environment=environment(job.workplace.damage),
        started=job.started,
    )


def failure_message(error: Exception, report: Path) -> str:
    """Why a trial failed, for people. What does not speak for itself leaves its traceback in the file `report`."""
    text = without_secrets(str(error).strip()) or type(error).__name__
    if device.is_out_of_memory(error):
        return f"out of memory: {text.splitlines()[0][:300]}. Try a smaller --set batch_size or --set image_size"
    if isinstance(error, Diverged):
        return f"diverged: {text}"
    if isinstance(error, SPEAKS_FOR_ITSELF):
        return " ".join(text.split())
    with contextlib.suppress(OSError):  # the disk may be what failed
        frames = without_secrets("".join(traceback.format_exception(error)))
        write_atomically(report, visible(frames, keep="\n").encode())
    return f"{type(error).__name__}: {text.splitlines()[0][:500]} (traceback: {report.parent.name}/{report.name})"


@functools.cache
def environment(damage: str = "") -> dict[str, str]:
    """What a result was computed on and with. damage: what is wrong with the dataset, if that was accepted."""
    found = {DAMAGE: damage} if damage else {}
    found |= {"device": device.describe(), "keras_backend": device.backend()}
    found |= {"host": platform.node(), "python": platform.python_version()}
    for package in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found
