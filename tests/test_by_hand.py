"""What is run by hand, `make mutants`, `fuzz`, `chaos` and `history`, can still be run."""

import importlib
import shutil

import pytest

from tests.mutants.__main__ import ROOT, all_mutants, apply


@pytest.mark.parametrize(
    "name", ["tests.mutants.__main__", "tests.fuzz.__main__", "tests.cluster.chaos", "tests.cluster.history"]
)
def test_it_finds_what_it_imports(name: str) -> None:
    assert callable(importlib.import_module(name).main)


@pytest.mark.skipif(not shutil.which("git"), reason="git applies the mutants")
def test_every_mutant_applies_to_the_files_as_they_are() -> None:
    assert len(all_mutants()) == 60
    assert [mutant.name for mutant in all_mutants() if apply(ROOT, mutant, "--check").returncode] == []
