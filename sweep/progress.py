"""The terminal during a sweep: one live table, or, where the output is no terminal, a line an event."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from galaxytl.trial import COMPLETE, TrialResult, TrialSpec

STYLES = {"COMPLETE": "green", "FAILED": "red", "PRUNED": "yellow", "running": "cyan", "waiting": "dim"}


def trial_label(spec: TrialSpec) -> str:
    """A trial's short name for people, like "VGG16, ImageNet, frozen, seed 1"."""
    depth = {0: "frozen", "all": "all layers trained"}[spec.unfrozen_blocks]
    seed = f", seed {spec.seed}" if spec.seed else ""
    return f"{spec.backbone}, {spec.weights_label}, {depth}{seed}"


class SweepTable:
    """A row a trial: what it is doing, how far it is, how well it does. Use as a context manager."""

    def __init__(self, specs: Sequence[TrialSpec], console: Console) -> None:
        self._specs = {spec.trial_id: spec for spec in specs}
        self._state = dict.fromkeys(self._specs, "waiting")
        self._text = dict.fromkeys(self._specs, "")
        self._scores = dict.fromkeys(self._specs, ("", ""))
        self._started: dict[str, float] = {}
        self._seconds: dict[str, float] = {}
        self._console = console
        self._live = Live(get_renderable=self._table, console=console, refresh_per_second=2, transient=False)
        self._said: dict[str, float] = {}

    def __enter__(self) -> SweepTable:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._console.is_terminal:
            self._live.stop()

    def phase(self, trial_id: str, text: str) -> None:
        if self._state[trial_id] not in ("waiting", "running"):
            return
        self._state[trial_id] = "running"
        self._text[trial_id] = text
        self._started.setdefault(trial_id, time.monotonic())
        if time.monotonic() - self._said.get(trial_id, 0.0) >= 15:
            self._say(trial_id, text)

    def epoch(self, trial_id: str, history: list[dict[str, float]]) -> None:
        last = history[-1]
        epochs = f"epoch {int(last['epoch'])}/{self._specs[trial_id].num_epochs}"
        self._scores[trial_id] = (f"{last['loss']:.3f}", f"{last['val_accuracy']:.3f}")
        self.phase(trial_id, epochs)
        self._say(trial_id, f"{epochs}: loss {last['loss']:.3f}, watched accuracy {last['val_accuracy']:.3f}")

    def finished(self, result: TrialResult) -> None:
        trial_id = result.trial_id
        self._state[trial_id] = result.status
        self._text[trial_id] = result.message
        self._seconds[trial_id] = time.monotonic() - self._started.get(trial_id, time.monotonic())
        scores = f"test accuracy {result.metrics['accuracy']:.3f}" if result.status == COMPLETE else result.message
        if result.status == COMPLETE:
            self._scores[trial_id] = (self._scores[trial_id][0], f"{result.metrics['accuracy']:.3f}")
        self._say(trial_id, f"{result.status}: {scores}")

    def note(self, text: str) -> None:
        """A line about the sweep as a whole, above the table."""
        self._console.print(text, markup=False)

    def _say(self, trial_id: str, text: str) -> None:
        self._said[trial_id] = time.monotonic()
        if not self._console.is_terminal:
            line = f"{time.strftime('%H:%M:%S')}  {trial_label(self._specs[trial_id])}: {text}"
            self._console.print(line, highlight=False, markup=False)

    def _table(self) -> Table:
        done = sum(state in ("COMPLETE", "FAILED", "PRUNED") for state in self._state.values())
        table = Table(title=f"{done} of {len(self._specs)} trials finished", title_justify="left", expand=False)
        for name in ("trial", "state", "", "time", "loss", "accuracy"):
            table.add_column(name, justify="right" if name in ("time", "loss", "accuracy") else "left")
        for trial_id, spec in self._specs.items():
            state = self._state[trial_id]
            loss, accuracy = self._scores[trial_id]
            cells = (escape(trial_label(spec)), f"[{STYLES[state]}]{state}[/]", escape(self._text[trial_id]))
            table.add_row(*cells, self._clock(trial_id), loss, accuracy)
        return table

    def _clock(self, trial_id: str) -> str:
        if trial_id not in self._started:
            return ""
        seconds = self._seconds.get(trial_id, time.monotonic() - self._started[trial_id])
        return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
