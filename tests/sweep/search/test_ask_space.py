"""Spaces: the default one, users' own, what is pinned, and specs traced back to the parameters that give them."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest

from galaxytl.trial import SpecError, TrialSpec
from sweep import space as spaces
from sweep.grids import axes, builtin
from sweep.search.ask_space import ParameterMatch, SpaceError, SpaceSampler, load_space, parameters_of
from sweep.search.trials import rehearse
from sweep.space import DEFAULT, Facts, Suggests, space
from tests.sweep.searches import make_problem

FACTS = Facts(
    32,
    ("VGG16", "ResNet50", "MobileNet", "EfficientNetB0"),
    {"VGG16": 5, "ResNet50": 17, "MobileNet": 13, "EfficientNetB0": 1},
    frozenset({"EfficientNetB0"}),
)
BASE = TrialSpec(dataset="simulated", dataset_fingerprint="0f3a", validation_fraction=0.1, scored_on="validation")


def suggestions(sampler: SpaceSampler, number: int) -> Iterator[tuple[optuna.Trial, dict[str, Any]]]:
    """Random ones of a real study, and the fields they gave."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(number):
        trial = study.ask()
        yield trial, sampler(trial)


def spec_of(fields: dict[str, Any]) -> TrialSpec:
    return BASE.replace(**fields, weights_requested=fields.get("weights", BASE.weights))


def rounded(parameters: dict[str, Any]) -> dict[str, Any]:
    """Without the last digits: Optuna's third step of 0.1 is 0.30000000000000004."""
    return {name: round(value, 12) if isinstance(value, float) else value for name, value in parameters.items()}


def given_by(match: ParameterMatch | None, sampler: SpaceSampler) -> dict[str, Any]:
    """What the space gives for the parameters that were found."""
    assert match is not None
    return sampler(optuna.trial.FixedTrial(match.params))


# The default space


def test_default_space_gives_trials_that_can_be() -> None:
    specs = [spec_of(fields) for _, fields in suggestions(SpaceSampler(space, FACTS), 400)]
    assert {spec.optimizer for spec in specs} == {"adam", "sgd", "rmsprop"}
    assert len({spec.trial_id for spec in specs}) == 400
    scalings = {name: {spec.preprocessing for spec in specs if spec.backbone == name} for name in FACTS.backbones}
    both = {"backbone", "divide_by_255"}
    assert scalings == dict.fromkeys(FACTS.backbones, both) | {"EfficientNetB0": {"backbone"}}
    for name, number in FACTS.num_blocks.items():
        depths = {spec.unfrozen_blocks for spec in specs if spec.backbone == name}
        assert {0, "all"} <= depths <= {0, "all", *range(1, max(2, number))}
    assert {spec.unfrozen_blocks for spec in specs if spec.backbone == "VGG16"} == {0, 1, 2, 3, 4, "all"}


def test_a_seed_gives_the_suggestions_that_it_always_gave() -> None:
    """Whatever optimizers and spaces came since: a search that was begun before goes on as it would have."""
    found = [fields for _, fields in suggestions(SpaceSampler(space, FACTS), 50)]
    assert found[7] == {
        **{"backbone": "MobileNet", "weights": "imagenet", "preprocessing": "divide_by_255", "unfrozen_blocks": 7},
        **{"head_units": 64, "head_dropout": 0.3, "optimizer": "rmsprop", "learning_rate": 9.121188950410495e-05},
        **{"weight_decay": 0.01, "augmentation": True, "class_weighting": "balanced"},
    }
    digest = hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()
    assert digest == "6740dc243079faa6da2d3ebc91d102b30226aa27fac6ce80419e3124282660d6"


# The other spaces that can be named

OTHERS = {"wide": spaces.wide, "best_in_an_hour": spaces.best_in_an_hour, "optimizer": spaces.optimizer}
PINNED = {
    "wide": {"unfrozen_blocks": (2,)},
    "best_in_an_hour": {"head_units": (64,)},
    "optimizer": {"warmup_epochs": (0.5,)},
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_spaces_give_trials_that_can_be_and_are_found_again(name: str) -> None:
    sampler = SpaceSampler(OTHERS[name], FACTS)
    assert load_space(f"sweep.space:{name}") is OTHERS[name]
    specs = []
    for trial, fields in suggestions(sampler, 200):
        specs.append(spec_of(fields))
        match = parameters_of(sampler, specs[-1].to_dict() | fields)
        assert match is not None
        assert (rounded(match.params), match.fields) == (rounded(trial.params), fields)
        assert match.distributions == trial.distributions
    assert len({spec.trial_id for spec in specs}) == 200
    assert {spec.backbone for spec in specs} == set(FACTS.backbones)
    assert {s.preprocessing for s in specs if s.backbone in FACTS.scales_pixels} == {"backbone"}


@pytest.mark.parametrize("name", OTHERS)
def test_other_spaces_can_be_pinned(name: str) -> None:
    pinned = {"backbone": ("VGG16",), **PINNED[name]}
    for trial, fields in suggestions(SpaceSampler(OTHERS[name], FACTS, pinned), 50):
        assert {field: (fields[field],) for field in pinned} == pinned
        assert not {parameter.partition("@")[0] for parameter in trial.params} & pinned.keys()
        assert spec_of(fields).backbone == "VGG16"


def test_other_spaces_vary_what_they_say() -> None:
    def varied(name: str) -> set[str]:
        fields = [fields for _, fields in suggestions(SpaceSampler(OTHERS[name], FACTS), 100)]
        return {field for own in fields for field in own if len({one.get(field) for one in fields}) > 1}

    steps = {"schedule", "warmup_epochs", "global_clipnorm"}
    of_optimizer = {"optimizer", "learning_rate", "momentum", "weight_decay", *steps}
    assert varied("optimizer") == {"backbone", "batch_size", "preprocessing", *of_optimizer}
    default = {field for _, fields in suggestions(SpaceSampler(space, FACTS), 100) for field in fields}
    assert varied("wide") == default | steps | {"learning_rate_decay", "label_smoothing", "ema_momentum"}
    heads = [fields for _, fields in suggestions(SpaceSampler(OTHERS["best_in_an_hour"], FACTS), 50)]
    assert {(own["weights"], own["unfrozen_blocks"]) for own in heads} == {("imagenet", 0)}


def test_the_papers_trials_are_in_the_default_space() -> None:
    sampler = SpaceSampler(space, FACTS)
    specs = [spec for profile in builtin.PROFILES for spec in axes.expand(builtin.paper(profile), BASE).specs]
    assert len(specs) == 6 * len(builtin.PROFILES)
    for spec in specs:
        given = given_by(parameters_of(sampler, spec.to_dict()), sampler)
        assert spec.replace(**given) == spec
        assert (given["learning_rate"], given["optimizer"]) == (1e-3, "adam")


def test_parameters_give_back_what_was_suggested_and_how_it_was_asked_for() -> None:
    sampler = SpaceSampler(space, FACTS)
    for trial, fields in suggestions(sampler, 100):
        match = parameters_of(sampler, spec_of(fields).to_dict())
        assert match is not None
        assert rounded(match.params) == rounded(trial.params)
        assert match.fields == fields
        assert match.distributions == trial.distributions


def test_what_the_space_does_not_have_is_not_found() -> None:
    sampler, inside = SpaceSampler(space, FACTS), BASE.replace(backbone="VGG16")
    assert parameters_of(sampler, inside.to_dict()) is not None
    for change in (
        {"learning_rate": 0.5},
        {"weight_decay": 0.5},
        {"head_units": 100},
        {"unfrozen_blocks": 5},  # VGG16 has five: it is called "all"
        {"backbone": "DenseNet121"},
        {"head_units": 64, "head_dropout": 0.25},  # the space goes in steps of 0.1
    ):
        assert parameters_of(sampler, inside.replace(**change).to_dict()) is None, change


# Pinned fields


def test_a_pinned_field_has_its_value_and_is_no_parameter() -> None:
    sampler = SpaceSampler(space, FACTS, {"learning_rate": (1e-4,), "head_units": (128,), "batch_size": (8,)})
    for trial, fields in suggestions(sampler, 50):
        assert (fields["learning_rate"], fields["head_units"], fields["batch_size"]) == (1e-4, 128, 8)
        assert not {name.partition("@")[0] for name in trial.params} & {"learning_rate", "head_units", "batch_size"}
        assert "head_dropout" in trial.params  # with hidden units, whoever chose them


def test_a_field_pinned_to_several_values_is_chosen_from_them() -> None:
    sampler = SpaceSampler(
        space, FACTS, {"learning_rate": (1e-4, 1e-3), "unfrozen_blocks": (0, 1), "batch_size": (8, 16)}
    )
    specs = []
    for trial, fields in suggestions(sampler, 60):
        specs.append(spec_of(fields))
        assert {"learning_rate", "unfrozen_blocks", "batch_size"} <= trial.params.keys()
        assert not any(name.startswith(("learning_rate@", "unfrozen_blocks@")) for name in trial.params)
        assert given_by(parameters_of(sampler, specs[-1].to_dict()), sampler) == fields
    assert {(s.learning_rate, s.unfrozen_blocks, s.batch_size) for s in specs} == {
        (rate, depth, size) for rate in (1e-4, 1e-3) for depth in (0, 1) for size in (8, 16)
    }


def test_what_the_space_fixes_itself_is_not_chosen_from_pinned_values() -> None:
    """A network that scales pixels itself must have its own preprocessing, whatever else is pinned for the others."""
    sampler = SpaceSampler(space, FACTS, {"preprocessing": ("divide_by_255", "backbone")})
    specs = [spec_of(fields) for _, fields in suggestions(sampler, 100)]
    assert {spec.preprocessing for spec in specs if spec.backbone == "EfficientNetB0"} == {"backbone"}
    assert {spec.preprocessing for spec in specs} == {"backbone", "divide_by_255"}


def test_other_values_of_a_pinned_field_are_not_in_the_space() -> None:
    inside = BASE.replace(backbone="VGG16", optimizer="sgd")
    for pinned in ({"optimizer": ("sgd",)}, {"optimizer": ("sgd", "rmsprop")}):
        sampler = SpaceSampler(space, FACTS, pinned)
        assert parameters_of(sampler, inside.to_dict()) is not None
        assert parameters_of(sampler, inside.replace(optimizer="adam").to_dict()) is None


def test_a_pinned_field_that_does_not_go_with_others_is_no_trial_then() -> None:
    def optimizers(trial: Suggests, facts: Facts) -> dict[str, Any]:
        return {"optimizer": trial.suggest_categorical("optimizer", ("adam", "sgd"))}

    broken = [rehearse(make_problem(space=optimizers, pinned={"momentum": (m,)})).broken.total() for m in (0.0, 0.9)]
    assert broken[0] == 0
    assert 0 < broken[1] < 50  # adam has none


# Users' spaces


def test_a_choice_of_another_name_is_found_by_trying() -> None:
    def by_start(trial: Suggests, facts: Facts) -> dict[str, Any]:
        starts = {"frozen": ("imagenet", 0), "tuned": ("imagenet", "all"), "scratch": ("random", "all")}
        weights, depth = starts[trial.suggest_categorical("start", tuple(starts))]
        size = trial.suggest_categorical("size", ("small", "large"))
        rate = trial.suggest_float("learning_rate", 1e-5, 1e-2, log=True)
        fields = {"weights": weights, "unfrozen_blocks": depth, "learning_rate": rate}
        return fields | {"head_units": {"small": 0, "large": 256}[size]}

    sampler = SpaceSampler(by_start, FACTS)
    for trial, fields in suggestions(sampler, 50):
        match = parameters_of(sampler, spec_of(fields).to_dict())
        assert match is not None
        assert match.params == trial.params
    assert parameters_of(sampler, BASE.replace(weights="random").to_dict()) is None  # frozen, and not of ImageNet


def test_a_branch_of_another_name_is_found_though_the_first_leads_nowhere_and_a_number_is_not() -> None:
    def branched(trial: Suggests, facts: Facts) -> dict[str, Any]:
        if trial.suggest_categorical("range", ("low", "high")) == "low":
            return {"learning_rate": trial.suggest_float("learning_rate@low", 1e-6, 1e-4)}
        return {"learning_rate": trial.suggest_float("learning_rate@high", 1e-4, 1e-1)}

    match = parameters_of(SpaceSampler(branched, FACTS), BASE.replace(learning_rate=1e-2).to_dict())
    assert match is not None
    assert match.params == {"range": "high", "learning_rate@high": 1e-2}

    def by_exponent(trial: Suggests, facts: Facts) -> dict[str, Any]:
        return {"learning_rate": 10 ** trial.suggest_float("exponent", -5, -1)}

    assert parameters_of(SpaceSampler(by_exponent, FACTS), BASE.to_dict()) is None


def test_a_space_with_ever_more_choices_is_given_up() -> None:
    calls = []

    def endless(trial: Suggests, facts: Facts) -> dict[str, Any]:
        calls.append(1)
        flips = [trial.suggest_categorical(f"flip{i}", (0, 1)) for i in range(20)]
        return {"head_units": 1 + sum(flips)}

    assert parameters_of(SpaceSampler(endless, FACTS), BASE.to_dict()) is None
    assert len(calls) == 1000


def test_whole_numbers_in_steps() -> None:
    def stepped(trial: Suggests, facts: Facts) -> dict[str, Any]:
        return {"batch_size": trial.suggest_int("batch_size", 8, 64, step=8)}

    found = [
        parameters_of(SpaceSampler(stepped, FACTS), BASE.replace(batch_size=size).to_dict()) for size in (24, 25, 128)
    ]
    assert [one and one.params for one in found] == [{"batch_size": 24}, None, None]


@pytest.fixture
def user_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Writes a module into the working directory, and gives "MODULE:space"."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    name = f"user_space_{tmp_path.name}".replace("-", "_")

    def write(body: str) -> str:
        Path(f"{name}.py").write_text(body)
        return f"{name}:space"

    yield write
    sys.modules.pop(name, None)


def test_a_space_of_the_working_directory_is_found(user_space: Any) -> None:
    name = user_space('def space(trial, facts):\n    return {"seed": trial.suggest_int("seed", 3, 3)}\n')
    ((_, fields),) = suggestions(SpaceSampler(load_space(name), FACTS), 1)
    assert fields == {"seed": 3}
    assert load_space(DEFAULT) is space


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nothing", "--space takes MODULE:FUNCTION, like my_module:space; got 'nothing'$"),
        ("sweep.space:", "--space takes MODULE:FUNCTION"),
        ("no_such_module:space", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("sweep.space:DEFAULT", "--space must name a function of sweep.space; it has no function 'DEFAULT'$"),
    ],
)
def test_a_space_that_is_not_there(text: str, message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        load_space(text)


SPACE = "def space(trial, facts):\n    "
BROKEN = [
    ("\n\n1 / 0", r"ZeroDivisionError: division by zero \(MODULE, line 3\)"),
    ("def space(:", r"SyntaxError: invalid syntax .*line 1"),
    (SPACE + "return 1 / 0", r"the space raised ZeroDivisionError: division by zero \(MODULE, line 2\)"),
    (SPACE + "return helper()", r"the space raised RuntimeError: no message \(MODULE, line 5\)"),
    (SPACE + "return trial.suggest_float('x', 2, 1)", r"ValueError: .*low <= high.*MODULE, line 2\)"),
    (SPACE + "return 3", r"a space must give a mapping .*; got int .*MODULE, line 1"),
    (SPACE + "return {'learning_rat': 1e-3}", r"Did you mean 'learning_rate'.*\? .* \(MODULE, line 1\)"),
    (SPACE + "return {'learning_rate': -1.0}", r"greater than 0; got -1\.0.*MODULE, line 1"),
    (SPACE + "return {'scored_on': 'validation', 'validation_fraction': 0.0}", r"wants a validation part.*line 1"),
]


@pytest.mark.parametrize(("body", "message"), BROKEN)
def test_a_broken_space_is_named_with_file_and_line_before_anything_starts(
    user_space: Any, body: str, message: str
) -> None:
    name = user_space(f"{body}\n\ndef helper():\n    raise RuntimeError\n")
    with pytest.raises((SpaceError, SpecError), match=message.replace("MODULE", r"user_space_\w+\.py")) as caught:
        rehearse(make_problem(space=load_space(name)))
    assert "\n" not in str(caught.value)


def test_rehearsal_says_what_is_searched_and_which_rules_are_broken(capfd: pytest.CaptureFixture[str]) -> None:
    def some(trial: Suggests, facts: Facts) -> dict[str, Any]:
        return {
            "optimizer": trial.suggest_categorical("optimizer", ("adam", "sgd")),
            "learning_rate": trial.suggest_float("learning_rate", 1e-5, 1e-1, log=True),
            "head_dropout": trial.suggest_float("head_dropout", 0.0, 0.5, step=0.1),
            "unfrozen_blocks": trial.suggest_int("unfrozen_blocks", 0, 3),
            "momentum": trial.suggest_float("momentum", 0.1, 0.9),
            "head_units": 16,
        }

    found = rehearse(make_problem(space=some))
    assert list(found.broken) == ["momentum is a setting of sgd and rmsprop"]
    assert 10 < found.broken.total() < 40
    assert [line.split(maxsplit=1) for line in found.parameters] == [
        ["head_dropout", "0 to 0.5 in steps of 0.1"],
        ["learning_rate", "1e-05 to 0.1, logarithmic"],
        ["momentum", "0.1 to 0.9"],
        ["optimizer", "adam, sgd"],
        ["unfrozen_blocks", "0 to 3"],
    ]
    assert capfd.readouterr() == ("", "")
