"""Run a sweep: expand the grid, drop what is done, schedule the rest, say where the results are.

    python -m sweep.run --grid paper                                        # simulated galaxies, laptop size
    python -m sweep.run --grid paper --data Galaxy10_DECals.h5 --weights-dir weights/
    python -m sweep.run --grid paper --set learning_rate=1e-2,1e-3,1e-4 --dry-run   # says what it would do and cost
    python -m sweep.run --grid my_grid.yaml                                 # axes of your own
    python -m sweep.run --search optuna --trials 200                        # let Optuna choose the trials
    python -m sweep.run --grid paper --shard 3/16                           # a part of it, as a task of a job array

The same command again continues where it stopped: finished trials are not run again.
Exit status: 0 all trials COMPLETE, 1 some FAILED, 2 what stops the whole sweep (bad input, another driver
in the results folder, no room there, no cluster), 130 after Ctrl-C, 143 and 129 after SIGTERM and
SIGHUP: then too the same command goes on.
"""

from __future__ import annotations

import contextlib
import functools
import shlex
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from galaxytl.data import DataError, Dataset
from galaxytl.data.progress import TerminalProgress
from galaxytl.learning.job import Workplace
from galaxytl.results.storage import StorageError
from galaxytl.results.sweep_file import Shard, read_shards, unfinished_text, write_sweep_file
from galaxytl.system.cache import check_cache
from galaxytl.system.command import UsageError, as_usage_error, run_command
from galaxytl.system.console import Console
from galaxytl.system.credentials import without_secrets
from galaxytl.system.inside import OutsideError, check_links
from galaxytl.trial import COMPLETE, FAILED, SpecError, TrialResult, TrialSpec
from sweep import prepare
from sweep.command_line import commands_elsewhere, parse
from sweep.grids import axes, builtin
from sweep.options import Options
from sweep.planning import seeds
from sweep.planning.plan import Plan, TrialsByStatus, split_by_status
from sweep.planning.shards import Part, parts_lines
from sweep.planning.speeds import learn_speeds, speeds_path
from sweep.planning.table import comparison, plan_table
from sweep.progress import lines
from sweep.progress.live import LiveProgress, Scope
from sweep.progress.terminal import SweepTable, varied_fields
from sweep.progress.trackers.follower import following
from sweep.progress.trackers.runs import ParentRun
from sweep.results.folder import Outcome, ResultsFolder, lead, read_only
from sweep.results.identity import sweep_identity
from sweep.results.models import BestModels, announcement, most_of
from sweep.results.shards import take_on
from sweep.scheduling.early import early
from sweep.scheduling.resources import ClusterError, Where

MOST_PRICED: Final = 2000
"""Trials, of which a plan takes a second; of more, what further seeds would take is not said."""


def main(argv: Sequence[str] | None = None) -> int:
    def story() -> int:
        options = parse(sys.argv[1:] if argv is None else argv, __doc__ or "")
        return run(options, Console(highlight=False, soft_wrap=True)).status

    stopped = "Stopped. The same command again continues: finished trials are kept."
    return run_command(story, known=(SpecError, DataError, StorageError, OSError), stopped=stopped)


def search(argv: Sequence[str] | None = None) -> int:
    """Search with Optuna, which chooses the trials: the options are those of a sweep with --search optuna."""
    return main(["--search", "optuna", *(sys.argv[1:] if argv is None else argv)])


def run(options: Options, console: Console) -> Outcome:
    check_cache()
    if options.fetch:
        return fetch(options, console)
    out = writable_folder(options.out, make=not options.dry_run)
    say = functools.partial(console.print, markup=False)
    prepare.settle(say)
    options = prepare.with_data(options, console)
    with (
        read_only(out, options.place) if options.dry_run else lead(out, options.place, say, options.shard) as folder,
        tracked(options, folder, say),
        contextlib.nullcontext(options.where) if options.dry_run else early(options.where) as where,
    ):
        options = replace(options, where=where)
        if options.search:
            from sweep.search.run import run_search  # Optuna takes a second to import

            return run_search(options, options.search, folder, console)
        return run_grid(options, folder, console)


def fetch(options: Options, console: Console) -> Outcome:
    """Fetch what a sweep would read, and say how to run it on a machine without a network."""
    with TerminalProgress(console, in_bytes=True) as progress:
        fetched = prepare.fetch(options, progress)
    check, then = commands_elsewhere(options.words, fetched.data, fetched.weights_dir, fetched.weights)
    offline = "HF_HUB_OFFLINE=1 " if fetched.from_hub else ""  # or its library asks before it takes what is here
    lines.say(console, "all that this sweep reads is here. Where there is no network, in this folder:", "Fetched")
    lines.say(console, check, "Check", whole=True)
    lines.say(console, f"{offline}{then}", "Run", whole=True)
    return Outcome(0, ())


def tracked(
    options: Options, folder: ResultsFolder, say: Callable[[str], object]
) -> contextlib.AbstractContextManager[object]:
    """Have the trackers of --tracker follow the rows meanwhile, those of earlier runs too."""
    if options.dry_run or not (options.trackers and folder.file):
        return contextlib.nullcontext()
    sweep = ParentRun(sweep_identity(folder.out, options.place), folder.out.resolve().name, folder.out)
    return following(options.trackers, sweep, folder.lines, say)


def run_grid(options: Options, folder: ResultsFolder, console: Console) -> Outcome:
    profile = prepare.profile_for(options.profile, options.data, options.where)
    uri = options.data or builtin.SIMULATED_DATA[profile]
    grid = axes.repeated(axes.overridden(options.sizes[profile], options.settings), options.seeds)
    grid = axes.folded(grid, options.folds)
    axes.check_size(grid, options.yes)
    one_seed = axes.with_one_seed(grid)
    drafts = axes.expand(one_seed, prepare.base_spec(prepare.NO_DATASET, profile)).specs
    networks = {(spec.backbone, spec.image_size) for spec in drafts}
    rows = folder.rows()
    with prepare.asking_keras(networks) as asked, TerminalProgress(console) as progress:
        dataset = prepare.opened(uri, options, drafts, progress.update)
        prepare.begin_ray(options.where, len(rows.by_id()), len(drafts) * grid.size // one_seed.size)
        damage = prepare.check_content(dataset, options.accept_damaged, progress.update)
        expanded = axes.expand(grid, prepare.base_spec(prepare.facts_of(dataset, options), profile))
        checked = prepare.check_splits(dataset, expanded.specs, progress.update)
        given = prepare.given_features(options, dataset)
        structures = prepare.with_features(asked.result(), networks, given)
    fitting = axes.possible(checked.specs, lambda spec: prepare.check_networks([spec], structures)[0])
    prepared = prepare.resolve_weights(fitting.specs, options.weights_dir, structures)
    skipped = axes.skip_notes(expanded.skipped + fitting.skipped)
    notes = [*dataset.notes, *prepare.features_notes(given)]
    for problem in [*notes, *prepare.damage_notes(damage), *checked.notes, *skipped, *rows.problems]:
        lines.note(console, problem)
    announce_grid(console, grid, with_axes=options.dry_run)
    parts = prepare.parts_of(prepared, options.shard, structures, checked.splits)
    own, in_hand = take_part(options, folder, grid.name, prepared, parts, console)
    if not own.all_specs:
        return Outcome(0)
    known = (folder.rows() if options.shard else rows).by_id()  # again: others may have ended some meanwhile
    todo = without(in_hand, split_by_status(own.specs, known, options.retry_failed))
    announce(console, dataset, profile, todo, own, checked.split_texts())
    models = announcement(prepared.specs, structures, most_of(prepare.keep_of(options)), bool(options.features))
    lines.say(console, models, "Models")
    plan_for = functools.partial(
        prepare.plan_for, options.where, num_images=len(dataset), structures=structures, splits=checked.splits
    )
    plan = plan_for(todo.pending)
    complete = [result.spec for result in known.values() if result.status == COMPLETE]
    wanted = seeds.COLLAPSE_SEEDS if grid.name == builtin.COLLAPSE else seeds.MIN_SEEDS
    short = None if options.shard else seeds.shortage(prepared.specs, options.seeds, complete, wanted)
    announce_seeds(console, short, todo, plan, plan_for)
    plan = observed(plan, grid.diagnostics if options.diagnostics is None else options.diagnostics)
    if options.dry_run:
        console.print(plan_table(plan))
        return Outcome(0, own.trial_ids)
    new = [result for result in own.impossible if result.trial_id not in known]
    folder.append(*new)
    if todo.pending:
        live = LiveProgress(folder, scope_of(grid.name, todo, prepared, plan, known))
        workplace = prepare.workplace(options, uri, damage)
        write_sweep_file(folder.out, prepare.sweep_file(options, workplace))
        schedule_trials(options.where, workplace, plan, folder, console, live)
    if todo.pending or new:
        known = folder.rows().by_id()
    return Outcome(conclude(console, options, own.all_specs, known), own.trial_ids)


def take_part(
    options: Options,
    folder: ResultsFolder,
    name: str,
    whole: prepare.Prepared,
    parts: Sequence[Part],
    console: Console,
) -> tuple[prepare.Prepared, frozenset[str]]:
    """Say what the shard is of the whole, and have it take on its part; return that, and which of its trials others
    have in hand. Without --shard that is the whole."""
    if not options.shard:
        return whole, frozenset()
    for number, line in enumerate(parts_lines(parts, options.shard.number, with_all=options.dry_run)):
        lines.say(console, line, "" if number else "Shard")
    own = prepare.part_of(whole, options.shard, parts)
    if not own.all_specs:
        lines.say(console, "nothing to do: the grid has fewer groups of trials than there are shards")
    if options.dry_run:
        return own, frozenset()
    shard = Shard(options.shard, name, whole.trial_ids, own.trial_ids)
    say = functools.partial(console.print, markup=False)
    rows = folder.rows().by_id()
    ended = {one for one, row in rows.items() if row.status != FAILED or not options.retry_failed}
    _, others = take_on(options.out, shard, ended, say)
    for which, trial_ids in others.items():
        lines.note(console, f"{len(trial_ids):,} trials of this part are left to shard {which}, which has them in hand")
    return own, frozenset[str]().union(*others.values())


def without(in_hand: frozenset[str], todo: TrialsByStatus) -> TrialsByStatus:
    return replace(todo, pending=tuple(spec for spec in todo.pending if spec.trial_id not in in_hand))


def observed(plan: Plan, diagnostics: bool) -> Plan:
    return replace(plan, groups=tuple(replace(group, diagnostics=diagnostics) for group in plan.groups))


def announce_grid(console: Console, grid: axes.Grid, with_axes: bool) -> None:
    lines.say(console, f"{grid.name}{f': {grid.purpose}' if grid.purpose else ''}", "Grid")
    for line in axes.describe(grid) if with_axes else ():
        lines.say(console, line)


def announce_seeds(
    console: Console,
    short: seeds.Shortage | None,
    todo: TrialsByStatus,
    plan: Plan,
    plan_for: Callable[[Sequence[TrialSpec]], Plan],
) -> None:
    """Say what so few seeds decide, and what as many as decide more would cost beyond `plan`."""
    if not short:
        return
    together = (*todo.pending, *short.specs)
    seconds = plan_for(together).estimate.seconds - plan.estimate.seconds if len(together) <= MOST_PRICED else None
    for line in seeds.lines(short, seconds):
        lines.say(console, line[lines.INDENT :], line[: lines.INDENT].strip())


def scope_of(
    name: str,
    todo: TrialsByStatus,
    whole: prepare.Prepared,
    plan: Plan,
    rows: Mapping[str, TrialResult],
) -> Scope:
    """Return what `sweep.status` must know of a grid beside its rows, which are those before it begins. whole: of
    shards, all of the grid."""
    own = set(whole.trial_ids)
    estimate = plan.estimate
    return Scope(
        kind="grid",
        name=name,
        before=len(own) - len(todo.pending),
        others=Counter(str(row.status) for trial_id, row in rows.items() if trial_id not in own),
        failed=frozenset(spec.trial_id for spec in todo.pending if spec.trial_id in rows),
        weights={
            spec.trial_id: cost.seconds / len(group.specs)
            for group, cost in zip(plan.groups, plan.costs, strict=True)
            for spec in group.specs
        },
        estimate=(estimate.low, estimate.seconds, estimate.high),
    )


def schedule_trials(
    where: Where, workplace: Workplace, plan: Plan, folder: ResultsFolder, console: Console, live: LiveProgress
) -> None:
    """Start or join Ray and train the plan's groups, writing each row as it comes; then say what it took."""
    from sweep.scheduling import tune  # ray takes seconds to import: only where there is something to run

    console.print(where.announcement, markup=False)
    results: list[TrialResult] = []
    started = time.monotonic()
    specs = [spec for group in plan.groups for spec in group.specs]
    models = BestModels(folder, workplace.most_models, folder.rows().by_id().values())
    if models.num_removed:
        lines.note(console, f"the weights of {models.num_removed} trials, which --keep does not keep, were removed")
    with as_usage_error(ClusterError), SweepTable(specs, console) as table, live:
        live.add(specs, varied_fields(specs))

        def finished(*ended: TrialResult) -> None:
            folder.append(*ended)
            models.finished(*ended)
            for result in ended:
                if result.status == COMPLETE:
                    folder.drop_checkpoint(result.spec)
                table.finished(result)
            live.finished(*ended)
            results.extend(ended)

        def phases(texts: dict[str, str]) -> None:
            table.phases(texts)
            live.phases(texts)

        def note(text: str) -> None:
            table.note(text)
            live.note(text)

        def epochs(latest: dict[str, dict[str, float]]) -> None:
            folder.stop_if_lost()
            table.epochs(latest)
            live.epochs(latest)

        reporter = tune.Reporter(phases, epochs, finished, note, nodes=live.nodes)
        tune.run_trials(tune.Work(iter(plan.groups), len(plan.groups)), workplace, where, reporter)
    if folder.is_shared:  # the last shard that ends leaves the weights of the best of all
        BestModels(folder, workplace.most_models, folder.rows().by_id().values())
    seconds = time.monotonic() - started
    console.print(comparison(plan, results, seconds))
    learn_speeds(speeds_path(), results, plan.groups, seconds)


def announce(
    console: Console,
    dataset: Dataset,
    profile: str,
    todo: TrialsByStatus,
    prepared: prepare.Prepared,
    split_texts: Sequence[str],
) -> None:
    """Say, before anything starts, what it will run on and how much is left to do."""
    specs = prepared.all_specs
    say = functools.partial(lines.say, console)
    say(f"{dataset.name}: {len(dataset):,} {dataset.kind}, fingerprint {dataset.fingerprint[:12]}", "Dataset")
    say(prepare.first_of(split_texts), "Split")
    say(prepare.profile_text(profile, specs[0], len(dataset)), "Profile")
    for number, line in enumerate(prepare.stand_in_lines(specs)):
        say(line, "" if number else "Weights")
    for label, line in lines.failure_lines(prepared.impossible, varied_fields(specs)):
        say(line, label)
    counts = f"{len(todo.finished)} finished, {len(todo.failed) + len(prepared.impossible)} failed"
    say(f"{len(specs)}: {counts}, {len(todo.pending)} to run", "Trials")
    if todo.failed:
        say("--retry-failed runs the failed ones again")


def conclude(console: Console, options: Options, specs: Sequence[TrialSpec], rows: Mapping[str, TrialResult]) -> int:
    """Print why trials failed, the counts, and where things are; the exit status."""
    results = [rows[spec.trial_id] for spec in specs if spec.trial_id in rows]
    failed = [result for result in results if result.status == FAILED]
    for label, line in lines.failure_lines(failed, varied_fields(specs)):
        lines.say(console, line, label)
    missing = len(specs) - len(results)
    counts = f"{len(results) - len(failed)} of {len(specs)} trials complete, {len(failed)} failed"
    place = without_secrets(options.place or str(options.out))
    ended = f"{counts}{f', {missing} not run' if missing else ''}"
    lines.say(console, ended, "Trials")
    if options.shard:
        left = unfinished_text(read_shards(options.out), rows.keys())
        lines.say(console, left or "all trials of the grid have ended", "Shards", whole=True)
    own = options.home / "trials.jsonl"  # there is none where shards have trained all
    lines.say(console, str(own if own.exists() else options.out), "Results", whole=True)
    if options.place:
        lines.say(console, place, "Kept at", whole=True)
    lines.say(console, f"python -m analysis.run {shlex.quote(place)} --out report/", "Report", whole=True)
    if len(results) > len(failed) and options.features is None:  # a head on features alone is no model of images
        lines.say(console, f"python -m sweep.export {shlex.quote(place)} --to galaxy.keras", "Network", whole=True)
    return 1 if failed or missing else 0


def writable_folder(path: Path, make: bool) -> Path:
    """Return `path`, made if need be; raises UsageError when files cannot be written into it, OutsideError where they
    would land elsewhere. Unless it is to be made, the nearest folder above it that is there is tried."""
    place = path.absolute()
    try:
        if make:
            path.mkdir(parents=True, exist_ok=True)
        check_links(path)
        while not place.exists():
            place = place.parent
        with tempfile.TemporaryFile(dir=place):
            pass
    except OutsideError:
        raise
    except OSError as error:
        raise UsageError(f"--out must be a folder that can be written to; got {path}: {error.strerror}") from error
    return path


if __name__ == "__main__":
    sys.exit(main())
