from __future__ import annotations

import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from galaxytl.data.hot_copy import Size
from galaxytl.learning.metrics import softmax
from galaxytl.networks import exported, warm
from galaxytl.networks.backbones import build_head
from galaxytl.networks.exported import Description, ModelError, assemble, load_network, loaded, read_description, save
from galaxytl.trial import TrialSpec
from tests.galaxytl import toy

pytestmark = pytest.mark.usefixtures("toy_backbone")
SPEC = toy.SPEC.replace(num_classes=3, unfrozen_blocks=1)
NAMES = ("smooth", "spiral", "merger")
IMAGES = np.random.default_rng(1).integers(0, 256, (3, 40, 53, 3), dtype=np.uint8)


def trained(spec: TrialSpec = SPEC) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Weights as a trial leaves them, and the probabilities of IMAGES by the network that has them."""
    model, network = warm.trainable(spec, None, lambda: None)
    pixels = np.stack([Size(32, spec.fit).of(image) for image in IMAGES])
    model.train_on_batch(pixels, np.arange(3))
    weights = network.trained_weights(model, spec)
    return weights, softmax(np.asarray(model.predict(pixels, verbose=0)))


@pytest.fixture(scope="module")
def exported_file(tmp_path_factory: pytest.TempPathFactory, toy_backbone: None) -> tuple[Path, np.ndarray]:
    weights, probabilities = trained()
    path = tmp_path_factory.mktemp("exported") / "galaxy.keras"
    description = Description(SPEC, NAMES, {"accuracy": 0.5}, {"test": 3}, 1.5, {"python": "3"})
    save(assemble(SPEC, weights, lambda: None), description, path)
    assert read_description(path) == description
    return path, probabilities


def test_plain_keras_gives_the_trials_probabilities_of_raw_images(exported_file: tuple[Path, np.ndarray]) -> None:
    """The file names no class but Keras's own, of which none is registered by somebody else."""
    path, probabilities = exported_file
    with zipfile.ZipFile(path) as archive:
        config = archive.read("config.json").decode()
    modules, registered = (set(re.findall(rf'"{key}": "([^"]+)"', config)) for key in ("module", "registered_name"))
    assert {"keras"} <= {module.partition(".")[0] for module in modules} <= {"keras", "builtins"}
    assert not [name for name in registered if ">" in name]  # as "package>name"
    assert np.abs(keras.models.load_model(path).predict(IMAGES, verbose=0) - probabilities).max() < 1e-6


@pytest.mark.rest
def test_so_it_does_in_a_process_that_knows_nothing_of_this_project(exported_file: tuple[Path, np.ndarray]) -> None:
    path, probabilities = exported_file
    np.save(path.parent / "images.npy", IMAGES)
    program = (
        "import keras, numpy as np, sys; model = keras.models.load_model(sys.argv[1]); "
        "np.save(sys.argv[3], model.predict(np.load(sys.argv[2]), verbose=0)); "
        "assert not [name for name in sys.modules if name.startswith('galaxytl')]"
    )
    files = [str(path), str(path.parent / "images.npy"), str(path.parent / "found.npy")]
    subprocess.run([sys.executable, "-P", "-c", program, *files], check=True, cwd=path.parent)
    assert np.abs(np.load(path.parent / "found.npy") - probabilities).max() < 1e-6


@pytest.mark.rest
@pytest.mark.parametrize("name", ["galaxy.tflite", "galaxy", "galaxy.onnx"])
def test_other_runtimes_give_them_too(name: str, tmp_path: Path) -> None:
    if name.endswith("onnx"):
        for package in ("onnx", "onnxruntime", "tf2onnx"):
            pytest.importorskip(package)
    weights, probabilities = trained()
    path = tmp_path / name
    save(assemble(SPEC, weights, lambda: None), Description(SPEC, NAMES), path)
    assert np.abs(loaded(path)(IMAGES) - probabilities).max() < 1e-6
    assert read_description(path).class_names == NAMES


def test_the_network_inside_takes_squares(exported_file: tuple[Path, np.ndarray]) -> None:
    path, probabilities = exported_file
    network, description = load_network(path)
    squares = np.stack([Size(32).of(image) for image in IMAGES])
    assert np.abs(network.predict(squares, verbose=0) - probabilities).max() < 1e-6
    assert [network.get_layer(name).name for name in ("backbone", "head")] == ["backbone", "head"]
    assert description.temperature == 1.5


@pytest.mark.parametrize("fields", [{"unfrozen_blocks": 0}, {"unfrozen_blocks": "all", "fit": "crop", "head_units": 4}])
def test_depths_crops_and_hidden_layers_come_along(fields: dict[str, Any]) -> None:
    spec = SPEC.replace(**fields)
    if spec.trains_head_only:
        head = build_head(spec, (4, 4, 8))
        weights = warm.named([np.asarray(v.value) for v in head.weights])
        backbone = warm.backbone(spec, lambda: None).forward(toy.NUM_BLOCKS, 0)
        squares = np.stack([Size(32).of(image) for image in IMAGES])
        probabilities = softmax(np.asarray(head(np.asarray(backbone(squares)))))
    else:
        weights, probabilities = trained(spec)
    model = assemble(spec, weights, lambda: None)
    assert np.abs(np.asarray(model(IMAGES)) - probabilities).max() < 1e-6


def test_weights_of_another_depth_are_refused() -> None:
    weights, _ = trained()
    with pytest.raises(ValueError, match="not those of the head and the unfrozen blocks"):
        assemble(SPEC.replace(unfrozen_blocks=0), weights, lambda: None)


@pytest.mark.parametrize(("damage", "says"), [("cut", "is not"), ("text", "is not"), ("missing", "there is no")])
def test_what_is_no_whole_model_of_ours_is_refused(
    exported_file: tuple[Path, np.ndarray], tmp_path: Path, damage: str, says: str
) -> None:
    path = tmp_path / "galaxy.keras"
    if damage != "missing":
        path.write_bytes(exported_file[0].read_bytes()[:5000] if damage == "cut" else b"no model")
    with pytest.raises(ModelError, match=says):
        load_network(path)


def test_code_in_a_file_is_not_run(exported_file: tuple[Path, np.ndarray], tmp_path: Path) -> None:
    """A Lambda layer is Python code: safe mode refuses it."""
    image = keras.Input((None, None, 3), dtype="uint8")
    path = tmp_path / "galaxy.keras"
    keras.Model(image, keras.layers.Lambda(lambda x: x + 1)(image)).save(path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(exported.MEMBER, read_description(exported_file[0]).to_json())
    with pytest.raises(ModelError, match="without code of its own"):
        load_network(path)


@pytest.mark.parametrize("change", [{"format": 2}, {"class_names": ["one"]}, {"temperature": -1}, {"spec": {}}])
def test_a_description_that_is_not_known_is_refused(
    exported_file: tuple[Path, np.ndarray], tmp_path: Path, change: dict[str, Any]
) -> None:
    values = json.loads(read_description(exported_file[0]).to_json()) | change
    with zipfile.ZipFile(tmp_path / "galaxy.keras", "w") as archive:
        archive.writestr(exported.MEMBER, json.dumps(values))
    with pytest.raises(ModelError, match="of a version that is known here"):
        read_description(tmp_path / "galaxy.keras")


def test_nothing_but_a_model_of_ours_is_replaced(exported_file: tuple[Path, np.ndarray], tmp_path: Path) -> None:
    exported.check_writable(exported_file[0])
    (tmp_path / "thesis.keras").write_text("years of work")
    with pytest.raises(ModelError, match="a model replaces nothing but an exported model"):
        exported.check_writable(tmp_path / "thesis.keras")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("years of work")
    (tmp_path / "mine" / exported.MEMBER).write_text(read_description(exported_file[0]).to_json())
    with pytest.raises(ModelError, match="a model replaces nothing but an exported model"):
        exported.check_writable(tmp_path / "mine")
    with pytest.raises(ModelError, match="must end with one of"):
        exported.check_writable(tmp_path / "galaxy.h5")
