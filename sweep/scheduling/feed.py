"""Which groups Tune gets, when, and for which nodes.

Trials take a GPU where there are some. Nodes without one are given heads whose features another node has computed, once
all GPUs are taken: these are copied, and a head is trained on CPUs in seconds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from galaxytl.learning.job import Group
from sweep.scheduling.resources import Resources
from sweep.scheduling.worker import ON_SPARE, config_of

from ray import tune  # isort: skip


@dataclass(frozen=True)
class Room:
    """Of a round."""

    trial: Resources
    """That a group takes."""
    workers: int
    """Groups that run together."""
    num_offered: int
    """Groups that run, or wait for it."""
    spare: Resources
    """That a group takes on a node without GPU."""
    num_spare: int
    """Groups that run there together."""

    @property
    def text(self) -> str:
        trial, spare = self.trial, self.spare
        also = f"; heads on nodes without GPU: {self.num_spare} at once, {spare.cpus:g} CPUs each"
        return f"Each worker: {trial.cpus:g} CPUs, {trial.gpus:g} GPUs{also if self.num_spare else ''}"

    def request(self, config: Mapping[str, Any]) -> Any:
        """Return what Tune is to ask Ray for."""
        share = self.spare if config.get(ON_SPARE) else self.trial
        return tune.PlacementGroupFactory([{"CPU": share.cpus, "GPU": share.gpus}])


class InOrder(tune.schedulers.FIFOScheduler):
    """Tune's own order. Tune's own class looks at all trials that there have been, at every step; this at the live."""

    def __init__(self) -> None:
        super().__init__()
        self._live: dict[str, Any] = {}

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        self._live[trial.trial_id] = trial

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: Any) -> None:
        self._live.pop(trial.trial_id, None)

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        self._live.pop(trial.trial_id, None)

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        self._live.pop(trial.trial_id, None)

    def choose_trial_to_run(self, tune_controller: Any) -> Any:
        return next((trial for trial in self._live.values() if trial.status == "PENDING"), None)  # none is ever paused


class Feed(tune.search.Searcher):
    """Gives Tune groups as it has room for them."""

    def __init__(self, groups: Iterator[Group | None], room: Room) -> None:
        super().__init__()
        self._groups, self._room = groups, room
        self._held: Group | None = None
        """Taken from the groups, and not given yet."""
        self._live: dict[str, Group] = {}
        """By Tune's id."""
        self._on_spare: set[str] = set()
        """Of these."""
        self._computed: set[tuple[Any, ...]] = set()
        """Features that some node holds."""
        self.offered: list[Group] = []
        self.is_empty = False
        self.broken: Exception | None = None

    def suggest(self, trial_id: str) -> Any:
        """Return the next group as Tune's config; None where there is none now, FINISHED where there will be none.

        When there is none now and nothing runs that could change that (workers have died), the round is finished.
        """
        try:
            group = self._held or next(self._groups)
        except StopIteration:
            self.is_empty = True
            return self.FINISHED
        except Exception as error:
            self.broken = error
            raise
        if group is None:
            return None if self._live else self.FINISHED
        if group is not self._held:
            self.offered.append(group)
        on_spare = self._is_for_spare(group)
        self._held = None if on_spare or self._num_on_workers < self._room.num_offered else group
        if self._held:
            return None
        self._live[trial_id] = group
        self._on_spare |= {trial_id} if on_spare else set()
        return {**config_of(group), **({ON_SPARE: True} if on_spare else {})}

    @property
    def _num_on_workers(self) -> int:
        return len(self._live) - len(self._on_spare)

    def _is_for_spare(self, group: Group) -> bool:
        all_taken = self._num_on_workers >= self._room.workers
        return all_taken and len(self._on_spare) < self._room.num_spare and features_of(group) in self._computed

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        group = self._live.pop(trial_id, None)
        self._on_spare.discard(trial_id)
        if group and group.stored and not error:
            self._computed.add(features_of(group))

    def save(self, checkpoint_path: str) -> None:
        """Save nothing: rows say what is done."""

    def restore(self, checkpoint_path: str) -> None:
        """Restore nothing, as nothing was saved."""

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles what it is given, for a restore that we do not use


def features_of(group: Group) -> tuple[Any, ...]:
    """Return what the heads of a group read; empty, which is never computed, where it trains more than heads, or on
    images."""
    spec = group.specs[0]
    if not spec.trains_head_only or not group.stored:
        return ()
    of_all_folds = spec.replace(fold=0)  # which have the same rows, in other parts
    return (*spec.backbone_key, *of_all_folds.split_key, group.stored[-1])
