"""The first look at a JSON text: what parsers pass over in silence is refused here, with line and column.

JSON parsers take the last of two equal keys, and read ``NaN`` and ``1e400`` as numbers or report them without a place.
One pass over the tokens finds these, byte-order marks, the marks of an unfinished merge, and nesting that would exhaust
a recursive parser. What is left to the parser is syntax and types.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass

from pytest_gpuperf.errors import BaselineError

MAX_BYTES = 4 * 1024 * 1024
"""Largest file that is read: some 2000 cases. Larger is an attack or an accident."""

MAX_DEPTH = 16
MAX_DIGITS = 40

_MERGE_MARK = re.compile(r"^(<{7}|={7}|>{7}|\|{7})(?: .*)?\r?$", re.MULTILINE)
# One alternative per kind of token. Strings never run over a line's end: a missing quote would swallow the file.
_TOKEN = re.compile(
    r"""(?P<string>"(?:[^"\\\n]|\\[^\n])*") | (?P<open>[\[{]) | (?P<close>[\]}])
        | (?P<word>[-+.\w]+) | (?P<mark>[:,])""",
    re.VERBOSE,
)


@dataclass(frozen=True)
class Place:
    """A position in a named text, for messages. Lines and columns (in characters) count from 1."""

    name: str
    text: str
    offset: int

    def __str__(self) -> str:
        line = self.text.count("\n", 0, self.offset) + 1
        return f"{self.name}:{line}:{self.offset - self.text.rfind(chr(10), 0, self.offset)}"


def decode(name: str, content: bytes) -> str:
    """Return ``content`` as text that is fit for a JSON parser.

    Args:
        name: the file's path, for messages.
        content: its bytes; UTF-8, with or without carriage returns.

    Raises:
        BaselineError: with ``name:line:column``.
    """
    check_size(name, len(content))
    if content.startswith(b"\xef\xbb\xbf"):
        raise BaselineError(
            f"{name}:1:1: the file starts with a byte-order mark",
            expected="UTF-8 without one",
            hint=f"save it without a byte-order mark, or: {restore(name)}",
        )
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        place = Place(name, content[: error.start].decode(), error.start)
        raise BaselineError(
            f"{Place(name, place.text, len(place.text))}: the file is not UTF-8",
            got=f"byte 0x{content[error.start]:02x}",
            hint=restore(name),
        ) from error
    if not text.strip():
        raise BaselineError(f"{name}:1:1: the file is empty", expected="a JSON object", hint=restore(name))
    if mark := _MERGE_MARK.search(text):
        raise BaselineError(
            f"{Place(name, text, mark.start())}: the file has an unfinished merge conflict in it",
            got=repr(mark.group(1)),
            hint=f"gpuperf merge {name}",
        )
    _check_tokens(name, text)
    return text


def check_size(name: str, size: int) -> None:
    """Refuse a file that no baseline can be as large as, before it is read or parsed."""
    if size > MAX_BYTES:
        raise BaselineError(
            f"{name} is too large to be a baseline",
            got=f"{size} bytes",
            expected=f"at most {MAX_BYTES}",
            hint=f"{restore(name)}, or split the suite",
        )


def restore(name: str) -> str:
    """Return the command that brings the last committed state of the file back."""
    return f"git checkout -- {name}"


def _check_tokens(name: str, text: str) -> None:
    keys: list[set[str] | None] = []  # per open bracket: the keys so far; None in arrays
    candidate: re.Match[str] | None = None
    for token in _TOKEN.finditer(text):
        if token.lastgroup == "string":
            candidate = token
            continue
        if token.group() == ":" and candidate and keys and keys[-1] is not None:
            _add_key(name, text, keys[-1], candidate)
        candidate = None
        if token.lastgroup == "open":
            keys.append(set() if token.group() == "{" else None)
            if len(keys) > MAX_DEPTH:
                where = Place(name, text, token.start())
                what = f"{where}: nested more than {MAX_DEPTH} deep"
                raise BaselineError(what, expected="the nesting of a baseline file", hint=restore(name))
        elif token.lastgroup == "close" and keys:
            keys.pop()
        elif token.lastgroup == "word":
            _check_word(name, text, token)


def _add_key(name: str, text: str, keys: set[str], token: re.Match[str]) -> None:
    key = _unescaped(token.group())
    if key in keys:
        raise BaselineError(
            f"{Place(name, text, token.start())}: the key {token.group()} stands twice in one object",
            expected="every key once; a parser would keep the last and drop the first in silence",
            hint=f"delete the wrong one, or: {restore(name)}",
        )
    keys.add(key)


def _check_word(name: str, text: str, token: re.Match[str]) -> None:
    word = token.group()
    if word in {"true", "false", "null"}:
        return
    if len(word) > MAX_DIGITS:
        got = f"{word[:MAX_DIGITS]}… ({len(word)} characters)"
        raise BaselineError(f"{Place(name, text, token.start())}: a number too long to be a measurement", got=got)
    try:
        is_finite = math.isfinite(float(word))
    except ValueError:
        return  # the parser's to name
    if not is_finite:
        raise BaselineError(
            f"{Place(name, text, token.start())}: not a finite number",
            got=word,
            expected="a number",
            hint=restore(name),
        )


def _unescaped(token: str) -> str:
    """Return the string that a JSON string token means: two spellings of one key are one key."""
    if "\\" not in token:
        return token[1:-1]
    try:
        return str(json.loads(token, strict=False))
    except ValueError:
        return token  # the parser's to name
