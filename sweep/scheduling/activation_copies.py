"""Which node holds which stored activations, and who is making some: so that each are computed once in a cluster.

    copies = Copies()
    copies.claim("0f3a", "node 1", "trial a")          # MAKE: nobody has it
    copies.claim("0f3a", "node 2", "trial b")          # WAIT: node 1 is at it
    copies.made("0f3a", "node 1", 10**9, seconds=60)
    copies.claim("0f3a", "node 2", "trial b")          # COPY, from node 1

Each node keeps activations on its own disk (`galaxytl.learning.features`). What a node lacks and another one has is
copied,
where that is faster than it was to compute. Nobody waits for a node or a worker that has died: whoever finds a node
dead says so (`lost`), and who makes something must be heard of.
"""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

SILENCE_SECONDS: Final = 120.0
"""After so long without a word of a trial that makes something, another may make it. Networks build in up to 60 s."""
BYTES_PER_SECOND: Final = 100e6
"""Of a copy from node to node. Cautious: a network of 1 Gb/s; clouds give their GPU machines ten times as much."""


class Answer(NamedTuple):
    """What a node that lacks something is to do, and where it is or is made; its bytes, and what making it took."""

    what: Literal["MAKE", "WAIT", "COPY"]
    node: str = ""
    bytes: int = 0
    seconds: float = 0.0


@dataclass
class _Entry:
    bytes: int
    seconds: float
    holders: list[str]


class Copies:
    def __init__(self) -> None:
        self._entries: dict[str, _Entry] = {}
        self._makers: dict[str, tuple[str, str]] = {}
        """Node and trial that make an entry."""
        self._heard: dict[str, float] = defaultdict(float)

    def heard(self, trial_id: str) -> None:
        """Note that the trial is alive."""
        self._heard[trial_id] = time.monotonic()

    def claim(self, name: str, node: str, trial_id: str, at_any_price: bool = False) -> Answer:
        """Answer a node that lacks `name`, for one of its trials. One at a time asks on each node.

        A trial whose worker died while it made `name`, and that begins again on another node, does not wait for itself.

        at_any_price: the node would take far longer than the others to make it, so it copies.
        """
        if (entry := self._entries.get(name)) and (others := [held for held in entry.holders if held != node]):
            entry.holders = [*entry.holders[1:], entry.holders[0]]  # the next one asks another holder
            if at_any_price or entry.bytes / BYTES_PER_SECOND <= entry.seconds:
                return Answer("COPY", others[0], entry.bytes, entry.seconds)
            return Answer("MAKE")
        maker = self._makers.get(name)
        if maker and node != maker[0] and trial_id != maker[1] and not self._is_silent(maker[1]):
            return Answer("WAIT", maker[0])
        self._makers[name] = (node, trial_id)
        self.heard(trial_id)
        return Answer("MAKE")

    def _is_silent(self, trial_id: str) -> bool:
        return time.monotonic() - self._heard[trial_id] >= SILENCE_SECONDS

    def made(self, name: str, node: str, num_bytes: int, seconds: float) -> None:
        """Note that `node` holds `name` now; `seconds`: that making it took, infinity where that is not known."""
        entry = self._entries.setdefault(name, _Entry(num_bytes, seconds, []))
        entry.holders = [*(held for held in entry.holders if held != node), node]
        self._forget_maker(name, node)

    def lost(self, name: str, node: str) -> None:
        """Note that `node` does not hold `name` (any more), nor makes it: it gave up, or died."""
        if entry := self._entries.get(name):
            entry.holders = [held for held in entry.holders if held != node]
        self._forget_maker(name, node)

    def _forget_maker(self, name: str, node: str) -> None:
        if self._makers.get(name, ("",))[0] == node:
            del self._makers[name]
