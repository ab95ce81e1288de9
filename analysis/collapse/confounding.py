"""What two groups of trials differ in besides their settings: versions of code, device, host, copy of the data.

    confounded(first, second)           # ("keras (3.15.1 against 3.16.0)",): no value of it is shared
    uneven(first, second)               # ("host",): shared, but spread unlike over the two
    not_recorded(first, second)         # ("galaxytl",): trials of an earlier version do not say it
    varying(trials)                     # {"keras": ("3.15.1", "3.16.0")}

A factor is all that a trial's environment names, and the dataset's name and the precision. Where a factor has no value
that both groups share, whatever they differ in may be its doing. Hosts are an exception where every trial has one of
its own, as a pod of a cluster has: such a host says no more than the seed does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Final

from analysis.statistics.strata import association
from analysis.statistics.texts import listed
from galaxytl.trial import DAMAGE, TrialResult

HOST: Final = "host"
NAMES: Final[Mapping[str, str]] = {"keras_backend": "Keras's backend", DAMAGE: "damage of the data"}
"""Of factors whose key is no word that a reader knows."""
UNEVEN_LEVEL: Final = 0.1
"""P-value of independence of factor and group from which on a factor counts as evenly spread. A factor that is the
whole cause of a difference goes with the groups at least as closely as the difference does (Cornfield and others 1959,
Journal of the National Cancer Institute 22, 173), and that has a p-value well below this."""
MOST_VALUES: Final = 3


def factors_of(result: TrialResult) -> dict[str, str]:
    """Return what a trial was computed with and on, by name; what is not recorded is left out."""
    environment = {name: value for name, value in result.environment.items() if value}
    if environment:
        environment.setdefault(DAMAGE, "none")
    return {"dataset": result.spec.dataset, "precision": result.spec.precision, **environment}


def confounded(
    first: Sequence[TrialResult], second: Sequence[TrialResult], but: Collection[str] = ()
) -> tuple[str, ...]:
    """Return every factor of which the two groups share no value, with the values of both, in a phrase each; `but` are
    those whose effect is the question."""
    phrases = []
    for name, (own, others) in _values(first, second).items():
        is_own_host = name == HOST and _all_differ([*own, *others])
        if own and others and not set(own) & set(others) and not is_own_host and name not in but:
            phrases.append(f"{NAMES.get(name, name)} ({_listed(own)} against {_listed(others)})")
    return tuple(phrases)


def uneven(first: Sequence[TrialResult], second: Sequence[TrialResult]) -> tuple[str, ...]:
    """Return the keys of the factors that share a value between the groups, and go with them more than chance would
    have it (test of independence, p-value at most UNEVEN_LEVEL)."""
    return tuple(
        name
        for name, (own, others) in _values(first, second).items()
        if set(own) & set(others) and len({*own, *others}) > 1 and association(own, others) <= UNEVEN_LEVEL
    )


def not_recorded(first: Sequence[TrialResult], second: Sequence[TrialResult]) -> tuple[str, ...]:
    """Return the names of the factors that some of the trials state and others do not."""
    numbers = {name: len(own) + len(others) for name, (own, others) in _values(first, second).items()}
    return tuple(NAMES.get(name, name) for name, number in numbers.items() if number < len(first) + len(second))


def varying(trials: Sequence[TrialResult]) -> dict[str, tuple[str, ...]]:
    """Return the values of every factor that has several among these trials, by its name for a reader."""
    found = {name: sorted(set(own)) for name, (own, _) in _values(trials, ()).items()}
    return {NAMES.get(name, name): tuple(values) for name, values in found.items() if len(values) > 1}


def _values(
    first: Sequence[TrialResult], second: Sequence[TrialResult]
) -> dict[str, tuple[tuple[str, ...], tuple[str, ...]]]:
    """Return the key of each factor -> its values in each group, of the trials that state it."""
    if _are_alike([*first, *second]):
        return {}
    groups = tuple([factors_of(result) for result in group] for group in (first, second))
    names = sorted({name for group in groups for factors in group for name in factors})
    own, others = groups
    return {name: (_of(name, own), _of(name, others)) for name in names}


def _are_alike(trials: Sequence[TrialResult]) -> bool:
    """Return whether all say the same: mostly so, and soon known."""
    facts = [(r.spec.dataset, r.spec.precision, r.environment) for r in trials]
    return all(one == facts[0] for one in facts)


def _of(name: str, group: Sequence[Mapping[str, str]]) -> tuple[str, ...]:
    return tuple(factors[name] for factors in group if name in factors)


def _all_differ(values: Sequence[str]) -> bool:
    return len(set(values)) == len(values)


def _listed(values: Sequence[str]) -> str:
    """List the values, the commonest first.

    >>> _listed(["a", "b", "b"]), _listed(["a", "b", "c", "d", "e"])
    ('b and a', 'a, b, c and 2 more')
    """
    counts = Counter(values)
    names = sorted(counts, key=lambda value: (-counts[value], value))
    if len(names) > MOST_VALUES:
        names = [*names[:MOST_VALUES], f"{len(names) - MOST_VALUES} more"]
    return listed(names)
