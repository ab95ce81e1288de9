"""A trained network as a model of its own: images in, probabilities out, in a file that needs nothing of this project.

    model = assemble(spec, weights, weights_path)              # weights: of galaxytl.results.models
    save(model, description, Path("galaxy.keras"))             # or .onnx, .tflite, or a folder: TensorFlow's SavedModel
    probabilities = loaded(Path("galaxy.keras"))(images)       # by the runtime of its format
    network, description = load_network(Path("galaxy.keras"))  # for images that are squares already

A model reads uint8 images (B, H, W, 3) of any H and W. Inside, `network` goes from squares to probabilities, by way of
`backbone` and `head`. Which trial it is, and what its classes are called, stands in the file: `galaxytl.json` in the
archives that .keras and .tflite are, in the metadata of .onnx, beside a SavedModel.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from galaxytl.networks import device
from galaxytl.networks.resizing import resized
from galaxytl.system.foreign_text import visible, visible_values
from galaxytl.system.strict_json import LARGEST, read_json
from galaxytl.trial import SpecError, TrialSpec

FORMAT: Final = 1
"""Of a description; raised when older readers would misunderstand it."""
MEMBER: Final = "galaxytl.json"
"""Name of the description in an archive, and in the metadata of ONNX."""
FOLDER_HOLDS: Final = (MEMBER, "README.md", "assets", "fingerprint.pb", "saved_model.pb", "variables")
"""What lies in the folder of a SavedModel of ours."""
SUFFIXES: Final = (".keras", ".onnx", ".tflite", "")
"""Of the formats; a folder has none."""
NOT_OURS: Final = "a model must be a file that python -m sweep.export wrote"


class ModelError(ValueError):
    """A file is no model of ours, or cannot be written or run; the message says why."""


@dataclass(frozen=True)
class Description:
    """What a model file says of its network."""

    spec: TrialSpec
    class_names: tuple[str, ...]
    metrics: Mapping[str, float] = field(default_factory=dict)
    """On the part that the spec is `scored_on`."""
    num_images: Mapping[str, int] = field(default_factory=dict)
    """In "train", "validation" and "test"."""
    temperature: float | None = None
    """By which logits are divided for calibrated probabilities, fitted on the validation part; None: not known."""
    environment: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> str:
        values = {**asdict(self), "spec": self.spec.to_dict(), "class_names": list(self.class_names)}
        return json.dumps({"format": FORMAT, "trial_id": self.spec.trial_id, **values})


def assemble(spec: TrialSpec, weights: Mapping[str, NDArray[Any]], weights_path: Callable[[], Path | None]) -> Any:
    """Return the keras.Model of a trial. `weights_path` is asked for what frozen blocks start from. Raises ValueError
    where the weights are not the trial's."""
    import keras

    from galaxytl.networks import warm
    from galaxytl.networks.backbones import build_head, preprocess

    found = warm.backbone(spec, weights_path)
    with warm.policy(spec):
        head = build_head(spec, found.structure.shape_at(0))
        found.set_trained(head, spec, weights)
        pixels = keras.Input((spec.image_size, spec.image_size, 3), dtype="uint8", name="pixels")
        backbone = keras.Model(found.model.input, found.model.output, name="backbone")
        logits = head(backbone(preprocess(pixels, spec), training=False))
        network = keras.Model(pixels, keras.layers.Softmax(dtype="float32", name="softmax")(logits), name="network")
        image = keras.Input((None, None, 3), dtype="uint8", name="image")
        square = keras.ops.cast(resized(image, spec.image_size, spec.fit), "uint8")
        model = keras.Model(image, network(square), name=f"trial_{spec.trial_id}")
    model.trainable = False
    warm.forget()  # its backbone is the model's now
    return model


# Files


def save(model: Any, description: Description, path: Path, look: Callable[[Path], object] = lambda _: None) -> None:
    """Write a model in the format that the ending of `path` says. `look` is called with the finished file while it has
    another name: where it raises, what stood at `path` before stays. Raises ModelError where it cannot be written."""
    check_writable(path)
    if not path.suffix:
        path.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent if path.suffix else path, prefix=".exporting-") as folder:
        unfinished = Path(folder) / f"model{path.suffix}"
        _WRITERS[path.suffix](model, description, unfinished)
        look(unfinished)
        if path.suffix:
            os.replace(unfinished, path)
            return
        for part in [part for part in path.iterdir() if part.name in FOLDER_HOLDS]:
            shutil.rmtree(part) if part.is_dir() else part.unlink()
        for part in unfinished.iterdir():
            part.rename(path / part.name)


def check_writable(path: Path) -> None:
    """Raise ModelError unless a model can be written there: its ending is one of SUFFIXES, the packages that its format
    wants are installed, and nothing else than a model of ours is replaced."""
    if path.suffix not in SUFFIXES:
        formats = ", ".join(suffix or "a folder's name, for a SavedModel" for suffix in SUFFIXES)
        raise ModelError(f"a model's name must end with one of {formats}; got {path}")
    if path.suffix == ".onnx":
        _need_onnx()
    if path.suffix != ".keras" and device.backend() != "tensorflow":
        raise ModelError(f"{path.suffix or 'a SavedModel'} is written by TensorFlow: set KERAS_BACKEND=tensorflow")
    _check_folder(path.parent)
    if path.suffix and path.is_dir():
        raise ModelError(f"a model's file must not be a folder; {path} is one")
    is_empty = not path.exists() or (path.is_dir() and not any(path.iterdir()))
    if not is_empty:
        strangers = [part for part in path.iterdir() if part.name not in FOLDER_HOLDS] if path.is_dir() else []
        with contextlib.suppress(ModelError):
            read_description(path)
            if not strangers:
                return
        raise ModelError(f"a model replaces nothing but an exported model; {path} is none: remove it, or name another")


def _check_folder(folder: Path) -> None:
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ModelError(
            f"a model must lie in a folder that can be written to; got {folder}: {error.strerror}"
        ) from error


def _need_onnx() -> None:
    if missing := [name for name in ("onnx", "onnxruntime", "tf2onnx") if not importlib.util.find_spec(name)]:
        raise ModelError(f"ONNX wants further packages, {', '.join(missing)}: pip install 'galaxytl[onnx]'")


def _write_keras(model: Any, description: Description, path: Path) -> None:
    model.save(path)
    _add_member(path, description)


def _write_lite(model: Any, description: Description, path: Path) -> None:
    model.export(path, format="litert", verbose=False)
    _add_member(path, description)  # a TFLite file with an archive at its end, as TensorFlow's own metadata has it


def _add_member(path: Path, description: Description) -> None:
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(MEMBER, description.to_json())


def _write_onnx(model: Any, description: Description, path: Path) -> None:
    import onnx

    model(np.zeros((1, 1, 1, 3), np.uint8))  # Keras wants a model that has been called
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of NumPy's and protobuf's older names in tf2onnx: nothing that a user can do
        model.export(path, format="onnx", verbose=False)
    graph = onnx.load(path)
    onnx.helper.set_model_props(graph, {MEMBER: description.to_json()})
    onnx.save(graph, path)


def _write_folder(model: Any, description: Description, path: Path) -> None:
    model.export(path, format="tf_saved_model", verbose=False)
    (path / MEMBER).write_text(description.to_json())


_WRITERS: Final = {".keras": _write_keras, ".onnx": _write_onnx, ".tflite": _write_lite, "": _write_folder}


def read_description(path: Path) -> Description:
    """Return what a model file says of itself. Raises ModelError where it is none of ours."""
    try:
        content = _member(path)
    except FileNotFoundError as error:
        raise ModelError(f"{NOT_OURS}; there is no {path}") from error
    except Exception as error:  # libraries raise whatever they come to in a file that is damaged
        raise ModelError(f"{NOT_OURS}, whole; {path} is not: {error}") from error
    try:
        return _description(read_json(content))
    except (KeyError, TypeError, ValueError, RecursionError, SpecError) as error:
        raise ModelError(f"{NOT_OURS}, of a version that is known here; {path} is not: {error}") from error


def _member(path: Path) -> bytes:
    if path.is_dir():
        return (path / MEMBER).read_bytes()
    if path.suffix == ".onnx":
        import onnx

        properties = {one.key: one.value for one in onnx.load(path, load_external_data=False).metadata_props}
        return properties[MEMBER].encode()
    with zipfile.ZipFile(path) as archive:
        if archive.getinfo(MEMBER).file_size > LARGEST:
            raise ValueError(f"its {MEMBER} is too large")
        return archive.read(MEMBER)


def _description(values: Any) -> Description:
    if values["format"] != FORMAT:
        raise ValueError(f"its format must be {FORMAT}; it is {values['format']}")
    spec, names = TrialSpec.from_dict(values["spec"]), tuple(visible(str(name)) for name in values["class_names"])
    if len(names) != spec.num_classes:
        raise ValueError(f"it names {len(names)} classes of {spec.num_classes}")
    temperature = values["temperature"]
    if temperature is not None and not 0 < temperature < 1e6:
        raise ValueError(f"its temperature must be above 0; it is {temperature}")
    others = {name: visible_values(values[name]) for name in ("metrics", "num_images", "environment")}
    return Description(spec, names, temperature=temperature, **others)


def load_model(path: Path) -> Any:
    """Return the keras.Model of a .keras file. Raises ModelError, also where code would run while it is loaded."""
    import keras

    if path.suffix != ".keras":
        raise ModelError(f"a network is loaded from a .keras file; got {path}: export it as one")
    read_description(path)
    try:
        return keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises whatever it comes to in a file that is damaged, or not safe
        first = str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__
        raise ModelError(f"{NOT_OURS}, whole and without code of its own; {path} cannot be loaded: {first}") from error


def load_network(path: Path) -> tuple[Any, Description]:
    """Return the keras.Model from squares (B, S, S, 3) uint8 to probabilities (B, C), and what it is. Raises
    ModelError."""
    try:
        return load_model(path).get_layer("network"), read_description(path)
    except ValueError as error:
        raise error if isinstance(error, ModelError) else ModelError(f"{NOT_OURS}; {path} is not: {error}") from error


# What a model says, by the runtime of its format


def loaded(path: Path) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
    """Return what gives the probabilities (B, C) of images (B, H, W, 3). Raises ModelError."""
    if path.suffix == ".keras":
        model = load_model(path)
        return lambda images: np.asarray(model.predict_on_batch(images))
    if path.suffix == ".onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        return lambda images: np.asarray(session.run(None, {name: images})[0])
    return device.loaded_lite(path) if path.suffix else device.loaded_folder(path)
