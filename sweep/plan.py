"""What is left to do, and in which order: pure functions of specs and rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from galaxytl.backbones import backbone_named
from galaxytl.trial import FAILED, TrialResult, TrialSpec


@dataclass(frozen=True)
class Plan:
    pending: tuple[TrialSpec, ...]
    """To be trained, the longest first."""
    finished: tuple[TrialSpec, ...]
    """Have a COMPLETE or PRUNED row."""
    failed: tuple[TrialSpec, ...]
    """Have a FAILED row, and are not tried again."""


def make_plan(specs: Sequence[TrialSpec], rows: Mapping[str, TrialResult], retry_failed: bool = False) -> Plan:
    """Sort `specs` by what their rows (by trial_id) say; `retry_failed` makes failed trials pending again."""
    missing = [spec for spec in specs if spec.trial_id not in rows]
    failed = [spec for spec in specs if spec.trial_id in rows and rows[spec.trial_id].status == FAILED]
    finished = [spec for spec in specs if spec.trial_id in rows and rows[spec.trial_id].status != FAILED]
    if retry_failed:
        missing, failed = missing + failed, []
    return Plan(tuple(sorted(missing, key=_cost, reverse=True)), tuple(finished), tuple(failed))


def _cost(spec: TrialSpec) -> tuple[bool, int]:
    """Long trials start first, so that none of them is left over at the end on its own."""
    return spec.unfrozen_blocks == "all", backbone_named(spec.backbone).num_parameters
