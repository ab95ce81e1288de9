"""The figures show the numbers: read back from the artists, and once from the pixels."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from analysis.figures import bars, confusion, curves
from analysis.figures.style import COLOURS, new_figure, save, style
from analysis.trials.banner import Banner
from analysis.trials.load import Trials
from analysis.trials.paper import TABLE_1
from analysis.trials.table1_cells import PaperGrid, fill_cells
from galaxytl.trial import FAILED, TrialResult
from tests.analysis.fakes import CLASS_NAMES, COUNTS, make_result, make_spec


def grid_of(*results: TrialResult) -> PaperGrid:
    return fill_cells(Trials(results))


def full_grid() -> PaperGrid:
    return grid_of(*(make_result(make_spec(c.backbone, c.imagenet), accuracy=c.accuracy.value) for c in TABLE_1))


def texts_of(figure: Figure) -> str:
    return " ".join(text.get_text() for axes in figure.axes for text in axes.texts)


def test_bars_are_as_high_as_the_scores_and_the_papers_values_are_lines_but_the_impossible_f1() -> None:
    figure = bars.draw_metrics(full_grid(), Banner.of(full_grid()))
    heights = {str(p.get_gid()): p.get_height() for p in figure.axes[0].patches if isinstance(p, Rectangle)}
    ends = [[one.get_segments()[0] for one in axes.collections] for axes in figure.axes]
    lines = [sorted(first[1] for first, last in own if first[1] == last[1]) for own in ends]  # errors are upright
    errors = [sorted((float(first[1]), float(last[1])) for first, last in own if first[1] != last[1]) for own in ends]

    assert heights["ours accuracy MobileNet, ImageNet ON"] == pytest.approx(0.823)
    assert heights["ours accuracy VGG16, ImageNet OFF"] == pytest.approx(0.157)
    assert len(heights) == 6
    assert lines[0] == pytest.approx([0.142, 0.157, 0.564, 0.625, 0.686, 0.823])
    assert lines[2] == pytest.approx([0.043, 0.142, 0.575, 0.632, 0.823])
    best = full_grid().cell("MobileNet", "ON").interval
    assert best is not None
    assert errors[0][-1] == pytest.approx((best.low, best.high))
    assert errors[1:] == [[], []]  # one seed has no deviation
    assert "error bars: 95 % interval of accuracy" in " ".join(figure.get_supxlabel().split())
    seeds = grid_of(*(make_result(make_spec(seed=seed), accuracy=0.5 + 0.1 * seed) for seed in range(2)))
    said = " ".join(bars.draw_metrics(seeds, Banner.of(seeds)).get_supxlabel().split())
    assert "standard deviation over seeds of the others" in said
    near = bars.Bar(grid_of(make_result(accuracy=0.80)).cell("MobileNet", "ON"), "accuracy", 0.0)
    assert near.label_height > 0.823  # its number stands clear of the paper's line


def test_a_bar_ends_where_its_pixels_do() -> None:
    with style():
        figure = new_figure(5, 4, "")
        axes = figure.subplots()
        bars.draw_bars(axes, bars.bars_of(grid_of(make_result(accuracy=0.5)), "accuracy"))
    figure.canvas.draw()
    pixels = np.asarray(figure.canvas.buffer_rgba())

    def colour_at(height: float) -> str:
        x, y = axes.transData.transform((2 - 0.5 * (bars.BAR_WIDTH + 0.04) + 0.15, height))
        return to_hex(pixels[pixels.shape[0] - 1 - int(y), int(x)] / 255.0)

    assert colour_at(0.49) == colour_at(0.02) == COLOURS["MobileNet"].lower()
    assert colour_at(0.51) == "#ffffff"


def test_curves_are_mean_and_seeds_of_both_splits() -> None:
    histories = [({"epoch": 1.0, "loss": a, "val_loss": a + 1},) for a in (1.0, 3.0)]
    results = [make_result(make_spec(seed=s), history=h, curves_on="validation") for s, h in enumerate(histories)]

    training, watched = curves.curves_of(grid_of(*results).cell("MobileNet", "ON"), "loss")

    assert (training.split, training.mean, training.seeds) == ("training", (2.0,), ((1.0,), (3.0,)))
    assert (watched.split, watched.mean) == ("validation", (3.0,))


def test_a_failed_trial_shows_its_beginning_and_its_reason_and_the_same_numbers_give_the_same_files(
    tmp_path: Path,
) -> None:
    history = ({"epoch": 1.0, "loss": 2.0, "val_loss": 2.5}, {"epoch": 2.0, "loss": math.nan, "val_loss": math.nan})
    message = "loss is NaN, $x^{ is no formula$"  # drawn as it is
    grid = grid_of(make_result(status=FAILED, message=message, history=history, metrics={}, confusion=()))
    with style():
        figure, again = (curves.draw_cell(grid.cell("MobileNet", "ON"), "loss", Banner.of(grid)) for _ in range(2))
        files = zip(save(figure, tmp_path / "a"), save(again, tmp_path / "b"), strict=True)

    assert f"FAILED: {message}" in texts_of(figure)
    assert figure.axes[0].lines[0].get_ydata()[0] == 2.0
    for first, second in files:
        assert first.read_bytes() == second.read_bytes()


def test_references_are_what_the_class_counts_alone_give() -> None:
    cell = grid_of(make_result()).cell("MobileNet", "ON")
    entropy = -sum(n / 5321 * math.log(n / 5321) for n in COUNTS)

    for quantity, truth in (("accuracy", 794 / 5321), ("loss", entropy)):
        assert curves.reference_of(cell, quantity)[0] == pytest.approx(truth)
    assert curves.reference_of(grid_of(make_result(confusion=())).cell("MobileNet", "ON"), "loss") is None


@pytest.mark.parametrize(("loss", "side"), [(2.26, "top"), (2.16, "bottom")])
def test_the_name_of_the_reference_is_not_where_the_curves_are(loss: float, side: str) -> None:
    history = tuple({"epoch": epoch, "loss": loss, "val_loss": loss} for epoch in (1.0, 2.0, 3.0))
    grid = grid_of(make_result(make_spec(num_epochs=3), history=history))
    texts = curves.draw_cell(grid.cell("MobileNet", "ON"), "loss", Banner.of(grid)).axes[0].texts
    assert [text.get_va() for text in texts if "class shares" in text.get_text()] == [side]


def test_a_spike_puts_the_loss_on_a_log_scale() -> None:
    spiked = tuple({"epoch": e, "loss": loss, "val_loss": 2.0} for e, loss in ((1.0, 500.0), (2.0, 2.0), (3.0, 2.0)))
    grid = grid_of(make_result(make_spec(num_epochs=3), history=spiked))
    assert curves.draw_cell(grid.cell("MobileNet", "ON"), "loss", Banner.of(grid)).axes[0].get_yscale() == "log"


def test_confusion_rows_are_shares_of_the_true_class_over_seeds() -> None:
    tables = (((3, 1), (0, 4)), ((1, 3), (0, 4)))
    results = [make_result(make_spec(seed=s), confusion=t, class_names=("a", "b")) for s, t in enumerate(tables)]

    counted = confusion.confusion_of(grid_of(*results).cell("MobileNet", "ON"))

    assert counted.n == 2
    assert counted.shares.tolist() == [[0.5, 0.5], [0.0, 1.0]]
    lacking = confusion.Confusion(np.array([[0, 0], [1, 1]]), ("a", "b"), 1)
    assert lacking.shares.tolist() == [[0.0, 0.0], [0.5, 0.5]]  # of a class without galaxies


def test_confusion_figure_names_the_classes_and_writes_per_cents() -> None:
    grid = grid_of(make_result(accuracy=0.75))
    counted = confusion.confusion_of(cell := grid.cell("MobileNet", "ON"))
    figure = confusion.draw_cell(cell, counted, Banner.of(grid))
    labels = " ".join(label.get_text().replace("\n", " ") for label in figure.axes[0].get_yticklabels())

    assert all(name in labels for name in CLASS_NAMES)
    assert texts_of(figure).split().count("75") == 10


def test_sheets_say_what_is_missing_and_why() -> None:
    lost: dict[str, Any] = {"status": FAILED, "history": (), "confusion": (), "metrics": {}}
    grid = grid_of(make_result(), make_result(make_spec("VGG16", "OFF"), message="diverged", **lost))

    for figure in (curves.draw_sheet(grid, Banner.of(grid)), confusion.draw_sheet(grid, Banner.of(grid))):
        assert "FAILED: diverged" in texts_of(figure).replace("\n", " ")
        assert "missing" in texts_of(figure)


def test_confusion_figure_has_the_predicted_class_across_and_the_true_one_down() -> None:
    grid = grid_of(make_result(confusion=((3, 1), (0, 4)), class_names=("a", "b")))
    counted = confusion.confusion_of(cell := grid.cell("MobileNet", "ON"))
    (axes,) = confusion.draw_cell(cell, counted, Banner.of(grid)).axes
    assert {text.get_position(): text.get_text() for text in axes.texts} == {(0, 0): "75", (1, 0): "25", (1, 1): "100"}
    assert axes.images[0].get_array().tolist() == [[0.75, 0.25], [0, 1]]
