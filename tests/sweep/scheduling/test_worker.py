from __future__ import annotations

from pathlib import Path

from galaxytl.learning.job import Workplace
from sweep.scheduling.worker import _absence


def test_a_node_without_the_file_of_features_says_which_it_lacks(tmp_path: Path) -> None:
    features = tmp_path / "zoobot.npy"
    workplace = Workplace("simulated", tmp_path, features=features)
    assert "every node must have the features where the driver's machine has it; " in _absence(workplace)
    assert f"has no {features}: mount it there" in _absence(workplace)
    features.touch()
    assert _absence(workplace) == ""
