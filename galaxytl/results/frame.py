"""A results folder as a table for pandas: `load_results`, a row a trial; `load_curves`, a row an epoch.

    trials = load_results("results/lr")                  # or s3://bucket/sweeps/lr
    trials[trials.status == "COMPLETE"].groupby("backbone").accuracy.max()
    load_curves("results/lr").merge(trials[["trial_id", "learning_rate"]], on="trial_id")

pandas is imported when one of them is called.
"""

from __future__ import annotations

import math
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, get_args, get_type_hints

from galaxytl.results.rows import FILE_NAME, Rows, read_results, rows_files
from galaxytl.results.storage import Storage, StorageError
from galaxytl.results.stored_rows import FOLDER, read_rows
from galaxytl.system.credentials import without_secrets
from galaxytl.system.inside import check_links
from galaxytl.system.locations import DataError
from galaxytl.trial import SPEC_FIELDS, TrialResult

if TYPE_CHECKING:
    import pandas as pd

STATUSES: Final = get_args(get_type_hints(TrialResult)["status"])
SCORES: Final = (
    *("accuracy", "precision_weighted", "recall_weighted", "f1_weighted", "precision_macro", "recall_macro"),
    *("f1_macro", "loss", "top_predicted_share", "top_predicted_class", "majority_share", "cohen_kappa"),
)
"""Metrics that each scored trial has; votes as targets add one, test-time augmentation all of them again as tta_..."""
PARTS: Final = ("train", "validation", "test")
TIMINGS: Final = ("data", "build", "features", "train", "evaluate", "diagnostics", "total")
CURVES: Final = {
    "trial_id": "string", "epoch": "int64", "loss": "float64", "accuracy": "float64", "val_loss": "float64",
    "val_accuracy": "float64", "val_top_share": "float64", "seconds": "float64", "resumed": "bool",
}  # fmt: skip
"""Columns of `load_curves`."""
COUNTED: Final = ("top_predicted_class", "tta_top_predicted_class")
"""Scores that are whole numbers."""


class ResultsError(ValueError):
    """There are no results at a place; the message says what to do."""


class ResultsWarning(UserWarning):
    """Rows of a results folder were left out, or are not what they should be."""


def load_results(folder: str | Path) -> pd.DataFrame:
    """Return the trials of a results folder, or of its copy at a storage's URI, a row a trial, in the order of their
    ends. What is wrong with rows is warned of (`ResultsWarning`), one sentence a reason; those of earlier versions are
    read like today's.

    Columns, the same whatever the rows hold, but for scores, timings and certificates that only some trials have:

    - `trial_id` (string); `status` (category: COMPLETE, FAILED, PRUNED); `message` (string), why it is not COMPLETE.
    - Each field of TrialSpec under its own name: numbers as int64, float64 and bool; choices, as `weights` and
      `scored_on`, as category; all else, as `backbone`, as string. `unfrozen_blocks` is a string, as it can be "all".
    - Scores on the part that the trial is `scored_on`: `accuracy`, `loss` (nats), `precision_weighted`, `f1_macro`
      and so on (float64; missing where a trial has none), `top_predicted_class` (Int64). Where a trial has
      `test_time_augmentation`, the same of the mean over the eight symmetries: `tta_accuracy` and so on.
    - `num_train_images`, `num_validation_images`, `num_test_images`, `num_parameters`, `num_trainable_parameters`,
      `num_fused` (trials trained in one pass) and `last_epoch` (Int64).
    - `seconds_total`, and `seconds_train` and so on of its parts (float64): of trials that train together, each has an
      equal share. `started` (datetime64, UTC); `device`, `host` (string).
    - `certificate_...` (float64), where the sweep recorded how far heads are from their optimum.

    Raises ResultsError where there are no results, and StorageError or DataError where a storage does not answer.
    """
    return results_frame(_read(folder).results)


def load_curves(folder: str | Path) -> pd.DataFrame:
    """Return the epochs of a results folder's trials, or of its copy at a URI, a row an epoch of a trial.

    Columns: `trial_id` (string), `epoch` (int64, from 1), `loss` and `accuracy` of the train part, `val_loss` and
    `val_accuracy` of the part that was watched, `val_top_share`, the share of the class that is named most often,
    `seconds` (float64), and `resumed` (bool), True where an interrupted trial went on. Warns and raises as
    `load_results` does.
    """
    import pandas as pd

    results = _read(folder).results
    rows = [{"trial_id": result.trial_id, **epoch} for result in results for epoch in result.history]
    frame = pd.DataFrame(rows).reindex(columns=list(CURVES))
    frame["resumed"] = frame["resumed"].fillna(0).astype(bool)
    return frame.astype(CURVES)


def results_frame(results: Iterable[TrialResult]) -> pd.DataFrame:
    """Return the table of some trials, as `load_results` describes it."""
    import pandas as pd

    results = list(results)
    columns = {name: pd.Series(values, dtype=kind) for name, kind, values in _columns(results)}
    started = pd.Series([result.started or None for result in results], dtype="object")
    columns["started"] = pd.to_datetime(started, utc=True, errors="coerce").astype("datetime64[us, UTC]")
    return pd.DataFrame(columns)


def _columns(results: list[TrialResult]) -> Iterator[tuple[str, Any, list[Any]]]:
    """Yield each column's name, type and values, in order."""
    import pandas as pd

    yield "trial_id", "string", [r.trial_id for r in results]
    yield "status", pd.CategoricalDtype(STATUSES), [r.status for r in results]
    yield "message", "string", [r.message for r in results]
    for name in SPEC_FIELDS:
        yield name, _type_of(name), [_spec_value(r, name) for r in results]
    for name in _names(SCORES, (r.metrics for r in results)):
        yield name, "Int64" if name in COUNTED else "float64", [_number(r.metrics, name) for r in results]
    for name in PARTS:
        yield f"num_{name}_images", "Int64", [_number(r.num_images, name) for r in results]
    yield "num_parameters", "Int64", [_number(r.num_parameters, "total") for r in results]
    yield "num_trainable_parameters", "Int64", [_number(r.num_parameters, "trainable") for r in results]
    yield "num_fused", "Int64", [r.num_fused for r in results]
    last = [int(r.history[-1]["epoch"]) if r.history else 0 for r in results]
    yield "last_epoch", "Int64", last
    yield (
        "epoch_scored",
        "Int64",
        [r.epoch_scored or own if r.is_scored else None for r, own in zip(results, last, strict=True)],
    )
    for name in _names(TIMINGS, (r.timings for r in results)):
        yield f"seconds_{name}", "float64", [_number(r.timings, name) for r in results]
    for name in _names((), (r.certificate for r in results)):
        yield f"certificate_{name}", "float64", [_number(r.certificate, name) for r in results]
    for name in ("device", "host"):
        yield name, "string", [r.environment.get(name) for r in results]


def _names(first: Iterable[str], found: Iterable[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys([*first, *(name for values in found for name in values)]))


def _number(values: Mapping[str, float], name: str) -> float | None:
    value = values.get(name)
    return None if value is None or math.isnan(value) else value


def _type_of(name: str) -> Any:
    import pandas as pd

    rule = SPEC_FIELDS[name]
    if choices := rule.metadata.get("choices"):
        return pd.CategoricalDtype(choices)
    return {"int": "int64", "float": "float64", "bool": "bool"}.get(str(rule.type), "string")


def _spec_value(result: TrialResult, name: str) -> Any:
    value = getattr(result.spec, name)
    return str(value) if name == "unfrozen_blocks" else value


def _read(folder: str | Path) -> Rows:
    """Read the rows, warning of what is wrong with them."""
    rows, place = _read_uri(str(folder)) if "://" in str(folder) else _read_folder(Path(folder).expanduser())
    for problem in rows.problems:
        warnings.warn(problem.replace(place, without_secrets(str(folder))), ResultsWarning, stacklevel=3)
    return rows


def _read_folder(folder: Path) -> tuple[Rows, str]:
    if not folder.is_dir():
        raise ResultsError(f"results must lie in a folder that exists; got '{folder}': give the --out of a sweep")
    check_links(folder)
    if rows_files(folder):
        return read_results(folder), str(folder)
    if (folder / FOLDER).is_dir():  # as a sweep's --storage has it
        return _read_uri(str(folder))
    inside = sorted(path.parent for path in folder.glob(f"*/{FILE_NAME}"))
    hint = f"did you mean '{inside[0]}'?" if inside else "give the --out of a sweep that has begun"
    raise ResultsError(f"a results folder must hold {FILE_NAME}; '{folder}' holds none: {hint}")


def _read_uri(uri: str) -> tuple[Rows, str]:
    """Read the rows at a storage; with the name of the folder that the problems speak of. Raises StorageError."""
    shown = without_secrets(uri)
    try:
        lines = read_rows(Storage(uri))
    except DataError as error:
        raise StorageError(f"results at a URI must be readable; got '{shown}': {error}") from error
    if not lines:
        raise ResultsError(f"results at a URI must have rows; got '{shown}': give --storage and the folder's name")
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / FILE_NAME).write_bytes(b"".join(line + b"\n" for line in lines))
        return read_results(Path(folder)), folder
