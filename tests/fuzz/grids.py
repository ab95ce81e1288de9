"""YAML grids with tokens changed."""

from __future__ import annotations

import random
import re
from typing import Final

GRID: Final = """\
name: fuzz
purpose: what becomes of odd grids?
fixed:      {num_epochs: 2, image_size: 32, weights: random, validation_fraction: 0.4}
scientific:
  backbone: [MobileNet, VGG16]
  optimizer: [adam, {optimizer: sgd, momentum: 0.9}]
nuisance:   {learning_rate: [1e-3, 1e-4], seed: [0, 1]}
"""
ODD: Final = (
    *("020", "0x10", "1:30", "1_000", ".inf", "-.nan", "+1", "1e400", "2026-11-29", "yes", "~", "null", "''", "&a"),
    *("*a", "!!binary", "[", "]", "{", "}", "?", "-", "|", "%", "<<", "seed", "learning_rate", "dataset", "fixed"),
    *("true", "1e-3", "-5", "0.5", "[[1]]", "{seed: 1}", "!!python/object:os.system", "é", "\x00", "\t", "\n"),
)
NUMBERS: Final = ("1e-2", "3", "0", "64", "2", "1", "0.3", "1e-5")
WORDS: Final = ("MobileNet", "VGG16", "ResNet50", "random", "imagenet", "adam", "sgd", "rmsprop")
"""What often leaves a grid possible, if it stands in a place of its kind."""


def text(rng: random.Random) -> bytes:
    """The grid with one to three words replaced, removed or added; rarely bytes that are no UTF-8."""
    parts = re.split(r"([\w.-]+)", GRID)  # every other part is a word
    words = range(5, len(parts), 2)
    values = [at for at in words if parts[at] in WORDS or parts[at][0].isdigit()]
    for _ in range(rng.randrange(1, 4)):
        at = rng.choice(values if rng.random() < 0.9 else words)
        mild = rng.choice(NUMBERS if parts[at][:1].isdigit() else WORDS)
        parts[at] = rng.choice([mild, mild, mild, rng.choice(ODD), "", f"{parts[at]} {parts[at]}"])
    return "".join(parts).encode() + rng.choice([*[b""] * 8, b"\xff", b"\n---\na: 1\n"])
