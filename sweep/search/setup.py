"""What a search stands on, from its options: the dataset, the networks to choose from, the space, the study.

setup = set_up(options, search, console)
setup.problem                     # for sweep.search.trials.Search
setup.groups([spec])              # as a grid's
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from galaxytl.data import Dataset
from galaxytl.data.progress import TerminalProgress
from galaxytl.learning.job import Group
from galaxytl.networks.backbones import backbone_named
from galaxytl.networks.families import BACKBONES, backbones_that_fit
from galaxytl.networks.weights import weight_places
from galaxytl.system.command import UsageError
from galaxytl.trial import SPLIT_FIELDS, SpecError, TrialSpec
from galaxytl.trial.schedules import check_warmup
from sweep import prepare
from sweep.grids import builtin
from sweep.options import Options, SearchOptions
from sweep.planning.costs import Costs, Sizes
from sweep.planning.speeds import assumed_speeds
from sweep.search.ask_space import SpaceSampler, load_space
from sweep.search.stopping import make_rule
from sweep.search.study import find_sampler
from sweep.search.trials import Problem
from sweep.space import Facts

VALIDATION_FRACTION: Final = 0.1
ONE_VALUE: Final = (*SPLIT_FIELDS, "image_size", "num_epochs")
"""Fields that all trials of a search share: what differs in them cannot be compared by validation scores, or, of
epochs, by those of the same rung."""
OF_OTHERS: Final = (
    *("momentum", "head_dropout", "nesterov", "schedule", "learning_rate_floor", "step_epochs", "step_factor"),
    *("learning_rate_decay", "unfreeze_stages", "views", "mixup", "cutmix"),
)
"""Fields that are wrong without a certain value of another one."""
LIGHT: Final = ("MobileNet", "MobileNetV2", "MobileNetV3Small", "VGG16", "ResNet50")
"""What the laptop profile chooses from: the paper's three, and two that a CPU trains in less time than those."""
MAX_PARAMETERS: Final = 100_000_000
"""Of what the paper profile chooses from: weights, gradients and Adam's slots take 1.6 GB."""


@dataclass(frozen=True)
class Setup:
    dataset: Dataset
    uri: str
    profile: str
    base: TrialSpec
    """What trials are before the space says anything."""
    problem: Problem
    facts: Facts
    splits: prepare.SplitsOf
    structures: prepare.Structures
    options: Options
    search: SearchOptions
    notes: tuple[str, ...]
    damage: str = ""
    """What is wrong with the dataset, and was accepted."""
    split_text: str = ""
    """For people: whose it is, and how many images its parts have."""

    def groups(self, specs: Sequence[TrialSpec]) -> list[Group]:
        """Return how to train these: groups as for a grid, with what stops collapsed trials."""
        plan = prepare.plan_for(self.options.where, specs, len(self.dataset), self.structures, self.splits)
        stop, diagnostics = self.search.stop_collapsed, bool(self.options.diagnostics)
        return [replace(group, stop_collapsed=stop, diagnostics=diagnostics) for group in plan.groups]

    @property
    def identity(self) -> dict[str, Any]:
        """What all trials of the study have in common."""
        facts = {"backbones": self.facts.backbones, "image_size": self.facts.image_size}
        pinned = {name: list(values) for name, values in self.problem.sampler_of_space.pinned.items()}
        common = {"space": self.search.space, "objectives": self.problem.objectives, "pinned": pinned}
        return dict(json.loads(json.dumps({**common, "facts": facts, "trials": self.base.to_dict()})))


def set_up(options: Options, search: SearchOptions, console: Console) -> Setup:
    """Set a search up from its options. Raises UsageError, SpecError, SpaceError, StudyError, DataError."""
    pinned = check_pinned(options.settings)
    sampler, space = find_sampler(search.sampler, len(search.objective)), load_space(search.space)
    profile = prepare.profile_for(options.profile, options.data, options.where)
    uri = options.data or builtin.SIMULATED_DATA[profile]
    unknown = {**prepare.NO_DATASET, "dataset": "simulated" if uri.startswith("simulated") else ""}
    draft = _base(prepare.base_spec(unknown, profile), pinned)
    names, notes = _networks(pinned.get("backbone", ()), profile, draft, options.weights_dir)
    with (
        prepare.asking_keras([(name, draft.image_size) for name in names]) as future,
        TerminalProgress(console) as progress,
    ):
        dataset = prepare.opened(uri, options, [draft], progress.update)
        damage = prepare.check_content(dataset, options.accept_damaged, progress.update)
        base = draft.replace(**prepare.facts_of(dataset, options))
        checked = prepare.check_splits(dataset, [base], progress.update)
        given = prepare.given_features(options, dataset)
        structures = prepare.with_features(future.result(), [(name, draft.image_size) for name in names], given)
    facts = _facts(names, draft.image_size, structures)
    (base,) = checked.specs
    sizes = Sizes(**checked.splits[base.split_key].sizes())
    costs = Costs(structures, {base.split_key: sizes}, assumed_speeds(1, on_gpu=False))  # no seconds are asked of it
    problem = Problem(
        sampler_of_space=SpaceSampler(space, facts, pinned),
        build=functools.partial(build_for, sizes, functools.partial(build, base, structures, options.weights_dir)),
        objectives=search.objective,
        multiply_adds=costs.alone_multiply_adds,
        rule=make_rule(search.scheduler, base.num_epochs),
        num_trials=search.trials,
        name=search.study,
        sampler=sampler,
        seed=search.search_seed,
    )
    splits, all_notes = (
        checked.splits,
        (*dataset.notes, *prepare.features_notes(given), *prepare.damage_notes(damage), *checked.notes, *notes),
    )
    found = (dataset, uri, profile, base, problem, facts, splits, structures)
    return Setup(*found, options, search, all_notes, damage, prepare.first_of(checked.split_texts()))


def build_for(sizes: Sizes, make: Callable[[Mapping[str, Any]], TrialSpec], fields: Mapping[str, Any]) -> TrialSpec:
    """Return what `make` builds of fields; raises SpecError where its warm-up takes all of the training."""
    spec = make(fields)
    check_warmup(spec, sizes.train)
    return spec


def build(
    base: TrialSpec, structures: prepare.Structures, weights_dir: Path | None, fields: Mapping[str, Any]
) -> TrialSpec:
    """Return the trial with these fields, as it will run; raises SpecError where there can be none."""
    requested = fields.get("weights", base.weights)
    spec = base.replace(**{**fields, "weights_requested": requested})
    if (spec.backbone, spec.image_size) not in structures:
        known = ", ".join(sorted({name for name, _ in structures}))
        raise SpecError(f"backbone must be one of those that the search began with, {known}; got '{spec.backbone}'")
    prepared = prepare.resolve_weights(prepare.check_networks([spec], structures), weights_dir, structures)
    if prepared.impossible:
        raise SpecError(prepared.impossible[0].message)
    return prepared.specs[0]


def check_pinned(settings: Mapping[str, Sequence[Any]]) -> Mapping[str, tuple[Any, ...]]:
    """Return the fields that --set pins; raises UsageError for those that a search cannot vary or sets itself."""
    if "scored_on" in settings:
        raise UsageError("--set scored_on does not go with --search: its trials are scored on the validation part")
    for name, values in settings.items():
        if name in ONE_VALUE and len(values) > 1:
            raise UsageError(f"all trials of a search have one {name}; got {', '.join(map(str, values))}")
    if 0 in settings.get("validation_fraction", ()):
        raise UsageError("a search needs a validation part to choose by; got validation_fraction=0")
    return {name: tuple(values) for name, values in settings.items()}


def _base(spec: TrialSpec, pinned: Mapping[str, tuple[Any, ...]]) -> TrialSpec:
    single = {n: v[0] for n, v in pinned.items() if len(v) == 1 and n not in OF_OTHERS}
    return spec.replace(**{"validation_fraction": VALIDATION_FRACTION, "scored_on": "validation", **single})


def _networks(
    wanted: Sequence[str], profile: str, base: TrialSpec, weights_dir: Path | None
) -> tuple[tuple[str, ...], list[str]]:
    """Return the networks that the space chooses from, and a note on the rest: without ImageNet weights on disk the
    search would begin by downloading those of dozens of networks."""
    if wanted:
        return tuple(wanted), []
    fitting = backbones_that_fit(base.image_size, MAX_PARAMETERS)
    if profile == "laptop":
        fitting = [name for name in LIGHT if name in fitting]
    places = weight_places(weights_dir)
    have = [name for name in fitting if any((place / BACKBONES[name].weights_file).is_file() for place in places)]
    if base.is_simulated or not have:
        return tuple(fitting), []
    rest = len(fitting) - len(have)
    note = f"{rest} more networks would fit, but have no weights file in --weights-dir; name some with --set backbone="
    return tuple(have), [note] if rest else []


def _facts(names: Sequence[str], image_size: int, structures: prepare.Structures) -> Facts:
    scaling = frozenset(name for name in names if backbone_named(name).scales_pixels)
    depths = {name: len(structures[name, image_size].blocks) for name in names}
    return Facts(image_size, tuple(names), depths, scaling)
