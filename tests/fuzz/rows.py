"""Rows as strangers, power cuts and other versions leave them, by Hypothesis: what fails is shrunk to what is needed.

try_reading(folder, count=1000, seed=1)      # raises AssertionError
try_analysis(folder, count=40, seed=1)
"""

from __future__ import annotations

import contextlib
import copy
import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import hypothesis
from hypothesis import strategies as st

from galaxytl.results.rows import read_results
from galaxytl.trial import FAILED, PRUNED, SPEC_FIELDS, TrialResult
from galaxytl.trial.spec import trial_id_of
from tests.analysis.fakes import make_compared, make_result, make_spec, make_tested
from tests.analysis.folders import paper_grid
from tests.galaxytl.trial.test_spec import values_of

LAYERS: Final = {"block1_conv1": 0.5, "output": 0.25}
RECORDS: Final = tuple(
    {"epoch": n, "loss": 2.0, "logit_spread": 1.0, "gradient_norms": LAYERS, "dead_shares": LAYERS} for n in range(2)
)
CERTIFICATE: Final = dict.fromkeys(("optimal_loss", "gap_bound", "optimal_accuracy", "trial_loss", "excess_loss"), 0.5)


def bases() -> list[TrialResult]:
    """One row of each kind that an analysis knows."""
    vgg = make_spec("VGG16", learning_rate=1e-2)
    compared = [make_compared(right, learning_rate=right / 1e4) for right in (30, 40)]
    return [
        *paper_grid(),
        *compared,
        make_tested(compared[1]),
        make_result(vgg, diagnostics=RECORDS, certificate=CERTIFICATE, num_parameters={"total": 9, "trainable": 3}),
        make_result(vgg.replace(seed=1), status=FAILED, message="out of memory", metrics={}, confusion=()),
        make_result(vgg.replace(seed=2), status=PRUNED, message="stopped after epoch 2", metrics={}, history=()),
    ]


BASES: Final = [result.to_dict() for result in bases()]
ODD: Final = (
    None,
    True,
    0,
    -1,
    2**63,
    1e308,
    -1e308,
    5e-324,
    1.5,
    float("nan"),
    "",
    "\ud800",
    "\x1b[2J",
    "=1+1",
    [],
    {},
)
leaves = st.sampled_from(ODD) | st.integers() | st.floats() | st.text(max_size=6)
values = st.recursive(
    leaves, lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(max_size=4), v, max_size=3), max_leaves=5
)


@st.composite
def mutated_rows(draw: st.DrawFn) -> bytes:
    """A row with some values changed, removed or put elsewhere; its trial_id often fits again."""
    row = copy.deepcopy(draw(st.sampled_from(BASES)))
    for _ in range(draw(st.integers(1, 3))):
        _mutate(draw, row)
    if isinstance(row.get("spec"), dict) and draw(st.booleans()):
        row["trial_id"] = trial_id_of(row["spec"])
    return json.dumps(row).encode()


def _mutate(draw: st.DrawFn, row: dict[str, Any]) -> None:
    inside: Any = row
    while True:
        keys = list(inside) if isinstance(inside, dict) else list(range(len(inside)))
        if not keys:
            return
        key = draw(st.sampled_from(keys))
        if not isinstance(inside[key], dict | list) or draw(st.integers(0, 3)) == 0:
            break
        inside = inside[key]
    kind = draw(st.sampled_from(["change", "change", "remove", "add", "allow"]))
    if kind == "remove":
        del inside[key]
    elif kind == "add":
        added = draw(values)
        inside.append(added) if isinstance(inside, list) else inside.update({draw(st.text(max_size=4)): added})
    elif kind == "allow" and inside is row.get("spec") and key in SPEC_FIELDS:
        inside[key] = draw(values_of(str(key)))  # another trial, perhaps an odd one
    else:
        inside[key] = draw(values)


@st.composite
def damaged_bytes(draw: st.DrawFn) -> bytes:
    """A row with some bytes changed, cut out or put in."""
    line = bytearray(json.dumps(draw(st.sampled_from(BASES)), separators=(",", ":")).encode())
    for _ in range(draw(st.integers(1, 3))):
        at, length = draw(st.integers(0, len(line))), draw(st.sampled_from([0, 1, 4, 400]))
        line[at : at + length] = draw(st.binary(max_size=4) | st.sampled_from(PIECES))
    return bytes(line)


PIECES: Final = (
    bytes(600),
    b"[" * 2000,
    b'{"a":' * 2000,
    b'{"schema":',
    b"9" * 5000,
    b"\n",
    b"\\ud800",
    b"NaN",
    b"1e999",
)
lines = st.one_of(mutated_rows(), damaged_bytes(), st.binary(max_size=20), st.sampled_from(PIECES))
files = st.lists(lines, min_size=1, max_size=8)


def write(folder: Path, parts: list[bytes], sound: list[TrialResult]) -> None:
    """A sound row after each of the lines, on a line of its own."""
    rows = [json.dumps(result.to_dict()).encode() for result in sound]
    both = [part for at, line in enumerate(parts) for part in (line, *rows[at : at + 1])]
    (folder / "trials.jsonl").write_bytes(b"\n".join([*both, *rows[len(parts) :], b""]))


def try_reading(folder: Path, count: int, seed: int) -> None:
    """Reading never raises, and finds each sound row; what it says is short and shows no controls."""
    sound = [make_result(make_spec(seed=10_000 + number)) for number in range(8)]
    known = {result.trial_id: result for result in sound}

    def check(parts: list[bytes]) -> None:
        write(folder, parts, sound)
        rows = read_results(folder)
        found = rows.by_id()
        assert known.keys() <= found.keys(), "a sound row is hidden"
        assert all(found[name].to_dict() == known[name].to_dict() for name in known), "a sound row has changed"
        again = [TrialResult.from_dict(json.loads(json.dumps(row.to_dict(), allow_nan=False))) for row in rows.results]
        assert [row.to_dict() for row in again] == [row.to_dict() for row in rows.results], "a row changes when written"
        assert all(text.isprintable() and len(text) < 1000 for text in rows.problems), rows.problems

    _run(check, files, count, seed)


def try_analysis(folder: Path, count: int, seed: int) -> None:
    """A report, but for its figures, is written of whatever can be read, or refused in a sentence."""
    from analysis.report.contents import FigureFiles
    from analysis.run import __main__ as run
    from analysis.run import write as report

    def check(parts: list[bytes]) -> None:
        write(folder, parts, bases())
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            status = run.main([str(folder), "--out", str(folder / "report")])
        text = said.getvalue()
        assert status in (0, 2), text
        assert "unforeseen" not in text, text
        assert "Traceback" not in text, text

    draw = report._draw
    report._draw = lambda plans, place: FigureFiles({}, {}, {})
    try:
        _run(check, st.lists(mutated_rows(), min_size=1, max_size=4), count, seed)
    finally:
        report._draw = draw


def _run(check: Callable[[list[bytes]], None], cases: Any, count: int, seed: int) -> None:
    quiet: Mapping[str, Any] = {"database": None, "deadline": None, "print_blob": False, "report_multiple_bugs": False}
    settings = hypothesis.settings(max_examples=count, suppress_health_check=list(hypothesis.HealthCheck), **quiet)
    hypothesis.seed(seed)(settings(hypothesis.given(cases)(check)))()
