"""How much faster is a sweep that computes nothing frozen twice? The same trials by Ray Tune + Keras, and by us.

    python benchmarks/bench_sweep.py                       # all five workloads: about 2 hours on 2 cores
    python benchmarks/bench_sweep.py lr --small            # a smoke test: about a minute a workload

Workloads (sizes in WORKLOADS):
    lr          16 learning rates of a head on frozen MobileNet
    backbones   the ON half of the paper's grid (frozen MobileNet, ResNet50 and VGG16) x 8 learning rates
    again       the same trials into a fresh results folder, their activations still on disk
    depth       ResNet50 with 0, 1, 2, 3 and 4 unfrozen blocks x 4 learning rates
    search      the same settings by a search that stops bad trials early (sweeps/searched.py), ten times

Systems: b1 and b2 of sweeps/baselines.py, and ours, `python -m sweep.run`. Each is a process of its own, timed from
its start to its end, on the same file, rows, epochs, batches and seeds; ours starts with an empty cache (but for
`again`), and of its searches the median counts. ImageNet weights where --weights-dir or $GALAXYTL_WEIGHTS_DIR has them,
else random ones, the same for all.

Prints ratios beside what is required of them, whether the accuracies agree, executed over minimal multiply-adds, the
seconds of a trial outside training, the peaks of memory, and how near ours is to the floor (sweeps/floor.py); of
searches, what they chose. Exit status 1 when accuracies differ, or what is chosen is worse than the grid's best.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import shutil
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from harness.parts import add_parts
from harness.processes import run_measuring, run_printing, run_script
from memory import watched_memory
from sweeps import compare, searched
from sweeps.report import describe

from galaxytl.data import open_dataset, split_indices
from galaxytl.data.convert import convert
from galaxytl.networks.blocks import structures
from galaxytl.networks.weights import WeightsNotFoundError, find_weights
from galaxytl.results.rows import read_results
from galaxytl.trial import TrialResult, TrialSpec, seed_for

BATCH_SIZE = 32


@dataclass(frozen=True)
class Workload:
    """A grid of trials, and what is required."""

    backbones: tuple[str, ...]
    unfrozen_blocks: tuple[int, ...]
    num_rates: int
    """Learning rates, in equal steps of their logarithm between `rates`."""
    rates: tuple[float, float]
    image_size: int
    num_images: int
    num_epochs: int
    required: tuple[float, float]
    """How many times faster than b1 and than b2."""
    searches: int = 0
    """With early stopping, each with a seed of its own, in place of ours of the grid; 0: the grid."""

    @property
    def learning_rates(self) -> list[float]:
        return [float(f"{rate:.3g}") for rate in np.geomspace(*self.rates, self.num_rates)]


HEADS = (1e-5, 1e-2)
"""Learning rates of heads with Adam: below, nothing is learnt in 10 epochs; above, it jumps about."""
ALL = ("MobileNet", "ResNet50", "VGG16")
DEPTH = Workload(("ResNet50",), (0, 1, 2, 3, 4), 4, (1e-5, 1e-3), 64, 200, 10, (4, 3.6))
SMALL_DEPTH = Workload(("MobileNet",), (0, 2), 2, (1e-4, 1e-3), 32, 60, 2, (4, 3.6))

WORKLOADS = {
    "lr": Workload(("MobileNet",), (0,), 16, HEADS, 128, 1600, 10, (25, 20)),
    "backbones": Workload(ALL, (0,), 8, HEADS, 64, 300, 20, (20, 15)),  # the paper's grid has 20 epochs
    "again": Workload(ALL, (0,), 8, HEADS, 64, 300, 20, (40, 30)),
    "depth": DEPTH,
    "search": dataclasses.replace(DEPTH, required=(6, 6), searches=10),
}
"""Sized for b2 to take 5 to 20 minutes on two quiet cores, where a frozen forward pass of one image takes 3 to 6 ms
(MobileNet, 128 px), 1.5, 6 and 12 ms (MobileNet, ResNet50, VGG16, 64 px), 4 to 13 ms with up to four of ResNet50's
blocks trained, and each trial 2 s (frozen) to 10 s (four blocks) to build and trace its network. Measured: lr 14.9,
backbones 16.5, depth 8.1 minutes."""
SMALL = {
    "lr": Workload(("MobileNet",), (0,), 3, HEADS, 32, 60, 3, (25, 20)),
    "backbones": Workload(("MobileNet", "VGG16"), (0,), 2, HEADS, 32, 60, 3, (20, 15)),
    "again": Workload(("MobileNet", "VGG16"), (0,), 2, HEADS, 32, 60, 3, (40, 30)),
    "depth": SMALL_DEPTH,
    "search": dataclasses.replace(SMALL_DEPTH, required=(6, 6), searches=1),
}


def main() -> int:
    options = parse()
    options.out.mkdir(parents=True, exist_ok=True)
    workloads = SMALL if options.small else WORKLOADS
    bench = Bench(options.out, options.data, options.weights_dir)
    reports = []
    for name in options.workloads or workloads:
        workload = workloads[name]
        if options.images:
            workload = dataclasses.replace(workload, num_images=options.images)
        reports.append(bench.run(name, workload))
        print(describe(reports[-1]), flush=True)
        (options.out / "bench_sweep.json").write_text(json.dumps(reports, indent=1))
    print(f"All numbers: {options.out / 'bench_sweep.json'}")
    return 0 if all(report["agrees"] for report in reports) else 1


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Sweeps by Ray Tune + Keras and by this project: seconds and ratios")
    add_parts(parser, WORKLOADS, what="workload")
    parser.add_argument("--small", action="store_true", help="tiny sizes: a smoke test, whose ratios mean nothing")
    parser.add_argument("--images", type=int, metavar="N", help="another number of images in each workload")
    parser.add_argument("--data", metavar="URI", help="take the images from here (default: simulated galaxies)")
    parser.add_argument("--weights-dir", type=Path, metavar="FOLDER", help="folder of ImageNet weights files")
    out = Path("results") / "bench-sweep"
    parser.add_argument("--out", type=Path, default=out, metavar="DIR", help=f"replaced; results (default: {out})")
    return parser.parse_args()


class Bench:
    """Runs workloads in `out`. Of `backbones` it keeps the cache and the baselines' results, for `again`."""

    def __init__(self, out: Path, data: str | None, weights_dir: Path | None) -> None:
        self._out, self._data, self._weights_dir = out, data, weights_dir
        self._temporary = tempfile.TemporaryDirectory()  # removed with this object
        self._baselines: dict[Workload, dict[str, Any]] = {}

    def run(self, name: str, workload: Workload) -> dict[str, Any]:
        """Run one workload in all systems; return all that its report says."""
        folder = self._out / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        work = self._write_work(workload, folder / "work.json")
        cache = Path(self._temporary.name) / f"{workload.backbones}-{workload.image_size}-{workload.num_images}"
        if workload.searches:
            return self._run_searches(name, workload, work, cache)
        is_stored = name == "again"
        if not is_stored:
            shutil.rmtree(cache, ignore_errors=True)
        elif not cache.exists():
            self._run_ours(work, folder / "first", cache)  # not timed: leaves its activations
        ours = self._run_ours(work, folder, cache)
        baselines = self._run_baselines(workload, folder, is_stored)
        _, costs = run_measuring("sweeps.floor", folder / "work.json", folder / "floor.json")
        rows = read_results(folder / "ours").results
        floor = compare.floor_seconds(work, costs, is_stored)
        report = {"workload": name, **dataclasses.asdict(workload), **ours, **baselines, "floor": floor}
        return report | judge(report, rows, work, is_stored)

    def _run_searches(self, name: str, workload: Workload, work: dict[str, Any], cache: Path) -> dict[str, Any]:
        """Run the workload's searches, each with an empty cache; return all that their report says."""
        folder, seconds, choices = self._out / name, list[float](), list[searched.Choice]()
        settings = len(work["backbone"]) * len(work["unfrozen_blocks"]) * len(work["learning_rate"])
        for seed in range(workload.searches):
            shutil.rmtree(cache, ignore_errors=True)
            place = folder / f"seed-{seed}"
            seconds.append(self._run_ours(work, place, cache, searched.options(settings, seed))["seconds"])
            choices.append(searched.choice_of(read_results(place / "ours").results))
        baselines = self._run_baselines(workload, folder, is_stored=False)
        grids = {system: compare.accuracies_of_baseline(own["trials"]) for system, own in baselines.items()}
        report = {"workload": name, **dataclasses.asdict(workload), **baselines, "all_seconds": seconds}
        report |= describe_work(work) | searched.judge(choices, grids["b2"], len(work["test"]))
        report["accuracy"] |= {system: max(own.values()) for system, own in grids.items()}
        return {**report, "seconds": statistics.median(seconds)}

    def _run_baselines(self, workload: Workload, folder: Path, is_stored: bool) -> dict[str, Any]:
        """Return seconds and trials of b1 and b2. They keep nothing, so what they took is what they take again, less
        the resizing of b2, whose file a careful user would keep."""
        key = dataclasses.replace(workload, required=(0, 0), searches=0)
        if key not in self._baselines:
            self._baselines[key] = {}
            for system in ("b1", "b2"):
                files = folder / "work.json", folder / f"{system}.json"
                with watched_memory() as peaks:
                    seconds, trials = run_measuring("sweeps.baselines", system, *files)
                self._baselines[key][system] = {"seconds": seconds, "memory": str(peaks), **trials}
        b1, b2 = self._baselines[key].values()
        return {"b1": b1, "b2": {**b2, "seconds": b2["seconds"] - (b2["prepare_seconds"] if is_stored else 0)}}

    def _write_work(self, workload: Workload, path: Path) -> dict[str, Any]:
        """Write what sweeps/baselines.py and sweeps/floor.py read: file, split, seed, weights, and the grid's axes."""
        data = self._write_images(workload.num_images)
        dataset = open_dataset(str(data))
        spec = TrialSpec(dataset=dataset.name, dataset_fingerprint=dataset.fingerprint, stratified=True)
        splits = split_indices(dataset.labels, spec)
        weights, is_random = self._find_weights(workload, spec.is_simulated)
        networks = structures([(backbone, workload.image_size) for backbone in workload.backbones])
        work = {
            "data": str(data.resolve()),
            "image_size": workload.image_size,
            "batch_size": BATCH_SIZE,
            "num_epochs": workload.num_epochs,
            "seed": seed_for(spec, "init"),
            "train": splits.train.tolist(),
            "test": splits.test.tolist(),
            "backbone": list(workload.backbones),
            "unfrozen_blocks": list(workload.unfrozen_blocks),
            "learning_rate": workload.learning_rates,
            "weights": weights,
            "random": is_random,
            "last_frozen": {
                name: {str(cut): structure.blocks[-1 - cut].last_layer for cut in workload.unfrozen_blocks}
                for (name, _), structure in networks.items()
            },
        }
        path.write_text(json.dumps(work, indent=1))
        return work

    def _write_images(self, num_images: int) -> Path:
        """Write a file in Galaxy10's layout with as many images, one a chunk; not timed."""
        path = self._out / f"{'subset' if self._data else 'simulated'}-{num_images}.h5"
        if not self._data:
            convert(f"simulated:{num_images}", str(path))  # does nothing when it is there
            return path
        dataset = open_dataset(self._data)
        limit = num_images if num_images < len(dataset) else 0
        spec = TrialSpec(dataset="", dataset_fingerprint="", max_images=limit, stratified=True)
        rows = split_indices(dataset.labels, spec).all()
        images = dataset.resized(256).images[rows]
        with h5py.File(path, "w") as file:
            file.create_dataset("images", data=images, chunks=(1, *images.shape[1:]), compression="gzip")
            file["ans"] = dataset.labels[rows].astype(np.uint8)
        return path

    def _find_weights(self, workload: Workload, is_simulated: bool) -> tuple[dict[str, str], list[str]]:
        """Return each backbone's weights file, and the backbones whose file is of random weights.

        On real galaxies a sweep never replaces missing weights, so there all backbones get random ones if one must.
        """
        files, is_random = {}, list[str]()
        for name in workload.backbones:
            try:
                files[name] = str(find_weights(name, self._weights_dir).path)
            except WeightsNotFoundError as error:
                print(f"note: {name} gets random weights: {error}", flush=True)
                is_random.append(name)
        if is_random and not is_simulated:
            is_random = list(workload.backbones)
        for name in is_random:
            path = self._out.resolve() / f"random-{name}.weights.h5"
            run_script("sweeps.random_weights", name, workload.image_size, path)
            files[name] = str(path)
        return files, is_random

    def _run_ours(
        self, work: dict[str, Any], folder: Path, cache: Path, what: Sequence[str] = ("--grid", "paper")
    ) -> dict[str, Any]:
        """Run the sweep's own command line with results in `folder`/ours; return its seconds and what it printed
        when."""
        grid = ("backbone", "unfrozen_blocks", "learning_rate")
        settings = {axis: ",".join(map(str, work[axis])) for axis in grid}
        settings |= {name: work[name] for name in ("image_size", "batch_size", "num_epochs")}
        all_random = len(work["random"]) == len(work["backbone"])
        settings |= {"weights": "random" if all_random else "imagenet", "max_images": 0, "stratified": "true"}
        command = [sys.executable, "-m", "sweep.run", *what, "--profile", "laptop"]
        command += ["--no-diagnostics"]  # which the others do not record either
        command += ["--data", work["data"], "--out", str(folder / "ours")]
        command += ["--weights-dir", str(self._weights_dir.resolve())] if self._weights_dir else []
        command += [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
        with watched_memory() as peaks:
            seconds, lines = run_printing(command, {"GALAXYTL_CACHE_DIR": str(cache)})
        spent, memory = compare.milestones(lines, seconds), {"memory": str(peaks)}
        return {"command": command[1:], "seconds": seconds, "milestones": spent, **memory, "lines": lines}


def judge(
    report: Mapping[str, Any], rows: Sequence[TrialResult], work: Mapping[str, Any], is_stored: bool
) -> dict[str, Any]:
    """Return what the seconds, rows and accuracies of one workload say."""
    accuracies = {system: compare.accuracies_of_baseline(report[system]["trials"]) for system in ("b1", "b2")}
    accuracies["ours"] = compare.accuracies_of_rows(rows)
    agreement = compare.agreement(accuracies["ours"], accuracies["b2"], len(work["test"]))
    networks = structures([(backbone, work["image_size"]) for backbone in work["backbone"]])
    complete = [row for row in rows if row.timings and row.metrics]
    return {
        "agreement": str(agreement),
        "agreement_of_baselines": str(compare.agreement(accuracies["b1"], accuracies["b2"], len(work["test"]))),
        "agrees": agreement.holds,
        "accuracy": {system: statistics.fmean(values.values()) for system, values in accuracies.items()},
        "failed": [row.message for row in rows if not row.metrics],
        **describe_work(work),
        "executed": compare.executed_multiply_adds(complete),
        "minimal": compare.minimal_multiply_adds(complete, networks, is_stored),
        "outside": compare.seconds_outside_training(complete),
        "parts": compare.seconds_by_part(complete),
    }


def describe_work(work: Mapping[str, Any]) -> dict[str, Any]:
    """Return how many images a workload has, and which weights, for its report."""
    return {
        "num_images": {"train": len(work["train"]), "test": len(work["test"])},
        "weights": {name: "random" if name in work["random"] else "ImageNet" for name in work["backbone"]},
    }


if __name__ == "__main__":
    sys.exit(main())
