"""What a sweep stands on: the dataset, the profile, and the weights files, all looked at before a trial is started."""

from __future__ import annotations

import contextlib
import functools
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from galaxytl.data import DataError, Dataset, Splits, grouping, official, open_dataset, sky, split_indices
from galaxytl.data.check import content_findings
from galaxytl.data.dataset import open_source
from galaxytl.data.download import presets
from galaxytl.data.files.containers import ID_COLUMN
from galaxytl.data.findings import harmful_text
from galaxytl.data.hot_copy import Size
from galaxytl.data.progress import TerminalProgress
from galaxytl.data.scan import Progress
from galaxytl.data.splits import OFFICIAL_PARTS, describe_leaks, leaks
from galaxytl.learning.augmentation.views import view_rows
from galaxytl.learning.features import activations_folder, rows_digest
from galaxytl.learning.job import Workplace
from galaxytl.networks import blocks, device
from galaxytl.networks.backbones import backbone_named
from galaxytl.networks.blocks import Structure
from galaxytl.networks.families import is_features
from galaxytl.networks.given import Features
from galaxytl.networks.given import given_features as read_features
from galaxytl.networks.gpu_memory import DeviceError, driver_gpus
from galaxytl.networks.own import own_backbone
from galaxytl.networks.weights import (
    Shapes,
    Weights,
    WeightsError,
    WeightsNotFoundError,
    check_fits,
    fetch_weights,
    find_weights,
    weight_places,
)
from galaxytl.results.sweep_file import ShardNumber, SweepFile, read_sweep_file
from galaxytl.system import cache, process
from galaxytl.system.command import UsageError, as_usage_error
from galaxytl.system.credentials import without_secrets
from galaxytl.trial import FAILED, SpecError, TrialResult, TrialSpec, stages
from galaxytl.trial.schedules import check_warmup
from sweep.grids import axes, builtin
from sweep.options import Options
from sweep.planning.costs import Sizes
from sweep.planning.plan import Crew, Limits, Plan, make_plan
from sweep.planning.shards import Part, cut
from sweep.planning.speeds import load_speeds, speeds_path
from sweep.results.models import most_of
from sweep.scheduling.resources import Available, ClusterError, Resources, Where, fair_share, places

Structures = Mapping[tuple[str, int], Structure]
"""By backbone and image size."""
SplitsOf = Mapping[tuple[Any, ...], Splits]
"""By `TrialSpec.split_key`."""

MAX_HEAD_BYTES = 4 * 10**9  # of heads in one pass: more of them are no faster a head


@dataclass(frozen=True)
class Prepared:
    specs: tuple[TrialSpec, ...]
    """As they will run: weights fingerprints filled in, random weights in place of missing ones where allowed."""
    impossible: tuple[TrialResult, ...]
    """FAILED rows of specs whose weights cannot be had or used."""

    @property
    def all_specs(self) -> tuple[TrialSpec, ...]:
        return (*self.specs, *(result.spec for result in self.impossible))

    @property
    def trial_ids(self) -> tuple[str, ...]:
        return tuple(spec.trial_id for spec in self.all_specs)


def settle(say: Callable[[str], object]) -> None:
    """See to it that trials depend on what their specs hold, and say what of the environment is not heeded for that.

    Raises UsageError where Keras's backend is none that trials run on."""
    with as_usage_error(DeviceError):
        device.check_backend()
    if names := process.settle():
        say(f"note: not heeded, because trials depend on what their specs say alone: {', '.join(names)}")
    if slow := cache.network_note():
        say(f"note: {slow}")


def with_data(options: Options, console: Console) -> Options:
    """Return the options with the path of the dataset that they name, fetched now where it is not there. Raises
    DataError."""
    if not options.data or not presets.is_name(options.data):
        return options
    with TerminalProgress(console, in_bytes=True) as progress:
        uri, reading = presets.located(options.data, options.reading, progress)
    return replace(options, data=uri, reading=reading)


@dataclass(frozen=True)
class Fetched:
    """What a sweep reads, as it lies on this machine now."""

    data: str
    """Path of the dataset; "": simulated galaxies."""
    weights_dir: Path | None
    """Where the weights lie; None where no network starts from ImageNet's."""
    weights: tuple[str, ...]
    """The networks whose weights lie there."""
    from_hub: bool
    """Whether a network comes from Hugging Face."""


def fetch(options: Options, progress: TerminalProgress) -> Fetched:
    """Fetch what a sweep with these options would read, where it is not here, and see that it can be used. Raises
    DataError, SpecError, UsageError, OSError."""
    drafts = _drafts(options)
    data = _fetch_data(options, progress)
    wanted = sorted({spec.backbone for spec in drafts if spec.weights == "imagenet" and not _is_others(spec.backbone)})
    folder = options.weights_dir or weight_places(None)[0]
    for name in wanted:
        with as_usage_error(WeightsError):
            found = fetch_weights(name, folder, progress)
        progress.say(f"{found.path}: ImageNet weights of {name}, fingerprint {found.fingerprint[:12]}")
    own = {(spec.backbone, spec.image_size) for spec in drafts if own_backbone(spec.backbone)}
    if own:
        progress.say(f"building {', '.join(sorted({name for name, _ in own}))}, which fetches what that reads")
        blocks.structures(own)
    from_hub = any(name.startswith("hf://") for name, _ in own)
    return Fetched(data, folder if wanted else None, tuple(wanted), from_hub)


def _is_others(backbone: str) -> bool:
    return is_features(backbone) or own_backbone(backbone) is not None


def _drafts(options: Options) -> list[TrialSpec]:
    """Return the trials of a grid at any profile that the machine may choose; of a search, one of each network."""
    profiles = [options.profile] if options.profile else [*builtin.PROFILES]
    bases = {profile: base_spec(NO_DATASET, profile) for profile in profiles}
    if options.search:
        if not (names := options.settings.get("backbone", ())):
            raise UsageError("--fetch of a search must be told its networks: --backbone NAME,NAME; got none")
        starts = options.settings.get("weights", ("imagenet",))
        both = [{"backbone": name, "weights": weights} for name in names for weights in starts]
        return [base.replace(**fields) for base in bases.values() for fields in both]
    specs: list[TrialSpec] = []
    for profile, base in bases.items():
        grid = axes.overridden(options.sizes[profile], options.settings)
        axes.check_size(grid, options.yes)
        specs += axes.expand(axes.with_one_seed(grid), base).specs
    return specs


def _fetch_data(options: Options, progress: TerminalProgress) -> str:
    if not options.data or re.fullmatch(r"simulated(:.*)?", options.data):
        return ""
    if re.match(r"(?!file:)[A-Za-z][A-Za-z0-9+.-]*://", options.data):
        shown = without_secrets(options.data)
        raise UsageError(
            f"--fetch wants a dataset that lies on a disk; got --data {shown}, which each node reads by the network: "
            f"first python -m galaxytl.data convert {shown} --to FOLDER/"
        )
    uri, reading = presets.fetched(options.data, options.reading, progress)
    opened = open_source(uri, cache.cache_dir(), reading=reading)
    progress.say(f"{absolute(uri)}: {len(opened.source.labels):,} images of {opened.name}")
    return absolute(uri)


def opened(uri: str, options: Options, drafts: Iterable[TrialSpec], on_progress: Progress) -> Dataset:
    """Return the dataset at `uri`; its images are read once at most, also for their copies at the sizes of the drafts,
    where trials run on this machine. Raises DataError."""
    sizes = {Size(spec.image_size, spec.fit) for spec in drafts} if not options.where.address else ()
    return open_dataset(uri, None, on_progress, options.reading, sorted(sizes, key=str))


def workplace(options: Options, uri: str, damage: str) -> Workplace:
    """Return that of trials on the dataset at `uri`, with what is wrong with it (`check_content`)."""
    where = absolute(uri)
    return Workplace(
        where,
        options.out.resolve(),
        options.weights_dir,
        storage=options.place,
        damage=damage,
        reading=options.reading,
        most_models=most_of(keep_of(options)),
        features=options.features,
        modules=Path.cwd(),
    )


def keep_of(options: Options) -> str:
    """Return whose weights are kept: as asked for, or as the folder's last sweep was asked, or the best trial's."""
    noted = read_sweep_file(options.out)
    return options.keep or (noted.keep if noted else "") or "best"


def sweep_file(options: Options, work: Workplace) -> SweepFile:
    """Return what later commands must know of a sweep."""
    return SweepFile(work.data, str(work.weights_dir or ""), work.reading, keep_of(options), work.storage)


def check_content(dataset: Dataset, accept_damaged: bool, on_progress: Progress) -> str:
    """Return what is wrong with the images and labels; "" where nothing is. Raises DataError for it, unless it is
    accepted."""
    damage = harmful_text(content_findings(dataset, sky.remembered_scan(dataset, on_progress)))
    if damage and not accept_damaged:
        raise DataError(
            f"{dataset.uri} would spoil a sweep: {damage}. Mend it (python -m galaxytl.data check lists the rows), or "
            "add --accept-damaged: then rows and reports say so"
        )
    return damage


def damage_notes(damage: str) -> list[str]:
    return [f"the dataset is damaged, and that was accepted: {damage}"] if damage else []


def profile_for(profile: str | None, data: str | None, where: Where) -> str:
    """Return the one that is asked for, else the one that fits; GPUs are counted only where that could matter."""
    if profile:
        return profile
    is_real = data is not None and not data.startswith("simulated")
    return "paper" if is_real and count_gpus(where) else "laptop"


def count_gpus(where: Where) -> float:
    """Return GPUs that the sweep can use."""
    return sum(node.gpus for node in find_nodes(where).nodes)


def find_nodes(where: Where) -> Available:
    """Return what the sweep can use: of the cluster at an address, or of this machine, where Ray is not asked."""
    if not where.address:
        return _this_machine()
    if where.early and where.early.is_begun:
        with as_usage_error(ClusterError):
            return where.early.available()
    return _nodes_at(where.address, where.log)


@functools.cache  # once Ray runs it is too late to ask
def _this_machine() -> Available:
    return Available((Resources(process.usable_cpus(), driver_gpus()),))


@functools.cache
def _nodes_at(address: str, log: Path) -> Available:
    from sweep.scheduling import cluster

    with as_usage_error(ClusterError), cluster.cluster(address, log) as found:
        return found


def begin_ray(where: Where, num_rows: int, num_trials: int) -> None:
    """Have Ray start meanwhile, or connect to the cluster, unless as many trials have a row as there are: then probably
    nothing is left to do."""
    if where.early and num_rows < num_trials:
        _this_machine()
        where.early.begin()


VALIDATION: Final = OFFICIAL_PARTS.index("validation")
ASKED_BY: Final = "--set validation_fraction=0.1 asks for a validation part"
NO_DATASET: Final = {"dataset": "", "dataset_fingerprint": ""}
"""For specs that are made before the dataset was opened: no network depends on it."""


def facts_of(dataset: Dataset, options: Options) -> dict[str, Any]:
    """Return `Dataset.facts` with how the options have it split; raises DataError where it cannot be split so."""
    own = official.parts_fingerprint(official.official_parts(dataset)) if options.official_split else ""
    return {**dataset.facts, "group_by": options.reading.group_by, "official_split": own}


def base_spec(facts: Mapping[str, Any], profile: str) -> TrialSpec:
    """Return what a grid's trials have in common before the grid says anything: `facts_of` and the profile."""
    return TrialSpec(**facts, **builtin.PROFILES[profile])


@contextlib.contextmanager
def asking_keras(networks: Iterable[tuple[str, int]]) -> Iterator[Future[Structures]]:
    """Find out what networks, (backbone, image size), are made of, while the caller opens the dataset: it takes
    seconds, once for each."""
    with ThreadPoolExecutor(1) as thread:
        yield thread.submit(blocks.structures, {(name, size) for name, size in networks if not is_features(name)})


def given_features(options: Options, dataset: Dataset) -> Features | None:
    """Return the features that stand for a network, where there are any. Raises DataError."""
    if options.features is None:
        return None
    return read_features(options.features, dataset.columns.get(ID_COLUMN), len(dataset))


def with_features(structures: Structures, networks: Iterable[tuple[str, int]], given: Features | None) -> Structures:
    """Return the structures with those of given features among the networks. Raises SpecError where none are given."""
    found = dict(structures)
    for name, size in networks:
        if is_features(name):
            if given is None:
                raise SpecError(f"given features need their file: got backbone={name}, and no --features FILE")
            found[name, size] = given.structure(name, size)
    return found


def features_notes(given: Features | None) -> list[str]:
    return [f"features in place of a network: {given}; image_size is only that of the pictures"] if given else []


@dataclass(frozen=True)
class Checked:
    """Specs that the data and the networks can do."""

    specs: tuple[TrialSpec, ...]
    splits: SplitsOf
    notes: tuple[str, ...]
    """A sentence for each kind of leak between the parts of a split."""

    def split_texts(self) -> list[str]:
        """Return for each split, for people, whose it is and how many images each of its parts has."""
        specs = {spec.split_key: spec for spec in self.specs}
        return [_split_text(spec, self.splits[key]) for key, spec in specs.items()]


def _split_text(spec: TrialSpec, splits: Splits) -> str:
    sizes = ", ".join(f"{number:,} {part}" for part, number in splits.sizes().items() if number)
    whose = "the dataset's own" if spec.official_split else f"of our own, split_seed {spec.split_seed}"
    whose += f", fold {spec.fold} of {spec.num_folds}" if spec.num_folds else ""
    groups = [*(["of one galaxy"] if spec.group_by_sky else [])]
    groups += [f"with one value of '{spec.group_by}'"] if spec.group_by else []
    together = f"; those {' or '.join(groups)} stay together" if groups else ""
    return f"{whose}: {sizes} images{together}"


def check_splits(dataset: Dataset, specs: Sequence[TrialSpec], on_progress: Progress) -> Checked:
    """Return the specs, with the fingerprint of their groups where they ask for any, and how they split the dataset.

    Raises DataError where it cannot be split as they say, SpecError where a warm-up takes all of the training.
    """
    galaxies = sky.groups(dataset, on_progress)
    groups = {by_sky: grouping.groups_of(dataset, spec) for by_sky, spec in {s.group_by_sky: s for s in specs}.items()}
    prints = {by_sky: grouping.groups_fingerprint(found) for by_sky, found in groups.items() if found is not None}
    specs = [spec.replace(groups_fingerprint=prints.get(spec.group_by_sky, "")) for spec in specs]
    notes: dict[str, None] = {}
    splits = {}
    for spec in {spec.split_key: spec for spec in specs}.values():
        parts, together = official.checked_parts(dataset, spec), groups[spec.group_by_sky]
        splits[spec.split_key] = found = split_indices(dataset.labels, spec, together, parts)
        notes |= dict.fromkeys(describe_leaks(leaks(found, galaxies), is_official=parts is not None))
        notes |= dict.fromkeys(_group_notes(dataset, spec, found, together))
        if parts is not None and not spec.validation_fraction and (unused := np.sum(parts == VALIDATION)):
            notes[f"{unused:,} images of the dataset's own validation part are not used: {ASKED_BY}"] = None
    for spec in specs:
        check_warmup(spec, len(splits[spec.split_key].train))
    return Checked(tuple(specs), splits, tuple(notes))


def _group_notes(dataset: Dataset, spec: TrialSpec, splits: Splits, groups: NDArray[np.int64] | None) -> Iterator[str]:
    """Yield what is to be known of the groups that the values of a column make."""
    if spec.group_by and groups is not None:
        if unknown := int(grouping.is_missing(dataset.columns[spec.group_by]).sum()):
            yield f"{unknown:,} images have no value of '{spec.group_by}': each is taken to be like no other"
        names = (f"group of one '{spec.group_by}'", f"groups of one '{spec.group_by}'")
        yield from describe_leaks(leaks(splits, groups), names, is_official=bool(spec.official_split))


def first_of(split_texts: Sequence[str]) -> str:
    """Return the first, and how many there are beside it."""
    return split_texts[0] + (f"; and {len(split_texts) - 1} more" if len(split_texts) > 1 else "")


def profile_text(profile: str, spec: TrialSpec, num_images: int) -> str:
    """Return the profile, what it sets, and what else there is, in a line of 70 letters. Of a dataset of `num_images`
    that it takes a part of, how large that is."""
    others = " or ".join(sorted(builtin.PROFILES.keys() - {profile}))
    sizes = f"{spec.image_size} px, {spec.num_epochs} epochs"
    if 0 < spec.max_images < num_images:
        sizes = f"{spec.max_images:,} of {num_images:,} images, {sizes}"
    else:
        sizes = f"{sizes}, batches of {spec.batch_size}"
    return f"{profile}: {sizes} (or: --profile {others})"


def stand_in_lines(specs: Iterable[TrialSpec]) -> list[str]:
    """Return which networks start from random weights in place of ImageNet's, and which files they lack; nothing where
    none does."""
    names = sorted({spec.backbone for spec in specs if spec.is_substituted})
    if not names:
        return []
    files = (f"  {name}: {backbone_named(name).weights_file}" for name in names)
    return ["random, as ImageNet weights were not found; files that --weights-dir lacks:", *files]


def check_networks(specs: Sequence[TrialSpec], structures: Structures) -> list[TrialSpec]:
    """Return the specs, with "all" for as many unfrozen blocks as there are. Raises SpecError where there are fewer, of
    stages too, and where a network that scales pixels itself would be fed scaled ones."""
    return list(
        {checked.trial_id: checked for checked in (_check_network(spec, structures) for spec in specs)}.values()
    )


def _check_network(spec: TrialSpec, structures: Structures) -> TrialSpec:
    if is_features(spec.backbone):
        return spec
    if own_backbone(spec.backbone):
        spec = _own_start(spec, structures[spec.backbone, spec.image_size])
    if spec.preprocessing == "divide_by_255" and backbone_named(spec.backbone).scales_pixels:
        raise SpecError(
            f"preprocessing must be backbone for {spec.backbone}, which scales pixels itself; got divide_by_255: "
            "add --set preprocessing=backbone"
        )
    count = len(structures[spec.backbone, spec.image_size].blocks)
    if spec.unfrozen_blocks != "all" and spec.unfrozen_blocks > count:
        raise SpecError(
            f"unfrozen_blocks must be at most the number of blocks, {count} for {spec.backbone}; "
            f"got {spec.unfrozen_blocks}"
        )
    *before, last = stages.depths_of(spec.unfreeze_stages) or (spec.unfrozen_blocks,)
    if any(depth != "all" and depth >= count for depth in before):
        raise SpecError(
            f"unfreeze_stages must name fewer blocks than there are, {count} for {spec.backbone}, before the last "
            f"stage; got {spec.unfreeze_stages}"
        )
    if last != count:
        return spec
    return spec.replace(unfrozen_blocks="all", unfreeze_stages=stages.text_of([*before, "all"]) if before else "")


def _own_start(spec: TrialSpec, structure: Structure) -> TrialSpec:
    """Return the spec of a network that is none of the table with what it starts from: its own weights, in place of
    ImageNet's, or random ones. Raises SpecError where it has not what is asked for."""
    if spec.weights == "random":
        if not structure.drawn:
            raise SpecError(
                "weights=random wants a network whose layers say how their weights are drawn; "
                f"got backbone={spec.backbone}"
            )
        return spec.replace(weights_requested="random", weights_fingerprint=structure.drawn)
    if not structure.fingerprint:
        raise SpecError(
            "weights must be random where building the network draws other weights each time; "
            f"got {spec.weights} of backbone={spec.backbone}: add --set weights=random"
        )
    given: Any = {"weights": "given", "weights_requested": "given"}
    return spec.replace(**given, weights_fingerprint=structure.fingerprint)


def num_workers(where: Where) -> int:
    """Return how many trials have a GPU, or their share of one, at the same time; 0 where there are none."""
    gpus = count_gpus(where)  # asked in any case: once Ray runs it is too late
    return 0 if where.gpus == 0 else places(gpus, where.gpus or 1.0)


def plan_for(
    where: Where, pending: Sequence[TrialSpec], num_images: int, structures: Structures, splits: SplitsOf
) -> Plan:
    """Return how to train what is pending, on the machine or cluster that `where` names."""
    workers = num_workers(where) if pending else 0
    image_bytes = max((3 * spec.image_size**2 * num_images for spec in pending), default=0)
    within = limits(image_bytes, workers)
    if pending:
        nodes = find_nodes(where)
        within = replace(within, crew=functools.partial(crew, nodes, cpus=where.cpus, gpus=where.gpus))
    speeds = load_speeds(speeds_path(), process.usable_cpus(), bool(workers))
    sizes = {key: Sizes(**found.sizes()) for key, found in splits.items()}
    return make_plan(pending, structures, sizes, within, speeds, on_disk(splits))


def crew(available: Available, num_groups: int, cpus: float | None, gpus: float | None) -> Crew:
    """Return the crew that trains so many groups: at least one worker, also where none fits, which Ray will say."""
    trial = fair_share(available, num_groups, cpus, gpus)
    return Crew(max(1, min(num_groups, available.room_for(trial))), max(1, int(trial.cpus)))


def limits(image_bytes: int, num_gpus: int) -> Limits:
    """Return what a plan may use here: the cache beside the images (`image_bytes`), and an eighth of the memory for
    heads."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return Limits(max(0, cache.limit_bytes() - image_bytes), min(MAX_HEAD_BYTES, memory // 8), num_gpus)


def on_disk(splits: SplitsOf) -> Callable[[TrialSpec, int], bool]:
    """Return what tells whether the activations of a spec's frozen backbone at a cut are in this node's cache."""

    def is_stored(spec: TrialSpec, cut: int) -> bool:
        key = (spec.split_key, spec.views)
        if key not in digests:
            digests[key] = rows_digest(view_rows(spec, splits[spec.split_key]))
        return os.path.isdir(activations_folder(spec, digests[key], cut))  # False of another user's

    digests: dict[tuple[tuple[object, ...], int], str] = {}
    return is_stored


def parts_of(
    prepared: Prepared, shard: ShardNumber | None, structures: Structures, splits: SplitsOf
) -> tuple[Part, ...]:
    """Return the parts of a grid, of which one is the shard's, the same on every machine; none without --shard."""
    sizes = {key: Sizes(**found.sizes()) for key, found in splits.items()}
    return cut(prepared.specs, shard.of, structures, sizes) if shard else ()


def part_of(prepared: Prepared, which: ShardNumber, parts: Sequence[Part]) -> Prepared:
    """Return what is a shard's: its part, and its share of the rows that need no training."""
    return Prepared(parts[which.number - 1].specs, prepared.impossible[which.number - 1 :: which.of])


def resolve_weights(specs: Sequence[TrialSpec], weights_dir: Path | None, structures: Structures) -> Prepared:
    """Find the ImageNet weights that `specs` ask for, and see that they fit their networks.

    Simulated galaxies may go on with random weights, which the spec then says; on real galaxies a missing file makes a
    FAILED row, as does a damaged file on any.
    """
    wanted = sorted({spec.backbone for spec in specs if spec.weights == "imagenet"})
    tensors = {name: structure.tensors for (name, _), structure in structures.items()}
    found = {name: _find(name, weights_dir, tensors.get(name, ())) for name in wanted}
    ready, impossible = [], []
    for spec in specs:
        weights = found.get(spec.backbone) if spec.weights == "imagenet" else None
        if spec.weights == "given":
            ready.append(spec.replace(weights_fingerprint=structures[spec.backbone, spec.image_size].fingerprint))
        elif isinstance(weights, Weights):
            ready.append(spec.replace(weights_fingerprint=weights.fingerprint))
        elif isinstance(weights, WeightsNotFoundError) and spec.is_simulated:
            ready.append(spec.replace(weights="random"))
        elif isinstance(weights, WeightsError):
            impossible.append(TrialResult(spec=spec, status=FAILED, message=str(weights)))
        else:
            ready.append(spec)
    return Prepared(tuple(ready), tuple(impossible))


def _find(backbone: str, weights_dir: Path | None, tensors: Shapes) -> Weights | WeightsError:
    try:
        weights = find_weights(backbone, weights_dir)
        check_fits(weights.path, backbone, tensors)
        return weights
    except WeightsError as error:
        return error


def absolute(uri: str) -> str:
    """Return the same dataset from any working directory: a Ray worker may have another one."""
    return str(Path(uri).resolve()) if Path(uri).exists() else uri
