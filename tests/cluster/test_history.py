"""Drivers contend for the same results while files and S3 fail them, for half a minute; `make history` goes on."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

MINUTES = 0.5
"""Within which rounds begin."""


@pytest.mark.rest
@pytest.mark.alone
def test_one_driver_leads_and_rows_stay_whatever_goes_wrong() -> None:
    """In a folder and at an S3 server, in turn.

    In a process of its own: the server that its drivers are forked from ends with it.
    """
    command = [sys.executable, "-m", "tests.cluster.history", "--minutes", str(MINUTES), "--seed", "1"]
    ran = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    print(ran.stdout)
    *_, summary, suspended, verdict = ran.stdout.splitlines()
    assert (ran.returncode, verdict) == (0, "0 violations")
    rounds, takeovers = (int(re.search(rf"(\d+) {what}", summary)[1]) for what in ("rounds", "takeovers"))  # type: ignore[index]
    assert rounds >= 2
    assert takeovers > rounds
    assert suspended != "suspended at: nothing"
    assert all(f"{fault} " in summary for fault in ("late", "503", "dropped before", "dropped after"))
