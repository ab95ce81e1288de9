"""A plan as tables for the terminal before a run, and beside what happened after it.

    console.print(plan_table(plan))
    console.print(comparison(plan, results, wall_seconds))

A row stands for all groups, or prefixes, of one kind, so that a thousand trials still make a short table. Units:
multiply-adds in k, M, G, T, P, E (powers of 1000), bytes in kB, MB, GB, TB (likewise).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import Final, NamedTuple, TypeVar

from rich import box
from rich.console import Group as Lines
from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table

from galaxytl.learning.job import Group
from galaxytl.networks.families import is_features
from galaxytl.trial import COMPLETE, TrialResult, TrialSpec
from sweep.planning.costs import Cost
from sweep.planning.durations import duration, duration_range
from sweep.planning.plan import Plan
from sweep.planning.sharing import Prefix

TIGHT: Final = box.Box("    \n    \n ── \n    \n    \n    \n    \n    \n")
"""One space between columns; a rule below the headings."""
MAX_ROWS: Final = 20
"""Of a table; what is beyond them is added up in one more row."""

T = TypeVar("T")


def plan_table(plan: Plan) -> RenderableType:
    """Return what will be run, what is stored for it, and what it costs."""
    if not plan.groups:
        return "Plan: nothing to run"
    parts: list[RenderableType] = [_groups_table(plan), ""]
    if plan.prefixes:
        parts += [_prefixes_table(plan.prefixes), ""]
    return Lines(*parts, *_estimate_lines(plan), *_footnotes(plan))


def comparison(plan: Plan, results: Sequence[TrialResult], wall_seconds: float) -> RenderableType:
    """Return multiply-adds and seconds of `plan` beside those of the run. results: of that run alone, failed ones
    included."""
    planned = sum(len(group.specs) for group in plan.groups)
    complete = sum(result.status == COMPLETE for result in results)
    title = f"Estimated and happened: {complete:,} of {planned:,} trials complete"
    table = _table(title, [""], ["estimated", "happened", "ratio"])
    for row in _compared(plan, results, wall_seconds):
        ratio = f"{row.happened / row.estimated:.2f}" if row.estimated else ""
        table.add_row(row.name, row.text(row.estimated), row.text(row.happened), ratio)
    likely = duration_range(plan.estimate.low, plan.estimate.high)
    return Lines(table, f"Estimated in all: {likely}; {escape(plan.speeds.source)}.")


def quantity(value: float) -> str:
    """
    >>> quantity(1.234e12), quantity(56), quantity(0)
    ('1.23 T', '56', '0')
    """
    prefixes = iter(("", "k", "M", "G", "T", "P", "E"))
    prefix = next(prefixes)
    while value >= 999.5 and prefix != "E":
        value, prefix = value / 1000, next(prefixes)
    digits = 0 if not prefix or value >= 99.95 else 1 if value >= 9.995 else 2
    return f"{value:.{digits}f} {prefix}".strip()


def byte_quantity(value: float) -> str:
    """
    >>> byte_quantity(1.8e9), byte_quantity(0)
    ('1.80 GB', '0 B')
    """
    number, _, prefix = quantity(value).partition(" ")
    return f"{number} {prefix}B"


class _Costed(NamedTuple):
    group: Group
    cost: Cost


def _groups_table(plan: Plan) -> Table:
    trials = sum(len(group.specs) for group in plan.groups)
    title = f"Plan: {_number(trials, 'trial')} in {_number(len(plan.groups), 'group')}"
    texts = ["backbone", "px", "weights", "trained\nblocks", "reads"]
    table = _table(title, texts, ["trials", "groups", "multiply\nadds", "worker\ntime"])
    pairs = [_Costed(group, cost) for group, cost in zip(plan.groups, plan.costs, strict=True)]
    for name, same in _collapsed(pairs, lambda pair: (*_network(pair.group.specs[0]), *_use(pair.group))):
        numbers = (f"{sum(len(pair.group.specs) for pair in same):,}", f"{len(same):,}")
        work = quantity(sum(pair.cost.multiply_adds for pair in same))
        table.add_row(*_cells(name, len(texts)), *numbers, work, duration(sum(pair.cost.seconds for pair in same)))
    return table


def _prefixes_table(prefixes: Sequence[Prefix]) -> Table:
    texts = ["backbone", "px", "weights", "stored"]
    title = f"Stored activations: {_number(len(prefixes), 'prefix', 'prefixes')}"
    table = _table(title, texts, ["trials", "count", "size", "multiply\nadds", "time"])
    for name, same in _collapsed(prefixes, lambda p: (*_network(p.spec), _stored_name(p), p.on_disk)):
        numbers = (f"{sum(prefix.users for prefix in same):,}", f"{len(same):,}")
        size = byte_quantity(sum(prefix.bytes for prefix in same))
        work = quantity(sum(prefix.multiply_adds for prefix in same))
        time = "on disk" if all(p.on_disk for p in same) else duration(sum(prefix.seconds for prefix in same))
        table.add_row(*_cells(name, len(texts)), *numbers, size, work, time)
    return table


def _estimate_lines(plan: Plan) -> Iterator[str]:
    estimate = plan.estimate
    saved = f"{estimate.unshared / estimate.multiply_adds:.3g} x as many" if estimate.multiply_adds else "as many"
    yield f"Multiply-adds  {quantity(estimate.multiply_adds)}; without sharing {quantity(estimate.unshared)}: {saved}"
    yield f"               at least {quantity(estimate.minimal)}: every frozen block once for every image"
    if plan.prefixes:
        there = sum(prefix.bytes for prefix in plan.prefixes if prefix.on_disk)
        size = sum(prefix.bytes for prefix in plan.prefixes)
        yield f"Disk           {byte_quantity(size)} of activations, {byte_quantity(there)} of it there already"
    workers = _number(max(1, plan.workers), "worker")
    yield f"Time           about {duration_range(estimate.low, estimate.high)} with {workers}"
    yield f"               {escape(plan.speeds.source)}"


def _footnotes(plan: Plan) -> list[str]:
    label = next((spec.weights_label for group in plan.groups for spec in group.specs if spec.is_substituted), "")
    notes = [f"* {label}"] if label else []
    if live := sum(len(group.specs) for group in plan.groups if group.specs[0].views and not group.stored):
        why = "there is no room for them, or it takes less time"
        notes.append(f"Views of {_number(live, 'trial')} are made in each epoch, not stored: {why}")
    return notes


class _Row(NamedTuple):
    name: str
    estimated: float
    happened: float
    text: Callable[[float], str]


def _compared(plan: Plan, results: Sequence[TrialResult], wall_seconds: float) -> list[_Row]:
    storing = sum(prefix.multiply_adds for prefix in plan.prefixes)
    training = sum(cost.multiply_adds for cost in plan.costs)
    stored = sum(result.multiply_adds.get("features", 0.0) for result in results)
    trained = sum(sum(result.multiply_adds.values()) for result in results) - stored
    busy = sum(prefix.seconds for prefix in plan.prefixes) + sum(cost.seconds for cost in plan.costs)
    total = sum(result.timings.get("total", 0.0) for result in results)
    return [
        _Row("multiply-adds, stored activations", storing, stored, quantity),
        _Row("multiply-adds, training and test", training, trained, quantity),
        _Row("time of workers", busy, total, duration),
        _Row("time in all", plan.estimate.seconds, wall_seconds, duration),
    ]


def _table(title: str, texts: Sequence[str], numbers: Iterable[str]) -> Table:
    """Return an empty table for 80 columns and more: where they are too few, the texts of the first column are broken,
    and never a number."""
    table = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=TIGHT,
        show_edge=False,
        padding=0,
        pad_edge=False,
    )
    for name in texts:
        table.add_column(name, no_wrap=name != texts[0], overflow="fold")
    for name in numbers:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _collapsed(items: Iterable[T], kind: Callable[[T], Hashable]) -> list[tuple[Hashable, list[T]]]:
    """Group items by kind, in the order of each one's first; those of kinds beyond MAX_ROWS together, under a count."""
    found: dict[Hashable, list[T]] = defaultdict(list)
    for item in items:
        found[kind(item)].append(item)
    rows = list(found.items())
    if len(rows) <= MAX_ROWS:
        return rows
    rest = [item for _, same in rows[MAX_ROWS:] for item in same]
    return [*rows[:MAX_ROWS], (f"{len(rows) - MAX_ROWS:,} more kinds", rest)]


def _cells(name: Hashable, number: int) -> list[str]:
    """Return the texts of a row: those of its kind, or the count of kinds and blanks."""
    texts = name[:number] if isinstance(name, tuple) else (name, *[""] * (number - 1))
    return [escape(str(text)) for text in texts]


def _network(spec: TrialSpec) -> tuple[str, ...]:
    backbone = spec.backbone if spec.precision == "float32" else f"{spec.backbone} {spec.precision}"
    return backbone, str(spec.image_size), "random *" if spec.is_substituted else spec.weights_label


def _use(group: Group) -> tuple[str, str]:
    depth = group.specs[0].unfrozen_blocks
    source = "features" if is_features(group.specs[0].backbone) else "images"
    return "head" if depth == 0 else str(depth), _cut_name(group.stored[-1]) if group.stored else source


def _stored_name(prefix: Prefix) -> str:
    views = prefix.spec.views
    return f"{_cut_name(prefix.cut)}, {_number(views, 'view')}" if views else _cut_name(prefix.cut)


def _cut_name(cut: int) -> str:
    """Return where in the backbone activations are: cuts count the blocks after them."""
    return f"cut {cut}" if cut else "output"


def _number(count: int, one: str, many: str = "") -> str:
    return f"{count:,} {one if count == 1 else many or one + 's'}"
