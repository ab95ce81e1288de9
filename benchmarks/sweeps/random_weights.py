"""The random weights that a trial's backbone starts from, in a file that `keras.applications` loads: weights=FILE.

    python benchmarks/sweeps/random_weights.py BACKBONE IMAGE_SIZE FILE.weights.h5

So that the baselines of bench_sweep.py start where ours does, also where there are no ImageNet weights.
"""

from __future__ import annotations

import sys

from galaxytl.networks import warm
from galaxytl.trial import TrialSpec


def main() -> None:
    name, image_size, path = sys.argv[1:]
    fixed = {"dataset": "", "dataset_fingerprint": "", "weights": "random"}
    spec = TrialSpec(**fixed, backbone=name, image_size=int(image_size))
    warm.backbone(spec, lambda: None).model.save_weights(path)


if __name__ == "__main__":
    main()
