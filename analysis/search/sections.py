"""What is said about a search, section by section, in the terminal and in report.md.

sections = search_sections(search, studies)
"""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from analysis.report.sections import Listing, Section
from analysis.search.choice import Margin, Search
from analysis.statistics.intervals import CONFIDENCE
from analysis.statistics.seeds import MIN_SEEDS
from analysis.trials.endings import count_by_status, share
from analysis.trials.load import count_of_trials, show_value
from analysis.trials.starts import setting
from galaxytl.trial import COMPLETE, TrialResult, TrialSpec

if TYPE_CHECKING:  # study.py imports Optuna: a second that only a report of a search needs
    from analysis.search.study import Importances, Study

SCORES: Final = "Scores"
"""Heading of the section that says what was found."""
MAX_REASONS: Final = 5
MAX_VALUES: Final = 4
"""Of a field, that the table of settings counts; of more numbers it gives the range."""
MAX_REASON: Final = 160
"""Letters of one."""
FRONT_FIELDS: Final = ("backbone", "unfrozen_blocks", "optimizer", "learning_rate")
"""That describe a trial of the Pareto front; search.csv has all."""


def search_sections(search: Search, studies: Sequence[Study]) -> list[Section]:
    sections = [_ended(search, studies)]
    if search.best:
        sections += [_settings(search, search.best), _scores(search, search.best)]
    for study in studies:
        sections += [*_importances(study), *_front(search, study)]
    return sections


def _ended(search: Search, studies: Sequence[Study]) -> Section:
    counts = count_by_status(search.results)
    rows = tuple((ended.status, str(ended.number), _reasons(ended.reasons)) for ended in counts)
    told = [str(study.settings) + "." for study in studies if study.settings]
    told += [line for study in studies for line in _refused(study)]
    told += [] if search.best else ["No trial is complete: there is none to choose."]
    heading = f"A search: {count_of_trials(len(search.results))} compared on the validation part"
    return Section(heading, Listing(("Status", "Trials", "Why"), rows, {1}), tuple(told))


def _refused(study: Study) -> Iterator[str]:
    if study.refused:
        total = sum(number for _, number in study.refused)
        yield f"Suggestions that were no trial, and have no row: {total}. {_reasons(study.refused)}"


def _reasons(reasons: Sequence[tuple[str, int]]) -> str:
    shown = [f"{textwrap.shorten(text, MAX_REASON)} ({number})" for text, number in reasons[:MAX_REASONS]]
    more = sum(number for _, number in reasons[MAX_REASONS:])
    return "; ".join([*shown, *([f"other reasons ({more})"] if more else [])])


def _settings(search: Search, best: TrialResult) -> Section:
    others = [r.spec for r in search.results if r is not best]
    rows = tuple((name, value_text(setting(best.spec, name)), _others(others, name)) for name in search.varied)
    heading = f"The best by validation accuracy: trial {best.trial_id}"
    return Section(heading, Listing(("Setting", "Best", "Other trials"), rows))


def value_text(value: object) -> str:
    """
    >>> value_text(0.00031622776), value_text("all"), value_text(True), value_text(64)
    ('0.0003162', 'all', 'true', '64')
    """
    return f"{value:.4g}" if isinstance(value, float) else show_value(value)


def _others(specs: Sequence[TrialSpec], name: str) -> str:
    """Return few values with how many trials have each; of many numbers the range."""
    values = [setting(spec, name) for spec in specs]
    counts = Counter(map(value_text, values))
    numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    if len(counts) > MAX_VALUES and len(numbers) == len(values):
        return f"{value_text(min(numbers))} to {value_text(max(numbers))}"
    shown = [f"{text} ({number})" for text, number in counts.most_common(2 * MAX_VALUES)]
    return ", ".join([*shown, *(["..."] if len(counts) > len(shown) else [])])


def _scores(search: Search, best: TrialResult) -> Section:
    rows = [_share_row("validation accuracy", best)]
    if search.margin:
        low_high = str(search.margin.interval)
        how = "paired, image by image" if search.margin.pairs else "unpaired"
        rows.append(("margin to runner-up", f"{search.margin.value:.3f}", low_high, how))
    if search.test_row and search.test_row.status == COMPLETE:
        rows.append(_share_row("test accuracy", search.test_row))
    sentences = [_verdict(search, search.margin)] if search.margin else []
    sentences += [_optimism(search), *_tested(search), METHODS]
    table = Listing(("Score", "Value", f"{CONFIDENCE:.0%} interval", "On"), tuple(rows), {1})
    return Section(SCORES, table, tuple(sentences))


ALONE: Final = (
    "That is of these two trained networks. Of their settings one seed each decides nothing: train both with"
    f" {MIN_SEEDS} seeds or more to compare them."
)
METHODS: Final = (
    "Intervals: of a share, Wilson 1927; of the difference of two, method 10 of Newcombe 1998 for paired or unpaired"
    " shares. They are of the images, not of the seed: another seed of the same settings differs too."
)


def _share_row(name: str, result: TrialResult) -> tuple[str, ...]:
    found = share(result)
    part = result.spec.scored_on
    images = f"{found.total:,} {part} images" if found else f"number of {part} images not recorded"
    return (name, f"{result.metrics['accuracy']:.3f}", str(found.interval) if found else "", images)


def named_trial(search: Search, result: TrialResult) -> str:
    """Return a trial with all settings in which those of the search differ."""
    return f"trial {result.trial_id} ({settings_text(result.spec, search.varied)})"


def _verdict(search: Search, margin: Margin) -> str:
    """Say whether the best can be told from the runner-up, and by what: these two networks, not their settings."""
    apart = "cannot" if margin.is_within_noise else "can"
    best, runner_up = (named_trial(search, result) for result in (search.ranking[0], margin.runner_up))
    claim = f"The best, {best}, and the runner-up, {runner_up}, {apart} be told apart"
    claim += f" on {margin.num_images:,} images"
    if not margin.value:
        claim += ", of which they have equally many right (the lower validation loss decided)"
    if margin.pairs is None:
        inside = "includes" if margin.is_within_noise else "excludes"
        return f"{claim}: the interval of the margin {inside} 0. It is not paired: {margin.why_unpaired}. {ALONE}"
    first, second = margin.pairs.first_only, margin.pairs.second_only
    return (
        f"{claim}: {first} of them only the best has right, {second} only the runner-up (McNemar's exact test,"
        f" p = {margin.p_value:.2g}). {ALONE}"
    )


def _optimism(search: Search) -> str:
    number = len(search.ranking)
    if number == 1:
        return "Only this trial is complete: its validation score is not the highest of several."
    return (
        f"The best trial's validation score is the highest of {number}, and so too high on average: part of it is luck"
        " that does not come again on other images. Its score on the test part had no say in the choice."
    )


def _tested(search: Search) -> Iterator[str]:
    row = search.test_row
    if row is None:
        yield "The best trial has no row on the test part in these folders; the command below makes one."
    elif row.status != COMPLETE:
        why = " ".join(row.message.split()) or "no reason given"
        yield f"The best trial's row on the test part is {row.status}: {why}"
    if search.num_tested == 1:
        yield "1 trial of this search has been scored on the test part."
    elif search.num_tested > 1:
        yield (
            f"{search.num_tested} trials of this search have been scored on the test part: it was used more than once."
            " A score there is unbiased only if none of the others had a say in what was done next."
        )


def _importances(study: Study) -> Iterator[Section]:
    heading = "Which parameters mattered"
    if study.note or not study.settings:
        yield Section(heading, sentences=(f"Importances are not available: {study.note}.",))
        return
    heading = f"{heading} for {study.settings.objectives[0].name}"
    for number, part in enumerate(study.importances):
        of_case = f", where {part.case} was chosen" if part.case else ""
        own = f"{heading}{of_case}: {count_of_trials(part.num_trials)} completed"
        more = ("report.md has them case by case too.",) if number == 0 and len(study.importances) > 1 else ()
        yield _importance_section(own, part, more, is_detail=number > 0)


def _importance_section(heading: str, part: Importances, more: tuple[str, ...], is_detail: bool) -> Section:
    if part.note:
        return Section(heading, None, (f"Importances are not available: {part.note}.",), is_detail)
    rows = tuple(
        (row.parameter, str(row.num_trials), _share_text(row.fanova), _share_text(row.ped_anova)) for row in part.rows
    )
    return Section(
        heading,
        Listing(("Parameter", "Trials", "fANOVA", "PED-ANOVA"), rows, {1, 2, 3}),
        () if is_detail else (IMPORTANCES, *more),
        is_detail,
    )


IMPORTANCES: Final = (
    "Each column sums to 1. fANOVA (Hutter et al. 2014): the share of the variance over the space, of parameters that"
    " all trials have. PED-ANOVA (Watanabe et al. 2023): how differently the best tenth of the trials, at least 5,"
    ' choose. "-": the measure cannot tell. Both describe the trials that the sampler happened to choose.'
)


def _share_text(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _front(search: Search, study: Study) -> Iterator[Section]:
    if not study.front or not study.settings:
        return
    specs = {r.trial_id: r.spec for r in search.results}
    names = [name for name in FRONT_FIELDS if name in search.varied]
    rows = tuple(
        (trial.trial_id, *(f"{v:.4g}" for v in trial.values), settings_text(specs.get(trial.trial_id), names))
        for trial in study.front
    )
    goals = [goal.heading for goal in study.settings.objectives]
    yield Section(
        f"Pareto front: {count_of_trials(len(rows))} that no other beats in all objectives",
        Listing(("Trial", *goals, "Settings"), rows, set(range(1, len(goals) + 1))),
        ("The best trial above is chosen by validation accuracy alone. The scores here have their share of luck too.",),
    )


def settings_text(spec: TrialSpec | None, names: Sequence[str]) -> str:
    """Return the settings of these names in one line, as they tell trials of a search apart."""
    if spec is None:
        return "no row in these folders"
    texts = {name: value_text(setting(spec, name)) for name in names}
    return ", ".join(text if name == "backbone" else f"{name} {text}" for name, text in texts.items())
