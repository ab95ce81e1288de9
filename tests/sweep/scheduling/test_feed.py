"""Which groups Tune is given, when, and which of them go to nodes without GPU."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from galaxytl.learning.job import Group
from galaxytl.trial import TrialSpec
from sweep.scheduling.feed import Feed, Room, features_of
from sweep.scheduling.resources import Resources, spare_place
from sweep.scheduling.worker import ON_SPARE, config_of, group_of, unfinished_config
from tests.sweep.scheduling.test_tune import GROUPS, SPECS, Groups, having
from tests.sweep.sweeps import ROOT

ROOM = Room(Resources(1, 0), workers=2, num_offered=66, spare=Resources(0, 0), num_spare=0)


def test_a_group_is_made_when_tune_asks_for_it_and_not_before() -> None:
    groups = Groups()
    feed = Feed(iter(groups), ROOM)
    assert groups.made == 0
    assert feed.suggest("a") == config_of(GROUPS[0])
    assert (groups.made, feed.offered) == (1, GROUPS[:1])
    assert feed.suggest("b") == config_of(GROUPS[1])
    assert groups.made == 2
    assert feed.suggest("c") is None  # not now
    feed.on_trial_complete("a")
    assert feed.suggest("d") is None  # b may change that
    groups.ended |= {spec.trial_id for spec in SPECS}
    feed.on_trial_complete("b")
    assert group_of(feed.suggest("e")).specs[0].seed == 9
    assert not feed.is_empty
    assert [feed.suggest(name) for name in "fg"] == [feed.FINISHED] * 2
    assert feed.is_empty


def test_a_feed_of_which_only_dead_workers_are_left_ends_the_round() -> None:
    feed = Feed(iter(Groups()), ROOM)
    for name in "ab":
        feed.suggest(name)
        feed.on_trial_complete(name, error=True)
    assert feed.suggest("c") == feed.FINISHED
    assert not feed.is_empty


# Nodes without GPU

HEADS = [
    Group((TrialSpec(dataset="simulated", dataset_fingerprint="0f3a", learning_rate=rate),), (0,))
    for rate in (1e-3, 1e-4, 1e-5, 1e-6)
]
DEEP = Group((HEADS[0].specs[0].replace(unfrozen_blocks=1),), (1,))
WITH_SPARE = Room(Resources(4, 1), workers=1, num_offered=1, spare=Resources(2, 0), num_spare=1)


def is_for_spare(config: Any) -> bool:
    return bool(config.get(ON_SPARE))


def test_heads_whose_features_are_there_go_to_nodes_without_gpu_when_all_gpus_are_taken() -> None:
    feed = Feed(iter([HEADS[0], DEEP, *HEADS[1:]]), WITH_SPARE)
    assert not is_for_spare(feed.suggest("a"))
    assert feed.suggest("b") is None  # the only GPU is taken, and DEEP is more than heads
    feed.on_trial_complete("a")
    assert group_of(feed.suggest("b")) == DEEP
    config = feed.suggest("c")
    assert is_for_spare(config)
    assert WITH_SPARE.request(config).required_resources == {"CPU": 2}
    assert feed.suggest("d") is None  # the only place there is taken too
    feed.on_trial_complete("b")
    config = feed.suggest("d")
    assert not is_for_spare(config)  # a GPU is free
    assert WITH_SPARE.request(config).required_resources == {"CPU": 4, "GPU": 1}
    feed.on_trial_complete("c", error=True)
    assert is_for_spare(feed.suggest("e"))
    assert feed.suggest("f") == feed.FINISHED
    assert feed.offered == [HEADS[0], DEEP, *HEADS[1:]]


def test_heads_of_which_no_node_holds_the_features_wait_for_a_gpu() -> None:
    other = replace(HEADS[1], specs=(HEADS[1].specs[0].replace(image_size=96),))
    unstored = replace(HEADS[1], stored=())
    for second in (other, unstored):
        feed = Feed(iter([HEADS[0], HEADS[2], second]), WITH_SPARE)
        feed.suggest("a")
        feed.on_trial_complete("a")
        feed.suggest("b")
        assert feed.suggest("c") is None
        feed.on_trial_complete("b")
        assert not is_for_spare(feed.suggest("c"))
    failed = Feed(iter(HEADS), WITH_SPARE)
    failed.suggest("a")
    failed.on_trial_complete("a", error=True)
    failed.suggest("b")
    assert failed.suggest("c") is None


def test_features_are_those_of_heads_alone() -> None:
    assert features_of(DEEP) == features_of(replace(HEADS[0], stored=())) == ()
    assert features_of(HEADS[0]) == features_of(HEADS[1]) != ()
    folds = [Group((HEADS[0].specs[0].replace(num_folds=3, fold=fold),), (0,)) for fold in range(3)]
    assert len(set(map(features_of, folds))) == 1


def test_a_group_that_goes_on_goes_on_there() -> None:
    config = {**config_of(GROUPS[1]), ON_SPARE: True}
    left = unfinished_config(config, {SPECS[1].trial_id})
    assert is_for_spare(left)
    assert group_of(left).specs == (SPECS[2],)
    assert not is_for_spare(unfinished_config(config_of(GROUPS[1]), set()))


@pytest.mark.parametrize(
    ("nodes", "trial", "cpus", "num"),
    [
        ([(0, 0), (8, 1), (32, 0)], (8, 1), 8, 4),
        ([(8, 1), (4, 0), (4, 0)], (8, 1), 4, 2),
        ([(0, 0), (8, 1)], (8, 1), 0, 0),  # the head takes no trials
        ([(32, 0), (16, 0)], (4, 0), 0, 0),  # nobody has a GPU
        ([(0.5, 1), (4, 0)], (0.5, 1), 0, 0),
    ],
)
def test_place_on_nodes_without_gpu(nodes: Any, trial: tuple[float, float], cpus: float, num: int) -> None:
    assert spare_place(having(*nodes), Resources(*trial)) == (Resources(cpus, 0), num)


@pytest.mark.rest
@pytest.mark.alone
def test_heads_on_a_node_without_gpu(tmp_path: Path) -> None:
    """On real Ray: the first group computes features on the node with a GPU; while another keeps that busy, the others'
    heads are trained on the node without, which copies them."""
    command = [sys.executable, "-m", "tests.sweep.hardware_driver", "spare", "-", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=540, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    seen = json.loads(done.stdout.splitlines()[-1])
    assert seen["statuses"] == ["COMPLETE"] * 5
    assert seen["gpus"] == {"heads 0": 1.0, "deep": 1.0, "heads 1": 0.0, "heads 2": 0.0, "heads 3": 0.0}
    assert seen["nodes"]["heads 0"] == seen["nodes"]["deep"]
    assert {seen["nodes"][f"heads {number}"] for number in (1, 2, 3)} == {seen["other"]}
    assert seen["copied"] == ["copied"]  # once, though computing is said to have taken no time
