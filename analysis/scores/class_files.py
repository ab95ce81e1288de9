"""What a report says of classes as files: confusion matrices, one a trial, and the scores of each class.

    files(networks, banner)     # {"confusion/vgg16-imagenet-on-seed-0.csv": ..., "class_scores.csv": ...}

Of the settings that the report shows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from analysis.report.formats import csv_text, distinct
from analysis.scores.class_sections import class_names, f1_scores, precisions
from analysis.statistics.class_scores import recalls
from analysis.statistics.intervals import Share
from analysis.trials.banner import Banner
from analysis.trials.repeats import Networks
from galaxytl.trial import TrialResult

if TYPE_CHECKING:
    pass

FOLDER: Final = "confusion"
NAME: Final = "class_scores.csv"
MARK: Final = "true class,"
"""How a matrix begins: tells an earlier report's files from a user's own."""
SCORES_MARK: Final = "setting,trial,seed,class,name,images,named,recall,"
MAX_STEM: Final = 80


def files(networks: Networks, banner: Banner) -> dict[str, str]:
    """Return name -> text; nothing where no row has a confusion matrix."""
    shown = [(own.name, result) for own in networks.shown for result in own.with_confusion]
    found: dict[str, str] = {}
    for setting, result in shown:
        stem = distinct(_stem(setting, result), [name.removesuffix(".csv") for name in found])
        found[f"{stem}.csv"] = _matrix(setting, result, banner)
    return found | ({NAME: _scores(shown, banner)} if shown else {})


def _stem(setting: str, result: TrialResult) -> str:
    """Return a name of letters, digits and dashes, of the setting and the seed."""
    words = "-".join(re.findall(r"[a-z0-9]+", setting.lower()))[:MAX_STEM].strip("-")
    return f"{FOLDER}/{words}-seed-{result.spec.seed}"


def _matrix(setting: str, result: TrialResult, banner: Banner) -> str:
    """Return a row a true class, a column a class that is named, in counts; the trial and the banner are columns too,
    so that no row can lose them."""
    import pandas as pd  # half a second that `--help` need not wait for

    names = class_names(result, len(result.confusion))
    said = (result.trial_id, setting, result.spec.scored_on, banner.warning, banner.run_on)
    headings = ["true class", *names, "trial", "setting", "part", "warning", "run_on"]
    rows = [(name, *counts, *said) for name, counts in zip(names, result.confusion, strict=True)]
    return csv_text(pd.DataFrame(rows, columns=headings))


def _scores(shown: Sequence[tuple[str, TrialResult]], banner: Banner) -> str:
    import pandas as pd

    frames = [pd.DataFrame(_records(setting, result)) for setting, result in shown]
    return csv_text(pd.concat(frames).assign(warning=banner.warning, run_on=banner.run_on))


def _records(setting: str, result: TrialResult) -> Iterator[dict[str, object]]:
    """Yield a class each, with Wilson's intervals over images; a score without images is empty."""
    names = class_names(result, len(result.confusion))
    found = zip(names, *(score(result.confusion) for score in (recalls, precisions, f1_scores)), strict=True)
    for index, (name, recall, precision, f1) in enumerate(found):
        yield {
            "setting": setting, "trial": result.trial_id, "seed": result.spec.seed, "class": index, "name": name,
            "images": recall.total if recall else 0, "named": precision.total if precision else 0,
            **_share("recall", recall), **_share("precision", precision), "f1": f1,
        }  # fmt: skip


def _share(name: str, share: Share | None) -> dict[str, float | None]:
    values = (share.value, share.interval.low, share.interval.high) if share else (None, None, None)
    rounded = (None if value is None else round(value, 6) for value in values)
    return dict(zip((name, f"{name}_low", f"{name}_high"), rounded, strict=True))
