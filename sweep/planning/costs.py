"""What groups of trials cost: images read, multiply-adds, seconds.

    costs = Costs(structures, sizes, speeds)
    cost = costs.cost(specs, source=0)            # of a group that reads the backbone's stored output
    cost.multiply_adds, cost.seconds

A trained step counts three forward passes: forward, the gradient of the activations, and the gradient of the weights.
A trial counts all of its num_epochs: where `early_stopping` may end it before, what is said of it is an upper bound.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from galaxytl.learning.augmentation.symmetries import NUM_WAYS
from galaxytl.networks.backbones import head_layers
from galaxytl.networks.blocks import TRAINED_STEP, Structure
from galaxytl.trial import TrialSpec
from galaxytl.trial.optimizers import OPTIMIZERS
from galaxytl.trial.stages import Depth, spec_of, stages_of
from sweep.planning.speeds import Speeds, add, interpolation, kind_of, steps_of
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

    def scored_beside(self, spec: TrialSpec) -> int:
        """Return the number of validation images whose probabilities are stored beside those of the test part."""
        return 0 if spec.scored_on == "validation" else self.validation


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


class _Pass(NamedTuple):
    """Epochs that are frozen up to one cut: all of a trial, or a stage of it, or of heads that share them."""

    freeze_point: int
    rows: int
    """Images or their activations that it reads."""
    forwards: int
    """Forward passes of an image that what it trains costs, a trained step counting TRAINED_STEP."""


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
        """Return the cut up to which nothing is trained, in the first stage of trials that have some; more unfrozen
        blocks than there are leave none frozen."""
        return self._freeze_point(spec, stages_of(spec)[0].depth)

    def _freeze_point(self, spec: TrialSpec, depth: Depth) -> int:
        images = self.images(spec)
        return images if depth == "all" else min(depth, images)

    def storable_cut(self, spec: TrialSpec) -> int:
        """Return the last cut whose activations can be stored: the images, if these are other ones in each epoch."""
        return self.freeze_point(spec) if spec.stores_activations else self.images(spec)

    def can_store(self, spec: TrialSpec) -> bool:
        return self.storable_cut(spec) < self.images(spec)

    def stored_rows(self, spec: TrialSpec) -> int:
        """Count what is stored of each cut: all images, and the views of those that are trained on, in any fold."""
        sizes = self.sizes(spec)
        return sizes.rows + spec.views * (sizes.rows if spec.num_folds else sizes.train)

    def chain(self, spec: TrialSpec, rows_read: Mapping[int, int], on_disk: frozenset[int]) -> Chain:
        """Return a family's cuts, `spec` standing for all its trials: `rows_read` by storable cut, in all passes of its
        groups."""
        network = self._network(spec)
        return Chain(
            depths=network.depths,
            row_bytes=network.row_bytes,
            num_rows=self.stored_rows(spec),
            rows_read=tuple(rows_read.get(cut, 0) for cut in range(len(network.depths))),
            speed=self.speeds.speed(spec),
            on_disk=on_disk,
        )

    def rows_read(self, specs: Sequence[TrialSpec]) -> int:
        """Count the images that a group reads: heads share one pass, as long as the longest of them; others have a pass
        each."""
        return sum(one.rows for one in self._passes(specs))

    def rows_by_cut(self, specs: Sequence[TrialSpec]) -> dict[int, int]:
        """Count the images that a group reads by the last cut where they could be stored for it."""
        found: dict[int, int] = {}
        for one in self._passes(specs):
            cut = max(one.freeze_point, self.storable_cut(specs[0]))
            found[cut] = found.get(cut, 0) + one.rows
        return found

    def _passes(self, specs: Sequence[TrialSpec]) -> list[_Pass]:
        """Return a group's passes over its images."""
        sizes = self.sizes(specs[0])
        scored, beside = sizes.scored(specs[0]), sizes.scored_beside(specs[0])
        rows, forwards = sizes.train + sizes.watched, TRAINED_STEP * sizes.train + sizes.watched
        epochs = [spec.num_epochs for spec in specs]
        if specs[0].trains_head_only:
            times = len(specs) + (NUM_WAYS - 1) * _num_symmetric(specs)
            ending = times * scored + len(specs) * beside
            return [_Pass(0, max(epochs) * rows + scored + beside, sum(epochs) * forwards + ending)]
        passes = []
        for spec in specs:
            for stage in stages_of(spec):
                times = NUM_WAYS if spec.test_time_augmentation else 1
                ends = stage.last == spec.num_epochs
                read, work = (scored + beside, times * scored + beside) if ends else (0, 0)
                counts = (stage.num_epochs * rows + read, stage.num_epochs * forwards + work)
                passes.append(_Pass(self._freeze_point(spec, stage.depth), *counts))
        return passes

    def cost(self, specs: Sequence[TrialSpec], source: int, *stored: int) -> Cost:
        """Return the cost of a group of `specs` whose passes each read, of the cut `source` and those of `stored`, the
        last one before their freeze point: in stages these differ."""
        network, images = self._network(specs[0]), self.images(specs[0])
        passes = self._passes(specs)
        sources = [min(cut for cut in (images, source, *stored) if cut >= one.freeze_point) for one in passes]
        pairs = list(zip(passes, sources, strict=True))
        frozen = sum(one.rows * (network.depths[one.freeze_point] - network.depths[cut]) for one, cut in pairs)
        frozen += self.symmetry_multiply_adds(specs)
        trained = self.trained_multiply_adds(specs)
        parts = self._parts(specs, frozen, trained)
        parts["read"] = sum(one.rows * network.row_bytes[cut] for one, cut in pairs) / BYTES_PER_SECOND
        return Cost(self.rows_read(specs), frozen + trained, self.speeds.seconds(parts), self.speeds.doubt(parts))

    def _parts(self, specs: Sequence[TrialSpec], frozen: float, trained: float) -> dict[str, float]:
        """Return a group's assumed seconds by part, for so many multiply-adds of frozen blocks and what is trained."""
        spec, sizes, worker = specs[0], self.sizes(specs[0]), self.speeds.assumed
        kind, epochs = kind_of(spec), [spec.num_epochs for spec in specs]
        passes = max(epochs) if kind == "heads" else sum(epochs)
        parts = {**self._fixed(spec), **worker.trials(kind, len(specs))}
        if kind == "heads" and frozen:
            add(parts, worker.fixed(spec, "forward"))
            add(parts, worker.work(spec, "forward", frozen))
        work = trained if kind == "heads" else frozen + trained
        add(parts, worker.work(spec, kind, work, passes * steps_of(spec, sizes.train, sizes.watched), passes))
        if not spec.views:  # which are stored so
            add(parts, interpolation(spec, passes * sizes.train))
        return parts

    def fixed_seconds(self, spec: TrialSpec) -> float:
        """Return the seconds to build and compile what a group of trials like `spec` trains."""
        return self.speeds.seconds(self._fixed(spec))

    def _fixed(self, spec: TrialSpec) -> dict[str, float]:
        """Return the assumed seconds of that by part: of stages, each has a network of its own."""
        parts: dict[str, float] = {}
        for stage in stages_of(spec):
            add(parts, self.speeds.assumed.fixed(spec_of(spec, stage), kind_of(spec)))
        return parts

    def storing(self, spec: TrialSpec, multiply_adds: float) -> tuple[float, float]:
        """Return seconds, reading and writing apart, and their doubt, to compute activations that are stored."""
        worker = self.speeds.assumed
        parts = {**worker.fixed(spec, "forward"), **worker.work(spec, "forward", multiply_adds)}
        add(parts, interpolation(spec, self.stored_rows(spec) - self.sizes(spec).rows))
        return self.speeds.seconds(parts), self.speeds.doubt(parts)

    def trained_multiply_adds(self, specs: Sequence[TrialSpec]) -> int:
        """Count those of a group after its freeze point: unfrozen blocks and head of each trial."""
        depths, head = self._network(specs[0]).depths, head_weights(specs[0], self._network(specs[0]).features)
        return sum(one.forwards * (depths[0] - depths[one.freeze_point] + head) for one in self._passes(specs))

    def turned_multiply_adds(self, specs: Sequence[TrialSpec]) -> int:
        """Count those of a group's frozen blocks that no plan can save: where its images are other ones in each epoch,
        and those of `symmetry_multiply_adds`."""
        turned = 0 if specs[0].stores_activations else self._frozen_multiply_adds(specs)
        return turned + self.symmetry_multiply_adds(specs)

    def _frozen_multiply_adds(self, specs: Sequence[TrialSpec]) -> int:
        """Count those of a group's frozen blocks, computed whenever they are read."""
        depths = self._network(specs[0]).depths
        return sum(one.rows * depths[one.freeze_point] for one in self._passes(specs))

    def symmetry_multiply_adds(self, specs: Sequence[TrialSpec]) -> int:
        """Count those of a group's frozen blocks on the scored images in the symmetries after the first, from the
        images: once for all heads of a group that ask for it, for others a time each."""
        frozen = self._network(specs[0]).depths[self._freeze_point(specs[0], specs[0].unfrozen_blocks)]
        number = min(1, _num_symmetric(specs)) if specs[0].trains_head_only else _num_symmetric(specs)
        return (NUM_WAYS - 1) * number * self.sizes(specs[0]).scored(specs[0]) * frozen

    def alone_multiply_adds(self, spec: TrialSpec) -> int:
        """Count those of one trial by itself on an empty disk, its frozen blocks computed as seldom as can be."""
        rows = self.stored_rows(spec) if spec.stores_activations else 0
        if spec.views:  # of which a short trial reads some; the validation part it has read when it scores it
            rows = min(rows, self.rows_read([spec]) - self.sizes(spec).scored_beside(spec))
        frozen = self._network(spec).depths[self.freeze_point(spec)] * rows
        return self.trained_multiply_adds([spec]) + self.turned_multiply_adds([spec]) + frozen

    def unshared_multiply_adds(self, specs: Sequence[TrialSpec]) -> int:
        """Count those of a group's trials each on its own, with the frozen blocks computed again in every epoch."""
        frozen = sum(self._frozen_multiply_adds([spec]) + self.symmetry_multiply_adds([spec]) for spec in specs)
        return frozen + self.trained_multiply_adds(specs)

    def head_bytes(self, spec: TrialSpec) -> int:
        """Return the memory that training one head takes: weights, the optimizer's slots and a moving average, SCRATCH
        times."""
        optimizer = OPTIMIZERS[spec.optimizer]
        slots = len(optimizer.slots) - len(optimizer.reduced)  # which are as small as biases, and counted as little
        slots += bool(spec.ema_momentum)
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


def _num_symmetric(specs: Sequence[TrialSpec]) -> int:
    """Count those that are scored on the symmetries too."""
    return sum(spec.test_time_augmentation for spec in specs)


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
