"""docs/extending.md: what its recipes add, in a copy of the packages, is trained with, planned for and named."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
USE = """
import json, sys
from pathlib import Path
from analysis.trials.starts import optimizer_name
from galaxytl.data import open_dataset
from galaxytl.networks.blocks import structures
from galaxytl.learning.job import Group, Workplace
from galaxytl.training import train
from galaxytl.trial import TrialSpec, parse_field
from sweep.planning.costs import Costs, Sizes
from sweep.planning.speeds import assumed_speeds

data, out = sys.argv[1:]
dataset = open_dataset(data)
spec = TrialSpec(
    dataset=dataset.name, dataset_fingerprint=dataset.fingerprint, backbone="TinyNet", preprocessing="backbone",
    weights="random", weights_requested="random", optimizer=parse_field("optimizer", "adamax"), image_size=32,
    num_epochs=2, stratified=True,
)
network = structures([("TinyNet", 32)], Path(out))
costs = Costs(network, {spec.split_key: Sizes(28, 0, 12)}, assumed_speeds(1, False))
rows = [
    next(train(Group((spec.replace(unfrozen_blocks=depth),)), Workplace(data, Path(out)))) for depth in (0, "all")
]
print(json.dumps({
    "label": optimizer_name(spec),
    "head bytes": costs.head_bytes(spec),
    "multiply-adds": network["TinyNet", 32].multiply_adds(1, 0),
    "ends": [row.message or row.status for row in rows],
    "losses fall": [row.history[-1]["loss"] < row.history[0]["loss"] for row in rows if row.history],
}))
"""


@pytest.mark.rest
def test_an_optimizer_and_a_backbone_family_are_added_as_the_page_says(galaxies_file: Path, tmp_path: Path) -> None:
    for package in ("galaxytl", "sweep", "analysis"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    page = (ROOT / "docs" / "extending.md").read_text()
    sections = "".join(part for part in page.split("## ") if part.startswith(("An optimizer", "A backbone family")))
    recipes = re.findall(r"```python\n# (\S+)\n(.*?)```", sections, re.DOTALL)
    assert [Path(name).name for name, _ in recipes] == ["optimizers.py", "my_networks.py", "families.py"]
    for name, code in recipes:
        assert sum(map(bool, code.splitlines())) <= 10
        with (tmp_path / name).open("a") as file:
            file.write(code)
    command = [sys.executable, "-W", "ignore", "-c", USE, str(galaxies_file), str(tmp_path / "out")]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "GALAXYTL_CACHE_DIR": str(tmp_path / "cache")}
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    features = 8 * 8 * 8
    assert json.loads(done.stdout.splitlines()[-1]) == {
        "label": "Adamax",
        "head bytes": 2 * 3 * 4 * features * 10,
        "multiply-adds": features * 3 * 3 * 3,
        "ends": ["COMPLETE"] * 2,
        "losses fall": [True] * 2,
    }
