"""How long work takes here: what is assumed of it, times what earlier runs took of what was assumed of them.

    speeds = load_speeds(speeds_path(), num_threads=8, on_gpu=False)
    parts = speeds.assumed.work(spec, "train", multiply_adds=1e12, steps=700, epochs=20)
    speeds.seconds(parts), speeds.spread(parts)
    learn_speeds(speeds_path(), results, groups, wall_seconds)       # after a run, for the next plan

Seconds are assumed in parts: what is fixed ("fixed": to build, trace and compile), what each step and epoch costs
whatever its size ("step"), what each trial costs beside its training ("trial"), and what grows with the multiply-adds
("compute"); for each kind of work: "forward" (frozen blocks), "train" (all passes of a network of which blocks are
trained), "heads" (heads on frozen features). For each part of each network a ratio is learned, measured to assumed. A
part that was never measured borrows the ratio of the most similar ones: a network is as much slower than assumed as
others were, and not as fast in multiply-adds a second as they are.

A measured time is of several parts, and says most about the largest: the ratios are moved as a Kalman filter would, in
logarithms, each by its share of the time and by how little is known of it. So a run of seconds, most of which is
compiling, hardly moves what is thought of multiply-adds.
"""

from __future__ import annotations

import datetime
import json
import math
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, NamedTuple

from galaxytl.learning.job import Group
from galaxytl.networks.families import BACKBONES
from galaxytl.system import cache
from galaxytl.system.strict_json import read_json
from galaxytl.trial import COMPLETE, TrialResult, TrialSpec

Kind = Literal["forward", "train", "heads"]
Parts = Mapping[str, float]
"""Assumed seconds by part: "train/compute/VGG16/224/float32", "train/step/VGG16", "heads/fixed", "start", ..."""

FORMAT: Final = 2  # of speeds.json; raised when older files must not be read

CPU_SPEEDS: Final = {"VGG16": 25e9, "ResNet50": 15e9, "MobileNet": 5e9}
"""Multiply-adds a second of one CPU thread. Measured at 224 px on two threads, an image: MobileNet 69 ms for 0.57e9,
ResNet50 175 ms for 3.9e9, VGG16 511 ms for 15.3e9; so 4, 11 and 15e9 a thread. At 32 px VGG16 made 38e9."""
OTHER_CPU_SPEED: Final = 10e9
GPU_SPEED: Final = 10e12
"""Of one data-centre GPU: a cautious share of what NVIDIA's data sheet names for the A100 in TensorFloat-32, 78e12
multiply-adds (156e12 operations) a second."""
THREADS_POWER: Final = 0.7
"""Two threads are 1.6 times as fast as one: VGG16 at 224 px, a little less at 32 px."""
HEADS_SHARE: Final = 0.1
"""Speed of heads, of that of convolutions (OTHER_CPU_SPEED, GPU_SPEED): they are bound by memory. One head's step took
1/62 (MobileNet), 1/110 (ResNet50) and 1/604 (VGG16) of a frozen step: 0.7, 1.0 and 0.4e9 a thread; 8 to 16 heads in one
step were 2.9 times faster a head."""
FIXED_SECONDS: Final = {
    "forward": {"VGG16": 4.0, "ResNet50": 10.0, "MobileNet": 5.0},
    "train": {"VGG16": 12.0, "ResNet50": 80.0, "MobileNet": 35.0},
}
"""To build a backbone and compile its forward pass, or its training step with all blocks trained. Measured with another
worker beside it: 4 to 8 s, 10 to 15 and 4 to 7 s; and 10 to 18 s, 95 to 110 and 25 to 45 s."""
OTHER_FIXED: Final = {"forward": 8.0, "train": 45.0}
HEADS_FIXED: Final = 3.0
BLOCK_SHARE: Final = 0.08
"""Of compiling all blocks, for each block that is trained; a fifth is there with none."""
STEP_SECONDS: Final = {"cpu": 0.025, "gpu": 0.01}
"""Of a training step: calls, one after the other, of some hundred small operations."""
PARAMETERS_PER_SECOND: Final = {"cpu": 3e8, "gpu": 1e11}
"""That an optimizer updates: bound by memory. ResNet50's 23.6 million took 80 ms a step."""
EPOCH_SECONDS: Final = {"train": 0.4, "heads": 0.01, "forward": 0.0}
HEADS_STEP_SECONDS: Final = 0.0005
TRIAL_SECONDS: Final = {"train": 1.0, "heads": 0.1}
"""To set a network anew, score, and write; of heads, a share in a pass. 0.3 s and more, with diagnostics 1 to 3."""
INTERPOLATION_SECONDS: Final = 3.5e-3
"""To shift or zoom an image of 224 px, three colours, by SciPy; of other sizes by their pixels. One thread does it."""
START_SECONDS: Final = 20.0
"""Ray 6 s, a worker that imports the framework 8 s, first trial and end 4 s; twice as much on a busy machine."""

NOISE: Final = 0.3
"""Standard deviation of the logarithm of a measured time, from run to run."""
UNKNOWN, BORROWED, SAME_NETWORK, MEASURED = math.log(2.0), math.log(1.7), math.log(1.5), math.log(1.4)
"""Standard deviation of the logarithm of a ratio: never measured; measured on other networks only; on this network, but
of another kind or size; and the least that many runs make of it, so that it follows a machine that changes."""


@dataclass(frozen=True)
class Worker:
    """What trains a group: CPU threads, or a GPU."""

    threads: int
    on_gpu: bool

    @property
    def place(self) -> str:
        return "gpu" if self.on_gpu else "cpu"

    @property
    def gain(self) -> float:
        """Of its CPU threads over one."""
        return 1.0 if self.on_gpu else float(max(1, self.threads) ** THREADS_POWER)

    def fixed(self, spec: TrialSpec, kind: Kind) -> Parts:
        """Return the seconds to build and compile what a group of trials like `spec` needs; no faster on more threads,
        nor on a GPU."""
        if kind == "heads":
            return {"heads/fixed": HEADS_FIXED}
        whole = FIXED_SECONDS[kind].get(spec.backbone, OTHER_FIXED[kind])
        if kind == "forward" or spec.unfrozen_blocks == "all":
            return {f"{kind}/fixed/{spec.backbone}": whole}
        share = min(1.0, 0.2 + BLOCK_SHARE * spec.unfrozen_blocks)
        return {f"train/fixed/{spec.backbone}/{spec.unfrozen_blocks}": whole * share}

    def work(self, spec: TrialSpec, kind: Kind, multiply_adds: float, steps: float = 0, epochs: float = 0) -> Parts:
        """Return the seconds of passes in `steps` batches."""
        if kind == "heads":
            per_step, speed, ending = HEADS_STEP_SECONDS, self._speed(None) * HEADS_SHARE, ""
        else:
            network = BACKBONES.get(spec.backbone)
            updated = (network.num_parameters if network else 0) / PARAMETERS_PER_SECOND[self.place] / self.gain
            per_step, speed = STEP_SECONDS[self.place] + updated, self._speed(spec.backbone)
            ending = f"/{spec.backbone}"
        size = f"{ending}/{spec.image_size}/{spec.precision}" if ending else ""
        parts = {f"{kind}/compute{size}": multiply_adds / speed}
        if steps or epochs:
            parts[f"{kind}/step{ending}"] = steps * per_step + epochs * EPOCH_SECONDS[kind]
        return parts

    def trials(self, kind: Kind, number: int) -> Parts:
        return {f"{kind}/trial": number * TRIAL_SECONDS[kind]}

    def _speed(self, backbone: str | None) -> float:
        """Return multiply-adds a second."""
        return GPU_SPEED if self.on_gpu else CPU_SPEEDS.get(backbone or "", OTHER_CPU_SPEED) * self.gain


class Ratio(NamedTuple):
    """Of measured to assumed seconds: logarithm, and its standard deviation."""

    log: float
    deviation: float


@dataclass(frozen=True)
class Speeds:
    """Of one worker on one device."""

    device: str
    """What the ratios were measured on; empty: nothing was measured."""
    assumed: Worker
    ratios: Mapping[str, Ratio] = field(default_factory=dict)
    """By part."""

    def ratio(self, part: str) -> Ratio:
        """Return what was measured, else that of the most similar parts, each as much as is known of it; else 1."""
        if part in self.ratios:
            return self.ratios[part]
        likeness = {name: _likeness(name, part) for name in self.ratios}
        best = max(likeness.values(), default=0)
        if not best:
            return Ratio(0.0, UNKNOWN)
        similar = [self.ratios[name] for name in likeness if likeness[name] == best]
        weights = [ratio.deviation**-2 for ratio in similar]
        log = sum(weight * ratio.log for weight, ratio in zip(weights, similar, strict=True)) / sum(weights)
        known = min(ratio.deviation for ratio in similar)
        return Ratio(log, max(known, SAME_NETWORK if best >= _SAME_NETWORK else BORROWED))

    def seconds(self, parts: Parts) -> float:
        return sum(seconds * math.exp(self.ratio(part).log) for part, seconds in parts.items())

    def doubt(self, parts: Parts) -> float:
        """Return seconds times the standard deviation of their logarithm, which adds up over parts, as if all were off
        to the same side."""
        return sum(
            seconds * math.exp(ratio.log) * ratio.deviation
            for seconds, ratio in ((seconds, self.ratio(part)) for part, seconds in parts.items())
        )

    def speed(self, spec: TrialSpec) -> float:
        """Return multiply-adds a second of the spec's frozen blocks."""
        return 1.0 / self.seconds(self.assumed.work(spec, "forward", 1.0))

    @property
    def source(self) -> str:
        """For people: where the times come from."""
        return f"measured here on {self.device}" if self.device else "assumed: nothing was measured here yet"


_SAME_NETWORK: Final = 3


def _likeness(name: str, part: str) -> int:
    """Return how alike two parts are; 0: one says nothing of the other. The ratio of a part is that of its like of the
    same kind and network, else network, else kind: what else is compiled or computed on a machine is off to the same
    side."""
    kind, share, network = _fields(name)
    own_kind, own_share, own_network = _fields(part)
    if share != own_share or not share:
        return 0
    same_network = bool(network) and network == own_network
    return 1 + (kind == own_kind) + (_SAME_NETWORK - 1 if same_network else 0)


def _fields(name: str) -> tuple[str, str, str]:
    kind, share, network = (*name.split("/"), "", "")[:3]
    return kind, share, network


def speeds_path() -> Path:
    """Return the file's path in the cache folder: like everything there it can be deleted, and is measured again."""
    return cache.cache_dir() / "speeds.json"


def load_speeds(path: Path, num_threads: int, on_gpu: bool) -> Speeds:
    """Return what was measured on the device of the worker's kind that ran last; assumptions alone where there is none.

    Which device a sweep gets is known when it runs: another CPU, or another GPU, than the last one is not foreseen. A
    CPU's ratios are not taken for a GPU's, nor the other way round.
    """
    known = [(name, ratios) for name, ratios in _read(path).items() if _is_cpu(name) != on_gpu]
    device, ratios = known[-1] if known else ("", {})
    return Speeds(device, Worker(num_threads, on_gpu), ratios)


def assumed_speeds(num_threads: int, on_gpu: bool) -> Speeds:
    """Return those of a worker with `num_threads` CPU threads, or with one GPU, of which nothing was measured."""
    return Speeds("", Worker(num_threads, on_gpu))


def learn_speeds(
    path: Path, results: Sequence[TrialResult], groups: Iterable[Group], wall_seconds: float | None = None
) -> None:
    """Keep what a run measured. results: of that run alone. Without one COMPLETE result the file stays as it is.

    Two workers beside each other slow each other: what is measured of one is with its neighbour, and the next plan has
    as many. Threads are in what is assumed: a ratio that one thread gave holds for two.
    """
    # Of a trial in stages, epochs hold the compiling of later stages: they would pass for what steps take.
    told = [r for r in results if r.status == COMPLETE and not (r.resumed_after or r.spec.unfreeze_stages)]
    complete = {r.trial_id: r for r in told if r.environment}
    known = _read(path)
    found: dict[str, list[_Measured]] = defaultdict(list)
    for group in groups:
        if rows := [complete[spec.trial_id] for spec in group.specs if spec.trial_id in complete]:
            found[_device(rows[0])] += _measured(rows, whole=len(rows) == len(group.specs))
    for device in sorted(found, key=lambda device: sum(one.seconds for one in found[device])):
        own = [result for result in complete.values() if _device(result) == device]
        start = _start(own, wall_seconds) if wall_seconds and len(found) == 1 else []
        known[device] = _learned(known.pop(device, {}), [*_together(found[device]), *start])  # the last one is last
    if found:
        kept = {name: {k: [r.log, r.deviation] for k, r in ratios.items()} for name, ratios in known.items()}
        cache.keep(path, json.dumps({"format": FORMAT, "devices": kept}, indent=1).encode())


class _Measured(NamedTuple):
    """Seconds that some parts took together."""

    seconds: float
    parts: Parts


def _measured(rows: Sequence[TrialResult], whole: bool) -> Iterator[_Measured]:
    """Yield what a group's rows measured: its epochs after the first of each pass; and, if it is `whole`, the rest,
    first epochs with tracing and compiling included. Rows of heads are shares of one pass, other rows are passes one
    after the other."""
    spec, worker = rows[0].spec, _worker(rows[0])
    kind = kind_of(spec)
    rest, parts = sum(row.timings.get("total", 0.0) for row in rows), dict(worker.trials(kind, len(rows)))
    for number, one in enumerate([rows] if kind == "heads" else [[row] for row in rows]):
        epochs = max(len(row.history) for row in one)
        later = sum(epoch["seconds"] for row in one for epoch in row.history[1:])
        if epochs > 1 and later > 0:
            rest -= later * epochs / (epochs - 1)
            yield _Measured(later, _epochs(one, kind, worker, epochs - 1))
        elif number and (only := sum(row.history[0]["seconds"] for row in one if row.history)):
            rest -= only  # compiled before
            yield _Measured(only, _epochs(one, kind, worker, epochs))
        else:
            add(parts, _epochs(one, kind, worker, epochs))
    if whole and rest > 0:
        add(parts, worker.fixed(spec, kind))
        if stored := sum(row.multiply_adds.get("features", 0.0) for row in rows):
            add(parts, worker.fixed(spec, "forward"))
            add(parts, worker.work(spec, "forward", stored))
            add(parts, interpolation(spec, spec.views * rows[0].num_images.get("train", 0)))
        add(parts, worker.work(spec, kind, sum(row.multiply_adds.get("evaluate", 0.0) for row in rows)))
        yield _Measured(rest, parts)


def _epochs(rows: Sequence[TrialResult], kind: Kind, worker: Worker, epochs: int) -> Parts:
    """Return the parts of so many epochs of a pass."""
    spec, images = rows[0].spec, rows[0].num_images
    whole = max(1, *(len(row.history) for row in rows))
    work = sum(row.multiply_adds.get("train", 0.0) for row in rows) * epochs / whole
    steps = epochs * steps_of(spec, images.get("train", 0), images.get("validation", 0) or images.get("test", 0))
    parts: dict[str, float] = {}
    if kind == "heads":  # at most three multiply-adds for each weight and image; more is frozen blocks that ran before
        own = 3.0 * sum(row.num_parameters.get("trainable", 0) for row in rows) * epochs * sum(images.values())
        if work > 2 * own:
            add(parts, worker.work(spec, "forward", work - own))
            work = own
    add(parts, worker.work(spec, kind, work, steps, epochs))
    if not spec.views:
        add(parts, interpolation(spec, epochs * images.get("train", 0)))
    return parts


def interpolation(spec: TrialSpec, images: float) -> Parts:
    """Return the seconds to shift and zoom so many images, of which a blend takes two each; none where the trial does
    neither."""
    if not (spec.shift or spec.zoom):
        return {}
    pixels = (1 + spec.blends_images) * (spec.image_size / 224) ** 2
    return {"images/interpolation": images * pixels * INTERPOLATION_SECONDS}


def steps_of(spec: TrialSpec, train: int, watched: int) -> float:
    """Count the training steps of an epoch; a step that only looks counts a third."""
    return math.ceil(train / spec.batch_size) + math.ceil(watched / spec.batch_size) / 3


def _together(measured: Iterable[_Measured]) -> list[_Measured]:
    """Return one for each set of parts, so that a sweep of many groups counts as one. Where something is compiled, the
    dearest for its parts: others found it compiled, or on disk."""
    found: dict[tuple[str, ...], list[_Measured]] = defaultdict(list)
    for one in measured:
        found[tuple(sorted(one.parts))].append(one)
    together = []
    for names, several in sorted(found.items(), key=lambda item: len(item[0])):  # epochs alone before what holds more
        if any("/fixed" in name for name in names):
            together.append(max(several, key=lambda one: one.seconds / sum(one.parts.values())))
        else:
            parts = {name: sum(one.parts[name] for one in several) for name in names}
            together.append(_Measured(sum(one.seconds for one in several), parts))
    return together


def _start(results: Sequence[TrialResult], wall_seconds: float) -> list[_Measured]:
    """Return what passed before the first trial and after the last: the whole time without that from start to end."""
    if not all(result.started for result in results):
        return []
    begins: dict[str, float] = defaultdict(float)  # heads of one pass have one beginning, and share its time
    for result in results:
        begins[result.started] += result.timings.get("total", 0.0) if result.num_fused > 1 else 0.0
    seconds = {result.started: _epoch_seconds(result.started) for result in results}
    ends = [
        seconds[r.started] + (begins[r.started] if r.num_fused > 1 else r.timings.get("total", 0.0)) for r in results
    ]
    start = wall_seconds - (max(ends) - min(seconds.values()))
    return [_Measured(start, {"start": START_SECONDS})] if start > 1 else []


def _epoch_seconds(started: str) -> float:
    return datetime.datetime.fromisoformat(started).timestamp()


def _learned(ratios: Mapping[str, Ratio], measured: Iterable[_Measured]) -> dict[str, Ratio]:
    """Return the ratios after what was measured: a Kalman filter's step for each time, on its logarithm."""
    learned = dict(ratios)
    for seconds, parts in measured:
        prior = Speeds("", Worker(1, False), learned)
        before = {part: prior.ratio(part) for part in parts}
        expected = {part: parts[part] * math.exp(before[part].log) for part in parts}
        total = sum(expected.values())
        if not (seconds > 0 and total > 0):
            continue
        shares = {part: expected[part] / total for part in parts}
        variance = NOISE**2 + sum((shares[part] * before[part].deviation) ** 2 for part in parts)
        for part, (log, deviation) in before.items():
            gain = shares[part] * deviation**2 / variance
            left = deviation * math.sqrt(max(0.0, 1 - gain * shares[part]))
            learned[part] = Ratio(log + gain * math.log(seconds / total), max(left, min(deviation, MEASURED)))
    return learned


def kind_of(spec: TrialSpec) -> Kind:
    """Return the kind of what a trial trains."""
    return "heads" if spec.trains_head_only else "train"


def add(parts: dict[str, float], more: Parts) -> None:
    """Add `more` to `parts`."""
    for name, seconds in more.items():
        parts[name] = parts.get(name, 0.0) + seconds


def _read(path: Path) -> dict[str, dict[str, Ratio]]:
    """Read ratios by device, the last one last; nothing where the file is missing, damaged or of another format."""
    try:
        found = read_json(cache.read_own(path))
        if found["format"] != FORMAT:
            return {}
        return {
            device: {part: _ratio(*ratio) for part, ratio in own.items()} for device, own in found["devices"].items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}  # it can be measured again


def _ratio(log: float, deviation: float) -> Ratio:
    if not (math.isfinite(log) and math.isfinite(deviation) and deviation > 0):
        raise ValueError(f"a ratio must be a number with a positive deviation; got {log!r}, {deviation!r}")
    return Ratio(float(log), float(deviation))


def _device(result: TrialResult) -> str:
    """Return a trial's device without the threads, which `Worker` knows."""
    return re.sub(r", \d+ threads?$", "", result.environment.get("device", "unknown device"))


def _worker(result: TrialResult) -> Worker:
    device = result.environment.get("device", "")
    threads = re.search(r", (\d+) threads?$", device)
    return Worker(int(threads[1]) if threads else 1, not _is_cpu(device))


def _is_cpu(device: str) -> bool:
    return "cpu" in device.lower()  # "x86_64 CPU", "cpu (jax)"
