"""The networks that a process keeps from one trial to the next: building and compiling one costs more than many trials.

    network = warm.backbone(spec, weights_path)         # its weights as the spec starts from
    forward = network.forward(first_cut, last_cut)          # frozen: uint8 images or activations -> activations
    model = warm.trainable(spec, stored_cut, weights_path)        # compiled, at its first step

One backbone and one compiled network are kept, the last ones asked for: schedules ask for equal ones in a row; of
trials that unfreeze in stages, one network for each stage. Their weights are set anew for each trial, in a way that
depends on nothing but the spec.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import keras
import numpy as np
from numpy.typing import NDArray

from galaxytl.networks import device
from galaxytl.networks.backbones import HIDDEN, build_backbone, build_head, head_initializer, preprocess
from galaxytl.networks.blocks import Structure, between, cut_tensor, find_blocks, own_fingerprint
from galaxytl.networks.own import initializers, leaves, own_backbone
from galaxytl.networks.recipe.compiled import compile_model
from galaxytl.networks.weights import WeightsError
from galaxytl.trial import SCALAR_FIELDS, SPEC_FIELDS, SPLIT_FIELDS, TrialSpec, seed_for
from galaxytl.trial.schedules import is_constant

T = TypeVar("T")
HEAD, BLOCK = "head.", "backbone."
"""Before the number of a weight, in its name (`named`)."""
OF_NO_NETWORK: Final = frozenset((*SCALAR_FIELDS, *SPLIT_FIELDS))
"""In which trials of one compiled network may differ: what is set anew for each, and which images it is fed, so that
folds are compiled once."""


@dataclass
class Network:
    """A backbone, its blocks, and which weights it holds now."""

    spec: TrialSpec
    model: Any
    structure: Structure
    initial: list[NDArray[Any]]
    """The weights that it was built with."""
    holds: object = None
    """What `initialise` last set."""
    changed: set[int] = field(default_factory=set)
    """Weights that were part of what was trained since, by their place among those of the model."""
    forwards: dict[tuple[int, int], Callable[[Any], Any]] = field(default_factory=dict)
    suffixes: dict[int, list[Any]] = field(default_factory=dict)
    """The layers after each cut that was asked for."""

    def initialise(self, spec: TrialSpec) -> None:
        """Set all weights to those that `spec` starts from: the file's, or random ones that follow its seed. Where they
        were its own before, only what is `changed`.

        Random kernels are drawn by each layer's own initialiser, with a seed of their own: what a block starts from
        does not depend on where the network is cut, nor on what this process built before.
        """
        wanted = spec.weights_fingerprint if spec.weights != "random" else seed_for(spec, "init")
        if self.holds == wanted and not self.changed:
            return
        places = self.changed if self.holds == wanted else range(len(self.initial))
        drawn = _random_kernels(self.model, spec) if spec.weights == "random" else {}
        own = self.model.weights
        for i in places:
            own[i].assign(drawn[i]() if i in drawn else self.initial[i])
        self.holds, self.changed = wanted, set()

    def forward(self, first_cut: int, last_cut: int) -> Callable[[Any], Any]:
        """Compile inference from one cut to a later one; from uint8 images where `first_cut` is the image."""
        if (first_cut, last_cut) not in self.forwards:
            with policy(self.spec):
                start = self._input(first_cut)
                frozen = keras.Model(start, self.call(start, first_cut, last_cut))
            self.forwards[first_cut, last_cut] = device.compiled_forward(frozen)
        return self.forwards[first_cut, last_cut]

    def call(self, inputs: Any, first_cut: int, last_cut: int) -> Any:
        """Take `inputs` (B, ...) at one cut to the activations at a later one, frozen, in a functional model."""
        if first_cut == len(self.structure.blocks):
            inputs = preprocess(inputs, self.spec)
        if first_cut == last_cut:
            return inputs
        return Inference(between(self.model, first_cut, last_cut))(inputs)

    def _input(self, cut: int) -> Any:
        if cut == len(self.structure.blocks):
            return keras.Input((self.spec.image_size, self.spec.image_size, 3), dtype="uint8")
        return keras.Input(self.structure.shape_at(cut), dtype=self.spec.activations_dtype)

    def trainable(self, spec: TrialSpec, stored_cut: int | None) -> Any:
        """Return the compiled model that trains the unfrozen blocks, fed with activations at a cut or uint8 images."""
        count = len(self.structure.blocks)
        start_cut = count if stored_cut is None else stored_cut
        freeze_cut = frozen_until(spec, count)
        self.thaw(spec)
        with policy(spec):
            start = self._input(start_cut)
            unfrozen = self.call(start, start_cut, freeze_cut)
            if freeze_cut:
                blocks = between(self.model, freeze_cut, 0)
                unfrozen = (Inference(blocks) if spec.unfrozen_batchnorm == "inference" else blocks)(unfrozen)
            model = keras.Model(start, build_head(spec, unfrozen.shape[1:])(unfrozen))
            compile_model(model, spec, self._rate_factors(model, spec))
        return model

    def _rate_factors(self, model: Any, spec: TrialSpec) -> list[float]:
        """Return of each trained array of `model` by what its learning rate is multiplied: 1 in the head, and in block
        b, counted from the output, `learning_rate_decay` to the power of b + 1.

        That is timm's `layer_decay` (timm/optim/_param_groups.py, param_groups_layer_decay). Zoobot's `lr_decay` is
        said to be the same, but its code (zoobot/pytorch/training/finetune.py, configure_optimizers) gives the last
        block the head's rate: a power less in each."""
        if spec.learning_rate_decay == 1:
            return []
        powers: dict[int, int] = {}
        for block in range(frozen_until(spec, len(self.structure.blocks))):
            for layer in between(self.model, block + 1, block).layers:
                powers |= {id(variable): block + 1 for variable in layer.trainable_variables}
        return [spec.learning_rate_decay ** powers.get(id(v), 0) for v in model.trainable_variables]

    def thaw(self, spec: TrialSpec) -> None:
        """Make the unfrozen blocks trainable, and no others: networks of several depths share these layers, and Keras
        asks the layers whenever it trains."""
        names = {id(layer) for layer in self._unfrozen(spec)}
        for layer in self.model.layers:
            layer.trainable = id(layer) in names

    def trained_weights(self, model: Any, spec: TrialSpec) -> dict[str, NDArray[Any]]:
        """Return copies of what `model`, one of `trainable`, has trained: of the head and of the unfrozen blocks."""
        own = self.model.weights
        blocks = {i: np.asarray(own[i].value).copy() for i in sorted(self.places(spec))}
        return named([np.asarray(v.value).copy() for v in model.get_layer("head").weights], blocks)

    def set_trained(self, head: Any, spec: TrialSpec, weights: Mapping[str, NDArray[Any]]) -> None:
        """Set a head, and the unfrozen blocks of this backbone, to `trained_weights`. Raises ValueError unless they are
        those of such a trial."""
        own, places = self.model.weights, self.places(spec)
        blocks = {f"{BLOCK}{i}": own[i] for i in sorted(places)}
        variables = {**{f"{HEAD}{i}": v for i, v in enumerate(head.weights)}, **blocks}
        shapes = {name: tuple(v.shape) for name, v in variables.items()}
        if {name: value.shape for name, value in weights.items()} != shapes:
            raise ValueError("its arrays are not those of the head and the unfrozen blocks of this trial")
        self.changed |= places
        for name, variable in variables.items():
            variable.assign(weights[name])

    def places(self, spec: TrialSpec) -> set[int]:
        """Return the places, among the weights of the model, of those of the blocks that `spec` trains."""
        trained = {id(v) for layer in self._unfrozen(spec) for v in layer.weights}
        return {i for i, v in enumerate(self.model.weights) if id(v) in trained}

    def _unfrozen(self, spec: TrialSpec) -> list[Any]:
        """Return the layers of the blocks that `spec` trains."""
        cut = frozen_until(spec, len(self.structure.blocks))
        if cut not in self.suffixes:
            self.suffixes[cut] = between(self.model, cut, 0).layers if cut else []
        return self.suffixes[cut]

    def unit_maxima(self, model: Any, start_cut: int, tensors: dict[str, Any]) -> tuple[list[str], Any]:
        """Return the names of layers, and a model that gives the largest value (B, units) of each of their units, a
        convolution's being its channels, from what `model` reads at `start_cut`: of `tensors`, layer -> its output in
        the backbone, and of the head's hidden layer."""
        names, head = list(tensors), model.get_layer("head")
        with policy(self.spec):
            start = self._input(start_cut)
            output = self.model.outputs[0]
            unique = {id(tensor): tensor for tensor in (*tensors.values(), output)}  # Keras takes no twins
            found = [start]  # the backbone's output
            if start_cut:
                backbone = keras.Model(cut_tensor(self.model, start_cut), list(unique.values()))
                found = backbone(self.call(start, start_cut, start_cut))
            outputs = dict(zip(unique, found, strict=True))
            units = [outputs[id(tensor)] for tensor in tensors.values()]
            if HIDDEN in [layer.name for layer in head.layers]:
                hidden = keras.Model(head.inputs, head.get_layer(HIDDEN).output)
                names, units = [*names, HIDDEN], [*units, hidden(outputs[id(output)])]
            maxima = [keras.ops.max(u, axis=axes) if (axes := tuple(range(1, len(u.shape) - 1))) else u for u in units]
            return names, keras.Model(start, maxima) if names else None


class Inference(keras.layers.Layer):
    """A model in inference mode, also when the model around it trains: that one hands its own mode on to all calls in
    its graph, over any `training=False` that they were recorded with."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.inference_of = model

    def call(self, inputs: Any) -> Any:
        return self.inference_of(inputs, training=False)


@dataclass
class _Compiled:
    """A compiled network."""

    model: Any
    scalars: dict[int, NDArray[Any]]
    """Of its optimizer, as it starts with them, by their place among its variables."""
    beside: object = None


@dataclass
class _Cache:
    """What this process keeps."""

    network_key: object = None
    network: Network | None = None
    compiled: dict[object, _Compiled] = field(default_factory=dict)
    """The one that was asked for last is the last."""

    @property
    def trainable(self) -> Any:
        """The network that was asked for last."""
        return next((compiled.model for compiled in reversed(self.compiled.values())), None)


_cache = _Cache()


def named(head: Sequence[NDArray[Any]], blocks: Mapping[int, NDArray[Any]] | None = None) -> dict[str, NDArray[Any]]:
    """Return trained weights by name: those of the head in its order, those of blocks by their place among the weights
    of the backbone."""
    of_blocks = {f"{BLOCK}{i}": value for i, value in (blocks or {}).items()}
    return {**{f"{HEAD}{i}": value for i, value in enumerate(head)}, **of_blocks}


def frozen_until(spec: TrialSpec, num_blocks: int) -> int:
    """Return the cut from which on blocks are trained."""
    return num_blocks if spec.unfrozen_blocks == "all" else int(spec.unfrozen_blocks)


def backbone(spec: TrialSpec, weights_path: Callable[[], Path | None]) -> Network:
    """Return the spec's backbone with the weights that it starts from. `weights_path` is asked when it is built."""
    fixed = spec.weights_fingerprint if spec.weights != "random" else f"random {spec.weights_fingerprint}"
    key = (spec.backbone, spec.image_size, spec.preprocessing, spec.precision, fixed)
    if _cache.network is None or _cache.network_key != key:
        forget()
        with policy(spec):
            model = build_backbone(spec, weights_path())
        _check_own(spec, model)
        structure = Structure(spec.backbone, spec.image_size, find_blocks(model))
        _cache.network = Network(spec, model, structure, [np.asarray(v.value).copy() for v in model.weights])
        _cache.network_key = key
    _cache.network.initialise(spec)
    return _cache.network


def _check_own(spec: TrialSpec, model: Any) -> None:
    """Raise WeightsError where a network that is none of the table is another one here than the sweep saw."""
    if own_backbone(spec.backbone) and (found := own_fingerprint(model, spec.weights)) != spec.weights_fingerprint:
        raise WeightsError(
            f"{spec.backbone} must build the network {spec.weights_fingerprint[:12]} that the sweep saw; it builds "
            f"{found[:12]}: have all nodes use the same file, and start the sweep again where it has changed"
        )


def trainable(
    spec: TrialSpec, stored_cut: int | None, weights_path: Callable[[], Path | None], most: int = 1
) -> tuple[Any, Network]:
    """Return the compiled network of the spec before its first step, and the backbone that it is made of. Of the
    compiled networks, the `most` that were asked for last are kept."""
    network = backbone(spec, weights_path)
    # not group_key: of a stage that trains the head alone it leaves out what only heads in one pass may differ in
    own = tuple(getattr(spec, name) for name in SPEC_FIELDS if name not in OF_NO_NETWORK)
    key = (_cache.network_key, own, is_constant(spec), stored_cut)
    compiled = _cache.compiled.pop(key, None)
    while len(_cache.compiled) >= most:
        del _cache.compiled[next(iter(_cache.compiled))]
        device.drop_kernels()
    if compiled is None:
        compiled = _compiled(network.trainable(spec, stored_cut))
    _cache.compiled[key] = compiled
    within = {id(v) for v in compiled.model.variables}
    network.changed |= {i for i, v in enumerate(network.model.weights) if id(v) in within}
    network.thaw(spec)
    _reset(compiled.model, spec, compiled.scalars)
    return compiled.model, network


def _compiled(model: Any) -> _Compiled:
    scalars = enumerate(model.optimizer.variables)
    return _Compiled(model, {i: np.asarray(v.value).copy() for i, v in scalars if len(v.shape) == 0})


def beside_trainable(make: Callable[[], T]) -> T:
    """Return what `make` gives, made once for the compiled network that was asked for last."""
    compiled = next(reversed(_cache.compiled.values()))
    if compiled.beside is None:
        compiled.beside = make()
    return cast(T, compiled.beside)


def forget() -> None:
    """Drop what is kept, and what Keras holds of it."""
    _cache.network = _cache.network_key = None
    _cache.compiled.clear()
    keras.utils.clear_session()
    gc.collect()


def _reset(model: Any, spec: TrialSpec, scalars: dict[int, NDArray[Any]]) -> None:
    """Set head, optimizer and random numbers to what `spec` starts with; the backbone is `Network.initialise`'s."""
    for layer in model.get_layer("head").layers:
        if layer.weights:
            kernel, bias = layer.weights
            kernel.assign(head_initializer(spec, layer.name)(tuple(kernel.shape), dtype="float32"))
            bias.assign(np.zeros(bias.shape, np.float32))
    for i, variable in enumerate(model.optimizer.variables):
        variable.assign(scalars[i] if i in scalars else np.zeros(variable.shape, np.float32))
    if is_constant(spec):
        model.optimizer.learning_rate = spec.learning_rate
    known = {id(v) for v in model.weights}
    counters = [v for v in model.variables if id(v) not in known]  # of dropout's random numbers: (seed, drawn so far)
    for i, counter in enumerate(reversed(counters)):  # from the output on: the same wherever the network is cut
        counter.assign(np.array([_own_seed(seed_for(spec, "dropout"), i), 0], counter.dtype))


def _own_seed(seed: int, i: int) -> int:
    """Return one of many 32-bit seeds that follow from one."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{i}".encode()).digest()[:4], "big")


def _random_kernels(model: Any, spec: TrialSpec) -> dict[int, Callable[[], Any]]:
    """Return {index among the weights: draws that kernel}; weights of one dimension are constants at the start, but for
    networks that come with some: of those all are made anew."""
    draws: dict[int, Callable[[], Any]] = {}
    seed, every = seed_for(spec, "init"), own_backbone(spec.backbone) is not None
    for i, (variable, initializer) in enumerate(zip(model.weights, initializers(model), strict=True)):
        if initializer is None or not (every or len(variable.shape) > 1):
            continue
        config = initializer.get_config()
        if "seed" in config or every:
            seeded = {**config, "seed": _own_seed(seed, i)} if "seed" in config else config
            draw = type(initializer).from_config(seeded)
            draws[i] = functools.partial(draw, tuple(variable.shape), dtype="float32")
    return draws


def trained_variables(model: Any) -> list[Any]:
    """Return the variables that the training of a network changes, and that it is scored with: the weights of its
    trainable layers, and BatchNorm's running statistics there."""
    return list({id(v): v for layer in leaves(model) if layer.trainable for v in layer.weights}.values())


@contextlib.contextmanager
def policy(spec: TrialSpec) -> Iterator[None]:
    """Build layers with the spec's dtype policy."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(spec.precision)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
