"""What does a sweep cost before its first training step? Two learning rates of a frozen MobileNet, everything cached.

    python benchmarks/bench_start.py                    # medians of five: about three minutes on 2 quiet cores
    python benchmarks/bench_start.py --small            # a smoke test: each once

The same sweep runs first once, which fills the caches, and then into fresh results folders. Its parts are those of the
line `Seconds:` of its sweep.log: the plan (from when the results folder is led), what is left of Ray's start, the first
worker and its first report, the rest of the training, and Ray's end. It runs on a Ray of its own, and on one that was
started before by `ray start --head`. Beside it, in the same run and in turns with it, what no sweep can go below: a
plain `ray.init`, `import tensorflow, keras`, and the imports of the driver. CPU seconds are of the process and of all
that it waited for. Prints medians, and how far the first report is from what is required.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from harness.processes import environment, run_printing

PLAIN = {
    "python": "pass",
    "import sweep.run": "import sweep.run",
    "import ray.tune": "import ray.tune",
    "import tensorflow, keras": "import tensorflow, keras",
    "ray.init, ray.shutdown": "import ray; ray.init('local', num_cpus=2, include_dashboard=False); ray.shutdown()",
}
SWEEP = "the sweep"
RUNNING = "the sweep, on a Ray that runs"
REQUIRED = {SWEEP: 9.0, RUNNING: 4.0}
"""Seconds from the command to the first training step, on two quiet cores."""
SETTINGS = ("backbone=MobileNet", "weights=random", "unfrozen_blocks=0", "learning_rate=0.01,0.02", "num_epochs=2")
DATA = "simulated:200"
FIRST = ("plan", "Ray", "first worker", "first report")
"""Parts of which the sum is the time until training has begun, and an epoch of heads more."""


def main() -> int:
    options = parse()
    times = 1 if options.small else options.times
    seconds: dict[str, list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory(prefix="bench-start-") as folder:
        out = Path(folder)
        variables = {"GALAXYTL_CACHE_DIR": f"{folder}/cache", "PYTHONDONTWRITEBYTECODE": ""}  # modules stay compiled
        variables["RAY_AUTH_MODE"] = "token"  # the first sweep makes it
        sweep(out / "filling", variables)
        for number in range(times):
            for name, story in PLAIN.items():
                measured(seconds, name, lambda story=story: run_printing([sys.executable, "-c", story], variables))
            measured_sweep(seconds, SWEEP, out / str(number), variables)
            with running_ray(out / f"ray-{number}", variables) as address:
                measured_sweep(seconds, RUNNING, out / f"{number}-joined", variables, "--address", address)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    print("\n".join(table(medians, times)))
    if options.out:
        options.out.write_text(json.dumps({"medians": medians, "seconds": seconds}, indent=1))
    return 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="The fixed cost of a sweep: seconds until it trains")
    parser.add_argument("--times", type=int, default=5, metavar="N", help="of each part (default: 5)")
    parser.add_argument("--small", action="store_true", help="each part once: a smoke test")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write all numbers there too, as JSON")
    return parser.parse_args()


def sweep(out: Path, variables: Mapping[str, str], *more: str) -> None:
    settings = [part for setting in SETTINGS for part in ("--set", setting)]
    command = ["-m", "sweep.run", "--data", DATA, "--profile", "laptop", "--out", str(out), *settings, *more]
    run_printing([sys.executable, *command], variables)


def measured_sweep(
    seconds: dict[str, list[float]], name: str, out: Path, variables: Mapping[str, str], *more: str
) -> None:
    """Add what a sweep takes, and each of its parts."""
    measured(seconds, name, lambda: sweep(out, variables, *more))
    for part, took in parts((out / "sweep.log").read_text()).items():
        seconds[f"{name}: {part}"].append(took)


@contextlib.contextmanager
def running_ray(folder: Path, variables: Mapping[str, str]) -> Iterator[str]:
    """Start a Ray of two CPUs as a user does, with its files in `folder`; gives its address, and ends it."""
    options = ["--head", "--block", "--port=0", "--num-cpus=2", "--include-dashboard=false", f"--temp-dir={folder}"]
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", *options, "--disable-usage-stats"]
    folder.mkdir()
    address = folder / "ray_current_cluster"
    with (folder / "log").open("w") as log:
        head = subprocess.Popen(command, stdout=log, stderr=log, env=environment(variables))
    try:
        while not address.exists() and head.poll() is None:
            time.sleep(0.1)
        if head.poll() is not None:
            raise SystemExit(f"ray start failed:\n{(folder / 'log').read_text()}")
        yield address.read_text().strip()
    finally:
        head.terminate()
        head.wait(60)


def measured(seconds: dict[str, list[float]], name: str, run: Callable[[], object]) -> None:
    """Add the seconds that `run` takes, and the CPU seconds of what it starts."""
    before, begun = cpu_seconds(), time.perf_counter()
    run()
    seconds[name].append(time.perf_counter() - begun)
    seconds[f"{name}, CPU"].append(cpu_seconds() - before)


def cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def parts(log: str) -> dict[str, float]:
    """Return the seconds of each part of a sweep's first round, from its log."""
    line = re.search(r"^Seconds: (.*)$", log, re.MULTILINE)
    if not line:
        raise SystemExit("bench_start needs the line `Seconds:` of a sweep's log; this one has none")
    return {name: float(took) for name, took in re.findall(r"([^,]+?) ([\d.]+) s(?:, |$)", line[1])}


def table(medians: dict[str, float], times: int) -> Sequence[str]:
    """Return the lines to print: what is plain, the sweep, its parts, and what is required."""
    lines = [f"Medians of {times}, everything cached       seconds   CPU seconds"]
    for name in [*PLAIN, *REQUIRED]:
        lines.append(f"  {name:<34} {medians[name]:10.1f} {medians[f'{name}, CPU']:13.1f}")
        own = [key for key in medians if key.startswith(f"{name}: ")]
        lines += [f"    {key.removeprefix(f'{name}: '):<32} {medians[key]:10.1f}" for key in own]
    for name, required in REQUIRED.items():
        first = medians["import sweep.run"] + sum(medians.get(f"{name}: {part}", 0.0) for part in FIRST)
        lines.append(f"From the command to the first report of {name}: {first:.1f} s; required: {required:.0f} s")
    return lines


if __name__ == "__main__":
    sys.exit(main())
