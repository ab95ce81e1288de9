"""Ports of two jobs that share a node."""

from __future__ import annotations

import re
import socket

from sweep.scheduling.slurm import ports


def used(first: int) -> list[int]:
    """All that a head of a job uses, one by one, but for its workers'."""
    named = [option for option in ports.options(first, is_head=True) if "worker-port" not in option]
    return [int(option.rpartition("=")[2]) for option in named] + list(map(int, ports.variables(first).values()))


def test_jobs_in_a_row_have_ports_of_their_own() -> None:
    firsts = [ports.first_port(4711 + number) for number in range(50)]
    assert len(set(firsts)) == 50
    assert min(firsts) >= ports.FIRST
    assert max(firsts) + ports.NUM_PORTS <= ports.LAST < 32768
    assert ports.first_port(4711 + 100) == firsts[0]


def test_no_port_is_given_twice_and_all_lie_in_the_jobs_range() -> None:
    options = " ".join(ports.options(14000, is_head=True))
    low, high = (int(found) for found in re.findall(r"--m(?:in|ax)-worker-port=(\d+)", options))
    assert len(set(used(14000))) == len(used(14000)) == low - 14000
    assert set(used(14000)) == set(range(14000, low))
    assert high == 14000 + ports.NUM_PORTS - 1
    assert set(ports.options(14000, is_head=False)) < set(ports.options(14000, is_head=True))


def test_a_range_that_somebody_listens_in_is_left_to_him() -> None:
    free = ports.free(41)
    with socket.socket() as other:
        other.bind(("127.0.0.1", free[0] + 150))
        other.listen()
        assert ports.free(41) == free[1:]
