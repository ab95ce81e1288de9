"""The grids that `--grid` names, and the profiles that size them.

    find("lr")["laptop"], find("my_grid.yaml")["paper"]      # sweep.grids.axes.Grid
    python -m sweep.run --grid lr --dry-run                  # prints the axes, the plan and what it will cost here

Each grid says in its docstring how it is run, how many trials it has in each profile, what they cost, and what for.
Minutes are those of two CPU cores at 32 pixels: an epoch of 630 images in batches of 16 takes one thread 18 s (VGG16
from scratch), 13 s (ResNet50) or 3 s (MobileNet); heads on frozen features are trained together, in seconds. GPU hours
are those of a plan for one GPU at `sweep.planning.speeds.GPU_SPEED`. A plan says what it will be here, the better
the more runs it has measured.

Grids that search hold out a tenth of the train part, so that what is chosen is not chosen on the test part.

`--grid paper` is the paper's 3 x 2 grid (Xu 2023, Table 1). The paper names no optimizer, learning rate, batch size,
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

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from galaxytl.system.foreign_text import did_you_mean
from galaxytl.trial import SpecError
from galaxytl.trial.stages import Depth, text_of
from sweep.grids.axes import Axis, Grid, fixed
from sweep.grids.yaml_grid import is_grid_file, read_grid

PROFILES: Mapping[str, Mapping[str, Any]] = {
    "paper": {"image_size": 224, "max_images": 0, "num_epochs": 20, "batch_size": 32, "stratified": False},
    "laptop": {"image_size": 32, "max_images": 1000, "num_epochs": 20, "batch_size": 16, "stratified": True},
}
"""laptop: minutes on two CPU cores. Stratified there, because a random split can leave a small class out. Batches of 16
make 880 steps: BatchNorm's running averages (momentum 0.99) lag behind the weights for the first 700 or so, and until
they have caught up MobileNet and ResNet50 from scratch name one class on the test part however well they train."""

SIMULATED_DATA = {"paper": "simulated:17736", "laptop": "simulated:1000"}
"""What a profile runs on when no --data is given: as many galaxies as it wants."""


BACKBONES: Final = ("VGG16", "ResNet50", "MobileNet")
COLLAPSE: Final = "vgg-collapse"
"""Name of the grid of one question."""
FROZEN_IMAGENET: Final = {"weights": "imagenet", "unfrozen_blocks": 0}
FROM_SCRATCH: Final = {"weights": "random", "unfrozen_blocks": "all"}
FROZEN_RANDOM: Final = {"weights": "random", "unfrozen_blocks": 0}
FINE_TUNED: Final = {"weights": "imagenet", "unfrozen_blocks": "all"}
AT_ONCE: Final = {"unfrozen_blocks": "all"}
SGD: Final = {"optimizer": "sgd", "momentum": 0.9}
OPTIMIZERS: Final = ("adam", SGD, "rmsprop")
SEARCHING: Final = fixed(validation_fraction=0.1)


def paper(profile: str) -> Grid:
    """Give the paper's six trials: Xu 2023, Table 1. Validation data are the test part, as nothing is selected by them.

    python -m sweep.run --grid paper

    laptop profile: 6 trials a seed, about 7 minutes. paper profile: 6 trials a seed, about 40 GPU minutes.
    """
    imagenet = Axis("ImageNet", (FROZEN_IMAGENET, FROM_SCRATCH), "scientific")
    backbone = Axis("backbone", BACKBONES, "scientific")
    return Grid("paper", "does ImageNet transfer to galaxies?", ((imagenet, backbone),), diagnostics=True)


def lr(profile: str) -> Grid:
    """Try learning rates around the paper's trials: is a network bad, or is its learning rate?

    python -m sweep.run --grid lr

    laptop profile: 54 trials a seed, about 55 minutes. paper profile: 126 trials a seed, about 9 GPU hours.
    Three backbones, frozen ImageNet or from scratch, three optimizers, and a learning rate every half decade from 1e-5
    to 1e-2 (laptop: every decade from 1e-4). The cost is that of the trials from scratch: on the laptop nine of each
    backbone, 9 x 20 epochs x (18 + 13 + 3) s = 102 minutes on one of the two cores, and 4 to compile nine networks.
    """
    rates = {"paper": (1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2), "laptop": (1e-4, 1e-3, 1e-2)}
    axes = (
        Axis("ImageNet", (FROZEN_IMAGENET, FROM_SCRATCH), "scientific"),
        Axis("backbone", BACKBONES, "scientific"),
        Axis("optimizer", OPTIMIZERS, "scientific"),
        Axis("learning_rate", rates[profile], "scientific"),
        *SEARCHING,
    )
    return Grid("lr", "which learning rate suits each network, start and optimizer?", (axes,))


DEPTHS: Final[Mapping[str, Mapping[str, tuple[Depth, ...]]]] = {
    "paper": {
        "VGG16": (0, 1, 2, 3, 4, "all"),
        "ResNet50": (0, 3, 9, 13, 16, "all"),
        "MobileNet": (0, 2, 8, 10, 12, "all"),
    },
    "laptop": {"VGG16": (0, 1, 3, "all"), "ResNet50": (0, 3, 13, "all"), "MobileNet": (0, 2, 10, "all")},
}
"""Blocks counted from the output, in whole stages: blocks of one resolution. VGG16 has a block a stage; ResNet50's 17
make stages of 3, 6, 4, 3 and 1 (conv5 to pool1), MobileNet's 13 stages of 2, 6, 2, 2 and 1."""


def unfreeze(profile: str) -> Grid:
    """Ask how many blocks of an ImageNet network to train: from its head alone, stage by stage, to all of it.

    python -m sweep.run --grid unfreeze

    laptop profile: 36 trials a seed, about 40 minutes. paper profile: 72 trials a seed, about 6 GPU hours.
    The learning rate is a nuisance: what suits a head ruins a pretrained block, so each depth is judged at its best.
    A trial costs what its unfrozen blocks cost: the blocks below are computed once for all trials of a backbone. On the
    laptop, three rates of each backbone: 3 x 20 epochs x (18 + 13 + 3) s for all blocks, three quarters of it for three
    stages, a quarter for one: 68 minutes on one of the two cores, and 5 more to compile nine networks.
    """
    rates = {"paper": (1e-5, 1e-4, 1e-3, 1e-2), "laptop": (1e-5, 1e-4, 1e-3)}
    depths = DEPTHS[profile].items()
    axes = (
        Axis("backbone", tuple({"backbone": b, "unfrozen_blocks": d} for b, ds in depths for d in ds), "scientific"),
        Axis("learning_rate", rates[profile], "nuisance"),
        *fixed(weights="imagenet", optimizer="adam"),
        *SEARCHING,
    )
    return Grid("unfreeze", "how many blocks are worth training?", (axes,))


def gradual(profile: str) -> Grid:
    """Ask whether unfreezing in stages, from the head down, is better than to train all blocks from the first step.

    python -m sweep.run --grid gradual --seeds 3

    laptop profile: 27 trials a seed, about 30 minutes. paper profile: 27 trials a seed, about 3 GPU hours.
    Each backbone starts from ImageNet weights: all of it is trained at once, or its head first and then stage by stage
    more of it, or, as the control, its head alone. Both have the same number of epochs; the stages share them equally.
    The learning rate is a nuisance: each way is judged at its best. These minutes are estimates: a trial in stages
    costs about half of one that trains all blocks, as its frozen blocks are stored. On the laptop, three rates of each
    backbone: 3 x 20 epochs x (18 + 13 + 3) s at once and half of it in stages: 51 minutes on one of the two cores, and
    8 more to compile 3 networks at once and 12 of stages.
    """
    depths = DEPTHS[profile].items()
    ways = tuple(
        {"backbone": backbone, **way}
        for backbone, own in depths
        for way in (AT_ONCE, {**AT_ONCE, "unfreeze_stages": text_of(own)}, {"unfrozen_blocks": 0})
    )
    axes = (
        Axis("backbone", ways, "scientific"),
        Axis("learning_rate", (1e-5, 1e-4, 1e-3), "nuisance"),
        *fixed(weights="imagenet", optimizer="adam"),
        *SEARCHING,
    )
    return Grid("gradual", "is it better to unfreeze in stages?", (axes,))


def vgg_collapse(profile: str) -> Grid:
    """Ask whether VGG16's collapse, to one class whatever the image, comes from its optimizer settings.

    python -m sweep.run --grid vgg-collapse --seeds 6

    laptop profile: 98 trials a seed, about 85 minutes for 6 seeds, the fewest with which every verdict is possible.
    paper profile: 314 trials a seed, about 24 GPU hours a seed.

    VGG16, and MobileNet and ResNet50 at the same settings as controls, start frozen with ImageNet weights, from
    scratch, frozen with random weights (which separates pretraining from freezing), or fine-tuned from ImageNet; with
    Adam, SGD with momentum 0.9, or RMSprop; at learning rates 1e-5 to 1e-2; on pixels / 255 or the backbone's own
    preprocessing. The paper profile has all 3 x 4 x 3 x 4 x 2 combinations.

    Cures of an optimizer that does not start are tried one at a time (`_cures`), on pixels / 255 at two settings that
    collapse from scratch, Adam at 1e-3 and SGD at 1e-2: a warm-up, clipped gradients, a cosine schedule, and, with
    Adam, batches of half the size. Two interactions are asked: of warm-up and clipping, which both hold the first steps
    short, and of either with the optimizer, as Adam's steps hardly hang on the gradient's scale and SGD's are in
    proportion to it. Of the paper profile's 26 such trials VGG16 has 8 + 1 from scratch, 17 GPU minutes each.

    The laptop profile has all of the frozen VGG16 (2 x 3 x 4 x 2 = 48 trials). It thins what costs:
      from scratch      VGG16 on pixels / 255 with Adam at 1e-3 and 1e-4, SGD at 1e-2 and RMSprop at 1e-4 (4), for 10
                        epochs: those that learn have left the others behind by then
      controls          frozen on pixels / 255 with each optimizer at the same two rates (2 x 2 x 3 x 2 = 24);
                        MobileNet alone from scratch, with Adam (2): six of ResNet50 would cost more than all the rest
      fine-tuned        none: without ImageNet weights it is one more trial from scratch
      cures             all of them of heads (17); from scratch a warm-up, clipping and smaller batches (3), with Adam.
                        A cosine has lost 2 % of its rate by the end of the first epoch of 10, in which ReLUs die
    One seed: (4 x 10 epochs x 18 s + 2 x 20 x 3 s + heads 3 minutes) / 2 cores = 9 minutes, and by estimate 5 of cures:
    (2 x 10 epochs x 18 s + 10 x 21 s of twice as many steps) / 2 cores; those of heads take seconds.
    """
    make = {"paper": _collapse_factorial, "laptop": _collapse_thinned}[profile]
    return Grid(COLLAPSE, "does VGG16's collapse come from its optimizer settings?", make(), diagnostics=True)


PREPROCESSING: Final = Axis("preprocessing", ("divide_by_255", "backbone"), "scientific")
RATES: Final = Axis("learning_rate", (1e-5, 1e-4, 1e-3, 1e-2), "scientific")
COLLAPSING: Final = ({"optimizer": "adam", "learning_rate": 1e-3}, {**SGD, "learning_rate": 1e-2})
"""Of VGG16 from scratch: both did on simulated galaxies; the first is assumed for the paper."""
PIXELS: Final = (*fixed(preprocessing="divide_by_255"), *SEARCHING)
CLIPPED: Final = {"global_clipnorm": 1.0}
"""Pascanu et al. 2013 clip the norm of all gradients together, at a threshold that need not be tuned well."""
WARMUP_SHARE: Final = 1 / 4
"""Of the epochs: 5 of 20, as many as Goyal et al. 2017 ("Accurate, large minibatch SGD") warm up, who train longer. In
the paper profile these are 1,750 steps; Ma and Yarats 2021 ("On the adequacy of untuned warmup") advise
2 / (1 - beta_2) = 2,000 with Adam."""


def _cures(num_epochs: int) -> tuple[dict[str, Any], ...]:
    """Return what is done to an optimizer that does not start: what is changed alone, then both of the first two."""
    warm = {"warmup_epochs": num_epochs * WARMUP_SHARE}
    return warm, CLIPPED, {"schedule": "cosine"}, {**warm, **CLIPPED}


def _cured(profile: str, *starts: Mapping[str, Any]) -> tuple[tuple[Axis, ...], ...]:
    """Return all cures of VGG16 at these starts, at both settings that collapse; smaller batches with the paper's."""
    defaults = PROFILES[profile]
    optimizer, cure = Axis("optimizer", COLLAPSING, "scientific"), _cures(defaults["num_epochs"])
    smaller = fixed(**COLLAPSING[0], batch_size=defaults["batch_size"] // 2)
    papers = tuple(start for start in starts if start is not FROZEN_RANDOM)
    vgg = (*fixed(backbone="VGG16"), *PIXELS)
    return (
        (Axis("start", starts, "scientific"), optimizer, Axis("cure", cure, "scientific"), *vgg),
        (Axis("start", papers, "scientific"), *smaller, *vgg),
    )


def _collapse_factorial() -> tuple[tuple[Axis, ...], ...]:
    start = Axis("start", (FROZEN_IMAGENET, FROM_SCRATCH, FROZEN_RANDOM, FINE_TUNED), "scientific")
    backbone = Axis("backbone", BACKBONES, "scientific")
    cured = _cured("paper", FROZEN_IMAGENET, FROM_SCRATCH, FROZEN_RANDOM)
    return ((start, backbone, Axis("optimizer", OPTIMIZERS, "scientific"), RATES, PREPROCESSING, *SEARCHING), *cured)


def _collapse_thinned() -> tuple[tuple[Axis, ...], ...]:
    frozen = Axis("start", (FROZEN_IMAGENET, FROZEN_RANDOM), "scientific")
    scratch = Axis("start", (FROM_SCRATCH,), "fixed")
    adam = tuple({"optimizer": "adam", "learning_rate": rate} for rate in (1e-3, 1e-4))
    sgd = tuple({**SGD, "learning_rate": rate} for rate in (1e-2, 1e-3))
    rmsprop = tuple({"optimizer": "rmsprop", "learning_rate": rate} for rate in (1e-3, 1e-4))
    at_two_rates = Axis("optimizer", (*adam, *sgd, *rmsprop), "scientific")
    controls = Axis("backbone", ("ResNet50", "MobileNet"), "scientific")
    from_scratch = ({"optimizer": "rmsprop", "learning_rate": 1e-4}, sgd[0], *adam)
    optimizers = Axis("optimizer", OPTIMIZERS, "scientific")
    warm, clipped, *_ = _cures(10)
    cures = Axis("cure", (warm, clipped, {"batch_size": PROFILES["laptop"]["batch_size"] // 2}), "scientific")
    return (
        (frozen, *fixed(backbone="VGG16"), optimizers, RATES, PREPROCESSING, *SEARCHING),
        (frozen, controls, at_two_rates, *PIXELS),
        (scratch, *fixed(backbone="VGG16", num_epochs=10), Axis("optimizer", from_scratch, "scientific"), *PIXELS),
        (scratch, *fixed(backbone="MobileNet"), Axis("optimizer", adam, "scientific"), *PIXELS),
        *_cured("laptop", FROZEN_IMAGENET, FROZEN_RANDOM),
        (scratch, *fixed(backbone="VGG16", num_epochs=10, **COLLAPSING[0]), cures, *PIXELS),
    )


def smoke(profile: str) -> Grid:
    """Run every path once, before a long sweep: weights files, stored features, fused heads, unfreezing, from scratch.

    python -m sweep.run --grid smoke

    laptop profile: 8 trials a seed, about 2 minutes. paper profile: 8 trials a seed, about 2 GPU minutes.
    300 images, 2 epochs. It says that the machinery works, and nothing about galaxies.
    """
    small = fixed(max_images=300, num_epochs=2, stratified=True, validation_fraction=0.1)
    heads = (Axis("backbone", BACKBONES, "scientific"), Axis("learning_rate", (1e-3, 1e-4), "nuisance"))
    deeper = Axis("depth", ({"weights": "imagenet", "unfrozen_blocks": 1}, FROM_SCRATCH), "scientific")
    parts = (
        (*heads, *fixed(weights="imagenet", unfrozen_blocks=0), *small),
        (deeper, *fixed(backbone="MobileNet"), *small),
    )
    return Grid("smoke", "does everything work here?", parts)


GRIDS: Final[Mapping[str, Callable[[str], Grid]]] = {
    "paper": paper,
    "lr": lr,
    "unfreeze": unfreeze,
    "gradual": gradual,
    COLLAPSE: vgg_collapse,
    "smoke": smoke,
}


def find(text: str) -> dict[str, Grid]:
    """Return, by profile, the grid that `--grid` asks for: one of GRIDS, or a user's YAML file. Raises SpecError."""
    if not is_grid_file(text):
        make = GRIDS[named("grid", text, GRIDS, ", or a YAML file like my_grid.yaml")]
        return {profile: make(profile) for profile in PROFILES}
    grid = read_grid(Path(text))
    if grid.name in GRIDS:
        raise SpecError(f"{text}: name (else the file's) must not be that of a built-in grid; got '{grid.name}'")
    return dict.fromkeys(PROFILES, grid)


def named(kind: str, name: str, known: Iterable[str], also: str = "") -> str:
    """Return `name` if it is one of `known`; raise SpecError otherwise, with the option, what is allowed, and the
    nearest word."""
    known = list(known)
    if name not in known:
        raise SpecError(f"--{kind} must be one of {', '.join(known)}{also}; got '{name}'.{did_you_mean(name, known)}")
    return name
