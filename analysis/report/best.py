"""The chosen trial as a grid file, so that `python -m sweep.run` runs exactly that one.

path.write_text(best_yaml(search, best, banner))
print(run_again(path))
"""

from __future__ import annotations

import json
import shlex
from pathlib import Path

from analysis.search.choice import Search
from analysis.trials.banner import Banner
from analysis.trials.load import count_of_trials
from galaxytl.system.foreign_text import visible
from galaxytl.trial import TrialResult, TrialSpec, settable_fields

FILE_NAME = "best.yaml"


def best_yaml(search: Search, best: TrialResult, banner: Banner) -> str:
    """A grid of one trial, `best` on the test part, with every field that can be set."""
    spec = best.spec.replace(scored_on="test", weights=best.spec.weights_requested)
    purpose = (
        f"trial {spec_id(best)} on the test part: the best by validation accuracy of"
        f" {count_of_trials(len(search.ranking))}"
    )
    lines = [f"# {visible(line)}" for line in (*banner.lines, *_data(best.spec), *_stand_in(best.spec))]
    lines += [f"name: best-{spec_id(best)}", f"purpose: {json.dumps(purpose)}", "fixed:"]
    lines += [f"  {name}: {json.dumps(getattr(spec, name))}" for name in settable_fields()]  # JSON is YAML
    return "\n".join(lines) + "\n"


def spec_id(best: TrialResult) -> str:
    """Of the trial that is scored on the test part, which the grid runs."""
    return best.spec.replace(scored_on="test").trial_id


def _data(spec: TrialSpec) -> list[str]:
    return [f"data: {spec.dataset}, fingerprint {spec.dataset_fingerprint}"]


def _stand_in(spec: TrialSpec) -> list[str]:
    if not spec.is_substituted:
        return []
    return ["in the search, random weights stood in for ImageNet weights: where these are found, this is another trial"]


def run_again(path: Path) -> str:
    """The command; DATA is what the search was given as --data."""
    return f"python -m sweep.run --grid {shlex.quote(str(path))} --data DATA"
