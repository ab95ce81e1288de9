"""The systems that the part `overhead` of bench_search.py times: a sweep of trials that do nothing, each a process.

    cd benchmarks; python -m searches.overhead_systems ours 1000 2 STARTED OUT.json

`ours` is `sweep.search.trials.Search` with random suggestions, what was asked and a row a trial on disk, and
`sweep.scheduling.tune.run_trials`, a group a trial; `ours-tpe` the same with TPE. `tune` is what Ray Tune offers:
`num_samples`, `reuse_actors`, a function that reports once; `tune-optuna` the same with its OptunaSearch, in memory, by
TPE. All have as many trials at once, on a Ray cluster that `sweep.scheduling.cluster` starts for each alike. STARTED is
the time (seconds since 1970) at which the process was begun. OUT.json gets the seconds from there to the first trial's
end, to the last one's, and how many ended.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from harness.processes import cpus_a_trial

from galaxytl.trial import COMPLETE, TrialResult

Ended = Callable[[], None]
System = Callable[[int, int, Path, Ended], None]
"""Number of trials, how many at once, a folder, and what to call when the driver hears that one has ended."""


def main() -> None:
    name, num_trials, concurrency, started, out = sys.argv[1:]
    ends: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        SYSTEMS[name](int(num_trials), int(concurrency), Path(folder), lambda: ends.append(time.time()))
    ends = [end - float(started) for end in ends]
    Path(out).write_text(json.dumps({"first": ends[0], "last": ends[-1], "num_ended": len(ends)}))


# Ours


def no_op(group: Any, workplace: Any, watcher: Any) -> Iterator[TrialResult]:
    """Stand in for `galaxytl.training.train`."""
    for spec in group.specs:
        epoch = {"epoch": 1.0, "val_accuracy": spec.learning_rate, "val_loss": 1.0}
        yield TrialResult(spec=spec, status=COMPLETE, history=(epoch,), curves_on="validation")


def _ours(sampler: str) -> System:
    def run(num_trials: int, concurrency: int, folder: Path, ended: Ended) -> None:
        from searches import rate

        from galaxytl.learning.job import Group, Workplace
        from galaxytl.results.rows import append_results
        from sweep.scheduling import tune as schedule
        from sweep.scheduling.resources import Where

        cell = rate.Cell(sampler, "folder", batch=8)
        search = rate.search_in(folder, rate.problem(cell, num_trials))

        def groups() -> Iterator[Group | None]:
            while specs := search.ask(cell.batch):
                yield from (Group((spec,)) for spec in specs)
            while search.is_running:
                yield None

        def finished(*results: TrialResult) -> None:
            append_results(folder, *results)
            for result in results:
                search.finished(result)
                if result.status != COMPLETE:
                    raise SystemExit(f"a trial that does nothing must be complete; got {result.message}")
                ended()

        reporter = schedule.Reporter(
            phases=lambda latest: None,
            epochs=search.epochs,
            finished=finished,
            note=lambda text: None,
        )
        where = Where(None, cpus_a_trial(concurrency), 0.0, folder / "ray.log")
        work = schedule.Work(groups(), concurrency, may_autoscale=False)
        schedule.run_trials(work, Workplace("none", folder), where, reporter, no_op)

    return run


# Ray Tune


def report_once(config: dict[str, Any]) -> None:
    from ray import tune

    tune.report({"val_accuracy": config["learning_rate"]})


def _tune(num_trials: int, concurrency: int, folder: Path, ended: Ended, **settings: Any) -> None:
    from sweep.scheduling.cluster import cluster  # before ray: it sets what ray reads at its import

    from ray import tune  # isort: skip

    class Ends(tune.Callback):
        def on_trial_complete(self, **info: Any) -> None:
            ended()

    with cluster(None, folder / "ray.log"):
        tune.Tuner(
            tune.with_resources(report_once, {"cpu": cpus_a_trial(concurrency)}),
            param_space=random_space(),
            tune_config=tune.TuneConfig(num_samples=num_trials, reuse_actors=True, **settings),
            run_config=tune.RunConfig(storage_path=str(folder / "ray"), callbacks=[Ends()], verbose=0),
        ).fit()


def random_space() -> dict[str, Any]:
    """Return the default space (`sweep.space`) as far as Tune can say it: without conditions."""
    from ray import tune

    return {
        "backbone": tune.choice(["MobileNet", "MobileNetV2", "MobileNetV3Small", "VGG16", "ResNet50"]),
        "weights": tune.choice(["imagenet", "random"]),
        "preprocessing": tune.choice(["divide_by_255", "backbone"]),
        "unfrozen_blocks": tune.randint(0, 18),
        "head_units": tune.choice([0, 64, 256]),
        "head_dropout": tune.uniform(0.0, 0.5),
        "optimizer": tune.choice(["adam", "sgd", "rmsprop"]),
        "learning_rate": tune.loguniform(1e-5, 1e-1),
        "weight_decay": tune.choice([0.0, 1e-5, 1e-4, 1e-3, 1e-2]),
        "momentum": tune.uniform(0.0, 0.99),
        "augmentation": tune.choice([False, True]),
        "class_weighting": tune.choice(["none", "balanced"]),
    }


def _tune_optuna(num_trials: int, concurrency: int, folder: Path, ended: Ended) -> None:
    from sweep.scheduling import cluster  # noqa: F401 (before ray: it sets what ray reads at its import)

    from ray.tune.search.optuna import OptunaSearch  # isort: skip

    search = {"search_alg": OptunaSearch(seed=0), "metric": "val_accuracy", "mode": "max"}
    _tune(num_trials, concurrency, folder, ended, max_concurrent_trials=concurrency, **search)


SYSTEMS: dict[str, System] = {
    "ours": _ours("RandomSampler"),
    "tune": _tune,
    "ours-tpe": _ours("TPESampler"),
    "tune-optuna": _tune_optuna,
}


if __name__ == "__main__":
    main()
