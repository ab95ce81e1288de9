"""JSON that a stranger, a power cut or another version may have damaged: read whole, or refused with a ValueError.

    values = read_json(path.read_bytes())     # JsonError says what is wrong, and shows its beginning

Python's own reader takes NaN and half letters, and ends in a RecursionError where lists are nested deeply.
Standard library only.
"""

from __future__ import annotations

import codecs
import json
import reprlib
from typing import Any, Final, NoReturn

LARGEST: Final = 64 * 2**20
"""Bytes of a text. The longest row, of 100,000 epochs, has some 20 million."""
MOST_BRACKETS: Final = 2_000_000
"""Lists and objects of a text: each takes 60 bytes of memory, and 2 of the text."""
DEEPEST: Final = 32
"""Lists and objects inside each other, in what `check_depth` looks at."""


class JsonError(ValueError):
    """A text is not the JSON that this project writes."""


def read_json(text: bytes) -> Any:
    """Return the value of `text`. Raises JsonError; half letters (lone surrogates), which no file takes, become
    visible."""
    text = text.removeprefix(codecs.BOM_UTF8)
    if len(text) > MOST_BRACKETS and (len(text) > LARGEST or text.count(b"[") + text.count(b"{") > MOST_BRACKETS):
        raise JsonError(f"must be JSON of at most {LARGEST:,} bytes and {MOST_BRACKETS:,} lists; got more")
    try:
        value = _DECODER.decode(text.decode())
    except RecursionError:
        raise JsonError(f"must be JSON that is not nested as deeply; got {_beginning(text)}") from None
    except JsonError:
        raise
    except ValueError as error:  # of letters, of syntax, of integers with thousands of digits
        reason = getattr(error, "msg", "") or str(error)
        raise JsonError(f"must be JSON; got {_beginning(text)} ({reason})") from error
    return _without_half_letters(value) if b"\\ud" in text or b"\\uD" in text else value


def shown(value: Any) -> str:
    """Return the beginning of a value, in one line, with nothing in it that a terminal would obey."""
    return _SHORT.repr(value)


def _beginning(text: bytes) -> str:
    return shown(text[:100].decode(errors="replace"))


def check_depth(value: dict[str, Any] | list[Any], left: int = DEEPEST) -> None:
    """Raise JsonError where lists and objects are nested more deeply than DEEPEST."""
    if not left:
        raise JsonError(f"must be JSON of at most {DEEPEST} lists and objects inside each other; got more")
    for part in value.values() if isinstance(value, dict) else value:
        if isinstance(part, dict | list):
            check_depth(part, left - 1)


def _refused(word: str) -> NoReturn:
    raise JsonError(f"must be JSON, which has no such number; got {word}")


def _without_half_letters(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode(errors="backslashreplace").decode()
    if isinstance(value, list):
        return [_without_half_letters(part) for part in value]
    if isinstance(value, dict):
        return {_without_half_letters(name): _without_half_letters(part) for name, part in value.items()}
    return value


_DECODER: Final = json.JSONDecoder(parse_constant=_refused)
_SHORT: Final = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 60
