"""Imported by the workers of a local cluster before they have work, while the sweep is still planned: what takes them
seconds, and depends on nothing that a trial says. Nothing is computed here, and no device is looked for: how many
threads and which GPU a worker has is known with its first group.

Ray imports this file by its name (`sweep.scheduling.cluster`); what is wrong with it ends in the worker's log, and the
worker goes on, to import the same when it has work.
"""

from __future__ import annotations

import importlib
import os
from typing import Final

from sweep.scheduling.board import COLD

AT_WORK: Final = ("galaxytl.learning.groups", "galaxytl.learning.network_run", "sweep.scheduling.worker")
"""What a worker imports with its first group, and with that all that they import."""

if not os.environ.get(COLD):
    from galaxytl.networks import device

    device.load()
    for name in AT_WORK:
        importlib.import_module(name)
