from __future__ import annotations

import doctest
import io
import itertools

import pytest
from rich.console import Console, RenderableType

from galaxytl.networks.blocks import Structure
from galaxytl.trial import COMPLETE, FAILED, TrialResult
from sweep.planning import durations
from sweep.planning import table as plan_table
from sweep.planning.durations import duration
from sweep.planning.plan import Limits, make_plan
from sweep.planning.table import MAX_ROWS, comparison, quantity
from tests.sweep.fakes import SIZES, SLOW, TOY, toy_plan, toy_spec

DEPTHS = [toy_spec(unfrozen_blocks=k, learning_rate=rate) for k in (0, 1, 2, "all") for rate in (1e-3, 1e-4)]


def printed(what: RenderableType, width: int = 80) -> str:
    """As the sweep's console prints it into a pipe."""
    file = io.StringIO()
    Console(file=file, width=width, highlight=False, soft_wrap=True).print(what)
    return file.getvalue()


def test_examples_in_the_docstrings_hold() -> None:
    for module in (plan_table, durations):
        assert doctest.testmod(module).failed == 0
        assert doctest.testmod(module).attempted >= 2


def test_the_plan_says_what_is_run_stored_and_spent() -> None:
    text = printed(plan_table.plan_table(toy_plan(DEPTHS, on_disk={2})))
    assert "Plan: 8 trials in 4 groups" in text
    assert "Stored activations: 3 prefixes" in text
    (stored,) = [line for line in text.splitlines() if "cut 2" in line and "ImageNet" in line and "MB" in line]
    assert "on disk" in stored
    assert "Time           about 54 to 103 min with 1 worker\n               assumed: nothing was" in text
    assert "Disk           6.18 MB of activations, 4.10 MB of it there already" in text


def test_nothing_to_run_is_said() -> None:
    assert "nothing to run" in printed(plan_table.plan_table(toy_plan([])))


def test_substituted_weights_are_marked() -> None:
    text = printed(plan_table.plan_table(toy_plan([toy_spec(weights="random", weights_requested="imagenet")])))
    assert "random *" in text
    assert "* random (ImageNet weights not found)" in text
    assert "*" not in printed(plan_table.plan_table(toy_plan(DEPTHS)))


def test_a_table_fits_80_columns_and_stays_short() -> None:
    kinds = itertools.product((0, 1), range(100))
    specs = [toy_spec(unfrozen_blocks=k, seed=seed, weights="random", dataset_fingerprint=f"{k}") for k, seed in kinds]
    lines = printed(plan_table.plan_table(toy_plan(specs))).splitlines()
    assert len(lines) < 25
    table = [line for line in lines if line.startswith("Toy")]
    assert len(table) == 4
    assert all(len(line) <= 80 and line.split()[-1] in ("s", "min", "h") for line in table)  # nothing is folded


@pytest.mark.parametrize("width", [80, 140])
def test_long_names_and_large_numbers_fit_too(width: int) -> None:
    name = "EfficientNetV2B0"
    structure = Structure(name, 1024, (*TOY.blocks, *[TOY.blocks[-1]] * 12))
    specs = [
        toy_spec(backbone=name, image_size=1024, unfrozen_blocks=depth, precision="mixed_bfloat16", seed=seed)
        for depth in (0, 1, 12, "all")
        for seed in range(3)
    ]
    limits, splits = Limits(10**9, 10**9, workers=1), {spec.split_key: SIZES for spec in specs}
    plan = make_plan(specs, {(name, 1024): structure}, splits, limits, SLOW, lambda spec, cut: False)
    lines = printed(plan_table.plan_table(plan), width).splitlines()
    assert max(map(len, lines)) <= width
    names = [line for line in lines if line.startswith(name)]
    assert len(names) == 7
    assert all(len(line.split()) >= 9 for line in names)
    heading = " ".join(lines[1:3])
    assert all(
        word in heading for word in ("backbone", "px", "weights", "trained", "reads", "trials", "groups", "adds")
    )


def test_views_and_their_disk_are_said_and_where_they_are_not_stored() -> None:
    views = [spec.replace(augmentation=True, views=8) for spec in DEPTHS[:2]]
    lines = printed(plan_table.plan_table(toy_plan(views))).splitlines()
    (stored,) = (line for line in lines if "output, 8 views" in line)
    assert "232 kB" in stored  # 1,000 images and 8 times 600, of 40 bytes
    assert not any(line.startswith("Views of") for line in lines)
    live = toy_plan(views, Limits(10**3, 10**9, workers=1))
    (note,) = (line for line in printed(plan_table.plan_table(live), 140).splitlines() if line.startswith("Views of"))
    assert note.startswith("Views of 2 trials are made in each epoch, not stored: there is no room for them")


def test_kinds_beyond_the_last_row_are_added_up() -> None:
    kinds = [(f"kind {i}",) for i in range(MAX_ROWS + 5)]
    rows = plan_table._collapsed([kind for kind in kinds for _ in range(2)], lambda kind: kind)
    assert len(rows) == MAX_ROWS + 1
    assert (rows[-1][0], len(rows[-1][1])) == ("5 more kinds", 10)


def test_what_happened_stands_beside_the_estimate() -> None:
    plan = toy_plan(DEPTHS[:2])
    work = {"features": 7e9, "train": 1e6, "evaluate": 1e6}
    done = TrialResult(spec=DEPTHS[0], status=COMPLETE, multiply_adds=work, timings={"total": 30.0})
    lost = TrialResult(spec=DEPTHS[1], status=FAILED, message="diverged")
    lines = printed(comparison(plan, [done, lost], wall_seconds=90)).splitlines()
    assert "1 of 2 trials complete" in lines[0]
    stored = next(line for line in lines if "stored activations" in line)
    assert stored.split()[-5:] == ["7.00", "G", "7.00", "G", "1.00"]
    assert next(line for line in lines if "training and test" in line).split()[-3:-1] == ["2.00", "M"]
    assert "1 min 30 s" in next(line for line in lines if "time in all" in line)


def test_quantities_never_round_to_a_thousand_nor_durations_to_sixty() -> None:
    quantities = [quantity(value) for value in (999.4, 999.6, 9_996, 99_960, 999_600)]
    assert quantities == ["999", "1.00 k", "10.0 k", "100 k", "1.00 M"]
    texts = [duration(s) for s in (0, 59.6, 599.7, 3569, 3571, 7199, 36000, 171_000, 172_000, 1e7)]
    assert texts == [
        *("0 s", "1 min 00 s", "10 min", "59 min", "1 h 00 min"),
        *("2 h 00 min", "10 h", "2 days 0 h", "2 days 0 h", "116 days"),
    ]
