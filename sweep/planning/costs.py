"""What groups of trials cost: images read, multiply-adds, seconds.

    costs = Costs(structures, sizes, speeds)
    cost = costs.cost(specs, source=0)            # of a group that reads the backbone's stored output
    cost.multiply_adds, cost.seconds

A trained step counts three forward passes: forward, the gradient of the activations, and the gradient of the weights.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from galaxytl.networks.backbones import head_layers
from galaxytl.networks.blocks import TRAINED_STEP, Structure
from galaxytl.trial import TrialSpec
from galaxytl.trial.optimizers import OPTIMIZERS
from sweep.planning.speeds import Speeds, add, kind_of, steps_of
from sweep.planning.stored_activations import BYTES_PER_SECOND, Chain

FLOAT_BYTES: Final = 4
SCRATCH: Final = 2
"""A training step needs this many times the memory of a head's weights and slots: itself, then gradient and update."""


@dataclass(frozen=True)
class Sizes:
    """Images in each part of a split: `Sizes(**splits.sizes())`."""

    train: int
    validation: int
    test: int

    @property
    def rows(self) -> int:
        return self.train + self.validation + self.test

    @property
    def watched(self) -> int:
        """After each epoch: the validation part, or the test part where there is none."""
        return self.validation or self.test

    def scored(self, spec: TrialSpec) -> int:
        """Return the number of images that score the finished trial."""
        return self.validation if spec.scored_on == "validation" else self.test


@dataclass(frozen=True)
class Cost:
    """Of one group, apart from storing the activations that it reads."""

    rows_read: int
    """Images or their activations that its passes read."""
    multiply_adds: float
    seconds: float
    """Of one worker, the network's compilation included."""
    doubt: float = 0.0
    """`Speeds.doubt` of these."""


@dataclass(frozen=True)
class _Network:
    """A structure as tuples that are indexed by cut, for one precision."""

    depths: tuple[int, ...]
    row_bytes: tuple[int, ...]
    features: int
    """Values that a head reads of one image."""


class Costs:
    """Of trials on known networks, splits and speeds. Keys: (backbone, image size) and `TrialSpec.split_key`."""

    def __init__(
        self, structures: Mapping[tuple[str, int], Structure], sizes: Mapping[tuple[Any, ...], Sizes], speeds: Speeds
    ) -> None:
        self.speeds = speeds
        self._structures, self._sizes = structures, sizes
        self._networks: dict[tuple[str, int, str], _Network] = {}

    def sizes(self, spec: TrialSpec) -> Sizes:
        key = spec.split_key
        if key not in self._sizes:
            raise ValueError(f"sizes must have an entry for every split_key; got none for {key}")
        return self._sizes[key]

    def images(self, spec: TrialSpec) -> int:
        """Return the cut before the first block: the images."""
        return len(self._network(spec).depths) - 1

    def freeze_point(self, spec: TrialSpec) -> int:
        """Return the cut up to which nothing is trained; more unfrozen blocks than there are leave none frozen."""
        images = self.images(spec)
        return images if spec.unfrozen_blocks == "all" else min(spec.unfrozen_blocks, images)

    def storable_cut(self, spec: TrialSpec) -> int:
        """Return the last cut whose activations can be stored: the images, if these are turned anew in each epoch."""
        return self.images(spec) if spec.augmentation else self.freeze_point(spec)

    def can_store(self, spec: TrialSpec) -> bool:
        return self.storable_cut(spec) < self.images(spec)

    def chain(self, spec: TrialSpec, rows_read: Mapping[int, int], on_disk: frozenset[int]) -> Chain:
        """Return a family's cuts, `spec` standing for all its trials: `rows_read` by storable cut, in all passes of its
        groups."""
        network = self._network(spec)
        return Chain(
            depths=network.depths,
            row_bytes=network.row_bytes,
            num_rows=self.sizes(spec).rows,
            rows_read=tuple(rows_read.get(cut, 0) for cut in range(len(network.depths))),
            speed=self.speeds.speed(spec),
            on_disk=on_disk,
        )

    def rows_read(self, specs: Sequence[TrialSpec]) -> int:
        """Count the images that a group reads: heads share one pass, as long as the longest of them; others have a pass
        each."""
        sizes, epochs = self.sizes(specs[0]), [spec.num_epochs for spec in specs]
        passes = [max(epochs)] if specs[0].trains_head_only else epochs
        return sum(passes) * (sizes.train + sizes.watched) + len(passes) * sizes.scored(specs[0])

    def cost(self, specs: Sequence[TrialSpec], source: int) -> Cost:
        """Return the cost of a group of `specs` whose passes read the cut `source`."""
        network = self._network(specs[0])
        rows_read = self.rows_read(specs)
        frozen = rows_read * (network.depths[self.freeze_point(specs[0])] - network.depths[source])
        trained = self.trained_multiply_adds(specs)
        parts = self._parts(specs, frozen, trained)
        parts["read"] = rows_read * network.row_bytes[source] / BYTES_PER_SECOND
        return Cost(rows_read, frozen + trained, self.speeds.seconds(parts), self.speeds.doubt(parts))

    def _parts(self, specs: Sequence[TrialSpec], frozen: float, trained: float) -> dict[str, float]:
        """Return a group's assumed seconds by part, for so many multiply-adds of frozen blocks and what is trained."""
        spec, sizes, worker = specs[0], self.sizes(specs[0]), self.speeds.assumed
        kind, epochs = kind_of(spec), [spec.num_epochs for spec in specs]
        passes = max(epochs) if kind == "heads" else sum(epochs)
        parts = {**worker.fixed(spec, kind), **worker.trials(kind, len(specs))}
        if kind == "heads" and frozen:
            add(parts, worker.fixed(spec, "forward"))
            add(parts, worker.work(spec, "forward", frozen))
        work = trained if kind == "heads" else frozen + trained
        add(parts, worker.work(spec, kind, work, passes * steps_of(spec, sizes.train, sizes.watched), passes))
        return parts

    def fixed_seconds(self, spec: TrialSpec) -> float:
        """Return the seconds to build and compile what a group of trials like `spec` trains."""
        return self.speeds.seconds(self.speeds.assumed.fixed(spec, kind_of(spec)))

    def storing(self, spec: TrialSpec, multiply_adds: float) -> tuple[float, float]:
        """Return seconds, reading and writing apart, and their doubt, to compute activations that are stored."""
        worker = self.speeds.assumed
        parts = {**worker.fixed(spec, "forward"), **worker.work(spec, "forward", multiply_adds)}
        return self.speeds.seconds(parts), self.speeds.doubt(parts)

    def trained_multiply_adds(self, specs: Sequence[TrialSpec]) -> int:
        """Count those of a group after its freeze point: unfrozen blocks and head of each trial."""
        sizes, network = self.sizes(specs[0]), self._network(specs[0])
        epochs = sum(spec.num_epochs for spec in specs)
        forwards = epochs * (TRAINED_STEP * sizes.train + sizes.watched) + len(specs) * sizes.scored(specs[0])
        head = head_weights(specs[0], network.features)
        return forwards * (network.depths[0] - network.depths[self.freeze_point(specs[0])] + head)

    def turned_multiply_adds(self, specs: Sequence[TrialSpec]) -> int:
        """Count those of a group's frozen blocks, where its images are turned anew in each epoch: no plan can save
        them."""
        frozen = self._network(specs[0]).depths[self.freeze_point(specs[0])]
        return self.rows_read(specs) * frozen if specs[0].augmentation else 0

    def alone_multiply_adds(self, spec: TrialSpec) -> int:
        """Count those of one trial by itself on an empty disk, its frozen blocks computed as seldom as can be."""
        frozen = self._network(spec).depths[self.freeze_point(spec)] * self.sizes(spec).rows
        return self.trained_multiply_adds([spec]) + (self.turned_multiply_adds([spec]) or frozen)

    def unshared_multiply_adds(self, specs: Sequence[TrialSpec]) -> int:
        """Count those of a group's trials each on its own, with the frozen blocks computed again in every epoch."""
        sizes, depths = self.sizes(specs[0]), self._network(specs[0]).depths
        rows = sum(spec.num_epochs for spec in specs) * (sizes.train + sizes.watched) + len(specs) * sizes.scored(
            specs[0]
        )
        return rows * depths[self.freeze_point(specs[0])] + self.trained_multiply_adds(specs)

    def head_bytes(self, spec: TrialSpec) -> int:
        """Return the memory that training one head takes: weights and the optimizer's slots, SCRATCH times."""
        slots = len(OPTIMIZERS[spec.optimizer].slots)
        return head_weights(spec, self._network(spec).features) * FLOAT_BYTES * (1 + slots) * SCRATCH

    def _network(self, spec: TrialSpec) -> _Network:
        key = (spec.backbone, spec.image_size, spec.precision)
        if key not in self._networks:
            if key[:2] not in self._structures:
                known = ", ".join(f"{name} at {size} px" for name, size in sorted(self._structures))
                raise ValueError(
                    f"structures must hold every backbone and image size of the trials ({known or 'none'} given); "
                    f"got {spec.backbone} at {spec.image_size} px"
                )
            self._networks[key] = _network(self._structures[key[:2]], spec.precision)
        return self._networks[key]


def _network(structure: Structure, precision: str) -> _Network:
    images = len(structure.blocks)
    activation_bytes = FLOAT_BYTES if precision == "float32" else 2  # float16 and bfloat16
    shapes = [structure.shape_at(cut) for cut in range(images)]
    row_bytes = [activation_bytes * math.prod(shape) for shape in shapes]
    pixels = math.prod(structure.shape_at(images)) * (FLOAT_BYTES if structure.features else 1)  # uint8
    depths = [sum(block.multiply_adds for block in structure.blocks[: images - cut]) for cut in range(images + 1)]
    return _Network(tuple(depths), (*row_bytes, pixels), math.prod(structure.shape_at(0)))


def head_weights(spec: TrialSpec, num_features: int) -> int:
    """Return weights of a head, biases apart: as many as it multiplies and adds for an image."""
    return sum(math.prod(shape) for shape in head_layers(spec, num_features))
