"""A trial's settings: `TrialSpec`, its fields, and the rules of each field's value.

Standard library only, as all of `galaxytl.trial`.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from galaxytl.system.foreign_text import did_you_mean
from galaxytl.trial.optimizers import OPTIMIZERS
from galaxytl.trial.rules import ADDED_WITH, MOST_CLASSES, SpecError, added, check_together, check_value, choice, number
from galaxytl.trial.schedules import is_constant


@dataclass(frozen=True, kw_only=True)
class TrialSpec:
    """One point of a sweep. Equal specs have equal `trial_id`s on every machine, and in every later version.

    A further field takes one line, with `added` and a default by which trials do what they did without it:

        label_smoothing: float = added(number(0.0, 0.0, 0.5))

    It enters the trial_id, and the rows, only where it differs from that default: old rows keep their ids, and older
    versions read the rows of trials that do not use it. Where the default is changed later, `added(number(0.1, ...),
    0.0)` keeps the one that it was added with. The fields without `added` are in every trial_id: none may go. Trials
    that differ in it are trained apart, unless HEAD_FIELDS or SCALAR_FIELDS name it; where it changes what is split
    off, or what a frozen backbone gives, it belongs in SPLIT_FIELDS or `backbone_key`, which say what caches hold.

    Raises SpecError when a field breaks its rule.
    """

    # data
    dataset: str
    """Name for people: "galaxy10_decals", or a name that starts with "simulated"."""
    dataset_fingerprint: str
    """SHA-256 of the images and labels, whatever file holds them."""
    num_classes: int = added(number(10, 2, MOST_CLASSES))
    """Classes of the dataset, and so outputs of the network."""
    targets: Literal["classes", "votes"] = added(choice("classes", "votes", default="classes"))
    """What an image is trained towards: its class, or the fractions of its votes, of which its class has the most."""
    max_images: int = number(0, 0)
    """Train and test on a stratified subset of this many images; 0 takes all."""
    image_size: int = number(224, 32, 1024)
    """Side of the square network input, in pixels."""
    fit: Literal["resize", "crop"] = added(choice("resize", "crop", default="resize"))
    """How an image becomes a square: scaled to it, whatever its sides; or its largest centred square is."""
    preprocessing: Literal["divide_by_255", "backbone"] = choice("divide_by_255", "backbone", default="divide_by_255")
    """Pixels to [0, 1], or what `keras.applications` prescribes for the backbone."""
    test_fraction: float = number(0.3, 0.0, 0.9, open_low=True)
    """Share of the images that is the test part."""
    validation_fraction: float = number(0.0, 0.0, 0.9)
    """Share of the train part that is held out for validation; 0: the curves are watched on the test part."""
    stratified: bool = False
    """Split class by class."""
    group_by_sky: bool = False
    """Keep images of one galaxy (equal pixels, or closer than 2 arcsec) on one side of every split."""
    group_by: str = added("")
    """Column of the dataset: images with one value in it stay on one side of every split; "": none."""
    groups_fingerprint: str = ""
    """Of which images stay together, where `group_by_sky` or `group_by` asks: columns are no part of
    `dataset_fingerprint`."""
    official_split: str = added("")
    """Fingerprint of the part that the dataset itself puts each image into, where that split is kept; "": a split of
    our own."""
    split_seed: int = number(0, 0, 2**32 - 1)
    """Of the split into parts, and of the subset that `max_images` takes."""
    scored_on: Literal["test", "validation"] = choice("test", "validation", default="test")
    """The part that the finished trial is scored on. Trials that are compared to choose one are scored on the
    validation part: the test part is for the one that was chosen."""
    num_folds: int = added(number(0, 0, 100))
    """Parts of equal size, of which each is the test part once, in k-fold cross-validation; they are made class by
    class, whatever `stratified` says of the validation part. 0: one split, by `test_fraction`, which says nothing
    otherwise."""
    fold: int = added(number(0, 0, 99))
    """Which of the `num_folds` parts is the test part, counted from 0."""
    augmentation: bool = False
    """Turn and mirror each training image at random, in each epoch anew (`galaxytl.learning.augmentation`)."""
    shift: float = added(number(0.0, 0.0, 0.5))
    """Training images are moved at random by up to this share of their side, in each direction; what comes into view is
    the image mirrored at its edge."""
    zoom: float = added(number(0.0, 0.0, 0.5))
    """Training images are enlarged or shrunk at random: so that 1, give or take up to this, of their side is seen."""
    brightness: float = added(number(0.0, 0.0, 1.0))
    """Training images are made brighter or darker at random by up to this share of the largest pixel value."""
    mixup: float = added(number(0.0, 0.0, 10.0))
    """Alpha of the Beta distribution by which pairs of training images, and their targets, are blended (Zhang et al.
    2018, "mixup: Beyond empirical risk minimization"); 0: none is."""
    cutmix: float = added(number(0.0, 0.0, 10.0))
    """Alpha of the Beta distribution of the share of a training image that a patch of another takes, as of its targets
    (Yun et al. 2019, "CutMix"); 0: none is."""
    views: int = added(number(0, 0, 64))
    """Augmented views that are made of each training image, once: each epoch draws one of them, and what is frozen is
    computed once for each, and stored as often; 0: each epoch makes new ones. With 8 of `augmentation` alone, they are
    the eight symmetries."""
    test_time_augmentation: bool = added(False)
    """Score the trial a second time, on the mean of the probabilities over the eight symmetries of an image: metrics
    tta_accuracy and so on, beside those of the images as they are."""

    # model
    backbone: str = "MobileNet"
    """The network, by its name in `keras.applications`; or "features", with a name or without ("features:zoobot"):
    given features in its place; or a network of your own, MODULE:FUNCTION, or KerasHub's, "kerashub:PRESET"."""
    weights: Literal["imagenet", "random", "given"] = choice("imagenet", "random", "given", default="imagenet")
    """What the backbone starts from; "given": what it comes with, where it is none of `keras.applications`."""
    weights_requested: Literal["imagenet", "random", "given"] = choice(
        "imagenet", "random", "given", default="imagenet"
    )
    """Differs from `weights` only where random weights stand in for ImageNet weights that could not be had."""
    weights_fingerprint: str = ""
    """Hash of the tensors of the weights file, or of what is given; empty for random weights, but for networks
    of your own, which it tells apart."""
    unfrozen_blocks: int | Literal["all"] = 0
    """Blocks (`galaxytl.networks.blocks`), counted from the output, that are trained with the head: 0 (head only) to
    "all"."""
    unfrozen_batchnorm: Literal["train", "inference"] = choice("train", "inference", default="train")
    """BatchNorm in unfrozen blocks: "train" normalises by the batch and updates the running averages; "inference" (what
    Keras's transfer-learning guide advises) normalises by the running averages. Frozen blocks always do the latter."""
    precision: Literal["float32", "mixed_float16", "mixed_bfloat16"] = choice(
        "float32", "mixed_float16", "mixed_bfloat16", default="float32"
    )
    """Keras's dtype policy of the backbone, and the type of its stored activations. The head always is float32."""
    head_units: int = number(0, 0, 16384)
    """Width of a hidden layer (ReLU) between the features and the classes; 0: none, as in the paper."""
    head_dropout: float = number(0.0, 0.0, 0.95)
    """Share of the hidden units that a training step leaves out (Srivastava et al. 2014)."""

    # optimisation
    optimizer: str = choice(*sorted(OPTIMIZERS), default="adam")
    """Keras's, with its own defaults but for what is set here. adamw is adam with a weight_decay, and wants one; the
    learning rates of lion are 3 to 10 times smaller than adam's; of adafactor they are shares of the weights' size."""
    learning_rate: float = number(1e-3, 0.0, open_low=True)
    """Of the optimizer: in all steps, or the highest that a schedule comes to."""
    schedule: Literal["constant", "cosine", "step", "linear"] = added(
        choice("constant", "cosine", "step", "linear", default="constant")
    )
    """What the learning rate does after its warm-up (`galaxytl.trial.schedules`): it stays; falls to its floor by the
    end, as half a cosine (Loshchilov & Hutter 2017, "SGDR") or a straight line; or falls every `step_epochs`."""
    warmup_epochs: float = added(number(0.0, 0.0))
    """Epochs, not only whole ones, in which the learning rate rises from 0 in a straight line (Goyal et al. 2017)."""
    warmup_steps: int = added(number(0, 0))
    """The same, in optimizer steps: one of the two is given."""
    learning_rate_floor: float = added(number(0.0, 0.0, 1.0))
    """The share of `learning_rate` below which no schedule comes."""
    step_epochs: float = added(number(0.0, 0.0))
    """Of schedule=step: epochs, not only whole ones, after each of which the learning rate is multiplied by
    `step_factor`. They count from the start, the warm-up included."""
    step_factor: float = added(number(0.1, 0.0, 1.0, open_low=True))
    """Of schedule=step."""
    learning_rate_decay: float = added(number(1.0, 0.0, 1.0, open_low=True))
    """Each block's learning rate is this share of the next one's towards the output, the head's being `learning_rate`
    (Clark et al. 2020, "ELECTRA"; timm's layer_decay): the last block has learning_rate * learning_rate_decay."""
    unfreeze_stages: str = added("")
    """Depths in ascending order, like 0,2,all: each is trained for an equal share of the epochs (of 20, three have 6, 7
    and 7), with a new optimizer, from the weights that the one before came to (gradual unfreezing; Howard & Ruder 2018,
    "ULMFiT"). The last is `unfrozen_blocks`; "": that alone."""
    momentum: float = number(0.0, 0.0, 1.0)
    """Of optimizers that have it."""
    nesterov: bool = added(False)
    """Nesterov's momentum, of SGD, as Keras has it."""
    weight_decay: float = number(0.0, 0.0, 1.0)
    """Keras's: so much of each weight, times the learning rate, is taken off in each step, apart from the gradient.
    With adam that is AdamW (Loshchilov & Hutter 2019)."""
    clipnorm: float = added(number(0.0, 0.0))
    """The gradient of each weight array is scaled down to at most this L2 norm; 0: it is not."""
    global_clipnorm: float = added(number(0.0, 0.0))
    """The gradient of all weights is scaled down to at most this L2 norm (Pascanu et al. 2013); 0: it is not."""
    clipvalue: float = added(number(0.0, 0.0))
    """Each number of the gradient is cut to at most this size; 0: none is."""
    ema_momentum: float = added(number(0.0, 0.0, 0.99999))
    """What is watched, scored and kept is the exponential moving average of the weights, which keeps this share of
    itself in each step (Polyak & Juditsky 1992), as Keras's optimizers have it: after the first step it is the weights.
    BatchNorm's running statistics, which are averages already, are used as they are; 0: the weights themselves."""
    average_epochs: int = added(number(0, 0, 100_000))
    """What is scored and kept is the mean of the weights after each of this many last epochs (Izmailov et al. 2018,
    "Averaging weights leads to wider optima"), BatchNorm's running statistics of unfrozen blocks among them: they are
    not computed anew with the mean. Each epoch is watched with its own; 0: the weights of one epoch."""
    early_stopping: int = added(number(0, 0, 100_000))
    """Training ends, and the trial is COMPLETE, after this many epochs in a row without a lower loss on the validation
    part (patience, as of keras.callbacks.EarlyStopping: `galaxytl.trial.epochs`); 0: after `num_epochs`."""
    scored_epoch: Literal["last", "best"] = added(choice("last", "best", default="last"))
    """The epoch whose weights are scored and kept: the last, or the one with the lowest loss on the validation part,
    the first of equals."""
    label_smoothing: float = added(number(0.0, 0.0, 0.9))
    """The share of the training targets that is spread evenly over all classes (Szegedy et al. 2016). What is watched
    and scored is the plain cross-entropy."""
    focal_gamma: float = added(number(0.0, 0.0, 10.0))
    """Exponent by which the training loss turns from images that are right already (Lin et al. 2017, "Focal loss", with
    alpha 1); 0: it is the cross-entropy. What is watched and scored is that always."""
    class_weighting: Literal["none", "balanced"] = choice("none", "balanced", default="none")
    """"balanced": each image counts N / (C * N_c) in the training loss, N_c being the training images of its class."""
    batch_size: int = number(32, 1, 65536)
    """Images in a training step."""
    num_epochs: int = number(20, 1, 100_000)
    """Passes over the train part."""
    seed: int = number(0, 0, 2**32 - 1)
    """Of the initial weights and of dropout."""
    shuffle_seed: int = number(0, 0, 2**32 - 1)
    """Of the order of the batches. Apart from `seed`, so that trials which differ in `seed` can share a pass."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            (_check_once if value.__hash__ else _check_field)(name, value)
        check_together(self)

    @functools.cached_property  # a driver asks for it tens of times a trial, and it takes longer than all else it does
    def trial_id(self) -> str:
        """16 hexadecimal digits: SHA-256 of the spec's canonical JSON."""
        return trial_id_of(self.to_dict())

    @property
    def trains_head_only(self) -> bool:
        """Whether the whole backbone is frozen."""
        return self.unfrozen_blocks == 0

    @property
    def draws_images(self) -> bool:
        """Whether each epoch sees other images of a training row than the one before."""
        return bool(self.augmentation or self.shift or self.zoom or self.brightness or self.blends_images)

    @property
    def blends_images(self) -> bool:
        """Whether training images, and their targets, are those of two rows of the dataset."""
        return bool(self.mixup or self.cutmix)

    @property
    def has_soft_targets(self) -> bool:
        """Whether it is trained towards fractions of the classes, (C,) an image, not towards one class."""
        return self.targets == "votes" or self.blends_images

    @property
    def stores_activations(self) -> bool:
        """Whether what its frozen blocks give can be stored: they see the same images, or the same views of them, in
        each epoch."""
        return bool(self.views) or not self.draws_images

    @property
    def split_key(self) -> tuple[Any, ...]:
        """Equal for specs that split a dataset alike."""
        names = SPLIT_FIELDS if self.num_folds else SPLIT_FIELDS[: -len(FOLD_FIELDS)]  # what caches hold stays found
        return tuple(getattr(self, name) for name in names)

    @property
    def backbone_key(self) -> tuple[Any, ...]:
        """Equal for specs whose backbone starts from the same weights and sees the same images in the same way: below
        a cut where nothing is trained, they have the same activations, those of their stored views too."""
        mark = self.weights_fingerprint  # of random weights too, where the network is none of keras.applications
        start = mark if self.weights != "random" else f"random {seed_for(self, 'init')}{mark}"
        rows = (self.max_images, self.split_seed if self.max_images else 0)
        size = self.image_size if self.fit == "resize" else (self.image_size, self.fit)
        facts = (size, self.preprocessing, self.backbone, self.weights, start, self.precision)
        return (self.dataset_fingerprint, *rows, *facts, *self._views_key)

    @property
    def _views_key(self) -> tuple[Any, ...]:
        """What views are made of, empty where there are none: of the train part, or for all folds; and eight of the
        symmetries are the same whatever the seed."""
        if not self.views:
            return ()
        changes = (self.augmentation, self.shift, self.zoom, self.brightness)
        is_fixed = self.views == 8 and not any(changes[1:])
        parts = ("folds",) if self.num_folds else self.split_key
        return ("views", self.views, *changes, "" if is_fixed else self.shuffle_seed, *parts)

    @property
    def group_key(self) -> tuple[Any, ...]:
        """Equal for specs that one worker trains with the same data and the same compiled step: head-only trials all at
        once (`galaxytl.learning.heads`), others one after the other."""
        own = HEAD_FIELDS if self.trains_head_only else SCALAR_FIELDS
        shared = (getattr(self, name) for name in SPEC_FIELDS if name not in own)
        # a network whose rate changes has another compiled step: see galaxytl.networks.recipe.learning_rates
        of_network = () if is_constant(self) else ("rates",)
        return (*shared, self.backbone_key if self.trains_head_only else of_network)

    @property
    def activations_dtype(self) -> str:
        """What the backbone computes, and so stores, its activations in."""
        return self.precision.removeprefix("mixed_")

    @property
    def is_simulated(self) -> bool:
        return self.dataset.startswith("simulated")

    @property
    def is_substituted(self) -> bool:
        """True where random weights stand in for ImageNet weights that could not be had."""
        return self.weights != self.weights_requested

    @property
    def weights_label(self) -> str:
        """What a table must print for the backbone's weights."""
        if self.is_substituted:
            return "random (ImageNet weights not found)"
        return "ImageNet" if self.weights == "imagenet" else self.weights

    def replace(self, **changes: Any) -> TrialSpec:
        return dataclasses.replace(self, **changes)

    def fields(self) -> dict[str, Any]:
        """Return all values, by name."""
        # dataclasses.asdict would copy each value, at ten times the cost
        return {name: getattr(self, name) for name in SPEC_FIELDS}

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values: those of fields that a later version added, only where they differ from before."""
        values = self.fields()
        return {name: value for name, value in values.items() if name not in ADDED or value != ADDED[name]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TrialSpec:
        """Build a spec from JSON values; raises SpecError on an unknown field."""
        for name in values:
            check_field_name(name)
        return cls(**{**ADDED, **values})


def trial_id_of(values: Mapping[str, Any]) -> str:
    """Hash a spec as it stands in a row: every version's id is that of what it wrote. -0.0 is 0.0, its equal."""
    canonical = json.dumps(values, sort_keys=True, separators=(",", ":"))
    if "-0.0" in canonical:
        canonical = NEGATIVE_ZERO.sub(":0.0", canonical)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


NEGATIVE_ZERO: Final = re.compile(r":-0\.0(?=[,}])")
SPEC_FIELDS: dict[str, dataclasses.Field[Any]] = {f.name: f for f in dataclasses.fields(TrialSpec)}
ADDED: Final = {name: f.metadata[ADDED_WITH] for name, f in SPEC_FIELDS.items() if ADDED_WITH in f.metadata}
"""Fields that a later version added, and what trials did before."""
FOLD_FIELDS = ("num_folds", "fold")
SPLIT_FIELDS = (
    *("dataset_fingerprint", "max_images", "test_fraction", "validation_fraction"),
    *("stratified", "group_by_sky", "group_by", "groups_fingerprint", "official_split", "split_seed"),
    *FOLD_FIELDS,
)
SCALAR_FIELDS = (
    *("learning_rate", "num_epochs", "seed", "schedule", "warmup_epochs", "warmup_steps", "learning_rate_floor"),
    *("step_epochs", "step_factor", "average_epochs", "early_stopping", "scored_epoch"),
)
"""May differ between trials that use one compiled network."""
HEAD_FIELDS = (
    *(*SCALAR_FIELDS, "momentum", "nesterov", "weight_decay", "class_weighting", "head_dropout", "unfrozen_batchnorm"),
    *("clipnorm", "global_clipnorm", "clipvalue", "ema_momentum", "label_smoothing", "focal_gamma"),
    "test_time_augmentation",
)
"""May differ between heads that are trained in one pass over the same features."""
SET_BY_SWEEP = (
    *("dataset", "dataset_fingerprint", "num_classes", "targets", "group_by", "groups_fingerprint", "official_split"),
    *("weights_requested", "weights_fingerprint"),
)


WHERE_FIELDS_ARE: Final = "python -m sweep.run --help-fields"


def settable_fields() -> list[str]:
    """Return the fields that a user may set; the others are measured from the data and weights files."""
    return [name for name in SPEC_FIELDS if name not in SET_BY_SWEEP]


def check_field_name(name: str) -> None:
    if name not in SPEC_FIELDS:
        close = did_you_mean(name, [*settable_fields(), *SET_BY_SWEEP], most=3)
        raise SpecError(f"'{name}' is no field of a trial.{close} {WHERE_FIELDS_ARE} explains all fields")


def parse_field(name: str, text: str) -> Any:
    """Parse the value of field `name` from the command line's `text`; raises SpecError.

    >>> parse_field("learning_rate", "1e-4"), parse_field("unfrozen_blocks", "all")
    (0.0001, 'all')
    """
    check_field_name(name)
    rule = SPEC_FIELDS[name]
    value: Any = text
    if rule.type != "str" and "choices" not in rule.metadata:
        try:
            value = json.loads(text.lower())
        except (ValueError, RecursionError):
            value = text  # _check_field says what is allowed
    if rule.type == "float" and isinstance(value, int | float) and not isinstance(value, bool):
        value = float(value) + 0.0  # -0.0 is 0.0, and makes no other trial
    _check_field(name, value)
    return value


def seed_for(spec: TrialSpec, purpose: str) -> int:
    """Return a 32-bit seed for a purpose: "init" follows `seed`, "shuffle" `shuffle_seed`, "split" `split_seed`."""
    root = {"init": spec.seed, "dropout": spec.seed, "shuffle": spec.shuffle_seed, "split": spec.split_seed}[purpose]
    return int.from_bytes(hashlib.sha256(f"{purpose}/{root}".encode()).digest()[:4], "big")


def _check_field(name: str, value: Any) -> None:
    check_value(name, SPEC_FIELDS[name], value)


_check_once: Final = functools.lru_cache(maxsize=4096, typed=True)(_check_field)
"""Thousands of rows have the same few values."""
