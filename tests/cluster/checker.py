"""Whether a history of leases and rows (`galaxytl.results.history`) kept the promises: one leader, and rows that stay.

    broken = violations(operations(lines), {"s3://sweeps/a": read_rows(storage), "/tmp/a": lines_of_file})

A reign begins with a "take" that is ok, and is of the process that took. What it acknowledged while it led must be in
what each later reign reads first: so a row that came too late for that reading, or was lost since, is found alike.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

WRITES = ("append", "push")
"""Operations that may be done by a leader only, and have rows."""


@dataclass(frozen=True)
class Operation:
    """Something that a process began; it happened at some moment between its begin and its end, if it did."""

    what: str
    where: str
    pid: int
    begin: float
    end: float = math.inf
    outcome: str = "unknown"
    values: Mapping[str, Any] = field(default_factory=dict)

    @property
    def trials(self) -> Sequence[str]:
        return self.values.get("trials") or ()

    def __str__(self) -> str:
        return f"the {self.what} of process {self.pid} at {self.where} ({self.begin:.3f} to {self.end:.3f})"


@dataclass
class Reign:
    take: Operation
    until: float
    """When the same process took again, if it did."""
    given_back: float = math.inf
    """When it began to give the lease back to the one before, which may go on from then."""
    writes: list[Operation] = field(default_factory=list)
    """That were acknowledged."""
    renewals: list[Operation] = field(default_factory=list)
    first_read: Operation | None = None

    @property
    def pid(self) -> int:
        return self.take.pid

    @property
    def closed_at(self) -> float:
        return self.first_read.end if self.first_read else math.inf


def operations(lines: Iterable[str]) -> list[Operation]:
    """Of a history's lines, in the order of their begins; those of killed processes have no end."""
    begun: dict[tuple[int, int], dict[str, Any]] = {}
    ended: dict[tuple[int, int], dict[str, Any]] = {}
    for line in lines:
        event = json.loads(line)
        (ended if event["outcome"] else begun)[event["pid"], event["number"]] = event
    found = [_operation(event, ended.get(key)) for key, event in begun.items()]
    return sorted(found, key=lambda operation: operation.begin)


def _operation(begun: dict[str, Any], ended: dict[str, Any] | None) -> Operation:
    values = {**begun, **(ended or {})}
    end, outcome = (ended["time"], ended["outcome"]) if ended else (math.inf, "unknown")
    return Operation(begun["what"], begun["where"], begun["pid"], begun["time"], end, outcome, values)


def reigns_of(history: Sequence[Operation], where: str) -> list[Reign]:
    """At one place, in the order in which they began to lead."""
    of_place = [operation for operation in history if operation.where == where and operation.outcome == "ok"]
    takes = sorted((o for o in of_place if o.what == "take"), key=lambda take: (_generation(take), take.end))
    reigns = []
    for take in takes:
        others = (other.begin for other in takes if other.pid == take.pid and other.begin > take.begin)
        reign = Reign(take, min(others, default=math.inf))
        back = [o.begin for o in history if (o.where, o.pid, o.what) == (where, take.pid, "give back")]
        reign.given_back = min((at for at in back if take.begin <= at < reign.until), default=math.inf)
        own = [o for o in of_place if o.pid == take.pid and take.begin <= o.begin < reign.until]
        reign.writes = [operation for operation in own if operation.what in WRITES]
        reign.renewals = [operation for operation in own if operation.what == "renew"]
        reign.first_read = next((operation for operation in own if operation.what == "read"), None)
        reigns.append(reign)
    return reigns


def _generation(take: Operation) -> int:
    return int(take.values.get("generation") or 0)


def violations(history: Sequence[Operation], rows: Mapping[str, Sequence[bytes]]) -> list[str]:
    """A sentence each. rows: by place, the lines that are there at the end."""
    found = []
    for where in dict.fromkeys([*(operation.where for operation in history), *rows]):
        reigns = reigns_of(history, where)
        found += [
            *_of_generations(reigns),
            *_of_the_deposed(reigns),
            *_of_readings(reigns),
            *_without_a_lease(history, where, reigns),
            *_twice(reigns),
            *(_at_the_end(history, where, rows[where]) if where in rows else ()),
        ]
    return list(dict.fromkeys(found))


def _of_generations(reigns: Sequence[Reign]) -> Iterator[str]:
    leaders: dict[int, Reign] = {}
    for reign in reigns:
        generation = _generation(reign.take)
        if generation and generation in leaders:
            yield f"two leaders of generation {generation}: {leaders[generation].take}, and {reign.take}"
        leaders[generation] = reign


def _of_the_deposed(reigns: Sequence[Reign]) -> Iterator[str]:
    """What begins after another has taken over must fail; a push, after that one has closed what was before, and read
    it: in between it is read."""
    for number, reign in enumerate(reigns):
        for successor in reigns[number + 1 :]:
            for operation in (*reign.writes, *reign.renewals):
                led_from = successor.closed_at if operation.what == "push" else successor.take.end
                if led_from < operation.begin < successor.given_back:
                    yield f"two led: {operation} was ok, after {successor.take}"


def _of_readings(reigns: Sequence[Reign]) -> Iterator[str]:
    for number, reign in enumerate(reigns):
        for successor in reigns[number + 1 :]:
            read = successor.first_read
            known = set(read.trials) if read else set()
            for write in reign.writes if read else ():
                if write.begin > successor.given_back:
                    continue
                if missing := [trial for trial in write.trials if trial not in known]:
                    yield f"a row that its successor did not read: {missing[0]} of {write}; {read}"


def _without_a_lease(history: Sequence[Operation], where: str, reigns: Sequence[Reign]) -> Iterator[str]:
    led = {id(write) for reign in reigns for write in reign.writes}
    for operation in history:
        is_write = operation.where == where and operation.what in WRITES and operation.outcome == "ok"
        if is_write and id(operation) not in led:
            yield f"rows without a lease: {operation} was ok"


def _twice(reigns: Sequence[Reign]) -> Iterator[str]:
    by: dict[str, Reign] = {}
    for reign in reigns:
        for write in reign.writes:
            for trial in write.trials:
                if by.setdefault(trial, reign) is not reign:
                    yield f"trial {trial} was written twice: after {by[trial].take}, and by {write}"


def _at_the_end(history: Sequence[Operation], where: str, lines: Sequence[bytes]) -> Iterator[str]:
    there = defaultdict[str, set[bytes]](set)
    for line in lines:
        try:
            there[json.loads(line)["trial_id"]].add(line)
        except (ValueError, KeyError, TypeError):
            yield f"a line at {where} is no row: {line[:80]!r}"
    for trial, rows in there.items():
        if len(rows) > 1:
            yield f"trial {trial} has {len(rows)} rows at {where}"
    outcomes = defaultdict[str, set[str]](set)
    for operation in history:
        if operation.where == where and operation.what in WRITES:
            for trial in operation.trials:
                outcomes[trial].add(operation.outcome)
                if operation.outcome == "ok" and trial not in there:
                    yield f"an acknowledged row is missing: {trial} of {operation}"
    elsewhere = {t for o in history if o.where != where and o.what in WRITES and o.outcome != "fail" for t in o.trials}
    for trial, of_trial in outcomes.items():
        if of_trial == {"fail"} and trial in there and trial not in elsewhere:
            yield f"a refused row is there: {trial} at {where}"
