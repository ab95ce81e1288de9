"""The networks that a process keeps from one trial to the next: building and compiling one costs more than many trials.

    network = warm.backbone(spec, weights_path)         # its weights as the spec starts from
    forward = network.forward(first_cut, last_cut)          # frozen: uint8 images or activations -> activations
    model = warm.trainable(spec, stored_cut, weights_path)        # compiled, at its first step

One backbone and one compiled network are kept, the last ones asked for: schedules ask for equal ones in a row. Their
weights are set anew for each trial, in a way that depends on nothing but the spec.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast

import keras
import numpy as np
from numpy.typing import NDArray

from galaxytl.networks import device
from galaxytl.networks.backbones import HIDDEN, build_backbone, build_head, head_initializer, preprocess
from galaxytl.networks.blocks import Structure, between, cut_tensor, find_blocks, own_fingerprint
from galaxytl.networks.compiled import compile_model
from galaxytl.networks.own import initializers, own_backbone
from galaxytl.networks.weights import WeightsError
from galaxytl.trial import TrialSpec, seed_for

T = TypeVar("T")
HEAD, BLOCK = "head.", "backbone."
"""Before the number of a weight, in its name (`named`)."""


@dataclass
class Network:
    """A backbone, its blocks, and which weights it holds now."""

    spec: TrialSpec
    model: Any
    structure: Structure
    initial: list[NDArray[Any]]
    """The weights that it was built with."""
    holds: object = None
    """What `initialise` last set; None when training changed it since."""
    forwards: dict[tuple[int, int], Callable[[Any], Any]] = field(default_factory=dict)

    def initialise(self, spec: TrialSpec) -> None:
        """Set all weights to those that `spec` starts from: the file's, or random ones that follow its seed.

        Random kernels are drawn by each layer's own initialiser, with a seed of their own: what a block starts from
        does not depend on where the network is cut, nor on what this process built before.
        """
        wanted = spec.weights_fingerprint if spec.weights != "random" else seed_for(spec, "init")
        if self.holds == wanted:
            return
        drawn = _random_kernels(self.model, spec) if spec.weights == "random" else {}
        for i, (variable, value) in enumerate(zip(self.model.weights, self.initial, strict=True)):
            variable.assign(drawn[i]() if i in drawn else value)
        self.holds = wanted

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
        names = {id(layer) for layer in between(self.model, freeze_cut, 0).layers}
        for layer in self.model.layers:
            layer.trainable = id(layer) in names
        with policy(spec):
            start = self._input(start_cut)
            frozen = self.call(start, start_cut, freeze_cut)
            blocks = between(self.model, freeze_cut, 0)
            unfrozen = (Inference(blocks) if spec.unfrozen_batchnorm == "inference" else blocks)(frozen)
            model = keras.Model(start, build_head(spec, unfrozen.shape[1:])(unfrozen))
            compile_model(model, spec)
        return model

    def trained_weights(self, model: Any, spec: TrialSpec) -> dict[str, NDArray[Any]]:
        """Return copies of what `model`, one of `trainable`, has trained: of the head and of the unfrozen blocks."""
        trained = self._of_unfrozen(spec)
        blocks = {i: np.asarray(v.value).copy() for i, v in enumerate(self.model.weights) if id(v) in trained}
        return named([np.asarray(v.value).copy() for v in model.get_layer("head").weights], blocks)

    def set_trained(self, head: Any, spec: TrialSpec, weights: Mapping[str, NDArray[Any]]) -> None:
        """Set a head, and the unfrozen blocks of this backbone, to `trained_weights`. Raises ValueError unless they are
        those of such a trial."""
        trained = self._of_unfrozen(spec)
        blocks = {f"{BLOCK}{i}": v for i, v in enumerate(self.model.weights) if id(v) in trained}
        variables = {**{f"{HEAD}{i}": v for i, v in enumerate(head.weights)}, **blocks}
        shapes = {name: tuple(v.shape) for name, v in variables.items()}
        if {name: value.shape for name, value in weights.items()} != shapes:
            raise ValueError("its arrays are not those of the head and the unfrozen blocks of this trial")
        self.holds = None
        for name, variable in variables.items():
            variable.assign(weights[name])

    def _of_unfrozen(self, spec: TrialSpec) -> set[int]:
        """Return the ids of the variables of the blocks that `spec` trains."""
        if spec.trains_head_only:
            return set()
        blocks = between(self.model, frozen_until(spec, len(self.structure.blocks)), 0)
        return {id(v) for layer in blocks.layers for v in layer.weights}

    def unit_maxima(self, model: Any, start_cut: int, tensors: dict[str, Any]) -> tuple[list[str], Any]:
        """Return the names of layers, and a model that gives the largest value (B, units) of each of their units, a
        convolution's being its channels, from what `model` reads at `start_cut`: of `tensors`, layer -> its output in
        the backbone, and of the head's hidden layer."""
        names, head = list(tensors), model.get_layer("head")
        with policy(self.spec):
            start = self._input(start_cut)
            output = self.model.outputs[0]
            unique = {id(tensor): tensor for tensor in (*tensors.values(), output)}  # Keras takes no twins
            backbone = keras.Model(cut_tensor(self.model, start_cut), list(unique.values()))
            outputs = dict(zip(unique, backbone(self.call(start, start_cut, start_cut)), strict=True))
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
        self._model = model

    def call(self, inputs: Any) -> Any:
        return self._model(inputs, training=False)


@dataclass
class _Cache:
    """What this process keeps."""

    network_key: object = None
    network: Network | None = None
    trainable_key: object = None
    trainable: Any = None
    scalars: dict[int, NDArray[Any]] = field(default_factory=dict)
    beside_trainable: object = None


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


def trainable(spec: TrialSpec, stored_cut: int | None, weights_path: Callable[[], Path | None]) -> tuple[Any, Network]:
    """Return the compiled network of the spec before its first step, and the backbone that it is made of."""
    network = backbone(spec, weights_path)
    key = (_cache.network_key, spec.group_key, stored_cut)
    if _cache.trainable is None or _cache.trainable_key != key:
        _cache.trainable, _cache.trainable_key = network.trainable(spec, stored_cut), key
        _cache.beside_trainable = None
        scalars = enumerate(_cache.trainable.optimizer.variables)
        _cache.scalars = {i: np.asarray(v.value).copy() for i, v in scalars if len(v.shape) == 0}
    network.holds = None  # training will change it
    _reset(_cache.trainable, spec, _cache.scalars)
    return _cache.trainable, network


def beside_trainable(make: Callable[[], T]) -> T:
    """Return what `make` gives, made once for the compiled network that is kept."""
    if _cache.beside_trainable is None:
        _cache.beside_trainable = make()
    return cast(T, _cache.beside_trainable)


def forget() -> None:
    """Drop what is kept, and what Keras holds of it."""
    _cache.network = _cache.trainable = _cache.network_key = _cache.trainable_key = _cache.beside_trainable = None
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


@contextlib.contextmanager
def policy(spec: TrialSpec) -> Iterator[None]:
    """Build layers with the spec's dtype policy."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(spec.precision)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
