"""What happens when a worker dies, as when Ray kills it for want of memory.

Another worker goes on with its group from the last epoch, up to MAX_WORKER_DEATHS times. Then a group is split into
single trials, each of which is tried as often, and a single trial becomes a FAILED row that says why: it takes no other
down. `sweep.scheduling.tune` hears of the deaths and acts so; where Tune itself gave up, it begins a next round.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from galaxytl.learning.job import Group
from galaxytl.system.credentials import without_secrets

MAX_WORKER_DEATHS = 2
"""How often a group whose worker process died is started again, from its last epoch."""
RAISED = "ray::ImplicitFunc.train()"
"""With this Ray begins the traceback of a worker that lives: what it stands on, as its disk or the storage, failed."""


def split_worn_out(groups: Sequence[Group], worn_out: set[str]) -> list[Group]:
    """Return groups with a trial that is `worn_out` as single trials: whichever is at fault, the others get through."""
    groups_left = []
    for group in groups:
        at_fault = any(spec.trial_id in worn_out for spec in group.specs)
        groups_left += [replace(group, specs=(spec,)) for spec in group.specs] if at_fault else [group]
    return groups_left


def end_of(error: str) -> str:
    """Return what became of a worker, from what Ray says of it: that it died, or that it failed, and how."""
    return f"failed ({last_line(error)})" if RAISED in error else "died"


def death_message(error: str) -> str:
    """Return why a worker could not train as often as it may try, from what Ray says of it."""
    tried = MAX_WORKER_DEATHS + 1
    if _is_out_of_memory(error):
        return (
            f"out of memory: the worker process died {tried} times. Try a smaller --set batch_size, or fewer trials at "
            "once: --cpus-per-trial"
        )
    return f"the worker {'failed' if RAISED in error else 'process died'} {tried} times: {last_line(error)}"


def _is_out_of_memory(error: str) -> bool:
    return "OutOfMemory" in error or "low on memory" in error


def last_line(error: str) -> str:
    """Return what an error comes down to, without passwords."""
    lines = [line.strip() for line in error.splitlines() if line.strip()]
    if _is_out_of_memory(error):
        return "A node ran low on memory, and Ray killed workers."
    return without_secrets(lines[-1])[:300] if lines else "no reason known"
