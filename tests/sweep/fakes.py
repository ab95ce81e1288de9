"""A backbone small enough to count by hand, and trials on it."""

from __future__ import annotations

import math
from typing import Any

from galaxytl.networks.blocks import Block, Structure
from galaxytl.trial import TrialSpec
from sweep.planning.costs import Sizes
from sweep.planning.plan import Limits, Plan, make_plan
from sweep.planning.speeds import OTHER_CPU_SPEED, Ratio, Speeds, Worker

# Three blocks on 32 x 32 images: cut 3 are the images (3,072 bytes), then 4,096, 2,048 and 40 bytes of float32.
TOY = Structure(
    "Toy",
    32,
    (
        Block("first", (8, 8, 16), 4_000_000, 100),
        Block("second", (4, 4, 32), 2_000_000, 200),
        Block("third", (1, 1, 10), 1_000_000, 300),
    ),
)
SIZES = Sizes(train=600, validation=100, test=300)


def toy_speeds(multiply_adds: float) -> Speeds:
    """Of a machine that runs so many a second, of heads a tenth; all else takes what is assumed."""
    ratio = Ratio(math.log(OTHER_CPU_SPEED / multiply_adds), 0.1)
    work = ("forward/compute/Toy/32/float32", "train/compute/Toy/32/float32", "heads/compute")
    return Speeds("", Worker(1, on_gpu=False), dict.fromkeys(work, ratio))


SLOW = toy_speeds(1e8)  # 70 ms for the whole network: storing pays


def toy_spec(**fields: Any) -> TrialSpec:
    return TrialSpec(dataset="d", dataset_fingerprint="f", backbone="Toy", image_size=32, num_epochs=10).replace(
        **{"validation_fraction": 0.1, **fields}
    )


def toy_plan(specs: list[TrialSpec], limits: Limits | None = None, **given: Any) -> Plan:
    """A plan for toy trials; by default with room for everything, one slow worker, and an empty disk."""
    limits = limits or Limits(disk_bytes=10**9, head_memory_bytes=10**9, workers=1)
    on_disk = given.get("on_disk", ())
    return make_plan(
        specs,
        {("Toy", 32): TOY},
        {spec.split_key: SIZES for spec in specs},
        limits,
        given.get("speeds", SLOW),
        lambda spec, cut: cut in on_disk,
    )
