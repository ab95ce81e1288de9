from __future__ import annotations

import numpy as np
import pytest

from galaxytl.classify.predictions import entropies
from galaxytl.learning.augmentation.symmetries import symmetries
from galaxytl.results.temperature import tempered


def test_the_square_has_eight_symmetries() -> None:
    image = np.arange(2 * 3 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3, 3)
    views = list(symmetries(image))
    assert len({view.tobytes() for view in map(np.ascontiguousarray, views)}) == 8
    assert (views[0] == image).all()
    assert all(sorted(view[1].ravel().tolist()) == sorted(image[1].ravel().tolist()) for view in views)


def test_calibrated_probabilities_are_those_of_divided_logits() -> None:
    logits = np.array([[3.0, 0.5, -2.0], [900.0, 0.0, 1.0]])

    def softmax(values: np.ndarray) -> np.ndarray:
        powers = np.exp(values - values.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True)

    found = tempered(softmax(logits), 2.5)
    assert found[0] == pytest.approx(softmax(logits / 2.5)[0], abs=1e-12)
    assert found.sum(axis=1) == pytest.approx([1, 1])
    assert np.isfinite(found).all()


def test_entropies_are_of_nothing_known_and_of_certainty() -> None:
    assert entropies(np.array([[0.25] * 4, [1, 0, 0, 0]])).tolist() == pytest.approx([np.log(4), 0])
