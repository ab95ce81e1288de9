"""Part `spaces` of bench_search.py: does a search find better trials where it may choose what people train with today?

A table of real heads (`grid`) has every combination of the fields in TODAY with others that the default space has. The
same search looks through the whole table and through the rows that leave TODAY at its defaults, with the same budgets.
It chooses by the validation part; what its choice scores on the test part is compared, which no search has seen: more
to choose from is also more that looks good by chance.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from searches import regret
from searches.quality import FURTHER_HEAD, Sizes, Trial, search_all
from searches.table import Table, make_table
from searches.workers import Cluster, Step

from analysis.statistics.seeds import SeedEstimate, mean_over_seeds
from galaxytl.trial import SPEC_FIELDS, TrialResult
from galaxytl.trial.optimizers import OPTIMIZERS

TODAY: Final = {
    "schedule": ["constant", "cosine"],
    "warmup_epochs": [0.0, 2.0],
    "global_clipnorm": [0.0, 1.0],
    "label_smoothing": [0.0, 0.1],
    "ema_momentum": [0.0, 0.99],
}
"""Field -> its default, and what is tried."""
BEST_SHARE: Final = 10
"""One in so many pairs of rows, the best, says what a field does where a search would look."""


def grid(small: bool) -> dict[str, Any]:
    """Return a sweep's grid file: 1,280 heads on frozen features that are computed twice in all."""
    optimizers = [
        {"optimizer": name, "learning_rate": float(f"{rate:.3g}"), "momentum": 0.9 * (name == "sgd")}
        for name in ("adam", "sgd")
        for rate in np.geomspace(*OPTIMIZERS[name].learning_rates, 2 if small else 5).tolist()
    ]
    return {
        "name": "space-table",
        "purpose": "what pays of what people train with today?",
        "fixed": {
            **{"image_size": 32 if small else 64, "max_images": 0, "stratified": True, "validation_fraction": 0.1},
            **{"unfrozen_blocks": 0, "batch_size": 64, "num_epochs": 4 if small else 20, "preprocessing": "backbone"},
        },
        "scientific": {
            "backbone": ["MobileNet"] if small else ["MobileNet", "VGG16"],
            "optimizer": optimizers,
            **(dict(list(TODAY.items())[:2]) if small else TODAY),
        },
        "nuisance": {"head_units": [0] if small else [0, 16]},
    }


def is_plain(row: TrialResult) -> bool:
    return all(getattr(row.spec, name) == SPEC_FIELDS[name].default for name in TODAY)


def accuracy_on_test(rows: Sequence[TrialResult]) -> NDArray[np.float64]:
    """Return (rows,) accuracies on the test part; NaN of rows that diverged."""
    return np.array([row.metrics.get("accuracy", np.nan) for row in rows])


def found_by(table: Table, sizes: Sizes) -> NDArray[np.float64]:
    """Return (seeds, budgets) test accuracies of what our search has chosen by then; before it has, the table's mean,
    a blind guess."""
    cluster, until = Cluster(sizes.num_workers, FURTHER_HEAD), sizes.trainings[-1] * table.num_epochs
    scores = accuracy_on_test(table.rows)
    searches = search_all(table, [Trial(regret.OURS, seed, cluster, until) for seed in range(sizes.num_seeds)])

    def of(steps: Sequence[Step]) -> NDArray[np.float64]:
        chosen = [step for step in steps if step.chosen is not None]
        own = [float(scores[step.chosen]) for step in chosen]
        budgets = [number * table.num_epochs for number in sizes.trainings]
        return regret.at_budgets([step.epochs for step in chosen], own, budgets, float(np.nanmean(scores)))

    return np.array([of(steps) for steps in searches])


@dataclass(frozen=True)
class FieldEffect:
    """What a field does to the test accuracy of rows that differ in nothing else."""

    field: str
    value: Any
    num_pairs: int
    mean: float
    of_best: float
    """The mean over the best pairs, one in BEST_SHARE, by the sum of both: those chosen by one of the two would favour
    it."""


def effects_of(table: Table) -> Iterator[FieldEffect]:
    """Give the effect of each value that TODAY tries, all else being equal."""
    scores = dict(zip((row.spec for row in table.rows), accuracy_on_test(table.rows), strict=True))
    for name in TODAY:
        default = SPEC_FIELDS[name].default
        for value in sorted({getattr(spec, name) for spec in scores} - {default}):
            pairs = [
                (score, scores[other])
                for spec, score in scores.items()
                if getattr(spec, name) == default and (other := spec.replace(**{name: value})) in scores
            ]
            before, after = np.array([pair for pair in pairs if np.isfinite(pair).all()]).T
            best = np.argsort(-(before + after))[: max(1, len(before) // BEST_SHARE)]
            apart = after - before
            yield FieldEffect(name, value, len(apart), float(apart.mean()), float(apart[best].mean()))


def compare_spaces(table: Table, sizes: Sizes, out: Path) -> bool:
    """Print how much better a search's choice is with TODAY than without, and what each field does; write the numbers.
    Return whether the mean over the budgets is better for sure: only then has the default space reason to change."""
    plain = make_table(row for row in table.rows if is_plain(row))
    print(f"with:    {table.describe()}\nwithout: {plain.describe()}", flush=True)
    wide, narrow = found_by(table, sizes), found_by(plain, sizes)
    best = float(np.nanmax(accuracy_on_test(table.rows)))
    overall = mean_over_seeds((wide - narrow).mean(axis=1))
    print(f"\nmean regret on the test part, {sizes.num_seeds} seeds; gain: accuracy with less without [95 %]")
    for column, number in enumerate(sizes.trainings):
        means = f"with {best - wide[:, column].mean():.4f}, without {best - narrow[:, column].mean():.4f}"
        gain = mean_over_seeds((wide - narrow)[:, column])
        print(f"  {number * table.num_epochs:5} epochs: {means}; gain {_signed(gain)}")
    pays = overall.interval.low > 0
    print(f"  over all budgets: gain {_signed(overall)}: {'it pays' if pays else 'NOT SHOWN TO PAY'}")
    effects = list(effects_of(table))
    print("\nwhat each does to the test accuracy, all else equal (of the best tenth of rows in parentheses)")
    for one in effects:
        print(f"  {one.field + '=' + str(one.value):24} {one.mean:+.4f} ({one.of_best:+.4f}), {one.num_pairs} pairs")
    numbers = {"sizes": vars(sizes), "best": best, "with": wide.round(6).tolist(), "without": narrow.round(6).tolist()}
    text = json.dumps(numbers | {"fields": [vars(one) for one in effects]}, indent=1)
    (out / "search_spaces.json").write_text(text)
    return pays


def _signed(own: SeedEstimate) -> str:
    return f"{own.value:+.4f} [{own.interval.low:+.4f}, {own.interval.high:+.4f}]"
