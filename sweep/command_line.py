"""The command line of `python -m sweep.run`, checked as far as it can be before any file is opened."""

from __future__ import annotations

import argparse
import dataclasses
import os
import re
import shlex
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

from galaxytl.networks.families import BACKBONES, is_features
from galaxytl.results.ranking import MOST_UNRANKED
from galaxytl.results.search.search_file import OBJECTIVES
from galaxytl.results.sweep_file import ShardNumber
from galaxytl.system.command import Parser, UsageError, path, path_or_uri, whole_number
from galaxytl.system.credentials import without_secrets
from galaxytl.system.locations import SCHEMES
from galaxytl.trial import FOLD_FIELDS, SPEC_FIELDS
from galaxytl.trial.field_help import fields_text
from galaxytl.trial.reading import add_reading, reading_of
from galaxytl.trial.rules import ON_FEATURES
from sweep.grids import builtin, starts
from sweep.grids.axes import MAX_UNASKED, parse_value
from sweep.options import Options, SearchOptions
from sweep.progress.trackers import addresses
from sweep.scheduling.resources import MAX_PACKED, Where, share_of
from sweep.search.stopping import SCHEDULERS

LOG = "sweep.log"
"""Ray's messages, in the results folder."""
OF_SEARCH = tuple(field.name for field in dataclasses.fields(SearchOptions) if field.name != "storage")
"""Options that go with --search alone; argparse has None for those that were not given."""
OF_READING = (
    *("--image-column", "--label-column", "--class-names", "--fits-bands", "--fits-stretch", "--columns"),
    "--group-by",
)
"""Options that say how the dataset is read: those of `add_reading`."""
PLACES = ("", *SCHEMES)
"""Schemes of places for results; what --storage names by another is a database."""

COUNT, PACKED, NATURAL = whole_number(1, 10_000), whole_number(1, MAX_PACKED), whole_number(0, 10**9)
FOLDS = whole_number(2, int(SPEC_FIELDS["num_folds"].metadata["high"]))
"""Types of options."""
MOST_SHARDS = 1000
"""A job array of SLURM's has no more, unless its site says so (MaxArraySize in slurm.conf, 1001 by default)."""


def parse(argv: Sequence[str], description: str) -> Options:
    """Return what `argv` asks for, with defaults for the rest. `description` is for --help.

    Raises UsageError and SpecError.
    """
    given = make_parser(description).parse_args(argv)
    database, place = storages(given.storage or [])
    search = search_options(given, database) if given.search else None
    if not search:
        refuse_search_options(given, database)
    sizes = builtin.find(given.grid or "paper")
    if given.profile is not None:
        builtin.named("profile", given.profile, builtin.PROFILES)
    if given.weights_dir and not given.weights_dir.is_dir() and (given.weights_dir.exists() or not given.fetch):
        hint = "" if given.weights_dir.exists() else ": make it; the same command with --fetch downloads into it"
        raise UsageError(f"--weights-dir must be a folder; got {given.weights_dir}{hint}")
    settings = settings_of(given)
    if given.shard:
        check_shard(given, place)
    features = None
    if named := [name for name in settings.get("backbone", ()) if is_features(name) and not given.features]:
        raise UsageError(f"given features need their file: got backbone={named[0]}, and no --features FILE")
    if given.features:
        backbone, file = starts.named_features(given.features)
        starts.check_one_file(backbone, () if search else sizes.values())
        features = _file_of_features(file)
        settings = starts.on_features(backbone, settings, ON_FEATURES if search else starts.fields_of(sizes.values()))
    out = given.out or Path("results") / ("search" if search else sizes["paper"].name)
    home = given.shard.folder(out) if given.shard else out
    return Options(
        out=out,
        place=place and below(place, out.absolute().name),
        where=where_of(given, Path(os.devnull) if given.dry_run else home / LOG),
        sizes=sizes,
        seeds=given.seeds,
        settings=settings,
        data=given.data,
        reading=reading_of(given),
        official_split=given.split == "official",
        profile=given.profile,
        weights_dir=given.weights_dir and given.weights_dir.resolve(),
        accept_damaged=given.accept_damaged,
        diagnostics=given.diagnostics,
        retry_failed=given.retry_failed,
        keep=given.keep or "",
        yes=given.yes,
        dry_run=given.dry_run,
        search=search,
        features=features,
        trackers=addresses.parse(given.tracker or []),
        folds=given.folds or 0,
        fetch=given.fetch,
        words=tuple(argv),
        shard=given.shard,
    )


def settings_of(given: argparse.Namespace) -> dict[str, Any]:
    """Return the values of each field that --set and the options which are short for it give."""
    settings = parse_settings([*given.set, *([f"backbone={given.backbone}"] if given.backbone else [])])
    for name, value in (("group_by_sky", given.group_by_sky), ("fit", given.fit)):
        if value:
            if name in settings:
                option = "--" + name.replace("_", "-")
                raise UsageError(f"{option} is --set {name}={str(value).lower()}: give one of the two; got both")
            settings[name] = [value]
    if given.folds:
        check_folds(given, settings)
    return settings


def _file_of_features(text: str) -> Path:
    """Parse the path in --features, which argparse has seen with its name before it. Raises UsageError."""
    try:
        return path(text).resolve()
    except argparse.ArgumentTypeError as error:
        raise UsageError(f"--features {error}") from error


def check_folds(given: argparse.Namespace, settings: Mapping[str, Any]) -> None:
    """Raise UsageError for what does not go with --folds."""
    if named := [name for name in FOLD_FIELDS if name in settings]:
        raise UsageError(f"--folds sets num_folds and fold: give it or --set {named[0]}=...; got both")
    if given.split == "official":
        raise UsageError("--folds makes each image a test image once; it does not go with --split official")
    if "test_fraction" in settings:
        raise UsageError("--folds says how large the test part is: leave out --set test_fraction")


def check_shard(given: argparse.Namespace, place: str) -> None:
    """Raise UsageError for what does not go with --shard."""
    if given.search:
        raise UsageError(
            "--shard trains a part of a grid, which is known before it begins; a search chooses each trial by those "
            f"before it, and has one driver: leave out --shard {given.shard} or --search"
        )
    if place or given.tracker:
        raise UsageError(
            f"{'--storage' if place else '--tracker'} follows one driver, and shards are many; got --shard "
            f"{given.shard} with it. Let the shards end without it: then the same command without --shard, with it, "
            "passes on the rows of all"
        )


def where_of(given: argparse.Namespace, log: Path) -> Where:
    gpus = share_of(given.trials_per_gpu) if given.trials_per_gpu else given.gpus_per_trial
    return Where(None if given.address == "local" else given.address, given.cpus_per_trial, gpus, log)


def storages(given: Sequence[str]) -> tuple[str | None, str]:
    """Return, of what --storage names, one of each at most: the database of a search's study, and the place for
    results."""
    places = [uri for uri in given if scheme(uri) in PLACES]
    databases = [uri for uri in given if uri not in places]
    for uri in places:
        if not scheme(uri) and uri.endswith((".db", ".sqlite", ".sqlite3")):
            raise UsageError(f"--storage takes a study as a URL, like sqlite:///{uri}; got '{uri}'")
    if len(places) > 1 or len(databases) > 1:
        raise UsageError(f"--storage takes one place for results, and one study of a search; got {' and '.join(given)}")
    return (databases[0] if databases else None), (places[0] if places else "")


def scheme(uri: str) -> str:
    """Return that of a URI, in small letters; "" of a path. Raises UsageError for what is neither."""
    name, separator, _ = uri.partition("://")
    if not separator and (typo := re.match(r"[A-Za-z][A-Za-z0-9+.-]+:", uri)):
        raise UsageError(f"--storage takes a URI, like {typo[0]}//..., or a path, like ./{uri}; got '{uri}'")
    return name.lower() if separator else ""


def below(uri: str, name: str) -> str:
    """Return the folder `name` of a place; relative paths become absolute, for workers have other working folders."""
    if not scheme(uri):
        return str(Path(uri).absolute() / name)
    try:
        parts = urlsplit(uri)
    except ValueError as error:
        raise UsageError(f"--storage must be a path or a URI; got '{without_secrets(uri)}': {error}") from error
    return parts._replace(path=f"{parts.path.rstrip('/')}/{name}").geturl()


def search_options(given: argparse.Namespace, database: str | None) -> SearchOptions:
    """Return those of a search; raises UsageError for what does not go with --search."""
    if given.grid:
        raise UsageError(f"--grid and --search exclude each other; got --grid {given.grid} and --search optuna")
    if given.retry_failed:
        raise UsageError("--retry-failed applies to grids only; a search moves on to other trials")
    if given.seeds != 1:
        raise UsageError("--seeds repeats the trials of a grid; of a search, set the trials' seed with --set seed=N")
    if given.folds:
        raise UsageError(
            "--folds repeats the trials of a grid, for each fold; a search chooses by one validation part. Search "
            "first, then cross-validate its choice: --grid report/best.yaml --folds K"
        )
    values = {name: value for name in OF_SEARCH if (value := getattr(given, name)) is not None}
    objectives = values.get("objective", SearchOptions.objective)
    for name in objectives:
        builtin.named("objective", name, OBJECTIVES)
    if len(objectives) > 2 or len(set(objectives)) < len(objectives):
        raise UsageError(f"--objective takes one or two different names; got {','.join(objectives)}")
    if len(objectives) > 1 and given.scheduler not in (None, "none"):
        raise UsageError(
            f"--scheduler {given.scheduler} stops trials by their accuracy, which would leave holes in a Pareto "
            "front: with two objectives it must be none"
        )
    values["scheduler"] = given.scheduler or ("none" if len(objectives) > 1 else "asha")
    builtin.named("scheduler", values["scheduler"], SCHEDULERS)
    return SearchOptions(storage=database or "", **values)


def refuse_search_options(given: argparse.Namespace, database: str | None) -> None:
    if database is not None:
        raise UsageError(
            f"--storage must be a place for results, like s3://bucket/sweeps/ or a path; got '{database}'. "
            "A study's URL goes with --search optuna"
        )
    if of_search := [name for name in OF_SEARCH if getattr(given, name) is not None]:
        raise UsageError(f"--{of_search[0].replace('_', '-')} is an option of a search: add --search optuna")


def make_parser(description: str) -> argparse.ArgumentParser:
    parser = Parser(
        prog="python -m sweep.run", description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    what = parser.add_argument_group("what to run")
    names = ", ".join(builtin.GRIDS)
    what.add_argument(
        "--grid", type=path_or_uri, metavar="NAME", help=f"{names}, or a YAML file like my_grid.yaml (default: paper)"
    )
    what.add_argument(
        "--profile",
        metavar="NAME",
        help=f"size of the trials: {', '.join(sorted(builtin.PROFILES))} "
        "(default: paper for a real dataset on a GPU machine, else laptop)",
    )
    what.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="any field of the trials, like learning_rate=1e-4; several values, like learning_rate=1e-3,1e-4, "
        "multiply the grid; repeatable",
    )
    what.add_argument("--help-fields", action=_HelpFields, nargs=0, help="explain every field of a trial, and exit")
    what.add_argument(
        "--seeds",
        type=COUNT,
        default=1,
        metavar="N",
        help="repeat each trial with N seeds (default: 1; claims about settings want 3)",
    )
    what.add_argument(
        "--diagnostics",
        action=argparse.BooleanOptionalAction,
        help="record what the gradients do, and the optimum of heads' loss (default: for paper and vgg-collapse)",
    )
    what.add_argument(
        "--shard",
        type=shard_number,
        metavar="K/N",
        help="train the K-th of N parts of the grid, from 1/N to N/N, beside drivers of the others that share the "
        'results folder, as tasks of a job array do: --shard "$SLURM_ARRAY_TASK_ID/16"',
    )
    what.add_argument("--dry-run", action="store_true", help="print what would be run and stored; run nothing")
    what.add_argument(
        "--fetch",
        action="store_true",
        help="fetch what this sweep would read, dataset and weights, and run nothing: for machines without a network, "
        "whose command it prints",
    )
    what.add_argument("--yes", action="store_true", help=f"run a grid of more than {MAX_UNASKED:,} trials")
    what.add_argument("--retry-failed", action="store_true", help="run trials with a FAILED row again")
    _add_split(parser.add_argument_group("which images are tested"))
    _add_search(parser.add_argument_group("searching, instead of a grid"))
    _add_networks(parser.add_argument_group("networks"))
    _add_files(parser.add_argument_group("files"))
    _add_where(parser.add_argument_group("where to run"))
    return parser


class _HelpFields(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        """Print what --set can set, and end the command."""
        print(fields_text(min(100, shutil.get_terminal_size().columns), {"backbone": BACKBONES}))
        parser.exit()


def _add_split(split: argparse._ArgumentGroup) -> None:
    split.add_argument(
        "--folds",
        type=FOLDS,
        metavar="K",
        help="cross-validate: run each trial K times, each time with another K-th of the images as the test part "
        "(default: one split); folds are made class by class, and keep groups together",
    )
    split.add_argument(
        "--group-by-sky",
        action="store_true",
        help="keep images of one galaxy (equal, or closer than 2 arcsec) on one side of every split",
    )
    split.add_argument(
        "--split",
        choices=("official",),
        help="official: keep the train, validation and test parts that the dataset itself has "
        "(default: a split of our own, of test_fraction and validation_fraction)",
    )


def _add_networks(networks: argparse._ArgumentGroup) -> None:
    networks.add_argument(
        "--backbone",
        metavar="NAME[,NAME]",
        help="networks in place of a grid's, as --set backbone: of keras.applications; MODULE:FUNCTION of your own, a "
        "function of an image size that gives a keras.Model; kerashub:PRESET, hf://... or kaggle://... by KerasHub",
    )
    networks.add_argument(
        "--features",
        type=path_or_uri,
        metavar="[NAME=]FILE",
        help="train heads on features of any model, in place of a grid's networks: .npy of (N, D) floats in the "
        "dataset's order, .npz or Parquet with ids; all nodes must see the file. NAME is for tables and reports",
    )
    networks.add_argument(
        "--weights-dir",
        type=path,
        metavar="FOLDER",
        help="folder of ImageNet weights files (also looked in: $GALAXYTL_WEIGHTS_DIR, Keras's own folder)",
    )


def _add_files(files: argparse._ArgumentGroup) -> None:
    files.add_argument(
        "--data",
        type=path_or_uri,
        metavar="URI",
        help="file or folder with images (python -m galaxytl.data check says what is in it), or "
        "simulated[:IMAGES[:SEED]] (default: simulated, as many galaxies as the profile wants), or a name: galaxy10, "
        "galaxy10-sdss, or owner/name[:config] on Hugging Face, fetched to this machine's cache folder if it is not "
        "there; on a cluster all machines must see that folder: else fetch it to a shared one, and give its path",
    )
    add_reading(files)
    files.add_argument(
        "--fit",
        choices=("resize", "crop"),
        help="how images become squares: scaled, whatever their sides (default), or their largest centred square is",
    )
    files.add_argument(
        "--accept-damaged",
        action="store_true",
        help="go on where `python -m galaxytl.data check` calls the dataset harmful; rows and reports say so",
    )
    files.add_argument(
        "--keep",
        type=which_models,
        metavar="WHICH",
        help="trials whose trained weights are kept, for python -m sweep.export: best, best:N, all or none; the "
        f"best by validation accuracy, and of those without a validation part {MOST_UNRANKED} (default: best, or what "
        "the folder's sweep before said)",
    )
    files.add_argument("--out", type=path, metavar="FOLDER", help="results folder (default: results/NAME)")
    files.add_argument(
        "--storage",
        action="append",
        type=path_or_uri,
        metavar="URI",
        help="where results are kept too, below their folder's name: s3://..., gs://... or a path that all machines "
        "share; then --out may be a disk of this machine. Of a search also a database that its "
        "study is exported to, for optuna-dashboard: sqlite:///FILE, journal:///FILE, postgresql://...",
    )
    files.add_argument(
        "--tracker",
        action="append",
        metavar="NAME[:WHERE]",
        help=f"who is told of each finished trial: {', '.join(addresses.TRACKERS)}, like mlflow:http://localhost:5000; "
        "at any time, also when all trials have ended (docs/trackers.md); repeatable",
    )


def _add_where(where: argparse._ArgumentGroup) -> None:
    where.add_argument(
        "--address",
        metavar="HOST:PORT",
        default=os.environ.get("RAY_ADDRESS") or None,
        help="a running Ray cluster; auto: the one of this machine; local: a new one (default: $RAY_ADDRESS, or local)",
    )
    where.add_argument("--cpus-per-trial", type=share, metavar="N", help="(default: an equal share)")
    gpus = where.add_mutually_exclusive_group()
    gpus.add_argument(
        "--gpus-per-trial", type=gpu_share, metavar="N", help="1, or a fraction (default: 1 where there are)"
    )
    gpus.add_argument(
        "--trials-per-gpu", type=PACKED, metavar="N", help="share each GPU, and its memory, among N trials"
    )


def _add_search(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--search", choices=("optuna",), help="let Optuna choose the trials")
    group.add_argument("--trials", type=COUNT, metavar="N", help=f"to ask for in all (default: {SearchOptions.trials})")
    group.add_argument(
        "--scheduler", metavar="NAME", help=f"what stops bad trials early: {', '.join(SCHEDULERS)} (default: asha)"
    )
    group.add_argument("--study", metavar="NAME", help="its name there (default: that of the results folder)")
    group.add_argument(
        "--sampler",
        metavar="NAME",
        help="tpe, random, qmc, nsgaii or nsgaiii, of Optuna's; cmaes and gp want a package more (default: tpe)",
    )
    group.add_argument(
        "--space",
        metavar="MODULE:FUNCTION",
        help=f"what is searched (default: {SearchOptions.space}; others there: best_in_an_hour, heads on frozen "
        "networks; optimizer, its settings alone; wide, how people train today; or a function of your own)",
    )
    group.add_argument(
        "--objective",
        type=lambda text: tuple(text.split(",")),
        metavar="NAME[,NAME]",
        help=f"what suggestions aim at, one or two of {', '.join(OBJECTIVES)} (default: {SearchOptions.objective[0]}); "
        "two give a Pareto front. The one trial that is chosen has the highest validation accuracy in any case",
    )
    group.add_argument(
        "--warm-start",
        type=lambda text: tuple(source for part in text.split(",") if (source := path_or_uri(part))),
        metavar="WHAT,...",
        help="paper: try the paper's six trials first; a results folder: tell the study of its trials",
    )
    group.add_argument("--batch", type=COUNT, metavar="N", help="trials to ask for at once (default: 8)")
    group.add_argument(
        "--stop-collapsed",
        type=NATURAL,
        metavar="N",
        help="stop trials that named one class for N epochs; 0: never (default: 3)",
    )
    group.add_argument("--search-seed", type=NATURAL, metavar="N", help="seed of the suggestions (default: 0)")


def parse_settings(settings: Sequence[str]) -> dict[str, Any]:
    """Return ["learning_rate=1e-3,1e-4"] as {"learning_rate": [0.001, 0.0001]}; raises SpecError or UsageError."""
    values: dict[str, list[Any]] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals:
            raise UsageError(f"--set takes FIELD=VALUE, like learning_rate=1e-4; got '{setting}'")
        if name in values:
            raise UsageError(f"--set takes a field once, with all its values, like {name}=A,B; got {name} twice")
        between = ";" if name == "unfreeze_stages" else ","  # which is part of its values
        values[name] = [parse_value(name, part) for part in text.split(between)]
        if len(set(values[name])) < len(values[name]):
            raise UsageError(f"the values of {name} must differ; got --set {setting}")
    return values


def commands_elsewhere(
    words: Sequence[str], data: str, weights_dir: Path | None, networks: Sequence[str]
) -> tuple[str, str]:
    """Return the doctor's command, and that of the sweep with these words, for a machine on which the dataset and the
    weights of these networks lie in these places; "" and None: it reads none.

    >>> print(*commands_elsewhere(["--grid", "lr", "--fetch", "--data=a.h5"], "/d/a.h5", None, []), sep="\\n")
    python -m sweep.doctor --data /d/a.h5
    python -m sweep.run --grid lr --data /d/a.h5
    """
    places = [*(["--data", data] if data else []), *(["--weights-dir", str(weights_dir)] if weights_dir else [])]
    replaced = [option for option in ("--data", "--weights-dir") if option in places]
    left = _words(words, lambda option: option not in (*replaced, "--fetch"))
    reading = _words(words, lambda option: option in OF_READING)
    asked = ["--backbone", ",".join(networks)] if {*networks} - {*builtin.BACKBONES} else []
    doctor, sweep = ["sweep.doctor", *places, *reading, *asked], ["sweep.run", *left, *places]
    return shlex.join(["python", "-m", *doctor]), shlex.join(["python", "-m", *sweep])


def _words(words: Sequence[str], is_wanted: Callable[[str], bool]) -> list[str]:
    """Return the options of a command line that are wanted, with their values."""
    found, wanted = [], True
    for word in words:
        if word.startswith("--"):
            wanted = is_wanted(word.partition("=")[0])
        if wanted:
            found.append(word)
    return found


def which_models(text: str) -> str:
    if not re.fullmatch(r"best|all|none|best:[1-9][0-9]{0,8}", text):
        raise argparse.ArgumentTypeError(f"must be best, best:N, all or none; got '{text}'")
    return text


def shard_number(text: str) -> ShardNumber:
    match = re.fullmatch(r"([1-9][0-9]{0,4})/([1-9][0-9]{0,4})", text)
    if match and int(match[1]) <= int(match[2]) <= MOST_SHARDS:
        return ShardNumber(int(match[2]), int(match[1]))
    hint = ""
    if text.startswith("/"):
        hint = ". What stands before the / is empty: is that a variable of a job array, in a job that is none?"
    elif text.startswith("0/"):
        hint = ". Parts count from 1: a job array of 16 is --array=1-16"
    raise argparse.ArgumentTypeError(
        f"must be K/N, the K-th of N parts, from 1/N to N/N, like 3/16; got '{without_secrets(text)[:40]}'{hint}"
    )


def gpu_share(text: str) -> float:
    value = share(text)
    if value > 1:
        raise argparse.ArgumentTypeError(
            f"must be at most 1, because a trial computes on one GPU, and more would be idle; got '{text}': leave it "
            "out, and as many trials run at once as there are GPUs"
        )
    return value


def share(text: str) -> float:
    value = float(text) if re.fullmatch(r"[0-9]*\.?[0-9]+", text) else -1.0
    if not 0 <= value <= 1024:
        raise argparse.ArgumentTypeError(f"must be a number from 0 to 1024; got '{text}'")
    return value
