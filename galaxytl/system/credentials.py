"""Passwords and keys in addresses: whatever is shown or kept is without them.

    remember("postgresql://me:s3cr%40t@host/db")     # from here on also by its value, in whatever form it comes back
    without_secrets(text)                            # postgresql://me:***@host/db

Libraries take addresses apart, decode what they find, and say it in errors of their own. So what stands where a
password stands is masked by its place, and what this process was given also by its value. Standard library only.
"""

from __future__ import annotations

import functools
import html
import json
import os
import re
from collections.abc import Iterator
from typing import Final
from urllib.parse import quote, quote_plus, unquote, unquote_plus

MASK: Final = "***"
LONG_NAMES: Final = (
    r"[\w.%-]{0,64}(?:password|passwd|passphrase|pwd|secret|token|credential|signature)[\w.%-]{0,64}"
    r"|[\w.-]{0,64}(?:access|account|api|customer|encryption|private|session|shared|storage)[_.-]?key[\w.-]{0,64}"
)
NAMES: Final = rf"{LONG_NAMES}|pass|pw|sig|key|sas|auth|jwt"
"""What secrets are called in the query of an address, and in settings of libraries: sslpassword, X-Amz-Signature."""
SECRET_NAME: Final = re.compile(NAMES, re.IGNORECASE)
QUOTED: Final = r"""\"[^\"\n]{1,500}\"|'[^'\n]{1,500}'"""
IN_PLACE: Final = (
    # Up to the last @ of the word: a password may hold some, and slashes.
    (re.compile(r"""(:/{1,3}[^/:@\s]{0,500}:)(?:(?!://)[^\s"'<>]){0,500}@"""), rf"\1{MASK}@"),
    (re.compile(r"(https?://)[^/:@?#\s]{1,500}@", re.IGNORECASE), rf"\1{MASK}@"),  # a token in the user's place
    (re.compile(r"(%3A(?:%2F){1,3}(?:(?!%3A|%40)[^\s&]){0,500}%3A)[^&\s]{0,500}?%40", re.IGNORECASE), rf"\1{MASK}%40"),
    (
        re.compile(
            rf"""((?<![\w.%-])(?:(?:{NAMES})(?:=|%3D)|(?:{LONG_NAMES}) *= *))(?:{QUOTED}|["']?[^&\s"'<>]+)""",
            re.IGNORECASE,
        ),
        rf"\1{MASK}",
    ),
    (re.compile(rf"""((["'])(?:{NAMES})\2: *)(?:{QUOTED})""", re.IGNORECASE), rf'\1"{MASK}"'),
)
TYPED: Final = re.compile(
    r"(?:--[\w-]+=)?(?:[A-Za-z][\w+.-]*:/{0,3}|//)?[^/:@\s]*:(?!//)(.*)@|https?://([^/:@?#\s]+)@", re.DOTALL
)
"""A word of a command line with a user's password, also where the scheme is mistyped; or with a token as the user."""
NAMED: Final = re.compile(r"(?:--[\w-]+=)?[A-Za-z]\w*:(?=[A-Za-z][\w+.-]*://)")
"""What stands before an address where an option takes a name with it, as --tracker: mlflow:http://..."""
INNER: Final = re.compile(r"://[^/:@\s]*:([^/@\s]*)@")
"""An address in another's query, as a proxy's."""
SETTING: Final = re.compile(r"(?=(?:^|[?&;#\s])([^=?&;#\s]+)=((?:(?!;[^=;&\s]*=|\s[\w.-]+=)[^&])*(?:&[^=&]*(?=&|$))*))")
"""A name and value of a query, or of a connection string. What has no = behind an & belongs to the value before."""
SECRET_VARIABLE: Final = re.compile(
    r".*(?:PASSWORD|PASSWD|PASSPHRASE|_PWD|SECRET|TOKEN|(?:ACCESS|ACCOUNT|API|PRIVATE|STORAGE)_KEY)",
    re.IGNORECASE,
)
"""What secrets are called in the environment: AWS_SECRET_ACCESS_KEY, PGPASSWORD, HF_TOKEN."""
BEFORE_WORD: Final = r"(?:(?<![{}])|(?<=%[0-9A-Fa-f]{{2}}))"
"""What stands before a word: none of these letters, or a letter that is encoded."""
SHORTEST_WORD, SHORTEST_OTHER = 5, 4
"""Letters of a secret that is masked by its value: of letters and digits alone; of others too."""

_known: set[str] = set()


def without_secrets(text: str) -> str:
    """Return a text, an address or a command line, as it may be shown and kept."""
    text = _by_value(len(_known)).sub(MASK, text) if _known else text
    for pattern, masked in IN_PLACE:
        text = pattern.sub(masked, text)
    return text


def remember(word: str) -> None:
    """Have `without_secrets` mask from here on the secrets in this word of a command line, or address, by their
    values."""
    _known.update(form for secret in secrets_of(word) for form in forms(secret))


def remember_environment() -> None:
    """Remember the secrets of what this process's environment holds: proxies and endpoints, and what is called a
    secret. A library may say it in an error."""
    for name, value in os.environ.items():
        if "://" in value:
            remember(value)
        elif SECRET_VARIABLE.fullmatch(name) and len(value) > len("false"):
            _known.update(forms(value))


def forget() -> None:
    """Forget what was remembered: a process that runs several commands, as tests do, begins each without it."""
    _known.clear()
    _by_value.cache_clear()


def secrets_of(word: str) -> Iterator[str]:
    """Yield whatever in a word may be a secret, as it was typed: with several @ before its query, what precedes
    each."""
    named = NAMED.match(word)
    word = word[named.end() :] if named else word
    for part in {word, *word.split(","), unquote_plus(word)}:
        if user := TYPED.match(part.partition("?")[0]) or TYPED.match(part):
            typed = user[1] if user[2] is None else user[2]
            yield from (typed[: place.start()] for place in re.finditer("@|$", typed))
        yield from INNER.findall(part)
        yield from (value for name, value in SETTING.findall(part) if SECRET_NAME.fullmatch(unquote(name)))


def forms(secret: str) -> Iterator[str]:
    """Yield the forms in which a secret, or a part of it, may come back: decoded, encoded, and quoted as Python, JSON,
    HTML and shells do."""
    whole = {secret, unquote(secret), unquote_plus(secret)}
    for plain in whole | {part for text in whole for part in re.split(r"[^\w.~-]+", text)}:
        is_word = re.fullmatch(r"[A-Za-z0-9]*", plain) is not None
        if len(plain) < (SHORTEST_WORD if is_word else SHORTEST_OTHER):
            continue
        for text in {plain, quote(plain), quote(plain, safe=""), quote_plus(plain)}:
            yield text
            yield re.sub("%..", lambda code: code[0].lower(), text)
            yield repr(text)[1:-1]
            yield from (json.dumps(text, ensure_ascii=ascii)[1:-1] for ascii in (True, False))
            yield html.escape(text)
            yield text.replace("'", "'\"'\"'")


@functools.lru_cache(maxsize=1)
def _by_value(_count: int) -> re.Pattern[str]:
    """Return the pattern of all that is known, whose number only grows until it is forgotten."""
    return re.compile("|".join(map(_whole, sorted(_known, key=len, reverse=True))))


def _whole(secret: str) -> str:
    """Return the pattern of a secret: one that could be a word is none within a longer word, or number: "postgres" in
    "postgresql"."""
    others = r"\w." if secret.isdecimal() else "A-Za-z0-9"
    return rf"{BEFORE_WORD.format(others)}{secret}(?![{others}])" if secret.isalnum() else re.escape(secret)
