"""Whose weights stay in a folder, as rows come."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from galaxytl.results.models import model_name, store_model
from galaxytl.results.sweep_file import ShardNumber
from galaxytl.trial import TrialResult
from sweep.results.folder import ResultsFolder
from sweep.results.models import BestModels, announcement
from tests.galaxytl.results.test_ranking import result
from tests.sweep.fakes import TOY, toy_spec


def arrive(models: BestModels, out: Path, *results: TrialResult) -> set[str]:
    """Have workers store the weights, and the driver its rows; what is there then."""
    for one in results:
        store_model(out, one.spec, {"head.0": np.zeros(2, np.float32)})
    models.finished(*results)
    return there(out)


def there(out: Path) -> set[str]:
    return {path.stem for path in (out / "models").glob("*.npz")}


def test_a_better_trial_takes_the_place_of_a_worse_one(tmp_path: Path) -> None:
    models = BestModels(ResultsFolder(tmp_path), 1, [])
    bad, good, worse = result(0, 0.3), result(1, 0.8), result(2, 0.1)
    assert arrive(models, tmp_path, bad) == {bad.trial_id}
    assert arrive(models, tmp_path, good, worse) == {good.trial_id}


def test_weights_that_a_full_disk_took_replace_none(tmp_path: Path) -> None:
    models = BestModels(ResultsFolder(tmp_path), 1, [])
    bad, good = result(0, 0.3), result(1, 0.8)
    arrive(models, tmp_path, bad)
    models.finished(good)
    assert there(tmp_path) == {bad.trial_id}


def test_the_next_driver_removes_what_a_killed_one_left(tmp_path: Path) -> None:
    rows = [result(seed, seed / 10) for seed in range(4)]
    for row in rows[1:3]:
        store_model(tmp_path, row.spec, {})
    (tmp_path / "models" / ".writing-0f3a").write_bytes(b"half")
    models = BestModels(ResultsFolder(tmp_path), 1, rows)  # of the best row there are no weights
    assert [path.name for path in (tmp_path / "models").iterdir()] == [Path(model_name(rows[2].spec)).name]
    assert models.num_removed == 1


def test_a_shard_removes_no_weights_of_a_trial_that_has_no_row_yet(tmp_path: Path) -> None:
    """Another shard's worker writes them, and its row comes; the last to end leaves those of the best of all."""
    home = ShardNumber(2, 1).folder(tmp_path)
    rows = [result(seed, seed / 10) for seed in range(4)]
    for row in rows:
        store_model(tmp_path, row.spec, {})
    (tmp_path / "models" / ".writing-0f3a").write_bytes(b"half")
    models = BestModels(ResultsFolder(tmp_path, home=home), 1, rows[:2])
    assert there(tmp_path) == {row.trial_id for row in rows[1:]}
    models.finished(rows[2])
    assert there(tmp_path) == {row.trial_id for row in rows[2:]}
    BestModels(ResultsFolder(tmp_path, home=home), 1, rows)
    assert there(tmp_path) == {rows[3].trial_id}
    assert (tmp_path / "models" / ".writing-0f3a").exists()


@pytest.mark.parametrize(
    ("most", "says"),
    [
        (0, "none kept"),
        (1, "the weights of the best trial by validation accuracy are kept, at most 0.0 MB"),
        (3, "the weights of the best 3 by validation accuracy"),
        (None, "all trials' weights are kept"),
    ],
)
def test_what_is_kept_is_said_with_its_size(most: int | None, says: str) -> None:
    specs = [toy_spec(learning_rate=rate) for rate in (1e-2, 1e-3)]
    assert says in announcement(specs, {("Toy", 32): TOY}, most)


def test_heads_on_given_features_are_not_said_to_become_networks() -> None:
    for most in (0, 1):
        of_networks, of_heads = (announcement((), {}, most, on_features) for on_features in (False, True))
        assert ("sweep.export trains" in of_networks) == (most == 0)
        assert ("sweep.export makes no network" in of_heads) == (most == 1)
        assert "sweep.export trains" not in of_heads
