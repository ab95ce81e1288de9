"""No result hangs on the order of rows or of folders: whole reports of the same trials in several orders, with ties
wherever there can be some."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from analysis.claims import about_trials
from analysis.collapse import rivals, verdict
from analysis.run.scope import scope_of
from analysis.run.write import Request, write_report
from analysis.trials.load import Trials, gather
from galaxytl.trial import TrialResult
from tests.analysis.collapsing import SETTINGS, by_rate, collapsing, failed
from tests.analysis.fakes import make_compared, make_result, make_spec, make_tested
from tests.analysis.folders import paper_grid, write_folder

NUM_ORDERS = 2


def tied_grid() -> list[TrialResult]:
    """The paper's grid with two seeds and a tie of two networks; a stand-in for weights in one cell."""
    rows = [row for seed in (0, 1) for row in paper_grid(seed=seed, validation_fraction=0.1)]
    return [make_result(r.spec, accuracy=0.6 if r.spec.backbone != "VGG16" else 0.149) for r in rows]


def tied_settings() -> list[TrialResult]:
    """VGG16 at two backgrounds with as many trials each; settings that are equally good, devices that are not equal."""
    specs = [
        make_spec("VGG16", arm, **{"validation_fraction": 0.1, "seed": seed, "num_epochs": epochs, **setting})
        for arm in ("ON", "OFF")
        for epochs in (10, 30)
        for setting in SETTINGS
        for seed in range(4)
    ]
    rows = [collapsing(spec, by_rate) for spec in specs]
    hosts = [{**row.environment, "host": f"node{number % 3}"} for number, row in enumerate(rows)]
    rows = [make_result(r.spec, accuracy=0.6, **_of(r), environment=host) for r, host in zip(rows, hosts, strict=True)]
    return [failed(r, f"killed on gpu{n}") if n % 11 == 5 else r for n, r in enumerate(rows)]


def _of(row: TrialResult) -> dict[str, object]:
    return {"confusion": row.confusion, "curves_on": row.curves_on}


def other_settings() -> list[TrialResult]:
    """A second grid of the paper's cells, that differs from the first, as near to the paper as it is."""
    return [make_result(spec, accuracy=0.6) for spec in (r.spec for r in paper_grid(num_epochs=10, seed=3))]


def tied_search() -> list[TrialResult]:
    compared = [make_compared(30, learning_rate=rate, seed=seed) for rate in (1e-4, 1e-3) for seed in (7, 8)]
    return [*compared, *(make_tested(row, 2500) for row in compared)]


FOLDERS = {
    "paper": tied_grid,
    "collapse": tied_settings,
    "again": tied_grid,
    "short": other_settings,
    "search": tied_search,
}


def texts(folders: Sequence[Path], out: Path) -> dict[str, str]:
    files = write_report(scope_of(gather(folders), folders), Request(out))
    paths = (files.page, *files.texts, *files.tables, *files.grids, *files.figures)
    return {path.relative_to(out).as_posix(): path.read_text() for path in paths}


def test_a_report_is_the_same_in_every_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "analysis.run.write.plan_figures", lambda *_: []
    )  # pictures are of the same texts, and take minutes
    monkeypatch.setattr("analysis.run.write._studies", lambda *_: [])
    planted = {name: rows() for name, rows in FOLDERS.items()}
    found = []
    for seed in range(NUM_ORDERS):
        shuffle = random.Random(seed)
        names = shuffle.sample(list(planted), len(planted))
        folders = [
            write_folder(tmp_path / "results" / name, shuffle.sample(planted[name], len(planted[name])))
            for name in names
        ]
        found.append(texts(folders, tmp_path / "report"))

    for other in found[1:]:
        assert other.keys() == found[0].keys()
        for name, text in found[0].items():
            assert other[name].splitlines() == text.splitlines(), name


@pytest.mark.parametrize("rows", [tied_grid, tied_settings])
def test_a_verdict_is_the_same_in_every_order(rows: Callable[[], list[TrialResult]]) -> None:
    """Also of rows that nobody has put in order."""
    planted = rows()
    orders = [random.Random(seed).sample(planted, len(planted)) for seed in range(NUM_ORDERS)]
    for question in (
        verdict.study_collapse,
        rivals.examine_rivals,
        lambda own: about_trials.judge(Trials(tuple(own)), None),
    ):
        answers = {repr(question(order)) for order in orders}
        assert len(answers) == 1
