"""What is said of how a trial ended: the row of one that failed, why it did, and what computed it."""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import platform
import traceback
from pathlib import Path

from galaxytl.data import DataError
from galaxytl.learning.job import Diverged, Job
from galaxytl.networks import device
from galaxytl.networks.gpu_memory import DeviceError
from galaxytl.networks.weights import WeightsError
from galaxytl.results.checkpoints import split_records
from galaxytl.system.credentials import without_secrets
from galaxytl.system.files import write_atomically
from galaxytl.system.foreign_text import visible
from galaxytl.trial import DAMAGE, FAILED, SpecError, TrialResult, TrialSpec

PACKAGES = ("galaxytl", "keras", "tensorflow", "jax", "numpy", "scikit-learn", "ray")
SPEAKS_FOR_ITSELF = (DataError, WeightsError, DeviceError)
"""Errors of what a trial stands on: its group fails with it, and no traceback says more."""


def failed_row(spec: TrialSpec, error: Exception, job: Job) -> TrialResult:
    """Return the FAILED row of a trial, with the epochs that it had."""
    history, records = split_records(job.histories.get(spec.trial_id, ()))
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
    """Return why a trial failed. What does not speak for itself leaves its traceback in the file `report`."""
    text = without_secrets(str(error).strip()) or type(error).__name__
    if device.is_out_of_memory(error):
        return f"out of memory: {text.splitlines()[0][:300]}. Try a smaller --set batch_size or --set image_size"
    if isinstance(error, Diverged):
        return f"diverged: {text}"
    if isinstance(error, (*SPEAKS_FOR_ITSELF, SpecError)):
        return " ".join(text.split())
    with contextlib.suppress(OSError):  # the disk may be what failed
        frames = without_secrets("".join(traceback.format_exception(error)))
        write_atomically(report, visible(frames, keep="\n").encode())
    return f"{type(error).__name__}: {text.splitlines()[0][:500]} (traceback: {report.parent.name}/{report.name})"


@functools.cache
def environment(damage: str = "") -> dict[str, str]:
    """Return what a result was computed on and with. damage: what is wrong with the dataset, if that was accepted."""
    found = {DAMAGE: damage} if damage else {}
    found |= {"device": device.describe(), "keras_backend": device.backend()}
    found |= {"host": platform.node(), "python": platform.python_version()}
    for package in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found
