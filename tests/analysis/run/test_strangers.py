"""The report of results that a stranger sent: their texts are shown, not obeyed, and nothing outside is touched."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import random
import re
import sqlite3
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml
from matplotlib.figure import Figure
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from analysis.figures.style import save
from analysis.report.formats import escape_csv, escape_latex, escape_markdown
from analysis.report.rerun import best_yaml, grid_yaml
from analysis.report.sections import Listing, Section, as_rich
from analysis.report.table_files import formats
from analysis.run.__main__ import main
from analysis.search.choice import examine, part
from analysis.search.study import read_study
from analysis.trials.banner import Banner
from analysis.trials.load import gather
from galaxytl.results.rows import FILE_NAME
from galaxytl.system.inside import OutsideError
from galaxytl.trial import DAMAGE, FAILED, TrialResult
from tests.analysis.fakes import make_compared, make_result, make_tested, write_probabilities, write_search_file
from tests.analysis.folders import paper_grid
from tests.analysis.pictures import blank_pictures
from tests.fuzz import searches
from tests.fuzz.searches import connections

UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff\ufffe\uffff]")
"""All but newlines and tabs; soft hyphens and their like are no danger."""
NASTY = (
    "\x1b[31m\x1b]0;owned\x07",
    "two\nlines: injected\rover\u2028more\u0085still",
    "\u202egnp.exe\u2066\ufeff\x9b31m\x00\x7f\ud800\uffff",
    "=cmd|' /C calc'!A0",
    "@SUM(1+1)",
    "-1+HYPERLINK(1)",
    "\t=1+1",
    "a | b ` c <script>alert(1)</script> [x](javascript:1) $\\frac$ &lt; ~~",
    "\\input{/etc/passwd} \\write18{x} % # ^^41",
    "[red]markup[/] [link=https://evil.example]x[/link]",
    "# not: a comment",
    "name: injected",
)
EVERYTHING = " ".join(NASTY)


def nasty(result: TrialResult, text: str) -> dict[str, Any]:
    """Its row with `text` in every field that holds text."""
    row = result.to_dict()
    row |= {"message": text, "started": text, "class_names": [f"{text}{i}" for i in range(10)]}
    row["environment"] = {"device": text, "host": text, "python": text, DAMAGE: text, text: text, "galaxytl": text}
    return row


def strange_folder(folder: Path) -> Path:
    """A grid and a search, each row with another nasty text; a study with nasty names; and rows that are none."""
    folder.mkdir()
    searched = [make_compared(30 + seed, seed=seed) for seed in range(3)]
    failed = make_compared(seed=9)
    failed = TrialResult(spec=failed.spec, status=FAILED)
    results = [*paper_grid(), *searched, failed, make_tested(searched[-1])]
    rows = [nasty(result, NASTY[i % len(NASTY)]) for i, result in enumerate(results)]
    rows[-1] = nasty(results[-1], EVERYTHING)
    rows += [nasty(TrialResult(spec=failed.spec.replace(seed=20 + i), status=FAILED), t) for i, t in enumerate(NASTY)]
    for field in ("dataset", "backbone", "weights_fingerprint"):
        rows.append(make_result(failed.spec.replace(**{field: EVERYTHING})).to_dict())
    rows += [{"schema": EVERYTHING}, {**rows[0], "trial_id": EVERYTHING}, {**rows[0], EVERYTHING: 1}]
    (folder / FILE_NAME).write_text("".join(json.dumps(row) + "\n" for row in rows))
    write_search_file(folder, study=NASTY[1], sampler=NASTY[0], space=NASTY[7], objectives=[[NASTY[3], NASTY[2][:9]]])
    return folder


def texts_of(path: Path) -> str:
    return path.read_bytes().decode()  # as it is: a carriage return is none of Python's newlines


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The report's folder, and what the terminal was sent."""
    base = tmp_path_factory.mktemp("strangers")
    folder, out, said = strange_folder(base / f"from\nforged{NASTY[0]} a|b"), base / "report", io.StringIO()
    with blank_pictures(), contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        assert main([str(folder), "--out", str(out)]) == 0, said.getvalue()
    return out, said.getvalue()


def test_no_output_holds_what_cannot_be_seen(report: tuple[Path, str]) -> None:
    out, said = report
    files = [path for path in out.rglob("*") if path.suffix in {".md", ".csv", ".tex", ".txt", ".yaml", ".html"}]
    assert {path.suffix for path in files} == {".md", ".csv", ".tex", ".txt", ".yaml", ".html"}
    for name, text in [("the terminal", said), *((path.name, texts_of(path)) for path in files)]:
        assert not UNSEEN.search(text), (name, UNSEEN.findall(text)[:5])
        assert "\\x1b[31m" in text or path_is_plain(name), name
    assert "\\x1b]0;owned" in said
    assert not any(line.startswith(("forged", "lines: injected", "over")) for line in said.splitlines())


def path_is_plain(name: str) -> bool:
    """Whether a file has no text of rows but what its banner says."""
    return name not in {"the terminal", "report.md", "index.html", "search.csv"}


def test_no_cell_is_a_formula(report: tuple[Path, str]) -> None:
    cells = [
        cell for path in report[0].rglob("*.csv") for row in csv.reader(io.StringIO(texts_of(path))) for cell in row
    ]
    assert any(cell.startswith("'=cmd") for cell in cells)
    for cell in cells:
        if cell.lstrip()[:1] in "=+-@" and cell:
            float(re.split(" to | \\[", cell)[0].replace(",", ""))


def test_yaml_has_the_keys_of_a_grid(report: tuple[Path, str]) -> None:
    paths = [*report[0].rglob("*.yaml")]
    assert {path.parent.name for path in paths} == {"again", "report"}
    for path in paths:
        content = yaml.safe_load(texts_of(path))
        assert set(content) <= {"name", "purpose", "fixed", "scientific"}
        comments = [line for line in texts_of(path).split("\n") if line.startswith("#")]
        assert any("\\x1b[31m" in line for line in comments)


def test_markup_is_text(report: tuple[Path, str]) -> None:
    out, said = report
    assert "[red]markup[/]" in said
    markdown = texts_of(out / "report.md")
    assert "<script" not in markdown.replace("\\<script", "")
    assert not re.search(r"(?<!\\)\]\(javascript", markdown)
    page = texts_of(out / "index.html")
    assert "<script>alert" not in page
    for path in out.rglob("*.tex"):
        assert not re.search(r"\\(input|write18|frac)", texts_of(path).replace(r"\textbackslash{}", ""))


def test_each_exit_by_itself() -> None:
    """As the texts of a report come from more than rows."""
    for text in (*NASTY, EVERYTHING):
        section = Section(text, Listing((text,), ((text,),)), (text,))
        banner = Banner(text, text, text)
        for ending, written in formats(section, banner).items():
            assert not UNSEEN.search(written), ending
        search = examine(part(gather_of([make_compared(seed=1)]))[0])
        assert search.best
        for grid in (best_yaml(search.best, 1, banner), grid_yaml("a", [make_result()], banner)):
            assert yaml.safe_load(grid).keys() <= {"name", "purpose", "fixed", "scientific"}
        assert as_rich([section])
    assert escape_latex("[2em] \\input") == r"{}[2em] \textbackslash{}input"
    assert escape_markdown("a|b\n$x$") == r"a\|b\\n\$x\$"
    assert [escape_csv(cell) for cell in ("-0.5", "+1e-3", "-0.142 to 0.247", "=1", "-", "", "-inf")] == [
        *("-0.5", "+1e-3", "-0.142 to 0.247", "'=1", "'-", "", "-inf")
    ]


def gather_of(results: list[TrialResult]) -> Any:
    from analysis.trials.load import Trials

    return Trials(tuple(results))


def test_a_figure_shows_what_cannot_be_seen(tmp_path: Path) -> None:
    figure = Figure()
    figure.text(0.1, 0.5, "layer\x1b\u202e")
    for path in (tmp_path / "a.png", tmp_path / "a.svg"):
        path.symlink_to(tmp_path / "private")
    save(figure, tmp_path / "a")
    assert not UNSEEN.search(texts_of(tmp_path / "a.svg"))
    assert not (tmp_path / "private").exists()


# Nothing outside


def test_a_results_folder_with_links_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = tmp_path / "results"
    results.mkdir()
    (tmp_path / "private.jsonl").write_text(json.dumps(make_result().to_dict()))
    (results / FILE_NAME).symlink_to(tmp_path / "private.jsonl")
    assert main([str(results), "--out", str(tmp_path / "report")]) == 2
    assert "is a link. Remove it" in capsys.readouterr().err
    (results / FILE_NAME).unlink()
    (results / "probabilities").symlink_to("/tmp")
    with pytest.raises(OutsideError):
        gather([results])


@pytest.mark.parametrize("name", ["../private.parquet", "{}/private.parquet", "probabilities/../../private.parquet"])
def test_probabilities_lie_in_the_folder(tmp_path: Path, name: str) -> None:
    results, best, second = tmp_path / "results", make_compared(31), make_compared(30, seed=1)
    results.mkdir()
    for result in (best, second):
        write_probabilities(results, result, [True] * round(60 * result.metrics["accuracy"]) + [False] * 29)
    path = results / "probabilities" / f"{best.trial_id}.parquet"
    path.rename(tmp_path / "private.parquet")
    row = {**best.to_dict(), "probabilities": name.format(tmp_path)}
    (results / FILE_NAME).write_text(f"{json.dumps(row)}\n{json.dumps(second.to_dict())}\n")

    margin = examine(part(gather([results]))[0]).margin

    assert margin
    assert margin.pairs is None
    assert "must have a name below it" in margin.why_unpaired


def test_a_report_is_written_over_links_not_through_them(tmp_path: Path) -> None:
    results, out, private = tmp_path / "results", tmp_path / "report", tmp_path / "authorized_keys"
    results.mkdir()
    (results / FILE_NAME).write_text("".join(json.dumps(r.to_dict()) + "\n" for r in paper_grid()))
    private.write_text("mine")
    out.mkdir()
    names = ("index.html", "report.md", "table1.csv", "again/results-again.yaml", "tables/rivals.tex", "tables/x.tex")
    for name in names:
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).symlink_to(private)
    with blank_pictures(), contextlib.redirect_stdout(io.StringIO()):
        assert main([str(results), "--out", str(out)]) == 0
    assert private.read_text() == "mine"
    assert not any((out / name).is_symlink() for name in names[:4])


@pytest.mark.parametrize("name", ["figures", "tables", "again"])
def test_a_folder_of_a_report_that_is_a_link_is_refused(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    results, out, home = tmp_path / "results", tmp_path / "report", tmp_path / "home"
    for folder in (results, out, home):
        folder.mkdir()
    (results / FILE_NAME).write_text(json.dumps(make_result().to_dict()) + "\n")
    (out / name).symlink_to(home)
    assert main([str(results), "--out", str(out)]) == 2
    assert "is a link" in capsys.readouterr().err
    assert list(home.iterdir()) == []


# Studies


SERVERS = (
    "postgresql://me@evil.example/db",
    "mysql://evil.example/db",
    "mysql+pymysql://evil.example/db",
    "oracle://x/y",
)


@pytest.mark.parametrize("url", [*SERVERS, "sqlite+pysqlcipher:////etc/passwd", "sqlite://", "redis://evil.example"])
def test_no_server_is_asked_for_a_stranger(tmp_path: Path, url: str) -> None:
    write_search_file(tmp_path, storage=url)
    with connections() as asked:
        note = read_study(tmp_path).note
    assert "--storage" in note
    assert note.isprintable()
    assert asked == []


def test_a_server_is_asked_where_the_user_says_so(tmp_path: Path) -> None:
    write_search_file(tmp_path, storage=SERVERS[1])
    with connections() as asked:
        assert "cannot be read" in read_study(tmp_path, SERVERS[0]).note
    assert asked == [SERVERS[0]]


def test_a_study_elsewhere_is_read_where_the_user_says_so(tmp_path: Path) -> None:
    """Not for who wrote search.json: another's study may be private."""
    results = tmp_path / "results"
    results.mkdir()
    url = f"sqlite:///{tmp_path}/study.db"
    optuna.create_study(study_name="search", storage=url)
    for named in (url, f"journal://{tmp_path}/study.db", f"sqlite:///{results}/../study.db"):
        write_search_file(results, storage=named)
        assert f"{results}/study.db is not there. Pass --storage" in read_study(results).note
    assert read_study(results, url).note == ""
    (results / "study.db").symlink_to(tmp_path / "study.db")
    assert "is a link" in read_study(results).note


def test_a_study_with_a_program_in_it_is_refused(tmp_path: Path) -> None:
    optuna.create_study(study_name="search", storage=f"sqlite:///{tmp_path}/study.db")
    with contextlib.closing(sqlite3.connect(tmp_path / "study.db")) as connection, connection:
        connection.execute("ALTER TABLE trials RENAME TO others")
        forever = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM n) SELECT x FROM n"
        connection.execute(f"CREATE VIEW trials AS {forever}")
    write_search_file(tmp_path)
    assert "holds tables; got the view trials" in read_study(tmp_path).note


def test_texts_of_a_study_are_visible(tmp_path: Path) -> None:
    study = optuna.create_study(study_name="search", storage=f"sqlite:///{tmp_path}/study.db")
    study.add_trial(
        optuna.trial.create_trial(state=optuna.trial.TrialState.FAIL, user_attrs={"reason": "no \x1b[31m", "x": 1})
    )
    study.add_trial(
        optuna.trial.create_trial(state=optuna.trial.TrialState.FAIL, user_attrs={"reason": ["no", 1], "x": 1})
    )
    study.add_trial(optuna.trial.create_trial(value=0.5, user_attrs={"trial_id": "\x1b\u202e"}))
    write_search_file(tmp_path, sampler="\x1b[31m")
    found = read_study(tmp_path)
    assert str(found.settings).isprintable()
    assert [reason for reason, _ in found.refused] == ["no \\x1b[31m", "['no', 1]"]
    assert found.trials[-1].trial_id == "\\x1b\\u202e"


def test_a_study_whose_attributes_are_none_is_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "study.log"
    study = optuna.create_study(study_name="search", storage=JournalStorage(JournalFileBackend(str(path))))
    study.add_trial(optuna.trial.create_trial(value=0.5, user_attrs={"trial_id": "0f3a"}))
    path.write_text(path.read_text().replace('{"trial_id":"0f3a"}', '"x"'))
    write_search_file(tmp_path, storage=f"journal:///{path}")
    assert "cannot be read" in read_study(tmp_path).note


def test_a_study_whose_parameters_have_no_names_is_a_sentence(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/study.db"
    study = optuna.create_study(study_name="search", storage=url)
    floats = optuna.distributions.FloatDistribution(0, 1)
    study.add_trial(optuna.trial.create_trial(value=0.5, params={"x": 0.5}, distributions={"x": floats}))
    with contextlib.closing(sqlite3.connect(tmp_path / "study.db")) as connection, connection:
        connection.execute("UPDATE trial_params SET param_name = NULL")
    write_search_file(tmp_path)
    assert "cannot be read: trial 0 has parameters" in read_study(tmp_path).note


def test_a_study_of_very_many_entries_is_read_only_when_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("analysis.search.study.MOST_ENTRIES", 300)
    folder = searches.write(tmp_path / "results", random.Random(0), 0)
    for storage, name in (("sqlite:////data/study.db", "study.db"), ("journal:////data/study.log", "study.log")):
        facts = json.loads((folder / "search.json").read_text())
        (folder / "search.json").write_text(json.dumps(facts | {"storage": storage}))
        assert read_study(folder).trials
        with monkeypatch.context() as fewer:
            fewer.setattr("analysis.search.study.MOST_ENTRIES", 9)
            assert re.search(r"may have 9 entries.* has \d+\. .*pass --storage URL", read_study(folder).note)
            assert read_study(folder, storage.replace("/data", str(folder))).trials, name


def test_a_search_file_of_gigabytes_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "search.json").open("wb") as file:
        file.truncate(2**40)  # of holes: no disk has as much, nor memory
    assert "at most 67,108,864 bytes" in read_study(tmp_path).note
