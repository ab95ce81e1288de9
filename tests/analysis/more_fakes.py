"""Trials of several settings whose ends are known, for the tests of the figures beyond the paper's."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from matplotlib.figure import Figure
from PIL import Image

from analysis.figures.catalogue import plan_figures
from analysis.figures.plans import Material, Plan
from analysis.figures.style import style
from galaxytl.results.collapse import ONE_CLASS_SHARE
from galaxytl.trial import COMPLETE, TrialResult
from tests.analysis.collapsing import one_class
from tests.analysis.fakes import make_result, make_spec, write_parquet

if TYPE_CHECKING:
    from analysis.search.study import Study  # Optuna: a second

LAYERS = ("block1_conv1", "block5_conv3", "output")


def make_ended(
    accuracy: float = 0.5,
    *,
    imagenet: str = "ON",
    top_share: float = 0.3,
    validation: float | None = None,
    **fields: Any,
) -> TrialResult:
    """A COMPLETE trial with this accuracy on 300 test images, whose most named class has `top_share` of them; with a
    `validation` accuracy after its last epoch, if one is given. `fields` are of its spec."""
    backbone = fields.pop("backbone", "VGG16")
    spec = make_spec(backbone, imagenet, **{"validation_fraction": 0.1, **fields})
    confusion = {} if top_share < ONE_CLASS_SHARE else {"confusion": one_class()}
    result = make_result(spec, accuracy=accuracy, **confusion, num_images={"train": 630, "validation": 70, "test": 300})
    metrics = {**result.metrics, "top_predicted_share": top_share, "majority_share": 0.15}
    last = {"epoch": 1.0, "loss": 1.0, "accuracy": 0.5, "val_loss": 1.0}
    if validation is None:
        return replace(result, metrics=metrics, curves_on="test")
    return replace(result, metrics=metrics, history=({**last, "val_accuracy": validation},), curves_on="validation")


def make_collapsed(**fields: Any) -> TrialResult:
    """One that names the commonest class whatever the image."""
    return make_ended(0.15, top_share=1.0, **fields)


def with_status(result: TrialResult, status: str) -> TrialResult:
    return replace(result, status=status, metrics={}, message="stopped") if status != COMPLETE else result


def with_diagnostics(result: TrialResult, norms: Sequence[float] = (0.1, 0.2), frozen: bool = False) -> TrialResult:
    """That has recorded the start and the epochs after it, all layers with the same norm of `norms`; of a frozen
    network the head's only."""
    layers = LAYERS[-1:] if frozen else LAYERS
    epochs = [
        {
            "epoch": epoch, "loss": 2.3 - 0.1 * epoch, "logit_spread": 0.5 + epoch,
            "gradient_norms": dict.fromkeys(layers, norm),
            "dead_shares": {} if frozen else dict.fromkeys(LAYERS[:-1], 0.25),
        }
        for epoch, norm in enumerate(norms)
    ]  # fmt: skip
    return replace(result, diagnostics=tuple(epochs))


def write_predictions(
    folder: Path, result: TrialResult, labels: Sequence[int], predicted: Sequence[int]
) -> TrialResult:
    """The file of the trial's probabilities, of rows 10, 11, ...; returns the trial with the accuracy of these."""
    write_parquet(folder, result, labels, np.where(np.arange(10) == np.reshape(predicted, (-1, 1)), 0.91, 0.01), 10)
    accuracy = sum(a == b for a, b in zip(labels, predicted, strict=True)) / len(labels)
    return replace(result, metrics={**result.metrics, "accuracy": accuracy})


def write_thumbnails(folder: Path, labels: Mapping[int, int]) -> None:
    """`labels`: row -> class. The red of a picture is its row."""
    pngs = []
    for row in labels:
        file = io.BytesIO()
        Image.fromarray(np.full((96, 96, 3), (row, 0, 0), dtype=np.uint8)).save(file, "png")
        pngs.append(file.getvalue())
    table = pa.table({"row": list(labels), "label": list(labels.values()), "png": pngs})
    pq.write_table(table, folder / "thumbnails.parquet")


def plans_of(results: Sequence[TrialResult], *studies: Study) -> dict[str, Plan]:
    """The figures beyond the paper's, by their stems."""
    return {plan.stem: plan for plan in plan_figures(Material(results, studies=studies))}


def drawn(stem: str, results: Sequence[TrialResult], *studies: Study) -> Figure:
    plan = plans_of(results, *studies)[stem]
    assert plan.draw is not None, plan.why_not
    with style():
        return plan.draw()


def footer_of(figure: Figure) -> str:
    return " ".join(figure.get_supxlabel().split())
