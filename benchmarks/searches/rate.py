"""Part `rate` of bench_search.py: how many trials a second can `sweep.search.trials.Search` suggest and be told of?"""

from __future__ import annotations

import contextlib
import cProfile
import functools
import hashlib
import io
import itertools
import pstats
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from galaxytl.results.search.asked_file import append_asked
from galaxytl.trial import COMPLETE, PRUNED, TrialResult, TrialSpec
from sweep.search.ask_space import SpaceSampler
from sweep.search.export import Export
from sweep.search.stopping import make_rule
from sweep.search.trials import Problem, Search
from sweep.space import Facts, space

REQUIRED: Final = 20.0
"""Trials/s: a batch of 8 then takes 0.4 s."""
LAST: Final = 100
FACTS: Final = Facts(
    image_size=64,
    backbones=("MobileNet", "MobileNetV2", "MobileNetV3Small", "VGG16", "ResNet50"),
    num_blocks={"MobileNet": 13, "MobileNetV2": 17, "MobileNetV3Small": 11, "VGG16": 5, "ResNet50": 17},
    scales_pixels=frozenset({"MobileNetV3Small"}),
)
BASE: Final = TrialSpec(
    dataset="simulated", dataset_fingerprint="0", image_size=64, validation_fraction=0.1, scored_on="validation"
)


@dataclass(frozen=True)
class Cell:
    """One measurement."""

    sampler: str
    storage: str
    """folder: what was asked is forced to disk; sqlite and journal: the study is exported too."""
    batch: int
    scheduler: str = "none"

    def __str__(self) -> str:
        return f"{self.sampler:14}{self.storage:9}{self.batch:5}  {self.scheduler:10}"


SAMPLERS, STORAGES, BATCHES = ("RandomSampler", "TPESampler"), ("folder", "sqlite", "journal"), (1, 8)
CELLS: Final = (
    *itertools.starmap(Cell, itertools.product(SAMPLERS, STORAGES, BATCHES)),
    Cell("TPESampler", "folder", 8, "asha"),
)
DEFAULT: Final = Cell("TPESampler", "folder", 1)


def measure_all(num_trials: int) -> bool:
    """Print trials/s of every cell; whether all of them are fast enough, to the end."""
    print(f"{num_trials} trials; required: {REQUIRED:g} trials/s over all, and over the last {LAST}")
    print(f"{'sampler':14}{'storage':9}{'batch':>5}  {'scheduler':10}{'trials/s':>10}{'of the last':>13}")
    holds = True
    for cell in CELLS:
        overall, last = rates(ended_at(cell, num_trials))
        is_enough = min(overall, last) >= REQUIRED
        holds &= is_enough
        print(f"{cell}{overall:10.1f}{last:13.1f}{'' if is_enough else '  missed'}", flush=True)
    return holds


def rates(seconds: list[float]) -> tuple[float, float]:
    """Trials/s overall, and of the last LAST: from the second of the start, then that of each trial's end."""
    last = min(LAST, len(seconds) - 1)
    return (len(seconds) - 1) / (seconds[-1] - seconds[0]), last / (seconds[-1] - seconds[-1 - last])


def ended_at(cell: Cell, num_trials: int, profile: cProfile.Profile | None = None) -> list[float]:
    """Search with made-up results; the second of the start, then that in which each trial was told. `profile` is
    switched on for the last LAST of them."""
    with tempfile.TemporaryDirectory() as folder, open_search(cell, Path(folder), num_trials * 2) as search:
        seconds = [time.perf_counter()]
        while len(seconds) <= num_trials:
            if profile and len(seconds) > num_trials - LAST:
                profile.enable()
            for spec in search.ask(cell.batch):
                search.finished(_trained(search, spec))
                seconds.append(time.perf_counter())
        if profile:
            profile.disable()
    return seconds[: num_trials + 1]


def search_in(folder: Path, problem: Problem) -> Search:
    """One that forces what it asks for to disk."""
    return Search(problem, write=functools.partial(append_asked, folder))


@contextlib.contextmanager
def open_search(cell: Cell, folder: Path, num_trials: int) -> Iterator[Search]:
    search = search_in(folder, problem(cell, num_trials))
    urls = {"sqlite": f"sqlite:///{folder}/study.db", "journal": f"journal:///{folder}/study.log"}
    with contextlib.ExitStack() as stack:
        if cell.storage in urls:
            stack.enter_context(Export(urls[cell.storage], search.study, ("rate", {}), print))
        yield search


def problem(cell: Cell, num_trials: int) -> Problem:
    return Problem(
        sampler_of_space=SpaceSampler(space, FACTS),
        build=_build,
        objectives=("val_accuracy",),
        rule=make_rule(cell.scheduler, BASE.num_epochs),
        num_trials=num_trials,
        sampler=cell.sampler,
    )


def _build(fields: Mapping[str, Any]) -> TrialSpec:
    return BASE.replace(**fields)


def _trained(search: Search, spec: TrialSpec) -> TrialResult:
    """A made-up result; where ASHA stops the trial, that of the epochs up to there."""
    end = made_up_accuracy(spec)
    history: list[dict[str, float]] = []
    for number in range(1, spec.num_epochs + 1):
        history.append({"epoch": number, "val_accuracy": end * number / spec.num_epochs, "val_loss": 1 - end})
        if reason := search.epochs({spec.trial_id: history[-1]}).get(spec.trial_id):
            return TrialResult(spec=spec, status=PRUNED, message=reason, history=tuple(history))
    return TrialResult(spec=spec, status=COMPLETE, history=tuple(history))


def made_up_accuracy(spec: TrialSpec) -> float:
    """Between 0 and 1: best with Adam, a deep start and few changes to it, and 0.05 of noise that the spec fixes."""
    noise = int.from_bytes(hashlib.sha256(spec.trial_id.encode()).digest()[:4], "big") / 2**32
    good = [spec.optimizer == "adam", spec.weights == "imagenet", spec.backbone == "MobileNet", spec.augmentation]
    return 0.2 + 0.15 * sum(good) + 0.05 * noise + 0.1 * (spec.weight_decay == 1e-4)


def profile_default(num_trials: int, num_lines: int = 45) -> str:
    """Where the time of the last LAST trials goes, in the default storage by the default sampler."""
    profile = cProfile.Profile()
    ended_at(DEFAULT, num_trials, profile)
    text = io.StringIO()
    for order in ("cumulative", "tottime"):
        pstats.Stats(profile, stream=text).strip_dirs().sort_stats(order).print_stats(num_lines)
    return text.getvalue()
