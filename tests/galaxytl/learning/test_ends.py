"""Trials that end before their last epoch: those that the watcher stops, and collapsed ones. PRUNED rows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from galaxytl.learning.callbacks import Watcher
from galaxytl.learning.examples import Examples
from galaxytl.learning.fit_heads import fit_heads
from galaxytl.learning.fit_network import fit
from galaxytl.learning.groups import Collapses
from galaxytl.learning.job import Group, Pruned
from galaxytl.results import collapse
from galaxytl.results.checkpoints import Epoch
from galaxytl.trial import COMPLETE, PRUNED, TrialSpec
from tests.galaxytl.learning.test_fit_heads import (
    BASE,
    SPECS,
    assert_equal,
    fit_alone,
    make_examples,
    one_layer,
    skewed_examples,
)
from tests.galaxytl.trials import Stopped, curves, fails_after, run, run_all, tiny_spec, watching


def end_after(epoch: int, ended: TrialSpec, told: list[tuple[str, float]] | None = None) -> Watcher:
    """Ends one head where it has so many epochs. Notes (trial_id, epoch) of what it is told."""

    def ends(histories: Mapping[str, list[Epoch]]) -> dict[str, str]:
        return {
            trial_id: "enough" for trial_id, h in histories.items() if (trial_id, len(h)) == (ended.trial_id, epoch)
        }

    def listen(latest: dict[str, Epoch]) -> None:
        if told is not None:
            told.extend((trial_id, one["epoch"]) for trial_id, one in latest.items())

    return watching(epoch=listen, ends=ends)


def test_a_head_that_is_ended_leaves_and_the_others_end_as_alone(tmp_path: Path) -> None:
    told: list[tuple[str, float]] = []
    group = fit_heads(SPECS, make_examples(), tmp_path, end_after(2, SPECS[1], told))
    assert [head.pruned for head in group] == [None, "enough", None]
    ids = [spec.trial_id for spec in SPECS]
    assert told == [(i, epoch) for epoch in (1, 2) for i in ids] + [(i, epoch) for epoch in (3, 4) for i in ids[::2]]
    assert curves(group[1].history) == pytest.approx(curves(fit_alone(SPECS[1], tmp_path).history[:2]), abs=1e-5)
    for head in group[::2]:
        assert_equal(head, fit_alone(head.spec, tmp_path))


def test_of_a_head_that_has_its_last_epoch_nothing_is_asked(tmp_path: Path) -> None:
    (head,) = fit_heads(SPECS[:1], make_examples(), tmp_path, end_after(4, SPECS[0]))
    assert (head.pruned, len(head.history)) == (None, 4)


def test_a_head_that_goes_on_beyond_its_end_ends_before_it_trains(tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        fit_heads(SPECS, make_examples(), tmp_path, fails_after(2, Stopped()))
    told: list[tuple[str, float]] = []
    group = fit_heads(SPECS, make_examples(), tmp_path, end_after(2, SPECS[1], told))
    assert group[1].pruned == "enough"
    assert len(group[1].history) == 2
    assert told == [(SPECS[i].trial_id, epoch) for epoch in (3, 4) for i in (0, 2)]


def test_a_head_that_waits_further_on_is_ended_there(tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        fit_heads(SPECS[:1], make_examples(), tmp_path, fails_after(3, Stopped()))
    asked: list[list[int]] = []

    def ends(histories: Mapping[str, list[Epoch]]) -> dict[str, str]:
        asked.append([len(histories.get(spec.trial_id, ())) for spec in SPECS])
        return {SPECS[0].trial_id: "enough"} if asked[-1][:2] == [3, 1] else {}

    group = fit_heads(SPECS, make_examples(), tmp_path, watching(ends=ends))
    assert asked[:3] == [[3, 0, 0], [3, 1, 1], [0, 2, 2]]
    assert group[0].pruned == "enough"
    for head in group[1:]:
        assert_equal(head, fit_alone(head.spec, tmp_path))


def ends_of(specs: list[TrialSpec], examples: Examples, stop_collapsed: int) -> Watcher:
    """As a group of trials asks."""
    return watching(ends=Collapses(Group(tuple(specs), (0,), stop_collapsed), examples))


def blind(examples: Examples) -> Examples:
    """The same without anything to see: only the bias can learn."""
    return Examples(np.zeros_like(examples.inputs), examples.labels, examples.train, examples.watched, examples.scored)


def test_a_head_that_only_learns_the_classes_shares_is_ended_as_collapsed(tmp_path: Path) -> None:
    """With class weights too, where the best answer that is the same for all is another one."""
    examples = blind(skewed_examples())
    specs = [
        BASE.replace(learning_rate=0.02, class_weighting=weighting, num_epochs=40) for weighting in ("none", "balanced")
    ]
    specs.append(specs[0].replace(learning_rate=1e-6))  # names one class, but its loss is that of no answer yet
    specs.append(specs[0].replace(focal_gamma=2.0, label_smoothing=0.2))
    plain, balanced, slow, shaped = fit_heads(specs, examples, tmp_path / "3", ends_of(specs, examples, 3))
    labels = examples.labels[examples.train]
    shares = np.bincount(labels, minlength=10)[examples.labels[examples.watched]] / len(labels)
    loss = -np.log(shares).mean()
    answer = collapse.best_answer(np.bincount(labels, minlength=10) / len(labels), 0.2, 2.0)
    of_shaped = -np.log(answer)[examples.labels[examples.watched]].mean()
    for head, ignoring in ((plain, loss), (balanced, np.log(10)), (shaped, of_shaped)):
        wanted = (
            f"collapsed: one class whatever the image, and the loss of ignoring it ({ignoring:.2f} nats), for 3 epochs"
        )
        assert head.pruned == f"{wanted} in a row"
        assert 3 <= len(head.history) < 40
        for epoch in head.history[-3:]:
            assert epoch["val_top_share"] == 1
            assert epoch["val_loss"] == pytest.approx(ignoring, abs=collapse.TOLERANCE)
    assert slow.pruned is None
    assert len(slow.history) == 40
    for head in fit_heads(SPECS, make_examples(), tmp_path / "learns", ends_of(SPECS, make_examples(), 1)):
        assert (head.pruned, len(head.history)) == (None, 4)
    unwatched = fit_heads(specs[:1], examples, tmp_path / "0", ends_of(specs, examples, 0))
    assert [len(head.history) for head in unwatched] == [40]


def test_a_network_that_is_ended_says_why_and_goes_on_from_there(tmp_path: Path) -> None:
    spec, examples, path = BASE, make_examples(), tmp_path / "checkpoint.npz"
    told: list[int] = []

    def listener(end: int) -> Watcher:
        return watching(
            epoch=lambda latest: told.append(latest[spec.trial_id]["epoch"]),
            ends=lambda histories: {i: "enough" for i, history in histories.items() if len(history) == end},
        )

    for _ in range(2):  # at the stop, and again at the start from its checkpoint
        with pytest.raises(Pruned, match="enough"):
            fit(one_layer(spec), spec, examples, path, listener(2))
        assert told == [1, 2]
    history = fit(one_layer(spec), spec, examples, path, listener(4))  # of its last epoch nothing is asked
    assert told == [1, 2, 3, 4]
    assert curves(history) == pytest.approx(curves(fit_alone(spec, tmp_path).history), abs=1e-5)


@pytest.mark.usefixtures("toy_backbone")
def test_a_stopped_head_is_a_pruned_row_and_the_others_are_complete(galaxies_file: Path, tmp_path: Path) -> None:
    spec = tiny_spec(galaxies_file)
    specs = [spec.replace(learning_rate=rate) for rate in (1e-4, 1e-3, 1e-2)]
    told: list[set[str]] = []
    reasons = {specs[1].trial_id: "worse than the others", specs[2].trial_id: "at its last epoch"}
    watcher = watching(
        epoch=lambda latest: told.append(set(latest)),
        ends=lambda histories: {i: reasons[i] for i in list(reasons)[: len(told)] if i in histories},
    )
    results = run_all(specs, galaxies_file, tmp_path / "fused", watcher)
    assert [result.status for result in results] == [COMPLETE, PRUNED, COMPLETE]
    assert [len(ids) for ids in told] == [3, 2]
    stopped = results[1]
    assert stopped.message == "worse than the others"
    assert len(stopped.history) == 1
    assert (stopped.metrics, stopped.confusion, stopped.probabilities) == ({}, (), "")
    assert stopped.num_images == {"train": 28, "validation": 0, "test": 12}
    assert stopped.environment == results[0].environment
    assert stopped.timings["train"] > 0
    assert not (tmp_path / "fused" / "probabilities" / f"{stopped.trial_id}.parquet").exists()
    alone = run(specs[2], galaxies_file, tmp_path / "alone")
    assert curves(results[2].history) == pytest.approx(curves(alone.history), rel=1e-5)
    assert results[2].metrics == pytest.approx(alone.metrics, rel=1e-5)


@pytest.mark.usefixtures("toy_backbone")
def test_a_collapsed_head_is_a_pruned_row(galaxies_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collapse, "CONSTANT_SHARE", 0.0)
    monkeypatch.setattr(collapse, "TOLERANCE", math.inf)  # every epoch counts
    spec = tiny_spec(galaxies_file).replace(num_epochs=3)
    for epochs, status in ((0, COMPLETE), (2, PRUNED), (3, COMPLETE)):  # after 3 its last epoch is done
        result = run(spec, galaxies_file, tmp_path / str(epochs), stop_collapsed=epochs)
        assert result.status == status, result.message
        assert len(result.history) == (2 if status == PRUNED else 3)
