"""Drivers contend for the same results while files and S3 fail them, for half a minute; `make history` goes on."""

from __future__ import annotations

import time

import pytest

from tests.cluster.history import Account, contests

SECONDS = 30
"""Within which rounds begin."""


@pytest.mark.rest
@pytest.mark.alone
def test_one_driver_leads_and_rows_stay_whatever_goes_wrong() -> None:
    """In a folder and at an S3 server, in turn."""
    total = Account()
    for seed, seen in contests(1, 100, time.monotonic() + SECONDS):
        print("seed", seed, *seen.lines(), sep="\n")
        total += seen
    assert total.violations == []
    assert total.rounds >= 2
    assert total.takeovers > total.rounds
    assert total.stops
    assert {"late", "503", "dropped before", "dropped after"} <= set(total.faults)
