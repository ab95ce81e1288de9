"""What do heads lose on K stored views of each image, beside new images in each epoch, and what does it cost?

    python benchmarks/bench_views.py                              # simulated galaxies; ImageNet weights if found
    python benchmarks/bench_views.py --data FILE.h5 --weights-dir weights/ --shift 0.1

Trains heads on frozen MobileNet with the same seeds on the images as they are, on the eight symmetries drawn anew in
each epoch, and on K stored views of them; with --shift, --zoom or --brightness, on those too. Each seed splits the data
and draws the head's weights and the epochs. Prints the mean test accuracy; its difference from live augmentation, of
the same seeds, with the 95 % interval of Student's t over the seeds; multiply-adds, of all seeds; and the bytes of
what is stored. On eight views of the symmetries alone each epoch's images have the distribution of live ones, exactly.
--data and --weights-dir default to $GALAXYTL_TEST_DATA and $GALAXYTL_TEST_WEIGHTS_DIR.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

import numpy as np
from harness.frozen import add_place, prepare
from numpy.typing import NDArray
from scipy.stats import t

from galaxytl.learning.job import Group, Workplace
from galaxytl.system.cache import cache_dir
from galaxytl.training import train
from galaxytl.trial import COMPLETE, TrialSpec


def main() -> None:
    options = parse()
    with tempfile.TemporaryDirectory() as name:
        os.environ["GALAXYTL_CACHE_DIR"] = str(Path(name) / "cache")
        workplace = Workplace(options.data or f"simulated:{options.images}", Path(name) / "out", options.weights_dir)
        changes = {name: getattr(options, name) for name in ("shift", "zoom", "brightness")}
        text = f"{options.seeds} seeds, {changes}"
        fields = {**changes, "augmentation": True, "learning_rate": options.learning_rate}
        compare(prepare(workplace, options, text, **fields), workplace, options)


def compare(base: TrialSpec, workplace: Workplace, options: argparse.Namespace) -> None:
    plain = base.replace(augmentation=False, shift=0.0, zoom=0.0, brightness=0.0)
    arms = {"live": base, "not augmented": plain, **{f"{k} views": base.replace(views=k) for k in options.views}}
    exact: NDArray[np.float64] | None = None
    for name, spec in arms.items():
        before = stored_bytes()
        accuracies, work = run(spec, workplace, options.seeds)
        exact = accuracies if exact is None else exact
        print(
            f"{name:15} accuracy {interval(accuracies)}, minus live {interval(accuracies - exact)}; "
            f"{work / 1e9:9.1f} G multiply-adds; {(stored_bytes() - before) / 1e6:8.2f} MB",
            flush=True,
        )


def run(spec: TrialSpec, workplace: Workplace, num_seeds: int) -> tuple[NDArray[np.float64], float]:
    """Return the accuracies, a seed each, and the multiply-adds of all."""
    accuracies, work = [], 0.0
    for seed in range(num_seeds):
        own = spec.replace(seed=seed, shuffle_seed=seed, split_seed=seed)
        (result,) = train(Group((own,), (0,) if own.stores_activations else ()), workplace)
        if result.status != COMPLETE:
            raise SystemExit(result.message)
        accuracies.append(result.metrics["accuracy"])
        work += sum(result.multiply_adds.values())
    return np.array(accuracies), work


def interval(values: NDArray[np.float64]) -> str:
    """Return the mean and its 95 % interval over the seeds (Student 1908)."""
    half = t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return f"{values.mean():+.4f} +- {half:.4f}"


def stored_bytes() -> int:
    return sum(file.stat().st_size for file in cache_dir().glob("features/*/activations.npy"))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Accuracy, multiply-adds and bytes of heads on stored views")
    add_place(parser, image_size=64)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--views", type=int, nargs="+", default=[4, 8], metavar="K")
    parser.add_argument("--seeds", type=int, default=5)
    for name in ("shift", "zoom", "brightness"):
        parser.add_argument(f"--{name}", type=float, default=0.0, metavar="SHARE")
    return parser.parse_args()


if __name__ == "__main__":
    main()
