from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from galaxytl.learning.job import Group
from galaxytl.networks.blocks import Block, Structure
from galaxytl.trial import COMPLETE, FAILED, TrialResult, TrialSpec
from sweep.planning.costs import Sizes
from sweep.planning.plan import Limits, Plan, make_plan
from sweep.planning.speeds import (
    FORMAT,
    START_SECONDS,
    Ratio,
    Speeds,
    Worker,
    _learned,
    _Measured,
    assumed_speeds,
    learn_speeds,
    load_speeds,
    steps_of,
)
from sweep.prepare import crew
from sweep.scheduling.resources import Available, Resources

CPU, GPU = "x86_64 CPU, 1 thread", "NVIDIA H200"
WHOLE = TrialSpec(dataset="d", dataset_fingerprint="f", backbone="MobileNet", unfrozen_blocks="all", num_epochs=4)
HEAD = WHOLE.replace(unfrozen_blocks=0)
ONE = Worker(1, on_gpu=False)
IMAGES = {"train": 640, "validation": 0, "test": 320}


def result(spec: TrialSpec, epochs: list[float], rest: float, work: Mapping[str, float], **fields: Any) -> TrialResult:
    """Of a trial with these seconds in its epochs and in all else."""
    own: dict[str, Any] = {"status": COMPLETE, "environment": {"device": CPU}, "num_images": IMAGES, **fields}
    history = tuple({"epoch": number, "seconds": seconds} for number, seconds in enumerate(epochs, start=1))
    total = {"total": sum(epochs) + rest}
    return TrialResult(spec=spec, history=history, timings=total, multiply_adds=dict(work), **own)


def learn(path: Path, *results: TrialResult, wall_seconds: float | None = None) -> Speeds:
    learn_speeds(path, results, [Group((result.spec,)) for result in results], wall_seconds)
    return load_speeds(path, 1, on_gpu=False)


def epoch(spec: TrialSpec, speeds: Speeds, multiply_adds: float = 1e12) -> float:
    """Seconds of one."""
    parts = speeds.assumed.work(spec, "train", multiply_adds, steps_of(spec, 640, 320), 1)
    return speeds.seconds(parts)


def test_nothing_measured_is_assumed_and_says_so(tmp_path: Path) -> None:
    speeds = load_speeds(tmp_path / "speeds.json", num_threads=1, on_gpu=False)
    assert speeds == assumed_speeds(1, on_gpu=False)
    assert speeds.seconds(parts := ONE.work(WHOLE, "train", 5e9)) == sum(parts.values()) == pytest.approx(1.0)
    assert speeds.source == "assumed: nothing was measured here yet"
    on_gpu = Worker(16, on_gpu=True)
    assert on_gpu.work(WHOLE, "train", 1e13)["train/compute/MobileNet/224/float32"] == 1.0
    more = Worker(4, on_gpu=False).work(WHOLE, "train", 5e9)
    assert 1 / 4 < sum(more.values()) < 1 / 2  # four threads are not four times as fast


def test_compiling_in_the_first_epoch_is_not_taken_for_slowness(tmp_path: Path) -> None:
    """Each later epoch takes 100 s, the first 80 s more; 20 s are building and scoring."""
    work = {"train": 4e12, "evaluate": 1e9}
    speeds = learn(tmp_path / "speeds.json", result(WHOLE, [180.0, 100.0, 100.0, 100.0], 20.0, work))
    assert epoch(WHOLE, speeds) == pytest.approx(100, rel=0.25)
    assert speeds.seconds(ONE.fixed(WHOLE, "train")) == pytest.approx(100, rel=0.25)
    assert speeds.source == "measured here on x86_64 CPU"


def test_the_second_trial_of_a_group_is_compiled(tmp_path: Path) -> None:
    rows = [
        result(WHOLE.replace(num_epochs=1, seed=seed), [seconds], 10.0, {"train": 1e12})
        for seed, seconds in enumerate((180, 100))
    ]
    learn_speeds(tmp_path / "speeds.json", rows, [Group(tuple(row.spec for row in rows))])
    speeds = load_speeds(tmp_path / "speeds.json", 1, on_gpu=False)
    assert epoch(WHOLE, speeds) == pytest.approx(100, rel=0.35)


@given(st.floats(0.2, 5.0), st.sampled_from(["VGG16", "ResNet50", "EfficientNetB0"]))
@settings(max_examples=25)
def test_a_network_never_measured_is_as_much_slower_than_assumed_as_others(factor: float, other: str) -> None:
    parts = ONE.work(WHOLE, "train", 1e13, 1, 1)
    speeds = Speeds("here", ONE, _learned({}, [_Measured(factor * sum(parts.values()), parts)]))
    unseen = WHOLE.replace(backbone=other)
    grown = speeds.seconds(ONE.work(unseen, "train", 1e13)) / sum(ONE.work(unseen, "train", 1e13).values())
    assert grown == pytest.approx(factor, rel=0.35)
    assert speeds.doubt(ONE.work(unseen, "train", 1e13)) / speeds.seconds(ONE.work(unseen, "train", 1e13)) > 0.5
    assert speeds.doubt(parts) / speeds.seconds(parts) < 0.4  # more is known of what was measured


@given(st.floats(1.0, 300.0))
@settings(max_examples=25)
def test_a_tiny_sweep_does_not_spoil_the_estimate_of_a_large_one(rest: float) -> None:
    """One epoch of 10 ms of work, whatever its compiling took; then a thousand times that work."""
    tiny = {**ONE.fixed(WHOLE, "train"), **ONE.work(WHOLE, "train", 5e7, 1, 1)}
    speeds = Speeds("here", ONE, _learned({}, [_Measured(rest, tiny)]))
    assert 0.8 < epoch(WHOLE, speeds) / epoch(WHOLE, assumed_speeds(1, on_gpu=False)) < 1.25


ratios = st.floats(0.33, 3.0)


@given(st.fixed_dictionaries({"fixed": ratios, "step": ratios, "compute": ratios}))
@settings(max_examples=50)
def test_on_any_machine_three_runs_of_different_size_are_enough(truth: dict[str, float]) -> None:
    """And the true time lies within what is called likely, or nearly."""

    def parts(multiply_adds: float, steps: int, epochs: int) -> dict[str, float]:
        return {**ONE.fixed(WHOLE, "train"), **ONE.work(WHOLE, "train", multiply_adds, steps, epochs)}

    def true(parts: Mapping[str, float]) -> float:
        return sum(seconds * truth[part.split("/")[1]] for part, seconds in parts.items())

    learned: dict[str, Ratio] = {}
    runs = [parts(1e9, 5, 1), parts(1e11, 400, 10), parts(1e13, 9000, 20), parts(1e10, 40, 20), parts(1e14, 90000, 50)]
    for number, run in enumerate(runs):
        speeds = Speeds("here", ONE, learned)
        off = abs(math.log(speeds.seconds(run) / true(run)))
        assert off < math.log(2 if number >= 3 else 4)
        assert off < 2 * speeds.doubt(run) / speeds.seconds(run)
        once = ONE.fixed(WHOLE, "train")
        later = {part: seconds for part, seconds in run.items() if part not in once}
        learned = _learned(learned, [_Measured(true(later), later), _Measured(true(once), once)])


def test_heads_of_one_pass_share_its_time(tmp_path: Path) -> None:
    specs = tuple(HEAD.replace(learning_rate=10.0**-i) for i in range(1, 5))
    rows = [
        result(spec, [2.0, 0.5, 0.5, 0.5], 1.0, {"train": 1e9}, num_fused=4, num_parameters={"trainable": 10**5})
        for spec in specs
    ]
    learn_speeds(tmp_path / "speeds.json", rows, [Group(specs)])
    speeds = load_speeds(tmp_path / "speeds.json", 1, on_gpu=False)
    work = ONE.work(HEAD, "heads", 1e9, steps_of(HEAD, 640, 320), 1)  # an epoch of all four
    assert speeds.seconds(work) == pytest.approx(2.0, rel=0.2)
    assert not any(part.startswith(("train", "forward")) for part in speeds.ratios)


def test_heads_behind_frozen_blocks_measure_the_blocks(tmp_path: Path) -> None:
    head = result(HEAD, [21.0, 20.0, 20.0, 20.0], 4.0, {"train": 1.2e12}, num_parameters={"trainable": 1000})
    speeds = learn(tmp_path / "speeds.json", head)
    assert speeds.speed(HEAD) == pytest.approx(3e11 / 20, rel=0.25)


def test_threads_are_in_what_is_assumed(tmp_path: Path) -> None:
    learn(tmp_path / "speeds.json", result(WHOLE, [100.0] * 4, 20.0, {"train": 4e12}))
    one, two = (load_speeds(tmp_path / "speeds.json", threads, on_gpu=False) for threads in (1, 2))
    assert epoch(WHOLE, one) / epoch(WHOLE, two) == pytest.approx(2**0.7, rel=0.01)


def test_the_start_is_what_no_trial_took(tmp_path: Path) -> None:
    row = result(WHOLE, [10.0] * 4, 20.0, {"train": 4e12}, started="2026-11-29T19:00:00+00:00")
    later = result(WHOLE.replace(seed=1), [10.0] * 4, 20.0, {"train": 4e12}, started="2026-11-29T19:01:00+00:00")
    speeds = learn(tmp_path / "speeds.json", row, later, wall_seconds=170)
    assert speeds.seconds({"start": START_SECONDS}) == pytest.approx(50, rel=0.25)


def test_the_speeds_of_a_cpu_are_not_those_of_a_gpu(tmp_path: Path) -> None:
    path = tmp_path / "speeds.json"
    learn(path, result(WHOLE, [100.0] * 4, 20.0, {"train": 4e12}))
    assert load_speeds(path, 1, on_gpu=True) == assumed_speeds(1, on_gpu=True)
    learn(path, result(WHOLE, [1.0] * 4, 20.0, {"train": 4e12}, environment={"device": GPU}))
    assert load_speeds(path, 1, on_gpu=True).device == GPU
    assert load_speeds(path, 1, on_gpu=True).speed(WHOLE) != load_speeds(path, 1, on_gpu=False).speed(WHOLE)
    assert load_speeds(path, 1, on_gpu=False).device == "x86_64 CPU"
    learn(path, result(WHOLE, [1.0] * 4, 20.0, {"train": 4e12}, environment={"device": "cpu (jax)"}))
    assert load_speeds(path, 1, on_gpu=False).device == "cpu (jax)"  # the last one


def test_failed_and_resumed_trials_measure_nothing(tmp_path: Path) -> None:
    path = tmp_path / "speeds.json"
    learn(path, result(WHOLE, [100.0] * 4, 20.0, {"train": 4e12}, status=FAILED))
    resumed = result(WHOLE, [100.0] * 4, 20.0, {"train": 4e12})
    history = ({**resumed.history[0]}, {**resumed.history[1], "resumed": 1}, *resumed.history[2:])
    learn(path, TrialResult(**{**vars(resumed), "history": history}))
    assert not path.exists()


@pytest.mark.parametrize(
    "content",
    [
        *("", "[]", '{"format": 2}', '{"format": 1, "last": "c", "devices": {"c": {"speeds": {}, "builds": {}}}}'),
        *(
            f'{{"format": {FORMAT}, "devices": {{"CPU": {{"start": {ratio}}}}}}}'
            for ratio in ("1", "[1]", "[NaN, 1]", "[1, -1]", '["1", 1]')
        ),
    ],
)
def test_a_damaged_or_older_file_is_measured_anew(tmp_path: Path, content: str) -> None:
    path = tmp_path / "speeds.json"
    path.write_text(content)
    assert load_speeds(path, 1, on_gpu=False) == assumed_speeds(1, on_gpu=False)
    assert epoch(WHOLE, learn(path, result(WHOLE, [100.0] * 4, 20.0, {"train": 4e12}))) == pytest.approx(100, rel=0.25)


RECORDED = json.loads((Path(__file__).parent / "recorded_sweeps.json").read_text())
STRUCTURES = {
    (backbone, size): Structure(
        backbone, size, tuple(Block(name, tuple(shape), *rest) for name, shape, *rest in blocks)
    )
    for backbone, size, blocks in RECORDED["structures"]
}


def recorded_rows(number: int) -> list[TrialResult]:
    def row(values: dict[str, Any]) -> TrialResult:
        spec = TrialSpec(dataset="simulated", dataset_fingerprint=f"{number}", **values["spec"])
        same = {name: values[name] for name in ("timings", "multiply_adds", "num_images", "num_fused", "started")}
        history = tuple({"epoch": i, "seconds": seconds} for i, seconds in enumerate(values["seconds"], start=1))
        facts = {"num_parameters": {"trainable": values["trainable"]}, "environment": {"device": values["device"]}}
        return TrialResult(spec=spec, status=COMPLETE, history=history, **same, **facts)

    return [row(values) for values in RECORDED["sweeps"][number]["rows"]]


def planned(rows: list[TrialResult], speeds: Speeds) -> Plan:
    two_cores = Available((Resources(2, 0),))
    limits = Limits(10**10, 10**9, workers=0, crew=lambda groups: crew(two_cores, groups, None, None))
    sizes = {row.spec.split_key: Sizes(**row.num_images) for row in rows}
    return make_plan([row.spec for row in rows], STRUCTURES, sizes, limits, speeds, lambda spec, cut: False)


def times_off(path: Path, order: list[int]) -> list[float]:
    """Estimated to happened, of the recorded sweeps in this order, each learned before the next is planned."""
    found = []
    for number in order:
        rows, happened = recorded_rows(number), RECORDED["sweeps"][number]["wall_seconds"]
        plan = planned(rows, load_speeds(path, 2, on_gpu=False))
        found.append(plan.estimate.seconds / happened)
        learn_speeds(path, rows, plan.groups, happened)
    return found


def test_real_sweeps_of_very_different_size_take_about_what_was_said(tmp_path: Path) -> None:
    """As they were run one after the other; and with other ones first: the opposite order, and 5 minutes after the two
    smallest, half a minute each. Others used the machine meanwhile, which alone made a factor of 2."""
    numbers = list(range(len(RECORDED["sweeps"])))
    found = times_off(tmp_path / "speeds.json", numbers)
    assert all(1 / 4 < ratio < 4 for ratio in found[:2])
    assert all(1 / 2 < ratio < 2 for ratio in found[2:])
    for order in (numbers[::-1], [6, 3, 7, 0], [0, 7, 4, 1]):
        assert all(1 / 4 < ratio < 4 for ratio in times_off(tmp_path / f"{order}.json", order))


def test_what_is_said_of_a_real_sweep_is_a_range_that_becomes_narrower(tmp_path: Path) -> None:
    rows = recorded_rows(1)
    before = planned(rows, load_speeds(tmp_path / "speeds.json", 2, on_gpu=False))
    learn_speeds(tmp_path / "speeds.json", rows, before.groups, RECORDED["sweeps"][1]["wall_seconds"])
    after = planned(rows, load_speeds(tmp_path / "speeds.json", 2, on_gpu=False))
    assert 1.3 < after.estimate.spread < 0.9 * before.estimate.spread < 3
    assert before.estimate.low < RECORDED["sweeps"][1]["wall_seconds"] < before.estimate.high
    assert (before.workers, before.speeds.assumed.threads) == (2, 1)
