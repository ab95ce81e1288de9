"""What else a collapse may come from."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from analysis.collapse.answer import Beside
from analysis.collapse.rivals import Effect, attribute, examine_rivals, uncertainty_coefficient
from analysis.collapse.sections import collapse_sections
from analysis.collapse.verdict import study_collapse
from analysis.statistics.intervals import Share, holm
from galaxytl.trial import TrialResult
from tests.analysis.collapsing import always, by_preprocessing, by_rate, collapsing, factorial, never
from tests.analysis.fakes import make_spec

TRAINABLE = {"VGG16": 250_890, "MobileNet": 501_770, "ResNet50": 1_003_530}


def controls(seeds: int = 6) -> list[TrialResult]:
    """Frozen networks at the paper's setting: VGG16 collapses, the others learn."""
    return [
        collapsing(
            make_spec(backbone, "ON", validation_fraction=0.1, seed=seed),
            lambda spec: spec.backbone == "VGG16",
            num_parameters={"total": 10 * count, "trainable": count},
        )
        for backbone, count in TRAINABLE.items()
        for seed in range(seeds)
    ]


def test_preprocessing_that_prevents_the_collapse_is_found() -> None:
    rivals = examine_rivals(factorial(by_preprocessing))

    found = {(c.arm, c.factor): c for c in rivals.contrasts}
    own = found["ON", "preprocessing"]
    assert (own.paper_level, own.other_level) == ("pixels / 255", "the backbone's own")
    assert (own.paper, own.other) == (Share(6, 6), Share(0, 6))
    assert own.corrected < 0.05
    assert rivals.attribution[0].factor == "preprocessing"
    assert rivals.attribution[0].explained == pytest.approx(1)


def test_the_learning_rate_is_what_the_collapse_goes_with() -> None:
    first, *others = examine_rivals(factorial(by_rate)).attribution

    assert first.factor in {"learning rate", "optimizer and learning rate"}
    assert first.explained == pytest.approx(1)
    by_factor = {one.factor: one for one in others}
    assert by_factor["preprocessing"].explained == pytest.approx(0, abs=1e-9)
    assert by_factor["seed"].explained < 0.01
    assert [level.level for level in by_factor["seed"].levels] == ["0", "1", "2", "3", "4", "5"]


def test_where_all_or_nothing_collapses_there_is_nothing_to_attribute() -> None:
    assert attribute(factorial(always)) == []
    assert attribute(factorial(never)) == []
    assert attribute([]) == []


def test_one_thing_is_changed_at_a_time() -> None:
    frozen_random = {"weights": "random", "weights_requested": "random", "weights_fingerprint": ""}
    results = [
        *factorial(by_rate),
        *factorial(never, arms=["ON"], **frozen_random),
        *factorial(never, arms=["ON"], num_epochs=50),
        *controls(),
    ]
    contrasts = examine_rivals(list({r.trial_id: r for r in results}.values())).contrasts

    assert {(c.factor, c.other_level) for c in contrasts if c.arm == "ON"} == {
        *(("preprocessing", "the backbone's own"), ("start", "random"), ("epochs", "50")),
        *(("network", "MobileNet"), ("network", "ResNet50")),
    }
    assert all(c.paper == Share(6, 6) for c in contrasts)


def test_vgg_trains_the_fewest_weights() -> None:
    """Of more seeds at another setting, which are not counted, too."""
    larger = [replace(r, spec=r.spec.replace(image_size=256)) for r in controls(9) if r.spec.backbone != "VGG16"]
    results = [*controls(), *larger]
    rivals = examine_rivals(results)

    assert [(p.backbone, p.trainable, p.collapsed) for p in rivals.parameters] == [
        ("VGG16", 250_890, Share(6, 6)),
        ("MobileNet", 501_770, Share(0, 6)),
        ("ResNet50", 1_003_530, Share(0, 6)),
    ]
    sections = {s.heading: s for s in collapse_sections(study_collapse(results), Beside(rivals), results)}
    own = sections["The paper's own explanation: the number of parameters"]
    assert own.sentences == ("VGG16 trains the fewest weights: too many of them cannot be why it fails in the paper.",)


def test_the_coefficient_is_a_share_of_entropy() -> None:
    outcome = np.array([True, True, False, False, True, True, False, False])
    half_known = np.array([0, 0, 0, 0, 1, 1, 2, 2])

    assert uncertainty_coefficient(outcome.astype(int), outcome) == pytest.approx(1)
    assert uncertainty_coefficient(np.zeros(8, int), outcome) == pytest.approx(0)
    assert uncertainty_coefficient(half_known, outcome) == pytest.approx(0.5)


def test_stand_ins_are_never_called_imagenet() -> None:
    stand_in = {"weights": "random", "weights_fingerprint": ""}
    rivals = examine_rivals(
        [r if r.spec.backbone == "MobileNet" else replace(r, spec=r.spec.replace(**stand_in)) for r in controls()]
    )

    missing = ", random weights (ImageNet weights not found)"
    assert {c.arm for c in rivals.contrasts} == {f"ON{missing}"}
    assert [p.label for p in rivals.parameters] == [f"VGG16{missing}", "MobileNet", f"ResNet50{missing}"]


def test_contrasts_are_corrected_for_their_number() -> None:
    contrasts = examine_rivals([*factorial(by_preprocessing), *factorial(never, arms=["ON"], num_epochs=50)]).contrasts
    assert len(contrasts) > 2
    assert [c.corrected for c in contrasts] == pytest.approx(holm([c.p_value for c in contrasts]))
    assert all(c.corrected > c.p_value for c in contrasts if c.p_value < 0.1)


def effects(results: list[TrialResult], arm: str = "ON") -> dict[str, Effect]:
    return {c.change: c.effect for c in examine_rivals(results, study_collapse(results).arms).of(arm)}


def test_what_a_contrast_says_of_its_rival() -> None:
    rate = by_rate
    cases = [
        (factorial(lambda s: rate(s) and by_preprocessing(s), seeds=5), Effect.REMOVES),
        (factorial(rate, seeds=5), Effect.KEEPS),
        (factorial(lambda s: rate(s) and (by_preprocessing(s) or s.seed < 2), seeds=4), Effect.UNDECIDED),
        (factorial(lambda s: rate(s) and by_preprocessing(s), seeds=2), Effect.TOO_FEW),
        (
            [
                r if by_preprocessing(r.spec) else replace(r, environment={"galaxytl": "9.9"})
                for r in factorial(lambda s: rate(s) and by_preprocessing(s), seeds=5)
            ],
            Effect.CONFOUNDED,
        ),
    ]
    for results, expected in cases:
        assert effects(results)["the backbone's own preprocessing"] is expected


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the collapse goes with by chance takes longest, and no test here reads it to a digit."""
    monkeypatch.setattr("analysis.collapse.rivals.PERMUTATIONS", 20)


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"num_epochs": 50}, "training for 50 epochs in place of 20"),
        ({"num_epochs": 10}, "training for 10 epochs in place of 20"),
        (
            {"weights": "random", "weights_requested": "random", "weights_fingerprint": ""},
            "a start from random weights",
        ),
        ({"unfrozen_blocks": 2}, "2 blocks trained"),
        ({"unfrozen_blocks": "all"}, "all blocks trained"),
        ({"image_size": 64}, "image size 64"),
        ({"augmentation": True}, "augmentation true"),
        ({"mixup": 0.2}, "mixup 0.2"),
        ({"label_smoothing": 0.1}, "label smoothing 0.1"),
        ({"ema_momentum": 0.99}, "averaged weights 0.99, 0"),
        ({"early_stopping": 3, "scored_epoch": "best"}, "early stopping 3, best"),
        ({"class_weighting": "balanced"}, "class weights balanced"),
        ({"head_units": 64}, "hidden layer 64, 0.0"),
        ({"max_images": 500}, "images 500"),
        ({"precision": "mixed_float16"}, "precision mixed_float16"),
        ({"stratified": True}, "stratified true"),
        ({"test_fraction": 0.2}, "test part 0.2"),
        ({"validation_fraction": 0.2}, "validation part 0.2"),
        ({"group_by_sky": True, "groups_fingerprint": "beef"}, "groups by sky true"),
        ({"group_by": "field", "groups_fingerprint": "beef"}, "groups by field"),
        ({"official_split": "beef" * 16}, "the dataset's own split"),
    ],
)
def test_whatever_is_changed_alone_and_removes_the_collapse_is_a_rival(changes: dict[str, Any], name: str) -> None:
    results = [*factorial(by_rate, seeds=5, arms=["ON"]), *factorial(never, seeds=5, arms=["ON"], **changes)]
    base = [r for r in factorial(by_rate, seeds=5, arms=["ON"]) if by_preprocessing(r.spec)]
    rivals = examine_rivals(results, study_collapse(base).arms)

    assert {c.change for c in rivals.of("ON", Effect.REMOVES)} == {name}


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"warmup_epochs": 2.0}, "a warm-up of 2 epochs"),
        ({"warmup_steps": 1}, "a warm-up of 1 step"),
        ({"schedule": "cosine", "learning_rate_floor": 0.1}, "a cosine schedule down to 0.1"),
        ({"schedule": "step", "step_epochs": 5.0}, "a step schedule by 0.1 every 5 epochs"),
        ({"clipvalue": 0.5}, "gradients clipped to values of 0.5"),
        ({"global_clipnorm": 1.0}, "gradients clipped to a norm of 1"),
        ({"batch_size": 4}, "batch size 4"),
    ],
)
def test_a_setting_of_the_optimizer_is_a_cure_and_no_rival(changes: dict[str, Any], name: str) -> None:
    base = factorial(by_rate, seeds=5, arms=["ON"])
    rivals = examine_rivals([*base, *factorial(never, seeds=5, arms=["ON"], **changes)], study_collapse(base).arms)

    assert {(c.change, c.effect) for c in rivals.cures("ON")} == {(name, Effect.REMOVES)}
    assert {c.change for c in rivals.of("ON")} == {"the backbone's own preprocessing"}


def test_cures_are_tried_at_other_settings_too_and_what_is_told_of_the_papers_does_not_hang_on_them() -> None:
    base = factorial(by_rate, arms=["OFF"])
    warm = [r for r in factorial(never, arms=["OFF"], warmup_epochs=2.0) if r.spec.optimizer == "sgd"]
    alone, beside = (examine_rivals(results, study_collapse(base).arms) for results in (base, [*base, *warm]))

    found = [c for c in beside.contrasts if c.reference]
    assert {(c.arm, c.reference, c.change, c.effect) for c in found} == {
        ("random, all trained", f"sgd 0.01, momentum 0.9, {way}", "a warm-up of 2 epochs", Effect.REMOVES)
        for way in ("pixels / 255", "the backbone's own")
    }
    assert [c.corrected for c in found] == pytest.approx(holm([c.p_value for c in found]))
    assert [c for c in beside.contrasts if not c.reference] == list(alone.contrasts)


def test_what_was_not_tried_is_named_and_fewer_epochs_are_not_more() -> None:
    results = [*factorial(by_rate, arms=["ON"]), *factorial(always, arms=["ON"], num_epochs=10)]
    arms = [arm for arm in study_collapse(factorial(by_rate, arms=["ON"])).arms if arm.paper]

    assert examine_rivals(results, arms).untried("ON") == (
        "training for more epochs",
        "another start",
        "another network",
    )
    more = [*results, *factorial(always, arms=["ON"], num_epochs=50)]
    assert examine_rivals(more, arms).untried("ON") == ("another start", "another network")


def test_rivals_do_not_hang_on_the_order_of_the_rows() -> None:
    results = [*factorial(by_rate), *factorial(never, num_epochs=50), *controls()]
    shuffled = random.Random(0).sample(results, len(results))

    assert examine_rivals(shuffled).contrasts == examine_rivals(results).contrasts
