"""What do activations stored in half the bytes cost in accuracy?

    python benchmarks/bench_precision.py                              # simulated galaxies; ImageNet weights if found
    python benchmarks/bench_precision.py --data FILE.h5 --weights-dir weights/

Trains heads on frozen MobileNet for several learning rates and split seeds in float32, mixed_float16 and
mixed_bfloat16, and prints the mean test accuracy, its difference from float32 (the same trials, paired) with the
standard error of that, the bytes of the stored activations, and seconds. --data and --weights-dir default to
$GALAXYTL_TEST_DATA and $GALAXYTL_TEST_WEIGHTS_DIR.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np
from harness.frozen import add_place, prepare

from galaxytl.learning.job import Group, Workplace
from galaxytl.system.cache import cache_dir
from galaxytl.training import train
from galaxytl.trial import COMPLETE, TrialSpec

PRECISIONS = ("float32", "mixed_float16", "mixed_bfloat16")
LEARNING_RATES = (1e-4, 3e-4, 1e-3, 3e-3)


def main() -> None:
    options = parse()
    with tempfile.TemporaryDirectory() as name:
        os.environ["GALAXYTL_CACHE_DIR"] = str(Path(name) / "cache")
        workplace = Workplace(options.data or f"simulated:{options.images}", Path(name) / "out", options.weights_dir)
        base = prepare(workplace, options, f"learning rates {LEARNING_RATES}")
        compare(base, workplace, options.seeds)


def compare(base: TrialSpec, workplace: Workplace, num_seeds: int) -> None:
    import keras  # noqa: F401 (its start is not timed)

    exact = None
    for precision in PRECISIONS:
        before, started = stored_bytes(), time.perf_counter()
        accuracies = run(base.replace(precision=precision), workplace, num_seeds)
        seconds, exact = time.perf_counter() - started, accuracies if exact is None else exact
        difference = accuracies - exact
        error = difference.std(ddof=1) / np.sqrt(len(difference))
        print(
            f"{precision:15} accuracy {accuracies.mean():.4f}, minus float32 {difference.mean():+.4f} +- {error:.4f} "
            f"({len(difference)} trials); {(stored_bytes() - before) / 1e6:8.2f} MB; {seconds:6.1f} s",
            flush=True,
        )


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Accuracy, bytes and seconds by the type of the stored activations")
    add_place(parser, image_size=128)
    parser.add_argument("--seeds", type=int, default=5, help="splits of the images (default: 5)")
    return parser.parse_args()


def run(base: TrialSpec, workplace: Workplace, num_seeds: int) -> np.ndarray:
    """Return test accuracies of all trials of one precision."""
    accuracies = []
    for split_seed in range(num_seeds):
        specs = tuple(base.replace(learning_rate=rate, split_seed=split_seed) for rate in LEARNING_RATES)
        results = list(train(Group(specs, stored=(0,)), workplace))
        if failed := [result.message for result in results if result.status != COMPLETE]:
            raise SystemExit(f"a trial in {base.precision} failed: {failed[0]}")
        accuracies += [result.metrics["accuracy"] for result in results]
    return np.array(accuracies)


def stored_bytes() -> int:
    return sum(file.stat().st_size for file in (cache_dir() / "features").rglob("*.npy"))


if __name__ == "__main__":
    main()
