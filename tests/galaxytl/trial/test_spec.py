from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from galaxytl.trial import SPEC_FIELDS, SpecError, TrialSpec, parse_field, seed_for
from galaxytl.trial.rules import broken_rules

SPEC = TrialSpec(dataset="simulated", dataset_fingerprint="0f3a", backbone="VGG16")


def values_of(name: str) -> st.SearchStrategy[Any]:
    """What a field may hold."""
    rule = SPEC_FIELDS[name]
    if name == "unfrozen_blocks":
        return st.just("all") | st.integers(0, 20)
    if name == "unfreeze_stages":
        return st.sampled_from(["", "0,1", "0,2,all"])
    if choices := rule.metadata.get("choices"):
        return st.sampled_from(choices)
    low, high = rule.metadata.get("low"), min(rule.metadata.get("high", 0), 2**40)
    kinds = {
        "str": st.text(max_size=6),
        "bool": st.booleans(),
        "int": st.integers(low, high),
        "float": st.floats(low, high, exclude_min=rule.metadata.get("open_low", False)),
    }
    return kinds[str(rule.type)]


def allowed(values: dict[str, Any]) -> TrialSpec:
    """The spec of these values, but of those that exclude each other: they are the defaults."""
    while broken := next(broken_rules(SimpleNamespace(**values)), None):
        values = values | {name: SPEC_FIELDS[name].default for name in broken[1]}
    return TrialSpec(**values)


specs = st.fixed_dictionaries({name: values_of(name) for name in SPEC_FIELDS}).map(allowed)


@settings(max_examples=25)
@given(specs, specs)
def test_a_spec_survives_json_and_every_field_counts_in_its_id(spec: TrialSpec, other: TrialSpec) -> None:
    back = TrialSpec.from_dict(json.loads(json.dumps(spec.to_dict())))
    assert (back, back.trial_id) == (spec, spec.trial_id)
    for name in SPEC_FIELDS:
        mixed = allowed(spec.fields() | {name: getattr(other, name)})
        assert (mixed.trial_id == spec.trial_id) == (mixed == spec)


def test_id_is_the_same_on_every_machine() -> None:
    """A change of this value makes every finished trial of every user run again: only ever on purpose."""
    assert SPEC.trial_id == "d9dd33d351bf4c12"


@settings(max_examples=25)
@given(specs)
def test_the_command_line_can_say_every_value(spec: TrialSpec) -> None:
    for name, value in spec.to_dict().items():
        parsed = parse_field(name, str(value))
        assert (parsed, type(parsed)) == (value, type(value))
    assert type(parse_field("learning_rate", "1")) is float


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("learning_rat", "1", "Did you mean 'learning_rate'"),
        ("learning_rate", "fast", "learning_rate must be a number; got 'fast'"),
        ("learning_rate", "0", "greater than 0; got 0.0"),
        ("learning_rate", "NaN", "must be a number; got 'NaN'"),
        ("batch_size", "1.5", "a whole number; got 1.5"),
        ("batch_size", "true", "a whole number; got True"),
        ("batch_size", "0", "at least 1"),
        ("image_size", "1025", "at least 32 and at most 1024; got 1025"),
        ("optimizer", "adm", "adam, adamw, lion, nadam, rmsprop, sgd; got 'adm'. Did you mean 'adam'"),
        ("stratified", "yes", "true or false; got 'yes'"),
        ("unfrozen_blocks", "-3", "must be 0"),
    ],
)
def test_bad_values_name_the_rule_and_the_value(name: str, text: str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse_field(name, text)
    assert message in str(caught.value)


@pytest.mark.parametrize("changes", [{"momentum": 0.9}, {"head_dropout": 0.5}, {"scored_on": "validation"}], ids=str)
def test_settings_of_what_is_not_there_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(SpecError, match=next(iter(changes))):
        SPEC.replace(**changes)


def test_substituted_weights_say_so() -> None:
    assert SPEC.replace(weights="random").weights_label == "random (ImageNet weights not found)"
    assert SPEC.replace(weights="random", weights_requested="random").weights_label == "random"
    assert SPEC.weights_label == "ImageNet"


def test_seeds_have_a_purpose_each() -> None:
    assert seed_for(SPEC, "init") != seed_for(SPEC, "shuffle")
    assert seed_for(SPEC, "init") != seed_for(SPEC.replace(seed=1), "init")
    assert seed_for(SPEC, "shuffle") == seed_for(SPEC.replace(seed=1), "shuffle")


def test_adamw_without_weight_decay_is_adam_and_gradients_are_clipped_in_one_way() -> None:
    with pytest.raises(SpecError, match="adamw wants a weight_decay: without one it is adam; got optimizer=adamw"):
        SPEC.replace(optimizer="adamw")
    with pytest.raises(SpecError, match=r"clipped in one way; got clipnorm=1\.0, clipvalue=0\.5"):
        SPEC.replace(optimizer="adamw", weight_decay=0.1, clipnorm=1.0, clipvalue=0.5)
