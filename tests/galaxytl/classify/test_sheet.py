from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from galaxytl.classify.result import Summary
from galaxytl.classify.sheet import HEADER, TILE, Example, examples, write_sheet


def summary(classes: list[int], probabilities: list[float]) -> Summary:
    rows = np.arange(len(classes))
    return Summary(("a", "b", "c"), rows, np.array(classes), np.array(probabilities), 0, "")


def test_examples_are_the_most_and_the_least_certain_of_each_class() -> None:
    found = summary([0, 0, 0, 0, 0, 2, 2], [0.9, 0.5, 0.7, 0.6, 0.8, 0.5, 0.4])
    assert examples(found, most=4) == [0, 1, 5, 6]
    assert examples(found, most=24) == [0, 4, 2, 3, 1, 5, 6]
    assert examples(summary([1], [0.4])) == [0]


def test_of_many_classes_the_most_frequent_are_shown() -> None:
    found = summary([2, 0, 1, 1, 2], [0.5] * 5)
    assert {int(found.classes[place]) for place in examples(found, most=4)} == {1, 2}


def test_a_sheet_shows_each_image_and_where_its_heat_is(tmp_path: Path) -> None:
    heat = np.zeros((4, 4), np.float32)
    heat[:, :2] = 1
    pixels = np.full((32, 32, 3), 90, np.uint8)
    shown = [Example(pixels, heat, "Merging", 0.97, "a_very_long_name" * 20 + "\x1b[2J.jpg")] * 5
    write_sheet(tmp_path / "sheet.png", shown, "title")
    with Image.open(tmp_path / "sheet.png") as sheet:
        image = np.asarray(sheet.convert("RGB")).astype(int)
    tile = image[HEADER : HEADER + TILE, 12 + TILE : 12 + 2 * TILE]
    red = tile[..., 0] - tile[..., 2]
    assert red[:, : TILE // 4].min() > 50
    assert abs(red[:, 3 * TILE // 4 :]).max() < 5
