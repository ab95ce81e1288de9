import shutil

import pytest

from tests.mutants.__main__ import ROOT, all_mutants, apply


@pytest.mark.skipif(not shutil.which("git"), reason="git applies the mutants")
def test_every_mutant_applies_to_the_files_as_they_are() -> None:
    assert len(all_mutants()) == 60
    assert [mutant.name for mutant in all_mutants() if apply(ROOT, mutant, "--check").returncode] == []
