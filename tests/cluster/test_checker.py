"""The checker of histories finds what is planted, and nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.cluster.checker import operations, violations


def line_of(trial: str, text: str = "") -> bytes:
    return json.dumps({"trial_id": trial, "message": text}).encode()


def history(*steps: tuple[Any, ...]) -> list[str]:
    """Each: process, what, begin, end, outcome and its values."""
    lines = []
    for number, (pid, what, begin, end, *more) in enumerate(steps):
        outcome, values = (more[0] if more else "ok"), (more[1] if len(more) > 1 else {})
        known = {"pid": pid, "number": number, "what": what, "where": "out"}
        lines.append({"time": begin, **known, "outcome": "", **values})
        if end is not None:
            lines.append({"time": end, **known, "outcome": outcome})
    return [json.dumps(line) for line in sorted(lines, key=lambda line: line["time"])]


A, B = {"trials": ["a"]}, {"trials": ["b"]}
FIRST = [(1, "take", 0, 1, "ok", {"generation": 1}), (1, "read", 1, 2), (1, "append", 3, 4, "ok", A)]
SECOND = [
    (2, "take", 10, 11, "ok", {"generation": 2}),
    (2, "read", 11, 12, "ok", A),
    (2, "append", 13, 14, "ok", B),
]


@pytest.mark.parametrize(
    "more",
    [
        [],
        [(1, "append", 12, 15, "fail", {"trials": ["c"]})],  # refused: deposed
        [(1, "append", 12, None, "unknown", B)],  # killed in the midst of it
        [(1, "append", 22, 23, "ok", {"trials": ["e"]}), (2, "give back", 20, 21)],  # and the first goes on
        [(1, "push", 11.5, 11.8, "ok", A)],  # before the other has read
        [(1, "renew", 9, 13)],  # under way while the other took over
        [(1, "take", 20, 21, "ok", {"generation": 3}), (1, "read", 21, 22, "ok", {"trials": ["a", "b"]})],
    ],
)
def test_a_sound_history_has_no_violation(more: list[tuple[Any, ...]]) -> None:
    told = operations(history(*FIRST, *SECOND, *more))
    assert violations(told, {"out": [line_of("a"), line_of("b"), line_of("e")]}) == []


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ([(3, "take", 12, 13, "ok", {"generation": 2}), (3, "read", 14, 15, "ok", A)], "two leaders of generation 2"),
        ([(1, "append", 12, 13, "ok", A)], "two led: the append of process 1 at out"),
        ([(1, "append", 12, 13, "ok", A), (2, "give back", 20, 21)], "two led: the append of process 1 at out"),
        ([(1, "push", 12.5, 13, "ok", A)], "two led: the push of process 1 at out"),
        ([(1, "renew", 12, 13)], "two led: the renew of process 1 at out"),
        ([(1, "append", 9, 13, "ok", {"trials": ["c"]})], "a row that its successor did not read: c"),
        ([(1, "push", 11.5, 11.8, "ok", {"trials": ["c"]})], "a row that its successor did not read: c"),
        ([(1, "append", 5, 6, "ok", {"trials": ["c"]})], "a row that its successor did not read: c"),
        ([(1, "append", 9, 13, "ok", B)], "trial b was written twice"),
        ([(3, "append", 5, 6, "ok", A)], "rows without a lease"),
        ([(2, "append", 15, 16, "ok", {"trials": ["c"]})], "an acknowledged row is missing: c"),
        ([(2, "append", 15, 16, "fail", {"trials": ["d"]})], "a refused row is there: d"),
    ],
)
def test_what_is_planted_is_found(more: list[tuple[Any, ...]], message: str) -> None:
    told = operations(history(*FIRST, *SECOND, *more))
    found = violations(told, {"out": [line_of("a"), line_of("b"), line_of("d")]})
    assert any(message in text for text in found), found


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([line_of("a"), line_of("a", "again"), line_of("b")], "trial a has 2 rows at out"),
        ([line_of("a")], "an acknowledged row is missing: b"),
        ([line_of("a"), line_of("b"), b'{"trial_id'], "a line at out is no row"),
    ],
)
def test_rows_at_the_end_are_compared(lines: list[bytes], message: str) -> None:
    (found,) = violations(operations(history(*FIRST, *SECOND)), {"out": lines})
    assert message in found
