from __future__ import annotations

import hashlib
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from galaxytl.data import DataError, open_dataset
from galaxytl.networks.blocks import Block, Structure, structures
from galaxytl.trial import FAILED, SpecError, TrialSpec
from sweep import prepare
from sweep.grids import axes, builtin
from sweep.prepare import profile_for, resolve_weights
from sweep.scheduling.resources import Available, Resources, Where
from tests.galaxies import make_images, write_hdf5

BASE = TrialSpec(dataset="simulated", dataset_fingerprint="0f3a", **builtin.PROFILES["laptop"])


def expand(
    num_seeds: int = 1, grid: str = "paper", profile: str = "laptop", **overrides: list[object]
) -> list[TrialSpec]:
    changed = axes.overridden(builtin.find(grid)[profile], overrides)
    return list(axes.expand(axes.repeated(changed, num_seeds), BASE.replace(**builtin.PROFILES[profile])).specs)


def test_the_papers_grid_is_three_backbones_on_and_off() -> None:
    specs = expand()
    assert [(s.backbone, s.weights, s.unfrozen_blocks) for s in specs] == [
        *((backbone, "imagenet", 0) for backbone in ("VGG16", "ResNet50", "MobileNet")),
        *((backbone, "random", "all") for backbone in ("VGG16", "ResNet50", "MobileNet")),
    ]
    assert {(s.optimizer, s.learning_rate, s.preprocessing) for s in specs} == {("adam", 1e-3, "divide_by_255")}


def test_paper_profile_is_the_study_at_its_size() -> None:
    spec = TrialSpec(dataset="d", dataset_fingerprint="f", **builtin.PROFILES["paper"])
    assert (spec.image_size, spec.max_images, spec.num_epochs) == (224, 0, 20)
    assert (spec.batch_size, spec.test_fraction, spec.validation_fraction) == (32, 0.3, 0.0)


def test_seeds_repeat_every_trial_on_the_same_split() -> None:
    specs = expand(num_seeds=3)
    assert len(specs) == 18
    assert {s.seed for s in specs} == {0, 1, 2}
    assert {s.split_seed for s in specs} == {0}
    assert {s.seed for s in expand(num_seeds=2, seed=[10])} == {10, 11}


def test_unknown_names_get_the_nearest_one() -> None:
    names = "paper, lr, unfreeze, gradual, vgg-collapse, smoke, or a YAML file like my_grid.yaml"
    with pytest.raises(SpecError, match=f"--grid must be one of {names}; got 'unfreze'. Did you mean 'unfreeze'\\?"):
        builtin.find("unfreze")


@pytest.mark.parametrize(
    ("data", "gpus", "profile"),
    [
        (None, 0, "laptop"),
        (None, 8, "laptop"),
        ("simulated:9", 1, "laptop"),
        ("g.h5", 0, "laptop"),
        ("g.h5", 1, "paper"),
    ],
)
def test_the_paper_profile_is_for_real_galaxies_on_a_gpu(
    data: str | None, gpus: int, profile: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepare, "find_nodes", lambda *_: Available((Resources(2, gpus),)))
    assert profile_for(None, data, Where(None, None, None, Path("sweep.log"))) == profile
    assert profile_for("laptop", data, Where(None, None, None, Path("sweep.log"))) == "laptop"


def test_missing_weights_are_substituted_on_simulated_galaxies_and_say_so() -> None:
    prepared = resolve_weights(expand(), None, {})
    assert not prepared.impossible
    on = [spec for spec in prepared.specs if spec.trains_head_only]
    assert {spec.weights_label for spec in on} == {"random (ImageNet weights not found)"}
    assert not any(spec.is_substituted for spec in prepared.specs if spec.unfrozen_blocks == "all")


def test_missing_weights_fail_on_real_galaxies() -> None:
    real = [spec.replace(dataset="galaxy10_decals") for spec in expand()]
    prepared = resolve_weights(real, None, {})
    assert len(prepared.specs) == 3
    assert {result.spec.backbone for result in prepared.impossible} == {"VGG16", "ResNet50", "MobileNet"}
    assert all(result.status == FAILED and "not found: put" in result.message for result in prepared.impossible)


def test_several_values_of_a_field_multiply_the_grid_and_leave_no_repetition() -> None:
    specs = expand(learning_rate=[1e-3, 1e-4], batch_size=[16, 32], num_seeds=2)
    assert len({spec.trial_id for spec in specs}) == len(specs) == 6 * 2 * 2 * 2
    frozen = expand(backbone=["VGG16"], weights=["random"], unfrozen_blocks=[0, 1], learning_rate=[1e-3, 1e-4])
    assert [(s.unfrozen_blocks, s.learning_rate) for s in frozen] == [(0, 1e-3), (0, 1e-4), (1, 1e-3), (1, 1e-4)]
    assert len(expand(weights=["random"])) == 6  # both starts of each backbone, which differ in what is frozen
    assert not any(spec.is_substituted for spec in expand(weights=["random"]))


VGG16 = Structure("VGG16", 32, tuple(Block(f"block{i}_pool", (1, 1, 8), 10, 5) for i in range(5)))


def test_as_many_unfrozen_blocks_as_there_are_is_all_and_more_are_refused() -> None:
    def checked(blocks: int | str) -> int | str:
        spec = BASE.replace(backbone="VGG16", unfrozen_blocks=blocks)
        return prepare.check_networks([spec], {("VGG16", 32): VGG16})[0].unfrozen_blocks

    assert [checked(blocks) for blocks in (0, 4, 5, "all")] == [0, 4, "all", "all"]
    with pytest.raises(SpecError, match="unfrozen_blocks must be at most the number of blocks, 5 for VGG16; got 6"):
        checked(6)


def test_a_network_that_scales_pixels_is_fed_whole_ones() -> None:
    spec = BASE.replace(backbone="EfficientNetB0", preprocessing="divide_by_255")
    structures = {("EfficientNetB0", spec.image_size): VGG16}  # as many blocks as it takes
    with pytest.raises(SpecError, match=r"must be backbone for EfficientNetB0.*add --set preprocessing=backbone"):
        prepare.check_networks([spec], structures)
    fed = spec.replace(preprocessing="backbone")
    assert prepare.check_networks([fed], structures) == [fed]


def test_leaks_are_said_and_grouping_prevents_them_under_an_id_of_its_own(tmp_path: Path) -> None:
    positions = np.repeat(np.arange(20.0), 2)  # every position twice: images 2 i and 2 i + 1 are of one galaxy
    path = write_hdf5(tmp_path / "pairs.h5", ra=positions, dec=np.zeros(40))
    dataset = open_dataset(str(path))
    base = prepare.base_spec(dataset.facts, "laptop")
    grid = builtin.find("paper")["laptop"]
    torn = prepare.check_splits(dataset, axes.expand(grid, base).specs, lambda *_: None)
    (note,) = torn.notes
    assert "galaxies have images on both sides of the train/test split; --group-by-sky prevents it" in note
    assert torn.specs[0].groups_fingerprint == ""
    by_sky = axes.overridden(grid, {"group_by_sky": [True]})
    grouped = prepare.check_splits(dataset, axes.expand(by_sky, base).specs, lambda *_: None)
    assert grouped.notes == ()
    assert len(grouped.specs[0].groups_fingerprint) == 64
    assert grouped.specs[0].trial_id != torn.specs[0].trial_id


def test_a_sweep_stops_at_a_damaged_dataset_unless_that_is_accepted(tmp_path: Path) -> None:
    images = make_images()
    images[3] = 0
    few = open_dataset(str(write_hdf5(tmp_path / "few.h5", images=images)))
    assert prepare.check_content(few, False, lambda *_: None) == ""  # one black image is an accident
    images[:4] = 0
    dataset = open_dataset(str(write_hdf5(tmp_path / "many.h5", images=images)))
    with pytest.raises(DataError, match=r"would spoil a sweep: 4 images black all over\. .*--accept-damaged"):
        prepare.check_content(dataset, False, lambda *_: None)
    assert prepare.check_content(dataset, True, lambda *_: None) == "4 images black all over"


@pytest.mark.parametrize("profile", builtin.PROFILES)
@pytest.mark.parametrize("name", builtin.GRIDS)
def test_every_grid_is_what_its_docstring_says(name: str, profile: str) -> None:
    grid = builtin.find(name)[profile]
    docstring = builtin.GRIDS[name].__doc__ or ""
    said = re.search(rf"{profile} profile: (\d+) trials a seed, about \d+ (GPU )?(minutes|hours)", docstring)
    assert said, docstring
    expanded = axes.expand(grid, BASE.replace(**builtin.PROFILES[profile]))
    assert not expanded.skipped
    assert int(said[1]) == grid.size == len(expanded.specs) == len({spec.trial_id for spec in expanded.specs})
    assert f"python -m sweep.run --grid {name}" in docstring
    assert (grid.name, grid.purpose[-1]) == (name, "?")
    assert "scientific" in {axis.role for part in grid.parts for axis in part}
    assert {spec.weights for spec in expanded.specs} == {"imagenet", "random"} or name in ("unfreeze", "gradual")
    assert not any(spec.is_substituted for spec in expanded.specs)


@pytest.mark.parametrize("profile", builtin.PROFILES)
def test_only_the_papers_grid_is_watched_on_the_test_part(profile: str) -> None:
    held_out = {
        name: {spec.validation_fraction for spec in expand(grid=name, profile=profile)} for name in builtin.GRIDS
    }
    assert held_out == {"paper": {0.0}} | {name: {0.1} for name in builtin.GRIDS if name != "paper"}


def test_learning_rates_are_those_of_every_backbone_start_and_optimizer() -> None:
    specs = expand(grid="lr", profile="paper")
    cells = Counter((s.backbone, s.weights, s.unfrozen_blocks, s.optimizer, s.momentum) for s in specs)
    assert len(cells) == 3 * 2 * 3
    assert set(cells.values()) == {7}
    assert {s.momentum for s in specs if s.optimizer == "sgd"} == {0.9}
    assert {s.momentum for s in specs if s.optimizer != "sgd"} == {0.0}


def arms(specs: list[TrialSpec], backbone: str) -> set[tuple[str, int | str]]:
    return {(spec.weights, spec.unfrozen_blocks) for spec in specs if spec.backbone == backbone}


def cure_of(spec: TrialSpec) -> tuple[float, float, str, int]:
    return spec.warmup_epochs, spec.global_clipnorm, spec.schedule, spec.batch_size


def test_collapse_has_every_arm_for_the_controls_too() -> None:
    specs = expand(grid="vgg-collapse", profile="paper", num_seeds=2)
    assert len(specs) == 2 * (288 + 26)
    for backbone in builtin.BACKBONES:
        assert arms(specs, backbone) == {("imagenet", 0), ("random", "all"), ("random", 0), ("imagenet", "all")}
    plain = [s for s in specs if cure_of(s) == (0.0, 0.0, "constant", 32)]
    cells = Counter((s.backbone, s.weights, s.unfrozen_blocks, s.preprocessing, s.seed) for s in plain)
    assert set(cells.values()) == {3 * 4}


def test_collapse_on_a_laptop_trains_few_networks_and_all_heads() -> None:
    specs = [s for s in expand(grid="vgg-collapse") if cure_of(s) == (0.0, 0.0, "constant", 16)]
    assert arms(specs, "VGG16") == {("imagenet", 0), ("random", "all"), ("random", 0)}
    assert arms(specs, "ResNet50") == {("imagenet", 0), ("random", 0)}
    scratch = [(s.backbone, s.optimizer, s.learning_rate) for s in specs if s.unfrozen_blocks == "all"]
    assert len(scratch) == 6
    assert {("VGG16", "adam", 1e-3), ("VGG16", "adam", 1e-4), ("MobileNet", "adam", 1e-3)} < set(scratch)
    vgg = [spec for spec in specs if spec.backbone == "VGG16" and spec.trains_head_only]
    assert len(vgg) == 2 * 3 * 4 * 2


@pytest.mark.parametrize(("profile", "number"), [("laptop", 20), ("paper", 26)])
def test_each_cure_has_its_reference_which_differs_in_it_alone(profile: str, number: int) -> None:
    specs = set(expand(grid="vgg-collapse", profile=profile))
    size = builtin.PROFILES[profile]["batch_size"]
    plain = {"warmup_epochs": 0.0, "global_clipnorm": 0.0, "schedule": "constant", "batch_size": size}
    cured = [s for s in specs if s.replace(**plain) != s]
    assert len(cured) == number
    assert all(spec.replace(**plain) in specs for spec in cured)
    assert {(s.backbone, s.preprocessing, s.optimizer) for s in cured} == {
        ("VGG16", "divide_by_255", "adam"),
        ("VGG16", "divide_by_255", "sgd"),
    }
    alone = {cure_of(s) for s in cured if s.unfrozen_blocks == "all" and s.optimizer == "adam"}
    warm = 2.5 if profile == "laptop" else 5.0
    assert {(warm, 0.0, "constant", size), (0.0, 1.0, "constant", size), (0.0, 0.0, "constant", size // 2)} <= alone
    both = {(s.weights, s.optimizer) for s in cured if s.warmup_epochs and s.global_clipnorm and s.trains_head_only}
    assert both == {(weights, name) for weights in ("imagenet", "random") for name in ("adam", "sgd")}


def test_trials_that_the_collapse_grid_had_before_keep_their_ids() -> None:
    for profile, digest in {
        "laptop": "18a2074751109b8f68887f7027c52c7f400f3f334e397d509cad5723af8a1918",
        "paper": "68a662884bee1f236f78518aa84d34b1e3ccb2eb0fcfa364eb50f234bc22294b",
    }.items():
        plain = (0.0, 0.0, "constant", builtin.PROFILES[profile]["batch_size"])
        ids = [s.trial_id for s in expand(grid="vgg-collapse", profile=profile) if cure_of(s) == plain]
        assert hashlib.sha256(" ".join(sorted(ids)).encode()).hexdigest() == digest


@pytest.mark.parametrize("profile", builtin.PROFILES)
def test_choosing_a_backbone_keeps_its_own_depths(profile: str) -> None:
    specs = expand(grid="unfreeze", profile=profile, backbone=["VGG16"])
    assert {spec.unfrozen_blocks for spec in specs} == set(builtin.DEPTHS[profile]["VGG16"])
    all_backbones = expand(grid="unfreeze", profile=profile, unfrozen_blocks=[1])
    assert {spec.backbone for spec in all_backbones} == set(builtin.BACKBONES)


@pytest.mark.parametrize("profile", builtin.PROFILES)
def test_stages_are_compared_with_all_blocks_at_once_and_with_the_head_alone(profile: str) -> None:
    ways = Counter((s.backbone, s.unfrozen_blocks, s.unfreeze_stages) for s in expand(grid="gradual", profile=profile))
    assert len(ways) == 3 * 3
    assert set(ways.values()) == {3}  # learning rates
    for backbone, depths in builtin.DEPTHS[profile].items():
        staged = ",".join(map(str, depths))
        assert {way[1:] for way in ways if way[0] == backbone} == {("all", ""), ("all", staged), (0, "")}


def test_stages_name_fewer_blocks_than_there_are_but_for_the_last() -> None:
    def checked(stages: str) -> tuple[int | str, str]:
        *_, last = stages.split(",")
        spec = BASE.replace(
            backbone="VGG16", unfreeze_stages=stages, unfrozen_blocks="all" if last == "all" else int(last)
        )
        (found,) = prepare.check_networks([spec], {("VGG16", 32): VGG16})
        return found.unfrozen_blocks, found.unfreeze_stages

    assert checked("0,4") == (4, "0,4")
    assert checked("0,2,5") == checked("0,2,all") == ("all", "0,2,all")
    with pytest.raises(SpecError, match="unfrozen_blocks must be at most the number of blocks, 5 for VGG16; got 6"):
        checked("0,6")
    with pytest.raises(SpecError, match=r"must name fewer blocks than there are, 5 for VGG16, .*; got 0,5,all"):
        checked("0,5,all")


@pytest.mark.rest
def test_depths_are_whole_stages() -> None:
    """Of the real networks, which Keras builds."""
    found = structures({(backbone, 64) for backbone in builtin.BACKBONES})
    for depths in builtin.DEPTHS.values():
        for backbone, cuts in depths.items():
            structure = found[backbone, 64]
            inner = [cut for cut in cuts if isinstance(cut, int) and cut > 0]
            assert all(structure.shape_at(cut) != structure.shape_at(cut - 1) for cut in inner)
            assert max(inner) < len(structure.blocks)
    with pytest.raises(AssertionError):
        assert found["ResNet50", 64].shape_at(2) != found["ResNet50", 64].shape_at(1)  # in the middle of conv5


def test_the_grids_behind_the_report_record_diagnostics_unless_told_otherwise() -> None:
    recorded = {name for name in builtin.GRIDS if builtin.find(name)["laptop"].diagnostics}
    assert recorded == {"paper", "vgg-collapse"}
    grid = axes.repeated(axes.overridden(builtin.find("paper")["paper"], {"learning_rate": [1e-4]}), 2)
    assert grid.diagnostics
