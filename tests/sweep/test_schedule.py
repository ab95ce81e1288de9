from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from galaxytl.training import Group, Workplace
from galaxytl.trial import COMPLETE, FAILED, TrialResult, TrialSpec
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


SPECS = [TrialSpec(dataset="simulated", dataset_fingerprint="0f3a", seed=seed) for seed in range(3)]
GROUPS = [Group((SPECS[0],)), Group((SPECS[1], SPECS[2]))]
WHERE = schedule.Where(None, None, None, Path("sweep.log"))
Round = list[list[int]]
"""The seeds in each group."""


class Rounds:
    """Rounds of Tune that end as told, and what each was given."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.given: list[Round] = []
        self.results: list[TrialResult] = []
        monkeypatch.setattr(schedule, "cluster", self._no_cluster)
        monkeypatch.setattr(schedule, "_run_round", self._run_round)

    @contextlib.contextmanager
    def _no_cluster(self, *_: object) -> Iterator[Available]:
        yield Available(2, 0, 2, 0)

    def _run_round(self, groups: list[Group], *rest: object) -> str:
        self.given.append([[spec.seed for spec in group.specs] for group in groups])
        return self.end(groups, rest[2])

    def end(self, groups: list[Group], events: schedule._ToReporter) -> str:
        """Tune gives up, with the first group running."""
        events.running |= {spec.trial_id for spec in groups[0].specs}
        return "OutOfMemoryError"

    def run(self) -> None:
        reporter = schedule.Reporter(lambda _: None, lambda _: None, self.results.append, lambda _: None)
        schedule.run_trials(GROUPS, Workplace("simulated", Path()), WHERE, reporter)


def test_who_ran_each_time_that_tune_gave_up_fails_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    rounds = Rounds(monkeypatch)
    rounds.run()
    parted = [[1], [2]]
    assert rounds.given == [[[0], [1, 2]]] * 3 + [[[1, 2]]] * 3 + [parted] * 3 + [[[2]]] * 3
    assert [result.spec.seed for result in rounds.results] == [0, 1, 2]
    assert {result.status for result in rounds.results} == {FAILED}


def test_group_whose_worker_dies_is_parted_and_only_the_trial_at_fault_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    rounds = Rounds(monkeypatch)

    def end(groups: list[Group], events: schedule._ToReporter) -> str:
        for group in groups:
            trial = SimpleNamespace(config=config_of(group), get_error=lambda: "ActorDiedError: segmentation fault")
            if SPECS[2] in group.specs:
                events.on_trial_error(1, [], trial)
            else:
                for spec in group.specs:
                    events.finish(TrialResult(spec=spec, status=COMPLETE))
        return ""

    monkeypatch.setattr(rounds, "end", end)
    rounds.run()
    assert rounds.given == [[[0], [1, 2]], [[1], [2]]]
    assert [result.status for result in rounds.results] == [COMPLETE, COMPLETE, FAILED]
    assert rounds.results[2].message == "the worker process died 3 times: ActorDiedError: segmentation fault"


def test_tune_that_begins_nothing_is_not_asked_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    rounds = Rounds(monkeypatch)
    monkeypatch.setattr(rounds, "end", lambda *_: "broken")
    with pytest.raises(ClusterError, match=r"Ray Tune gave up: broken; see sweep\.log"):
        rounds.run()
    assert len(rounds.given) == 1


def config_of(group: Group) -> dict[str, object]:
    return {"group": {"specs": [spec.to_dict() for spec in group.specs], "stored": list(group.stored)}}
