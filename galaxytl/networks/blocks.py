"""A backbone as a row of blocks, found from the graph of its layers, and what each block costs.

    structure = structures([("ResNet50", 224)])["ResNet50", 224]    # from a file or another process: no Keras here
    len(structure.blocks), structure.multiply_adds(3, 0)            # 17; what the last three blocks cost
    frozen, trained = between(model, 17, 3), between(model, 3, 0)   # two models; one after the other: the whole

A *cut* is a tensor that alone separates what is before it from what is after: every path from the input to the output
passes through it. Only there can a network be halved with one tensor stored between. Cuts are numbered by the blocks
after them, as unfreezing counts: 0 is the output, the number of blocks is the input. They come from the graph and not
from layer names, so that every functional model of `keras.applications` has blocks. A block ends at a tensor that
separates, where a unit of the published architectures does:

- where branches have merged, by anything but multiplication, which is a gate (squeeze-and-excitation) inside a unit;
- after the pointwise convolution (1x1 Conv2D or Dense) that completes a depthwise one, or both in one SeparableConv2D;
- after pooling.

Normalisation, activation and padding up to the next kernel belong to the block before: they have no part in what the
next one learns, and what they give can be stored instead of computed again. Of the places after the last of them that
has weights, the smallest tensor is cut, the latest of equals: before a padding, which enlarges, and after a pooling.
What has no kernel is no block of its own: it joins the block before, or the first one. What remains at the end with a
kernel (the last 1x1 convolution of EfficientNet) is a block.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from graphlib import TopologicalSorter
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from galaxytl.networks import device
from galaxytl.networks.backbones import backbone_named
from galaxytl.networks.own import architecture_of, initializers, own_backbone, weights_of
from galaxytl.system import process
from galaxytl.system.cache import cache_dir, keep, read_own
from galaxytl.system.strict_json import read_json
from galaxytl.trial import SpecError

FORMAT = 1  # of a structure's file and of the definition above: raised when either changes

TRAINED_STEP = 3
"""Forward passes that a step on trained layers counts as: itself, and the gradients of its inputs and its weights."""

KERNELS = ("kernel", "depthwise_kernel", "pointwise_kernel")  # what Keras's layers call them


@dataclass(frozen=True)
class Block:
    """A piece of a backbone between two cuts."""

    last_layer: str
    """Its output is the cut after this block."""
    output_shape: tuple[int, ...]
    """(h, w, channels)"""
    multiply_adds: int
    """Of a forward pass of one image, in Conv2D, DepthwiseConv2D, SeparableConv2D and Dense; all else counts as 0."""
    num_parameters: int
    """Weights in all, BatchNorm statistics included."""


@dataclass(frozen=True)
class Structure:
    """The blocks of a backbone for square images of `image_size` pixels, from input to output."""

    backbone: str
    image_size: int
    blocks: tuple[Block, ...]
    tensors: tuple[tuple[tuple[int, ...], ...], ...] = ()
    """Shapes of the weights of each layer that has some, in the order in which a published file holds them; empty: not
    known."""
    features: tuple[int, ...] = ()
    """(D,), of given features: they stand for a network without blocks, which reads no image."""
    fingerprint: str = ""
    """Hash of given features, or of a network that is none of the table and the weights that it comes with; "": it
    comes without any."""
    drawn: str = ""
    """Hash of a network that is none of the table, without weights; "": not all of its weights can be drawn."""

    def shape_at(self, cut: int) -> tuple[int, ...]:
        """Return (h, w, channels) of the tensor at a cut; raises ValueError when there is no such cut."""
        num_blocks = len(self.blocks)
        _check_cut(cut, num_blocks)
        if self.features:
            return self.features
        return (self.image_size, self.image_size, 3) if cut == num_blocks else self.blocks[-1 - cut].output_shape

    def num_parameters(self, cut: int) -> int:
        """Return the weights from a cut to the output; raises ValueError when there is no such cut."""
        _check_cut(cut, len(self.blocks))
        return sum(block.num_parameters for block in self.blocks[len(self.blocks) - cut :])

    def multiply_adds(self, first_cut: int, last_cut: int) -> int:
        """Count them in a forward pass of one image from one cut to another: (number of blocks, 0) is the whole
        backbone.

        Equal cuts cost 0. Raises ValueError when there is no such cut, or the first comes after the last.
        """
        num_blocks = len(self.blocks)
        _check_cut(first_cut, num_blocks)
        _check_cut(last_cut, num_blocks)
        if first_cut < last_cut:
            raise ValueError(
                f"first_cut must be at least last_cut: both count from the output; got {first_cut}, {last_cut}"
            )
        return sum(block.multiply_adds for block in self.blocks[num_blocks - first_cut : num_blocks - last_cut])


def find_blocks(model: Any) -> tuple[Block, ...]:
    """Return the blocks of a functional keras.Model (B, H, W, 3) -> (B, h, w, channels), channels last, from input to
    output.

    Each weight is counted once, where its layer is first called; multiply-adds are counted for every call. Raises
    ValueError when the model has several inputs or outputs, or no fixed image size.
    """
    counted: set[int] = set()
    blocks = []
    for calls in _blocks_of_calls(model):
        layers = {id(call.operation): call.operation for call in calls}
        num_parameters = sum(_num_parameters(layer) for key, layer in layers.items() if key not in counted)
        counted |= layers.keys()
        shape = _output_shape(calls[-1])
        blocks.append(Block(calls[-1].operation.name, shape, sum(map(_multiply_adds, calls)), num_parameters))
    return tuple(blocks)


def find_tensors(model: Any) -> tuple[tuple[tuple[int, ...], ...], ...]:
    """Return `Structure.tensors` of a model: of a layer what is trained comes first, as in Keras 1 and 2."""
    layers = ([*layer.trainable_weights, *layer.non_trainable_weights] for layer in model.layers)
    return tuple(tuple(tuple(weight.shape) for weight in weights) for weights in layers if weights)


def cut_tensor(model: Any, cut: int) -> Any:
    """Return the KerasTensor at a cut of `model`: its output at 0, its input at the number of blocks.

    Raises ValueError when there is no such cut. (A layer's own `output` will not do: after `between`, it has several.)
    """
    blocks = _blocks_of_calls(model)
    _check_cut(cut, len(blocks))
    return model.inputs[0] if cut == len(blocks) else blocks[-1 - cut][-1].output_tensors[0]


def between(model: Any, first_cut: int, last_cut: int) -> Any:
    """Return a keras.Model from one cut of `model` to a later one, of the same layers and weights.

    (number of blocks, 0) gives the whole, (cut, 0) what is after a cut. Raises ValueError unless the first cut comes
    before the last; both count from the output.
    """
    import keras

    if first_cut <= last_cut:
        raise ValueError(
            f"first_cut must be greater than last_cut: both count from the output; got {first_cut}, {last_cut}"
        )
    return keras.Model(cut_tensor(model, first_cut), cut_tensor(model, last_cut))


def relu_tensors(model: Any, cut: int) -> dict[str, Any]:
    """Return {layer: its output}, a KerasTensor, of the layers after a cut whose output a ReLU has made, from input to
    output.

    Raises ValueError when there is no such cut.
    """
    blocks = _blocks_of_calls(model)
    _check_cut(cut, len(blocks))
    calls = [call for block in blocks[len(blocks) - cut :] for call in block]
    return {call.operation.name: call.output_tensors[0] for call in calls if _is_relu(call.operation)}


def _is_relu(operation: Any) -> bool:
    from keras import layers

    if isinstance(operation, layers.ReLU):
        return not operation.negative_slope
    return getattr(getattr(operation, "activation", None), "__name__", "") in {"relu", "relu6"}


def _check_cut(cut: int, num_blocks: int) -> None:
    if not 0 <= cut <= num_blocks:
        raise ValueError(f"a cut must be between 0 (the output) and {num_blocks} (the input); got {cut}")


# The graph. A call is Keras's node: a layer or operation, the tensors that it was given, and those that it made.


def _blocks_of_calls(model: Any) -> list[list[Any]]:
    """Return the calls of each block, from input to output."""
    pieces = _pieces(model)
    blocks, start = [], 0
    while start < len(pieces):
        end = _end_of_block(pieces, start)
        blocks.append([call for piece in pieces[start : end + 1] for call in piece])
        start = end + 1
    return blocks


def _pieces(model: Any) -> list[list[Any]]:
    """Part all calls wherever a single tensor is still to be used: single calls, and forks with all their branches.

    A tensor that alone separates does so in every topological order: all that is not before it comes after it.
    """
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        found = f"{len(model.inputs)} inputs and {len(model.outputs)} outputs"
        raise ValueError(f"a model with blocks must have one input and one output; '{model.name}' has {found}")
    calls = _calls(model)
    uses = Counter(id(tensor) for call in calls for tensor in call.input_tensors)
    uses[id(model.outputs[0])] += 1
    pieces: list[list[Any]] = [[]]
    to_be_used: set[int] = set()
    for call in calls:
        pieces[-1].append(call)
        uses.subtract(id(tensor) for tensor in call.input_tensors)
        to_be_used |= {id(tensor) for tensor in call.output_tensors}
        to_be_used = {tensor for tensor in to_be_used if uses[tensor]}
        if len(to_be_used) == 1:
            pieces.append([])
    return pieces[:-1]


def _calls(model: Any) -> list[Any]:
    """Return the calls that make the model's output, each after those that it needs; some are 1000 deep."""
    needs: dict[Any, list[Any]] = {}
    found = [_maker(tensor) for tensor in model.outputs]
    while found:
        call = found.pop()
        if call not in needs:
            needs[call] = call.parent_nodes
            found += needs[call]
    return list(TopologicalSorter(needs).static_order())


def _maker(tensor: Any) -> Any:
    """Return the call that made a tensor. All that the project uses of Keras's private parts, as Keras 3.15 has them:
    nothing else knows of raw operations."""
    operation, index, _ = tensor._keras_history
    return operation._inbound_nodes[index]


def _end_of_block(pieces: list[list[Any]], start: int) -> int:
    """Return the index of the last piece of the block that starts with piece `start`."""
    kernels = [index for index in range(start, len(pieces)) if _has_kernel(pieces[index])]
    for index in range(kernels[0] if kernels else len(pieces), len(pieces)):
        if _completes_unit(pieces, start, index):
            following = (kernel for kernel in kernels if kernel > index)
            return _best_end(pieces, index, next(following, len(pieces)))
    return len(pieces) - 1


def _completes_unit(pieces: list[list[Any]], start: int, index: int) -> bool:
    """Return whether a unit, as the module's docstring defines it, is complete after piece `index`."""
    from keras import layers

    operation = pieces[index][-1].operation
    if len(pieces[index]) > 1:
        # By name: the layer, or the operation behind `*`, which is not public.
        return type(operation).__name__ != "Multiply"
    if isinstance(operation, layers.Conv2D | layers.Dense):
        if math.prod(getattr(operation, "kernel_size", ())) != 1:
            return False
        alone = (
            piece[0].operation for piece in reversed(pieces[start:index]) if len(piece) == 1 and _has_kernel(piece)
        )
        return isinstance(next(alone, None), layers.DepthwiseConv2D)
    return isinstance(operation, layers.SeparableConv2D | layers.MaxPooling2D | layers.AveragePooling2D)


def _best_end(pieces: list[list[Any]], index: int, next_kernel: int) -> int:
    """Return where to cut after a unit that is complete at `index`, before the next piece with a kernel."""
    if next_kernel == len(pieces):
        return len(pieces) - 1
    candidates = range(index, next_kernel)
    with_weights = [i for i in candidates if any(_num_parameters(call.operation) for call in pieces[i])]
    sizes = {i: math.prod(_output_shape(pieces[i][-1])) for i in range(max(with_weights, default=index), next_kernel)}
    return min(sizes, key=lambda i: (sizes[i], -i))


def _has_kernel(calls: Iterable[Any]) -> bool:
    return any(getattr(layer, name, None) is not None for layer in _layers(calls) for name in KERNELS)


def _layers(calls: Iterable[Any]) -> Iterator[Any]:
    """Give the layers and operations that are called, with those inside of models that are layers (ConvNeXt's stem)."""
    for call in calls:
        yield call.operation
        if _is_model(call.operation):
            yield from _layers(_calls(call.operation))


def _is_model(operation: Any) -> bool:
    import keras

    return isinstance(operation, keras.Model)


# What it costs.


def _multiply_adds(call: Any) -> int:
    """Return those of a convolution or Dense: each weight of a kernel is used once a position (y, x) of the output."""
    from keras import layers

    if _is_model(call.operation):
        return sum(map(_multiply_adds, _calls(call.operation)))
    if not isinstance(call.operation, layers.Conv2D | layers.DepthwiseConv2D | layers.SeparableConv2D | layers.Dense):
        return 0
    kernels = (getattr(call.operation, name, None) for name in KERNELS)
    weights = sum(math.prod(kernel.shape) for kernel in kernels if kernel is not None)
    return weights * math.prod(_output_shape(call)[:-1])


def _num_parameters(operation: Any) -> int:
    return int(operation.count_params()) if hasattr(operation, "count_params") else 0


def _output_shape(call: Any) -> tuple[int, ...]:
    """Return it without the batch: (h, w, channels)."""
    shape = tuple(call.output_tensors[0].shape[1:])
    if None in shape:
        raise ValueError(
            f"a model with blocks must have a fixed image size; its layer {call.operation.name} gives {shape}"
        )
    return shape


# For processes without Keras.


def structures(wanted: Iterable[tuple[str, int]], cache: Path | None = None) -> dict[tuple[str, int], Structure]:
    """Return {(backbone, image size in pixels): its Structure}, read from the cache folder, else found by another
    process.

    A structure depends on the backbone, the size and Keras's version, which its file's name holds; files are never
    removed (some kB each). Raises SpecError when there is no such backbone, or Keras refuses the size.
    """
    networks = list(dict.fromkeys(wanted))
    places, own = {}, [key for key in networks if own_backbone(key[0])]  # a user's file may have changed
    for name, size in networks:
        if own_backbone(name):
            continue
        file = f"{backbone_named(name).name}-{size}px-keras{version('keras')}-v{FORMAT}.json"
        places[name, size] = (cache or cache_dir()) / "structures" / file
    found = {key: structure for key, path in places.items() if (structure := _read(path))}
    missing = [*(key for key in places if key not in found), *own]
    refused = {}
    for key, row in zip(missing, _ask_keras(missing), strict=True):
        if "refused" in row:
            refused[key] = row["refused"]
        else:
            if key in places:
                keep(places[key], json.dumps(row).encode())
            found[key] = _structure(row)
    for (name, size), reason in refused.items():
        if (name, size) in own:
            raise SpecError(f"backbone must be a network that can be built at {size} px; {reason}")
        raise SpecError(f"image_size must be one that Keras accepts for {name}; got {size}: {reason}")
    return found


def _read(path: Path) -> Structure | None:
    """Read a file; return None where it is not there or damaged."""
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        return _structure(read_json(read_own(path)))
    return None


def _structure(row: dict[str, Any]) -> Structure:
    """Build it from JSON, which has lists for a Block's tuples. Raises KeyError where an earlier version wrote it."""
    blocks = (Block(**{**block, "output_shape": tuple(block["output_shape"])}) for block in row["blocks"])
    tensors = tuple(tuple(map(tuple, shapes)) for shapes in row["tensors"])
    marks = {name: row[name] for name in ("fingerprint", "drawn") if name in row}
    return Structure(row["backbone"], row["image_size"], tuple(blocks), tensors, **marks)


def _ask_keras(wanted: list[tuple[str, int]]) -> list[dict[str, Any]]:
    """Ask one process for all: return for each the fields of its Structure, or why it was refused."""
    if not wanted:
        return []
    arguments = [str(part) for key in wanted for part in key]
    # as -m would, but that it looks for modules where this process does: not first in the working folder
    asking = f"import runpy, sys; sys.path[:] = {sys.path!r}; runpy.run_module({__name__!r}, run_name='__main__')"
    command = [sys.executable, "-W", "ignore", "-c", asking, *arguments]
    own = any(own_backbone(name) for name, _ in wanted)  # which may want the backend that trains it
    environment = {**quick_keras(), "KERAS_BACKEND": device.backend()} if own else quick_keras()
    done = subprocess.run(command, env=environment, capture_output=True, check=False)
    if done.returncode:
        raise RuntimeError(f"Keras could not build {wanted}: {done.stderr.decode(errors='replace').strip()[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def quick_keras() -> dict[str, str]:
    """Return the environment of a process that builds networks but trains none, and leaves the GPU alone.

    Keras's numpy backend starts in 2-4 s where TensorFlow takes 10, but computes convolutions with the package jax. It
    infers some shapes by computing with zeros, and warns when it divides by them.
    """
    environment = {**os.environ, **device.without_settings(), "CUDA_VISIBLE_DEVICES": "", "JAX_PLATFORMS": "cpu"}
    if find_spec("jax"):
        environment["KERAS_BACKEND"] = "numpy"
    process.settle(environment)
    return environment


def main(arguments: list[str]) -> None:
    """Print what `_ask_keras` returns, as JSON, for NAME SIZE [NAME SIZE ...]."""
    import keras

    rows: list[dict[str, Any]] = []
    for name, size in zip(arguments[::2], map(int, arguments[1::2]), strict=True):
        keras.utils.clear_session()  # layers without a name of their own are numbered anew for each model
        rows.append(row_of(name, size))
    print(json.dumps(rows))


def row_of(name: str, size: int) -> dict[str, Any]:
    """Build a network; return the fields of its Structure, or why it was refused."""
    backbone = backbone_named(name)
    try:
        build = _own_model if own_backbone(name) else _table_model
        model, marks = build(backbone.build, size)
        return dataclasses.asdict(Structure(name, size, find_blocks(model), find_tensors(model), (), **marks))
    except ValueError as error:
        return {"refused": str(error)}


def _table_model(build: Callable[[int, None], Any], size: int) -> tuple[Any, dict[str, str]]:
    return build(size, None), {}


def _own_model(build: Callable[[int, None], Any], size: int) -> tuple[Any, dict[str, str]]:
    """Return a network that is none of the table, with `fingerprint` and `drawn` of its Structure. It is built twice:
    what draws its own weights comes without any."""
    import keras

    keras.utils.set_random_seed(0)
    first = own_fingerprint(build(size, None), "given")
    keras.utils.set_random_seed(1)
    model = build(size, None)
    if not all(keras.ops.all(keras.ops.isfinite(keras.ops.cast(v, "float32"))) for v in model.weights):
        raise ValueError("its weights must be numbers; some are NaN or infinite")
    fingerprint = first if first == own_fingerprint(model, "given") else ""
    drawn = own_fingerprint(model, "random") if None not in initializers(model) else ""
    return model, {"fingerprint": fingerprint, "drawn": drawn}


def own_fingerprint(model: Any, weights: str) -> str:
    """Return what a spec's weights_fingerprint says of a network that is none of the table."""
    architecture = architecture_of(_calls(model))
    return architecture if weights == "random" else weights_of(model, architecture)


if __name__ == "__main__":
    main(sys.argv[1:])
