"""How fast this machine is: multiply-adds a second, measured in earlier runs, or assumed until there are any.

    speeds = load_speeds(speeds_path(), num_threads=8, on_gpu=False)
    seconds = speeds.seconds(spec, "forward", 1e12)
    learn_speeds(speeds_path(), results, groups)        # after a run, for the next plan

Kinds of work: "forward" (frozen blocks), "train" (unfrozen blocks with their head), "heads" (heads on frozen features,
which are bound by memory). A measured speed holds for trials like those that it was measured on: it includes what every
step costs whatever its size, so few heads or small images run at fewer multiply-adds a second than many or large ones.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from galaxytl.data import cache
from galaxytl.training import Group
from galaxytl.trial import COMPLETE, TrialResult, TrialSpec

Kind = Literal["forward", "train", "heads"]

FORMAT: Final = 1  # of speeds.json; raised when older files must not be read

CPU_THREAD_SPEED: Final = 10e9
"""Multiply-adds a second of one CPU thread. Measured on two cores at 224 px, an image: MobileNet 69 ms for 0.57e9,
ResNet50 175 ms for 3.9e9, VGG16 511 ms for 15.3e9; so 4, 11 and 15e9 a core."""
GPU_SPEED: Final = 10e12
"""Of one data-centre GPU: a cautious share of what NVIDIA's data sheet names for the A100 in TensorFloat-32, 78e12
multiply-adds (156e12 operations) a second."""
HEADS_SHARE: Final = 0.1
"""Speed of heads, of that of convolutions. One head's step took 1/62 (MobileNet), 1/110 (ResNet50) and 1/604 (VGG16) of
those times: 0.7, 1.0 and 0.4e9 a core; 8 to 16 heads in one step were 2.9 times faster a head."""
BUILD_SECONDS: Final = 10.0
"""Of a group's network: to build it and compile its step. Measured: 6 s (VGG16) to 45 s (ResNet50); less for heads."""
WORKER_START_SECONDS: Final = 15.0
"""Ray starts a process and that imports the framework: 3-7 s and 7-10 s."""

MIN_MEASURED_SECONDS: Final = 1.0
"""What took less in a whole run says more about the clock and the first step than about the machine."""


@dataclass(frozen=True)
class Speeds:
    """Of one worker: what was measured for (backbone, image size, precision, kind), else what is assumed."""

    device: str
    """What the speeds were measured on; empty: nothing was measured."""
    assumed: float
    """Multiply-adds a second where nothing was measured."""
    measured: Mapping[str, float] = field(default_factory=dict)
    """"MobileNet/224/float32/forward" -> multiply-adds a second."""
    builds: Mapping[str, float] = field(default_factory=dict)
    """"MobileNet/heads" or "MobileNet/train" -> seconds to build and compile a group."""

    def of(self, spec: TrialSpec, kind: Kind) -> float:
        """Multiply-adds a second: of this kind of work for the spec's backbone, else for the most similar one."""
        names = [name for name in self.measured if name.endswith(f"/{kind}")]
        if not names:
            return self.assumed * (HEADS_SHARE if kind == "heads" else 1.0)
        return self.measured[min(names, key=lambda name: (_unlikeness(name, spec), name))]

    def seconds(self, spec: TrialSpec, kind: Kind, multiply_adds: float) -> float:
        return multiply_adds / self.of(spec, kind)

    def build_seconds(self, spec: TrialSpec) -> float:
        """To build and compile the network of a group of trials like `spec`."""
        return self.builds.get(_build_name(spec), BUILD_SECONDS)

    @property
    def source(self) -> str:
        """For people: where the speeds come from."""
        if self.device:
            return f"speeds measured here on {self.device}"
        return f"speeds assumed: {self.assumed / 1e9:,.0f} G multiply-adds/s a worker; nothing was measured here yet"


def assumed_speeds(num_threads: int, on_gpu: bool) -> Speeds:
    """Of a worker with `num_threads` CPU threads, or with one GPU."""
    return Speeds(device="", assumed=GPU_SPEED if on_gpu else CPU_THREAD_SPEED * max(1, num_threads))


def speeds_path() -> Path:
    """In the cache folder: like everything there it can be deleted, and is measured again."""
    return cache.cache_dir() / "speeds.json"


def load_speeds(path: Path, num_threads: int, on_gpu: bool) -> Speeds:
    """What was measured on the device that ran last on this host; assumed speeds where there is none.

    Which device a sweep gets is known when it runs. A CPU's speeds are not taken for a GPU's, nor the other way round.
    """
    assumed = assumed_speeds(num_threads, on_gpu)
    known = _read(path)
    device = known["last"]
    if not device or ("CPU" in device) == on_gpu:
        return assumed
    facts = known["devices"][device]
    return Speeds(device, assumed.assumed, facts["speeds"], facts["builds"])


def learn_speeds(path: Path, results: Sequence[TrialResult], groups: Iterable[Group]) -> None:
    """Keep what a run measured: the mean of it and of what was known, so that one odd run does not decide.

    results: of that run alone; each holds its share of its group's multiply-adds and seconds. Without one COMPLETE
    result the file stays as it is.
    """
    complete = {result.trial_id: result for result in results if result.status == COMPLETE and result.environment}
    if not complete:
        return
    known = _read(path)
    seconds: dict[str, float] = defaultdict(float)
    for device in sorted({_device(result) for result in complete.values()}):
        own = {trial_id: result for trial_id, result in complete.items() if _device(result) == device}
        facts = known["devices"].setdefault(device, {"speeds": {}, "builds": {}})
        _blend(facts["speeds"], _measured_speeds(own.values()))
        _blend(facts["builds"], _measured_builds(own, groups))
        seconds[device] = sum(result.timings.get("total", 0.0) for result in own.values())
    known["last"] = max(seconds, key=lambda device: seconds[device])
    cache.keep(path, json.dumps(known, indent=1, sort_keys=True).encode())


def _measured_speeds(results: Iterable[TrialResult]) -> dict[str, float]:
    work: dict[str, float] = defaultdict(float)
    seconds: dict[str, float] = defaultdict(float)
    for result in results:
        kinds: dict[str, Kind] = {"features": "forward", "train": _training_kind(result)}
        for part, kind in kinds.items():
            if result.multiply_adds.get(part, 0.0) > 0:
                name = _speed_name(result.spec, kind)
                work[name] += result.multiply_adds[part]
                seconds[name] += result.timings.get(part, 0.0)
    return {name: work[name] / seconds[name] for name in work if seconds[name] >= MIN_MEASURED_SECONDS}


def _training_kind(result: TrialResult) -> Kind:
    """What most of a trial's training was. A head on stored features does, an image, at most 3 multiply-adds for each
    of its weights; more is frozen blocks that ran before it."""
    if result.spec.unfrozen_blocks != 0:
        return "train"
    images = sum(result.num_images.values()) * len(result.history)
    own = 3.0 * result.num_parameters.get("trainable", 0) * images
    return "heads" if result.multiply_adds.get("train", 0.0) <= 2 * own else "forward"


def _measured_builds(results: Mapping[str, TrialResult], groups: Iterable[Group]) -> dict[str, float]:
    """Mean seconds a group; its trials hold equal shares of them."""
    seconds = defaultdict(list)
    for group in groups:
        shares = [results[s.trial_id].timings.get("build", 0.0) for s in group.specs if s.trial_id in results]
        if len(shares) == len(group.specs):
            seconds[_build_name(group.specs[0])].append(sum(shares))
    return {name: sum(values) / len(values) for name, values in seconds.items() if sum(values) > 0}


def _blend(known: dict[str, float], measured: Mapping[str, float]) -> None:
    for name, value in measured.items():
        known[name] = (known.get(name, value) + value) / 2


def _read(path: Path) -> dict[str, Any]:
    """The file's content; that of an empty one when it is missing, damaged or of another format."""
    try:
        found = json.loads(path.read_bytes())
        if found["format"] == FORMAT and found["last"] in found["devices"]:
            for facts in found["devices"].values():
                _check_positive([*facts["speeds"].values(), *facts["builds"].values()])
            return dict(found)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass  # it can be measured again
    return {"format": FORMAT, "last": "", "devices": {}}


def _check_positive(values: Iterable[Any]) -> None:
    for value in values:
        if not (isinstance(value, float | int) and math.isfinite(value) and value > 0):
            raise ValueError(f"a speed or time must be a positive number; got {value!r}")


def _device(result: TrialResult) -> str:
    return result.environment.get("device", "unknown device")


def _speed_name(spec: TrialSpec, kind: Kind) -> str:
    return f"{spec.backbone}/{spec.image_size}/{spec.precision}/{kind}"


def _build_name(spec: TrialSpec) -> str:
    return f"{spec.backbone}/{'heads' if spec.unfrozen_blocks == 0 else 'train'}"


def _unlikeness(name: str, spec: TrialSpec) -> tuple[bool, bool, float]:
    backbone, image_size, precision, _ = name.split("/")
    return backbone != spec.backbone, precision != spec.precision, abs(math.log(int(image_size) / spec.image_size))
