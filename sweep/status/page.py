"""A sweep's status as one page that needs nothing else, and that reloads itself for as long as the sweep runs."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from html import escape
from typing import Final

from sweep.status.snapshot import Snapshot
from sweep.status.texts import MOST_LINES, Line, clock, facts, lines_of, next_step, title

MARK: Final = '<meta name="generator" content="sweep.status">'
"""By which a page is known that may be written over."""
RELOAD_SECONDS: Final = 5
STYLE: Final = """
:root { color-scheme: light dark; --line: #8884; --good: #2a7d46; --bad: #b3261e; --mild: #9a6b00; --soft: #8882; }
* { box-sizing: border-box; }
body { font: 16px/1.45 system-ui, sans-serif; margin: 0 auto; max-width: 60rem; padding: 1rem; }
body { overflow-wrap: anywhere; }
h1 { font-size: 1.4rem; line-height: 1.25; margin: .2rem 0 .8rem; }
h2 { font-size: 1.05rem; margin: 1.4rem 0 .4rem; }
.is-ended h1 { color: var(--good); } .is-gone h1 { color: var(--bad); }
.is-stopped h1, .is-unknown h1 { color: var(--mild); }
.bar { background: var(--soft); border-radius: .4rem; display: flex; height: 1.1rem; overflow: hidden; }
.bar .done { background: var(--good); } .bar .failed { background: var(--bad); }
.bar .running { background: repeating-linear-gradient(45deg, #4a83c4 0 6px, #4a83c499 6px 12px); }
dl { display: grid; gap: .25rem 1rem; grid-template-columns: max-content 1fr; margin: .8rem 0; }
dt { color: GrayText; } dd { margin: 0; }
table { border-collapse: collapse; width: 100%; }
th, td { border-bottom: 1px solid var(--line); padding: .3rem .5rem .3rem 0; text-align: left; vertical-align: top; }
th { color: GrayText; font-weight: normal; }
table.running th:nth-child(2), table.running th:nth-child(3) { min-width: 6rem; }
.n { font-variant-numeric: tabular-nums; text-align: right; white-space: nowrap; }
pre { background: var(--soft); border-radius: .4rem; padding: .6rem; white-space: pre-wrap; }
footer { color: GrayText; font-size: .85rem; margin-top: 1.6rem; }
@media (max-width: 36rem) {
  dl { grid-template-columns: 1fr; gap: 0; } dd { margin-bottom: .5rem; }
  table.running thead { display: none; }
  table.running tr { border-bottom: 1px solid var(--line); display: block; padding: .4rem 0; }
  table.running td { border: 0; display: inline; padding: 0 .6rem 0 0; text-align: left; }
  table.running td:first-child { display: block; font-weight: 600; }
  table.running td[data-of]:not(:empty)::before { color: GrayText; content: attr(data-of) " "; }
}
"""


def page(snapshot: Snapshot, now: datetime.datetime) -> str:
    """Return the page as HTML, of a status that was taken `now`."""
    reload = "" if snapshot.is_over else f'<meta http-equiv="refresh" content="{RELOAD_SECONDS}">'
    body = "\n".join(_parts(snapshot))
    taken = now.strftime("%Y-%m-%d %H:%M:%S %Z")
    again = f"; the page loads itself again every {RELOAD_SECONDS} s" if reload else ""
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">{reload}
{MARK}
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(_heading(snapshot))}</title><style>{STYLE}</style></head>
<body class="is-{snapshot.state}">
{body}
<footer>As of {taken}{again}. <code>python -m sweep.status --watch --html FILE</code> writes it anew.</footer>
</body></html>
"""


def _heading(snapshot: Snapshot) -> str:
    """Return what a browser's tab shows."""
    counts = snapshot.counts
    share = f"{counts.ended}/{counts.total} " if counts.total else ""
    return share + title(snapshot)


def _parts(snapshot: Snapshot) -> Iterator[str]:
    yield f"<h1>{escape(title(snapshot))}</h1>"
    if snapshot.counts.total:
        yield _bar(snapshot)
    rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in facts(snapshot))
    yield f"<dl>{rows}</dl>"
    sentence, command = next_step(snapshot)
    if sentence:
        yield f"<p>{escape(sentence)}</p>" + (f"<pre>{escape(command)}</pre>" if command else "")
    if snapshot.running:
        yield from _running(snapshot)
    if snapshot.failures:
        yield from _failures(snapshot)
    if snapshot.problems:
        notes = "".join(f"<li>{escape(problem)}</li>" for problem in snapshot.problems)
        yield f"<h2>Notes</h2><ul>{notes}</ul>"


def _bar(snapshot: Snapshot) -> str:
    counts, total = snapshot.counts, max(1, snapshot.counts.total or 0)
    numbers = {"done": counts.complete + counts.pruned, "failed": counts.failed, "running": counts.running}
    parts = "".join(
        f'<div class="{name}" style="width:{100 * number / total:.2f}%"></div>' for name, number in numbers.items()
    )
    label = f"{counts.ended} of {counts.total} trials have ended"
    return f'<div class="bar" role="img" aria-label="{label}" title="{label}">{parts}</div>'


def _running(snapshot: Snapshot) -> Iterator[str]:
    lines = lines_of(snapshot.running)
    headings = '<th>trial</th><th>node</th><th>phase</th><th class="n">epoch</th><th class="n">time</th>'
    yield f"<h2>{snapshot.counts.running:,} running</h2>"
    yield f'<table class="running"><thead><tr>{headings}<th class="n">accuracy</th></tr></thead><tbody>'
    yield from (f"<tr>{_cells(line)}</tr>" for line in lines[: 4 * MOST_LINES])
    more = snapshot.counts.running - sum(line.number for line in lines[: 4 * MOST_LINES])
    if more > 0:
        yield f'<tr><td colspan="6">and {more:,} more</td></tr>'
    yield "</tbody></table>"


def _cells(line: Line) -> str:
    texts = {"node": line.node, "phase": line.phase}
    numbers = {"epoch": line.epoch, "time": clock(line.seconds), "accuracy": line.accuracy}
    return f"<td>{escape(line.name)}</td>" + "".join(
        f'<td data-of="{name}"{kind}>{escape(text)}</td>'
        for kind, cells in (("", texts), (' class="n"', numbers))
        for name, text in cells.items()
    )


def _failures(snapshot: Snapshot) -> Iterator[str]:
    yield "<h2>Failed, because</h2><table><tbody>"
    for reason, number in snapshot.failures[:MOST_LINES]:
        yield f'<tr><td class="n">{number:,} &times;</td><td>{escape(reason)}</td></tr>'
    if more := snapshot.failures[MOST_LINES:]:
        number = sum(number for _, number in more)
        yield f'<tr><td class="n">{number:,} &times;</td><td>{len(more):,} other reasons</td></tr>'
    yield "</tbody></table>"
