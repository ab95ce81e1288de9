from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from galaxytl.networks.blocks import Structure
from galaxytl.trial import COMPLETE, FAILED, PRUNED, TrialResult, TrialSpec
from sweep.planning.costs import Costs
from sweep.planning.plan import MIN_HEADS, Crew, Limits, make_plan, split_by_status
from sweep.planning.speeds import EPOCH_SECONDS, OTHER_FIXED, START_SECONDS, STEP_SECONDS, TRIAL_SECONDS
from tests.sweep.fakes import SIZES, SLOW, TOY, toy_plan, toy_spec, toy_speeds

MILLION = 10**6
READ, TRAINED = 10 * (600 + 100) + 400, 10 * (3 * 600 + 100) + 400  # see test_costs.py
HEADS = [toy_spec(learning_rate=10.0**-i) for i in range(1, 7)]
DEPTHS = [toy_spec(unfrozen_blocks=k, learning_rate=rate) for k in (0, 1, 2, "all") for rate in (1e-3, 1e-4)]


def workers(number: int) -> Limits:
    return Limits(disk_bytes=10**9, head_memory_bytes=10**9, workers=number)


def test_rows_say_what_is_left() -> None:
    a, b, c, d = (toy_spec(seed=seed) for seed in range(4))
    rows = {
        a.trial_id: TrialResult(spec=a, status=COMPLETE),
        b.trial_id: TrialResult(spec=b, status=FAILED, message="diverged"),
        c.trial_id: TrialResult(spec=c, status=PRUNED),
    }
    todo = split_by_status([d, c, b, a], rows)
    assert (todo.pending, todo.finished, todo.failed) == ((d,), (c, a), (b,))
    retry = split_by_status([d, c, b, a], rows, retry_failed=True)
    assert (retry.pending, retry.finished, retry.failed) == ((d, b), (c, a), ())


def test_heads_on_one_backbone_are_one_group_that_reads_its_output() -> None:
    plan = toy_plan(HEADS)
    assert [(set(group.specs), group.stored) for group in plan.groups] == [(set(HEADS), (0,))]
    (prefix,) = plan.prefixes
    assert (prefix.cut, prefix.rows, prefix.bytes, prefix.users) == (0, 1000, 40_000, 6)
    assert (prefix.multiply_adds, prefix.on_disk) == (1000 * 7 * MILLION, False)
    assert plan.estimate.multiply_adds == plan.estimate.minimal == 7000 * MILLION + 6 * 100 * TRAINED
    assert plan.estimate.unshared == 6 * (READ * 7 * MILLION + 100 * TRAINED)


def test_depths_of_one_backbone_share_their_prefixes() -> None:
    plan = toy_plan(DEPTHS)
    by_depth = {group.specs[0].unfrozen_blocks: group for group in plan.groups}
    assert {depth: group.stored for depth, group in by_depth.items()} == {0: (2, 1, 0), 1: (2, 1), 2: (2,), "all": ()}
    prefixes = [(p.cut, p.multiply_adds // MILLION, p.users) for p in plan.prefixes]
    assert prefixes == [(2, 4000, 6), (1, 2000, 4), (0, 1000, 2)]
    assert plan.estimate.multiply_adds == plan.estimate.minimal


def test_stages_read_what_is_stored_for_them_and_for_others() -> None:
    staged = toy_spec(unfrozen_blocks="all", unfreeze_stages="0,1,all")
    plan = toy_plan([staged, *HEADS])
    by_stages = {group.specs[0].unfreeze_stages: group.stored for group in plan.groups}
    assert by_stages == {"0,1,all": (1, 0), "": (1, 0)}
    assert [(p.cut, p.multiply_adds // MILLION, p.users) for p in plan.prefixes] == [(1, 6000, 7), (0, 1000, 7)]
    assert plan.estimate.multiply_adds == plan.estimate.minimal
    alone, halfway = toy_plan([staged]), toy_plan([staged], on_disk={0})
    assert [prefix.cut for prefix in alone.prefixes] == [prefix.cut for prefix in halfway.prefixes] == [1, 0]
    assert halfway.prefixes[0].seconds > 0  # which a stage waits for, though the first one's are there
    seconds = halfway.costs[0].seconds + halfway.prefixes[0].seconds + START_SECONDS
    assert halfway.estimate.seconds == pytest.approx(seconds)


def test_of_augmented_images_nothing_is_stored_and_heads_still_share_their_pass() -> None:
    turned = [spec.replace(augmentation=True) for spec in DEPTHS]
    plan = toy_plan(turned)
    assert plan.prefixes == ()
    assert {group.stored for group in plan.groups} == {()}
    assert sorted(len(group.specs) for group in plan.groups) == [2, 2, 2, 2]
    frozen = READ * MILLION * (7 + 2 * 6 + 2 * 4)  # one pass of the heads, one of each of the others
    trained = 2 * TRAINED * (100 + (MILLION + 100) + (3 * MILLION + 100) + (7 * MILLION + 100))
    assert plan.estimate.multiply_adds == plan.estimate.minimal == frozen + trained
    assert plan.estimate.unshared == frozen + READ * 7 * MILLION + trained
    assert toy_plan(turned, on_disk={0, 1, 2}) == plan  # the disk is not asked


def test_augmented_trials_leave_the_others_what_they_store() -> None:
    plan = toy_plan([*(spec.replace(augmentation=True) for spec in HEADS), *HEADS])
    assert {group.specs[0].augmentation: group.stored for group in plan.groups} == {False: (0,), True: ()}
    assert toy_plan(HEADS).prefixes == plan.prefixes


def test_views_are_a_family_of_their_own_which_reads_images_where_there_is_no_room() -> None:
    views = [spec.replace(augmentation=True, views=4) for spec in HEADS]
    plan = toy_plan([*views, *HEADS])
    assert {prefix.spec.views: (prefix.rows, prefix.bytes, prefix.users) for prefix in plan.prefixes} == {
        4: (3400, 136_000, 6),
        0: (1000, 40_000, 6),
    }
    assert plan.estimate.multiply_adds == plan.estimate.minimal
    small = toy_plan([*views, *HEADS], Limits(disk_bytes=100_000, head_memory_bytes=10**9, workers=1))
    assert {group.specs[0].views: group.stored for group in small.groups} == {4: (), 0: (0,)}


def test_without_disk_everything_is_read_from_images() -> None:
    plan = toy_plan(DEPTHS, Limits(disk_bytes=0, head_memory_bytes=10**9, workers=1))
    assert plan.prefixes == ()
    assert {group.stored for group in plan.groups} == {()}
    heads_share_a_pass = READ * 7 * MILLION
    assert plan.estimate.multiply_adds == plan.estimate.unshared - heads_share_a_pass


def test_what_is_on_disk_costs_nothing_and_what_it_saves_is_not_needed() -> None:
    plan = toy_plan(HEADS, on_disk={0})
    assert [(p.on_disk, p.multiply_adds, p.seconds) for p in plan.prefixes] == [(True, 0, 0.0)]
    assert plan.estimate.multiply_adds == plan.estimate.minimal == 6 * 100 * TRAINED
    halfway = toy_plan(HEADS, on_disk={1})
    assert [(p.cut, p.on_disk, p.multiply_adds) for p in halfway.prefixes] == [(1, True, 0), (0, False, 1000 * MILLION)]


def test_a_disk_is_shared_by_the_families_of_concurrent_workers() -> None:
    specs = [toy_spec(weights="random", seed=seed) for seed in (0, 1)]
    budget = 60_000  # the output of one backbone takes 40,000
    assert len(toy_plan(specs, Limits(budget, 10**9, 1)).prefixes) == 2  # one after the other
    assert len(toy_plan(specs, Limits(budget, 10**9, 2)).prefixes) == 0


def test_random_weights_of_several_seeds_are_never_in_one_group_where_any_are_frozen() -> None:
    def sizes(**fields: object) -> list[int]:
        plan = toy_plan([toy_spec(weights="random", seed=seed, **fields) for seed in (0, 1)])
        return [len(group.specs) for group in plan.groups]

    assert sizes(unfrozen_blocks=0) == sizes(unfrozen_blocks=1) == [1, 1]
    assert sizes(unfrozen_blocks="all") == [2]


def test_heads_that_do_not_fit_the_memory_are_parted_long_with_long() -> None:
    specs = [toy_spec(num_epochs=epochs, seed=seed) for seed in range(3) for epochs in (5, 50)]
    three = 3 * (100 * 4 * 3 * 2)  # Adam: weights and two slots, twice
    plan = toy_plan(specs, Limits(10**9, three, 1))
    assert [[spec.num_epochs for spec in group.specs] for group in plan.groups] == [[50] * 3, [5] * 3]
    assert len(toy_plan(specs, Limits(10**9, three - 1, 1)).groups) == 3
    assert len(toy_plan(specs, Limits(10**9, 0, 1)).groups) == 6  # one head always goes


def test_idle_workers_get_a_part_of_the_costliest_group() -> None:
    deep = [toy_spec(unfrozen_blocks=2, seed=seed) for seed in range(8)]
    plan = toy_plan([*deep, toy_spec()], workers(4))
    assert sorted(len(group.specs) for group in plan.groups) == [1, 2, 2, 2, 2]  # 3 + 3 + 2 would end later
    assert {spec for group in plan.groups for spec in group.specs} == {*deep, toy_spec()}
    assert len(toy_plan([*deep, toy_spec()], workers(1)).groups) == 2


def test_a_group_longer_than_a_fair_share_is_parted_though_no_worker_is_idle_at_first() -> None:
    deep = [toy_spec(unfrozen_blocks=2, seed=seed) for seed in range(40)]
    short = [toy_spec(unfrozen_blocks=1, batch_size=size) for size in (8, 16)]
    assert len(toy_plan([*deep, *short], workers(2)).groups) > 3


def test_idle_workers_get_parts_of_other_groups_where_the_costliest_is_a_single_trial() -> None:
    single = toy_spec(unfrozen_blocks="all", num_epochs=100)
    deep = [toy_spec(unfrozen_blocks=1, seed=seed) for seed in range(4)]
    plan = toy_plan([single, *deep], workers(4))
    assert plan.groups[0].specs == (single,)
    assert [len(group.specs) for group in plan.groups[1:]] == [1, 1, 1, 1]  # 2 + 1 + 1 would end as late as 2 + 2


def test_heads_are_parted_for_workers_into_no_fewer_than_eight() -> None:
    slow = toy_speeds(1e5)
    many = [toy_spec(seed=seed) for seed in range(2 * MIN_HEADS + 1)]
    assert sorted(len(g.specs) for g in toy_plan(many, workers(4), speeds=slow).groups) == [MIN_HEADS, MIN_HEADS + 1]
    few = many[: 2 * MIN_HEADS - 1]
    assert len(toy_plan(few, workers(4), speeds=slow).groups) == 1


def test_short_groups_are_not_worth_another_worker() -> None:
    assert len(toy_plan(DEPTHS, workers(8), speeds=toy_speeds(1e15)).groups) == 4


def test_long_groups_start_first_and_families_stay_together() -> None:
    families = [toy_spec(weights="random", seed=seed, unfrozen_blocks=k) for seed in range(3) for k in (0, 1, 2)]
    whole = toy_spec(weights="random", unfrozen_blocks="all")
    plan = toy_plan([*families, whole])
    keys = [group.specs[0].backbone_key for group in plan.groups]
    assert plan.groups[0].specs == (whole,)
    assert len([key for key, _ in itertools.groupby(keys[1:])]) == 3
    assert [group.specs[0].unfrozen_blocks for group in plan.groups[1:4]] == [2, 1, 0]
    short = toy_spec(weights="random", unfrozen_blocks="all", batch_size=8, num_epochs=1)
    assert toy_plan([*families, whole, short]).groups == (*plan.groups, *toy_plan([short]).groups)


def test_time_of_one_worker_adds_up() -> None:
    plan = toy_plan(DEPTHS)
    seconds = sum(cost.seconds for cost in plan.costs) + sum(prefix.seconds for prefix in plan.prefixes)
    assert plan.estimate.seconds == pytest.approx(START_SECONDS + seconds)
    assert toy_plan([]).estimate.seconds == 0


def test_the_workers_that_will_run_are_reckoned_with() -> None:
    deep = [toy_spec(unfrozen_blocks="all", batch_size=size) for size in (8, 16, 32, 64)]

    def halves(groups: int) -> Crew:
        return Crew(2, 1) if groups > 1 else Crew(1, 2)

    alone, two = toy_plan(deep), toy_plan(deep, Limits(10**9, 10**9, 0, crew=halves))
    assert (alone.workers, two.workers, two.groups) == (1, 2, alone.groups)  # no group is parted for a CPU
    assert 1.5 < (alone.estimate.seconds - START_SECONDS) / (two.estimate.seconds - START_SECONDS) <= 2
    single, whole = toy_plan(deep[:1]), toy_plan(deep[:1], Limits(10**9, 10**9, 0, crew=halves))
    assert (whole.workers, whole.speeds.assumed.threads) == (1, 2)
    assert whole.estimate.seconds < single.estimate.seconds


def test_workers_that_start_on_one_family_wait_for_its_prefix() -> None:
    depths = [toy_spec(unfrozen_blocks=1, batch_size=size) for size in (8, 16)]
    plan = toy_plan(depths, workers(2))
    (prefix,) = plan.prefixes
    assert plan.estimate.seconds == pytest.approx(START_SECONDS + prefix.seconds + plan.costs[0].seconds)


def test_nobody_waits_for_what_an_activation_on_disk_was_computed_from() -> None:
    deep, shallow = toy_spec(unfrozen_blocks=2, num_epochs=4), toy_spec(unfrozen_blocks=1, num_epochs=40)
    plan = toy_plan([deep, shallow], workers(2), on_disk={1})
    assert [group.stored for group in plan.groups] == [(2, 1), (2,)]
    assert [(prefix.cut, prefix.on_disk) for prefix in plan.prefixes] == [(2, False), (1, True)]
    ends = (plan.costs[0].seconds, plan.prefixes[0].seconds + plan.costs[1].seconds)
    assert plan.estimate.seconds == pytest.approx(START_SECONDS + max(ends))
    assert plan.costs[0].seconds + plan.prefixes[0].seconds > max(ends)


trials = st.builds(
    toy_spec,
    unfrozen_blocks=st.sampled_from((0, 1, 2, "all")),
    weights=st.sampled_from(("random", "imagenet")),
    optimizer=st.sampled_from(("adam", "sgd")),
    test_time_augmentation=st.booleans(),
    augmentation=st.booleans(),
    seed=st.integers(0, 3),
    num_epochs=st.sampled_from((1, 10, 50)),
)
trials = st.builds(
    lambda spec, views: spec.replace(views=views if spec.augmentation and spec.unfrozen_blocks != "all" else 0),
    trials,
    st.sampled_from((0, 3)),
)
limits = st.builds(
    Limits, st.sampled_from((0, 10**6, 3 * 10**6, 10**9)), st.sampled_from((0, 7200, 10**9)), st.integers(0, 7)
)


@given(st.lists(trials, max_size=20, unique=True), limits, st.sets(st.integers(0, 2)))
@settings(max_examples=50)
def test_every_pending_trial_is_in_one_group_of_its_kind_and_no_plan_does_too_little_or_too_much(
    specs: list[TrialSpec], limits: Limits, on_disk: set[int]
) -> None:
    plan = toy_plan(specs, limits, on_disk=on_disk)
    assert sorted((s for group in plan.groups for s in group.specs), key=specs.index) == specs
    assert all(len({(s.group_key, s.unfrozen_blocks) for s in group.specs}) == 1 for group in plan.groups)
    estimate = plan.estimate
    assert estimate.minimal <= estimate.multiply_adds <= estimate.unshared
    stored = {(prefix.spec.backbone_key, prefix.cut) for prefix in plan.prefixes}
    assert all((group.specs[0].backbone_key, cut) in stored for group in plan.groups for cut in group.stored)
    assert toy_plan(specs, limits, on_disk=on_disk) == plan


def test_the_disk_is_asked_once_for_each_cut_of_a_family() -> None:
    asked: list[int] = []
    sizes = {spec.split_key: SIZES for spec in DEPTHS}
    make_plan(DEPTHS, {("Toy", 32): TOY}, sizes, workers(4), SLOW, lambda spec, cut: bool(asked.append(cut)))
    assert sorted(asked) == [0, 1, 2]


def test_limits_below_zero_are_refused() -> None:
    for field in ("disk_bytes", "head_memory_bytes", "workers"):
        with pytest.raises(ValueError, match=f"{field} must be 0 or more; got -1"):
            Limits(**{"disk_bytes": 1, "head_memory_bytes": 1, "workers": 1, field: -1})


def test_the_work_of_planning_grows_with_the_trials_and_not_with_their_square(monkeypatch: pytest.MonkeyPatch) -> None:
    costed: list[int] = []
    cost = Costs.cost
    monkeypatch.setattr(
        Costs, "cost", lambda costs, specs, *cuts: costed.append(len(specs)) or cost(costs, specs, *cuts)
    )

    def work(num_seeds: int) -> int:
        """Trials whose cost was counted, each time that it was."""
        costed.clear()
        kinds = itertools.product(("random", "imagenet"), (0, 1, 2, "all"), range(num_seeds))
        specs = [toy_spec(weights=weights, unfrozen_blocks=k, seed=seed) for weights, k, seed in kinds]
        assert sum(len(group.specs) for group in toy_plan(specs, workers(64)).groups) == len(specs)
        return sum(costed) + len(costed)

    assert work(100) < 3 * work(50) < 30_000


def test_compiling_counts_once_a_group() -> None:
    costs = toy_plan([toy_spec(unfrozen_blocks="all", seed=seed) for seed in range(2)]).costs
    work = 2 * TRAINED * (7 * MILLION + 100) / 1e8 + 2 * READ * 3072 / 1e9
    steps = 20 * ((19 + 4 / 3) * STEP_SECONDS["cpu"] + EPOCH_SECONDS["train"])
    assert [cost.seconds for cost in costs] == pytest.approx(
        [OTHER_FIXED["train"] + steps + work + 2 * TRIAL_SECONDS["train"]]
    )


def test_what_must_be_stored_first_counts_in_the_order() -> None:
    """Of two heads, the one with more frozen layers to compute starts first, until these are stored."""
    blocks = tuple(replace(block, multiply_adds=10 * block.multiply_adds) for block in TOY.blocks)
    structures = {("Toy", 32): TOY, ("Heavy", 32): Structure("Heavy", 32, blocks)}
    specs = [toy_spec(num_epochs=11), toy_spec(backbone="Heavy", num_epochs=10)]
    for stored, first in ((False, "Heavy"), (True, "Toy")):
        answer = {True: lambda spec, cut: True, False: lambda spec, cut: False}[stored]
        plan = make_plan(specs, structures, {specs[0].split_key: SIZES}, workers(1), SLOW, answer)
        assert plan.groups[0].specs[0].backbone == first


def test_folds_share_the_prefix_of_their_heads_and_train_apart() -> None:
    folds = [spec.replace(num_folds=5, fold=fold) for spec in HEADS for fold in range(5)]
    plan = toy_plan(folds)
    assert sorted(len(group.specs) for group in plan.groups) == [len(HEADS)] * 5
    assert {len({spec.fold for spec in group.specs}) for group in plan.groups} == {1}
    (prefix,) = plan.prefixes
    assert (prefix.users, prefix.multiply_adds) == (5 * len(HEADS), 1000 * 7 * MILLION)
