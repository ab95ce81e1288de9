from __future__ import annotations

import pytest

from sweep.command_line import parse
from sweep.planning.plan import Crew
from sweep.prepare import crew
from sweep.scheduling.resources import MAX_PACKED, Available, Resources, places, resources_per_trial, share_of


def test_as_many_trials_as_are_said_share_a_gpu() -> None:
    for number in range(1, MAX_PACKED + 1):
        share = share_of(number)
        assert round(share * 10_000) * number <= 10_000  # as Ray counts
        assert (places(1, share), places(8, share)) == (number, 8 * number)


@pytest.mark.parametrize(
    ("gpus", "share", "number"),
    [(0, 0.5, 0), (8, 1, 8), (7, 2, 3), (0.5, 0.5, 1), (2, 0.3, 6), (3, 0.7, 3), (1, 1e-9, 10_000)],
)
def test_a_share_is_of_one_gpu(gpus: float, share: float, number: int) -> None:
    assert places(gpus, share) == number


def test_packing_makes_room_for_more_trials_and_parts_the_cpus_among_them() -> None:
    options = parse(["--trials-per-gpu", "4"], "")
    available = Available((Resources(32, 2),))
    resources = resources_per_trial(available, 100, None, options.where.gpus)
    assert (resources.cpus, resources.gpus) == (4, 0.25)
    assert available.room_for(resources) == 8
    assert parse([], "").where.gpus is None


def test_the_crew_is_as_large_as_the_groups_and_the_room_are() -> None:
    laptop, nodes = Available((Resources(2, 0),)), Available((Resources(32, 2), Resources(32, 2)))
    assert [crew(laptop, groups, None, None) for groups in (1, 2, 6)] == [Crew(1, 2), Crew(2, 1), Crew(2, 1)]
    assert [crew(nodes, groups, None, None) for groups in (1, 3, 6)] == [Crew(1, 32), Crew(3, 16), Crew(4, 16)]
    assert crew(laptop, 6, cpus=2, gpus=None) == Crew(1, 2)
    assert crew(laptop, 6, None, gpus=1) == Crew(1, 2)  # no room at all: Ray says it
