"""From a sweep to the network that won, as a user types it; groups are trained in this process."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from galaxytl.data import open_dataset
from galaxytl.networks.exported import MEMBER, loaded
from galaxytl.results.predictions import read_probabilities
from galaxytl.results.ranking import best
from galaxytl.results.rows import append_results, read_results
from galaxytl.trial import FAILED, TrialResult
from sweep.export.__main__ import main as export
from sweep.export.check import compare
from sweep.run import main as sweep
from tests.galaxies import draw_quickly
from tests.sweep.here import QUICK, sweep_here

FEW = ("--data", "simulated:200", "--set", "optimizer=adam", "--set", "learning_rate=1e-2,1e-3,1e-4")


@pytest.fixture(scope="module", autouse=True)
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        sweep_here(patch)
        draw_quickly(patch, tmp_path_factory.mktemp("cache"))  # what the images show is nothing to this file
        patch.chdir(tmp_path_factory.mktemp("home"))
        assert sweep(["--grid", "lr", *FEW, "--set", "unfrozen_blocks=0,1", "--out", "lr", *QUICK]) == 0
        yield


def rows(out: str = "lr") -> list[TrialResult]:
    return list(read_results(Path(out)).results)


def kept(out: str = "lr") -> set[str]:
    return {path.stem for path in Path(out, "models").glob("*.npz")}


def test_the_best_trials_weights_stay_and_are_exported(capsys: pytest.CaptureFixture[str]) -> None:
    (winner,) = best(rows(), 1)
    assert kept() == {winner.trial_id}
    assert export(["lr", "--to", "galaxy.keras"]) == 0
    said = capsys.readouterr().out
    assert f"Trial     {winner.trial_id}" in said
    assert "(at most 1e-05 is rounding)" in said
    assert "trained again" not in said
    with zipfile.ZipFile("galaxy.keras") as archive:
        assert json.loads(archive.read(MEMBER))["trial_id"] == winner.trial_id
    card = Path("galaxy.keras.md").read_text()
    assert card.startswith("---\n")
    assert "95 % interval" in card
    assert "simulated galaxies: it says nothing about real ones" in card
    assert export(["lr", "--to", "galaxy.keras"]) == 0  # over one of ours


def test_a_trial_whose_weights_are_gone_is_trained_again(capsys: pytest.CaptureFixture[str]) -> None:
    other = next(result for result in rows() if result.trial_id not in kept() and result.spec.unfrozen_blocks == 1)
    assert export(["lr", "--to", "again.keras", "--trial", other.trial_id[:6]]) == 0
    said = capsys.readouterr().out
    assert "trained again from the trial's spec" in said
    assert "(at most 1e-05 is rounding)" in said
    image = np.zeros((1, 50, 60, 3), np.uint8)
    assert loaded(Path("again.keras"))(image).sum() == pytest.approx(1)


def test_how_many_stay_is_asked_for_and_a_rerun_keeps_it(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--grid", "lr", *FEW, "--set", "unfrozen_blocks=0", "--out", "more", *QUICK]
    assert sweep([*arguments, "--keep", "all"]) == 0
    assert kept("more") == {result.trial_id for result in rows("more")}
    assert sweep([*arguments, "--keep", "best:2", "--set", "batch_size=8"]) == 0
    assert kept("more") == {result.trial_id for result in best(rows("more"), 2)}
    assert "the weights of the best 2 by validation accuracy are kept" in " ".join(capsys.readouterr().out.split())
    assert sweep(["--grid", "lr", *FEW, "--set", "unfrozen_blocks=0", "--out", "none", "--keep", "none", *QUICK]) == 0
    assert kept("none") == set()


def test_without_a_validation_part_the_user_chooses(capsys: pytest.CaptureFixture[str]) -> None:
    assert sweep(["--grid", "paper", "--data", "simulated:200", "--set", "seed=0,1", "--out", "paper", *QUICK]) == 0
    assert kept("paper") == {result.trial_id for result in rows("paper")}
    capsys.readouterr()
    assert export(["paper", "--to", "paper.keras"]) == 2
    said = capsys.readouterr()
    assert "the test part" in said.err
    assert all(result.trial_id in said.out for result in rows("paper"))
    assert export(["paper", "--to", "paper.keras", "--where", "seed=1", "--where", "unfrozen_blocks=0"]) == 0
    assert "There was no validation part" in Path("paper.keras.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nowhere", "--to", "a.keras"], "there is no trials.jsonl in nowhere"),
        (["lr", "--to", "a.h5"], "must end with one of"),
        (["lr", "--to", "a.keras", "--trial", "zz"], "no trial's id begins with 'zz'"),
        (["lr", "--to", "a.keras", "--where", "seed=77"], "no trial has --where seed=77"),
        (["lr", "--to", "a.keras", "--where", "sed=1"], "seed"),
        (["lr", "--to", "nowhere/x.keras"], "a model must lie in a folder that can be written to; got nowhere"),
        (["lr", "--to", "a.keras", "--where", "seed=0", "--where", "seed=7"], "takes a field once; got seed twice"),
        (["lr", "--to", "a.keras", "--trial", "00", "--where", "seed=7"], "give one of the two; got both"),
    ],
)
def test_bad_input_is_a_sentence(arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert export(arguments) == 2
    message = capsys.readouterr().err
    assert says in message.lower()
    assert "Traceback" not in message
    assert not Path("a.keras").exists()


def test_a_failed_trial_is_not_exported(capsys: pytest.CaptureFixture[str]) -> None:
    failed = TrialResult(spec=rows()[0].spec.replace(seed=1), status=FAILED, message="diverged: the loss became nan")
    Path("bad").mkdir()
    append_results(Path("bad"), failed)
    assert export(["bad", "--to", "a.keras", "--trial", failed.trial_id]) == 2
    assert f"{failed.trial_id} is FAILED: diverged" in capsys.readouterr().err
    assert export(["bad", "--to", "a.keras"]) == 2
    assert "only a COMPLETE trial can be exported" in capsys.readouterr().err


def test_a_model_of_nothing_but_nan_is_not_its_trials() -> None:
    dataset = open_dataset("simulated:200")
    scored = read_probabilities(Path("lr"), rows()[0])
    assert compare(dataset, scored, lambda images: np.full((len(images), 10), np.nan, np.float32)).difference == np.inf
    said = dict(zip(scored.rows.tolist(), scored.values, strict=True))
    images = iter(sorted(said))
    assert compare(dataset, scored, lambda batch: np.stack([said[next(images)] for _ in batch])).difference == 0
