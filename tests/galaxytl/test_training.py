"""Real, tiny trainings, of a network of three blocks on 40 made-up galaxies: the rows that `train` gives, whatever
happens. Each starts Keras, since what goes from one part of a training to the next is what breaks."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import keras
import numpy as np
import pyarrow.parquet as pq
import pytest

from galaxytl.data import DataError, Dataset, open_dataset, split_indices
from galaxytl.data.files.containers import ArraySource
from galaxytl.data.files.fingerprint import ContentHash
from galaxytl.learning import groups
from galaxytl.learning.examples import Examples
from galaxytl.learning.fit_network import Batches
from galaxytl.learning.job import Group, Workplace
from galaxytl.networks import device
from galaxytl.networks import weights as weights_module
from galaxytl.networks.families import BACKBONES
from galaxytl.networks.weights import Weights, find_weights
from galaxytl.results import mirror, storage
from galaxytl.results.checkpoints import checkpoint_path
from galaxytl.results.predictions import (
    Probabilities,
    ResultsFull,
    name_of,
    names_of,
    read_probabilities,
    store_probabilities,
)
from galaxytl.results.rows import row_line
from galaxytl.results.storage import Storage
from galaxytl.training import train
from galaxytl.trial import COMPLETE, FAILED, PRUNED, TrialResult, TrialSpec
from tests.clock import Clock
from tests.cluster.faults import fill, free
from tests.galaxies import real_sample, real_weights, write_hdf5
from tests.galaxytl import toy
from tests.galaxytl.trials import Stopped, curves, fails_after, run, tiny_spec, watching

pytestmark = pytest.mark.usefixtures("toy_backbone")


@pytest.fixture(scope="module")
def spec(galaxies_file: Path) -> TrialSpec:
    return tiny_spec(galaxies_file)


def test_a_frozen_trial_learns_and_its_row_is_complete(spec: TrialSpec, tmp_path: Path) -> None:
    phases: list[str] = []
    data = write_hdf5(tmp_path / "placed.h5", ra=np.arange(40.0), dec=np.zeros(40))  # else as `galaxies_file`
    result = run(
        spec.replace(num_epochs=30, learning_rate=1e-2, seed=77),  # no other test has stored this seed's activations
        data,
        tmp_path,
        watcher=watching(phase=lambda _, text: phases.append(text)),
    )
    assert result.status == COMPLETE, result.message
    losses = [epoch["loss"] for epoch in result.history]
    assert len(losses) == 30
    assert losses[-1] < 0.8 * losses[0]
    assert result.num_images == {"train": 28, "validation": 0, "test": 12}
    head = toy.NUM_FEATURES * 10 + 10
    assert result.num_parameters == {"total": toy.BACKBONE.num_parameters + head, "trainable": head}
    assert result.history[-1]["val_loss"] == pytest.approx(result.metrics["loss"], rel=1e-3)
    assert np.sum(result.confusion) == 12
    assert {"device", "keras", "tensorflow", "numpy"} <= set(result.environment)
    assert "frozen activations, 40/40" in phases
    # What it stored is what it was scored on.
    table = pq.read_table(tmp_path / result.probabilities).to_pydict()
    dataset = open_dataset(str(data))
    assert table["ra"] == table["row"]  # a wrong image can be found on the sky
    probabilities = np.array([table[f"p{i}"] for i in range(10)]).T
    assert table["row"] == split_indices(dataset.labels, spec).test.tolist()
    assert np.array_equal(table["label"], dataset.labels[table["row"]])
    assert np.allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    assert np.mean(probabilities.argmax(axis=1) == table["label"]) == pytest.approx(result.metrics["accuracy"])
    loss = -np.log(probabilities[np.arange(12), table["label"]]).mean()
    assert loss == pytest.approx(result.metrics["loss"], rel=1e-3)


@pytest.mark.parametrize("depth", [0, pytest.param("all", marks=pytest.mark.rest)])
def test_a_trial_that_was_killed_or_failed_goes_on_from_its_last_epoch(
    depth: int | str, spec: TrialSpec, galaxies_file: Path, tmp_path: Path
) -> None:
    spec = spec.replace(unfrozen_blocks=depth, num_epochs=3, seed=3)
    whole = run(spec, galaxies_file, tmp_path / "whole")
    with pytest.raises(Stopped):
        run(spec, galaxies_file, tmp_path / "killed", watcher=fails_after(1, Stopped()))
    if depth == 0:  # a head and Adam's two moments of it, and the number of steps; nothing of the backbone
        with np.load(checkpoint_path(tmp_path / "killed", spec)) as kept:
            assert sum(kept[name].size for name in kept if name != "history") == 3 * (toy.NUM_FEATURES * 10 + 10) + 1
    failed = run(spec, galaxies_file, tmp_path / "killed", watcher=fails_after(2, RuntimeError("it broke")))
    assert failed.status == FAILED
    assert [epoch["epoch"] for epoch in failed.history] == [1, 2]
    epochs: list[float] = []
    watcher = watching(epoch=lambda latest: epochs.append(latest[spec.trial_id]["epoch"]))
    resumed = run(spec, galaxies_file, tmp_path / "killed", watcher=watcher)
    assert epochs == [3]
    assert [epoch["epoch"] for epoch in resumed.history] == [1, 2, 3]
    assert (whole.resumed_after, resumed.resumed_after) == ((), (1, 2))
    assert resumed.history[-1]["loss"] == pytest.approx(whole.history[-1]["loss"], rel=1e-3)
    assert resumed.metrics["loss"] == pytest.approx(whole.metrics["loss"], rel=1e-2)


def test_wrong_dataset_is_a_failed_row(spec: TrialSpec, galaxies_file: Path, tmp_path: Path) -> None:
    result = run(spec.replace(dataset_fingerprint="f" * 64), galaxies_file, tmp_path)
    assert result.status == FAILED
    assert "must have the content ffffffffffff" in result.message


def test_validation_part_is_what_the_curves_watch(spec: TrialSpec, galaxies_file: Path, tmp_path: Path) -> None:
    result = run(spec.replace(validation_fraction=0.4, learning_rate=0.01, num_epochs=9), galaxies_file, tmp_path)
    assert result.curves_on == "validation"
    assert result.num_images == {"train": 16, "validation": 12, "test": 12}
    assert result.history[-1]["val_loss"] != pytest.approx(result.metrics["loss"], rel=1e-4)


@pytest.mark.parametrize("depth", [0, 1])
def test_what_a_trial_says_of_the_validation_part_lies_beside_what_it_is_scored_on(
    depth: int, spec: TrialSpec, galaxies_file: Path, tmp_path: Path
) -> None:
    """Nothing of the row changes: older versions read it, and the trial keeps its id."""
    spec = spec.replace(validation_fraction=0.4, unfrozen_blocks=depth, num_epochs=1, seed=78)
    result = run(spec, galaxies_file, tmp_path)
    assert result.probabilities == f"probabilities/{spec.trial_id}.parquet"
    beside = pq.read_table(tmp_path / f"probabilities/{spec.trial_id}.validation.parquet").to_pydict()
    splits = split_indices(open_dataset(str(galaxies_file)).labels, spec)
    assert beside["row"] == splits.validation.tolist()
    of_true = np.array([beside[f"p{label}"][i] for i, label in enumerate(beside["label"])])
    (epoch,) = result.history
    assert -np.log(of_true).mean() == pytest.approx(epoch["val_loss"], rel=1e-3)
    whole = spec.replace(validation_fraction=0.0)
    assert run(whole, galaxies_file, tmp_path).status == COMPLETE
    assert not (tmp_path / f"probabilities/{whole.trial_id}.validation.parquet").exists()


@pytest.mark.parametrize("depth", [0, 1])
def test_a_trial_that_is_scored_on_the_validation_part_leaves_the_test_part_alone(
    depth: int, spec: TrialSpec, galaxies_file: Path, tmp_path: Path
) -> None:
    """With a hidden layer, dropout and class weights, which its scores know nothing of."""
    spec = spec.replace(validation_fraction=0.4, scored_on="validation", unfrozen_blocks=depth, num_epochs=1)
    spec = spec.replace(head_units=8, head_dropout=0.5, class_weighting="balanced")
    phases: list[str] = []
    result = run(spec, galaxies_file, tmp_path, watcher=watching(phase=lambda _, text: phases.append(text)))
    assert result.status == COMPLETE, result.message
    table = pq.read_table(tmp_path / result.probabilities).to_pydict()
    assert len(list((tmp_path / "probabilities").iterdir())) == 1
    splits = split_indices(open_dataset(str(galaxies_file)).labels, spec)
    assert table["row"] == splits.validation.tolist()
    assert not set(table["row"]) & set(splits.test.tolist())
    assert np.sum(result.confusion) == 12
    (epoch,) = result.history
    assert set(epoch) == {"epoch", "loss", "accuracy", "val_loss", "val_accuracy", "val_top_share", "seconds"}
    assert result.metrics["loss"] == pytest.approx(epoch["val_loss"], rel=1e-3)
    assert result.metrics["accuracy"] == pytest.approx(epoch["val_accuracy"])
    assert result.metrics["top_predicted_share"] == pytest.approx(epoch["val_top_share"])
    head = toy.NUM_FEATURES * 8 + 8 + 8 * 10 + 10
    assert result.num_parameters["total"] == toy.BACKBONE.num_parameters + head
    assert "evaluating on the validation split" in phases


def test_a_stopped_network_is_a_pruned_row_and_goes_on_where_it_is_not_stopped(
    spec: TrialSpec, galaxies_file: Path, tmp_path: Path
) -> None:
    spec = spec.replace(unfrozen_blocks=1, num_epochs=3)
    epochs: list[float] = []
    stopping = watching(
        epoch=lambda latest: epochs.append(latest[spec.trial_id]["epoch"]),
        ends=lambda histories: dict.fromkeys(histories, "worse than the others") if epochs else {},
    )
    for _ in range(2):  # and again from its checkpoint: before it trains
        result = run(spec, galaxies_file, tmp_path, watcher=stopping)
        assert (result.status, result.message) == (PRUNED, "worse than the others")
        assert epochs == [1]
        assert [epoch["epoch"] for epoch in result.history] == [1]
        assert (result.metrics, result.confusion, result.probabilities) == ({}, (), "")
        assert result.num_images == {"train": 28, "validation": 0, "test": 12}
        assert result.num_parameters["trainable"] > toy.NUM_FEATURES * 10 + 10
        assert {"train", "total"} <= set(result.timings)
        assert "keras" in result.environment
    whole = run(spec, galaxies_file, tmp_path)
    assert whole.status == COMPLETE, whole.message
    assert whole.history[0] == result.history[0]
    assert len(whole.history) == 3


def few_images(path: Path, num_classes: int) -> Path:
    """Four of each class, noise of its colour."""
    labels = np.arange(4 * num_classes) % num_classes
    noise = np.random.default_rng(0).integers(0, 40, (len(labels), 32, 32, 3))
    images = (noise + (labels[:, None] * [3, 5, 7] % 200)[:, None, None]).astype(np.uint8)
    return write_hdf5(path, images=images, ans=labels, **dict.fromkeys(("ra", "dec", "redshift", "pxscale")))


@pytest.mark.parametrize(("num_classes", "depth"), [(2, 1), (37, 0), pytest.param(1000, 0, marks=pytest.mark.rest)])
def test_a_network_has_an_output_for_each_class_of_the_dataset(
    num_classes: int, depth: int, spec: TrialSpec, tmp_path: Path
) -> None:
    data = few_images(tmp_path / "few.h5", num_classes)
    own = spec.replace(**open_dataset(str(data)).facts, unfrozen_blocks=depth, num_epochs=1)
    result = run(own, data, tmp_path)
    assert result.status == COMPLETE, result.message
    assert (own.num_classes, len(result.class_names), len(result.confusion)) == (num_classes,) * 3
    assert result.num_parameters["total"] == toy.BACKBONE.num_parameters + (toy.NUM_FEATURES + 1) * num_classes
    found = read_probabilities(tmp_path, TrialResult.from_dict(json.loads(row_line(result))))
    assert found.values.shape == (math.ceil(1.2 * num_classes), num_classes)
    assert found.losses.mean() == pytest.approx(result.metrics["loss"], rel=1e-3)
    assert result.history[-1]["val_loss"] == pytest.approx(result.metrics["loss"], rel=1e-3)
    wrong = run(own.replace(num_classes=num_classes + 1 if num_classes < 1000 else 10), data, tmp_path)
    assert wrong.status == FAILED
    assert f"here it has {num_classes}. Give the trial's workplace the same reading" in wrong.message


@pytest.mark.parametrize("depth", [0, 1])
def test_a_trial_towards_votes_is_scored_by_them_and_by_the_leading_class(
    depth: int, spec: TrialSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A head comes out alike on stored activations and on images."""
    data = few_images(tmp_path / "few.h5", 3)
    dataset = open_dataset(str(data))
    votes = (np.eye(3)[dataset.labels] * 0.4 + 0.2).astype(np.float32)
    classes = replace(dataset.source.classes, votes=votes)
    source = ArraySource(np.concatenate(list(dataset.source.batches())), classes, dataset.columns)
    content = ContentHash()
    content.add(source.images)
    of_votes = replace(dataset, source=source, fingerprint=content.hexdigest(classes))
    monkeypatch.setattr(groups, "open_dataset", lambda *_, **__: of_votes)
    assert of_votes.fingerprint != dataset.fingerprint
    own = spec.replace(**of_votes.facts, unfrozen_blocks=depth, num_epochs=2)
    assert own.targets == "votes"
    cached = run(own, data, tmp_path, diagnostics=True)
    assert cached.status == COMPLETE, cached.message
    found = read_probabilities(tmp_path, cached)
    assert np.array_equal(found.votes, votes[found.rows])
    assert cached.metrics["loss"] == pytest.approx(found.losses.mean(), rel=1e-5)
    assert cached.metrics["loss"] == pytest.approx(cached.history[-1]["val_loss"], rel=1e-4)
    of_leading = -np.log(found.values[np.arange(len(found.rows)), found.labels]).mean()
    assert cached.metrics["leading_class_loss"] == pytest.approx(of_leading, rel=1e-5)
    assert cached.metrics["accuracy"] == pytest.approx(cached.history[-1]["val_accuracy"])
    entropy = -(votes[0] * np.log(votes[0])).sum()
    assert {record["loss"] >= entropy for record in cached.diagnostics} == {True}
    if depth == 0:
        assert cached.certificate["optimal_loss"] == pytest.approx(entropy, abs=0.05)
        live = run(own, data, tmp_path / "live", ())
        assert curves(cached.history) == pytest.approx(curves(live.history), abs=1e-5)
        assert cached.metrics == pytest.approx(live.metrics, abs=1e-5)
    monkeypatch.setattr(groups, "open_dataset", lambda *_, **__: dataset)
    assert "must have the content" in run(own, data, tmp_path).message
    same = own.replace(dataset_fingerprint=dataset.fingerprint)
    assert "with targets votes; here it has classes" in run(same, data, tmp_path).message


def test_real_weights_and_real_galaxies(spec: TrialSpec, tmp_path: Path) -> None:
    """On 100 real galaxies a head on ImageNet features fits its training part far above chance."""
    weights = find_weights("MobileNet", real_weights())
    dataset = open_dataset(str(real_sample()))
    real = spec.replace(
        dataset=dataset.name,
        dataset_fingerprint=dataset.fingerprint,
        backbone="MobileNet",
        preprocessing="divide_by_255",
        weights="imagenet",
        weights_requested="imagenet",
        weights_fingerprint=weights.fingerprint,
        image_size=64,
        num_epochs=10,
    )
    result = next(train(Group((real,), (0,)), Workplace(str(real_sample()), tmp_path, weights.path.parent)))
    assert result.status == COMPLETE, result.message
    assert result.history[-1]["accuracy"] > 0.7
    assert result.num_parameters["total"] == BACKBONES["MobileNet"].num_parameters + 2 * 2 * 1024 * 10 + 10


def test_keras_gets_every_batch_in_order_and_what_each_example_counts() -> None:
    """18 of 20 examples, in batches of 8."""
    nothing = np.empty(0, np.int64)
    examples = Examples(np.arange(40).reshape(20, 2), np.arange(20), nothing, nothing, nothing)
    order = np.random.default_rng(0).permutation(18)
    weights = np.linspace(0, 1, 20).astype(np.float32)
    for class_weights in (None, weights):
        fed = device.for_keras(Batches(examples, order, 8, class_weights))
        found = list(fed) if keras.backend.backend() == "tensorflow" else [fed[i] for i in range(len(fed))]
        assert [len(part[1]) for part in found] == [8, 8, 2]
        inputs, labels, *counts = (np.concatenate(parts) for parts in zip(*found, strict=True))
        assert np.array_equal(labels, order)
        assert np.array_equal(inputs, examples.inputs[order])
        assert [part.tolist() for part in counts] == ([] if class_weights is None else [weights[order].tolist()])
    if keras.backend.backend() == "tensorflow":  # whose autotuner has every epoch wait for seconds
        assert fed.options().autotune.enabled is False


def test_keras_trains_on_the_batches_in_order_from_the_first_epoch_on() -> None:
    """With a rate of 1/2, squared error and one weight, each step sets the weight to the label of its example."""
    ones = Examples(np.ones((20, 1), np.float32), np.arange(20), *[np.empty(0, np.int64)] * 3)
    rng, fed = np.random.default_rng(0), None
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    model.compile(keras.optimizers.SGD(0.5), "mse", jit_compile=device.use_xla())
    for epoch in (1, 2, 3):
        order = rng.permutation(18)
        fed = device.for_keras(Batches(ones, order, 1), fed)  # the same pipeline, where TensorFlow has one
        model.fit(fed, shuffle=False, verbose=0)
        assert float(np.asarray(model.weights[0].value)[0, 0]) == pytest.approx(order[-1]), epoch


def test_a_dataset_elsewhere_that_does_not_answer_is_asked_again(
    spec: TrialSpec, galaxies_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def away_twice(uri: str, *how: Any) -> Dataset:
        asked.append(uri)
        if len(asked) < 3:
            raise DataError("it does not answer")
        return open_dataset(uri, *how)

    monkeypatch.setattr(groups, "open_dataset", away_twice)
    short = spec.replace(num_epochs=1)
    assert run(short, galaxies_file, tmp_path).message == "it does not answer"  # what lies here is there or not
    monkeypatch.setattr(groups, "is_remote", lambda uri: True)
    monkeypatch.setattr(storage, "time", Clock())
    phases: list[str] = []
    listener = watching(phase=lambda _, text: phases.append(text))
    assert run(short, galaxies_file, tmp_path, watcher=listener).status == COMPLETE
    assert phases.count("waiting for the dataset, it does not answer") == 1  # the first was before it was remote
    assert len(asked) == 3
    asked.clear()
    monkeypatch.setattr(groups, "READ_SECONDS", 0.1)
    assert run(short, galaxies_file, tmp_path).message == "the storage did not answer for 0 seconds: it does not answer"


def test_predictions_that_do_not_fit_on_a_node_go_to_the_storage(
    spec: TrialSpec, small_disk: Path, tmp_path: Path
) -> None:
    fill(small_disk)
    found = Probabilities(np.array([3, 5]), np.array([1, 0]), np.full((2, 10), 0.1))
    with pytest.raises(ResultsFull, match=r"No space left .* make room, and the same command goes on"):
        store_probabilities(small_disk, "", name_of(spec), found)
    store_probabilities(small_disk, str(tmp_path / "shared"), name_of(spec), found)
    assert pq.read_table(tmp_path / "shared" / name_of(spec)).to_pydict()["row"] == [3, 5]
    assert not list(small_disk.rglob("*.parquet"))


def test_a_disk_that_fills_between_a_trials_two_files_stops_the_sweep_and_with_room_both_are_written(
    spec: TrialSpec, small_disk: Path
) -> None:
    """The row comes after both, so that the trial runs again; what lies there of the first try is replaced."""
    rows, labels = np.array([3, 5]), np.array([1, 0])

    def store(probability: float) -> None:
        for part in ("scored", "validation"):
            found = Probabilities(rows, labels, np.full((2, 10), probability))
            store_probabilities(small_disk, "", name_of(spec, part), found)
            if probability == 0.5:
                fill(small_disk)

    with pytest.raises(ResultsFull, match="the same command goes on"):
        store(0.5)
    free(small_disk)
    store(0.1)
    for name in names_of(spec):
        assert pq.read_table(small_disk / name).to_pydict()["p0"] == pytest.approx([0.1, 0.1])


def test_a_checkpoint_for_which_a_node_has_no_room_is_waited_for(
    spec: TrialSpec, small_disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirror, "Thread", Mock())  # which stores in the background as long as the process runs
    shared, said = Storage(str(tmp_path / "shared")), list[str]()
    shared.put(checkpoint_path(Path(), spec).as_posix(), bytes(100_000))
    node = mirror.Mirror(shared, small_disk)
    fill(small_disk)

    def make_room(error: DataError) -> None:
        said.append(str(error))
        free(small_disk)

    node.fetch([spec], make_room)
    assert checkpoint_path(node.out, spec).stat().st_size == 100_000
    assert re.match("this machine's disk must have room for checkpoints: .*No space left on device", *said)


def test_a_full_results_folder_is_no_trial_s_failure(spec: TrialSpec, galaxies_file: Path, small_disk: Path) -> None:
    fill(small_disk)
    with pytest.raises(ResultsFull, match="the probabilities of trial"):
        run(spec.replace(num_epochs=1), galaxies_file, small_disk)


def test_trial_on_a_node_with_a_full_disk(
    spec: TrialSpec, galaxies_file: Path, small_disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is no room for images nor activations: it comes out as where there is, only later."""
    spec = spec.replace(seed=5)
    whole = run(spec, galaxies_file, tmp_path / "whole")
    monkeypatch.setenv("GALAXYTL_CACHE_DIR", str(small_disk))
    fill(small_disk)
    result = run(spec, galaxies_file, tmp_path / "out")
    assert result.status == COMPLETE, result.message
    assert result.metrics["loss"] == pytest.approx(whole.metrics["loss"], rel=1e-3)
    assert not list(small_disk.glob("*/*/*.npy"))


def test_other_weights_than_the_sweep_saw_are_a_failed_row(
    galaxies_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights_module, "find_weights", lambda *_: Weights(tmp_path / "toy_net.h5", "e" * 64))
    wanted = {"weights": "imagenet", "weights_requested": "imagenet", "weights_fingerprint": "f" * 64}
    result = run(tiny_spec(galaxies_file).replace(**wanted), galaxies_file, tmp_path)
    assert result.status == FAILED
    assert "must hold the tensors ffffffffffff" in result.message
