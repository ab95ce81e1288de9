"""The weights files that Keras publishes: a download that was cut goes on, and what came is held against Keras's MD5.

    path = fetch_published(BACKBONES["VGG16"], Path("weights"), reporter)

Keras downloads such files itself, but begins anew after a cut. So the file is fetched into a folder of Keras's, and
then Keras builds the network: it takes the file that it finds there if its MD5 is right, and else fetches it once more.
Tested with Keras 3.15.1 against a server on loopback; untried against the real one.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from galaxytl.data.download.http import PATIENT, Patience, RemoteFile, download, one_at_a_time
from galaxytl.data.progress import Reporter
from galaxytl.networks import device
from galaxytl.networks.families import Backbone
from galaxytl.system import process
from galaxytl.system.locations import DataError


def fetch_published(backbone: Backbone, folder: Path, reporter: Reporter, patience: Patience = PATIENT) -> Path:
    """Return the weights file of a backbone in `folder`, fetched where it is not there; raises DataError or OSError
    where it cannot be had."""
    folder.mkdir(parents=True, exist_ok=True)
    target, home = folder / backbone.weights_file, folder / f".fetching-{backbone.name}"
    with one_at_a_time(target, reporter):
        if not target.exists():
            reporter.say(f"Downloading {backbone.weights_url}")
            fetched = home / "models" / backbone.weights_file
            download(RemoteFile(backbone.weights_url), fetched, reporter, patience)
            if said := _refusal(backbone, home):
                shutil.rmtree(home)
                rule = f"{backbone.weights_url} must be the file that Keras knows, by its MD5"
                raise DataError(f"{rule}; it refused what came: {said}. That is removed; run the command again.")
            fetched.replace(target)
            shutil.rmtree(home)
    return target


def _refusal(backbone: Backbone, home: Path) -> str:
    """Return what Keras has against the file in its folder `home`; "" where nothing.

    A process of its own, so that the driver stays without Keras, with a folder of its own: a user's keras.json would be
    heeded. It builds the network at 224 pixels: of MobileNet's files that is the one we want, and NASNet's does not
    fit a network of no fixed size (`galaxytl.networks.families`).
    """
    arguments = "include_top=False, input_shape=(224, 224, 3), weights='imagenet'"
    build = f"from {backbone.library} import {backbone.name}; {backbone.name}({arguments})"
    environment = {**os.environ, **device.without_settings(), "KERAS_HOME": str(home.resolve())}
    process.settle(environment)
    command = [sys.executable, "-c", build]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, errors="replace", check=False)
    said = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    return "" if done.returncode == 0 else (said[-1][:300] if said else f"exit status {done.returncode}")
