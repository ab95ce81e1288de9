"""The terminal during a sweep: one live table, or, where the output is no terminal, a line an event."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from galaxytl.trial import COMPLETE, SPEC_FIELDS, TrialResult, TrialSpec

STYLES = {"COMPLETE": "green", "FAILED": "red", "PRUNED": "yellow", "running": "cyan", "waiting": "dim"}


SAID_BY_LABEL = ("backbone", "weights", "weights_requested", "weights_fingerprint", "unfrozen_blocks", "seed")
MAX_ROWS = 30  # of the live table; of more trials it shows what runs and what ended last


def trial_label(spec: TrialSpec, varied: Sequence[str] = ()) -> str:
    """Return a trial's short name for people, like "VGG16, ImageNet, frozen, seed 1"; with the values of `varied`
    fields."""
    depths = {0: "frozen", "all": "all layers trained", 1: "1 block trained"}
    depth = depths.get(spec.unfrozen_blocks, f"{spec.unfrozen_blocks} blocks trained")
    words = [spec.backbone, spec.weights_label, depth]
    words += [f"{name} {_text(getattr(spec, name))}" for name in varied]
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
        self._state: dict[str, str] = {}
        self._text: dict[str, str] = {}
        self._scores: dict[str, tuple[str, str]] = {}
        self._total = len(specs) + num_more
        self.add(specs, varied_fields(specs))
        self._started: dict[str, float] = {}
        self._seconds: dict[str, float] = {}
        self._ended: list[str] = []
        self._console = console
        self._live = Live(get_renderable=self._table, console=console, refresh_per_second=2, transient=False)
        self._said: dict[str, float] = {}
        self._ending = threading.Lock()  # one thread tells of phases, another of ends

    def add(self, specs: Iterable[TrialSpec], varied: Sequence[str]) -> None:
        """Return trials that wait from now on; their labels say the values of the `varied` fields."""
        for spec in specs:
            self._labels[spec.trial_id] = trial_label(spec, varied)
            self._text[spec.trial_id], self._scores[spec.trial_id] = "", ("", "")
            self._state[spec.trial_id] = "waiting"
            self._specs[spec.trial_id] = spec  # last: another thread draws what is here
        self._total = max(self._total, len(self._specs))

    def __enter__(self) -> SweepTable:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
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
            self._scores[trial_id] = (f"{epoch['loss']:.3f}", f"{epoch['val_accuracy']:.3f}")
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
            self._state[trial_id], self._text[trial_id] = result.status, result.message
        self._seconds[trial_id] = time.monotonic() - self._started.get(trial_id, time.monotonic())
        self._ended.append(trial_id)
        part = result.spec.scored_on
        scores = f"{part} accuracy {result.metrics['accuracy']:.3f}" if result.status == COMPLETE else result.message
        if result.status == COMPLETE:
            self._scores[trial_id] = (self._scores[trial_id][0], f"{result.metrics['accuracy']:.3f}")
        self._say([trial_id], f"{result.status}: {scores}")

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

    def _table(self) -> Table:
        states = list(self._state.values())  # a copy: trials are added while another thread draws
        done = sum(state in ("COMPLETE", "FAILED", "PRUNED") for state in states)
        table = Table(title=f"{done} of {self._total} trials finished", title_justify="left", expand=False)
        for name in ("trial", "state", "", "time", "loss", "accuracy"):
            table.add_column(name, justify="right" if name in ("time", "loss", "accuracy") else "left")
        for trial_id in self._shown():
            state = self._state[trial_id]
            loss, accuracy = self._scores[trial_id]
            cells = (escape(self._labels[trial_id]), f"[{STYLES[state]}]{state}[/]", escape(self._text[trial_id]))
            table.add_row(*cells, self._clock(trial_id), loss, accuracy)
        return table

    def _shown(self) -> list[str]:
        """Return all trials, or, where these are too many, those that run and those that ended last."""
        if len(self._specs) <= MAX_ROWS:
            return list(self._specs)
        running = [trial_id for trial_id, state in list(self._state.items()) if state == "running"][: MAX_ROWS // 2]
        return running + self._ended[len(running) - MAX_ROWS :]

    def _clock(self, trial_id: str) -> str:
        if trial_id not in self._started:
            return ""
        seconds = self._seconds.get(trial_id, time.monotonic() - self._started[trial_id])
        return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def _range(values: Sequence[float]) -> str:
    low, high = f"{min(values):.3f}", f"{max(values):.3f}"
    return low if low == high else f"{low} to {high}"
