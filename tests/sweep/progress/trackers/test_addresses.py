"""What --tracker takes, and what it refuses before a trial is spent."""

from __future__ import annotations

from pathlib import Path

import pytest

from galaxytl.system.command import UsageError, run_command
from sweep.command_line import parse as parse_options
from sweep.progress.trackers import addresses
from sweep.progress.trackers.addresses import TRACKERS, is_uri, parse
from tests.sweep.progress.trackers.rows import PASSWORD


@pytest.fixture
def all_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses.importlib.util, "find_spec", lambda name: name)


@pytest.mark.usefixtures("all_installed")
def test_what_is_typed_is_read() -> None:
    words = ["mlflow", "mlflow:http://localhost:5000", "wandb:team/project", "trackio:galaxies", "tensorboard"]
    assert list(map(str, parse(words))) == [
        "MLflow",
        "MLflow at http://localhost:5000",
        "W&B at team/project",
        "trackio at galaxies",
        "TensorBoard",
    ]


@pytest.mark.usefixtures("all_installed")
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["mlfow"], "must be one of mlflow, tensorboard, trackio, wandb; got 'mlfow'. Did you mean 'mlflow'?"),
        (["mlflow:"], "takes a URI, like http://localhost:5000 or sqlite:///mlflow.db, behind its colon; got ''"),
        (["mlflow:localhost:5000"], "got 'localhost:5000'"),
        (["mlflow:http://host:port"], "got 'http://host:port'"),
        (["mlflow:http://"], "got 'http://'"),
        (["wandb:a/b/c"], "takes PROJECT or ENTITY/PROJECT"),
        (["tensorboard:logs"], "takes nothing behind its name; got 'logs'"),
        (["tensorboard", "tensorboard"], "takes each tracker once; got TensorBoard twice"),
    ],
)
def test_what_cannot_be_is_refused(words: list[str], said: str) -> None:
    with pytest.raises(UsageError) as error:
        parse(words)
    assert said in str(error.value)


def test_a_missing_package_is_said_with_what_to_type(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(addresses.importlib.util, "find_spec", lambda name: None)
    for name, kind in TRACKERS.items():
        with pytest.raises(UsageError, match=f"not installed: pip install {kind.package}$"):
            parse_options(["--tracker", name, "--out", str(tmp_path)], "")


@pytest.mark.usefixtures("all_installed")
def test_a_password_is_shown_nowhere(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """But "https", which stands where a password may, is no secret."""
    word = f"mlflow:https://me:{PASSWORD}@tracking.example.org"
    monkeypatch.setattr("sys.argv", ["sweep", "--tracker", word])

    def story() -> int:
        print(parse_options(["--tracker", word], "").trackers[0])
        print(f"https://tracking.example.org answers 401: {PASSWORD}")
        raise UsageError(word)

    assert run_command(story) == 2
    said = capsys.readouterr()
    assert PASSWORD not in said.out + said.err
    assert "MLflow at https://me:***@tracking.example.org\nhttps://tracking.example.org answers 401: ***" in said.out


def test_uris() -> None:
    uris = ["sqlite:///mlflow.db", "postgresql://me@host/db", "file:///mlruns", "databricks", "https://[::1]:5000/path"]
    assert [uri for uri in uris if not is_uri(uri)] == []
    assert [text for text in ("mlruns", "http//host", "http://host:99999", "http://[::1") if is_uri(text)] == []
