"""What `sweep.scheduling.tune` does on the real Ray at $RAY_ADDRESS, with trials that learn nothing: some sweeps,
and what was seen of each, printed as one line of JSON.

python -m tests.sweep.schedule_driver FOLDER
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from galaxytl.learning.callbacks import Watcher
from galaxytl.learning.job import Group, Workplace
from galaxytl.trial import COMPLETE, PRUNED, TrialResult, TrialSpec
from sweep.scheduling import tune
from sweep.scheduling.resources import Where
from sweep.scheduling.worker import REPORT_SECONDS, TrainGroup

SPECS = [TrialSpec(dataset="simulated", dataset_fingerprint="0f3a", seed=seed) for seed in range(10)]


def train_quickly(group: Group, workplace: Workplace, watcher: Watcher) -> Iterator[TrialResult]:
    """Ten epochs of nothing."""
    for spec in group.specs:
        history: list[dict[str, float]] = []
        while len(history) < 10 and spec.trial_id not in watcher.ends({spec.trial_id: history}):
            time.sleep(0.05)
            history.append({"epoch": len(history) + 1})
            watcher.epoch({spec.trial_id: history[-1]})
        yield TrialResult(spec=spec, status=COMPLETE if len(history) == 10 else PRUNED, history=tuple(history))


def die_once(group: Group, workplace: Workplace, watcher: Watcher) -> Iterator[TrialResult]:
    """Notes each trial that begins. The worker is killed, once, after the second of them has been reported."""
    begun = workplace.out / "begun"
    for spec in group.specs:
        with begun.open("a") as file:
            file.write(f"{spec.seed}\n")
        if spec.seed == 2 and begun.read_text().count("2\n") == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(1.1 * REPORT_SECONDS)
        yield TrialResult(spec=spec, status=COMPLETE)


def run(groups: Iterator[Group | None], out: Path, train: TrainGroup = train_quickly, **told: Any) -> None:
    reporter = tune.Reporter(
        phases=lambda _: None,
        epochs=told.get("epochs", lambda _: None),
        finished=told.get("finished", lambda *_: None),
        note=lambda _: None,
        decides_at=frozenset({3, 9}),
    )
    where, work = Where("auto", 1, 0, out / "sweep.log"), tune.Work(groups, at_once=2, may_autoscale=False)
    tune.run_trials(work, Workplace("simulated", out), where, reporter, train)


def search(out: Path) -> dict[str, Any]:
    results: list[TrialResult] = []
    under_way: list[int] = []

    def groups() -> Iterator[Group | None]:
        for made, spec in enumerate(SPECS[:8], start=1):
            under_way.append(made - len(results))
            yield Group((spec,))
        while len(results) < 8:
            yield None
        yield Group((SPECS[9],))

    def epochs(latest: Mapping[str, Mapping[str, float]]) -> dict[str, str]:
        odd = {spec.trial_id for spec in SPECS[:8] if spec.seed % 2}
        return {trial_id: "enough" for trial_id, epoch in latest.items() if trial_id in odd and epoch["epoch"] == 3}

    run(groups(), out, epochs=epochs, finished=lambda *ended: results.extend(ended))
    rows = [{"seed": r.spec.seed, "status": r.status, "epochs": len(r.history)} for r in results]
    return {"under_way": under_way, "rows": rows}


def dies(out: Path) -> dict[str, Any]:
    results: list[TrialResult] = []
    run(iter([Group(tuple(SPECS[:4]))]), out, die_once, finished=lambda *ended: results.extend(ended))
    begun = [int(line) for line in (out / "begun").read_text().split()]
    return {"begun": begun, "rows": [r.spec.seed for r in results], "statuses": sorted({r.status for r in results})}


def fails_or_dies(group: Group, workplace: Workplace, watcher: Watcher) -> Iterator[TrialResult]:
    """Each time."""
    if group.specs[0].seed:
        os.kill(os.getpid(), signal.SIGKILL)
    raise OSError("no way to the disk")
    yield


def fails(out: Path) -> dict[str, Any]:
    results: list[TrialResult] = []
    run(iter([Group((spec,)) for spec in SPECS[:2]]), out, fails_or_dies, finished=lambda *ended: results.extend(ended))
    return {"messages": {r.spec.seed: r.message for r in results}, "statuses": sorted({r.status for r in results})}


class FullDiskError(OSError):
    pass


def broken(out: Path, **told: Any) -> dict[str, Any]:
    """What comes out when the driver itself fails: in a callback, or in making a group."""
    error = FullDiskError("no space left on the device")

    def fail(*_: object) -> Any:
        raise error

    def groups() -> Iterator[Group | None]:
        yield Group((SPECS[0],))
        if not told:
            fail()

    try:
        run(groups(), out, **dict.fromkeys(told, fail))
    except Exception as raised:
        return {"raised": type(raised).__name__, "is_itself": raised is error}
    return {"raised": None}


def broken_in_a_callback(out: Path) -> dict[str, Any]:
    return broken(out, finished=True)


if __name__ == "__main__":
    seen = {}
    for case in (search, dies, fails, broken, broken_in_a_callback):
        folder = Path(sys.argv[1]) / case.__name__
        folder.mkdir()
        seen[case.__name__] = case(folder)
    print(json.dumps(seen))
