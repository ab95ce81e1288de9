"""The terminal during a sweep: one live table, or, where the output is no terminal, a line an event."""

from __future__ import annotations

import itertools
import textwrap
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from galaxytl.trial import COMPLETE, FAILED, PRUNED, SPEC_FIELDS, TrialResult, TrialSpec
from galaxytl.trial.epochs import ending_text
from sweep.progress.layout import NARROWEST, Row, columns_for, fitting_name, num_lines, table_lines
from sweep.progress.reasons import by_reason

STYLES = {COMPLETE: "green", FAILED: "red", PRUNED: "yellow", "running": "cyan", "waiting": "dim"}
ENDS = (COMPLETE, FAILED, PRUNED)

SAID_BY_LABEL = ("backbone", "weights", "weights_requested", "weights_fingerprint", "unfrozen_blocks", "seed")
MAX_LINES = 40  # of the table, in a terminal that has as many; of more trials it shows what runs and what ended last
AROUND = 6  # lines of the table that are no rows: title, headings, rule, what is not shown, a note, the prompt
STAND_IN = "random *"
NAMED_BY_VALUE = ("optimizer", "precision")
"""Fields whose values say what they are."""
MOST_REASONS = 2  # why trials failed, below the table while it lives


def trial_label(spec: TrialSpec, varied: Sequence[str] = ()) -> str:
    """Return a trial's short name for people, like "VGG16, ImageNet, frozen, seed 1"; with the values of `varied`
    fields."""
    depths = {0: "frozen", "all": "all layers trained", 1: "1 block trained"}
    depth = depths.get(spec.unfrozen_blocks, f"{spec.unfrozen_blocks} blocks trained")
    words = [spec.backbone, spec.weights_label, depth]
    words += [f"{name} {_text(getattr(spec, name))}" for name in varied]
    return ", ".join([*words, f"seed {spec.seed}"] if spec.seed else words)


def brief_label(spec: TrialSpec, varied: Sequence[str]) -> str:
    """Return the trial's name in the table, whose heading and foot say the rest."""
    depths = {0: "frozen", "all": "all layers", 1: "1 block"}
    depth = depths.get(spec.unfrozen_blocks, f"{spec.unfrozen_blocks} blocks")
    words = [spec.backbone, STAND_IN if spec.is_substituted else spec.weights_label, depth]
    for name in varied:
        value = getattr(spec, name)
        words.append(_text(value) if name in NAMED_BY_VALUE else f"{name} {_text(value)}")
    return ", ".join([*words, f"seed {spec.seed}"] if spec.seed else words)


def varied_fields(specs: Iterable[TrialSpec]) -> list[str]:
    """Return fields that differ between trials and that their labels do not say anyway."""
    rows = [spec.fields() for spec in specs]
    return [name for name in SPEC_FIELDS if name not in SAID_BY_LABEL and len({row[name] for row in rows}) > 1]


def _text(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


class SweepTable:
    """A row a trial: what it is doing, how far it is, how well it does. Use as a context manager."""

    def __init__(self, specs: Sequence[TrialSpec], console: Console, num_more: int = 0) -> None:
        """`num_more`: trials that will be added while the sweep runs, if it comes to them."""
        self._specs: dict[str, TrialSpec] = {}
        self._labels: dict[str, str] = {}
        self._names: dict[str, str] = {}
        self._state: dict[str, str] = {}
        self._text: dict[str, str] = {}
        self._scores: dict[str, tuple[str, str]] = {}
        self._chosen = ""
        self._failed: list[TrialResult] = []
        self._is_over = False
        self._total = len(specs) + num_more
        self.add(specs, varied_fields(specs))
        self._started: dict[str, float] = {}
        self._seconds: dict[str, float] = {}
        self._ended: list[str] = []
        self._console = console
        self._live = Live(get_renderable=self.drawn, console=console, refresh_per_second=2, transient=False)
        self._said: dict[str, float] = {}
        self._ending = threading.Lock()  # one thread tells of phases, another of ends

    def add(self, specs: Iterable[TrialSpec], varied: Sequence[str]) -> None:
        """Add trials that wait from now on; their labels say the values of the `varied` fields."""
        for spec in specs:
            self._add(spec, varied)
        self._total = max(self._total, len(self._specs) - bool(self._chosen))

    def add_chosen(self, spec: TrialSpec, varied: Sequence[str]) -> None:
        """Add the trial that a search has chosen, to be scored on the test part: it counts apart."""
        self._add(spec, varied, ", on the test part")
        self._chosen = spec.trial_id  # last: another thread draws its state

    def _add(self, spec: TrialSpec, varied: Sequence[str], more: str = "") -> None:
        trial_id = spec.trial_id
        self._labels[trial_id] = trial_label(spec, varied) + more
        self._names[trial_id] = brief_label(spec, varied) + more
        self._text[trial_id], self._scores[trial_id] = "", ("", "")
        self._state[trial_id] = "waiting"
        self._specs[trial_id] = spec  # last: another thread draws what is here

    def __enter__(self) -> SweepTable:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over = True
        if self._console.is_terminal:
            self._live.stop()

    def phases(self, texts: dict[str, str]) -> None:
        """Show what each of some trials is doing."""
        doing = defaultdict(list)
        for trial_id, text in texts.items():
            if self._begin(trial_id, text):
                doing[text].append(trial_id)
        for text, trial_ids in doing.items():
            if time.monotonic() - self._said.get(trial_ids[0], 0.0) >= 15:
                self._say(trial_ids, text)

    def _begin(self, trial_id: str, text: str) -> bool:
        """Note that a trial runs; False where the trial has ended."""
        with self._ending:
            if self._state[trial_id] not in ("waiting", "running"):
                return False
            self._state[trial_id], self._text[trial_id] = "running", text
        self._started.setdefault(trial_id, time.monotonic())
        return True

    def epochs(self, latest: dict[str, dict[str, float]]) -> None:
        """Show the last epoch of each of some trials that run together."""
        for trial_id, epoch in latest.items():
            self._scores[trial_id] = (_loss_text(epoch["loss"]), f"{epoch['val_accuracy']:.3f}")
            self._begin(trial_id, self._epoch_of(trial_id, epoch))
        first, epoch = next(iter(latest.items()))
        loss = _range([epoch["loss"] for epoch in latest.values()])
        accuracy = _range([epoch["val_accuracy"] for epoch in latest.values()])
        self._say(list(latest), f"{self._epoch_of(first, epoch)}: loss {loss}, watched accuracy {accuracy}")

    def _epoch_of(self, trial_id: str, epoch: dict[str, float]) -> str:
        return f"epoch {int(epoch['epoch'])}/{self._specs[trial_id].num_epochs}"

    def finished(self, result: TrialResult) -> None:
        trial_id = result.trial_id
        with self._ending:
            self._state[trial_id], self._text[trial_id] = result.status, ""
        self._seconds[trial_id] = time.monotonic() - self._started.get(trial_id, time.monotonic())
        self._ended.append(trial_id)
        if result.status == COMPLETE:
            self._scores[trial_id] = (self._scores[trial_id][0], f"{result.metrics['accuracy']:.3f}")
            ending = ending_text(result)
            self._text[trial_id] = f"{COMPLETE}, epoch {result.epoch_scored} of {len(result.history)}" if ending else ""
            text = f"COMPLETE: {result.spec.scored_on} accuracy {result.metrics['accuracy']:.3f}"
            self._say([trial_id], "; ".join([text, *([ending] if ending else [])]))
        else:
            known = any(result.message == earlier.message for earlier in self._failed)
            self._say([trial_id], f"{result.status}: {'as another before' if known else result.message}")
        if result.status == FAILED:
            self._failed.append(result)

    def note(self, text: str) -> None:
        """Print a line about the sweep as a whole, above the table."""
        self._console.print(text, markup=False)

    def _say(self, trial_ids: Sequence[str], text: str) -> None:
        """Print a line about one trial, or several that run together."""
        self._said.update(dict.fromkeys(trial_ids, time.monotonic()))
        if not self._console.is_terminal:
            others = f" and {len(trial_ids) - 1} more" if len(trial_ids) > 1 else ""
            line = f"{time.strftime('%H:%M:%S')}  {self._labels[trial_ids[0]]}{others}: {text}"
            self._console.print(line, highlight=False, markup=False)

    def drawn(self) -> Group:
        """Return the table as it fits the terminal now."""
        width, states = max(NARROWEST, self._console.width), dict(self._state)  # trials are added while one draws
        reasons = [] if self._is_over else self._reason_lines(width)
        rows = self._rows(states, width, len(reasons))
        lines = [Text(self._title(states), style="bold"), *table_lines(list(rows.values()), width)]
        if hidden := Counter(states.values()) - Counter(states[trial_id] for trial_id in rows):
            counts = ", ".join(f"{number:,} {state}" for state, number in hidden.items())
            lines.append(Text(f"and {hidden.total():,} more: {counts}", style="dim"))
        if any(STAND_IN in row.name for row in rows.values()):
            lines.append(Text("* random (ImageNet weights not found)"))
        return Group(*lines, *reasons)

    def _reason_lines(self, width: int) -> list[Text]:
        """Return why trials failed, each reason in a line or two; in the end the sweep itself says all of it."""
        texts = []
        for reason, results in list(by_reason(self._failed).items())[:MOST_REASONS]:
            text = f"{len(results):,} FAILED: {reason}"
            texts += textwrap.wrap(text, width, max_lines=2, subsequent_indent="  ", placeholder=" ...")
        return [Text(line, style="red") for line in texts]

    def _title(self, states: dict[str, str]) -> str:
        own = Counter(state for trial_id, state in states.items() if trial_id != self._chosen)
        ended = [f"{own[state]:,} {state}" for state in ENDS if own[state]]
        title = f"{sum(own[state] for state in ENDS):,} of {self._total:,} trials ended"
        title += f": {', '.join(ended)}" if ended else ""
        if not self._chosen:
            return title
        how = {COMPLETE: "scored", FAILED: "not scored, as it FAILED,"}.get(states[self._chosen], "being scored")
        return f"{title}; the chosen one {how} on the test part"

    def _rows(self, states: dict[str, str], width: int, taken: int) -> dict[str, Row]:
        """Return those of all trials in their order; where these are too many lines, of those that run, that ended last
        and that wait, as many as fit. taken: lines of the terminal that others need."""
        most = MAX_LINES if self._is_over else max(4, min(MAX_LINES, self._console.height - AROUND - taken))
        running = [trial_id for trial_id, state in states.items() if state == "running"][: most // 2]
        waiting = (trial_id for trial_id, state in states.items() if state == "waiting")
        by_importance = [*running, *self._ended[: -1 - most : -1], *itertools.islice(waiting, most)]
        for order in (list(states), by_importance) if len(states) <= most else (by_importance,):
            rows = {trial_id: self._row(trial_id, states[trial_id], width) for trial_id in order}
            columns = columns_for(list(rows.values()), width)
            ends = itertools.accumulate(num_lines(row, columns, width) for row in rows.values())
            fit = sum(end <= most for end in ends)
            if fit == len(states):
                return rows
        return dict(itertools.islice(rows.items(), fit))

    def _row(self, trial_id: str, state: str, width: int) -> Row:
        name = fitting_name(self._names[trial_id], trial_id, width)
        text = self._text[trial_id] if state in ("running", COMPLETE) else ""
        return Row(name, text or state, STYLES[state], self._clock(trial_id), *self._scores[trial_id])

    def _clock(self, trial_id: str) -> str:
        if trial_id not in self._started:
            return ""
        seconds = self._seconds.get(trial_id, time.monotonic() - self._started[trial_id])
        return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def _range(values: Sequence[float]) -> str:
    low, high = f"{min(values):.3f}", f"{max(values):.3f}"
    return low if low == high else f"{low} to {high}"


def _loss_text(loss: float) -> str:
    """Return at most 8 letters."""
    return f"{loss:.3f}" if abs(loss) < 1000 else f"{loss:.1e}"
