"""What a report says of classes: scores that count every class alike, those of each class, and recalls side by side.

    sections(networks)      # of the settings that it shows; empty where no row has a confusion matrix

From the confusion matrix of each row, which rows of every version have.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from analysis.report.sections import Listing, Section
from analysis.statistics.class_scores import ClassScore, balanced_accuracy, matthews, recalls
from analysis.statistics.intervals import Share
from analysis.trials.load import count_of
from analysis.trials.repeats import Networks, Repeats, over_seeds
from galaxytl.trial import TrialResult

MOST_COLUMNS: Final = 6
"""Settings beside one another in the table of recalls: the paper's Table 1 has as many rows."""
MANY: Final = 20
"""Classes from which on a table of them is folded away, and numbered as the figures number them."""
NO_IMAGES: Final = "no images"
NEVER_NAMED: Final = "never named"
SCORES: Final = "Scores that count every class alike"
INTERVALS: Final = (
    "In brackets: 95 % intervals. Of one seed they are over its test images (of a recall Wilson's, 1927). Of several"
    " seeds they are Student's t, with the scatter over images added as if all seeds missed the same ones: they are"
    " rather too wide than too narrow."
)


def sections(networks: Networks) -> list[Section]:
    """Return the sections; none where no setting that is shown has a confusion matrix."""
    shown = [own for own in networks.shown if own.with_confusion]
    if not shown:
        return []
    leading = leading_setting(networks)
    of_one = [_each_class(leading)] if leading and leading.with_confusion else []
    return [_scores(shown, networks.not_shown), *of_one, _recalls(shown, networks.not_shown)]


def leading_setting(networks: Networks) -> Repeats | None:
    """Return that of the settings shown which a report looks at closely: the best by validation accuracy of those on
    the first one's split, or the first, where not all have watched a validation part. The test part has no say."""
    shown = [own for own in networks.of_one_split if own in networks.shown]
    values = [own.validation_accuracy for own in shown]
    if not shown or None in values:
        return shown[0] if shown else None
    return max(shown, key=lambda own: own.validation_accuracy or 0.0)


def precisions(confusion: Sequence[Sequence[int]]) -> tuple[Share | None, ...]:
    """Return of each class the share of the images named so that are of it; None for a class that is never named."""
    return recalls(np.transpose(np.asarray(confusion, np.int64)))


def f1_scores(confusion: Sequence[Sequence[int]]) -> list[float | None]:
    """Return the harmonic means of recall and precision; None for a class without images that is never named."""
    counts = np.asarray(confusion, np.int64)
    totals = counts.sum(axis=0) + counts.sum(axis=1)
    pairs = zip(np.diagonal(counts).tolist(), totals.tolist(), strict=True)
    return [2 * right / total if total else None for right, total in pairs]


def _each_class(own: Repeats) -> Section:
    """Show recall, precision and F1 of each class in one setting, means over its seeds."""
    results = own.with_confusion
    names = class_names(results[0], len(results[0].confusion))
    same = [r.confusion for r in results if len(r.confusion) == len(names)]
    found = [(recalls(one), precisions(one), f1_scores(one)) for one in same]
    rows = []
    for index in range(len(names)):
        of_class = ([seed[0][index] for seed in found], [seed[1][index] for seed in found])
        f1 = [value for seed in found if (value := seed[2][index]) is not None]
        images = f"{max(share.total if share else 0 for share in of_class[0]):,}"
        texts = (recall_text(of_class[0]), recall_text(of_class[1], NEVER_NAMED))
        rows.append((_numbered(index, names), images, *texts, f"{np.mean(f1):.3f}" if f1 else ""))
    headings = ("Class", "Test images", "Recall", "Precision", "F1")
    said = (
        f"Means over {count_of(len(same), 'seed')}. Precision is the share of the images given a class that are of it."
        " class_scores.csv has every trial's, and the folder confusion their matrices.",
    )
    listing = Listing(headings, tuple(rows), {1, 2, 3, 4})
    return Section(f"Scores of each class: {own.name}", listing, said, is_long=len(names) > MANY)


def _numbered(index: int, names: Sequence[str]) -> str:
    return f"{index} {names[index]}" if len(names) > MANY else names[index]


def _scores(shown: Sequence[Repeats], not_shown: str) -> Section:
    headings = ("Setting", "Seeds", "Accuracy", "Balanced accuracy", "MCC", "F1 (weighted)")
    sentences = (
        "Balanced accuracy is the mean of the classes' recalls: a network that names one class whatever the image has 1"
        " / (number of classes), however common that class is. MCC, Matthews' correlation of true and predicted"
        " classes, then is 0, and 1 where all is right. A class without test images counts in neither.",
        INTERVALS,
        *([not_shown] if not_shown else []),
    )
    rows = tuple(_score_row(own) for own in shown)
    return Section(SCORES, Listing(headings, rows, {1, 2, 3, 4, 5}), sentences)


def _score_row(own: Repeats) -> tuple[str, ...]:
    results = own.with_confusion
    cells = []
    for score, low in ((balanced_accuracy, 0.0), (matthews, -1.0)):
        cells.append(value_text([score(r.confusion) for r in results], low))
    return (own.name, str(len(results)), _mean(results, "accuracy"), *cells, _mean(results, "f1_weighted"))


def _mean(results: Sequence[TrialResult], metric: str) -> str:
    values = [r.metrics[metric] for r in results if metric in r.metrics]
    return f"{np.mean(values):.3f}" if len(values) == len(results) else ""


def value_text(scores: Sequence[ClassScore | Share], low: float = 0.0) -> str:
    """Return the mean over seeds of a score that lies from `low` to 1, with its interval.

    >>> value_text([Share(8, 10)])
    '0.800 [0.490 to 0.943]'
    """
    return f"{np.mean([one.value for one in scores]):.3f} [{over_seeds(scores, low)}]"


def _recalls(shown: Sequence[Repeats], not_shown: str) -> Section:
    columns = _of_one_size(shown)[:MOST_COLUMNS]
    first = columns[0].with_confusion[0]
    names = class_names(first, len(first.confusion))
    shares = [[recalls(r.confusion) for r in own.with_confusion] for own in columns]
    rows = []
    for index in range(len(names)):
        totals = sorted({own[index].total if own[index] else 0 for seeds in shares for own in seeds})  # type: ignore[union-attr]
        images = f"{totals[0]:,}" if len(totals) == 1 else f"{totals[0]:,} to {totals[-1]:,}"
        rows.append(
            (_numbered(index, names), images, *(recall_text([own[index] for own in seeds]) for seeds in shares))
        )
    empty = [row[0] for row in rows if NO_IMAGES in row[2:]]
    sentences = [f"Recall is the share of a class's test images that is given that class. {INTERVALS}"]
    if empty:
        sentences.append(f"Without images in a test part, and so without a recall there: {', '.join(empty)}.")
    if len(columns) < len(shown):
        number = len(shown) - len(columns)
        sentences.append(f"The first {len(columns)} settings of the table above are in it; {number} are not.")
    listing = Listing(
        ("Class", "Test images", *(own.name for own in columns)), tuple(rows), set(range(1, 2 + len(columns)))
    )
    said = (*sentences, *([not_shown] if not_shown else []))
    return Section("Recall of each class", listing, said, is_long=len(names) > MANY)


def _of_one_size(shown: Sequence[Repeats]) -> list[Repeats]:
    """Return those with as many classes as the first."""
    size = len(shown[0].with_confusion[0].confusion)
    return [own for own in shown if {len(r.confusion) for r in own.with_confusion} == {size}]


def class_names(result: TrialResult, num_classes: int) -> tuple[str, ...]:
    """Return the names of a row's classes, or numbers where it has none."""
    names = result.class_names[:num_classes]
    return (*names, *(f"class {index}" for index in range(len(names), num_classes)))


def recall_text(seeds: Sequence[Share | None], without: str = NO_IMAGES) -> str:
    """Return the mean recall of a class over seeds with its interval, or what is said `without` images.

    >>> recall_text([Share(8, 10)]), recall_text([None])
    ('0.800 [0.490 to 0.943]', 'no images')
    """
    shares = [share for share in seeds if share]
    return value_text(shares) if shares else without
