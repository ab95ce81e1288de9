"""What a grid is: axes, each with its values and its role, and the trials that they span. Pure functions.

    >>> rates = Axis("learning_rate", (1e-3, 1e-4), "scientific")
    >>> grid = Grid("mine", "which rate?", ((rates, *fixed(optimizer="adam")),))
    >>> repeated(overridden(grid, {"optimizer": ["adam", "sgd"]}), num_seeds=3).size
    12

The roles are those of the Deep Learning Tuning Playbook (Godbole et al. 2023): *scientific* is what the grid is to find
out about, *nuisance* what is varied so that the answer does not hang on one value of it, *fixed* what is neither.
"""

from __future__ import annotations

import itertools
import json
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, TypeVar, get_args

from galaxytl.networks.backbones import backbone_named
from galaxytl.trial import FOLD_FIELDS, SET_BY_SWEEP, SPEC_FIELDS, WHERE_FIELDS_ARE, SpecError, TrialSpec, parse_field

MAX_UNASKED: Final = 10_000
"""Trials; a grid of more is more often a slip than a wish."""

MAX_VALUES: Final = 20
"""The most values that a description lists of one axis."""

MAX_LETTERS: Final = 100
"""Of a value: no number that a computer can hold has more, and no name."""

SEEDS: Final = frozenset({"seed", "shuffle_seed", "split_seed"})

Role = Literal["scientific", "nuisance", "fixed"]
T = TypeVar("T")


@dataclass(frozen=True)
class Axis:
    """Values that all trials of a grid, or of a part of it, share among them. Raises SpecError."""

    name: str
    """A field of TrialSpec; another word where every value is a mapping."""
    values: tuple[Any, ...]
    """Of the field; or mappings of fields, itself among them, to values: these change together."""
    role: Role

    def __post_init__(self) -> None:
        if self.role not in get_args(Role):
            raise SpecError(f"the role of an axis must be one of {', '.join(get_args(Role))}; got '{self.role}'")
        if not self.values:
            raise SpecError(f"{self.name} must have at least one value; got none")
        if self.role == "fixed" and len(self.values) > 1:
            raise SpecError(f"a fixed field has one value; got {len(self.values)} for {self.name}")
        for setting in self.settings:
            if not setting or (self.name in SPEC_FIELDS and self.name not in setting):
                raise SpecError(f"every value of {self.name} must set it; got {_setting_text(self.name, setting)}")
        counts = Counter(tuple(setting.items()) for setting in self.settings)
        if twice := [items for items, count in counts.items() if count > 1]:
            raise SpecError(
                f"the values of {self.name} must differ; got {_setting_text(self.name, dict(twice[0]))} twice"
            )

    @property
    def settings(self) -> tuple[dict[str, Any], ...]:
        """Each value as the fields that it sets."""
        return tuple(dict(v) if isinstance(v, Mapping) else {self.name: v} for v in self.values)

    @property
    def fields(self) -> tuple[str, ...]:
        """All that any of the values sets."""
        return tuple(dict.fromkeys(name for setting in self.settings for name in setting))


@dataclass(frozen=True)
class Grid:
    """Trials that answer one question. Raises SpecError where two axes of a part set the same field."""

    name: str
    purpose: str
    parts: tuple[tuple[Axis, ...], ...]
    """The trials of a part are all combinations of the values of its axes. A grid has several where one would be full
    of trials that cost much and say little."""
    diagnostics: bool = False
    """Record what the gradients do and how far heads are from their optimum, unless the command line says otherwise."""

    def __post_init__(self) -> None:
        for axes in self.parts:
            setters = Counter(name for axis in axes for name in axis.fields)
            if twice := [name for name, count in setters.items() if count > 1]:
                raise SpecError(f"a field is on one axis; got {twice[0]} on {setters[twice[0]]}")

    @property
    def size(self) -> int:
        """Combinations: trials, if all are possible and no two parts share any."""
        return sum(math.prod(len(axis.values) for axis in axes) for axes in self.parts)


@dataclass(frozen=True)
class Possible:
    """The trials that can be, without repetitions, and how many combinations broke which rule."""

    specs: tuple[TrialSpec, ...]
    skipped: Counter[str]


def fixed(**fields: Any) -> tuple[Axis, ...]:
    return tuple(Axis(name, (value,), "fixed") for name, value in fields.items())


def overridden(grid: Grid, overrides: Mapping[str, Sequence[Any]]) -> Grid:
    """Return the grid with the values that `overrides` (field -> values) sets, in place of its own or beside them.

    Of an axis that bears the field's name and has such a value, it keeps what changes together with that value:
    with backbone=VGG16, VGG16's own depths. Anything else that the grid says about the field is dropped.
    """
    return replace(grid, parts=tuple(_overridden_part(axes, overrides) for axes in grid.parts))


def _overridden_part(axes: Sequence[Axis], overrides: Mapping[str, Sequence[Any]]) -> tuple[Axis, ...]:
    changed = [new for axis in axes if (new := _overridden_axis(axis, overrides))]
    names = {axis.name for axis in axes}
    added = [
        Axis(name, tuple(dict.fromkeys(values)), _role([a for a in axes if name in a.fields], len(set(values))))
        for name, values in overrides.items()
        if name not in names
    ]
    return (*added, *changed)


def _overridden_axis(axis: Axis, overrides: Mapping[str, Sequence[Any]]) -> Axis | None:
    if overrides.keys().isdisjoint(axis.fields):
        return axis
    settings: Iterable[dict[str, Any]] = axis.settings
    if axis.name in overrides:
        settings = [new for value in overrides[axis.name] for new in _with_value(axis, value)]
    dropped = overrides.keys() - {axis.name}
    kept = [{name: value for name, value in setting.items() if name not in dropped} for setting in settings]
    return _axis_of(axis, kept)


def _with_value(axis: Axis, value: Any) -> list[dict[str, Any]]:
    """Return the axis's settings that have the value already; where there are none, all its settings with it."""
    own = [setting for setting in axis.settings if setting[axis.name] == value]
    return own or [{**setting, axis.name: value} for setting in axis.settings]


def _axis_of(axis: Axis, settings: Iterable[Mapping[str, Any]]) -> Axis | None:
    """Return the axis with these settings, each once, without any that sets nothing; None where none is left.

    Of a grid's cures, a clipped gradient is no cure beside the others once all trials have it."""
    unique = [dict(items) for items in dict.fromkeys(tuple(setting.items()) for setting in settings) if items]
    if not unique:
        return None
    values = tuple(s[axis.name] if s.keys() == {axis.name} else s for s in unique)
    return Axis(axis.name, values, _role([axis], len(values)))


def _role(before: Sequence[Axis], num_values: int) -> Role:
    """Return the role of an axis with new values: what it was; scientific where it was fixed, or was none, and now
    varies."""
    if num_values == 1:
        return "fixed"
    return before[0].role if before and before[0].role != "fixed" else "scientific"


def repeated(grid: Grid, num_seeds: int) -> Grid:
    """Return the grid with `num_seeds` seeds counted up from each of its own; from 0 where it names none."""
    return replace(grid, parts=tuple(_seeded(axes, num_seeds) for axes in grid.parts))


def _seeded(axes: tuple[Axis, ...], num_seeds: int) -> tuple[Axis, ...]:
    if num_seeds == 1:
        return axes
    if not any("seed" in axis.fields for axis in axes):
        return (Axis("seed", tuple(range(num_seeds)), "nuisance"), *axes)
    return tuple(_counted_up(axis, num_seeds) if "seed" in axis.fields else axis for axis in axes)


def _counted_up(axis: Axis, num_seeds: int) -> Axis:
    settings = [{**s, "seed": s.get("seed", 0) + i} for s in axis.settings for i in range(num_seeds)]
    changed = _axis_of(replace(axis, role="nuisance") if axis.role == "fixed" else axis, settings)
    return changed or axis


def folded(grid: Grid, num_folds: int) -> Grid:
    """Return the grid with each trial once for each of `num_folds` folds, each of which is the test part once; the grid
    itself for 0. Raises SpecError where the grid has folds of its own."""
    if not num_folds:
        return grid
    if own := [axis.name for axes in grid.parts for axis in axes if set(axis.fields) & set(FOLD_FIELDS)]:
        raise SpecError(
            f"--folds sets num_folds and fold; grid {grid.name} sets {own[0]} too: leave out one of the two"
        )
    folds = Axis("fold", tuple(range(num_folds)), "nuisance")
    return replace(grid, parts=tuple((*fixed(num_folds=num_folds), folds, *axes) for axes in grid.parts))


def with_one_seed(grid: Grid) -> Grid:
    """Drop the trials that only seeds tell from others: no network, and no rule, depends on a seed."""

    def first(axis: Axis) -> Axis:
        return replace(axis, values=axis.values[:1]) if set(axis.fields) <= SEEDS else axis

    return replace(grid, parts=tuple(tuple(map(first, axes)) for axes in grid.parts))


def check_size(grid: Grid, yes: bool) -> None:
    """Raise SpecError for more than MAX_UNASKED trials, unless `yes`. Builds none of them."""
    if grid.size <= MAX_UNASKED or yes:
        return
    products = [" x ".join(f"{a.name} {len(a.values):,}" for a in axes if a.role != "fixed") for axes in grid.parts]
    raise SpecError(
        f"a grid of more than {MAX_UNASKED:,} trials wants --yes; {grid.name} has {grid.size:,} "
        f"({' + '.join(filter(None, products))}). Add --yes to run them all, or give an axis fewer values"
    )


def expand(grid: Grid, base: TrialSpec) -> Possible:
    """Return the trials of the grid: `base` with the values of each combination. Raises SpecError where none is
    possible."""
    return possible(_combinations(grid), lambda setting: _changed(base, setting))


def _combinations(grid: Grid) -> Iterator[dict[str, Any]]:
    for axes in grid.parts:
        for settings in itertools.product(*(axis.settings for axis in axes)):
            yield {name: value for setting in settings for name, value in setting.items()}


def _changed(spec: TrialSpec, setting: Mapping[str, Any]) -> TrialSpec:
    return spec.replace(**setting, **({"weights_requested": setting["weights"]} if "weights" in setting else {}))


def possible(candidates: Iterable[T], build: Callable[[T], TrialSpec]) -> Possible:
    """Return what `build` makes of the candidates. Those for which it raises SpecError are counted, by the rule they
    break.

    A value that is wrong by itself is refused where it is read; what is left is values that do not go together. Where
    no candidate is possible, raises SpecError.
    """
    specs: dict[TrialSpec, None] = {}
    skipped: Counter[str] = Counter()
    reason = "there is none"
    for candidate in candidates:
        try:
            specs[build(candidate)] = None
        except SpecError as error:
            reason = str(error)
            skipped[reason.partition("; got ")[0]] += 1
    if not specs:
        raise SpecError(f"at least one of the grid's {_combination(skipped.total())} must be possible: {reason}")
    return Possible(tuple(specs), skipped)


def skip_notes(skipped: Mapping[str, int]) -> list[str]:
    """Return a line a rule, for people."""
    return [f"{_combination(count)} skipped: {rule}" for rule, count in skipped.items()]


def _combination(count: int) -> str:
    return "1 combination" if count == 1 else f"{count:,} combinations"


def describe(grid: Grid) -> list[str]:
    """Return the axes, a line each, for people: role, name, values."""
    lines = []
    for number, axes in enumerate(grid.parts, start=1):
        size = _combination(replace(grid, parts=(axes,)).size)
        lines.append(f"part {number} of {len(grid.parts)}: {size}" if len(grid.parts) > 1 else size)
        width = max((len(axis.name) for axis in axes), default=0)
        lines += [f"  {axis.role:10}  {axis.name:{width}}  {values_text(axis)}" for axis in axes]
    return lines


def values_text(axis: Axis) -> str:
    """
    >>> values_text(Axis("optimizer", ("adam", {"optimizer": "sgd", "momentum": 0.9}), "scientific"))
    'adam, sgd (momentum 0.9)'
    """
    if any(axis.name not in setting for setting in axis.settings):
        return _joined([_setting_text(axis.name, setting) for setting in axis.settings])
    by_value: dict[Any, list[dict[str, Any]]] = defaultdict(list)
    for setting in axis.settings:
        by_value[setting[axis.name]].append(setting)
    texts = []
    for own, same in by_value.items():
        names = dict.fromkeys(name for setting in same for name in setting if name != axis.name)
        tied = [f"{name} {'/'.join(dict.fromkeys(_text(s.get(name, 'as is')) for s in same))}" for name in names]
        texts.append(f"{_text(own)} ({', '.join(tied)})" if tied else _text(own))
    return _joined(texts)


def _joined(texts: Sequence[str]) -> str:
    if len(texts) <= MAX_VALUES:
        return ", ".join(texts)
    return f"{', '.join(texts[: MAX_VALUES - 1])}, ..., {texts[-1]} ({len(texts):,} values)"


def _setting_text(name: str, setting: Mapping[str, Any]) -> str:
    if setting.keys() == {name}:
        return _text(setting[name])
    return f"({', '.join(f'{field} {_text(value)}' for field, value in setting.items())})"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else f"{value:g}" if isinstance(value, float) else json.dumps(value)


def parse_value(name: str, text: str) -> Any:
    """Return the value of a field that a user may set, from `text`; raises SpecError."""
    if name in SET_BY_SWEEP:
        raise SpecError(f"'{name}' cannot be set: a sweep finds it out. {WHERE_FIELDS_ARE} says which fields can")
    if len(text) > MAX_LETTERS:
        raise SpecError(f"a value has at most {MAX_LETTERS} letters or digits; got {len(text)} for {name}")
    value = parse_field(name, text)
    if name == "backbone":
        backbone_named(value)
    return value
