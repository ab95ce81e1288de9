"""The model card of an exported network: Markdown with the header that Hugging Face reads."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

from galaxytl.networks.exported import Description
from galaxytl.system.foreign_text import visible
from galaxytl.trial import DAMAGE, TrialResult, TrialSpec
from galaxytl.trial.epochs import ending_text
from sweep.progress.lines import accuracy_text

CITATIONS = (
    "Xu 2023, The investigation of transferability related to the ImageNet-based transfer learning model in galaxy "
    "classification (the study whose recipe the trial is a variation of)",
    "Leung and Bovy, Galaxy10 DECaLS, https://zenodo.org/records/10845026 (where that is the dataset)",
)


def model_card(result: TrialResult, description: Description, file: Path, notes: list[str]) -> str:
    """Return the card of the model in `file`. notes: what was said while it was exported."""
    spec = result.spec
    parts = [
        _header(spec, result.class_names),
        f"# {spec.backbone} on {visible(spec.dataset)}: trial {spec.trial_id}",
        *_warnings(result),
        _use(file, spec),
        _data(result),
        _scores(result, description),
        _training(result),
        "## Limits\n\n" + "\n".join(f"- {line}" for line in _limits(result)),
        "## How it was exported\n\n" + "\n".join(f"- {note}" for note in notes),
        "## Citing\n\n" + "\n".join(f"- {line}" for line in ("galaxytl (CITATION.cff)", *CITATIONS)),
    ]
    return "\n\n".join(parts) + "\n"


def _header(spec: TrialSpec, class_names: tuple[str, ...]) -> str:
    """Return Hugging Face's metadata; JSON is YAML."""
    values = {
        "library_name": "keras",
        "pipeline_tag": "image-classification",
        "tags": ["galaxy-morphology", "transfer-learning", spec.backbone],
        "datasets": [spec.dataset],
    }
    return "\n".join(["---", *(f"{name}: {json.dumps(value)}" for name, value in values.items()), "---"])


def _warnings(result: TrialResult) -> list[str]:
    spec, lines = result.spec, []
    if spec.is_simulated:
        lines.append("**Trained on simulated galaxies: it says nothing about real ones.**")
    if spec.is_substituted:
        lines.append("**Random weights stood in for ImageNet weights that could not be had.**")
    if damage := result.environment.get(DAMAGE):
        lines.append(f"**The dataset was used although it is damaged: {damage}.**")
    return lines


def _use(file: Path, spec: TrialSpec) -> str:
    code = {
        ".keras": f'import keras\nmodel = keras.models.load_model("{file.name}")\n'
        "probabilities = model.predict(images)      # uint8 (N, H, W, 3), any H and W",
        ".onnx": f'import onnxruntime\nsession = onnxruntime.InferenceSession("{file.name}")\n'
        "probabilities, = session.run(None, {session.get_inputs()[0].name: images})",
        ".tflite": f'from ai_edge_litert.interpreter import Interpreter\nmodel = Interpreter("{file.name}")\n'
        'model.resize_tensor_input(model.get_input_details()[0]["index"], images.shape)',
        "": f'import tensorflow as tf\nmodel = tf.saved_model.load("{file.name}")\nprobabilities = model.serve(images)',
    }[file.suffix]
    how = "scaled to" if spec.fit == "resize" else "cut to their largest centred square, which is scaled to"
    size = f"{spec.image_size} x {spec.image_size} pixels"
    inside = f"Inside, images are {how} {size}, preprocessed ({spec.preprocessing}), and classified."
    if file.suffix != ".keras":
        return f"## Use\n\n```python\n{code}\n```\n\n{inside}"
    command = f"python -m galaxytl.classify {shlex.quote(file.name)} images/ --to classes.csv"
    return f"## Use\n\n```python\n{code}\n```\n\n{inside} Or: `{command}`"


def _data(result: TrialResult) -> str:
    spec, sizes = result.spec, result.num_images
    split = "the dataset's own" if spec.official_split else f"seed {spec.split_seed}"
    split += f", fold {spec.fold} of {spec.num_folds}, counted from 0" if spec.num_folds else ""
    together = spec.group_by or ("neighbours on the sky" if spec.group_by_sky else "")
    lines = [
        f"- {visible(spec.dataset)}, fingerprint {spec.dataset_fingerprint[:16]}",
        f"- split ({split}): "
        + ", ".join(f"{sizes.get(part, 0):,} {part}" for part in ("train", "validation", "test")),
        *([f"- images of one group stay on one side: {together}"] if together else []),
        f"- classes: {', '.join(result.class_names)}",
    ]
    return "## Data\n\n" + "\n".join(lines)


def _scores(result: TrialResult, description: Description) -> str:
    part = result.spec.scored_on
    lines = [
        f"| on the {part} part | |",
        "|---|---|",
        f"| accuracy | {accuracy_text(result)} |",
        f"| images | {result.num_images.get(part, 0):,} |",
    ]
    lines += [f"| {name.replace('_', ' ')} | {value:.3f} |" for name, value in _others(result).items()]
    known = description.temperature is not None
    calibration = (
        f"Dividing the logits by {description.temperature:.3f}, fitted on the validation part, calibrates them."
        if known
        else "Probabilities are not calibrated: no temperature could be fitted without the test part."
    )
    return "## Scores\n\n" + "\n".join(lines) + f"\n\n{calibration}"


def _others(result: TrialResult) -> dict[str, float]:
    return {name: value for name, value in result.metrics.items() if name != "accuracy"}


def _training(result: TrialResult) -> str:
    fields, ending = result.spec.to_dict(), ending_text(result)
    lines = [f"| {name} | {visible(str(value))} |" for name, value in fields.items() if value != ""]
    text = "## The trial\n\n" + "\n".join(["| field | value |", "|---|---|", *lines])
    return f"{text}\n\nThe weights: {ending}, by the loss on the validation part." if ending else text


def _limits(result: TrialResult) -> list[str]:
    spec = result.spec
    lines = [
        "One network of one seed: another seed gives another one, with another accuracy.",
        "The interval is of the images of this part; images of another survey, depth or size may do worse.",
    ]
    if spec.scored_on == "validation":
        lines.append("Scored on the validation part, by which it was chosen: its true accuracy is lower, as a rule.")
    elif result.curves_on == "test":
        lines.append("There was no validation part: whoever chose it by its test accuracy overestimates it.")
    return lines
