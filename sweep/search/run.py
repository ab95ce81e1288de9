"""A search from its options to the score of what it chose: `python -m sweep.run --search optuna`.

Ask the study for trials, several at once; plan them like a grid, so that heads on the same features train in one pass
and what is frozen is computed once for the whole search; let Tune train the groups; tell the study of each trial. When
all have ended, the best by the validation part is scored on the test part: that one, once.
"""

from __future__ import annotations

import contextlib
import functools
import shlex
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from galaxytl.learning.job import Group
from galaxytl.results.rows import ranked, read_results
from galaxytl.results.search.asked_file import FORMAT, read_asked
from galaxytl.results.search.search_file import OBJECTIVES, Objective, SearchFile, write_search_file
from galaxytl.results.sweep_file import write_sweep_file
from galaxytl.system.command import UsageError, as_usage_error
from galaxytl.system.credentials import without_secrets
from galaxytl.system.inside import check_links
from galaxytl.trial import ADDED, COMPLETE, FAILED, PRUNED, TrialResult, TrialSpec
from sweep import prepare
from sweep.grids import axes, builtin
from sweep.options import Options, SearchOptions
from sweep.planning.speeds import learn_speeds, speeds_path
from sweep.progress import lines
from sweep.progress.live import LiveProgress, Scope
from sweep.progress.terminal import SweepTable, trial_label, varied_fields
from sweep.results.folder import STUDY, Outcome, ResultsFolder
from sweep.results.models import BestModels, announcement, most_of
from sweep.scheduling.resources import ClusterError
from sweep.search import export
from sweep.search.setup import Setup, set_up
from sweep.search.trials import Search, rehearse

NAMED_BY = ("optimizer", "learning_rate")
"""Fields that tell a search's trials apart in the terminal, beside network, start and depth."""


def run_search(options: Options, search: SearchOptions, folder: ResultsFolder, console: Console) -> Outcome:
    """Run the search; the exit status is 0 when a trial was chosen and scored on the test part."""
    storage, name = export.absolute(search.storage), search.study or folder.out.resolve().name
    setup = set_up(options, replace(search, storage=storage, study=name), console)
    announce(setup, console)
    rehearsal = rehearse(setup.problem)
    for line in [*setup.notes, *axes.skip_notes(rehearsal.broken)]:
        lines.note(console, line)
    if options.dry_run:
        for line in rehearsal.parameters:
            lines.say(console, line)
        return Outcome(0)
    prepare.begin_ray(options.where, len(folder.rows().by_id()), search.trials)
    run, said = begin(setup, folder)
    say = functools.partial(console.print, markup=False)
    with run.exported(say):
        for line in said:
            say(line)
        run.train(console)
    return Outcome(conclude(run, console), run.trial_ids())


def announce(setup: Setup, console: Console) -> None:
    options, base, data, shown = setup.search, setup.base, setup.dataset, export.without_password(setup.search.storage)
    rungs = sorted(setup.problem.rule.decides_at)
    stops = f"{options.scheduler} (after epochs {', '.join(map(str, rungs))})" if rungs else options.scheduler
    for name, text in {
        "Search": f"{options.trials} trials by {setup.problem.sampler}, {options.space}; scheduler {stops}",
        "Objective": ", ".join(f"{OBJECTIVES[name]} {name}" for name in options.objective),
        **({"Study": f"{options.study}, exported to {shown}"} if shown else {}),
        "Dataset": f"{base.dataset}: {len(data):,} {data.kind}, fingerprint {base.dataset_fingerprint[:12]}",
        "Split": setup.split_text,
        "Profile": prepare.profile_text(setup.profile, base, len(data)),
        "Networks": ", ".join(setup.facts.backbones),
        "Models": announcement((), {}, most_of(prepare.keep_of(setup.options)), bool(setup.options.features)),
    }.items():
        lines.say(console, text, name)


def begin(setup: Setup, folder: ResultsFolder) -> tuple[SearchRun, list[str]]:
    """Take the search up as earlier drivers left it; returns it and what there is to say of it. Raises StudyError where
    they searched for something else."""
    asked, rows = folder.asked(), folder.rows()
    own = {r.trial_id: r for r in rows.results if r.spec.scored_on == "validation"}
    if asked.search is None:
        earlier = earlier_search(setup, folder) if not asked.suggestions else []
        folder.append_asked([{"asked": FORMAT, "search": setup.identity}, *earlier])
        asked = read_asked(folder.out)
    export.check_same(setup.search.study, asked.search or {}, setup.identity)
    run = SearchRun(setup, Search(setup.problem, asked, own, folder.append_asked), folder)
    return run, [*(f"note: {problem}" for problem in (*rows.problems, *asked.problems)), *run.begin(own)]


def earlier_search(setup: Setup, folder: ResultsFolder) -> list[dict[str, Any]]:
    """Return what a search of an earlier version asked for, whose truth was its study, as lines of `asked.jsonl`."""
    urls, problem = [setup.search.storage, export.sqlite_url(folder.out.resolve() / STUDY)], setup.problem

    def costs(fields: Mapping[str, Any]) -> Mapping[str, float]:
        spec = problem.built(fields)
        return problem.costs(spec) if spec else {}

    for url in filter(None, urls):
        if lines := export.earlier_lines(url, setup.search.study, setup.identity, costs):
            return lines
    return []


@dataclass
class SearchRun:
    """A search under way in a results folder."""

    setup: Setup
    search: Search
    folder: ResultsFolder
    results: list[TrialResult] = field(default_factory=list)
    """Of this run."""
    begun: list[Group] = field(default_factory=list)
    best: TrialResult | None = None

    @property
    def out(self) -> Path:
        return self.folder.out

    def begin(self, rows: Mapping[str, TrialResult]) -> list[str]:
        """Tell the study of rows (by trial_id), and of trials to begin with, that it does not know; returns
        what there is to say of it."""
        unknown = [row for row in rows.values() if not self.search.knows(row)]
        added, lines = self.search.add_known(unknown, own=True), []
        if added:
            lines.append(f"note: {added} trials have rows, but the study did not know them: told")
        if outside := len(unknown) - added:
            which = f"{outside} rows are of trials that this search's space does not have"
            lines.append(f"note: {which}: the study is not told")
        lines += [f"Start     {self._warm_start(source)}" for source in self.setup.search.warm_start]
        self.best = next(iter(ranked(rows.values())), None)
        counts = Counter(result.status for result in rows.values())
        ended = ", ".join(f"{counts[status]} {status}" for status in (COMPLETE, PRUNED, FAILED))
        left = f"{len(self.search.under_way)} to go on with, {self.search.num_left} to ask for"
        lines.append(f"Trials    {ended}; {left}")
        write_search_file(self.out, self._description)
        return lines

    def _warm_start(self, source: str) -> str:
        if source == "paper":
            specs = axes.expand(builtin.paper(self.setup.profile), self.setup.base).specs
            return f"{self.search.enqueue(specs)} of the paper's {len(specs)} trials are in the space: tried first"
        check_links(Path(source))
        results = read_results(Path(source)).results
        if not results:
            raise UsageError(f"--warm-start must be paper, or a results folder that holds rows; got '{source}'")
        number = self.search.add_known(results)
        return f"{number} of {len(results)} trials of {source} are in the space and watched the same images: told"

    @property
    def _description(self) -> SearchFile:
        """What `analysis` must know of the search."""
        options, problem = self.setup.search, self.setup.problem
        return SearchFile(
            study=options.study,
            storage=export.without_password(options.storage),
            objectives=tuple(Objective(name, OBJECTIVES[name]) for name in problem.objectives),
            space=options.space,
            sampler=problem.sampler,
            scheduler=options.scheduler,
            num_trials=problem.num_trials,
        )

    def exported(self, say: Callable[[str], object]) -> contextlib.AbstractContextManager[object]:
        """Have the study follow in the database of --storage meanwhile, if there is one. Raises StudyError."""
        options = self.setup.search
        if not options.storage:
            return contextlib.nullcontext()
        return export.Export(options.storage, self.search.study, (options.study, self.setup.identity), say)

    def train(self, console: Console) -> None:
        """Let Tune train all trials, then score the chosen one."""
        from sweep.scheduling import tune  # ray takes seconds to import

        options, where = self.setup.options, self.setup.options.where
        if not (self.search.under_way or self.search.num_left or self._to_test()):
            return
        console.print(where.announcement, markup=False)
        workplace = prepare.workplace(options, self.setup.uri, self.setup.damage)
        write_sweep_file(self.out, prepare.sweep_file(options, workplace))
        models = BestModels(self.folder, workplace.most_models, self.folder.rows().by_id().values())
        if models.num_removed:
            lines.note(console, f"the weights of {models.num_removed} trials, which --keep does not keep, were removed")
        live = LiveProgress(self.folder, self._scope())
        with as_usage_error(ClusterError), SweepTable([], console, self._num_trials) as table, live:
            live.add(self.search.under_way, NAMED_BY)

            def finished(*ended: TrialResult) -> None:
                self.finished(*ended)
                models.finished(*ended)
                for result in ended:
                    table.finished(result)
                live.finished(*ended)

            def phases(texts: dict[str, str]) -> None:
                table.phases(texts)
                live.phases(texts)

            def epochs(latest: dict[str, dict[str, float]]) -> dict[str, str]:
                self.folder.stop_if_lost()
                table.epochs(latest)
                live.epochs(latest)
                return self.search.epochs(latest)

            def note(text: str) -> None:
                table.note(text)
                live.note(text)

            decides_at = self.setup.problem.rule.decides_at
            reporter = tune.Reporter(phases, epochs, finished, note, decides_at, live.nodes)
            at_once = max(2, self.setup.search.batch, prepare.num_workers(where))
            work = tune.Work(self._groups(table, live), at_once, may_autoscale=False)
            tune.run_trials(work, workplace, where, reporter)
        learn_speeds(speeds_path(), self.results, self.begun)

    def trial_ids(self) -> tuple[str, ...]:
        """Return those of all that was asked for, and of what was chosen, scored on the test part."""
        asked = [suggestion.trial_id for suggestion in read_asked(self.out).suggestions if suggestion.trial_id]
        return (*asked, *([self.best.spec.replace(scored_on="test").trial_id] if self.best else []))

    @property
    def _num_trials(self) -> int:
        return len(self.search.under_way) + self.search.num_left

    def _scope(self) -> Scope:
        """Return what `sweep.status` must know of the search beside its rows. The plan of the whole is not known."""
        rows = [row for row in self.folder.rows().results if row.spec.scored_on == "validation"]
        others = Counter(str(row.status) for row in rows if not self.search.knows(row))
        return Scope(
            kind="search",
            name=self.setup.search.study,
            before=len(rows) - others.total(),
            others=others,
            still_to_come=lambda: self.search.num_left,
            scored_on="validation",
        )

    def _groups(self, table: SweepTable, live: LiveProgress) -> Iterator[Group | None]:
        """Yield what was under way, then what the study suggests, then, when all that has ended, the chosen one."""
        yield from self._planned(self.search.under_way, table, live)
        while specs := self.search.ask(self.setup.search.batch):
            yield from self._planned(specs, table, live)
        while self.search.is_running:
            yield None
        if tested := self._to_test():
            self.folder.hand_on_checkpoint(tested.replace(scored_on="validation"), tested)
            table.add_chosen(tested, NAMED_BY)
            yield from self._planned([tested], live)

    def _planned(self, specs: Sequence[TrialSpec], *shown: SweepTable | LiveProgress) -> Iterable[Group]:
        for one in shown:
            one.add(specs, NAMED_BY)
        groups = self.setup.groups(specs) if specs else ()
        self.begun += groups
        return groups

    def _to_test(self) -> TrialSpec | None:
        """Return the chosen trial, to be scored on the test part; None where that is done, or none was chosen."""
        if self.best is None:
            return None
        tested = self.best.spec.replace(scored_on="test")
        done = self.folder.rows().by_id().get(tested.trial_id)
        return None if done and done.status == COMPLETE else tested

    def finished(self, *results: TrialResult) -> None:
        """Keep their rows, then tell the study; of checkpoints only the best trial's stays, for its test."""
        self.folder.append(*results)
        for result in results:
            self._tell(result)

    def _tell(self, result: TrialResult) -> None:
        self.results.append(result)
        self.search.finished(result)
        outdone: TrialResult | None = result
        if result.spec.scored_on == "validation" and result.status == COMPLETE:
            before, self.best = self.best, ranked([result, *([self.best] if self.best else [])])[0]
            outdone = before if self.best is result else result
        if outdone:
            self.folder.drop_checkpoint(outdone.spec)


def conclude(run: SearchRun, console: Console) -> int:
    """Say what was chosen and how well it does; returns the exit status."""
    rows = run.folder.rows().by_id()
    own = [row for row in rows.values() if row.spec.scored_on == "validation"]
    counts = Counter(row.status for row in own)
    further = [name for name in varied_fields(row.spec for row in own) if name in ADDED]
    varied = [*NAMED_BY, "head_units", "augmentation", "class_weighting", *further]
    say = functools.partial(lines.say, console)
    if not run.search.gave_up:  # which says why itself
        for label, line in lines.failure_lines([row for row in own if row.status == FAILED], varied):
            say(line, label)
    ended = f"{counts[COMPLETE]} complete, {counts[PRUNED]} stopped early, {counts[FAILED]} failed"
    say(f"{len(own)}: {ended}", "Trials")
    say(str(run.out / "trials.jsonl"), "Results", whole=True)
    if run.search.gave_up:
        console.print(f"error: stopped, as {run.search.gave_up}", markup=False)
    if run.best is None:
        console.print("No trial came to its end: none was chosen.")
        return 1
    say(f"{trial_label(run.best.spec, varied)} ({run.best.trial_id})", "Chosen")
    say(f"accuracy {run.best.metrics['accuracy']:.3f} on the validation part, by which it was chosen")
    tested = rows.get(run.best.spec.replace(scored_on="test").trial_id)
    if tested is None or not tested.is_scored:
        say(f"not scored on the test part: {tested.message if tested else 'not run'}")
        return 1
    say(f"accuracy {lines.accuracy_text(tested)} on the test part")
    looked = sum(row.spec.scored_on == "test" for row in rows.values())
    if looked > 1:
        lines.note(console, f"{looked} trials of this folder have been scored on the test part, one after the other")
    place = shlex.quote(without_secrets(run.setup.options.place or str(run.out)))
    say(f"python -m analysis.run {place} --out report/", "Report", whole=True)
    say(f"python -m sweep.export {place} --to galaxy.keras", "Network", whole=True)
    return 0
