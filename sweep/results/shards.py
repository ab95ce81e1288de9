"""Drivers beside each other in one results folder: a shard each, or one driver of all.

    living(folders, say)                       # which of them a driver leads now
    refuse_others(out, which, say)             # raises LeaseError
    shard, others = take_on(out, shard, ended, say)    # what is left to it, and to whom the rest

Each shard leads a folder of its own (`galaxytl.results.sweep_file`), by the lease of `sweep.results.lease`, so that no
two drivers write to one file: nothing here rests on locks, which a network drive may not keep. What a shard has taken
on stands in its shard.json. A driver that begins leaves the trials to a shard that lives and has taken them on, which
happens only where the numbers of shards differ, as the parts of one cut share no trial.

Of two that begin at the same time with different numbers, within the seconds for which either watches others, both may
take on a trial: then both train it, and one of the two rows counts. That costs time, and loses nothing.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from galaxytl.results.sweep_file import (
    SHARD_FILE,
    Shard,
    ShardNumber,
    read_shards,
    shard_folders,
    shard_number,
    write_shard,
)
from galaxytl.system.command import UsageError
from galaxytl.system.files import write_atomically
from sweep.results import lease
from sweep.results.lease import LeaseError, Values, in_folder, is_dead

Say = Callable[[str], object]


def living(folders: Iterable[Path], say: Say) -> list[Path]:
    """Return the folders that a driver leads, as far as can be seen: those of which nothing is sure are all watched at
    the same time, as long as `Lease` would watch one."""
    seen: dict[Path, Values] = {}
    for folder in folders:
        if (values := in_folder(folder).read()) is not None and not is_dead(values):
            seen[folder] = values
    if not seen:
        return []
    seconds = lease.BEATS_OF_THE_DEAD * lease.BEAT_SECONDS
    named = ", ".join(str(folder) for folder in list(seen)[:3]) + (" ..." if len(seen) > 3 else "")
    say(f"note: {named}: watching for {seconds:g} s at most whether the drivers there live")
    alive = dict.fromkeys(seen, False)
    for _ in range(lease.LOOKS_A_BEAT * lease.BEATS_OF_THE_DEAD):
        time.sleep(lease.BEAT_SECONDS / lease.LOOKS_A_BEAT)
        for folder, before in list(seen.items()):
            now: Values | None = before
            with contextlib.suppress(OSError):  # what is not seen says nothing
                now = in_folder(folder).read()
            if now != before:
                alive[folder] = now is not None and not is_dead(now)
                del seen[folder]
        if not seen:
            break
    return [folder for folder, is_alive in alive.items() if is_alive]


def refuse_others(out: Path, which: ShardNumber | None, say: Say) -> None:
    """Raise LeaseError where a driver leads that this one cannot run beside: of all trials beside a shard, or the other
    way round. For the driver that has taken its own lease: of two that begin at once, each is seen by the other."""
    if which and living([out], say):
        raise LeaseError(
            f"a shard runs beside other shards, not beside a driver of all trials; {out} is led by one. Wait for it, "
            "stop it, or choose another --out"
        )
    if not which and (alive := living(shard_folders(out), say)):
        raise LeaseError(
            f"without --shard one driver trains all that is left, and none beside it; {_named(alive)} of {out} "
            f"{'is' if len(alive) == 1 else 'are'} at work. Wait for that, stop it, or choose another --out"
        )


def _named(folders: Sequence[Path]) -> str:
    numbers = sorted(number for folder in folders if (number := shard_number(folder)))
    return f"shard{'' if len(numbers) == 1 else 's'} {', '.join(map(str, numbers))}"


def take_on(
    out: Path, shard: Shard, ended: Collection[str], say: Say
) -> tuple[Shard, Mapping[ShardNumber, Collection[str]]]:
    """Return the shard with what it takes on, written to its folder, and what is left to others that have it in hand.

    ended: ids of trials that have a row. Raises UsageError where the folder's shards are of another grid."""
    path = shard.which.folder(out) / SHARD_FILE
    before = path.read_bytes() if path.exists() else None
    others = _others(out, shard, ended)
    wanted = set(shard.left(ended))
    rivals = {one.which: found for one in others if (found := wanted & set(one.left(ended)))}
    alive = living([which.folder(out) for which in rivals], say)
    theirs = {which: found for which, found in rivals.items() if which.folder(out) in alive}
    whole, shard = shard, _without(theirs, shard)
    write_shard(out, shard)
    try:  # again: one of another grid may have come meanwhile, and sees this one
        now = {one.which: set(one.left(ended)) for one in _others(out, shard, ended)}
    except UsageError:
        if before is None:
            path.unlink(missing_ok=True)
        else:
            write_atomically(path, before)
        raise
    kept = {which: found & now.get(which, set()) for which, found in theirs.items()}
    if kept != theirs:  # a rival that began meanwhile has left them to this one
        theirs = {which: found for which, found in kept.items() if found}
        shard = _without(theirs, whole)
        write_shard(out, shard)
    return shard, theirs


def _without(theirs: Mapping[ShardNumber, Collection[str]], shard: Shard) -> Shard:
    given_up = set[str]().union(*theirs.values())
    return replace(shard, trials=tuple(i for i in shard.trials if i not in given_up))


def _others(out: Path, shard: Shard, ended: Collection[str]) -> list[Shard]:
    """Return the folder's other shards that are not finished. Raises UsageError where one, or this one as it was, is of
    another grid."""
    unfinished = [one for one in read_shards(out) if one.left(ended)]
    for one in unfinished:
        if set(one.grid) != set(shard.grid):
            path = one.which.folder(out) / SHARD_FILE
            raise UsageError(
                f"shards of one folder are of one grid, with the same data, weights and --profile; {out} has shard "
                f"{one.which}, not finished, of {one.name} with {len(one.grid):,} trials, {_common(one, shard)} those "
                f"of {shard.name}, which has {len(shard.grid):,}. Give the same options, or another --out; where that "
                f"grid is to be given up, remove {path}: its rows stay"
            )
    return [one for one in unfinished if one.which != shard.which]


def _common(one: Shard, other: Shard) -> str:
    number = len(set(one.grid) & set(other.grid))
    return f"{number:,} of them among" if number else "none of them among"
