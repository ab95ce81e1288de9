"""Processes that ask for the same activations, without Keras, so that they start fast: `python -m` it with seconds."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from galaxytl.learning import features
from galaxytl.learning.features import Source, stored_activations
from galaxytl.networks.blocks import Block, Structure
from galaxytl.trial import TrialSpec

SPEC = TrialSpec(dataset="simulated", dataset_fingerprint="0" * 64, image_size=32)
IMAGES, ROWS = np.zeros((9, 32, 32, 3), np.uint8), np.arange(9)
FOUND = np.arange(9 * 12, dtype=np.float32).reshape(-1, 2, 2, 3)


class Numbers:
    """A network whose activations are FOUND."""

    structure = Structure("Numbers", 32, (Block("end", (2, 2, 3), 1, 1),))

    def forward(self, first_cut: int, last_cut: int) -> Callable[[Any], np.ndarray]:
        return lambda images: np.resize(FOUND, (len(images), 2, 2, 3))


def ask(seconds: float, say: Callable[..., object] = print) -> np.ndarray:
    """Ask for activations, and wait so many seconds whenever told how far they are. The last word says whether they
    were computed here."""
    computed = []

    def progress(*done: int) -> None:
        computed.append(done)
        say("at", *done)
        time.sleep(seconds)

    source: Any = Source(IMAGES, ROWS, Numbers, progress, lambda count: None)  # type: ignore[arg-type]
    say("ready")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(features, "batch_size", lambda num_rows, image_size: 16)  # without asking Keras for a GPU
        found = np.array(stored_activations(SPEC, (0,), source))
    say("computed" if computed else "read")
    return found


def start(seconds: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-u", "-W", "ignore", "-m", "tests.galaxytl.asking", str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


if __name__ == "__main__":
    ask(float(sys.argv[1]))
