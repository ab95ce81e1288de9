"""Equal trials that sleep, on several Ray nodes; a run that bench_scale.py measures, a process of its own.

    cd benchmarks; python -m scale.nodes '{"nodes": 2, "slots": 4, "trials": 64, "seconds": 3}' OUT.json

Each of the nodes, all on this machine, has room for `slots` trials. First as many trials as there are slots wait for
each other, so that all workers are there; the clock starts when the last of them has.
"""

from __future__ import annotations

import functools
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from scale.rows import BASE, made_up

from galaxytl.learning.job import Group, Workplace
from galaxytl.results.rows import append_results
from galaxytl.trial import TrialResult

START_SECONDS = 300
"""In which all workers must be there."""


@dataclass(frozen=True)
class Run:
    """Nodes, trials, and seconds that a trial sleeps."""

    nodes: int
    slots: int
    trials: int
    seconds: float

    @property
    def room(self) -> int:
        return self.nodes * self.slots


def main() -> None:
    options, out = sys.argv[1:]
    Path(out).write_text(json.dumps(measure(Run(**json.loads(options))), indent=1))


def measure(run: Run) -> dict[str, Any]:
    """Return how long the trials took, beside the ideal."""
    from sweep.scheduling import tune  # before ray: it sets what ray reads at its import
    from sweep.scheduling.resources import Where

    from ray.cluster_utils import Cluster  # isort: skip

    node = {"num_cpus": run.slots, "include_dashboard": False, "object_store_memory": 100 * 2**20}
    nodes = Cluster(initialize_head=True, head_node_args=node)
    ends: dict[str, float] = {}
    used: set[str] = set()
    try:
        for _ in range(run.nodes - 1):
            nodes.add_node(**node)
        nodes.wait_for_nodes()
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder)

            def finished(*results: TrialResult) -> None:
                append_results(out, *results)
                for result in results:
                    ends[result.trial_id] = time.time()
                    used.add(result.environment["host"])

            specs = [BASE.replace(seed=seed) for seed in range(run.room + run.trials)]
            groups = [Group((spec,)) for spec in specs]
            reporter = tune.Reporter(lambda latest: None, lambda latest: None, finished, lambda text: None)
            where = Where(nodes.address, 1.0, 0.0, out / "ray.log")
            train = functools.partial(sleep, room=run.room, seconds=run.seconds)
            tune.run_trials(tune.Work(iter(groups), len(groups)), Workplace("none", out), where, reporter, train)
            started = max(path.stat().st_mtime for path in out.glob("here-*"))
    finally:
        nodes.shutdown()
    ideal = run.trials * run.seconds / run.room
    makespan = max(ends.values()) - started
    return {"run": vars(run), "makespan": makespan, "ideal": ideal, "ratio": makespan / ideal, "nodes_used": len(used)}


def sleep(group: Any, workplace: Any, watcher: Any, *, room: int, seconds: float) -> Iterator[TrialResult]:
    """Stand in for `galaxytl.training.train`. The first trials wait until all of them have begun."""
    import ray

    for spec in group.specs:
        if spec.seed < room:
            (workplace.out / f"here-{spec.seed}").touch()
            stop = time.monotonic() + START_SECONDS
            while len(list(workplace.out.glob("here-*"))) < room:
                if time.monotonic() > stop:
                    raise TimeoutError(f"{room} workers must start within {START_SECONDS} s")
                time.sleep(0.05)
        else:
            time.sleep(seconds)
        node = {"host": ray.get_runtime_context().get_node_id(), "process": str(os.getpid())}
        yield replace(made_up(spec), environment=node)


if __name__ == "__main__":
    main()
