"""What several networks know together: ensembles of seeds, and of networks, on the test part.

    sections(networks)

The probabilities of the members are averaged, and the most probable class is the answer (Lakshminarayanan, Pritzel and
Blundell 2017, NeurIPS). What is chosen, is chosen by the validation part: which setting of each backbone, which
ensemble, and the single network that it is compared with. Where no validation part was watched nothing is chosen: then
only ensembles that are fixed beforehand are shown, all seeds of a setting and all networks of one way of training. All
are of one split: scores on different validation images choose nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from analysis.report.sections import Listing, Section
from analysis.statistics.intervals import Pairs, Share
from analysis.trials.comparable import WEIGHTS
from analysis.trials.repeats import Networks, Repeats, best_of_backbones
from galaxytl.results.predictions import Probabilities
from galaxytl.results.ranking import validation_accuracy
from galaxytl.trial import SPEC_FIELDS, TrialResult, TrialSpec

MOST_MEMBERS_NAMED: Final = 4
NOTHING: Final = "-"


@dataclass(frozen=True, eq=False)
class Ensemble:
    """`members` are of the same test images; `validation` is what it has right of the validation part, where every
    member's probabilities of that are stored."""

    name: str
    members: tuple[TrialResult, ...]
    test: Probabilities
    validation: float | None = None

    @property
    def right(self) -> NDArray[np.bool_]:
        return self.test.right

    @property
    def share(self) -> Share:
        return Share(int(np.count_nonzero(self.right)), len(self.right))


def mean_probabilities(members: Sequence[Probabilities]) -> Probabilities:
    """Return the mean of the members' probabilities, which must be of the same images and classes."""
    total = members[0].values.astype(np.float64)
    for one in members[1:]:
        total += one.values
    return replace(members[0], values=total / len(members))


def ensembles(networks: Networks) -> list[Ensemble]:
    """Return all that can be made: of the seeds of each setting, then of several networks."""
    shown = [own for own in networks.shown if own in networks.of_one_split]
    sets = [*_of_seeds(shown), *_of_best(networks), *_of_networks(shown)]
    found: dict[frozenset[str], Ensemble] = {}
    for name, members in sets:
        there = [r for r in members if r.trial_id in networks.probabilities]
        for own in _of_the_same_images(there, networks):
            key = frozenset(r.trial_id for r in own)
            if len(own) > 1 and len(own) == len(members) and key not in found:
                found[key] = _ensemble(name, own, networks)
    return list(found.values())


def _of_seeds(shown: Iterable[Repeats]) -> Iterator[tuple[str, tuple[TrialResult, ...]]]:
    for own in shown:
        yield f"{own.name}: its {len(own.results)} seeds", own.results


def _of_best(networks: Networks) -> Iterator[tuple[str, tuple[TrialResult, ...]]]:
    """Yield every backbone's best setting by the validation part, with all seeds."""
    best = best_of_backbones(networks.of_one_split)
    if len(best) > 1:
        yield (
            f"the best setting of each of {len(best)} backbones by the validation part: {_names(best)}",
            tuple(r for own in best for r in own.results),
        )


def _of_networks(shown: Iterable[Repeats]) -> Iterator[tuple[str, tuple[TrialResult, ...]]]:
    """Yield, of each way of training that several backbones have: all of them, with all seeds."""
    groups: dict[tuple[Any, ...], list[Repeats]] = {}
    for own in shown:
        groups.setdefault(_but_backbone(own.spec), []).append(own)
    for group in groups.values():
        if len({own.spec.backbone for own in group}) == len(group) > 1:
            members = tuple(r for own in group for r in own.results)
            yield f"{len(group)} backbones that are trained alike: {_names(group)}", members


def _but_backbone(spec: TrialSpec) -> tuple[Any, ...]:
    apart = {"seed", "backbone", "weights", "weights_fingerprint"} & {*SPEC_FIELDS, *WEIGHTS}
    return tuple(getattr(spec, name) for name in SPEC_FIELDS if name not in apart)


def _names(settings: Sequence[Repeats]) -> str:
    named = "; ".join(own.name for own in settings[:MOST_MEMBERS_NAMED])
    further = len(settings) - MOST_MEMBERS_NAMED
    return f"{named}; and {further} more" if further > 0 else named


def _of_the_same_images(results: Sequence[TrialResult], networks: Networks) -> list[list[TrialResult]]:
    groups: list[list[TrialResult]] = []
    for result in results:
        own = networks.probabilities[result.trial_id]
        for group in groups:
            other = networks.probabilities[group[0].trial_id]
            if own.has_images_of(other) and own.values.shape == other.values.shape:
                group.append(result)
                break
        else:
            groups.append([result])
    return groups


def _ensemble(name: str, members: Sequence[TrialResult], networks: Networks) -> Ensemble:
    test = mean_probabilities([networks.probabilities[r.trial_id] for r in members])
    beside = [networks.validation[r.trial_id] for r in members if r.trial_id in networks.validation]
    same = len(beside) == len(members) and all(one.has_images_of(beside[0]) for one in beside)
    return Ensemble(name, tuple(members), test, float(mean_probabilities(beside).right.mean()) if same else None)


def best_single(networks: Networks) -> TrialResult | None:
    """Return the trial with the highest validation accuracy after its last epoch, of equally good ones the first by its
    id; None where any trial that could be it watched no validation part: the test part must not choose."""
    candidates = [r for own in networks.of_one_split for r in own.results]
    scores = {r.trial_id: validation_accuracy(r) for r in candidates}
    if not candidates or any(score is None for score in scores.values()):
        return None
    return max(sorted(candidates, key=lambda r: r.trial_id), key=lambda r: scores[r.trial_id] or 0.0)


def chosen_of(found: Sequence[Ensemble]) -> Ensemble | None:
    """Return the ensemble with the highest validation accuracy, of equally good ones that of fewer members; None where
    one has none."""
    if not found or any(own.validation is None for own in found):
        return None
    return max(found, key=lambda own: (own.validation or 0.0, -len(own.members)))


def sections(networks: Networks) -> list[Section]:
    """Return the section; none where no ensemble can be made."""
    found = ensembles(networks)
    if not found:
        return []
    best = best_single(networks)
    single = best if best and best.trial_id in networks.probabilities else None
    headings = (
        "Ensemble",
        "Networks",
        "Validation",
        "Accuracy on the test part",
        "Mean member",
        "Minus the best single",
    )
    rows = tuple(_row(own, single, networks) for own in found)
    sentences = (*_about(found, best, networks), *networks.problems)
    return [
        Section("Ensembles: what several networks know together", Listing(headings, rows, {1, 2, 3, 4, 5}), sentences)
    ]


def _row(own: Ensemble, single: TrialResult | None, networks: Networks) -> tuple[str, ...]:
    members = np.mean([networks.probabilities[r.trial_id].right.mean() for r in own.members])
    validation = NOTHING if own.validation is None else f"{own.validation:.3f}"
    return own.name, str(len(own.members)), validation, own.share.text, f"{members:.3f}", _gain(own, single, networks)


def _gain(own: Ensemble, single: TrialResult | None, networks: Networks) -> str:
    """Return the gain of the ensemble over the best single network, image by image."""
    other = networks.probabilities[single.trial_id] if single else None
    if other is None or not own.test.has_images_of(other):
        return NOTHING
    pairs = Pairs.of(own.right, other.right)
    return f"{own.share.value - float(other.right.mean()):+.3f} [{pairs.interval}]"


def _on_the_test_part(single: TrialResult, networks: Networks) -> str:
    own = networks.probabilities.get(single.trial_id)
    if own is None:
        return "whose probabilities were not read: no ensemble is compared with it"
    share = Share(int(own.right.sum()), len(own.right))
    return f"with {share.text} on the test part"


def _about(found: Sequence[Ensemble], single: TrialResult | None, networks: Networks) -> Iterator[str]:
    yield (
        "An ensemble's probabilities are the mean of its networks'. In brackets: 95 % intervals over the test images"
        " (Wilson 1927; of a difference, image by image, Newcombe 1998). They are of these trained networks: other"
        " seeds would give others."
    )
    if single:
        name = f"trial {single.trial_id} ({single.spec.backbone}, seed {single.spec.seed})"
        yield f"The best single network by the validation part is {name}, {_on_the_test_part(single, networks)}."
    else:
        yield (
            "No best single network is named: not every trial watched a validation part, and one that the test part"
            " chooses looks better there than it is."
        )
    left_out = len(networks.settings) - len(networks.of_one_split)
    if left_out:
        what = (
            "1 setting with another split or number of images is"
            if left_out == 1
            else (f"{left_out} settings with other splits or numbers of images are")
        )
        yield f"{what} not in it."
    chosen = chosen_of(found)
    if chosen:
        yield (
            f"Of {len(found)} ensembles the validation part chooses this one: {chosen.name}. On the test part it has"
            f" {chosen.share.text}."
        )
    else:
        yield "No ensemble is chosen: not all of them have probabilities of a validation part."
