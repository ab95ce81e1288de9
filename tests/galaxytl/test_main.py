"""The command `galaxytl`, as an installed project has it: with the entry points of `pyproject.toml`."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import pytest

from galaxytl.__main__ import main
from galaxytl.data.__main__ import main as data

ROOT: Final = Path(__file__).parents[2]
PROJECT: Final = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
COMMANDS: Final = PROJECT["entry-points"]["galaxytl.commands"]
USERS_OWN: Final = 'raise RuntimeError("a file of the user was imported")\n'


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what pip writes for the project: `bin/galaxytl`, and the metadata that it looks into."""
    folder = tmp_path_factory.mktemp("installed")
    metadata = folder / "galaxytl-0.1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: galaxytl\nVersion: 0.1.0\n")
    lines = [f"{name} = {value}" for name, value in COMMANDS.items()]
    (metadata / "entry_points.txt").write_text("\n".join(["[galaxytl.commands]", *lines]))
    module, _, function = PROJECT["scripts"]["galaxytl"].partition(":")
    script = f"#!{sys.executable}\nimport sys\nfrom {module} import {function}\nsys.exit({function}())\n"
    (folder / "bin").mkdir()
    (folder / "bin" / "galaxytl").write_text(script)
    (folder / "bin" / "galaxytl").chmod(0o755)
    return folder


def environment(installed: Path, *first: Path) -> dict[str, str]:
    places = [*first, installed, ROOT]
    path = f"{installed / 'bin'}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, places)), "PATH": path, "COLUMNS": "80"}


def run(
    installed: Path, *words: str, cwd: Path = ROOT, first: tuple[Path, ...] = ()
) -> subprocess.CompletedProcess[str]:
    command, own = [str(installed / "bin" / "galaxytl"), *words], environment(installed, *first)
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd, env=own)


def test_each_command_is_there_and_says_what_it_does(installed: Path) -> None:
    done = run(installed, "--help")
    assert done.returncode == 0
    for name, value in COMMANDS.items():
        module, _, function = value.partition(":")
        assert callable(getattr(importlib.import_module(module), function))
        (line,) = (line for line in done.stdout.splitlines() if line.startswith(f"  {name} "))
        assert len(line.split()) > 5, line
    assert run(installed).stdout == done.stdout


@pytest.fixture
def here(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Has this process find the installed commands, as the script does in its own, and puts sys.argv back."""
    monkeypatch.syspath_prepend(str(installed))
    monkeypatch.setattr(sys, "argv", ["galaxytl"])


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("words", "usage"),
    [
        (["sweep", "--help"], "usage: galaxytl sweep "),
        (["search", "--help"], "usage: galaxytl search "),
        (["data", "fetch", "--help"], "usage: galaxytl data fetch "),
    ],
)
def test_help_has_the_name_that_was_typed(words: list[str], usage: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 0
    assert capsys.readouterr().out.startswith(usage)


def test_help_has_the_modules_name_otherwise(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["/galaxytl/data/__main__.py", "fetch", "--help"])  # as python -m sets it
    assert data() == 0
    assert capsys.readouterr().out.startswith("usage: python -m galaxytl.data fetch ")


@pytest.mark.usefixtures("here")
def test_another_command_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["swep"]) == 2
    said = f"galaxytl takes a command, {', '.join(sorted(COMMANDS))}; got 'swep'. Did you mean 'sweep'?"
    assert capsys.readouterr() == ("", f"error: {said}\n")
    assert main(["search", "--grid", "lr"]) == 2
    assert capsys.readouterr().err.startswith("error: --grid and --search exclude each other; got --grid lr")


def test_a_users_own_files_are_not_in_the_way(installed: Path, tmp_path: Path) -> None:
    """In the working folder: and in PYTHONPATH it is said."""
    (tmp_path / "analysis").mkdir()
    for name in ("sweep.py", "galaxytl.py", "analysis/__init__.py"):
        (tmp_path / name).write_text(USERS_OWN)
    assert run(installed, "sweep", "--help", cwd=tmp_path).returncode == 0
    assert run(installed, "analyse", "--help", cwd=tmp_path).returncode == 0
    (tmp_path / "galaxytl.py").unlink()
    for command, package in (("sweep", "sweep"), ("analyse", "analysis")):
        done = run(installed, command, cwd=tmp_path, first=(tmp_path,))
        assert done.returncode == 2
        assert f"error: '{package}' must be the project's own, {ROOT / package}; got {tmp_path}/" in done.stderr
        assert done.stderr.endswith("rename it, or take its folder out of PYTHONPATH\n")


@pytest.mark.skipif(find_spec("argcomplete") is None, reason="argcomplete completes words: make install")
def test_bash_completes_commands_and_options(installed: Path) -> None:
    """With bash's own variables, by the function that argcomplete has it call."""
    script = """
        eval "$(python -m argcomplete.scripts.register_python_argcomplete galaxytl)"
        for line in "galaxytl sw" "galaxytl sweep --gr" "galaxytl data fetch --sou" "galaxytl sweep --fit "; do
            COMP_LINE=$line COMP_POINT=${#line} COMP_WORDS=($line) COMP_TYPE=9 COMPREPLY=()
            [[ $line == *" " ]] && COMP_WORDS+=("")
            COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
            _python_argcomplete galaxytl "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
            echo ${COMPREPLY[*]}
        done"""
    done = subprocess.run(
        ["bash", "--norc", "-c", script],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env=environment(installed),
    )
    assert done.stdout.splitlines() == ["sweep", "--grid --group-by-sky --group-by", "--source", "resize crop"]
