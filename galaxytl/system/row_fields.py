"""What the fields of a row may hold: each is read by its annotation, so that nobody meets a row of wrong types.

    read = reader_of(dict[str, float])
    read("metrics", {"accuracy": 0.5, "loss": None})     # {"accuracy": 0.5, "loss": nan}; RowError where it is not so

Standard library only.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, NoReturn, get_args, get_origin

from galaxytl.system.confusion import MOST_SPARSE, SPARSE, Counts, SparseCounts
from galaxytl.system.strict_json import JsonError, check_depth, shown

LARGEST_COUNT: Final = 2**40
"""Of images, weights or heads: sums of a confusion matrix of them are whole numbers of 64 bits."""
NUMBER_TYPES: Final = frozenset({float, int})

Reader = Callable[[str, Any], Any]
"""Gives the value of the field of that name from what JSON holds; raises RowError."""


class RowError(ValueError):
    """A row breaks a rule. The message: the rule, "; got ", and what is there."""


def reader_of(annotation: Any) -> Reader:
    """Return what reads values of an annotation. Raises KeyError for an annotation that no reader is for."""
    return _choice(get_args(annotation)) if get_origin(annotation) is Literal else READERS[annotation]


def _refuse(name: str, rule: str, value: Any) -> NoReturn:
    raise RowError(f"{name} must be {rule}; got {shown(value)}")


def check_unknown(values: dict[str, Any]) -> None:
    """Raise RowError where fields of a later version could not be written again."""
    try:
        check_depth(values)
    except JsonError as error:
        raise RowError(f"a row {error}") from error


def _choice(allowed: tuple[str, ...]) -> Reader:
    def read(name: str, value: Any) -> Any:
        if type(value) is not str or value not in allowed:
            _refuse(name, f"one of {', '.join(allowed)}", value)
        return value

    return read


def _text(name: str, value: Any) -> str:
    return value if type(value) is str else _refuse(name, "text", value)


def _texts(name: str, value: Any) -> tuple[str, ...]:
    if type(value) is not list or not {str}.issuperset(map(type, value)):
        _refuse(name, "a list of texts", value)
    return tuple(value)


def _texts_by_name(name: str, value: Any) -> dict[str, str]:
    if type(value) is not dict or not {str}.issuperset(map(type, value.values())):
        _refuse(name, "texts by name", value)
    return value


def _number_at_least_1(name: str, value: Any) -> int:
    if type(value) is not int or not 1 <= value <= LARGEST_COUNT:
        _refuse(name, "a whole number from 1", value)
    return value


def _counts(name: str, value: Any) -> dict[str, int]:
    if type(value) is not dict or not _are_counts(value.values()):
        _refuse(name, "whole numbers from 0 by name", value)
    return value


def _are_counts(values: Any) -> bool:
    return not values or ({int}.issuperset(map(type, values)) and min(values) >= 0 and max(values) <= LARGEST_COUNT)


def _confusion(name: str, value: Any) -> Counts:
    if type(value) is dict and value.keys() == {SPARSE}:
        return _sparse(name, value[SPARSE])
    is_square = type(value) is list and {list}.issuperset(map(type, value)) and {len(value)}.issuperset(map(len, value))
    if not is_square or not _are_counts(list(itertools.chain.from_iterable(value))):
        _refuse(name, "as many lines as columns of whole numbers from 0", value)
    return tuple(map(tuple, value))


def _sparse(name: str, lines: Any) -> SparseCounts:
    """Read a matrix without its zeros; of each line, the columns come in order, so each once."""
    if type(lines) is not list or not {list}.issuperset(map(type, lines)) or len(lines) > MOST_SPARSE:
        _refuse(name, f"at most {MOST_SPARSE:,} lines of whole numbers from 0", lines)
    columns = [line[::2] for line in lines]
    is_right = _are_counts(list(itertools.chain.from_iterable(lines))) and all(
        2 * len(own) == len(line) and own == sorted({*own}) and (not own or own[-1] < len(lines))
        for line, own in zip(lines, columns, strict=True)
    )
    return SparseCounts(lines) if is_right else _refuse(name, "columns in order, each with its count", lines)


def _numbers(name: str, value: Any) -> dict[str, float]:
    """Read numbers by name; None, which JSON has in place of NaN and infinity, is NaN."""
    if type(value) is not dict:
        _refuse(name, "numbers by name", value)
    numbers = list(value.values())
    if not NUMBER_TYPES.issuperset(map(type, numbers)):
        numbers = [number for number in numbers if number is not None]
        if not NUMBER_TYPES.issuperset(map(type, numbers)):
            _refuse(name, "numbers by name", value)
        value = {key: math.nan if number is None else number for key, number in value.items()}
    if not _are_finite(numbers):
        _refuse(name, "finite numbers by name", value)
    return value


def _are_finite(numbers: list[float]) -> bool:
    try:
        return all(map(math.isfinite, numbers))
    except OverflowError:
        return False  # a whole number that is larger than any float


def _epochs(name: str, value: Any) -> tuple[dict[str, float], ...]:
    if type(value) is not list or not {dict}.issuperset(map(type, value)):
        _refuse(name, "a list of epochs", value)
    numbers = list(itertools.chain.from_iterable(map(dict.values, value)))
    if not NUMBER_TYPES.issuperset(map(type, numbers)) or not _are_finite(numbers):
        value = [_numbers(name, epoch) for epoch in value]
    for epoch in value:
        _check_epoch(name, epoch)
    return tuple(value)


def _check_epoch(name: str, record: dict[str, Any]) -> dict[str, Any]:
    if "epoch" not in record or not 0 <= record["epoch"] <= LARGEST_COUNT:
        _refuse(name, "a list of epochs with their number, epoch,", record)
    return record


OF_A_RECORD: Final = ("epoch", "loss", "logit_spread")
BY_LAYER: Final = ("gradient_norms", "dead_shares")


def _diagnostics(name: str, value: Any) -> tuple[dict[str, Any], ...]:
    """Read records; what a later version adds to one is left as it is."""
    if type(value) is not list or not {dict}.issuperset(map(type, value)):
        _refuse(name, "a list of records", value)
    return tuple(_record(name, record) for record in value)


def _record(name: str, record: dict[str, Any]) -> dict[str, Any]:
    check_unknown(record)
    by_layer = {part: _numbers(f"{part} of {name}", record.get(part)) for part in BY_LAYER}
    found = {**record, **_numbers(name, {part: record.get(part) for part in OF_A_RECORD}), **by_layer}
    return _check_epoch(name, found)


READERS: Final[Mapping[Any, Reader]] = {
    str: _text,
    int: _number_at_least_1,
    dict[str, float]: _numbers,
    dict[str, int]: _counts,
    dict[str, str]: _texts_by_name,
    tuple[str, ...]: _texts,
    Counts: _confusion,
    tuple[dict[str, float], ...]: _epochs,
    tuple[dict[str, Any], ...]: _diagnostics,
}
