from __future__ import annotations

import pytest

from galaxytl.trial import SET_BY_SWEEP, SPEC_FIELDS, SpecError, TrialSpec, parse_field
from galaxytl.trial.field_help import field_help, fields_text

NOTES = {note.name: note for note in field_help()}


def test_every_field_of_a_trial_is_explained_in_a_sentence() -> None:
    assert list(NOTES) == list(SPEC_FIELDS)
    assert [name for name, note in NOTES.items() if not (note.meaning.endswith(".") and note.allowed)] == []
    assert {note.part for note in NOTES.values()} == {"data", "model", "optimisation"}


def test_defaults_are_those_of_a_trial_and_can_be_typed() -> None:
    spec = TrialSpec(dataset="d", dataset_fingerprint="f")
    for name, note in NOTES.items():
        if name in SET_BY_SWEEP:
            assert note.default == ""
        else:
            assert parse_field(name, note.default) == getattr(spec, name)


def test_what_is_allowed_is_what_a_trial_allows() -> None:
    assert NOTES["image_size"].allowed == "a whole number, at least 32, at most 1,024"
    with pytest.raises(SpecError):
        parse_field("image_size", "31")
    assert NOTES["optimizer"].allowed == "adafactor, adam, adamw, lion, nadam, rmsprop, sgd"


@pytest.mark.parametrize("width", [80, 100])
def test_all_fits_the_terminal(width: int) -> None:
    text = fields_text(width, {"backbone": ["VGG16", "MobileNet"]})
    assert max(map(len, text.splitlines())) <= width
    assert all(f"\n  {name}" in text for name in SPEC_FIELDS)
    assert "\n  backbone = MobileNet\n      VGG16, MobileNet\n      The network" in text
    assert text.index("\n  num_classes") > text.index("not to be set")
