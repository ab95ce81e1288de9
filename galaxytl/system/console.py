"""Rich's console, but that a terminal obeys nothing in the texts that it is given, which may be others', and that no
terminal, and no notebook, shows a password.

console = Console(highlight=False)
console.print(Text(message))             # a colour, a bell or a new title in it is shown, not obeyed
"""

from __future__ import annotations

from collections.abc import Iterable

import rich.console
from rich.console import ConsoleOptions, RenderableType
from rich.segment import Segment

from galaxytl.system.credentials import without_secrets
from galaxytl.system.foreign_text import visible


class Console(rich.console.Console):
    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render as rich does; what is no control of rich's own is text."""
        for segment in super().render(renderable, options):
            text = visible(without_secrets(segment.text), keep="\n")
            yield segment if segment.control else Segment(text, segment.style)
