"""Which trackers there are, and what --tracker says of one: NAME, or NAME:WHERE.

    address = parse("mlflow:http://localhost:5000")
    address.open(ParentRun(...))

A tracker of your own is a class that keeps `sweep.progress.trackers.runs.Tracker`, and a row of TRACKERS.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from galaxytl.system.command import UsageError
from galaxytl.system.credentials import without_secrets
from galaxytl.system.foreign_text import did_you_mean
from sweep.progress.trackers.mlflow_runs import MlflowRuns
from sweep.progress.trackers.runs import ParentRun, Tracker
from sweep.progress.trackers.tensorboard_runs import TensorboardRuns
from sweep.progress.trackers.trackio_runs import TrackioRuns
from sweep.progress.trackers.wandb_runs import WandbRuns


@dataclass(frozen=True)
class Kind:
    """Of a tracker."""

    heading: str
    """Its name for people."""
    open: Callable[[str, ParentRun], Tracker]
    """Of what stands behind the colon, and the sweep. It may raise whatever it likes where it cannot be reached."""
    package: str
    """That it needs; of the same name at PyPI."""
    takes: str = ""
    """What may stand behind the colon, for people; "": nothing."""
    is_target: Callable[[str], bool] = lambda _: False


@dataclass(frozen=True)
class Address:
    """Of a tracker."""

    kind: Kind
    target: str
    """What stands behind the colon; "": the kind's default."""

    def open(self, sweep: ParentRun) -> Tracker:
        return self.kind.open(self.target, sweep)

    def __str__(self) -> str:
        return without_secrets(f"{self.kind.heading} at {self.target}" if self.target else self.kind.heading)


def is_uri(text: str) -> bool:
    """Tell whether a URI has all that it needs: of a server its name, and a port that is a number."""
    try:
        parts = urlsplit(text)
        server = parts.hostname, parts.port
    except ValueError:
        return False
    if parts.scheme in ("http", "https"):
        return bool(server[0])
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", text) is not None or text == "databricks"


def is_project(text: str) -> bool:
    return re.fullmatch(r"[\w.-]+", text) is not None


TRACKERS: Final = {
    "mlflow": Kind("MLflow", MlflowRuns, "mlflow", "a URI, like http://localhost:5000 or sqlite:///mlflow.db", is_uri),
    "tensorboard": Kind("TensorBoard", TensorboardRuns, "tensorboardX"),
    "trackio": Kind("trackio", TrackioRuns, "trackio", "a project", is_project),
    "wandb": Kind(
        "W&B",
        WandbRuns,
        "wandb",
        "PROJECT or ENTITY/PROJECT",
        lambda text: all(map(is_project, text.split("/"))) and text.count("/") < 2,
    ),
}
"""By the names that --tracker takes."""


def parse(words: Sequence[str]) -> tuple[Address, ...]:
    """Return what --tracker names. Raises UsageError for what cannot be, and where a package is missing."""
    addresses = tuple(map(_parse, words))
    for i, address in enumerate(addresses):
        if address in addresses[:i]:
            raise UsageError(f"--tracker takes each tracker once; got {address} twice")
    return addresses


def _parse(word: str) -> Address:
    name, colon, target = word.partition(":")
    if name not in TRACKERS:
        known = f"--tracker must be one of {', '.join(TRACKERS)}"
        raise UsageError(f"{known}; got '{without_secrets(name)}'.{did_you_mean(name, TRACKERS)}")
    kind = TRACKERS[name]
    if colon and not (kind.takes and kind.is_target(target)):
        rule = f"takes {kind.takes}, behind its colon" if kind.takes else "takes nothing behind its name"
        raise UsageError(f"--tracker {name} {rule}; got '{without_secrets(target)}'")
    if importlib.util.find_spec(kind.package) is None:
        raise UsageError(f"--tracker {name} wants a package that is not installed: pip install {kind.package}")
    return Address(kind, target)
