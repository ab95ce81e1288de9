"""The simulated numbers of docs/scale.md, as Markdown, and its figure; from what scale/costs.json says was measured.

    python benchmarks/scale_page.py --figure docs/scale.png

Prints the tables that the page holds: run it again when the costs have been measured anew.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from simulate_scale import MEASURED, Costs, Sweep, measured_costs, simulate

GPUS: Final = 1000
TRIALS: Final = 100_000

TRAINED: Final = Sweep(TRIALS, GPUS, seconds=300.0, reports=20)
"""Assumed: 12,415 images of 224 px, 20 epochs, by a GPU that trains 830 images/s."""
HEADS: Final = Sweep(TRIALS, GPUS, seconds=10.0, reports=20)
"""Assumed: heads on stored features, 20 epochs of half a second: as often as a worker reports."""
FUSED: Final = replace(HEADS, seconds=16 * 10.0 / 2.9, per_group=16)
"""The same, 16 in one pass, and 2.9 times faster a head: the least that was measured (shared features of 25,088
values and more, on CPU)."""

ANSWERS: Final = (
    ("networks, one a group", TRAINED),
    ("networks, 4 drivers", replace(TRAINED, drivers=4)),
    ("networks, 10 drivers", replace(TRAINED, drivers=10)),
    ("networks, 5 reports a trial", replace(TRAINED, reports=5)),
    ("heads, one a group", HEADS),
    ("heads, 10 drivers", replace(HEADS, drivers=10)),
    ("heads, 16 a group", FUSED),
    ("heads, 16 a group, 2 reports a group", replace(FUSED, reports=2)),
    ("heads, 16 a group, 10 drivers", replace(FUSED, drivers=10)),
    ("heads, 16 a group, 2 reports a group, 4 drivers", replace(FUSED, reports=2, drivers=4)),
)
COSTS: Final = {
    "a group ends, with a row, and the next is started": "group",
    "a further trial of a group": "row",
    "a report of epochs": "report",
    "a wait for the disk, once for the rows of a group": "sync",
}
CURVES: Final = (0, 1, 4, 6, 9)
"""Of the answers, those in the figure."""


def table(costs: Costs) -> str:
    """Return the table of simulated sweeps."""
    lines = ["| sweep | ideal, h | simulated, h | simulated / ideal | drivers busy | GPUs busy |"]
    lines.append("|---|---:|---:|---:|---:|---:|")
    for name, sweep in ANSWERS:
        outcome = simulate(sweep, costs)
        hours = f"{sweep.ideal / 3600:.2f} | {outcome.makespan / 3600:.2f}"
        shares = f"{outcome.driver_busy:.0%} | {outcome.workers_busy:.0%}"
        lines.append(f"| {name} | {hours} | {outcome.makespan / sweep.ideal:.2f} | {shares} |")
    return "\n".join(lines)


def costs_table(numbers: dict[str, Any]) -> str:
    """Return the table of what was measured."""
    lines = [f"| {name} | {1000 * numbers['costs'][cost]:.1f} ms |" for name, cost in COSTS.items()]
    lines += [f"| memory of {what} | {kilobytes:.0f} kB |" for what, kilobytes in numbers["memory"].items()]
    return "\n".join(["| what | measured |", "|---|---:|", *lines])


def draw(costs: Costs, path: Path) -> None:
    """Draw how many of a cluster's GPUs train, against how many it has."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    gpus = [10, 20, 50, 100, 200, 500, 1000, 2000, 4000]
    figure, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
    for number in CURVES:
        name, sweep = ANSWERS[number]
        sizes = [replace(sweep, trials=20 * count * sweep.per_group, workers=count) for count in gpus]
        busy = [simulate(size, costs).workers_busy * size.workers for size in sizes]
        axes.plot(gpus, busy, marker="o", markersize=3, label=name)
    axes.plot(gpus, gpus, color="black", linestyle=":", label="all of them")
    axes.set(xscale="log", yscale="log", xlabel="GPUs", ylabel="GPUs that train, on average")
    axes.set_title("Simulated from measured costs of one driver on CPU; 20 groups a GPU", fontsize=10)
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description="What docs/scale.md holds")
    parser.add_argument("--figure", type=Path, metavar="FILE", help="draw it there")
    options = parser.parse_args()
    costs = measured_costs()
    print(costs_table(json.loads(MEASURED.read_text())), table(costs), sep="\n\n")
    if options.figure:
        draw(costs, options.figure)


if __name__ == "__main__":
    main()
