"""How fast are simulated galaxies drawn, and how hard are they to tell apart?

    python benchmarks/bench_simulate.py        # half a minute

Prints images/s on one core (aim: at least 10), and the test accuracy of logistic regression on the pixels of 1,000
galaxies at 32 x 32, 70 / 30: it should lie well above the share of the largest class and well below 0.95.
"""

from __future__ import annotations

import argparse
from timeit import timeit

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split

from galaxytl.data import open_dataset
from galaxytl.data.simulation.simulate import class_labels, simulate_galaxy

NUM_DRAWN = 200


def main() -> None:
    argparse.ArgumentParser(description="Speed and difficulty of simulated galaxies").parse_args()
    labels = class_labels(NUM_DRAWN, seed=0).tolist()
    seconds = timeit(lambda: [simulate_galaxy(index, label, seed=0) for index, label in enumerate(labels)], number=1)
    print(f"drawn on one core: {NUM_DRAWN / seconds:.0f} images/s")
    dataset = open_dataset("simulated:1000")
    pixels = dataset.resized(32).images.reshape(len(dataset), -1) / 255
    parts = train_test_split(pixels, dataset.labels, test_size=0.3, random_state=0, stratify=dataset.labels)
    model = LogisticRegression(max_iter=2000).fit(parts[0], parts[2])
    largest = np.bincount(parts[3]).max() / len(parts[3])
    print(f"linear model: accuracy {model.score(parts[1], parts[3]):.2f}; largest class {largest:.2f}")


if __name__ == "__main__":
    main()
