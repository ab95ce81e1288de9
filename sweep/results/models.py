"""Which trials' weights stay in a results folder, as rows come: those of the best.

    models = BestModels(folder, most=3, rows=rows)     # what is left of others is removed
    models.finished(result)                            # after its row is there: whoever it replaces goes

A worker writes a trial's weights before the trial has a row, and what a better one replaces is removed after its row is
there: a driver that is killed in between leaves too many, never too few, and the next one removes them. Of shards each
removes weights of trials that have a row alone, as the others of a trial that has none may just be writing it: while
they run there are too many, and the last that ends leaves those of the best of all.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from galaxytl.networks.backbones import head_layers
from galaxytl.networks.blocks import Structure
from galaxytl.results.models import FOLDER, drop_models, model_name
from galaxytl.results.ranking import MOST_UNRANKED, best
from galaxytl.trial import FAILED, TrialResult, TrialSpec
from sweep.results.folder import ResultsFolder

FLOAT_BYTES = 4


def most_of(keep: str) -> int | None:
    """Return how many trials' weights --keep keeps; None for all.

    >>> most_of("best"), most_of("best:3"), most_of("all"), most_of("none")
    (1, 3, None, 0)
    """
    named: dict[str, int | None] = {"best": 1, "all": None, "none": 0}
    return named[keep] if keep in named else int(keep.removeprefix("best:"))


def model_bytes(spec: TrialSpec, structure: Structure) -> int:
    """Return the size of the file of a trial's weights, without what is the same in each: some kilobytes."""
    features = math.prod(structure.shape_at(0))
    head = sum((inputs + 1) * outputs for inputs, outputs in head_layers(spec, features))
    cut = len(structure.blocks) if spec.unfrozen_blocks == "all" else int(spec.unfrozen_blocks)
    return FLOAT_BYTES * (head + structure.num_parameters(cut))


HEADS_ALONE = "; they are of heads on given features, of which python -m sweep.export makes no network"


def announcement(
    specs: Sequence[TrialSpec],
    structures: Mapping[tuple[str, int], Structure],
    most: int | None,
    on_features: bool = False,
) -> str:
    """Say whose weights stay, and what they take at most. Without specs, as of a search: of the best by validation.
    on_features: whether they are those of heads alone, which no file of the project makes a model of images of."""
    if most == 0:
        again = "" if on_features else ": python -m sweep.export trains the one that it is asked for again"
        return f"none kept (--keep none){again}"
    sizes = sorted((model_bytes(spec, structures[spec.backbone, spec.image_size]) for spec in specs), reverse=True)
    ranked = not specs or any(spec.validation_fraction for spec in specs)
    number = len(sizes) if most is None else most if ranked else MOST_UNRANKED
    if most is None or (not ranked and len(sizes) <= number):
        which = "all trials' weights are kept"
    elif ranked:
        which = f"the weights of the best {'trial' if most == 1 else most} by validation accuracy are kept"
    else:
        which = f"the first {number} trials' weights are kept, as without a validation part none is the best"
    size = f", at most {sum(sizes[:number]) / 1e6:,.1f} MB" if sizes else ""
    return f"{which}{size} (--keep){HEADS_ALONE if on_features else ''}"


class BestModels:
    """Those of a folder that this process leads."""

    def __init__(self, folder: ResultsFolder, most: int | None, rows: Iterable[TrialResult]) -> None:
        """most: trials of a dataset whose weights stay, None: all; rows: those that the folder has.

        `num_removed`: weights that were removed, as others are better, or fewer are asked for than before."""
        self._folder, self._most = folder, most
        there = {f"{FOLDER}/{path.name}" for path in (folder.out / FOLDER).glob("*.npz")}
        there |= set(folder.stored_names(FOLDER))
        of_rows = {model_name(row.spec): row for row in rows}
        self._best = best((row for name, row in of_rows.items() if name in there), most)
        self.num_removed = 0
        if most is not None:
            unneeded = there - {model_name(result.spec) for result in self._best}
            if folder.is_shared:
                unneeded &= {name for name, row in of_rows.items() if row.status != FAILED}  # others may retry these
            else:
                drop_models(folder.out, self._best)
            folder.drop(unneeded)
            self.num_removed = len(unneeded)

    def finished(self, *results: TrialResult) -> None:
        """Remove the weights that these, or others because of these, are not to keep. Those that a full disk took count
        for nothing: none that are there go for them."""
        if self._most is None:
            return
        before = self._best
        hopeful = {result.trial_id for result in best([*before, *results], self._most)}
        there = [r for r in results if r.trial_id in hopeful and self._folder.has(model_name(r.spec))]
        self._best = best([*before, *there], self._most)
        stay = {result.trial_id for result in self._best}
        self._folder.drop(model_name(r.spec) for r in (*before, *results) if r.trial_id not in stay)
