"""What does a sweep cost beside its trials, how does that grow with their number, and with the number of nodes?

    python benchmarks/bench_scale.py                       # all: about 25 minutes on 2 cores
    python benchmarks/bench_scale.py trials --sizes 1000
    python benchmarks/bench_scale.py --small               # a smoke test of all: about two minutes
    python benchmarks/bench_scale.py --write benchmarks/scale/costs.json      # what simulate_scale.py reads

Parts:
    trials   100, 1,000 and 10,000 trials that do nothing, four at once, on real Ray: what a trial costs at the start
             and at the end of the run, rows/s, memory of driver and Ray's head, the live table (scale/systems.py)
             Required: the driver computes for the last tenth of the 10,000 at most 1.2 times as long as for the first
    resume   `sweep.run` on a folder in which 100, 1,000 and 10,000 trials are finished: seconds of the whole process.
             Required: at most 10 s (scale/rows.py)
    groups   what a further trial of a group, and a report of epochs, cost the driver: 25 trials a group; 20 reports a
             trial; and 10 trials a group and 5 reports a trial, as checks of simulate_scale.py
    nodes    64 trials that sleep 3 s on 1, 2 and 4 nodes with 4 places each. Required: at most 1.15 times the ideal,
             from the moment at which all workers are there (scale/nodes.py)

Wall times are of this machine with all that runs on it; the driver's computing time hangs less on what else runs.
Exit status 1 when a requirement is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from harness.parts import add_parts
from harness.processes import run_measuring, run_printing, run_script
from scale import rows

Numbers = dict[str, Any]
"""What a run or a part measured, by name; what is written as JSON."""

MAX_GROWTH, MAX_RESUME, MAX_STRETCH = 1.2, 10.0, 1.15
"""Required: a ratio, seconds, a ratio."""


def main() -> int:
    options = parse()
    options.out.mkdir(parents=True, exist_ok=True)
    measured: Numbers = {}
    for part in options.parts or PARTS:
        print(f"\n== {part}{' (SMALL: a smoke test, no number is a result)' if options.small else ''}", flush=True)
        measured[part] = PARTS[part](options)
        (options.out / f"{part}.json").write_text(json.dumps(measured[part], indent=1))
    missed = [line for numbers in measured.values() for line in numbers["missed"]]
    for line in missed:
        print(f"missed: {line}")
    if options.write:
        options.write.write_text(json.dumps(costs_file(options.out), indent=1) + "\n")
    return 1 if missed and not options.small else 0


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the command line's options, `sizes` among them in any case."""
    parser = argparse.ArgumentParser(description="Costs of scheduling, and how they grow")
    add_parts(parser, PARTS)
    parser.add_argument("--small", action="store_true", help="tiny sizes: a smoke test, whose numbers mean nothing")
    parser.add_argument("--sizes", type=int, nargs="+", metavar="N", help="of trials and resume")
    parser.add_argument("--at-once", type=int, default=4, metavar="N", help="trials at once (default: %(default)s)")
    out = Path("results") / "bench-scale"
    each = "every run's numbers (default: %(default)s)"
    parser.add_argument("--out", type=Path, default=out, metavar="DIR", help=each)
    parser.add_argument("--write", type=Path, metavar="FILE", help="the costs, for simulate_scale.py, from --out")
    options = parser.parse_args(argv)
    there = {path.stem for path in options.out.glob("*.json")} | set(options.parts or PARTS)
    if options.write and (lacks := [part for part in PARTS if part not in there]):
        parser.error(f"--write wants all parts to have run with this --out; {', '.join(lacks)} never did")
    options.sizes = options.sizes or ([20, 40] if options.small else [100, 1000, 10_000])
    return options


def system(script: str, run: Numbers, path: Path) -> Numbers:
    """Run one of the scripts in a process of its own; return what it measured."""
    return run_measuring(script, json.dumps(run), path)[1]


# Trials that do nothing


def trials(options: argparse.Namespace) -> Numbers:
    print("                     ms a trial: wall     driver computing    rows/s   driver MB    head MB   table   end")
    print(
        "  trials   start      first   last      first   last  ratio              first last  first last     ms     s"
    )
    runs = []
    for size in options.sizes:
        run = {"trials": size, "at_once": options.at_once}
        runs.append(trial_costs(system("scale.systems", run, options.out / f"trials-{size}.json")))
        print(describe_trials(runs[-1]), flush=True)
    last = runs[-1]
    missed = f"growth {last['growth']:.2f} at {last['trials']} trials (at most {MAX_GROWTH})"
    return {"runs": runs, "missed": [missed] if last["growth"] > MAX_GROWTH else []}


def trial_costs(run: Numbers) -> Numbers:
    """Return a run's costs: of the first and of the last tenth of its trials."""
    number = run["run"]["trials"]
    tenth = max(1, number // 10)
    wall, cpu = ((_each(run[name], 0, tenth), _each(run[name], -tenth - 1, -1)) for name in ("seconds", "cpu_seconds"))
    (_, driver, head), (_, driver_end, head_end) = run["memory"][0], run["memory"][-1]
    return {
        "trials": number,
        "start": run["start"],
        "wall": wall,
        "cpu": cpu,
        "growth": cpu[1] / cpu[0],
        "wall_growth": wall[1] / wall[0],
        "each": run["seconds"][-1] / (number - 1),
        "rows_per_second": (number - 1) / run["seconds"][-1],
        "driver_mb": (driver, driver_end),
        "head_mb": (head, head_end),
        "draw": run["draw"],
        "end": run["end"],
    }


def _each(seconds: Sequence[float], start: int, stop: int) -> float:
    return (seconds[stop] - seconds[start]) / (stop - start)


def describe_trials(run: Numbers) -> str:
    wall, cpu = ("".join(f"{1000 * value:7.1f}" for value in run[name]) for name in ("wall", "cpu"))
    memory = "".join(f"{value:6.0f}" for name in ("driver_mb", "head_mb") for value in run[name])
    return (
        f"{run['trials']:8,}{run['start']:7.1f} s   {wall}    {cpu}{run['growth']:7.2f}{run['rows_per_second']:9.1f}  "
        f"{memory}{1000 * run['draw']:7.1f}{run['end']:6.1f}"
    )


# Finished trials


def resume(options: argparse.Namespace) -> Numbers:
    seconds = {}
    for size in options.sizes:
        with tempfile.TemporaryDirectory() as folder:
            run_script("scale.rows", size, Path(folder) / "finished")
            command = [sys.executable, "-m", "sweep.run", *rows.arguments(Path(folder) / "finished")]
            spent, lines = run_printing(command, {})
        text = "\n".join(line for _, line in lines)
        done = re.search(r"(\d+) finished, 0 failed, 0 to run", text)
        if not done:
            raise SystemExit(f"a finished sweep has 0 to run; it said:\n{text}")
        seconds[size] = spent
        print(f"{int(done[1]):8,} finished trials: {spent:6.1f} s to the end of `sweep.run`", flush=True)
    slowest = max(seconds.values())
    return {"seconds": seconds, "missed": [f"resume {slowest:.1f} s"] if slowest > MAX_RESUME else []}


# Groups and reports


def groups(options: argparse.Namespace) -> Numbers:
    number, many = (10, 5) if options.small else (200, 25)
    runs = {
        "single": {"trials": number},
        "rows": {"trials": number // 4 * many, "per_group": many},
        "reports": {"trials": number // 4, "reports": 20},
        "ten a group": {"trials": number // 2 * 10, "per_group": 10},
        "five reports": {"trials": number // 2, "reports": 5},
    }
    runs = {name: {"at_once": options.at_once, **run} for name, run in runs.items()}
    measured = {name: system("scale.systems", run, options.out / f"groups-{name}.json") for name, run in runs.items()}
    costs = costs_of(measured)
    for name, cost in costs.items():
        print(f"{name:8}{1000 * cost:8.2f} ms")
    memory = {
        "the driver, a trial alone": kilobytes(measured["single"], 1),
        "the driver, a trial in a group": kilobytes(measured["rows"], 1),
        "Ray's head, a group": kilobytes(measured["single"], 2),
    }
    checks = [group_check(name, measured[name]) for name in ("ten a group", "five reports")]
    return {"costs": costs, "checks": checks, "memory": memory, "missed": []}


def costs_of(runs: dict[str, Numbers]) -> dict[str, float]:
    """Return seconds of the driver: what it computes, which does not hang on what else runs, and its wait for the
    disk."""
    group = seconds_a_group(runs["single"])
    return {
        "group": group,
        "row": (seconds_a_group(runs["rows"]) - group) / (runs["rows"]["run"]["per_group"] - 1),
        "report": (seconds_a_group(runs["reports"]) - group) / runs["reports"]["run"]["reports"],
        "sync": statistics.median(run["sync"] for run in runs.values()),
    }


def kilobytes(run: Numbers, column: int) -> float:
    """Return by how much memory grows with a trial; column 1: the driver's, 2: that of Ray's head."""
    first, last = run["memory"][0], run["memory"][-1]
    return 1024 * (last[column] - first[column]) / (last[0] - first[0])


def seconds_a_group(run: Numbers) -> float:
    """Return the seconds that the driver computes for a group, between the first one's end and the last one's."""
    size = run["run"]["per_group"]
    ends = run["cpu_seconds"][size - 1 :: size]
    return (ends[-1] - ends[0]) / (len(ends) - 1)


def group_check(name: str, run: Numbers) -> Numbers:
    """Return a run as simulate_scale.py has it, and what its driver computed."""
    sizes = run["run"]
    sweep = {field: sizes[field] for field in ("trials", "per_group", "reports")}
    computed = seconds_a_group(run) * sizes["trials"] / sizes["per_group"]
    return {"name": name, "sweep": {**sweep, "workers": sizes["at_once"], "seconds": 0.0}, "computed": computed}


# Nodes


def nodes(options: argparse.Namespace) -> Numbers:
    size = {"slots": 2, "trials": 8, "seconds": 1} if options.small else {"slots": 4, "trials": 64, "seconds": 3}
    runs = []
    for number in (2,) if options.small else (1, 2, 4):
        run = system("scale.nodes", {"nodes": number, **size}, options.out / f"nodes-{number}.json")
        ratio = f"{run['ratio']:.3f} of the ideal {run['ideal']:.1f} s"
        print(f"{number} nodes: {run['makespan']:6.1f} s, {ratio}", flush=True)
        runs.append(run)
    worst = max(run["ratio"] for run in runs)
    missed = f"makespan {worst:.2f} of the ideal (at most {MAX_STRETCH})"
    return {"runs": runs, "missed": [missed] if worst > MAX_STRETCH else []}


def node_check(run: Numbers) -> Numbers:
    """Return a run on several nodes as simulate_scale.py has it, and how long it took."""
    sizes = run["run"]
    sweep = {"trials": sizes["trials"], "workers": sizes["nodes"] * sizes["slots"], "seconds": sizes["seconds"]}
    return {"name": f"{sizes['nodes']} nodes", "sweep": sweep, "makespan": run["makespan"]}


PARTS: dict[str, Callable[[argparse.Namespace], Numbers]] = {f.__name__: f for f in (trials, resume, groups, nodes)}


def costs_file(out: Path) -> Numbers:
    """Return what simulate_scale.py and its test read, and where it comes from: each part as it was last run."""
    last = {part: json.loads((out / f"{part}.json").read_text()) for part in PARTS}
    return {
        "command": "python benchmarks/bench_scale.py --write benchmarks/scale/costs.json",
        "machine": f"{len(os.sched_getaffinity(0))} cores, {platform.machine()}",
        "versions": {"python": platform.python_version(), "ray": version("ray")},
        "date": time.strftime("%Y-%m-%d"),
        "load": os.getloadavg()[2],
        "costs": last["groups"]["costs"],
        "memory": last["groups"]["memory"],
        "checks": [*last["groups"]["checks"], *map(node_check, last["nodes"]["runs"])],
        "trials": last["trials"]["runs"],
        "resume": last["resume"]["seconds"],
    }


if __name__ == "__main__":
    sys.exit(main())
