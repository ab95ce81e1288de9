from __future__ import annotations

import json
import math

import pytest

from galaxytl.trial import COMPLETE, SpecError, TrialResult, TrialSpec, parse_field, seed_for

SPEC = TrialSpec(dataset="simulated", dataset_fingerprint="0f3a", backbone="VGG16")


def test_equal_specs_have_equal_ids() -> None:
    assert SPEC.replace().trial_id == SPEC.trial_id
    assert TrialSpec.from_dict(json.loads(json.dumps(SPEC.to_dict()))).trial_id == SPEC.trial_id


def test_id_is_the_same_on_every_machine() -> None:
    """A change of this value makes every finished trial of every user run again: only ever on purpose."""
    assert SPEC.trial_id == "d9dd33d351bf4c12"


@pytest.mark.parametrize(
    "change",
    [{"seed": 1}, {"learning_rate": 2e-3}, {"dataset_fingerprint": "0f3b"}, {"weights": "random"}, {"shuffle_seed": 1}],
)
def test_every_field_counts_in_the_id(change: dict[str, object]) -> None:
    assert SPEC.replace(**change).trial_id != SPEC.trial_id


def test_substituted_weights_say_so() -> None:
    assert SPEC.replace(weights="random").weights_label == "random (ImageNet weights not found)"
    assert SPEC.replace(weights="random", weights_requested="random").weights_label == "random"
    assert SPEC.weights_label == "ImageNet"


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("learning_rate", "1e-4", 1e-4),
        ("learning_rate", "1", 1.0),
        ("unfrozen_blocks", "all", "all"),
        ("unfrozen_blocks", "0", 0),
        ("stratified", "True", True),
        ("optimizer", "sgd", "sgd"),
        ("backbone", "VGG16", "VGG16"),
    ],
)
def test_parse_field(name: str, text: str, value: object) -> None:
    parsed = parse_field(name, text)
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("learning_rat", "1", "Did you mean 'learning_rate'"),
        ("learning_rate", "fast", "learning_rate must be a number; got 'fast'"),
        ("learning_rate", "0", "greater than 0; got 0.0"),
        ("learning_rate", "NaN", "must be a number; got 'NaN'"),
        ("learning_rate", "-1", "greater than 0"),
        ("batch_size", "1.5", "a whole number; got 1.5"),
        ("batch_size", "true", "a whole number; got True"),
        ("batch_size", "0", "at least 1"),
        ("image_size", "16", "at least 32 and at most 1024; got 16"),
        ("optimizer", "adm", "must be one of adam, rmsprop, sgd; got 'adm'. Did you mean 'adam'"),
        ("stratified", "yes", "true or false; got 'yes'"),
        ("unfrozen_blocks", "-3", "must be 0"),
    ],
)
def test_bad_values_name_the_rule_and_the_value(name: str, text: str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse_field(name, text)
    assert message in str(caught.value)


def test_momentum_belongs_to_sgd_and_rmsprop() -> None:
    with pytest.raises(SpecError, match="momentum"):
        SPEC.replace(momentum=0.9)
    assert SPEC.replace(optimizer="sgd", momentum=0.9).momentum == 0.9


def test_seeds_have_a_purpose_each() -> None:
    assert seed_for(SPEC, "init") != seed_for(SPEC, "shuffle")
    assert seed_for(SPEC, "init") != seed_for(SPEC.replace(seed=1), "init")
    assert seed_for(SPEC, "shuffle") == seed_for(SPEC.replace(seed=1), "shuffle")


def test_result_survives_json_with_nan() -> None:
    result = TrialResult(
        spec=SPEC,
        status=COMPLETE,
        history=({"epoch": 1, "loss": math.nan},),
        confusion=((1, 0), (0, 2)),
        diagnostics=({"epoch": 0, "gradient_norms": {"output": math.inf}},),
        certificate={"trial_loss": math.nan},
    )
    row = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    back = TrialResult.from_dict(row)
    assert math.isnan(back.history[0]["loss"])
    assert math.isnan(back.diagnostics[0]["gradient_norms"]["output"])
    assert math.isnan(back.certificate["trial_loss"])
    assert back.spec == SPEC
    assert back.confusion == result.confusion


def test_row_of_another_spec_is_refused() -> None:
    row = TrialResult(spec=SPEC, status=COMPLETE).to_dict()
    row["spec"]["seed"] = 5
    with pytest.raises(ValueError, match="trial_id must be the hash"):
        TrialResult.from_dict(row)
