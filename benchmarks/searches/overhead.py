"""Part `overhead` of bench_search.py: what do trials that do nothing cost the driver? (searches/overhead_systems.py)"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from harness.processes import run_measuring

SYSTEMS: Final = ("ours", "tune", "ours-tpe", "tune-optuna")
JUDGED: Final = ("ours", "tune")
REQUIRED: Final = 1.3
"""Ours takes at most so many times as long as Tune."""


def measure(num_trials: int, concurrency: int, repeats: int, out: Path) -> bool:
    """Print seconds and the ratio; return whether it is as required. Systems take turns, those not judged once."""
    runs: dict[str, list[dict[str, Any]]] = {system: [] for system in SYSTEMS}
    for turn in range(repeats):
        for system in SYSTEMS if turn == 0 else JUDGED:
            runs[system].append(_run(system, num_trials, concurrency, out / f"overhead-{system}.json"))
            (out / "search_overhead.json").write_text(json.dumps(runs, indent=1))
    print(describe(runs, num_trials, concurrency), flush=True)
    return ratio(runs) <= REQUIRED


def _run(system: str, num_trials: int, concurrency: int, path: Path) -> dict[str, Any]:
    seconds, ends = run_measuring("searches.overhead_systems", system, num_trials, concurrency, str(time.time()), path)
    result = {"seconds": seconds, **ends}
    if result["num_ended"] != num_trials:
        raise SystemExit(f"{system}: {num_trials} trials must end; {result['num_ended']} did")
    return result


def ratio(runs: Mapping[str, Sequence[Mapping[str, float]]]) -> float:
    """Return the ratio of the median seconds of whole processes, ours to Tune's."""
    ours, tune = (statistics.median(run["seconds"] for run in runs[system]) for system in JUDGED)
    return ours / tune


def describe(runs_by_system: Mapping[str, Sequence[Mapping[str, float]]], num_trials: int, concurrency: int) -> str:
    repeats = len(runs_by_system[JUDGED[0]])
    lines = [
        f"{num_trials} trials that do nothing, {concurrency} at once; seconds, the median of {repeats}",
        f"{'':12}{'process':>9}{'until the first has ended':>27}{'the others':>12}{'ms a trial':>12}{'the end':>9}",
    ]
    for system, runs in runs_by_system.items():
        whole, first, last = (statistics.median(run[key] for run in runs) for key in ("seconds", "first", "last"))
        each = 1000 * (last - first) / max(1, num_trials - 1)
        lines.append(f"{system:12}{whole:9.1f}{first:27.1f}{last - first:12.1f}{each:12.1f}{whole - last:9.1f}")
    value = ratio(runs_by_system)
    lines.append(f"ours / tune  {value:.2f} (at most {REQUIRED:g}){'' if value <= REQUIRED else '  missed'}")
    return "\n".join(lines)
