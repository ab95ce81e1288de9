"""The only door to training: `train(group, workplace)` gives one TrialResult a spec, whatever happens to it. Only where
the results folder has no room for what a finished trial leaves there, it raises ResultsFull.

    results = list(train(Group((spec,), stored=(0,)), Workplace("simulated", Path("results/paper"))))

Importing this file starts no framework; `train` does.
"""

from __future__ import annotations

import datetime
import time
from collections.abc import Iterator
from dataclasses import replace

from galaxytl.learning.callbacks import Watcher
from galaxytl.learning.job import Clock, Diverged, Group, Job, Workplace
from galaxytl.learning.outcome import SPEAKS_FOR_ITSELF, failed_row
from galaxytl.networks import device, gpu_memory
from galaxytl.networks.own import look_into
from galaxytl.results.predictions import ResultsFull
from galaxytl.system import cache
from galaxytl.trial import TrialResult

_checked: set[float] = set()
"""GPUs that this process was given and has looked at. Later on it holds memory of its own there."""


def train(group: Group, workplace: Workplace, watcher: Watcher | None = None) -> Iterator[TrialResult]:
    """Train a group's trials; yield each result as soon as it is there. No trial's failure stops another.

    Raises ResultsFull."""
    device.quiet_framework()
    device.configure(workplace.num_threads, workplace.gpus)
    look_into(workplace.modules)
    together = group.specs[0].trains_head_only
    try:
        for specs in [group.specs] if together else [(spec,) for spec in group.specs]:
            with device.forgetting_gradients():
                results = _train_or_fail(replace(group, specs=specs), workplace, watcher or Watcher())
            yield from results
    finally:
        cache.release()  # the next group of this process may need the room


def _train_or_fail(group: Group, workplace: Workplace, watcher: Watcher) -> list[TrialResult]:
    from galaxytl.learning import groups, network_run
    from galaxytl.networks import warm

    started = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    job, clock, begun = Job(group, workplace, watcher, started), Clock(), time.perf_counter()
    kind = groups.HeadsRun if group.specs[0].trains_head_only else network_run.NetworkRun
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
    """Raise DeviceError unless this process sees the GPUs that it was given and, before it first computes on them, has
    enough memory there."""
    gpus, trial_ids = job.workplace.gpus, [spec.trial_id for spec in job.group.specs]
    if gpus and gpus not in _checked:
        device.check_gpus(gpus)
        gpu_memory.wait_until_free(gpus, say=lambda text: job.watcher.phase(trial_ids, text))
        _checked.add(gpus)


def _halves(group: Group) -> list[Group]:
    """Halve a group; return nothing for a single trial."""
    middle = len(group.specs) // 2
    return [replace(group, specs=part) for part in (group.specs[:middle], group.specs[middle:]) if middle]


def _with_share(result: TrialResult, clock: Clock, num_fused: int) -> TrialResult:
    """Return the result with its share of what the group took: the sum over a sweep's rows is what the sweep took."""
    seconds = {name: round(value / num_fused, 4) for name, value in clock.seconds.items()}
    multiply_adds = {name: value / num_fused for name, value in clock.multiply_adds.items()}
    return replace(result, timings=seconds, multiply_adds=multiply_adds, num_fused=num_fused)
