from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from galaxytl.trial import SpecError, TrialSpec
from sweep.grids import axes as axes_module
from sweep.grids.axes import (
    Axis,
    Grid,
    check_size,
    describe,
    expand,
    fixed,
    folded,
    overridden,
    parse_value,
    possible,
    repeated,
    skip_notes,
    values_text,
    with_one_seed,
)

BASE = TrialSpec(dataset="simulated", dataset_fingerprint="0f3a")
RATES = Axis("learning_rate", (1e-3, 1e-4), "scientific")
OPTIMIZER = Axis("optimizer", ("adam", {"optimizer": "sgd", "momentum": 0.9}), "nuisance")


def make_grid(*axes: Axis) -> Grid:
    return Grid("mine", "why?", (axes,))


def roles(grid: Grid) -> dict[str, str]:
    return {axis.name: axis.role for axes in grid.parts for axis in axes}


def test_a_grid_is_every_combination_and_the_base_for_the_rest() -> None:
    specs = expand(make_grid(RATES, OPTIMIZER, *fixed(batch_size=8)), BASE).specs
    assert [(s.learning_rate, s.optimizer, s.momentum) for s in specs] == [
        (1e-3, "adam", 0.0),
        (1e-3, "sgd", 0.9),
        (1e-4, "adam", 0.0),
        (1e-4, "sgd", 0.9),
    ]
    assert {s.batch_size for s in specs} == {8}
    assert {s.num_epochs for s in specs} == {BASE.num_epochs}


values = st.lists(st.integers(0, 5), min_size=1, max_size=4, unique=True)


@given(values, values, values)
@settings(max_examples=40)
def test_trials_are_the_product_of_the_values_each_once_in_order(
    seeds: list[int], splits: list[int], others: list[int]
) -> None:
    """Of two parts, those of the first come first, and what they share is one trial."""
    axes = Axis("seed", tuple(seeds), "nuisance"), Axis("split_seed", tuple(splits), "nuisance")
    assert make_grid(*axes).size == len(seeds) * len(splits)
    specs = expand(make_grid(*axes), BASE).specs
    assert [(s.seed, s.split_seed) for s in specs] == [(seed, split) for seed in seeds for split in splits]
    assert len({s.trial_id for s in specs}) == len(specs)
    both = expand(Grid("mine", "", (axes, (Axis("seed", tuple(others), "nuisance"),))), BASE).specs
    assert both == tuple(dict.fromkeys([*specs, *(BASE.replace(seed=seed) for seed in others)]))


def test_what_does_not_go_together_is_skipped_and_counted() -> None:
    momentum = Axis("momentum", (0.0, 0.5, 0.9), "scientific")
    optimizer = Axis("optimizer", ("adam", "sgd"), "scientific")
    expanded = expand(make_grid(optimizer, momentum), BASE)
    assert [(s.optimizer, s.momentum) for s in expanded.specs] == [("adam", 0), ("sgd", 0), ("sgd", 0.5), ("sgd", 0.9)]
    assert expanded.skipped == {"momentum is a setting of sgd and rmsprop": 2}
    assert skip_notes(expanded.skipped) == ["2 combinations skipped: momentum is a setting of sgd and rmsprop"]
    assert skip_notes({"a rule": 1}) == ["1 combination skipped: a rule"]
    assert skip_notes(expand(make_grid(optimizer), BASE).skipped) == []


def test_a_grid_without_a_possible_trial_is_an_error_that_says_why() -> None:
    with pytest.raises(SpecError, match=r"grid's 2 combinations must be .*: momentum .* momentum=0.9, optimizer=adam"):
        expand(make_grid(RATES, *fixed(momentum=0.9)), BASE)
    with pytest.raises(ZeroDivisionError):  # other errors are not counted
        possible([0], lambda number: BASE.replace(seed=1 // number))


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ({"learning_rate": [1e-5]}, {("adam", 0.0, 1e-5), ("sgd", 0.9, 1e-5)}),
        ({"optimizer": ["sgd"]}, {("sgd", 0.9, 1e-3), ("sgd", 0.9, 1e-4)}),
        ({"optimizer": ["sgd"], "momentum": [0.5]}, {("sgd", 0.5, 1e-3), ("sgd", 0.5, 1e-4)}),
        ({"optimizer": ["rmsprop"]}, {("rmsprop", m, r) for m in (0.0, 0.9) for r in (1e-3, 1e-4)}),
        ({"learning_rate": [1e-3, 1e-3]}, {("adam", 0.0, 1e-3), ("sgd", 0.9, 1e-3)}),
    ],
)
def test_overrides_replace_the_values_of_a_field(
    overrides: dict[str, Sequence[object]], expected: set[tuple[object, ...]]
) -> None:
    specs = expand(overridden(make_grid(RATES, OPTIMIZER), overrides), BASE).specs
    assert {(s.optimizer, s.momentum, s.learning_rate) for s in specs} == expected
    assert len(specs) == len(expected)


def test_a_value_of_which_an_override_leaves_nothing_is_left_out() -> None:
    cure = Axis("cure", ({"clipnorm": 1.0}, {"warmup_epochs": 1.0}, {"clipnorm": 1.0, "batch_size": 8}), "scientific")
    specs = expand(overridden(make_grid(cure), {"clipnorm": [2.0]}), BASE).specs
    assert [(s.clipnorm, s.warmup_epochs, s.batch_size) for s in specs] == [
        (2.0, 1.0, BASE.batch_size),
        (2.0, 0.0, 8),
    ]


def test_roles_follow_what_varies() -> None:
    grid = make_grid(RATES, OPTIMIZER, *fixed(batch_size=8))
    assert roles(grid) == {"learning_rate": "scientific", "optimizer": "nuisance", "batch_size": "fixed"}
    changed = overridden(grid, {"learning_rate": [1e-5], "batch_size": [8, 16], "num_epochs": [1]})
    varied = {"learning_rate": "fixed", "optimizer": "nuisance", "batch_size": "scientific", "num_epochs": "fixed"}
    assert roles(changed) == varied
    assert roles(repeated(grid, 3))["seed"] == "nuisance"
    assert "seed" not in roles(repeated(grid, 1))


@pytest.mark.parametrize(
    ("own", "num_seeds", "seeds"),
    [((), 3, {0, 1, 2}), ((5,), 2, {5, 6}), ((0, 1), 2, {0, 1, 2}), ((7, 9), 1, {7, 9})],
)
def test_seeds_count_up_from_the_grids_own(own: tuple[int, ...], num_seeds: int, seeds: set[int]) -> None:
    axes = (Axis("seed", own, "nuisance"),) if own else ()
    assert {s.seed for s in expand(repeated(make_grid(RATES, *axes), num_seeds), BASE).specs} == seeds


def test_folds_multiply_every_part_and_are_no_scientific_axis() -> None:
    grid = folded(make_grid(Axis("learning_rate", (1e-3, 1e-4), "scientific")), 3)
    assert roles(grid) == {"num_folds": "fixed", "fold": "nuisance", "learning_rate": "scientific"}
    specs = expand(grid, BASE).specs
    assert sorted((s.fold, s.learning_rate) for s in specs) == [(f, r) for f in range(3) for r in (1e-4, 1e-3)]
    assert {spec.num_folds for spec in specs} == {3}
    assert folded(grid, 0) is grid
    with pytest.raises(SpecError, match=r"--folds sets num_folds and fold; grid .* sets num_folds too: leave out one"):
        folded(grid, 5)


def test_with_one_seed_all_else_is_there() -> None:
    seeds = Axis("seed", tuple(range(1000)), "nuisance"), Axis("shuffle_seed", (3, 4), "scientific")
    together = Axis("start", ({"weights": "random", "seed": 5}, {"weights": "imagenet", "seed": 6}), "scientific")
    grid = make_grid(RATES, *seeds)
    assert with_one_seed(grid).size == len(RATES.values)
    assert with_one_seed(make_grid(together)) == make_grid(together)
    specs = expand(with_one_seed(grid), BASE).specs
    assert {spec.learning_rate for spec in specs} == set(RATES.values)
    assert {(spec.seed, spec.shuffle_seed) for spec in specs} == {(0, 3)}


def test_a_million_trials_are_refused_unbuilt_and_allowed_on_request(monkeypatch: pytest.MonkeyPatch) -> None:
    axes = [Axis("seed", tuple(range(1000)), "nuisance"), Axis("shuffle_seed", tuple(range(1000)), "nuisance")]
    grid = make_grid(*axes, *fixed(num_epochs=1))
    monkeypatch.delattr(axes_module, "_combinations")
    with pytest.raises(SpecError, match=r"mine has 1,000,000 \(seed 1,000 x shuffle_seed 1,000\). Add --yes"):
        check_size(grid, yes=False)
    check_size(grid, yes=True)
    check_size(make_grid(Axis("seed", tuple(range(10_000)), "nuisance")), yes=False)


def test_an_axis_that_cannot_be() -> None:
    """What else a grid file can say of one is in test_grid_file.py."""
    with pytest.raises(SpecError, match="must be one of scientific, nuisance, fixed; got 'vital'"):
        Axis("learning_rate", (1e-3,), "vital")  # type: ignore[arg-type]
    with pytest.raises(SpecError, match="every value of start must set it"):
        Axis("start", ({},), "scientific")


def test_description_says_role_name_and_values() -> None:
    starts = Axis("start", ({"weights": "random", "unfrozen_blocks": 0}, {"weights": "imagenet"}), "scientific")
    assert values_text(starts) == "(weights random, unfrozen_blocks 0), (weights imagenet)"
    seeds = values_text(Axis("seed", tuple(range(1000)), "nuisance"))
    assert seeds.startswith("0, 1, 2,")
    assert seeds.endswith("18, ..., 999 (1,000 values)")
    grid = Grid("mine", "", ((RATES, OPTIMIZER), (RATES, *fixed(stratified=True))))
    assert describe(grid) == [
        "part 1 of 2: 4 combinations",
        "  scientific  learning_rate  0.001, 0.0001",
        "  nuisance    optimizer      adam, sgd (momentum 0.9)",
        "part 2 of 2: 2 combinations",
        "  scientific  learning_rate  0.001, 0.0001",
        "  fixed       stratified     true",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1" + "0" * 400, "at most 100 letters or digits; got 401 for learning_rate"),
        ("1e999", "learning_rate must be greater than 0; got inf"),
    ],
)
def test_a_number_that_cannot_be(text: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        parse_value("learning_rate", text)
