"""Known datasets by their names, where a command wants a path: fetched once, into the cache folder's `datasets/`.

    uri, reading = located("galaxy10-sdss", AS_FOUND, reporter)     # a path; other names and paths stay what they are
    fetch_preset("owner/name:config", folder, reporter)

A file or folder of that name wins. What was fetched is opened as it lies, without the network. Hugging Face's datasets
come by `huggingface_hub`: the Parquet files of the dataset itself, else those that the hub has converted them to, else
its pictures, which lie in a folder a class or beside a metadata.csv (the hub's imagefolder).
Tested against servers on loopback; untried against the real ones.
"""

from __future__ import annotations

import contextlib
import glob
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Final

from galaxytl.data import galaxy10_sdss
from galaxytl.data.download.fetch import ZENODO, fetch_hdf5
from galaxytl.data.download.http import RemoteFile, is_reachable, one_at_a_time
from galaxytl.data.files import pictures
from galaxytl.data.files.catalogue import METADATA
from galaxytl.data.files.containers import PARTS
from galaxytl.data.galaxy10 import FILE_NAME
from galaxytl.data.progress import Reporter
from galaxytl.system.cache import cache_dir
from galaxytl.system.credentials import without_secrets
from galaxytl.system.locations import DataError
from galaxytl.trial.reading import Reading


@dataclass(frozen=True)
class Preset:
    """A file that is known by name."""

    remote: RemoteFile
    file_name: str
    class_names: tuple[str, ...] = ()
    """Where the file itself does not say them, and they are not Galaxy10 DECaLS's."""


SDSS: Final = RemoteFile(
    "https://zenodo.org/records/10844811/files/Galaxy10.h5",
    "969a6b1cefcc36e09fffa86febd2f699a4aa19b837ba0427f01b0bc6ded458af",
)
"""Galaxy10 SDSS: 21,785 images of 69 x 69 pixels. Address and SHA-256 as astroNN has them in
astroNN/datasets/galaxy10sdss.py; earlier versions had it from astro.utoronto.ca/~bovy/Galaxy10/Galaxy10.h5, with the
same SHA-256."""
PRESETS: Final = {
    "galaxy10": Preset(ZENODO, FILE_NAME),
    "galaxy10-sdss": Preset(SDSS, "Galaxy10_SDSS.h5", galaxy10_sdss.CLASS_NAMES),
}
HUB_NAME: Final = re.compile(r"([A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*?)(?::([\w.-]+))?")
HUB: Final = "https://huggingface.co"
FILE_ENDING: Final = re.compile(r"\.(h5|hdf5?|parquet|csv|npz|npy|fits?|tar|zip|json|txt|gz|png|jpe?g)$", re.IGNORECASE)
CONVERTED: Final = "refs/convert/parquet"
"""Branch in which the hub keeps what it has converted a dataset to, as config/split/0000.parquet."""
NO_CONFIG: Final = re.compile(r"data|default|train.*|val.*|test.*|dev")
"""Folders that hold parts of one dataset, and are none of several."""


def located(uri: str, reading: Reading, reporter: Reporter) -> tuple[str, Reading]:
    """Return where the dataset of that name lies, fetched now where it is not there, and how it is read; what is no
    such name, and what is a file or folder, as it is. Raises DataError."""
    if not is_name(uri):
        return uri, reading
    path = place_of(uri)
    if not path.exists():
        reporter.say(f"{uri} is not here yet: it is fetched to {path}")
        fetch_preset(uri, path, reporter)
    names = PRESETS[uri].class_names if uri in PRESETS else ()
    return str(path), replace(reading, class_names=reading.class_names or names)


def fetched(uri: str, reading: Reading, reporter: Reporter) -> tuple[str, Reading]:
    """Return what `located` does; a path at which nothing lies yet, and whose file name is that of a known dataset, is
    fetched to just there. Raises DataError."""
    missing = Path(uri)
    known = {preset.file_name: preset for preset in PRESETS.values()}
    if missing.name in known and not missing.exists():
        fetch_hdf5(known[missing.name].remote, missing, reporter)
    return located(uri, reading, reporter)


def is_name(uri: str) -> bool:
    """Return whether it names a known dataset or one of the hub, and no file or folder, there or missing."""
    if Path(uri).exists():
        return False
    owner = uri.split("/", maxsplit=1)[0]
    is_path = FILE_ENDING.search(uri) or Path(owner).exists()
    return uri in PRESETS or bool(HUB_NAME.fullmatch(uri) and not is_path)


def place_of(name: str) -> Path:
    """Return where a dataset is kept on this machine."""
    file_name = PRESETS[name].file_name if name in PRESETS else re.sub("[/:]", "--", name)
    return cache_dir().resolve() / "datasets" / file_name


def fetch_preset(name: str, target: Path, reporter: Reporter) -> None:
    """Fetch what `is_name` knows; raises DataError where it cannot be had."""
    if name in PRESETS:
        fetch_hdf5(PRESETS[name].remote, target, reporter)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with one_at_a_time(target, reporter):
        if not target.exists():
            _fetch_from_hub(name, target)
    reporter.say(f"{target}: the files of {name} on Hugging Face, checked by huggingface_hub")


def _fetch_from_hub(name: str, target: Path) -> None:
    """Fetch into a folder beside it, where an interrupted fetch goes on, which gets its name when it is complete."""
    match, endpoint = HUB_NAME.fullmatch(name), os.environ.get("HF_ENDPOINT") or None
    assert match
    repository, config = match[1], match[2] or ""
    part = target.with_name(f"{target.name}.part")
    with _explained(name):
        from huggingface_hub import HfApi, snapshot_download
        from huggingface_hub.errors import RevisionNotFoundError

        if not is_reachable(endpoint or HUB):  # huggingface_hub itself waits without end
            raise ConnectionError("it does not answer")
        api, revision, top = HfApi(endpoint=endpoint), "main", ""
        own = api.list_repo_files(repository, repo_type="dataset")
        patterns = parquet_files(name, own, config)
        if not patterns:
            with contextlib.suppress(RevisionNotFoundError):  # the hub has not converted it
                converted = api.list_repo_files(repository, repo_type="dataset", revision=CONVERTED)
                patterns, revision = parquet_files(name, converted, config), CONVERTED
        if not patterns:
            top, patterns = imagefolder(own, config)
            revision = "main"
        if not patterns:
            rule = "must hold Parquet files, or pictures in a folder a class or beside a metadata.csv"
            raise DataError(f"{name} {rule}; Hugging Face has none of it{' so called' * bool(config)}")
        snapshot_download(
            repository,
            repo_type="dataset",
            revision=revision,
            allow_patterns=patterns,
            local_dir=part,
            endpoint=endpoint,
        )
    shutil.rmtree(part / ".cache", ignore_errors=True)  # what huggingface_hub remembers of the download
    (part / top).rename(target)
    shutil.rmtree(part, ignore_errors=True)


def parquet_files(name: str, files: Sequence[str], config: str) -> list[str]:
    """Return the Parquet files, of a listing, of one config of a dataset; "": of the only one.

    Raises DataError where there are several, and where the hub has converted a part of it only.
    """
    found = [file for file in files if file.endswith(".parquet") and _is_inside(file) and not _is_metadata(file)]
    if config:
        found = [file for file in found if config in PurePosixPath(file).parts[:-1]]
    if any(part.startswith("partial-") for file in found for part in PurePosixPath(file).parts):
        raise DataError(f"{name} is too large for the hub to have converted all of it to Parquet, and has none itself")
    configs = sorted({file.split("/")[0] for file in found if "/" in file})
    several = [folder for folder in configs if not NO_CONFIG.fullmatch(folder)]
    if len(configs) > 1 and several and not config:
        raise DataError(f"{name} holds several datasets: name one, like {name}:{several[0]}; got {', '.join(configs)}")
    return found


def imagefolder(files: Sequence[str], config: str) -> tuple[str, list[str]]:
    """Return the folder, of a listing, below which pictures lie in a folder a class, or beside a catalogue, and
    patterns of what is to be fetched; no pattern where there is none. config: the folder of one dataset of several."""
    start = f"{config}/" if config else ""
    found = [file for file in files if file.startswith(start) and _is_inside(file)]
    shown = [file for file in found if file.lower().endswith(pictures.ENDINGS)]
    catalogues = [file for file in found if _is_metadata(file)]
    if not shown or not (catalogues or any("/" in file.removeprefix(start) for file in shown)):
        return "", []
    top = PurePosixPath(os.path.commonpath([str(PurePosixPath(file).parent) for file in (*shown, *catalogues)]))
    while not catalogues and any(PurePosixPath(file).parent == top for file in shown):
        top = top.parent  # the folder of the only class, or of the only part of its split
    if top.name.lower() in PARTS:
        top = top.parent
    escaped = "" if top == PurePosixPath() else f"{glob.escape(str(top))}/"
    endings = sorted({f"*{PurePosixPath(file).suffix}" for file in shown})
    return str(top), [f"{escaped}{pattern}" for pattern in (*endings, *(f"*{name}" for name in METADATA))]


def _is_inside(file: str) -> bool:
    return ".." not in PurePosixPath(file).parts and not file.startswith("/")


def _is_metadata(file: str) -> bool:
    return PurePosixPath(file).name in METADATA


@contextlib.contextmanager
def _explained(name: str) -> Iterator[None]:
    """Say what could be done where a dataset of the hub cannot be had."""
    try:
        yield
    except DataError:
        raise
    except ImportError as error:
        raise DataError(
            f"'{name}' is no file or folder here; for a dataset of that name on Hugging Face, "
            "pip install 'galaxytl[hub]'"
        ) from error
    except Exception as error:  # huggingface_hub's own, and those of the HTTP library that it happens to use
        reason = without_secrets(" ".join(str(error).split()))[:300] or type(error).__name__
        raise DataError(
            f"'{name}' is no file or folder here, and cannot be had from Hugging Face: {reason}. Check the name and "
            "the network (HF_ENDPOINT, HF_TOKEN, HF_HUB_OFFLINE), or, on a machine that has one, run python -m "
            f"galaxytl.data fetch {name} --out FOLDER, and copy that folder here"
        ) from error
