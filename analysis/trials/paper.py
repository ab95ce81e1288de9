"""The paper as data: its Table 1, in the order it is printed, and the numbers of its figures.

Source: Xu H 2023, "The investigation of transferability related to the ImageNet-based transfer learning model in
galaxy classification", Table 1 and Figures 3-21.

    >>> cell_of("MobileNet", "OFF").f1.value
    9.663
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

BARS_FIGURE = 3
CURVES_SHEET, CONFUSION_SHEET = "figures-04-15-curves", "figures-16-21-confusion"


@dataclass(frozen=True)
class Printed:
    """A number as the paper prints it; `sic` where it cannot be right (a score above 1)."""

    value: float

    @property
    def sic(self) -> bool:
        return not 0.0 <= self.value <= 1.0

    def __str__(self) -> str:
        return f"{self.value:.3f} (sic)" if self.sic else f"{self.value:.3f}"


@dataclass(frozen=True)
class PaperCell:
    """One row of Table 1, with the figures that show the same trial."""

    backbone: str
    imagenet: Literal["ON", "OFF"]
    accuracy: Printed
    precision: Printed
    f1: Printed
    loss_figure: int
    confusion_figure: int

    @property
    def accuracy_figure(self) -> int:
        return self.loss_figure + 1

    @property
    def title(self) -> str:
        return f"{self.backbone}, ImageNet {self.imagenet}"

    @property
    def file_stem(self) -> str:
        return f"{self.backbone.lower()}-imagenet-{self.imagenet.lower()}"

    def printed(self, metric: str) -> Printed:
        """Return the paper's value of one of METRICS."""
        return {"accuracy": self.accuracy, "precision_weighted": self.precision, "f1_weighted": self.f1}[metric]


METRICS = {"accuracy": "Accuracy", "precision_weighted": "Precision (weighted)", "f1_weighted": "F1 (weighted)"}
"""Name in a result's metrics -> heading. The paper does not name its average. In Table 1's VGG16 OFF row the precision,
0.025, is the square of the accuracy, 0.157: that is the weighted average of a model that predicts one class only."""


def _cell(
    backbone: str, imagenet: Literal["ON", "OFF"], scores: tuple[float, ...], figures: tuple[int, int]
) -> PaperCell:
    accuracy, precision, f1 = (Printed(score) for score in scores)
    return PaperCell(backbone, imagenet, accuracy, precision, f1, *figures)


TABLE_1: tuple[PaperCell, ...] = (
    _cell("VGG16", "ON", (0.142, 0.136, 0.142), (12, 20)),
    _cell("ResNet50", "ON", (0.625, 0.703, 0.632), (8, 18)),
    _cell("MobileNet", "ON", (0.823, 0.849, 0.823), (4, 16)),
    _cell("VGG16", "OFF", (0.157, 0.025, 0.043), (14, 21)),
    _cell("ResNet50", "OFF", (0.564, 0.698, 0.575), (10, 19)),
    _cell("MobileNet", "OFF", (0.686, 0.679, 9.663), (6, 17)),
)
BACKBONES = ("VGG16", "ResNet50", "MobileNet")


def cell_of(backbone: str, imagenet: str) -> PaperCell:
    """Return the row of Table 1 with these names."""
    return next(cell for cell in TABLE_1 if (cell.backbone, cell.imagenet) == (backbone, imagenet))
