"""Rows of earlier versions, and of made-up later ones: finished trials stay finished."""

from __future__ import annotations

import dataclasses
import inspect
import json
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import galaxytl.trial.result
import galaxytl.trial.spec
from galaxytl.results.rows import append_results, read_results
from galaxytl.results.stored_rows import merge_lines
from galaxytl.trial import ADDED, BEFORE, COMPLETE, FAILED, SCHEMA, SPEC_FIELDS, TrialResult, TrialSpec
from galaxytl.trial.spec import trial_id_of
from sweep.planning.plan import split_by_status

ROWS = Path(__file__).with_name("rows")
FIRST = {"schema-1": 22, "schema-1-groups": 24, "schema-2": 26, "schema-3": 31, "schema-3-certificate": 31}
"""Folders by version, and how many fields a spec had."""
HEAD = TrialSpec(
    dataset="galaxy10_layout_40_images",
    dataset_fingerprint="f21ba10b18243788727b7557ade36459b0fe62331204ae52a62634343bc7d3ef",
    **{"weights": "random", "weights_requested": "random", "image_size": 32, "stratified": True},
    **{"num_epochs": 2, "batch_size": 8},
)


def stored(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (ROWS / name / "trials.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("name", FIRST)
def test_trials_that_an_earlier_version_finished_are_not_trained_again(name: str) -> None:
    rows = read_results(ROWS / name)
    assert rows.problems == ()
    assert {len(row["spec"]) for row in stored(name)} == {FIRST[name]}
    first, second, third = rows.results
    assert (first.spec, second.spec) == (HEAD, HEAD.replace(learning_rate=1e-2))
    assert first.metrics["loss"] == pytest.approx(2.30300656536, rel=1e-10)  # in all versions: it is the same trial
    assert third.status == (FAILED if name.startswith("schema-1") else COMPLETE)
    todo = split_by_status([HEAD, HEAD.replace(learning_rate=1e-2), HEAD.replace(seed=1)], rows.by_id())
    assert (len(todo.finished), todo.pending) == (2, (HEAD.replace(seed=1),))


def test_rows_of_all_versions_are_one_folder(tmp_path: Path) -> None:
    """Both rows of a trial that an old and a new version have stay at a storage; the last counts."""
    parts = [(ROWS / name / "trials.jsonl").read_bytes() for name in FIRST]
    content = merge_lines([line for part in parts for line in part.split(b"\n") if line], b"")
    (tmp_path / "trials.jsonl").write_bytes(content)
    assert sorted(content.splitlines()) == sorted({line for part in parts for line in part.splitlines()})
    assert len(read_results(tmp_path).results) == 2 + 2


def test_old_rows_where_something_is_missing_are_one_sentence(tmp_path: Path) -> None:
    """Of a spec, or in what it says: a first version let frozen blocks' BatchNorm train where others were trained."""
    rows = [TrialSpec(**{**row["spec"], **{"unfrozen_blocks": 1, "seed": n}}) for n in range(3) for row in [OLD]]
    for spec in rows:
        _append(tmp_path, schema=2, spec=_without(spec, *BEFORE[2]))
    for seed in range(3):
        _append(tmp_path, schema=SCHEMA, spec=_without(HEAD.replace(seed=seed), "augmentation"))
    _append(tmp_path, schema=2, spec=_without(HEAD.replace(unfrozen_blocks=1, backbone="VGG16"), *BEFORE[2]))
    found = read_results(tmp_path)
    assert [result.spec.backbone for result in found.results] == ["VGG16"]  # which has none
    assert [problem.rpartition("jsonl, ")[2].partition("; got")[0] for problem in found.problems] == [
        "line 1 and 2 more were left out: a row of schema 2 must say in which mode the BatchNorm of its frozen blocks "
        "was (the first version with such trials had them train)",
        "line 4 and 2 more were left out: the spec of a row of schema 3 must have augmentation",
    ]


OLD = {"spec": HEAD.to_dict()}


def _without(spec: TrialSpec, *names: str) -> dict[str, Any]:
    return {name: value for name, value in spec.to_dict().items() if name not in names}


def _append(folder: Path, schema: int, spec: dict[str, Any], **changes: Any) -> None:
    row = {"schema": schema, "trial_id": trial_id_of(spec), "spec": spec, "status": COMPLETE, **changes}
    with (folder / "trials.jsonl").open("a") as file:
        file.write(json.dumps(row, separators=(",", ":")) + "\n")


# Versions of tomorrow: the source with lines more


def version(monkeypatch: pytest.MonkeyPatch, name: str, field: str) -> ModuleType:
    """`galaxytl.trial` with a field more of a spec, and one of a result."""
    module = ModuleType(name)
    vars(module)["NOTHING"] = dataclasses.field(default_factory=dict)
    monkeypatch.setitem(sys.modules, name, module)
    for today, place, more in (
        (galaxytl.trial.spec, "shuffle_seed: int = ", field),
        (galaxytl.trial.result, 'started: str = ""', "energy: dict[str, float] = NOTHING"),
    ):
        before, found, after = inspect.getsource(today).partition(f"    {place}")
        assert found
        rest, _, others = after.partition("\n")
        source = f"{before}{found}{rest}\n    {more}\n{others}".replace("from galaxytl.trial.spec", f"from {name}")
        exec(compile(source, name, "exec"), vars(module))
    return module


@pytest.fixture
def tomorrow(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return version(monkeypatch, "tomorrow", "made_up: float = added(number(0.0, 0.0, 0.5))")


@pytest.fixture
def day_after(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """When the default has changed."""
    return version(monkeypatch, "day_after", "made_up: float = added(number(0.1, 0.0, 0.5), 0.0)")


@pytest.mark.parametrize("name", FIRST)
def test_tomorrow_finds_the_rows_of_all_versions_under_their_ids(
    name: str, tomorrow: ModuleType, day_after: ModuleType
) -> None:
    for row, today in zip(stored(name), read_results(ROWS / name).results, strict=True):
        for later in (tomorrow, day_after):
            found = later.TrialResult.from_dict(row)
            assert found.trial_id == today.trial_id
            assert (found.spec.made_up, found.energy) == (0.0, {})
            assert found.spec.to_dict() == today.spec.to_dict()
        assert row["schema"] < 3 or row["trial_id"] == today.trial_id
    assert tomorrow.TrialSpec(**HEAD.to_dict()).trial_id == HEAD.trial_id


def test_a_field_counts_where_it_differs_from_what_it_was_added_with(
    tomorrow: ModuleType, day_after: ModuleType
) -> None:
    values = HEAD.to_dict()
    changed = tomorrow.TrialSpec(**values, made_up=0.1)
    assert changed.trial_id != HEAD.trial_id
    assert changed.to_dict() == {**values, "made_up": 0.1}
    assert changed.fields() == {**HEAD.fields(), "made_up": 0.1}
    assert tomorrow.TrialSpec(**values).fields() == {**HEAD.fields(), "made_up": 0.0}
    assert day_after.TrialSpec(**values).trial_id == changed.trial_id  # its default of today
    assert day_after.TrialSpec(**values, made_up=0.0).trial_id == HEAD.trial_id
    assert day_after.TrialSpec.from_dict(values).trial_id == HEAD.trial_id
    assert (list(tomorrow.ADDED), tomorrow.SCHEMA) == ([*ADDED, "made_up"], SCHEMA)
    with pytest.raises(tomorrow.SpecError, match="made_up must be at least 0 and at most"):
        tomorrow.TrialSpec(**values, made_up=0.6)


def test_today_reads_the_rows_of_tomorrow_and_leaves_its_other_trials_alone(
    tmp_path: Path, tomorrow: ModuleType
) -> None:
    specs = [tomorrow.TrialSpec(**HEAD.replace(seed=seed).to_dict()) for seed in range(2)]
    specs += [spec.replace(made_up=0.1) for spec in specs]
    path = tmp_path / "trials.jsonl"
    for spec in specs:
        result = tomorrow.TrialResult(spec=spec, status=COMPLETE, energy={"joule": 3.5})
        with path.open("a") as file:
            file.write(json.dumps(result.to_dict(), separators=(",", ":")) + "\n")
    before = path.read_bytes()
    rows = read_results(tmp_path)
    assert [result.trial_id for result in rows.results] == [spec.trial_id for spec in specs[:2]]
    assert rows.results[0].extra == {"energy": {"joule": 3.5}}
    assert tomorrow.TrialResult.from_dict(rows.results[0].to_dict()).energy == {"joule": 3.5}  # written by today again
    assert rows.num_newer == 2
    (problem,) = rows.problems
    assert problem == (
        f"{path}, line 3: 2 rows have settings that this version does not know (made_up), written by a newer "
        "version: left out, and kept as they are. The newer version reads them"
    )
    append_results(tmp_path, TrialResult(spec=HEAD.replace(seed=7), status=COMPLETE))
    assert path.read_bytes().startswith(before)
    assert merge_lines(path.read_bytes().splitlines(), b"") == path.read_bytes()
    assert len(read_results(tmp_path).results) == 3


@pytest.mark.parametrize(
    ("schema", "optimizers", "what"),
    [(4, ("adam", "adam", "sgd"), "schema 4"), (3, ("muon", "muon", "sam"), "optimizer 'muon', optimizer 'sam'")],
)
def test_rows_of_a_later_schema_and_with_a_choice_of_a_later_version_are_counted(
    tmp_path: Path, schema: int, optimizers: tuple[str, ...], what: str
) -> None:
    for optimizer in optimizers:
        _append(tmp_path, schema=schema, spec={**HEAD.to_dict(), "optimizer": optimizer})
    rows = read_results(tmp_path)
    assert (rows.results, rows.num_newer) == ((), 3)
    assert f"3 rows have settings that this version does not know ({what}), written by a newer" in rows.problems[0]
    _append(tmp_path, schema=SCHEMA, spec={**HEAD.to_dict(), "momentum": 2.0})  # no version has that
    assert "momentum must be at least 0 and at most 1; got 2.0" in read_results(tmp_path).problems[1]


def test_equal_specs_have_equal_ids() -> None:
    """As long as -0.0 == 0.0."""
    spec, other = (HEAD.replace(optimizer="sgd", momentum=zero, learning_rate=0.05) for zero in (0.0, -0.0))
    assert spec == other
    assert spec.trial_id == other.trial_id
    row = TrialResult(spec=other, status=COMPLETE).to_dict()
    assert TrialResult.from_dict(json.loads(json.dumps(row))).trial_id == spec.trial_id
    assert trial_id_of({"a": -0.05, "b": -0.0}) == trial_id_of({"a": -0.05, "b": 0.0})


def test_two_rows_in_one_line_are_not_dropped_for_the_first(tmp_path: Path) -> None:
    """Where a line end was lost; the storage has the first."""
    first, second = (
        json.dumps(TrialResult(spec=HEAD.replace(seed=seed), status=COMPLETE).to_dict(), separators=(",", ":")).encode()
        for seed in range(2)
    )
    (tmp_path / "trials.jsonl").write_bytes(merge_lines([first], first + second + b"\n"))
    assert [result.spec.seed for result in read_results(tmp_path).results] == [0, 1]


def test_a_damaged_spec_is_not_taken_for_a_later_one(tmp_path: Path) -> None:
    shutil.copy(ROWS / "schema-3" / "trials.jsonl", tmp_path)
    path = tmp_path / "trials.jsonl"
    path.write_text(path.read_text().replace('"head_units"', '"head_unit5"'))
    assert "trial_id must be the hash of the row's spec" in read_results(tmp_path).problems[0]


def test_every_field_of_today_stays_in_the_hash() -> None:
    """A field that goes, or is marked as added later, gives every finished trial of every user another id."""
    assert len(SPEC_FIELDS) - len(ADDED) == FIRST["schema-3"]
