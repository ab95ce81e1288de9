from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from galaxytl.trial import COMPLETE, TrialResult, TrialSpec
from galaxytl.trial.convexity import is_convex
from tests.galaxytl.trial.test_spec import SPEC, specs

scores = st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=4), st.floats(), max_size=3)
epochs = scores.map(lambda own: {"epoch": 1, **own})
count = st.integers(0, 2**40)


@pytest.mark.parametrize(("num_classes", "most_bytes"), [(2, 2e3), (37, 10e3), (100, 30e3), (1000, 100e3)])
def test_a_row_of_many_classes_is_small_and_has_all_counts(num_classes: int, most_bytes: float) -> None:
    """Of 10 images a class, a third of which are taken for another class."""
    labels = [n % num_classes for n in range(10 * num_classes)]
    counts = [[0] * num_classes for _ in range(num_classes)]
    for n, label in enumerate(labels):
        counts[label][(label + (n % 3 == 0) * n) % num_classes] += 1
    confusion = tuple(map(tuple, counts))
    result = TrialResult(spec=SPEC.replace(num_classes=num_classes), status=COMPLETE, confusion=confusion)
    text = json.dumps(result.to_dict(), separators=(",", ":"))
    back = TrialResult.from_dict(json.loads(text))
    assert len(text) < most_bytes
    assert back == result
    assert hash(back.confusion) == hash(confusion)
    assert back.confusion[-1] == confusion[-1]
    assert sum(map(sum, back.confusion)) == 10 * num_classes
    assert back.to_dict() == json.loads(text)
    others = TrialResult.from_dict(json.loads(json.dumps(result.to_dict() | {"confusion": counts})))
    assert others == result  # as an earlier version has them, with all zeros


@settings(max_examples=15)
@given(specs, st.lists(epochs, max_size=3), scores, st.lists(st.tuples(count, count), min_size=2, max_size=2))
def test_a_row_survives_json(
    spec: TrialSpec, history: list[Any], metrics: dict[str, float], confusion: list[Any]
) -> None:
    """All of it; of numbers that JSON lacks, that they are none."""
    certificate = metrics if is_convex(spec) else {}  # others of earlier versions are dropped
    parts = {"history": tuple(history), "metrics": metrics, "confusion": tuple(confusion), "certificate": certificate}
    diagnostics = ({"epoch": 0, "loss": 1.0, "logit_spread": 0.5, "gradient_norms": metrics, "dead_shares": {}},)
    result = TrialResult(spec=spec, status=COMPLETE, class_names=("a", "b"), diagnostics=diagnostics, **parts)
    back = TrialResult.from_dict(json.loads(json.dumps(result.to_dict(), allow_nan=False)))
    assert back.to_dict() == result.to_dict()
    assert (back.spec, back.confusion, back.class_names) == (spec, tuple(confusion), ("a", "b"))
    found = [*back.history, back.metrics, back.certificate, back.diagnostics[0]["gradient_norms"]]
    for one, before in zip(found, [*history, metrics, certificate, metrics], strict=True):
        assert one == {
            name: value if math.isfinite(value) else pytest.approx(math.nan, nan_ok=True)
            for name, value in before.items()
        }


def test_row_of_another_spec_is_refused() -> None:
    row = TrialResult(spec=SPEC, status=COMPLETE).to_dict()
    row["spec"]["seed"] = 5
    with pytest.raises(ValueError, match="trial_id must be the hash"):
        TrialResult.from_dict(row)
