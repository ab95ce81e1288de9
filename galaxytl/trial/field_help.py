"""What each field of a trial means, what it may be, and what it is by default: read from TrialSpec itself.

    print(fields_text(80, {"backbone": BACKBONES}))

The sentences are the docstrings below the fields, so that nothing here can be out of date. Standard library only.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import json
import math
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from galaxytl.trial.spec import SET_BY_SWEEP, SPEC_FIELDS, TrialSpec

KINDS: Final = {"str": "text", "int": "a whole number", "float": "a number", "bool": "true or false"}


@dataclass(frozen=True)
class FieldHelp:
    name: str
    part: str
    """Heading of those that belong together, like "data"."""
    allowed: str
    default: str
    """Empty where there is none."""
    meaning: str
    """Sentences."""


def field_help() -> list[FieldHelp]:
    """Return it of all fields, in their order."""
    source = inspect.getsource(TrialSpec)
    (tree,) = ast.parse(source).body
    assert isinstance(tree, ast.ClassDef)
    headings = {
        n: found[1] for n, line in enumerate(source.splitlines(), 1) if (found := re.match(r" +# (\w+)$", line))
    }
    notes = []
    for statement, following in zip(tree.body, tree.body[1:], strict=False):
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            part = [heading for number, heading in headings.items() if number < statement.lineno][-1]
            notes.append(_help(statement.target.id, part, _docstring(following)))
    return notes


def _docstring(statement: ast.stmt) -> str:
    value = statement.value if isinstance(statement, ast.Expr) else None
    return " ".join(str(value.value).split()) if isinstance(value, ast.Constant) else ""


def _help(name: str, part: str, meaning: str) -> FieldHelp:
    rule = SPEC_FIELDS[name]
    has_default = rule.default is not dataclasses.MISSING and name not in SET_BY_SWEEP
    default = rule.default if isinstance(rule.default, str) else json.dumps(rule.default) if has_default else ""
    return FieldHelp(name, part, _allowed(name, rule), str(default) if has_default else "", meaning)


def _allowed(name: str, rule: dataclasses.Field[Any]) -> str:
    if name == "unfrozen_blocks":
        return "a whole number, at least 0, or all"
    if name == "unfreeze_stages":
        return "whole numbers in ascending order and perhaps all, with commas between; --set parts values by ;"
    if choices := rule.metadata.get("choices"):
        return ", ".join(choices)
    kind = KINDS[str(rule.type)]
    if "low" not in rule.metadata:
        return kind
    low, high, open_low = (rule.metadata[key] for key in ("low", "high", "open_low"))
    above = f"greater than {low:,}" if open_low else f"at least {low:,}"
    return f"{kind}, {above}" + (f", at most {high:,}" if math.isfinite(high) else "")


def fields_text(width: int, names: Mapping[str, Iterable[str]]) -> str:
    """Return all fields in lines of at most `width` letters. names: of fields whose values are names, what is known."""
    return "\n".join(_lines(width, names))


def _lines(width: int, names: Mapping[str, Iterable[str]]) -> Iterator[str]:
    yield from textwrap.wrap(
        "Fields of a trial, with their defaults. A profile and a grid set some of them otherwise: --dry-run says how. "
        "--set FIELD=VALUE sets one, --set FIELD=VALUE,VALUE,... multiplies the grid.",
        width,
    )
    every = field_help()
    for part in dict.fromkeys(note.part for note in every):
        yield from ("", part)
        for note in every:
            if note.part == part and note.name not in SET_BY_SWEEP:
                yield from _entry(note, width, ", ".join(names.get(note.name, ())) or note.allowed)
    yield from ("", "found out by a sweep, and not to be set")
    for note in every:
        if note.name in SET_BY_SWEEP:
            yield from _entry(note, width, note.allowed)


def _entry(note: FieldHelp, width: int, allowed: str) -> Iterator[str]:
    """Yield the name and its default; what is allowed; what it means."""
    yield f"  {note.name}" + (f" = {note.default}" if note.default else "")
    for text in (allowed, note.meaning):
        yield from textwrap.wrap(text, width, initial_indent=" " * 6, subsequent_indent=" " * 6, break_on_hyphens=False)
