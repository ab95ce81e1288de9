"""The only door to training: `train(specs, workplace)` gives one TrialResult a spec, whatever happens to it.

    results = list(train([spec], Workplace("simulated", Path("results/paper"))))

Importing this file starts no framework; `train` does.
"""

from __future__ import annotations

import contextlib
import datetime
import gc
import importlib.metadata
import platform
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from galaxytl import device
from galaxytl.data import DataError
from galaxytl.trial import FAILED, TrialResult, TrialSpec
from galaxytl.weights import WeightsError

PACKAGES = ("galaxytl", "keras", "tensorflow", "jax", "numpy", "scikit-learn", "ray")


class Diverged(ArithmeticError):
    """The loss became NaN or infinite."""


@dataclass(frozen=True)
class Workplace:
    """Where the data comes from and where the results go."""

    data: str
    """URI for open_dataset."""
    out: Path
    """Results folder, reachable from every node: checkpoints/, probabilities/ and errors/ lie in it."""
    weights_dir: Path | None = None
    num_threads: int | None = None
    """CPU threads that this process may use; None: all."""


@dataclass(frozen=True)
class Watcher:
    """Told about each trial while it runs: `phase(trial_id, text)`, `epoch(trial_id, history)`."""

    phase: Callable[[str, str], object] = lambda trial_id, text: None
    epoch: Callable[[str, list[dict[str, float]]], object] = lambda trial_id, history: None


@dataclass
class Clock:
    """Seconds spent in each named part of a trial."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = round(self.seconds.get(name, 0.0) + time.perf_counter() - started, 3)


def train(specs: Sequence[TrialSpec], workplace: Workplace, watcher: Watcher | None = None) -> Iterator[TrialResult]:
    """Train `specs` one after the other; yield each result as soon as it is there. No spec's failure stops another."""
    device.quiet_framework()
    device.configure(workplace.num_threads)
    for spec in specs:
        yield _train_or_fail(spec, workplace, watcher or Watcher())


def checkpoint_path(out: Path, spec: TrialSpec) -> Path:
    return out / "checkpoints" / f"{spec.trial_id}.npz"


def _train_or_fail(spec: TrialSpec, workplace: Workplace, watcher: Watcher) -> TrialResult:
    import keras

    from galaxytl.finetune import Trial

    started = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    clock, history = Clock(), list[dict[str, float]]()
    try:
        with clock.part("total"):
            return Trial(spec, workplace, watcher, clock, history).run(started)
    except Exception as error:  # a failure is a row, whatever the libraries raise
        return TrialResult(
            spec=spec,
            status=FAILED,
            message=failure_message(error, workplace.out / "errors" / f"{spec.trial_id}.txt"),
            history=tuple(history),
            timings=clock.seconds,
            environment=environment(),
            started=started,
        )
    finally:
        keras.utils.clear_session()
        gc.collect()


def failure_message(error: Exception, report: Path) -> str:
    """Why a trial failed, for people. What does not speak for itself leaves its traceback in the file `report`."""
    text = str(error).strip() or type(error).__name__
    if device.is_out_of_memory(error):
        return f"out of memory: {text.splitlines()[0][:300]}. Try a smaller --set batch_size or --set image_size"
    if isinstance(error, Diverged):
        return f"diverged: {text}"
    if isinstance(error, DataError | WeightsError):
        return text
    with contextlib.suppress(OSError):  # the disk may be what failed
        report.parent.mkdir(parents=True, exist_ok=True)
        report.write_text("".join(traceback.format_exception(error)))
    return f"{type(error).__name__}: {text.splitlines()[0][:500]} (traceback: {report.parent.name}/{report.name})"


def environment() -> dict[str, str]:
    """What a result was computed on and with."""
    found = {"device": device.describe(), "host": platform.node(), "python": platform.python_version()}
    for package in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found
