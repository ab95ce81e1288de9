"""Forty forms in which people type passwords and keys, and every place where one could come out."""

from __future__ import annotations

import io
import json
import logging
import re
import shlex
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
import ray
import requests
import sqlalchemy
from rich.console import Console

from analysis.run.__main__ import main as analyse
from galaxytl.data.__main__ import main as data_command
from galaxytl.learning.outcome import failure_message
from galaxytl.system.command import run_command
from galaxytl.system.credentials import (
    forget,
    remember,
    remember_environment,
    secrets_of,
    without_secrets,
)
from galaxytl.system.locations import DataError, check_address, locate
from sweep.command_line import parse
from sweep.doctor.__main__ import findings_table
from sweep.doctor.checks import Finding
from sweep.results.lease import Lease, in_folder
from sweep.scheduling.cluster import _WithoutSecrets

WORDS = re.compile(r"hush\d", re.IGNORECASE)
"""Every secret here is made of these."""
AWKWARD = "Hush1/hush2@hush3+hush4:hush5"
QUOTED = quote(AWKWARD, safe="")
TAKEN = [  # as it must be written: it goes on working
    f"s3://AKIA:{QUOTED}@bucket/galaxies",
    "s3://AKIA:hush1+hush2@bucket/galaxies?region=eu-west-1",
    "s3://AKIA:hush1@hush2@bucket/galaxies",
    f"S3://AKIA:{quote(AWKWARD, safe='').lower()}@bucket/galaxies",
    f"gs://me:{QUOTED}@bucket/galaxies",
    "gs://bucket/galaxies?access_token=ya29.hush1-hush2",
    "hdfs://me:hush1@host:8020/galaxies",
    f"postgresql://me:{QUOTED}@host/db",
    "postgresql://me:hush1/hush2@host/db",
    "postgresql+psycopg2://me:hush1?hush2#hush3@host:5432/db",
    "postgresql://:hush1hush2@host/db",
    "postgresql://me:hush1 hush2@host/db",
    "postgresql://me:hush1'hush2@host/db",
    'postgresql://me:hush1"hush2@host/db',
    "postgresql://me:hush1<hush2>&hush3@host/db",
    "postgresql://host/db?user=me&password=hush1",
    "postgresql://host/db?password=hush1%40hush2&user=me",
    "postgresql://host/db?user=me&passwd=hush1/hush2",
    "postgresql://host/db?sslmode=require&sslpassword=hush1+hush2",
    "postgresql://host/db?PASSWORD=hush1",
    "postgresql://host/db?p%61ssword=hush1hush2",
    "postgresql://host/db?user=me;password=hush1hush2",
    "mysql+pymysql://me:hush1@host/db?ssl_key_password=hush2",
    "mysql://host/db?user=me&passwd=hush1&hush2",
    "mariadb://me:hüsh-hush1@host/db",
    "mssql+pyodbc:///?odbc_connect=" + quote_plus("DRIVER=x;SERVER=y;UID=me;PWD=hush1hush2"),
    "oracle://me:hush1%2Fhush2@host/db",
    "redis://:hush1@host:6379/0",
    f"postgresql://me:{'hush1' * 60}@host/db",
    "https://host/galaxies.h5?access_token=hush1",
    "https://host/galaxies.h5?secret_key=hush1&x=1",
    "https://host/galaxies.h5?api-key=hush1",
    "https://bucket.s3.amazonaws.com/a?X-Amz-Credential=hush1&X-Amz-Security-Token=hush2&X-Amz-Signature=hush3",
    "https://account.blob.core.windows.net/galaxies?sv=2024&sp=r&sig=hush1%2Bhush2%3D",
    "abfs://account.dfs.core.windows.net/galaxies?sig=hush1/hush2=",
    "s3://bucket/galaxies?secret_key=hush1/hush2",
    "s3://bucket/galaxies?aws_session_token=hush1",
    "https://me:hush1@host/galaxies.h5",
    "https://hush1hush2@host/galaxies.h5",
    "https://host/galaxies.h5#access_token=hush1hush2",
    "https://host/galaxies.h5?proxy=http://me:hush1hush2@host:3128",
    "https://host/galaxies.h5?proxy=http%3A%2F%2Fme%3Ahush1hush2%40host",
    "DefaultEndpointsProtocol=https;AccountName=me;AccountKey=hush1/hush2==;EndpointSuffix=core.windows.net",
    "jdbc:sqlserver://host:1433;databaseName=db;user=me;password=hush1hush2",
    "host=place dbname=db user=me password='hush1 hush2'",
    "postgresql://me@host/db?options=-c%20password%3Dhush1hush2",
]
REFUSED = [  # what is torn would be taken for a bucket or a host
    f"s3://AKIA:{AWKWARD}@bucket/galaxies",
    "s3://AKIA:hush1/hush2@bucket/galaxies",
    "s3://AKIA:hush1?hush2@bucket/galaxies",
    "s3://AKIA:hush1#hush2@bucket/galaxies",
    "s3://AKIA:hush1@hush2/hush3@bucket/galaxies",
    "gs://me:12/hush1@bucket/galaxies",
    "hdfs://me:hush1/hush2@host/galaxies",
    "postgresql://me:hush1@hush2@host/db",
    "mysql+pymysql://me:hush1@hush2/hush3@host/db",
    "ftp://me:hush1@hush2@host/galaxies.h5",
]
MISTYPED = [
    "s3:/AKIA:hush1@bucket/galaxies",
    "postgresql:me:hush1@host/db",
    "AKIA:hush1/hush2@bucket/galaxies",
    "//me:hush1hush2@host/a",
]
FORMS = [*TAKEN, *REFUSED, *MISTYPED]


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    forget()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")  # nothing answers there
    monkeypatch.setattr("galaxytl.system.locations._s3_filesystem", lambda settings: settings)
    yield
    forget()


def leaks(text: str) -> list[str]:
    return WORDS.findall(text)


def errors_of_libraries(uri: str) -> Iterator[Exception]:
    """What they say of an address, in their own words and parts."""
    try:
        sqlalchemy.create_engine(uri).connect()
    except Exception as error:
        yield error
    try:
        requests.get(uri, timeout=0.01, proxies={"https": "http://127.0.0.1:9"})
    except Exception as error:
        yield error
    try:
        locate(uri)
    except Exception as error:
        yield error
    parts = dict(re.findall(r"[?&]([^=&]*)=([^&]*)", uri))
    yield OSError(f"cannot reach {uri}, with {parts}: {json.dumps({'address': uri})}")


@pytest.mark.parametrize("uri", FORMS)
def test_no_secret_comes_out_of_a_command_that_fails(
    uri: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Options of all commands, refused or not; then what libraries say, in the terminal and in a traceback's file."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setattr(sys, "argv", ["sweep.run", "--storage", uri])
    typed = [["--storage", uri], [f"--storage={uri}"], ["--search", "optuna", "--storage", uri], [f"--sotrage={uri}"]]
    typed += [["--data", uri, "--trials", uri], ["--out", uri], ["--search", "optuna", "--warm-start", f"paper,{uri}"]]
    for words in typed:
        run_command(lambda words=words: print(parse([*words, "--set", "x"], "")))  # type: ignore[misc]
    for error in errors_of_libraries(uri):
        for known in ((Exception,), ()):

            def story(error: Exception = error) -> int:
                print(f"note: {error}")
                raise error

            run_command(story, known=known)
    said = capsys.readouterr()
    assert leaks(said.out + said.err) == []
    assert len(said.err.splitlines()) > len(typed)
    kept = [path.read_text() for path in tmp_path.rglob("*") if path.is_file()]
    assert kept
    assert leaks("".join(kept)) == []


@pytest.mark.parametrize("uri", FORMS)
def test_no_secret_is_kept_in_a_file_or_shown_in_a_table(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remember(uri)
    monkeypatch.setattr(sys, "argv", ["sweep/run.py", f"--storage={uri}", uri])
    texts = []
    console = Console(width=60, record=True, file=io.StringIO())
    for number, error in enumerate(errors_of_libraries(uri)):
        report = tmp_path / "errors" / f"{number}.txt"
        texts.append(failure_message(error, report))
        texts += [report.read_text()] if report.exists() else []
        console.print(findings_table([Finding("here", "dataset", "FAIL", str(error))], console.width))
        record = logging.LogRecord("ray", logging.ERROR, "", 0, "%s", (error,), (type(error), error, None))
        texts.append(_WithoutSecrets().format(record))
    texts += map(without_secrets, [shlex.join(sys.argv), repr(sys.argv), json.dumps(sys.argv)])
    texts.append(ray._private.utils.get_entrypoint_name())  # what Ray lists as a job's command
    assert leaks("".join(texts)) == []
    assert leaks(re.sub(r"\s", "", console.export_text())) == []  # whole, though the table folds it


def test_what_stands_where_a_secret_stands_is_masked_though_nobody_has_said_it() -> None:
    """Files of settings, arguments and dictionaries, as libraries quote them in errors."""
    for text in (
        "Source contains parsing errors: '~/.aws/credentials' [line 3]: 'aws_secret_access_key = hush1hush2'",
        "connect(host='place', password='hush1 hush2')",
        'parameters {"user": "me", "password": "hush1 \\" hush2", "port": 1}'.replace(' \\" ', " "),
        "{'AWS_SESSION_TOKEN': 'hush1/hush2='}",
        "GET https%3A%2F%2Fme%3Ahush1%2Fhush2%40place%2Fdb",
        "https://hush1hush2@place/repository.git",
    ):
        assert leaks(without_secrets(text)) == []
        assert "place" not in text or "place" in without_secrets(text)


def test_secrets_of_the_environment_are_known_by_their_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush1/hush2+hush3")
    monkeypatch.setenv("PGPASSWORD", "hush4hush5")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", "/home/me/of-a-token")
    monkeypatch.setenv("PWD", "/home/me/galaxies")
    monkeypatch.setenv("https_proxy", "http://me:hush6@place:3128")
    remember_environment()
    said = "signed hush1%2Fhush2%2Bhush3; hush4hush5, hush6; /home/me/galaxies /home/me/of-a-token place"
    assert without_secrets(said) == "signed ***; ***, ***; /home/me/galaxies /home/me/of-a-token place"


@pytest.mark.parametrize("part", [":/", "-token", "%3A%2F%2F", "://a:", "password = "])
def test_a_text_made_to_take_long_does_not(part: str) -> None:
    started = time.monotonic()
    without_secrets(part * 8000)
    list(secrets_of(part * 8000))
    assert time.monotonic() - started < 3  # a quarter of a second; it was more than ten, and grew with the square


def test_no_secret_stands_in_a_lease(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["sweep/run.py", *FORMS])
    for uri in FORMS:
        remember(uri)
    with Lease(in_folder(tmp_path)):
        assert leaks((tmp_path / "lease.json").read_text()) == []


@pytest.mark.parametrize("uri", [uri for uri in TAKEN if uri.lower().startswith(("postgres", "mysql", "maria"))])
def test_no_secret_of_a_study_is_shown_or_kept(uri: str) -> None:
    from sweep.search.export import StudyError, open_storage, without_password

    assert leaks(without_password(uri)) == []
    with pytest.raises(StudyError) as refused:
        open_storage(uri)
    assert leaks(str(refused.value)) == []


@pytest.mark.parametrize("uri", FORMS[::5])
def test_no_secret_comes_out_of_the_other_commands(uri: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert data_command(["check", uri, "--json"]) == 2
    assert analyse([uri, "--out", uri]) == 2
    said = capsys.readouterr()
    assert said.err.count("error: ") == 2
    assert leaks(said.out + said.err) == []


def test_what_tears_an_address_is_refused_with_the_safe_way_and_nothing_else_is() -> None:
    for uri in REFUSED:
        with pytest.raises(DataError, match=r"must have %2F, %40.* It is safer in ") as refused:
            check_address(uri)
        assert leaks(str(refused.value)) == []
    for uri in (*TAKEN, "s3://b/a@b:c", "s3://bucket", "hdfs://[::1]:8020/a", "hdfs://me:x@[::1]:8020/a", "a/b@c:d"):
        check_address(uri)
    for uri in (
        "sqlite:////home/me@lab/a@b.db",
        "journal:////home/me@lab/a@b",
        "file:///a:b@c@d",
        "mysql://me@host/db?x=a@b",
    ):
        check_address(uri)
    with pytest.raises(DataError, match=r"AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile"):
        check_address("s3://k:a/b@bucket")
    with pytest.raises(DataError, match=r"in ~/\.pgpass, or PGPASSWORD"):
        check_address("postgresql+psycopg2://me:a@b@host/db")


def test_a_key_in_the_query_of_s3_is_refused_with_the_safe_way() -> None:
    with pytest.raises(DataError, match=r"got 'secret_key'.*AWS_SECRET_ACCESS_KEY"):
        locate("s3://bucket/a?secret_key=hush1")


def test_what_is_no_secret_stays_as_it_is() -> None:
    for text in (
        "run --data s3://b/a@b --address host:6379 --set learning_rate=1e-3,1e-4",
        "http://127.0.0.1:5000/bucket?region=eu-west-1&anonymous=true 12:30:45 me@host",
        "RAY_AUTH_MODE=token sqlite:////home/me/study.db monkey=3 passes=2 design=1",
    ):
        assert without_secrets(text) == text
    for uri in ("s3://bucket/a:b@c", "postgresql://me@place:5432/db@x", "s3://k:x@bucket/a?region=here@x", "host:6379"):
        remember(uri)
    assert without_secrets("s3 bucket region place") == "s3 bucket region place"
    remember("postgresql://postgres:postgres@host/db")
    assert without_secrets("postgresql://host and postgres") == "postgresql://host and ***"
    remember("postgresql://me:a1@host/db")  # so short that it stands in every text
    assert without_secrets("trial a1") == "trial a1"
    assert without_secrets("postgresql://me:a1@host/db") == "postgresql://me:***@host/db"
    remember("postgresql://me:12345@host/db")
    assert without_secrets('{"loss": 0.12345, "12345": 123456}') == '{"loss": 0.12345, "***": 123456}'
