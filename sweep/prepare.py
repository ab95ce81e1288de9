"""What a sweep stands on: the dataset, the profile, and the weights files, all looked at before a trial is started."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from galaxytl.data import Dataset, sky, split_indices
from galaxytl.data.dataset import Progress
from galaxytl.data.splits import describe_leaks, leaks
from galaxytl.trial import FAILED, TrialResult, TrialSpec
from galaxytl.weights import Weights, WeightsError, WeightsNotFoundError, find_weights
from sweep import grids


@dataclass(frozen=True)
class Prepared:
    specs: tuple[TrialSpec, ...]
    """As they will run: weights fingerprints filled in, random weights in place of missing ones where allowed."""
    impossible: tuple[TrialResult, ...]
    """FAILED rows of specs whose weights cannot be had or used."""


def choose_profile(data: str | None, num_gpus: float) -> str:
    """The `paper` profile for a real dataset on a GPU machine, `laptop` otherwise."""
    is_real = data is not None and not data.startswith("simulated")
    return "paper" if is_real and num_gpus else "laptop"


def base_spec(dataset: Dataset, profile: str) -> TrialSpec:
    return TrialSpec(dataset=dataset.name, dataset_fingerprint=dataset.fingerprint, **grids.PROFILES[profile])


def check_splits(
    dataset: Dataset, specs: Sequence[TrialSpec], on_progress: Progress
) -> tuple[list[TrialSpec], list[str]]:
    """The specs, with the fingerprint of the groups where they ask for them, and a sentence for each kind of leak.

    Raises DataError where the data cannot be split as they say.
    """
    groups = sky.groups(dataset, on_progress)
    fingerprint = sky.groups_fingerprint(groups)
    specs = [spec.replace(groups_fingerprint=fingerprint) if spec.group_by_sky else spec for spec in specs]
    notes: dict[str, None] = {}
    for spec in {spec.split_key: spec for spec in specs}.values():
        splits = split_indices(dataset.labels, spec, groups if spec.group_by_sky else None)
        notes |= dict.fromkeys(describe_leaks(leaks(splits, groups)))
    return specs, list(notes)


def resolve_weights(specs: Sequence[TrialSpec], weights_dir: Path | None) -> Prepared:
    """Find the ImageNet weights that `specs` ask for.

    Simulated galaxies may go on with random weights, which the spec then says; on real galaxies a missing file makes a
    FAILED row, as does a damaged file on any.
    """
    wanted = sorted({spec.backbone for spec in specs if spec.weights == "imagenet"})
    found = {name: _find(name, weights_dir) for name in wanted}
    ready, impossible = [], []
    for spec in specs:
        weights = found.get(spec.backbone) if spec.weights == "imagenet" else None
        if isinstance(weights, Weights):
            ready.append(spec.replace(weights_fingerprint=weights.fingerprint))
        elif isinstance(weights, WeightsNotFoundError) and spec.is_simulated:
            ready.append(spec.replace(weights="random"))
        elif isinstance(weights, WeightsError):
            impossible.append(TrialResult(spec=spec, status=FAILED, message=str(weights)))
        else:
            ready.append(spec)
    return Prepared(tuple(ready), tuple(impossible))


def _find(backbone: str, weights_dir: Path | None) -> Weights | WeightsError:
    try:
        return find_weights(backbone, weights_dir)
    except WeightsError as error:
        return error
