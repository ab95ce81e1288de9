"""Sweeps from Python: what `python -m sweep.run` does, in a function call or a notebook.

    from sweep import run_grid, run_search

    trials = run_grid("lr", data="my_galaxies/", settings={"backbone": "VGG16", "learning_rate": [1e-3, 1e-4]}, seeds=3)
    trials = run_search(trials=50, data="my_galaxies/", objective=["val_accuracy", "parameters"])

Keywords are the options of the command under their own names, --weights-dir as `weights_dir`; `settings` is --set. What
is left out has the command's default, and what is wrong is refused in the command's words: a call is put into words,
and the command's parser reads them. Results are a DataFrame, as `galaxytl.load_results` describes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack

from galaxytl.results.frame import results_frame
from galaxytl.results.rows import read_results
from galaxytl.system.command import UsageError
from galaxytl.system.console import Console
from galaxytl.system.credentials import remember_environment, without_secrets
from galaxytl.system.foreign_text import did_you_mean
from sweep.command_line import parse
from sweep.run import run

if TYPE_CHECKING:
    import pandas as pd


REPEATABLE = ("storage", "tracker")
"""Options that take several values one by one."""


class Keywords(TypedDict, total=False):
    """Of grids and of searches; `python -m sweep.run --help` says of each option what it does."""

    settings: Mapping[str, Any]
    """--set: a value, or several, by the name of a field."""
    profile: str
    diagnostics: bool
    dry_run: bool
    fetch: bool
    yes: bool
    group_by_sky: bool
    split: Literal["official"]
    data: str | Path
    image_column: str
    label_column: str | Sequence[str]
    class_names: str | Path
    """A file."""
    fits_bands: str | Sequence[str]
    fits_stretch: float
    columns: str | Sequence[str]
    group_by: str
    fit: Literal["resize", "crop"]
    backbone: str | Sequence[str]
    features: str | Path
    """[NAME=]FILE."""
    weights_dir: str | Path
    accept_damaged: bool
    keep: str
    """"best", "best:N", "all" or "none"."""
    out: str | Path
    storage: str | Path | Sequence[str | Path]
    """One place, or a place and a search's database."""
    address: str
    cpus_per_trial: float
    gpus_per_trial: float
    trials_per_gpu: int
    tracker: str | Sequence[str]


class GridKeywords(Keywords, total=False):
    """Of `run_grid`."""

    seeds: int
    folds: int
    """--folds: of cross-validation, 2 or more."""
    retry_failed: bool
    shard: str
    """ "K/N": the K-th of N parts, from 1."""


class SearchKeywords(Keywords, total=False):
    """Of `run_search`."""

    trials: int
    scheduler: str
    study: str
    sampler: str
    space: str
    """MODULE:FUNCTION."""
    objective: str | Sequence[str]
    warm_start: str | Path | Sequence[str | Path]
    batch: int
    stop_collapsed: int
    search_seed: int


def run_grid(grid: str | Path, *, quiet: bool = False, **keywords: Unpack[GridKeywords]) -> pd.DataFrame:
    """Run a grid, or what is left of it, and return its trials: those that failed too, each with its reason.

    grid: "paper", "lr", "unfreeze", "gradual", "vgg-collapse", "smoke", or a YAML file. quiet: print nothing. keywords:
    options of `python -m sweep.run`, as `data`, `out`, `settings`, `seeds`, `folds`, `weights_dir`; `GridKeywords`
    lists them. With `dry_run=True` the plan is printed, and trials are returned that had been run before.

    Raises UsageError, SpecError, DataError, StorageError or OSError where the command would say "error: ..." and stop.
    """
    return _run(words_of([("grid", grid), *keywords.items()], GridKeywords), quiet)


def run_search(*, quiet: bool = False, **keywords: Unpack[SearchKeywords]) -> pd.DataFrame:
    """Search with Optuna, or go on with a search, and return its trials; the one that was chosen, scored on the test
    part, has `scored_on` "test".

    quiet: print nothing. keywords: options of `python -m sweep.run --search optuna`, as `trials`, `data`, `out`,
    `settings`, `sampler`, `objective`; `SearchKeywords` lists them. Raises as `run_grid` does.
    """
    return _run(["--search=optuna", *words_of(keywords.items(), SearchKeywords)], quiet)


def words_of(keywords: Iterable[tuple[str, Any]], known: type) -> list[str]:
    """Return the command line that says the same; None stands for an option that is not given. Raises UsageError.

    >>> words_of([("seeds", 3), ("settings", {"learning_rate": [1e-3, 1e-4]}), ("yes", True)], GridKeywords)
    ['--seeds=3', '--set=learning_rate=0.001,0.0001', '--yes']
    """
    return [word for name, value in keywords for word in _words(name, value, {"grid", *known.__annotations__})]


def _words(name: str, value: Any, known: Iterable[str]) -> Iterator[str]:
    option = f"--{name.replace('_', '-')}"
    if name not in known:
        raise UsageError(f"a keyword must be an option of the command, as weights_dir; got '{name}'."
                         f"{did_you_mean(name, known)}")  # fmt: skip
    if name == "settings":
        if not isinstance(value, Mapping):
            raise UsageError(f"settings must map fields to values, like {{'learning_rate': [1e-3, 1e-4]}}; got {value}")
        yield from (f"--set={field}={_joined(values)}" for field, values in value.items())
    elif isinstance(value, bool):
        if value or name == "diagnostics":  # the one option that has a --no-
            yield option if value else f"--no-{name}"
    elif name in REPEATABLE and not isinstance(value, str | Path | None):
        yield from (f"{option}={place}" for place in value)
    elif value is not None:
        yield f"{option}={_joined(value)}"


def _joined(value: Any) -> str:
    several = isinstance(value, Iterable) and not isinstance(value, str | bytes)
    return ",".join(map(str, value)) if several else str(value)


def _run(words: Sequence[str], quiet: bool) -> pd.DataFrame:
    remember_environment()
    try:
        options = parse(words, "")
        ended = run(options, Console(quiet=quiet, highlight=False, soft_wrap=True))
    except Exception as error:  # a notebook shows it, and is passed on
        error.args = tuple(without_secrets(part) if isinstance(part, str) else part for part in error.args)
        raise
    own = set(ended.trial_ids)
    return results_frame(result for result in read_results(options.out).results if result.trial_id in own)
