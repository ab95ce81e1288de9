"""Why trials failed: equal reasons once. Pure functions."""

from __future__ import annotations

import itertools
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Final

from galaxytl.trial import TrialResult

WITH_DIGITS: Final = re.compile(r"\w*\d\w*")


def by_reason(failed: Iterable[TrialResult]) -> dict[str, list[TrialResult]]:
    """Return the trials that failed for each reason, those of the most frequent one first. Reasons that differ in
    numbers or trial_ids alone are one."""
    alike: dict[str, list[TrialResult]] = defaultdict(list)
    for result in failed:
        alike[WITH_DIGITS.sub("#", result.message)].append(result)
    most_first = sorted(alike.values(), key=len, reverse=True)
    return {common_reason([result.message for result in results]): results for results in most_first}


def common_reason(messages: Sequence[str]) -> str:
    """Return messages of one form as one.

    >>> common_reason(["nan in epoch 3, see errors/0f3a.txt", "nan in epoch 7, see errors/77bc.txt"])
    'nan in epoch 3 to 7, see errors/...'
    """
    return " ".join(map(_common_word, zip(*(message.split(" ") for message in messages), strict=True)))


def _common_word(words: Sequence[str]) -> str:
    different = sorted(set(words))
    if len(different) == 1:
        return different[0]
    numbers = [re.fullmatch(r"(\d+)(\D*)", word) for word in different]
    if all(numbers) and len({number[2] for number in numbers if number}) == 1:
        values = sorted(int(number[1]) for number in numbers if number)
        return f"{values[0]} to {values[-1]}{numbers[0][2] if numbers[0] else ''}"
    first, last = different[0], different[-1]  # sorted: what these two begin with, all do
    same = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False)))
    return f"{first[:same]}..."
