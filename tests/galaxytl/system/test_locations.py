"""A real S3 API, because what it refuses and how it says so is not in our hands."""

from __future__ import annotations

import io
import json
import socket
import urllib.request
from collections.abc import Iterator
from functools import partial
from itertools import count
from pathlib import Path

import h5py
import numpy as np
import pytest

from galaxytl.data import DataError, open_dataset
from galaxytl.data.convert import ConvertOptions, convert
from galaxytl.data.files.manifest import NAME, UNFINISHED
from galaxytl.system.locations import BLOCK, BlockFile, is_remote, locate
from tests.galaxies import LABELS, killed_conversions, make_bucket, make_images, s3_server, write_hdf5

numbers = count()


NARROW = {"ans": LABELS[:8]} | {name: np.full(8, np.nan) for name in ("ra", "dec", "redshift", "pxscale")}


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """8 galaxies."""
    return write_hdf5(tmp_path_factory.mktemp("few") / "g.h5", images=make_images(8), **NARROW)


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with s3_server() as url:
        yield url


@pytest.fixture
def bucket(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URI of an empty bucket that the environment's settings reach."""
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL_S3", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    return make_bucket(endpoint, f"galaxies-{next(numbers)}")


def names_in(uri: str) -> list[str]:
    location = locate(uri)
    return [file.location.path.removeprefix(location.path + "/") for file in location.files()]


SMALL = ConvertOptions(images_per_shard=3)


def test_folder_in_s3_and_back(bucket: str, few: Path, tmp_path: Path) -> None:
    shared = convert(str(few), f"{bucket}/shared/galaxy10/", SMALL)
    shards = [f"data/galaxy10-0000{i}-of-00003.parquet" for i in range(3)]
    assert names_in(f"{bucket}/shared/galaxy10") == [*shards, NAME]
    dataset = open_dataset(f"{bucket}/shared/galaxy10/", cache=tmp_path / "other node")
    assert dataset.fingerprint == shared.fingerprint == open_dataset(str(few)).fingerprint
    assert np.array_equal(dataset.resized(256).images, make_images(8))
    assert convert(str(few), f"{bucket}/shared/galaxy10", SMALL).already_there
    back = convert(f"{bucket}/shared/galaxy10", str(tmp_path / "back.h5"))
    assert back.fingerprint == shared.fingerprint
    with h5py.File(tmp_path / "back.h5") as file:
        assert np.array_equal(file["images"][:], make_images(8))


def test_single_files_in_s3(bucket: str, few: Path, tmp_path: Path) -> None:
    for name in ("galaxies.h5", "galaxies.parquet"):
        sent = convert(str(few), f"{bucket}/{name}")
        dataset = open_dataset(f"{bucket}/{name}", cache=tmp_path / "other node")
        assert dataset.fingerprint == sent.fingerprint
        assert np.array_equal(dataset.labels, LABELS[:8])
        assert convert(str(few), f"{bucket}/{name}").already_there
    assert names_in(bucket) == ["galaxies.h5", "galaxies.parquet"]


def test_hdf5_in_s3_with_chunks_across_images(bucket: str, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "auto.h5", "w") as file:
        file.create_dataset("images", data=make_images(8), chunks=(5, 16, 32, 1), compression="gzip")
        file["ans"] = LABELS[:8]
    place = locate(f"{bucket}/auto.h5")
    with (tmp_path / "auto.h5").open("rb") as content:
        place.write(content)
    assert np.array_equal(open_dataset(place.uri, cache=tmp_path / "other node").resized(256).images, make_images(8))


def test_killed_on_its_way_to_s3_and_run_again(
    bucket: str, galaxies_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a process that really dies, after the first of three shards."""
    monkeypatch.setenv("GALAXYTL_CACHE_DIR", str(tmp_path))
    killed_conversions(galaxies_file, [("20", f"{bucket}/g")])
    assert names_in(f"{bucket}/g") == ["data/galaxy10-00000-of-00003.parquet", UNFINISHED]
    with pytest.raises(DataError, match="its conversion was cut off"):
        open_dataset(f"{bucket}/g")
    wanted = convert(str(galaxies_file), f"{bucket}/g", ConvertOptions(images_per_shard=10)).fingerprint
    assert len(names_in(f"{bucket}/g")) == 5  # none of the first try is left
    assert open_dataset(f"{bucket}/g").resized(256).images.shape == (40, 256, 256, 3)
    assert wanted == open_dataset(str(galaxies_file)).fingerprint
    assert not list((tmp_path / "scratch").iterdir())


def test_a_folder_of_something_else_is_left_alone(bucket: str, few: Path) -> None:
    locate(f"{bucket}/mine/thesis.tex").write(io.BytesIO(b"irreplaceable"))
    with pytest.raises(DataError, match="--to must name a place where nothing is yet"):
        convert(str(few), f"{bucket}/mine")
    assert names_in(f"{bucket}/mine") == ["thesis.tex"]


def test_query_goes_before_the_environment(bucket: str, endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    host = endpoint.removeprefix("http://")
    uri = f"s3://key:secret@{bucket.removeprefix('s3://')}/a/b?endpoint_override={host}&scheme=http&region=eu-west-1"
    place = locate(uri)
    assert place.kind() == "nothing"
    assert "secret" not in place.uri
    assert (place.filesystem.region, place.path) == ("eu-west-1", f"{bucket.removeprefix('s3://')}/a/b")


def test_nothing_there(bucket: str, few: Path) -> None:
    with pytest.raises(DataError, match="/nowhere does not exist"):
        open_dataset(f"{bucket}/nowhere")
    for uri in ("s3://no-such-bucket/galaxy10/", "s3://no-such-bucket"):
        for action in (open_dataset, partial(convert, str(few))):
            with pytest.raises(DataError, match="the bucket must exist; no-such-bucket does not"):
                action(uri)


def test_access_refused(bucket: str, endpoint: str, few: Path) -> None:
    def ask_for_keys_after(requests: int) -> None:
        plain = {"Content-Type": "text/plain"}
        address, body = f"{endpoint}/moto-api/reset-auth", str(requests).encode()
        urllib.request.urlopen(urllib.request.Request(address, body, plain, method="POST")).close()

    ask_for_keys_after(0)
    try:
        for action in (open_dataset, partial(convert, str(few))):
            with pytest.raises(DataError, match=r"access must be allowed; galaxies-.* refuses it"):
                action(f"{bucket}/galaxy10/")
    finally:
        ask_for_keys_after(10**9)


@pytest.mark.usefixtures("bucket")
def test_no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        with pytest.raises(DataError, match=f"the server must answer; .*127.0.0.1:{port} does not"):
            open_dataset("s3://galaxies/galaxy10/")


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("ftp://host/galaxies.h5", "must be a path, file://, s3://.*; got 'ftp://host/galaxies.h5'"),
        ("s4://user:secret@bucket/galaxies.h5", "got 's4://bucket/galaxies.h5'"),
        ("file://elsewhere/galaxies.h5", "must name a file of this machine"),
        ("s3:///galaxies.h5", "must be s3://bucket/path"),
        ("s3://bucket/galaxies.h5?regoin=eu", "options are endpoint_override, .*; got 'regoin'"),
    ],
)
def test_uris_that_name_no_place(uri: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        open_dataset(uri)


def test_file_uri_with_a_space(tmp_path: Path) -> None:
    path = write_hdf5(tmp_path / "my galaxies.h5")
    assert open_dataset(path.as_uri()).fingerprint == open_dataset(str(path)).fingerprint


def test_hidden_files_are_no_data(tmp_path: Path) -> None:
    for name in ("b.parquet", "a/c.parquet", ".a.converting-x/content/d.parquet", "notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(json.dumps(name))
    files = locate(str(tmp_path)).files(".parquet")
    assert [file.location.uri for file in files] == [f"{tmp_path}/a/c.parquet", f"{tmp_path}/b.parquet"]
    assert files[1].size == len('"b.parquet"')


def test_links_of_hugging_faces_cache_are_followed_and_no_others(tmp_path: Path) -> None:
    (tmp_path / "blobs" / "deep").mkdir(parents=True)
    for name in ("a", "deep/b.parquet", "deep/c.PARQUET"):
        (tmp_path / "blobs" / name).write_text(name)
    folder = tmp_path / "snapshots" / "0a1b"
    folder.mkdir(parents=True)
    (folder / "a.parquet").symlink_to("../../blobs/a")
    (folder / "deep").symlink_to("../../blobs/deep")
    (folder / "deep" / "round").symlink_to("..")
    found = locate(str(folder)).files(".parquet")
    assert [file.location.path.removeprefix(f"{folder}/") for file in found] == [
        "a.parquet",
        "deep/b.parquet",
        "deep/c.PARQUET",
    ]
    (tmp_path / "mine").symlink_to(folder)  # the user's own way to it
    assert len(locate(str(tmp_path / "mine")).files(".parquet")) == 3
    (folder / "gone.parquet").symlink_to("../../blobs/gone")
    with pytest.raises(DataError, match=r"gone\.parquet is a link that leads nowhere, to \.\./\.\./blobs/gone"):
        locate(str(folder)).files(".parquet")
    (tmp_path / "private").mkdir()
    (tmp_path / "private" / "a.parquet").touch()
    for target in ("../../private", "../../private/a.parquet", "/etc", str(tmp_path)):
        (folder / "gone.parquet").unlink()
        (folder / "gone.parquet").symlink_to(target)
        with pytest.raises(DataError, match=r"gone\.parquet must lie in its folder; it is a link that leads out of it"):
            locate(str(folder)).files(".parquet")


def test_a_name_that_is_no_utf8_is_said_in_one_line() -> None:
    with pytest.raises(DataError, match=r"must be UTF-8; got '.*gal\\udcff\.h5': rename it"):
        locate("gal\udcff.h5")


def test_blocks_of_a_remote_file(tmp_path: Path) -> None:
    content = np.random.default_rng(0).bytes(2 * BLOCK + 1000)
    (tmp_path / "file").write_bytes(content)
    place = locate(str(tmp_path / "file"))
    with BlockFile(place.filesystem.open_input_file(place.path)) as file:
        for at, length in ((0, 10), (BLOCK - 5, 10), (5, BLOCK * 2), (2 * BLOCK + 990, 100), (3 * BLOCK, 5)):
            file.seek(at)
            assert file.read(length) == content[at : at + length]
        assert file.seek(0, 2) == len(content)


def test_what_another_machine_has_to_answer_for() -> None:
    assert is_remote("s3://b/g?region=eu-west-1")
    assert not any(map(is_remote, ("simulated:100:3", "galaxies.h5", "file:///g.h5")))
