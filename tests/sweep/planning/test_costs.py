"""Costs counted by hand, on a backbone of three blocks (4, 2 and 1 million multiply-adds) and a head of 10 x 10."""

from __future__ import annotations

import pytest

from sweep.planning.costs import Costs, Sizes, head_weights
from sweep.planning.speeds import (
    BLOCK_SHARE,
    EPOCH_SECONDS,
    HEADS_FIXED,
    HEADS_SHARE,
    HEADS_STEP_SECONDS,
    INTERPOLATION_SECONDS,
    OTHER_FIXED,
    STEP_SECONDS,
    TRIAL_SECONDS,
    Speeds,
    Worker,
)
from sweep.planning.stored_activations import BYTES_PER_SECOND
from tests.sweep.fakes import SIZES, TOY, toy_spec, toy_speeds

MILLION = 10**6
COSTS = Costs({("Toy", 32): TOY}, {toy_spec().split_key: SIZES}, toy_speeds(1e9))
READ = 10 * (600 + 100) + 400  # images of one pass of 10 epochs: train and validation in each, then all but train
TRAINED = 10 * (3 * 600 + 100) + 400  # forward passes of one trial: three a trained step


def test_heads_share_one_pass_as_long_as_the_longest() -> None:
    cost = COSTS.cost([toy_spec(), toy_spec(learning_rate=1e-4, num_epochs=5)], source=0)
    heads = 100 * (TRAINED + 5 * (3 * 600 + 100) + 400)
    assert (cost.rows_read, cost.multiply_adds) == (READ, heads)
    fixed = HEADS_FIXED + 2 * TRIAL_SECONDS["heads"]
    steps = 10 * ((19 + 4 / 3) * HEADS_STEP_SECONDS + EPOCH_SECONDS["heads"])  # 600 and 100 images in batches of 32
    work = READ * 40 / BYTES_PER_SECOND + heads / (1e9 * HEADS_SHARE)
    assert cost.seconds == pytest.approx(fixed + steps + work)


def test_frozen_blocks_after_the_stored_cut_run_once_for_all_heads() -> None:
    cost = COSTS.cost([toy_spec(), toy_spec(seed=1)], source=2)
    assert cost.multiply_adds == READ * 3 * MILLION + 2 * 100 * TRAINED


def test_other_trials_have_a_pass_each() -> None:
    specs = [toy_spec(unfrozen_blocks=1), toy_spec(unfrozen_blocks=1, seed=1)]
    cost = COSTS.cost(specs, source=2)
    assert cost.rows_read == 2 * READ
    assert cost.multiply_adds == 2 * (READ * 2 * MILLION + TRAINED * (MILLION + 100))
    frozen, trained = 2 * READ * 2 * MILLION, 2 * TRAINED * (MILLION + 100)
    fixed = OTHER_FIXED["train"] * (0.2 + BLOCK_SHARE) + 2 * TRIAL_SECONDS["train"]
    steps = 20 * ((19 + 4 / 3) * STEP_SECONDS["cpu"] + EPOCH_SECONDS["train"])
    work = 2 * READ * 4096 / BYTES_PER_SECOND + (frozen + trained) / 1e9
    assert cost.seconds == pytest.approx(fixed + steps + work)


STAGED = toy_spec(unfrozen_blocks=2, unfreeze_stages="0,1,2")  # of its 10 epochs 3, 3 and 4
EPOCH, TRAINED_EPOCH = 600 + 100, 3 * 600 + 100


def test_each_stage_reads_what_is_stored_before_all_that_it_trains() -> None:
    trained = 3 * TRAINED_EPOCH * 100 + 3 * TRAINED_EPOCH * (MILLION + 100)
    trained += (4 * TRAINED_EPOCH + 400) * (3 * MILLION + 100)
    assert COSTS.trained_multiply_adds([STAGED]) == trained
    assert COSTS.rows_read([STAGED, STAGED.replace(seed=1)]) == 2 * READ
    assert COSTS.rows_by_cut([STAGED]) == {0: 3 * EPOCH, 1: 3 * EPOCH, 2: 4 * EPOCH + 400}
    assert COSTS.cost([STAGED], 3, 2, 1, 0).multiply_adds == trained  # nothing that is frozen runs in an epoch
    assert COSTS.cost([STAGED], 2).multiply_adds == trained + 3 * EPOCH * (3 + 2) * MILLION
    frozen = 3 * EPOCH * (7 + 6) * MILLION + (4 * EPOCH + 400) * 4 * MILLION
    assert COSTS.cost([STAGED], 3).multiply_adds == COSTS.unshared_multiply_adds([STAGED]) == trained + frozen
    assert COSTS.alone_multiply_adds(STAGED) == trained + 1000 * 7 * MILLION
    turned = STAGED.replace(augmentation=True)
    assert COSTS.turned_multiply_adds([turned]) == frozen
    assert COSTS.rows_by_cut([turned]) == {3: READ}
    assert COSTS.fixed_seconds(STAGED) == pytest.approx(OTHER_FIXED["train"] * (3 * 0.2 + 3 * BLOCK_SHARE))


def test_time_grows_with_images_and_epochs_and_less_than_they_do() -> None:
    def seconds(images: int, epochs: int, **fields: object) -> float:
        spec = toy_spec(num_epochs=epochs, **fields)
        costs = Costs({("Toy", 32): TOY}, {spec.split_key: Sizes(images, 100, 100)}, Speeds("", Worker(1, False)))
        return costs.cost([spec], source=3).seconds

    for fields in ({"unfrozen_blocks": "all"}, {"unfrozen_blocks": 1}, {"unfrozen_blocks": 0}):
        for few, many in (((100, 1), (1000, 1)), ((100, 1), (100, 10)), ((1000, 10), (10_000, 10))):
            assert seconds(*few, **fields) < seconds(*many, **fields) < 10 * seconds(*few, **fields)


def test_alone_every_frozen_block_runs_in_every_epoch() -> None:
    assert COSTS.unshared_multiply_adds([toy_spec(unfrozen_blocks=1)]) == READ * 6 * MILLION + TRAINED * (MILLION + 100)
    heads = [toy_spec(), toy_spec(seed=1)]
    assert COSTS.unshared_multiply_adds(heads) == 2 * (READ * 7 * MILLION + TRAINED * 100)
    assert COSTS.unshared_multiply_adds([toy_spec(unfrozen_blocks="all")]) == TRAINED * (7 * MILLION + 100)


def test_freeze_points_count_blocks_from_the_output() -> None:
    found = [COSTS.freeze_point(toy_spec(unfrozen_blocks=k)) for k in (0, 2, 3, 99, "all")]
    assert found == [0, 2, 3, 3, 3]
    assert [COSTS.can_store(toy_spec(unfrozen_blocks=k)) for k in (0, 2, 3, "all")] == [True, True, False, False]
    assert [COSTS.storable_cut(toy_spec(unfrozen_blocks=k)) for k in (0, 2, 3, "all")] == [0, 2, 3, 3]


def test_of_images_that_are_turned_anew_in_each_epoch_nothing_can_be_stored() -> None:
    turned = [toy_spec(unfrozen_blocks=k, augmentation=True) for k in (0, 2, "all")]
    assert [COSTS.storable_cut(spec) for spec in turned] == [3, 3, 3]
    assert not any(map(COSTS.can_store, turned))
    assert [COSTS.freeze_point(spec) for spec in turned] == [0, 2, 3]


def test_frozen_blocks_of_turned_images_run_in_every_pass() -> None:
    heads, deep = ([toy_spec(augmentation=True, unfrozen_blocks=k, seed=seed) for seed in (0, 1)] for k in (0, 1))
    assert COSTS.turned_multiply_adds(heads) == READ * 7 * MILLION  # the heads share the pass
    assert COSTS.turned_multiply_adds(deep) == 2 * READ * 6 * MILLION
    assert COSTS.turned_multiply_adds([toy_spec(augmentation=True, unfrozen_blocks="all")]) == 0
    assert COSTS.turned_multiply_adds([toy_spec()]) == 0
    assert COSTS.cost(heads, source=3).multiply_adds == READ * 7 * MILLION + 2 * 100 * TRAINED


def test_views_are_stored_beside_the_images_and_read_as_these_are() -> None:
    spec = toy_spec(augmentation=True, views=4)
    assert (COSTS.storable_cut(spec), COSTS.stored_rows(spec), COSTS.stored_rows(toy_spec())) == (
        0,
        1000 + 4 * 600,
        1000,
    )
    assert COSTS.chain(spec, {0: READ}, frozenset()).stored_bytes(0) == 40 * (1000 + 4 * 600)
    assert COSTS.cost([spec], source=0) == COSTS.cost([toy_spec()], source=0)
    assert COSTS.alone_multiply_adds(spec) == (1000 + 4 * 600) * 7 * MILLION + 100 * TRAINED
    brief = spec.replace(views=40, shift=0.1, num_epochs=1)  # reads fewer views than there are
    assert COSTS.alone_multiply_adds(brief) == 1000 * 7 * MILLION + 100 * (3 * 600 + 100 + 400)


def test_shifted_images_take_time_in_each_epoch_and_views_of_them_once() -> None:
    an_image = INTERPOLATION_SECONDS * (32 / 224) ** 2
    turned, heads = toy_spec(augmentation=True), [toy_spec(augmentation=True, shift=0.1, seed=seed) for seed in (0, 1)]
    plain = COSTS.cost([turned, turned.replace(seed=1)], source=3).seconds
    assert COSTS.cost(heads, source=3).seconds - plain == pytest.approx(10 * 600 * an_image)  # the heads share the pass
    blended = COSTS.cost([heads[0].replace(mixup=0.2)], source=3).seconds
    unmoved = COSTS.cost([turned.replace(mixup=0.2)], source=3).seconds
    assert blended - unmoved == pytest.approx(2 * 10 * 600 * an_image)
    views = toy_spec(augmentation=True, views=4, zoom=0.1)
    assert COSTS.storing(views, 1e9)[0] - COSTS.storing(turned, 1e9)[0] == pytest.approx(4 * 600 * an_image)
    assert COSTS.cost([views], source=0).seconds == COSTS.cost([toy_spec()], source=0).seconds


def test_the_symmetries_of_scored_images_are_computed_once_for_the_heads_that_ask_for_them() -> None:
    asks, other = toy_spec(test_time_augmentation=True), toy_spec(seed=1)
    plain = COSTS.cost([asks.replace(test_time_augmentation=False), other], source=0).multiply_adds
    once, head = 7 * 300 * 7 * MILLION, 7 * 300 * 100
    assert COSTS.cost([asks, other], source=0).multiply_adds == plain + once + head
    assert COSTS.cost([asks, asks.replace(seed=1)], source=0).multiply_adds == plain + once + 2 * head
    deep = [toy_spec(test_time_augmentation=True, unfrozen_blocks=1, seed=seed) for seed in (0, 1)]
    assert COSTS.symmetry_multiply_adds(deep) == 2 * 7 * 300 * 6 * MILLION


def test_by_itself_a_trial_computes_its_frozen_blocks_once_for_each_image() -> None:
    """Whatever was stored before: a trial's cost must not depend on which others there were."""
    assert COSTS.alone_multiply_adds(toy_spec()) == 1000 * 7 * MILLION + 100 * TRAINED
    assert COSTS.alone_multiply_adds(toy_spec(unfrozen_blocks=1)) == 1000 * 6 * MILLION + TRAINED * (MILLION + 100)
    assert COSTS.alone_multiply_adds(toy_spec(unfrozen_blocks="all")) == TRAINED * (7 * MILLION + 100)
    turned = toy_spec(augmentation=True)
    assert COSTS.alone_multiply_adds(turned) == READ * 7 * MILLION + 100 * TRAINED
    assert COSTS.alone_multiply_adds(toy_spec(learning_rate=1e-4)) == COSTS.alone_multiply_adds(toy_spec())


def test_a_search_watches_and_scores_the_validation_part() -> None:
    spec = toy_spec(scored_on="validation")
    assert (Sizes(700, 0, 300).watched, SIZES.watched, SIZES.rows) == (300, 100, 1000)  # without one, the test part
    assert (SIZES.scored(spec), SIZES.scored(toy_spec())) == (100, 300)
    trained = 10 * (3 * 600 + 100) + 100
    assert COSTS.rows_read([spec]) == 10 * (600 + 100) + 100
    assert COSTS.trained_multiply_adds([spec]) == 100 * trained
    assert COSTS.unshared_multiply_adds([spec]) == (10 * 700 + 100) * 7 * MILLION + 100 * trained


@pytest.mark.parametrize(("units", "weights"), [(0, 10 * 10), (64, 10 * 64 + 64 * 10), (1, 20)])
def test_a_hidden_layer_lies_between_features_and_classes(units: int, weights: int) -> None:
    spec = toy_spec(head_units=units)
    assert head_weights(spec, 10) == weights
    assert COSTS.cost([spec], source=0).multiply_adds == weights * TRAINED
    assert COSTS.head_bytes(spec) == weights * 4 * 3 * 2
    assert COSTS.alone_multiply_adds(spec) == 1000 * 7 * MILLION + weights * TRAINED


def test_half_precision_halves_the_stored_bytes_but_not_the_images() -> None:
    chain = COSTS.chain(toy_spec(precision="mixed_bfloat16"), {1: 50}, frozenset())
    assert chain.row_bytes == (20, 1024, 2048, 3072)
    assert COSTS.chain(toy_spec(), {}, frozenset()).row_bytes == (40, 2048, 4096, 3072)
    assert (chain.depths, chain.rows_read) == ((7 * MILLION, 6 * MILLION, 4 * MILLION, 0), (0, 50, 0, 0))


@pytest.mark.parametrize(
    ("optimizer", "arrays"), [("sgd", 2), ("rmsprop", 3), ("adam", 3), ("lion", 2), ("adafactor", 1)]
)
def test_a_head_takes_its_weights_and_slots_twice_with_momentum_or_without(optimizer: str, arrays: int) -> None:
    assert COSTS.head_bytes(toy_spec(optimizer=optimizer)) == 100 * 4 * arrays * 2
    if optimizer in ("sgd", "rmsprop"):
        assert COSTS.head_bytes(toy_spec(optimizer=optimizer, momentum=0.9)) == 100 * 4 * arrays * 2


def test_an_unknown_network_or_split_is_named() -> None:
    with pytest.raises(ValueError, match=r"\(Toy at 32 px given\); got Toy at 64 px"):
        COSTS.images(toy_spec(image_size=64))
    with pytest.raises(ValueError, match="an entry for every split_key"):
        COSTS.sizes(toy_spec(split_seed=1))
