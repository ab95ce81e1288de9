from __future__ import annotations

import pytest

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
