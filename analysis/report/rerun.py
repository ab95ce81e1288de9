"""Grid files that run the trials of a report again: exactly those, with every setting, whatever command first ran them.

    text = grid_yaml("paper", results, banner)      # python -m sweep.run --grid paper.yaml --data DATA

A row does not hold the command line that asked for it; its spec is all that it depends on.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from analysis.report.formats import distinct
from analysis.trials.banner import Banner
from analysis.trials.load import Trials, count_of_trials
from analysis.trials.subject import is_of_paper
from galaxytl.system.files import write_atomically
from galaxytl.system.foreign_text import visible
from galaxytl.trial import ADDED, TrialResult, TrialSpec, settable_fields

STAND_IN: Final = (
    "in the search, random weights stood in for ImageNet weights: where these are found, this is another trial"
)


def grid_yaml(name: str, results: Sequence[TrialResult], banner: Banner) -> str:
    """Return the trials as one axis of settings that change together; `name` must be letters, digits, '-', '_' and
    '.'."""
    trials = [_settings(result.spec) for result in results]
    varied = [field for field in settable_fields() if len({_value(trial, field) for trial in trials}) > 1]
    lines = [f"# {visible(line)}" for line in (*banner.lines, *_data(results))]
    lines += [f"name: {name}", "fixed:"]
    lines += [f"  {field}: {json.dumps(value)}" for field, value in trials[0].items() if field not in varied]
    if varied:
        lines += ["scientific:", "  trial:"]
        lines += [f"  - {text}" for text in dict.fromkeys(_mapping(trial, varied) for trial in trials)]
    return "\n".join(lines) + "\n"


def _settings(spec: TrialSpec) -> dict[str, Any]:
    """Return what a sweep is asked for: where random weights stood in for ImageNet's, these. Without the fields of a
    later version that say what earlier ones did."""
    asked = spec.replace(weights=spec.weights_requested)
    values = {name: getattr(asked, name) for name in settable_fields()}
    return {name: value for name, value in values.items() if name not in ADDED or value != ADDED[name]}


def _mapping(trial: Mapping[str, Any], fields: Iterable[str]) -> str:
    return json.dumps({field: _value(trial, field) for field in fields})  # JSON is YAML


def _value(trial: Mapping[str, Any], field: str) -> Any:
    return trial.get(field, ADDED.get(field))


def _data(results: Sequence[TrialResult]) -> list[str]:
    found = dict.fromkeys((r.spec.dataset, r.spec.dataset_fingerprint) for r in results)
    asked = dict.fromkeys((bool(r.spec.official_split), r.spec.group_by, _features(r.spec)) for r in results)
    options = [
        " --split official" * own + f" --group-by {shlex.quote(column)}" * bool(column) + features
        for own, column, features in asked
    ]
    return [
        *(f"data: {name}, fingerprint {mark}" for name, mark in found),
        *(f"options, beside --data:{text}" for text in options if text),
    ]


def grid_names(folders: Iterable[Path]) -> dict[Path, str]:
    """Return a name a folder, after its own, that a grid may have; all different. The sweep takes no grid by the name
    of one of its own, which folders have: hence the ending.

    >>> list(grid_names([Path("a/paper"), Path("b/paper"), Path("results/my sweep")]).values())
    ['paper-again', 'paper-again-2', 'my-sweep-again']
    """
    names: dict[Path, str] = {}
    for folder in folders:
        stem = re.sub(r"[^A-Za-z0-9_.-]+", "-", folder.resolve().name).strip("-.") or "trials"
        names[folder] = distinct(f"{stem}-again", names.values())
    return names


def write_grids(trials: Trials, folder: Path) -> dict[Path, Path]:
    """Write a grid file for each results folder, with its trials, into `folder`; returns results folder -> file."""
    own: dict[Path, list[TrialResult]] = {}
    for result in trials.results:
        if source := trials.folders.get(result.trial_id):
            own.setdefault(source, []).append(result)
    if own:
        folder.mkdir(exist_ok=True)
    paths = {}
    for source, name in grid_names(own).items():
        paths[source] = folder / f"{name}.yaml"
        text = grid_yaml(name, own[source], Banner.of_search(own[source]))
        write_atomically(paths[source], text.encode())
    return paths


def best_yaml(best: TrialResult, num_compared: int, banner: Banner) -> str:
    """Return a grid of one trial, a search's choice among `num_compared` on the test part, with every field that can
    be set."""
    spec = best.spec.replace(scored_on="test")
    purpose = (
        f"trial {spec.trial_id} on the test part: the best by validation accuracy of {count_of_trials(num_compared)}"
    )
    notes = [*banner.lines, *_data([best]), *([STAND_IN] if spec.is_substituted else [])]
    lines = [f"# {visible(line)}" for line in notes]
    lines += [f"name: best-{spec.trial_id}", f"purpose: {json.dumps(purpose)}", "fixed:"]
    lines += [f"  {name}: {json.dumps(value)}" for name, value in _settings(spec).items()]  # JSON is YAML
    return "\n".join(lines) + "\n"


def division(specs: Iterable[TrialSpec]) -> list[str]:
    """Return the options that say how the trials' images are divided, where that is not for a grid file to say: one
    sweep has them all in common."""
    spec = next(iter(specs))
    by = ["--group-by", spec.group_by] if spec.group_by else []
    return [*by, *(["--split", "official"] if spec.official_split else [])]


def what_data_is(results: Sequence[TrialResult]) -> str:
    """Return what stands for DATA in a command; a row knows neither a path nor how what lies there is read."""
    said = "DATA is what the sweep was given as --data"
    return said if is_of_paper(results[0].spec) else f"{said}, with its options that say how it is read"


def given_features(specs: Iterable[TrialSpec]) -> tuple[str, ...]:
    """Return the option that gives the features which stand for a network, FILE being theirs; none where trials are of
    networks, or of several features, which no one command runs."""
    names = {spec.backbone for spec in specs}
    name = names.pop() if len(names) == 1 else ""
    family, colon, given = name.partition(":")
    return ("--features", f"{given}{'=' if colon else ''}FILE") if family == "features" else ()


def command(grid: Path | str, *options: str, out: Path | None = None) -> str:
    """Return the command that runs a grid, a file or one of the sweep's own; DATA is what the sweep was given as
    --data. With the folder of the trials as `out`, those that it holds are not run again."""
    words = ["python", "-m", "sweep.run", "--grid", str(grid), *options, *(["--out", str(out)] if out else [])]
    return f"{shlex.join(words)} --data DATA"


def _features(spec: TrialSpec) -> str:
    """Return the option that gives a trial its features, whose file no row names; empty where a network computes
    them."""
    kind, _, name = spec.backbone.partition(":")
    if kind != "features":
        return ""
    return f" --features {f'{shlex.quote(name)}=' if name else ''}FILE"
