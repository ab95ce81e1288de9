from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from galaxytl.training import Group
from galaxytl.trial import COMPLETE, FAILED, TrialResult, TrialSpec
from sweep.speeds import CPU_THREAD_SPEED, GPU_SPEED, HEADS_SHARE, assumed_speeds, learn_speeds, load_speeds

CPU, GPU = "x86_64 CPU, 2 threads", "NVIDIA H200"
HEAD = TrialSpec(dataset="d", dataset_fingerprint="f", backbone="MobileNet", num_epochs=1)
DEEP = HEAD.replace(unfrozen_blocks=2)


def result(spec: TrialSpec, seconds: dict[str, float], work: dict[str, float], **fields: Any) -> TrialResult:
    own: dict[str, Any] = {"status": COMPLETE, "environment": {"device": CPU}, **fields}
    images = {"train": 700, "validation": 0, "test": 300}
    return TrialResult(
        spec=spec, timings=seconds, multiply_adds=work, num_images=images, history=({"epoch": 1},), **own
    )


def learn(path: Path, *results: TrialResult) -> None:
    learn_speeds(path, results, [Group((result.spec,)) for result in results])


def test_nothing_measured_is_assumed_and_says_so(tmp_path: Path) -> None:
    speeds = load_speeds(tmp_path / "speeds.json", num_threads=2, on_gpu=False)
    assert speeds == assumed_speeds(2, on_gpu=False)
    assert speeds.of(DEEP, "train") == 2 * CPU_THREAD_SPEED
    assert speeds.of(HEAD, "heads") == 2 * CPU_THREAD_SPEED * HEADS_SHARE
    assert "assumed: 20 G multiply-adds/s" in speeds.source
    assert assumed_speeds(2, on_gpu=True).of(DEEP, "forward") == GPU_SPEED


def test_a_run_is_measured_by_kind_of_work(tmp_path: Path) -> None:
    path = tmp_path / "speeds.json"
    head = result(HEAD, {"features": 10, "train": 2, "build": 3}, {"features": 5e10, "train": 1e6})
    head = TrialResult(**{**vars(head), "num_parameters": {"trainable": 1000}})
    learn(path, head, result(DEEP, {"train": 4, "build": 7}, {"train": 8e10}))
    speeds = load_speeds(path, 2, on_gpu=False)
    assert [speeds.of(HEAD, kind) for kind in ("forward", "heads", "train")] == [5e9, 5e5, 2e10]
    assert (speeds.build_seconds(HEAD), speeds.build_seconds(DEEP)) == (3, 7)
    assert speeds.source == f"speeds measured here on {CPU}"


def test_heads_behind_frozen_blocks_measure_the_blocks(tmp_path: Path) -> None:
    learn(tmp_path / "speeds.json", result(HEAD, {"train": 2}, {"train": 1e10}, num_parameters={"trainable": 1000}))
    speeds = load_speeds(tmp_path / "speeds.json", 1, on_gpu=False)
    assert (speeds.of(HEAD, "forward"), speeds.of(HEAD, "heads")) == (5e9, CPU_THREAD_SPEED * HEADS_SHARE)


def test_shares_of_a_group_add_up_and_runs_are_smoothed(tmp_path: Path) -> None:
    specs = (DEEP, DEEP.replace(seed=1))
    for seconds, speed, build in ((2, 5e9, 10), (1, 7.5e9, 10)):
        rows = [result(spec, {"train": seconds, "build": 5}, {"train": 1e10}) for spec in specs]
        learn_speeds(tmp_path / "speeds.json", rows, [Group(specs)])
        speeds = load_speeds(tmp_path / "speeds.json", 1, on_gpu=False)
        assert (speeds.of(DEEP, "train"), speeds.build_seconds(DEEP)) == (speed, build)


def test_the_most_similar_network_stands_in(tmp_path: Path) -> None:
    small, large = DEEP.replace(image_size=32), DEEP.replace(image_size=256)
    rows = [result(small, {"train": 10}, {"train": 1e10}), result(large, {"train": 10}, {"train": 3e10})]
    learn(tmp_path / "speeds.json", *rows)
    speeds = load_speeds(tmp_path / "speeds.json", 1, on_gpu=False)
    assert speeds.of(DEEP.replace(image_size=224), "train") == 3e9
    assert speeds.of(DEEP.replace(image_size=48), "train") == 1e9
    assert speeds.of(small.replace(backbone="VGG16"), "train") == 1e9


def test_the_speeds_of_a_cpu_are_not_those_of_a_gpu(tmp_path: Path) -> None:
    path = tmp_path / "speeds.json"
    learn(path, result(DEEP, {"train": 10}, {"train": 1e10}))
    assert load_speeds(path, 1, on_gpu=True).device == ""
    learn(path, result(DEEP, {"train": 10}, {"train": 1e14}, environment={"device": GPU}))
    assert load_speeds(path, 1, on_gpu=True).of(DEEP, "train") == 1e13
    assert load_speeds(path, 1, on_gpu=False).device == ""


def test_failed_trials_and_what_took_no_time_measure_nothing(tmp_path: Path) -> None:
    path = tmp_path / "speeds.json"
    learn(path, result(DEEP, {"train": 10}, {"train": 1e10}, status=FAILED))
    assert not path.exists()
    learn(path, result(DEEP, {"train": 0.5}, {"train": 1e10}))
    assert load_speeds(path, 1, on_gpu=False).measured == {}


ONE = '{"format": %d, "last": "c", "devices": {"c": {"speeds": {"%s": %s}, "builds": {}}}}'


@pytest.mark.parametrize(
    "content",
    [
        *("", "[]", '{"format": 1}', ONE % (0, "a/1/b/train", 1), ONE % (1, "nonsense", 1)),
        *(ONE % (1, "a/1/b/train", value) for value in ("NaN", -1, '"1"')),
    ],
)
def test_a_damaged_file_is_measured_anew(tmp_path: Path, content: str) -> None:
    path = tmp_path / "speeds.json"
    path.write_text(content)
    assert load_speeds(path, 1, on_gpu=False) == assumed_speeds(1, on_gpu=False)
    learn(path, result(DEEP, {"train": 10}, {"train": 1e10}))
    assert load_speeds(path, 1, on_gpu=False).of(DEEP, "train") == 1e9
    assert json.loads(path.read_text())["last"] == CPU
