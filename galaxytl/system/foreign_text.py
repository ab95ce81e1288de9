r"""Text that others wrote, as it may be shown: in rows, leases, studies, grids, names of files and errors about them.

    >>> visible("erased: \x1b[2J, turned: \u202egnp.exe")
    'erased: \\x1b[2J, turned: \\u202egnp.exe'

A terminal obeys control characters, a line of a file ends where a newline stands, and letters can be turned around:
whatever is no letter, mark, number, sign or space is shown by its name. Standard library only.
"""

from __future__ import annotations

import difflib
import itertools
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final


def visible(text: str, keep: str = "") -> str:
    r"""Return the text with what cannot be seen in it named as Python names it, but for the characters in `keep`.

    >>> visible("Köln\r\n"), visible("two\nlines", keep="\n")
    ('Köln\\r\\n', 'two\nlines')
    """
    if text.isprintable():
        return text
    return "".join(letter if letter in keep or _is_seen(letter) else _name(letter) for letter in text)


def _is_seen(letter: str) -> bool:
    return letter.isprintable() or unicodedata.category(letter) == "Zs"  # spaces of other widths


def _name(letter: str) -> str:
    """Return \\x1b; of a byte of a file's name that is no UTF-8, that byte."""
    byte = ord(letter) - 0xDC00
    return f"\\x{byte:02x}" if 0x80 <= byte <= 0xFF else letter.encode("unicode_escape").decode()


def visible_values(value: Any) -> Any:
    """Return a JSON value whose texts, and names, are visible."""
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, dict):
        if all(type(text) is str and text.isprintable() for text in itertools.chain(value, value.values())):
            return value  # as it is in nearly every row
        return {visible(name) if isinstance(name, str) else name: visible_values(own) for name, own in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(visible_values, value))
    return value


def check_visible(values: Mapping[str, Any]) -> None:
    """Raise ValueError where a text is not as it would be shown: of what is known by its very letters, like a spec."""
    for name, value in values.items():
        if isinstance(value, str) and visible(value) != value:
            raise ValueError(f"{name} must be text that can be shown; got '{visible(value)[:100]}'")


def did_you_mean(word: str, known: Iterable[str], most: int = 1) -> str:
    """Return " Did you mean 'paper'?", or nothing when no known word is close. With more than one, also those that
    have the word as a part, or as their initials.

    >>> did_you_mean("lr", ["learning_rate", "seed"], 3), did_you_mean("split", ["split_key", "split_seed"], 3)
    (" Did you mean 'learning_rate'?", " Did you mean 'split_key' or 'split_seed'?")
    """
    names = list(known)
    close = difflib.get_close_matches(word, names, n=most)
    if most > 1:
        close += [name for name in names if name not in close and _is_part(word, name)]
    quoted = [f"'{name}'" for name in close[:most]]
    return f" Did you mean {' or '.join(filter(None, (', '.join(quoted[:-1]), quoted[-1])))}?" if quoted else ""


def _is_part(word: str, name: str) -> bool:
    return (len(word) > 2 and word in name) or word == "".join(part[:1] for part in name.split("_"))


MOST_LETTERS: Final = 60
"""Of the class names in a title."""


def names_text(names: Sequence[str]) -> str:
    """Return class names as a list that fits a title.

    >>> names_text(["a", "b"]), names_text([f"class {n}" for n in range(100)])
    ('a, b', 'class 0, class 1, class 2, class 3, class 4, class 5, and 94 more')
    """
    shown: list[str] = []
    for name in names:
        if sum(map(len, shown)) + 2 * len(shown) + len(name) > MOST_LETTERS:
            break
        shown.append(name)
    left = len(names) - len(shown)
    return ", ".join([*shown, *([f"and {left} more" if shown else f"{left} with long names"] if left else [])])
