"""What benchmarks of heads on a frozen backbone train: on which images, from which weights."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from galaxytl.data import open_dataset
from galaxytl.learning.job import Workplace
from galaxytl.networks.weights import WeightsNotFoundError, find_weights
from galaxytl.trial import TrialSpec


def add_place(parser: argparse.ArgumentParser, image_size: int) -> None:
    """Add the arguments that say where images and weights are, and how many epochs see them."""
    place = os.environ.get("GALAXYTL_TEST_WEIGHTS_DIR")
    parser.add_argument("--data", default=os.environ.get("GALAXYTL_TEST_DATA"), metavar="URI")
    parser.add_argument("--weights-dir", type=Path, default=place and Path(place), metavar="FOLDER")
    parser.add_argument("--images", type=int, default=1000, help="simulated galaxies (default: 1000)")
    parser.add_argument("--image-size", type=int, default=image_size, metavar="PIXELS")
    parser.add_argument("--epochs", type=int, default=20)


def prepare(workplace: Workplace, options: argparse.Namespace, text: str, **fields: Any) -> TrialSpec:
    """Return what all trials have in common, `fields` beside it, with the images resized, so that nothing of that is
    timed; `text` is printed with it."""
    dataset = open_dataset(workplace.data)
    dataset.resized(options.image_size)
    fixed = {"dataset": dataset.name, "dataset_fingerprint": dataset.fingerprint, "stratified": True}
    sizes = {"image_size": options.image_size, "num_epochs": options.epochs}
    base = TrialSpec(**fixed, **sizes, **fields, weights="random")
    try:
        weights = find_weights(base.backbone, workplace.weights_dir)
        base = base.replace(weights="imagenet", weights_fingerprint=weights.fingerprint)
    except WeightsNotFoundError as error:
        print(f"note: {error}")
    print(f"frozen {base.backbone}, weights: {base.weights_label}; {len(dataset)} images of {dataset.name}; ", end="")
    print(f"{base.image_size} px, {base.num_epochs} epochs, {text}", flush=True)
    return base
