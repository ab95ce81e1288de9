"""The optimum of softmax regression, against scikit-learn's, and what it says of a trial."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from galaxytl.learning import certificate
from galaxytl.learning.certificate import (
    RIDGE,
    WANTED_GAP,
    Features,
    Optimum,
    certificates,
    cross_entropy,
    solve,
)
from galaxytl.learning.examples import Examples
from galaxytl.learning.fit_heads import Head, fit_heads
from galaxytl.trial import COMPLETE, TrialSpec
from tests.galaxytl.learning.test_fit_heads import BASE, SILENT
from tests.galaxytl.learning.test_heads import with_votes
from tests.galaxytl.trials import run, tiny_spec

CONVEX = BASE.replace(backbone="VGG16", weights="random", weights_requested="random")


def overlapping_examples(width: int = 6) -> Examples:
    """300 examples to train on, 60 to score, whose classes cannot be told apart wholly; one feature is constant, and
    the features' scales differ by a factor of a million."""
    rng = np.random.default_rng(1)
    labels = np.arange(360) % 10
    inputs = rng.normal(size=(360, width)) + rng.normal(size=(10, width))[labels]
    inputs = inputs * np.logspace(-3, 3, width) + 5
    inputs[:, 0] = 7
    return Examples(inputs.astype(np.float32), labels, np.arange(300), np.arange(300, 360), np.arange(300, 360))


@pytest.fixture(scope="module", params=["classes", "votes"])
def examples(request: pytest.FixtureRequest) -> Examples:
    found = overlapping_examples()
    return with_votes(found) if request.param == "votes" else found


@pytest.fixture(scope="module")
def optimum(examples: Examples) -> Optimum:
    return solve(Features(examples.inputs, examples.train), examples, 10)


def scikit_learn(examples: Examples) -> tuple[float, float]:
    """Loss and F of scikit-learn's solution of the same problem: the bias is a feature that is 1."""
    raw = examples.inputs[examples.train].astype(np.float64)
    deviation = raw.std(axis=0)
    standard = (raw - raw.mean(axis=0)) / np.where(deviation > 0, deviation, np.inf)
    features, targets = np.hstack([standard, np.ones((len(raw), 1))]), examples.targets(examples.train)
    votes = targets if targets.ndim == 2 else np.eye(10)[targets]  # each image once a class, as often as it has votes
    model = LogisticRegression(C=1 / (RIDGE * len(raw)), fit_intercept=False, tol=1e-10, max_iter=10_000)
    model.fit(np.repeat(features, 10, axis=0), np.tile(np.arange(10), len(raw)), sample_weight=votes.ravel())
    loss = cross_entropy(features @ model.coef_.T, targets)
    return loss, loss + RIDGE / 2 * float(np.square(model.coef_).sum())


def test_it_is_the_optimum_that_scikit_learn_finds(examples: Examples, optimum: Optimum) -> None:
    loss, best = scikit_learn(examples)

    assert optimum.gap_bound <= WANTED_GAP
    assert optimum.gap_bound == pytest.approx(optimum.gradient_norm**2 / (2 * RIDGE))
    assert loss == pytest.approx(optimum.optimal_loss, abs=0.01)
    assert best <= loss + optimum.gap_bound + 0.1
    assert 0.3 < optimum.optimal_train_accuracy < 1
    assert 0.1 < optimum.optimal_accuracy < 1


def test_the_bound_holds_wherever_the_solver_stops(examples: Examples, monkeypatch: pytest.MonkeyPatch) -> None:
    _, best = scikit_learn(examples)
    gaps = []
    for iterations in (1, 3, 10, 30):
        monkeypatch.setattr(certificate, "MOST_ITERATIONS", iterations)
        found = solve(Features(examples.inputs, examples.train), examples, 10)
        gaps.append((found.optimal_loss - best, found.gap_bound))

    assert all(gap <= bound for gap, bound in gaps)  # F(w') - min F >= L(w') - min F
    assert [bound for _, bound in gaps] == sorted((bound for _, bound in gaps), reverse=True)


def test_features_in_parts_are_the_features(
    examples: Examples, monkeypatch: pytest.MonkeyPatch, optimum: Optimum
) -> None:
    monkeypatch.setattr(certificate, "ROWS_AT_ONCE", 7)
    monkeypatch.setattr(certificate, "IN_MEMORY_BYTES", 0)

    assert asdict(solve(Features(examples.inputs, examples.train), examples, 10)) == pytest.approx(
        asdict(optimum), rel=0.02
    )


def test_the_longer_a_head_trains_the_nearer_it_comes(
    examples: Examples, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Never below: its loss is at least the infimum, which the ridge and the bound keep near."""
    monkeypatch.setenv("GALAXYTL_CACHE_DIR", str(tmp_path / "cache"))
    specs = [CONVEX.replace(learning_rate=0.01, num_epochs=epochs) for epochs in (1, 5, 40)]
    centred = examples.inputs - examples.inputs.mean(axis=0)
    scaled = centred / np.maximum(centred.std(axis=0), 1e-6)
    easier = replace(examples, inputs=scaled.astype(np.float32))

    group = fit_heads(specs, easier, tmp_path, SILENT)
    found = certificates(group, easier)

    excess = [one["excess_loss"] for one in found]
    assert excess == sorted(excess, reverse=True)
    assert excess[0] > 3 * excess[2] > -0.03
    assert all(one["trial_loss"] - one["optimal_loss"] == one["excess_loss"] for one in found)
    assert len({one["optimal_loss"] for one in found}) == 1
    monkeypatch.setattr(certificate, "MOST_WEIGHTS", 10 * 5)  # its features have a width of 6
    assert certificates(group, easier) == [{}] * 3


def test_a_head_that_diverged_has_none(examples: Examples, tmp_path: Path) -> None:
    whole = fit_heads([CONVEX.replace(num_epochs=1)], examples, tmp_path, SILENT)
    lost = Head(CONVEX.replace(seed=5), {}, diverged="the loss became nan")

    assert certificates([lost], examples) == [{}]
    smooth = Head(CONVEX.replace(label_smoothing=0.1), whole[0].state)  # far from an optimum that it is not led to
    assert [bool(one) for one in certificates([lost, smooth, *whole], examples)] == [False, False, True]


def test_trials_of_other_optimizers_share_it(
    examples: Examples, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GALAXYTL_CACHE_DIR", str(tmp_path / "cache"))
    spec = CONVEX.replace(dataset_fingerprint="1" * 64)
    first = certificate.known_optimum(spec, examples)
    monkeypatch.setattr(certificate, "solve", lambda *arguments: pytest.fail("solved twice"))

    assert certificate.known_optimum(spec.replace(optimizer="sgd", learning_rate=1.0, seed=0), examples) == first
    with pytest.raises(pytest.fail.Exception, match="solved twice"):
        certificate.known_optimum(spec.replace(split_seed=1), examples)


@pytest.mark.usefixtures("toy_backbone")
def test_a_row_says_how_far_its_trial_is_from_the_optimum(galaxies_file: Path, tmp_path: Path) -> None:
    def certificate_of(spec: TrialSpec, diagnostics: bool) -> dict[str, float]:
        row = run(spec, galaxies_file, tmp_path / str(diagnostics), diagnostics=diagnostics)
        assert row.status == COMPLETE, row.message
        return row.certificate

    spec = tiny_spec(galaxies_file)
    found = certificate_of(spec, True)
    assert found["gap_bound"] <= WANTED_GAP
    assert found["excess_loss"] == pytest.approx(found["trial_loss"] - found["optimal_loss"])
    assert found["trial_loss"] > found["optimal_loss"] + 1
    assert certificate_of(spec, False) == {}
    for other in ({"head_units": 4}, {"class_weighting": "balanced"}, {"weight_decay": 0.1}):
        assert certificate_of(spec.replace(**other), True) == {}
