from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from galaxytl.blocks import Block, Structure
from galaxytl.data import open_dataset
from galaxytl.trial import COMPLETE, FAILED, SpecError, TrialResult, TrialSpec
from sweep import grids, prepare
from sweep.plan import sort_out
from sweep.prepare import choose_profile, resolve_weights
from tests.galaxies import write_hdf5

BASE = TrialSpec(dataset="simulated", dataset_fingerprint="0f3a", **grids.PROFILES["laptop"])


def expand(num_seeds: int = 1, **overrides: object) -> list[TrialSpec]:
    return grids.expand("paper", BASE, overrides, num_seeds)


def test_the_papers_grid_is_three_backbones_on_and_off() -> None:
    specs = expand()
    assert [(s.backbone, s.weights, s.unfrozen_blocks) for s in specs] == [
        ("VGG16", "imagenet", 0),
        ("ResNet50", "imagenet", 0),
        ("MobileNet", "imagenet", 0),
        ("VGG16", "random", "all"),
        ("ResNet50", "random", "all"),
        ("MobileNet", "random", "all"),
    ]
    assert {(s.optimizer, s.learning_rate, s.preprocessing) for s in specs} == {("adam", 1e-3, "divide_by_255")}


def test_paper_profile_is_the_study_at_its_size() -> None:
    spec = TrialSpec(dataset="d", dataset_fingerprint="f", **grids.PROFILES["paper"])
    assert (spec.image_size, spec.max_images, spec.num_epochs) == (224, 0, 20)
    assert (spec.batch_size, spec.test_fraction, spec.validation_fraction) == (32, 0.3, 0.0)


def test_seeds_repeat_every_trial_on_the_same_split() -> None:
    specs = expand(num_seeds=3)
    assert len(specs) == 18
    assert {s.seed for s in specs} == {0, 1, 2}
    assert {s.split_seed for s in specs} == {0}
    assert {s.seed for s in expand(num_seeds=2, seed=10)} == {10, 11}


def test_overrides_apply_to_all_and_leave_no_repetition() -> None:
    assert {s.learning_rate for s in expand(learning_rate=1e-4)} == {1e-4}
    assert len(expand(backbone="VGG16")) == 2
    random = expand(weights="random")
    assert not any(s.is_substituted for s in random)


def test_unknown_names_get_the_nearest_one() -> None:
    with pytest.raises(SpecError, match=r"--grid must be one of paper; got 'papper'. Did you mean 'paper'\?"):
        grids.named("grid", "papper", grids.GRIDS)


@pytest.mark.parametrize(
    ("data", "gpus", "profile"),
    [
        (None, 0, "laptop"),
        (None, 8, "laptop"),
        ("simulated:500", 1, "laptop"),
        ("g.h5", 0, "laptop"),
        ("g.h5", 1, "paper"),
    ],
)
def test_default_profile(data: str | None, gpus: int, profile: str) -> None:
    assert choose_profile(data, gpus) == profile


def test_missing_weights_are_substituted_on_simulated_galaxies_and_say_so() -> None:
    prepared = resolve_weights(expand(), None)
    assert not prepared.impossible
    on = [spec for spec in prepared.specs if spec.unfrozen_blocks == 0]
    assert {spec.weights_label for spec in on} == {"random (ImageNet weights not found)"}
    assert not any(spec.is_substituted for spec in prepared.specs if spec.unfrozen_blocks == "all")


def test_missing_weights_fail_on_real_galaxies() -> None:
    real = [spec.replace(dataset="galaxy10_decals") for spec in expand()]
    prepared = resolve_weights(real, None)
    assert len(prepared.specs) == 3
    assert {result.spec.backbone for result in prepared.impossible} == {"VGG16", "ResNet50", "MobileNet"}
    assert all(result.status == FAILED and "not found: put" in result.message for result in prepared.impossible)


def test_several_values_of_a_field_multiply_the_grid() -> None:
    specs = expand(learning_rate=[1e-3, 1e-4], batch_size=[16, 32], num_seeds=2)
    assert len({spec.trial_id for spec in specs}) == len(specs) == 6 * 2 * 2 * 2
    frozen = expand(backbone=["VGG16"], weights=["random"], unfrozen_blocks=[0, 1], learning_rate=[1e-3, 1e-4])
    assert [(spec.unfrozen_blocks, spec.learning_rate) for spec in frozen] == [
        (0, 1e-3),
        (0, 1e-4),
        (1, 1e-3),
        (1, 1e-4),
    ]


VGG16 = Structure("VGG16", 32, tuple(Block(f"block{i}_pool", (1, 1, 8), 10, 5) for i in range(5)))


@pytest.mark.parametrize(("asked", "trained"), [(0, 0), (4, 4), (5, "all"), ("all", "all")])
def test_as_many_unfrozen_blocks_as_there_are_is_all(asked: int | str, trained: int | str) -> None:
    (spec,) = prepare.check_depths([BASE.replace(backbone="VGG16", unfrozen_blocks=asked)], {("VGG16", 32): VGG16})
    assert spec.unfrozen_blocks == trained


def test_more_unfrozen_blocks_than_there_are() -> None:
    with pytest.raises(SpecError, match="unfrozen_blocks must be at most the number of blocks, 5 for VGG16; got 6"):
        prepare.check_depths([BASE.replace(backbone="VGG16", unfrozen_blocks=6)], {("VGG16", 32): VGG16})


def test_todo_drops_what_is_done() -> None:
    specs = expand()
    rows = {
        specs[0].trial_id: TrialResult(spec=specs[0], status=COMPLETE),
        specs[1].trial_id: TrialResult(spec=specs[1], status=FAILED, message="diverged"),
    }
    todo = sort_out(specs, rows)
    assert todo.pending == tuple(specs[2:])
    assert todo.finished == (specs[0],)
    assert todo.failed == (specs[1],)
    retry = sort_out(specs, rows, retry_failed=True)
    assert len(retry.pending) == 5
    assert retry.failed == ()


def test_leaks_are_said_and_grouping_prevents_them_under_an_id_of_its_own(tmp_path: Path) -> None:
    positions = np.repeat(np.arange(20.0), 2)  # every position twice: images 2 i and 2 i + 1 are of one galaxy
    path = write_hdf5(tmp_path / "pairs.h5", ra=positions, dec=np.zeros(40))
    dataset = open_dataset(str(path))
    base = prepare.base_spec(dataset, "laptop")
    torn = prepare.check_splits(dataset, grids.expand("paper", base, {}, 1), lambda *_: None)
    assert re.search(
        r"galaxies have images on both sides of the train/test split; --group-by-sky prevents it", torn.notes[0]
    )
    assert len(torn.notes) == 1
    assert torn.specs[0].groups_fingerprint == ""
    grouped = prepare.check_splits(dataset, grids.expand("paper", base, {"group_by_sky": True}, 1), lambda *_: None)
    assert grouped.notes == ()
    assert len(grouped.specs[0].groups_fingerprint) == 64
    assert grouped.specs[0].trial_id != torn.specs[0].trial_id
