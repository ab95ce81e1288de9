"""A user's grid in YAML: what it means, and every way in which it can be wrong."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from galaxytl.networks.blocks import Block, Structure
from galaxytl.trial import SpecError, TrialSpec
from sweep import prepare
from sweep.command_line import parse_settings
from sweep.grids import builtin
from sweep.grids.axes import Axis, describe, expand
from sweep.grids.yaml_grid import read_grid
from sweep.run import main
from tests.sweep.sweeps import QUICK

BASE = TrialSpec(dataset="simulated", dataset_fingerprint="0f3a")

GOOD = """
name: my-grid            # optional
purpose: does depth
  pay?
fixed:      {num_epochs: 30, stratified: true, weights: random}
scientific:
  backbone: [VGG16, MobileNet]
  learning_rate: [1e-3, 0.0001]      # YAML reads 1e-3 as text
  unfrozen_blocks: [0, all]
nuisance:
  seed: [0, 1]
  optimizer: [adam, {optimizer: sgd, momentum: 0.9}]
"""


def write(folder: Path, text: str, name: str = "a_grid.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_a_good_file(tmp_path: Path) -> None:
    grid = read_grid(write(tmp_path, GOOD))
    assert (grid.name, grid.purpose, grid.size) == ("my-grid", "does depth pay?", 32)
    (axes,) = grid.parts
    found = {axis.name: axis for axis in axes}
    assert found["learning_rate"] == Axis("learning_rate", (1e-3, 1e-4), "scientific")
    assert found["seed"] == Axis("seed", (0, 1), "nuisance")
    assert found["num_epochs"] == Axis("num_epochs", (30,), "fixed")
    expanded = expand(grid, BASE)
    assert len(expanded.specs) == 32
    assert not expanded.skipped
    assert {(s.optimizer, s.momentum) for s in expanded.specs} == {("adam", 0.0), ("sgd", 0.9)}
    assert {s.unfrozen_blocks for s in expanded.specs} == {0, "all"}
    assert {(s.weights, s.weights_requested, s.stratified) for s in expanded.specs} == {("random", "random", True)}


def test_validation_images_are_held_out_unless_the_file_says_otherwise(tmp_path: Path) -> None:
    held_out = expand(read_grid(write(tmp_path, "scientific: {seed: [1, 2]}")), BASE).specs
    assert {s.validation_fraction for s in held_out} == {0.1}
    none = expand(read_grid(write(tmp_path, "fixed: {validation_fraction: 0}")), BASE).specs
    assert {s.validation_fraction for s in none} == {0.0}


def test_a_named_axis_of_mappings(tmp_path: Path) -> None:
    text = "scientific: {start: [{weights: imagenet}, {weights: random, unfrozen_blocks: all}]}"
    specs = expand(read_grid(write(tmp_path, text)), BASE).specs
    assert [(s.weights, s.weights_requested, s.unfrozen_blocks) for s in specs] == [
        ("imagenet", "imagenet", 0),
        ("random", "random", "all"),
    ]


def test_the_same_grid_in_every_profile_under_the_files_name(tmp_path: Path) -> None:
    found = builtin.find(str(write(tmp_path, "scientific: {seed: [1, 2]}", "two_seeds.YML")))
    assert found.keys() == builtin.PROFILES.keys()
    assert {grid.name for grid in found.values()} == {"two_seeds"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must be a mapping with the keys name, purpose, scientific, nuisance, fixed; got nothing"),
        ("name: x", "must set a field under scientific, nuisance, fixed; got none"),
        ("nuisence: {seed: [1]}", "got 'nuisence'. Did you mean 'nuisance'?"),
        ("seed: [1, 2]", "a field stands under scientific, nuisance, fixed; got 'seed' beside them"),
        ("fixed: [seed]", "fixed must map fields to values; got a list of 1"),
        ("nuisance:", "nuisance must map fields to values; got nothing. Leave it out"),
        ("scientific: {learning_rat: [1e-3]}", "'learning_rat' is no field of a trial. Did you mean 'learning_rate', "),
        ("scientific: {1: [2]}", "'1' is no field of a trial"),
        ("scientific: {sead: []}", "'sead' is no field of a trial. Did you mean 'seed'?"),
        ("scientific: {seed: []}", "seed must have at least one value; got none"),
        ("scientific: {seed: 3}", "takes a list, as in seed: [..., ...]; got '3' for seed: one value is fixed"),
        ("fixed: {seed: [3, 4]}", "a fixed field has one value; got a list of 2 for seed"),
        ("scientific: {learning_rate: [1e-3, 0.001]}", "the values of learning_rate must differ; got 0.001 twice"),
        ("scientific: {learning_rate: [true]}", "learning_rate must be a number; got True"),
        ("scientific: {learning_rate: [[1e-3]]}", "rate must be a number, a word, true or false; got a list of 1"),
        ("scientific: {seed: [2020-13-41]}", "seed must be a whole number; got '2020-13-41'"),
        ("fixed: {seed: ~}", "seed must be a whole number; got '~'"),
        ("fixed: {seed: }", "seed must be a number, a word, true or false; got nothing"),
        ("fixed: {stratified: yes}", "stratified must be true or false; got 'yes'"),
        ("nuisance: {momentum: [&a {momentum: 0.5, seed: 1}, {<<: *a, seed: 2}]}", "a key is given once; got 'seed'"),
        ("nuisance: {a: [{<<: [{seed: 1}, {seed: 2}]}]}", "a key is given once; got 'seed'"),
        ("scientific: {stratified: [1]}", "stratified must be true or false; got 1"),
        ("scientific: {optimizer: [{momentum: 0.9}]}", "every value of optimizer must set it; got (momentum 0.9)"),
        (
            "scientific: {optimizer: [{optimizer: sgd, momentun: 1}]}",
            "'momentun' is no field of a trial. Did you mean 'momentum'",
        ),
        ("scientific: {backbone: [VGG6]}", "got 'VGG6'. Did you mean 'VGG16'?"),
        ("scientific: {backbone: [16]}", "Xception, or MODULE:FUNCTION of your own, or kerashub:PRESET; got '16'"),
        ("fixed: {weights_fingerprint: ab}", "'weights_fingerprint' cannot be set: a sweep finds it out"),
        ("fixed: {seed: 1}\nname: a\nfixed: {seed: 2}", "a key is given once; got 'fixed' again in line 3"),
        ("fixed: {momentum: 0.5}\nnuisance: {optimizer: [{optimizer: sgd, momentum: 0.9}]}", "got momentum on 2"),
        ("name: ../up\nfixed: {seed: 1}", "must be letters, digits, '-', '_' and '.'; got '../up'"),
        ("name: paper\nfixed: {seed: 1}", "must not be that of a built-in grid; got 'paper'"),
        ("purpose: [3]\nfixed: {seed: 1}", "purpose must be text; got a list of 1"),
        ("fixed: {seed: 1", "a grid file must be YAML; got in line 1, column"),
        ("fixed: !!python/object:os.system {}", "a grid file must be YAML; got in line 1"),
        ("fixed: {seed: \x00}", "a grid file must be YAML in UTF-8; got: "),
        (f"fixed: {{seed: {'9' * 5000}}}", "a value has at most 100 letters or digits; got 5000 for seed"),
        (f"fixed: {'[' * 700}", "a grid file must be YAML"),
    ],
)
def test_a_bad_file_is_said_in_one_line(
    text: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, text)
    assert main(["--grid", str(path), "--out", str(tmp_path / "out"), "--dry-run"]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith(f"error: {path}: ")
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "out").exists()


NUMBERS = (
    "20",
    "020",
    "0100",
    "1:30",
    "0x10",
    "0o20",
    "0b1",
    "1_000",
    "+1",
    ".5",
    "1.",
    "1e2",
    "1e-3",
    ".inf",
    "1e999",
)


@given(st.sampled_from(NUMBERS) | st.from_regex(r"[-+]?[.]?([0-9][_.:]?){0,4}[0-9](e-?[0-9]{1,3})?", fullmatch=True))
def test_a_number_means_in_a_file_what_it_means_on_the_command_line(text: str) -> None:
    """Or is refused in both, with the same words: YAML's own reader takes 020 for 16, 1:30 for 90."""

    def read_or_refused(read: Callable[[], Any]) -> Any:
        try:
            return read()
        except SpecError as error:
            return str(error).rpartition("yaml: ")[2]

    for field in ("seed", "learning_rate"):
        with tempfile.TemporaryDirectory() as folder:
            path = write(Path(folder), f"fixed: {{{field}: {text}}}")
            in_file = read_or_refused(lambda: read_grid(path).parts[0][0].values)  # noqa: B023
        typed = read_or_refused(lambda: tuple(parse_settings([f"{field}={text}"])[field]))  # noqa: B023
        assert in_file == typed
    assert read_or_refused(lambda: parse_settings(["seed=020"])) == "seed must be a whole number; got '020'"


def test_depths_of_stages_are_one_value_and_a_semicolon_parts_two() -> None:
    assert parse_settings(["unfreeze_stages=0,2,all"]) == {"unfreeze_stages": ["0,2,all"]}
    assert parse_settings(["unfreeze_stages=0,all;1,2,all"]) == {"unfreeze_stages": ["0,all", "1,2,all"]}


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="must be a grid's name or a YAML file that can be read; No such file"):
        read_grid(tmp_path / "none.yaml")
    (tmp_path / "folder.yaml").mkdir()
    with pytest.raises(SpecError, match="that can be read; Is a directory"):
        read_grid(tmp_path / "folder.yaml")
    (tmp_path / "latin.yaml").write_bytes("purpose: é".encode("latin-1"))
    with pytest.raises(SpecError, match="must be YAML in UTF-8; got: 'utf-8' codec"):
        read_grid(tmp_path / "latin.yaml")


def test_a_million_trials_are_refused_before_the_data_are_opened(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = ", ".join(map(str, range(1000)))
    path = write(tmp_path, f"nuisance: {{seed: [{values}], shuffle_seed: [{values}]}}")
    assert main(["--grid", str(path), "--data", "/nowhere.h5", "--out", str(tmp_path / "out")]) == 2
    assert "a_grid has 1,000,000 (seed 1,000 x shuffle_seed 1,000). Add --yes to run them" in capsys.readouterr().err


def test_dry_run_prints_the_axes_and_what_was_skipped(
    galaxies_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 2 x 2 x 2, two are adam with momentum; of the six that are left, half are deeper than MobileNet."""
    blocks = tuple(Block(f"block{number}", (1, 1, 8), 10, 5) for number in range(13))
    monkeypatch.setattr(prepare.blocks, "structures", lambda _: {("MobileNet", 32): Structure("MobileNet", 32, blocks)})
    text = """
        fixed: {backbone: MobileNet, weights: random, validation_fraction: 0.4}
        scientific: {momentum: [0, 0.9], optimizer: [adam, sgd], unfrozen_blocks: [0, 14]}
    """
    path = write(tmp_path, text)
    arguments = ["--grid", str(path), "--data", str(galaxies_file), "--out", str(tmp_path / "out"), *QUICK, "--dry-run"]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert "note: 2 combinations skipped: momentum is a setting of sgd and rmsprop" in printed
    assert "note: 3 combinations skipped: unfrozen_blocks must be at most the number of blocks, 13 for Mobi" in printed
    assert "Trials    3: 0 finished, 0 failed, 3 to run" in printed
    assert "Grid      a_grid\n" in printed
    assert "scientific  optimizer            adam, sgd\n" in printed
    assert "fixed       image_size           32\n" in printed


def test_a_stranger_s_grid_is_shown(tmp_path: Path) -> None:
    path = tmp_path / "grid.yaml"
    path.write_text(
        'purpose: "\\e[31m \\u202e why"\n'
        'scientific: {"two\\nlines\\e[2J": [{optimizer: sgd, momentum: 0.9}, {optimizer: adam, momentum: 0}]}\n'
    )
    grid = read_grid(path)
    assert grid.purpose == "\\x1b[31m \\u202e why"
    assert all(line.isprintable() for line in describe(grid))
    assert "two\\nlines\\x1b[2J" in "\n".join(describe(grid))
