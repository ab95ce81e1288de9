"""Real trials on a Ray cluster of several nodes on this machine, each with a cache folder of its own: prints what was
seen, as one line of JSON.

python -m tests.sweep.hardware_driver copies|copier|spare DATA FOLDER
"""

from __future__ import annotations

import contextlib
import functools
import json
import math
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from galaxytl.data import open_dataset
from galaxytl.learning.callbacks import Watcher
from galaxytl.learning.job import Group, Workplace
from galaxytl.trial import COMPLETE, TrialResult, TrialSpec
from sweep.scheduling import tune
from sweep.scheduling.board import Board
from sweep.scheduling.resources import Where
from sweep.scheduling.worker import PART_BYTES, Copier

import ray  # isort: skip
from ray.cluster_utils import Cluster  # isort: skip
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy as NodeAffinity  # isort: skip


@contextlib.contextmanager
def nodes(folder: Path, *resources: dict[str, Any]) -> Iterator[Cluster]:
    """A cluster, of a node for each."""
    temporary = tempfile.TemporaryDirectory(prefix="ray-")  # else the cluster would be every other driver's "auto"
    os.environ["RAY_TMPDIR"] = temporary.name
    cluster = Cluster()
    try:
        for number, one in enumerate(resources):
            os.environ["GALAXYTL_CACHE_DIR"] = str(folder / f"node-{number}")
            cluster.add_node(include_dashboard=False, object_store_memory=100 * 2**20, **one)
        cluster.wait_for_nodes(timeout=300)
        os.environ["RAY_ADDRESS"] = cluster.address  # what "auto" means; its health check takes long on a busy machine
        yield cluster
    finally:
        cluster.shutdown()
        temporary.cleanup()


def run(groups: Sequence[Group], data: str, where: Where) -> tuple[list[TrialResult], list[str]]:
    """The rows, and the phases that were said."""
    results: list[TrialResult] = []
    phases: list[str] = []
    reporter = tune.Reporter(
        phases=lambda now: phases.extend(now.values()),
        epochs=lambda _: None,
        finished=lambda *ended: results.extend(ended),
        note=lambda _: None,
    )
    work = tune.Work(iter(groups), at_once=len(groups))
    tune.run_trials(work, Workplace(data, where.log.parent), where, reporter)
    return results, phases


def specs(data: str, number: int, **fields: Any) -> list[TrialSpec]:
    dataset = open_dataset(data)
    base = TrialSpec(dataset=dataset.name, dataset_fingerprint=dataset.fingerprint, weights="random")
    sized = base.replace(
        backbone="VGG16", weights_requested="random", stratified=True, image_size=64, batch_size=8, **fields
    )
    return [sized.replace(seed=seed) for seed in range(number)]


def facts(results: Sequence[TrialResult]) -> list[dict[str, Any]]:
    return [
        {"status": r.status, "message": r.message, "features": r.multiply_adds.get("features", 0.0)} for r in results
    ]


def copies(data: str, out: Path) -> dict[str, Any]:
    """Trials of one network and one seed, which differ in depth and learning rate, on two nodes with a place each."""
    (spec,) = specs(data, 1, num_epochs=1, learning_rate=1e-5)
    trials = [spec.replace(unfrozen_blocks=blocks, learning_rate=rate) for blocks in (0, 1) for rate in (1e-3, 1e-4)]
    groups = [Group((one,), stored=(1,) if one.unfrozen_blocks else (1, 0)) for one in trials]
    with nodes(out, {"num_cpus": 1}, {"num_cpus": 1}):
        results, phases = run(groups, data, Where("auto", 1, 0, out / "sweep.log"))
    folders = [sorted(path.name for path in (out / f"node-{n}" / "features").glob("[!.]*")) for n in (0, 1)]
    return {"rows": facts(results), "folders": folders, "phases": sorted(set(phases))}


def copier(_: str, out: Path) -> dict[str, Any]:
    """What a worker's copier brings, without trials: from a node that holds something, one that removed it, and one
    that died while it made something."""
    content = np.random.default_rng(0).bytes(3 * PART_BYTES + 1)
    held = out / "node-1" / "features" / "held"
    held.mkdir(parents=True)
    (held / "activations.npy").write_bytes(content)
    (held / ".used").touch()
    seen: dict[str, Any] = {}
    with nodes(out, {"num_cpus": 1}, {"num_cpus": 1}) as cluster:
        ray.init("auto", log_to_driver=False)
        here = ray.get_runtime_context().get_node_id()
        (other,) = [node["NodeID"] for node in ray.nodes() if node["NodeID"] != here]
        board = ray.remote(Board).options(num_cpus=0, scheduling_strategy=NodeAffinity(here, soft=False)).remote()
        bring = Copier(board, "trial", lambda _: None)
        for name in ("held", "removed"):
            ray.get(board.made.remote(name, other, len(content), math.inf))
            (out / name).mkdir()
            seen[name] = bring.fetch(name, out / name)
        seen["same"] = (out / "held" / "activations.npy").read_bytes() == content
        seen["files"] = [path.name for name in ("held", "removed") for path in (out / name).iterdir()]
        seen["claimed"] = ray.get(board.claim.remote("under way", other, "other trial")).what
        threading.Timer(3, lambda: cluster.remove_node(cluster.worker_nodes.pop(), allow_graceful=False)).start()
        started = time.monotonic()
        seen["dead"] = bring.fetch("under way", out)
        seen["waited"] = time.monotonic() - started
        ray.shutdown()
    return seen


def note_and_train(out: Path, group: Group, workplace: Workplace, watcher: Watcher) -> Iterator[TrialResult]:
    """Instead of training: note where it is, and fetch or make features as `galaxytl.learning.features` does."""
    (spec,) = group.specs
    name = f"heads {spec.seed}" if spec.trains_head_only else "deep"
    folder = Path(os.environ["GALAXYTL_CACHE_DIR"]) / "features" / "features"
    got = "held"
    if spec.trains_head_only and not folder.exists():
        folder.mkdir(parents=True)
        got = "copied" if workplace.neighbours.fetch(folder.name, folder) else "made"
        if got == "made":
            (folder / "activations.npy").write_bytes(bytes(1000))
        workplace.neighbours.announce(folder.name, folder, 0.0)
    seen = {"name": name, "gpus": workplace.gpus, "got": got, "node": ray.get_runtime_context().get_node_id()}
    (out / f"{name}.json").write_text(json.dumps(seen))
    until = time.monotonic() + 200
    while name == "deep" and len(list(out.glob("heads*.json"))) < 4 and time.monotonic() < until:
        time.sleep(0.1)  # as long as the others take
    yield TrialResult(spec=spec, status=COMPLETE)


def spare(_: str, out: Path) -> dict[str, Any]:
    """A search's groups, one after the other, on a node with a GPU and one without."""
    trials = [TrialSpec(dataset="simulated", dataset_fingerprint="0f3a", seed=seed) for seed in range(4)]
    first, *others = [Group((spec.replace(weights="imagenet"),), (0,)) for spec in trials]
    groups = [first, Group((trials[0].replace(unfrozen_blocks=1),), (1,)), *others]
    results: list[TrialResult] = []
    reporter = tune.Reporter(lambda _: None, lambda _: None, lambda *ended: results.extend(ended), lambda _: None)
    with nodes(out, {"num_cpus": 1, "num_gpus": 1}, {"num_cpus": 1}) as cluster:
        where, work = Where("auto", 1, None, out / "sweep.log"), tune.Work(iter(groups), 2, may_autoscale=False)
        train = functools.partial(note_and_train, out)
        tune.run_trials(work, Workplace("simulated", out), where, reporter, train)
        other = next(iter(cluster.worker_nodes)).node_id
    seen = [json.loads(path.read_text()) for path in sorted(out.glob("*.json"))]
    return {
        "statuses": [result.status for result in results],
        "gpus": {one["name"]: one["gpus"] for one in seen},
        "nodes": {one["name"]: one["node"] for one in seen},
        "other": other,
        "copied": [one["got"] for one in seen if one["node"] == other and one["got"] != "held"],
    }


if __name__ == "__main__":
    case, galaxies, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    cases = {"copies": copies, "copier": copier, "spare": spare}
    print(json.dumps(cases[case](galaxies, folder)))
