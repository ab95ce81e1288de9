"""The grids that `--grid` names, and the profiles that size them.

`--grid paper` is the study's 3 x 2 grid (Xu 2023, Table 1). The paper names no optimizer, learning rate, batch size,
number of epochs, loss details or seed, and says both 256 and 224 pixels. What is assumed, and what varies it:

    what              assumed                       because                          varied with
    optimizer         Adam                          the field's default              --set optimizer=sgd
    learning rate     1e-3                          Keras's default for Adam         --set learning_rate=1e-4
    batch size        32                            Keras's default                  --set batch_size=64
    epochs            20                            a round number                   --set num_epochs=50
    loss              cross-entropy of the softmax  one-hot labels, softmax output   -
    input             224 pixels                    the `input_shape` in the text    --set image_size=256
    preprocessing     pixels / 255, all backbones   the text says so                 --set preprocessing=backbone
    split             70 / 30, not stratified       a test share of 0.157 (VGG16     --set stratified=true
                                                    OFF) is above any class's share
                                                    of the whole
    validation data   the test part, for curves     all of the 70 % are trained on;  --set validation_fraction=0.1
                                                    nothing is selected by it
    seed              0                             -                                --seeds N, --set split_seed=1
    ImageNet ON       frozen, only the head trains  the text says so                 --set unfrozen_blocks=all
    ImageNet OFF      all layers from scratch       the text says so                 -
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from galaxytl.trial import SpecError, TrialSpec, did_you_mean

PROFILES: Mapping[str, Mapping[str, Any]] = {
    "paper": {"image_size": 224, "max_images": 0, "num_epochs": 20, "batch_size": 32, "stratified": False},
    "laptop": {"image_size": 32, "max_images": 1000, "num_epochs": 20, "batch_size": 16, "stratified": True},
}
"""laptop: minutes on two CPU cores. Stratified there, because a random split can leave a small class out. Batches of 16
make 880 steps: BatchNorm's running averages (momentum 0.99) lag behind the weights for the first 700 or so, and until
they have caught up MobileNet and ResNet50 from scratch name one class on the test part however well they train."""

SIMULATED_DATA = {"paper": "simulated:17736", "laptop": "simulated:1000"}
"""What a profile runs on when no --data is given: as many galaxies as it wants."""


def paper(base: TrialSpec) -> list[TrialSpec]:
    """The paper's six trials: backbone (scientific) x ImageNet ON or OFF (scientific); all else fixed.

    `python -m sweep.run --grid paper`: 6 trials a seed; about 6 minutes in the laptop profile on two CPU cores.
    """
    on = {"weights": "imagenet", "weights_requested": "imagenet", "unfrozen_blocks": 0}
    off = {"weights": "random", "weights_requested": "random", "unfrozen_blocks": "all"}
    return [base.replace(backbone=b, **arm) for arm in (on, off) for b in ("VGG16", "ResNet50", "MobileNet")]


GRIDS: Mapping[str, Callable[[TrialSpec], list[TrialSpec]]] = {"paper": paper}


def named(kind: str, name: str, known: Iterable[str]) -> str:
    """`name` if it is one of `known`; otherwise SpecError with the option, what is allowed, and the nearest word."""
    known = list(known)
    if name not in known:
        raise SpecError(f"--{kind} must be one of {', '.join(known)}; got '{name}'.{did_you_mean(name, known)}")
    return name


def expand(grid: str, base: TrialSpec, overrides: Mapping[str, Any], num_seeds: int) -> list[TrialSpec]:
    """All specs of a grid with `overrides`, repeated for `num_seeds` seeds, without repetitions.

    A list among the overrides multiplies the grid by its values.
    """
    axes = {name: value if isinstance(value, list) else [value] for name, value in overrides.items()}
    firsts = axes.pop("seed", [base.seed])
    axes["seed"] = [first + i for first in firsts for i in range(num_seeds)]
    points = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
    specs = [_changed(spec, point) for point in points for spec in GRIDS[grid](base)]
    return list({spec.trial_id: spec for spec in specs}.values())


def _changed(spec: TrialSpec, point: Mapping[str, Any]) -> TrialSpec:
    return spec.replace(**point, **({"weights_requested": point["weights"]} if "weights" in point else {}))
