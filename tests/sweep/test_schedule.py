from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from galaxytl.training import Workplace
from galaxytl.trial import FAILED, TrialResult, TrialSpec
from sweep import schedule
from sweep.cluster import Available, ClusterError, resources_per_trial
from sweep.schedule import death_message


@pytest.mark.parametrize(
    ("available", "num_trials", "cpus", "gpus"),
    [
        (Available(cpus=2, gpus=0, node_cpus=2, node_gpus=0), 6, 1, 0),  # a laptop
        (Available(cpus=16, gpus=0, node_cpus=16, node_gpus=0), 6, 2, 0),
        (Available(cpus=16, gpus=0, node_cpus=16, node_gpus=0), 1, 16, 0),
        (Available(cpus=64, gpus=8, node_cpus=64, node_gpus=8), 100, 8, 1),
        (Available(cpus=64, gpus=8, node_cpus=64, node_gpus=8), 2, 32, 1),
        (Available(cpus=8, gpus=0, node_cpus=2, node_gpus=0), 2, 2, 0),  # four small nodes: a trial fits on one
        (Available(cpus=4, gpus=8, node_cpus=4, node_gpus=8), 8, 1, 1),
    ],
)
def test_default_share_of_a_trial(available: Available, num_trials: int, cpus: float, gpus: float) -> None:
    share = resources_per_trial(available, num_trials, None, None)
    assert (share.cpus, share.gpus) == (cpus, gpus)


def test_what_the_user_says_counts() -> None:
    share = resources_per_trial(Available(64, 4, 32, 2), 10, 3, 0.5)
    assert (share.cpus, share.gpus) == (3, 0.5)


@pytest.mark.parametrize(("cpus", "gpus"), [(3, None), (None, 1)])
def test_a_trial_that_fits_on_no_node(cpus: float | None, gpus: float | None) -> None:
    with pytest.raises(ClusterError, match="must fit on one node, and the largest have 2 CPUs and 0 GPUs; asked for"):
        resources_per_trial(Available(8, 0, 2, 0), 6, cpus, gpus)


def test_death_by_memory_says_so() -> None:
    assert death_message("ray.exceptions.OutOfMemoryError: Task was killed").startswith("out of memory: the worker")
    assert death_message("Traceback\n  x\nActorDiedError: connection reset\n") == (
        "the worker process died 3 times: ActorDiedError: connection reset"
    )


SPECS = [TrialSpec(dataset="simulated", dataset_fingerprint="0f3a", seed=seed) for seed in range(2)]
WHERE = schedule.Where(None, None, None, Path("sweep.log"))


@pytest.fixture
def rounds(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Rounds in which Tune gives up, with the first trial running; holds how many trials each round had."""

    @contextlib.contextmanager
    def no_cluster(*_: object) -> Iterator[Available]:
        yield Available(2, 0, 2, 0)

    counted: list[int] = []

    def give_up(specs: list[TrialSpec], *rest: object) -> str:
        counted.append(len(specs))
        rest[2].running.add(specs[0].trial_id)
        return "OutOfMemoryError"

    monkeypatch.setattr(schedule, "cluster", no_cluster)
    monkeypatch.setattr(schedule, "_run_round", give_up)
    return counted


def test_who_ran_each_time_that_tune_gave_up_fails_and_the_others_go_on(rounds: list[int]) -> None:
    results: list[TrialResult] = []
    reporter = schedule.Reporter(lambda *_: None, lambda *_: None, results.append, lambda _: None)
    schedule.run_trials(SPECS, Workplace("simulated", Path()), WHERE, reporter)
    assert rounds == [2, 2, 2, 1, 1, 1]
    assert [result.spec.seed for result in results] == [0, 1]
    assert {result.status for result in results} == {FAILED}


def test_tune_that_begins_nothing_is_not_asked_for_ever(rounds: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedule, "_run_round", lambda *_: "broken")
    reporter = schedule.Reporter(lambda *_: None, lambda *_: None, lambda _: None, lambda _: None)
    with pytest.raises(ClusterError, match=r"Ray Tune gave up: broken; see sweep\.log"):
        schedule.run_trials(SPECS, Workplace("simulated", Path()), WHERE, reporter)
