"""What a user types, where it says something and starts nothing. Where it starts Ray: `test_run_ray.py`."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from galaxytl.learning.job import Workplace
from galaxytl.results.rows import read_results
from galaxytl.system.command import UsageError
from galaxytl.trial import FAILED, SpecError, TrialResult
from sweep.command_line import LOG, parse
from sweep.results import lease
from sweep.run import main
from sweep.scheduling import cluster
from sweep.scheduling.resources import ClusterError
from sweep.scheduling.tune import Reporter, Where, Work
from tests.galaxies import write_hdf5
from tests.sweep.sweeps import FROZEN, QUICK


def test_a_grid_whose_folder_another_driver_took_over_writes_no_row(
    galaxies_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = json.dumps({"owner": "another", "host": "elsewhere", "pid": 7})

    def run_trials(work: Work, workplace: Workplace, where: Where, reporter: Reporter) -> None:
        """As Ray Tune, whose first trial ends when this driver has been cut off from the folder for long."""
        for _ in range(3):  # the first may be overwritten by a beat that is under way
            (tmp_path / "lease.json").write_text(taken)
            time.sleep(0.3)
        group = next(work.groups)
        assert group
        reporter.finished(TrialResult(spec=group.specs[0], status=FAILED))

    monkeypatch.setattr(lease, "BEAT_SECONDS", 0.1)
    monkeypatch.setattr("sweep.scheduling.tune.run_trials", run_trials)
    assert main(["--data", str(galaxies_file), "--out", str(tmp_path), *QUICK, *FROZEN]) == 2
    assert f"process 7 on elsewhere has taken {tmp_path} over, as this one was suspended" in capsys.readouterr().err
    assert read_results(tmp_path).results == ()
    assert (tmp_path / "lease.json").read_text() == taken


def test_dry_run_says_what_it_would_do_and_does_nothing(
    galaxies_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rates = ("--set", "learning_rate=1e-1,1e-2,1e-3,1e-4")
    out = tmp_path / "results" / "new"
    assert main(["--data", str(galaxies_file), "--out", str(out), *QUICK, *FROZEN, *rates, "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert "Trials    4: 0 finished, 0 failed, 4 to run" in printed
    assert "Split     of our own, split_seed 0: 28 train, 12 test images\n" in printed
    assert "Plan: 4 trials in 1 group" in printed
    assert "Seeds     1 a setting: says little beyond these networks; claims want 3:\n" in printed
    assert re.search(r"^ {10}--seeds 3 \(8 trials more, about \d+ (s|min).* more here\)$", printed, re.MULTILINE)
    assert "Stored activations: 1 prefix" in printed
    assert "without sharing" in printed
    assert not list(tmp_path.iterdir())

    assert main(["--data", str(galaxies_file), "--out", str(out), *QUICK, *FROZEN, "--seeds", "3", "--dry-run"]) == 0
    assert "Seeds  " not in capsys.readouterr().out


FRAMEWORKS = {"ray", "keras", "tensorflow", "jax", "optuna", "torch", "matplotlib"}
"""What only training and searching need, and figures: seconds each."""
LIBRARIES = {"scipy", "sklearn", "pandas", "pyarrow", "h5py", "astropy", "galsim"}
"""What only an opened dataset needs."""


IMPORTED = """
import sys
from sweep.run import main
for arguments in (["--gird", "paper"], sys.argv[1:]):
    main(arguments)
    print("MODULES", *{name.partition(".")[0] for name in sys.modules})
"""


def test_a_driver_imports_what_it_uses(galaxies_file: Path, tmp_path: Path) -> None:
    """In a fresh process: bad input is refused without the libraries, a plan is made without the frameworks."""
    plan = [*QUICK, *FROZEN, "--data", str(galaxies_file), "--out", str(tmp_path), "--dry-run"]
    command = [sys.executable, "-c", IMPORTED, *plan]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    refused, planned = (set(line.split()) for line in done.stdout.splitlines() if line.startswith("MODULES "))
    assert "unknown option" in done.stderr
    assert refused & (FRAMEWORKS | LIBRARIES) == set()
    assert planned & FRAMEWORKS == set()
    assert "Plan: 1 trial" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--grid papper", "like my_grid.yaml; got 'papper'. Did you mean 'paper'?"),
        ("--grid my_grid.yaml", "my_grid.yaml: --grid must be a grid's name or a YAML file that can be read; No such"),
        ("--profile labtop", "Did you mean 'laptop'?"),
        ("--gird paper", "unknown option '--gird'. Did you mean '--grid'?"),
        (
            "--set learning_rat=1",
            "'learning_rat' is no field of a trial. Did you mean 'learning_rate', 'learning_rate_floor' or",
        ),
        ("--set lr=1", "'lr' is no field of a trial. Did you mean 'learning_rate'? python -m sweep.run --help-"),
        ("--set learning_rate", "--set takes FIELD=VALUE"),
        ("--set unfrozen_blocks=-1", "unfrozen_blocks must be 0 (train the head only), a whole number, or all"),
        ("--set learning_rate=1e-3 --set learning_rate=1e-4", "like learning_rate=A,B; got learning_rate twice"),
        ("--set learning_rate=1e-3,0.001", "the values of learning_rate must differ; got --set learning_rate=1e-3,0."),
        ("--group-by-sky --set group_by_sky=false", "give one of the two; got both"),
        ("--diagnostics --no-diagnostics", "an option is given once; got --diagnostics or --no-diagnostics 2 times"),
        ("--storage s3:/bucket", "--storage takes a URI, like s3://..., or a path, like ./s3:/bucket"),
        ("--storage s3://[b", "--storage must be a path or a URI; got 's3://[b'"),
        ("--cpus-per-trial 1_0", "must be a number from 0 to 1024; got '1_0'"),
        ("--set learning_rate=1e-3,,1e-4", "learning_rate must be a number; got ''"),
        ("--seeds 0", "must be a whole number from 1 to 10000; got '0'"),
        ("--folds 1", "must be a whole number from 2 to 100; got '1'"),
        ("--folds 5 --set fold=2", "--folds sets num_folds and fold: give it or --set fold=...; got both"),
        ("--folds 5 --set test_fraction=0.1", "--folds says how large the test part is: leave out --set test_fraction"),
        ("--folds 5 --split official", "it does not go with --split official"),
        ("--folds 5 --search optuna", "then cross-validate its choice: --grid report/best.yaml --folds K"),
        ("--weights-dir /nowhere", "--weights-dir must be a folder; got /nowhere"),
        ("--cpus-per-trial many", "must be a number from 0 to 1024"),
        ("--gpus-per-trial 1.5", "must be at most 1, because a trial computes on one GPU, and more would be idle; got"),
        ("--gpus-per-trial 2", "got '2': leave it out, and as many trials run at once as there are GPUs"),
        ("--trials-per-gpu 65", "must be a whole number from 1 to 64; got '65'"),
        ("--shard 5/3", "must be K/N, the K-th of N parts, from 1/N to N/N, like 3/16; got '5/3'"),
        ("--shard 3", "like 3/16; got '3'"),
        ("--shard 0/3", "got '0/3'. Parts count from 1: a job array of 16 is --array=1-16"),
        ("--shard /16", "What stands before the / is empty: is that a variable of a job array, in a job that is none?"),
        (
            "--shard 1/3 --search optuna",
            "a search chooses each trial by those before it, and has one driver",
        ),
        (
            "--shard 1/3 --storage s3://b/x",
            "--storage follows one driver, and shards are many; got --shard 1/3",
        ),
        ("--shard 1/3 --tracker mlflow", "--tracker follows one driver, and shards are many"),
        ("--trials-per-gpu 2 --gpus-per-trial 0.5", "not allowed with argument --trials-per-gpu"),
    ],
)
def test_a_command_line_that_is_wrong(arguments: str, message: str) -> None:
    with pytest.raises((UsageError, SpecError), match=re.escape(message)):
        parse(arguments.split(), "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--gird paper", "unknown option '--gird'. Did you mean '--grid'?"),
        ("--set dataset=mine", "'dataset' cannot be set: a sweep finds it out"),
        ("--seeds 10000", "a grid of more than 10,000 trials wants --yes; paper has 20,000"),
        ("--set seed=-1", "seed must be at least 0"),
        ("--set image_size=64", "like image_size=A,B; got image_size twice"),
        ("--out /proc/results", "--out must be a folder that can be written to; got /proc/results"),
        ("--data /nowhere.h5", "/nowhere.h5 does not exist"),
        ("--set unfrozen_blocks=6 --data GALAXIES", "5 for VGG16; got 6"),
        ("--split official --data GALAXIES", "has none. It comes from folders train/, validation/ and test/, from"),
        ("--set warmup_steps=1000 --data GALAXIES", "warmup_steps must be below all steps of training, "),
        ("--folds 50 --data GALAXIES", "must have at least one image for each of the 50 folds; class"),
        ("--set momentum=0.9 --data GALAXIES", "momentum is a setting of sgd and rmsprop"),
        ("--profile laptop --data GALAXIES --address 127.0.0.1:9", "no Ray cluster answers at 127.0.0.1:9"),
    ],
)
def test_bad_input_is_said_in_one_line_and_nothing_is_written(
    arguments: str, message: str, galaxies_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = arguments.replace("GALAXIES", str(galaxies_file)).split()
    out = [] if "--out" in asked else ["--out", str(tmp_path)]
    assert main([*out, *QUICK, "--set", "backbone=VGG16", *asked]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("error: ")
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "trials.jsonl").exists()
    assert not (tmp_path / LOG).exists()  # Ray, which would wait for minutes, was not asked


def test_address_where_something_else_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "HEALTH_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as server:  # it takes the call, and says nothing
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with (
            pytest.raises(ClusterError, match="no Ray cluster answers"),
            cluster.cluster(address, tmp_path / LOG),
        ):
            pass
    assert not (tmp_path / LOG).exists()


def test_bad_dataset_stops_before_anything_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_hdf5(tmp_path / "bad.h5", ans=None)
    assert main(["--data", str(data), "--out", str(tmp_path / "out"), *QUICK, *FROZEN]) == 2
    assert "must say which column has the label" in capsys.readouterr().err
    assert not (tmp_path / "out" / "trials.jsonl").exists()


def test_half_written_row_is_said_and_its_trial_runs_again(
    galaxies_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "trials.jsonl").write_text(json.dumps({"schema": 1, "trial_id": "0"})[:-5])
    monkeypatch.setattr("sweep.run.schedule_trials", lambda *arguments: None)  # what would run is all that matters
    assert main(["--data", str(galaxies_file), "--out", str(tmp_path), *QUICK, *FROZEN]) == 1
    printed = capsys.readouterr().out
    assert "line 1 (half-written) was left out" in printed
    assert "1 to run" in printed


def test_a_cache_that_cannot_be_is_said_before_anything_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    for name, value, message in (
        ("GALAXYTL_CACHE_GB", "50GB", "GALAXYTL_CACHE_GB must be a positive number of gigabytes; got '50GB'"),
        (
            "GALAXYTL_CACHE_DIR",
            str(tmp_path / "file"),
            f"the cache's folder must be one; got {tmp_path}",
        ),
    ):
        monkeypatch.setenv(name, value)
        assert main(["--data", "simulated:100", "--out", str(tmp_path / "out")]) == 2
        assert capsys.readouterr().err.startswith(f"error: {message}")
        monkeypatch.delenv(name)
    assert not (tmp_path / "out").exists()
