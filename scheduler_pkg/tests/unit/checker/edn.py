"""A reader of EDN as its specification has it, as much of it as histories use.

Written from https://github.com/edn-format/edn, apart from the code that writes: nil, true, false,
integers, strings with all of EDN's escapes, characters of \\uXXXX, keywords, vectors, maps; commas are
white space.
"""

from __future__ import annotations

import re
from typing import Any

_SPACE = re.compile(r"[\s,]*")
_INTEGER = re.compile(r"[+-]?\d+(?=[\s,\]}]|$)")
_SYMBOL = re.compile(r"[A-Za-z.*+!\-_?$%&=<>/][\w.*+!\-?$%&=<>/:#]*")
_ESCAPED = {"t": "\t", "r": "\r", "n": "\n", "\\": "\\", '"': '"', "b": "\b", "f": "\f"}
_NAMED = {"nil": None, "true": True, "false": False}


class Keyword(str):
    """A keyword; not equal to the string of the same letters."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Keyword) and str.__eq__(self, other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash((":", str(self)))


class Reader:
    """One text, from its beginning."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def value(self) -> Any:
        """The next value; raises ValueError where the text is no EDN."""
        self._skip()
        start = self._text[self._at : self._at + 1]
        if start == '"':
            return self._string()
        if start == "[":
            return self._until("]")
        if start == "{":
            flat = self._until("}")
            if len(flat) % 2:
                raise ValueError("a map has a key without a value")
            return dict(zip(flat[::2], flat[1::2], strict=True))
        if start == ":":
            self._at += 1
            return Keyword(self._match(_SYMBOL))
        if number := _INTEGER.match(self._text, self._at):
            self._at = number.end()
            return int(number[0])
        return _NAMED[self._match(_SYMBOL)]

    def end(self) -> bool:
        """Whether nothing but space is left."""
        self._skip()
        return self._at == len(self._text)

    def _skip(self) -> None:
        found = _SPACE.match(self._text, self._at)
        assert found
        self._at = found.end()

    def _match(self, form: re.Pattern[str]) -> str:
        found = form.match(self._text, self._at)
        if not found:
            raise ValueError(f"not EDN at {self._at}: {self._text[self._at : self._at + 20]!r}")
        self._at = found.end()
        return found[0]

    def _until(self, close: str) -> list[Any]:
        self._at += 1
        found: list[Any] = []
        self._skip()
        while self._text[self._at] != close:
            found.append(self.value())
            self._skip()
        self._at += 1
        return found

    def _string(self) -> str:
        parts: list[str] = []
        self._at += 1
        while (char := self._text[self._at]) != '"':
            if char == "\\":
                self._at += 1
                char = self._text[self._at]
                if char == "u":
                    char = chr(int(self._text[self._at + 1 : self._at + 5], 16))
                    self._at += 4
                else:
                    char = _ESCAPED[char]
            elif ord(char) < 32:
                raise ValueError("a control character in a string")
            parts.append(char)
            self._at += 1
        self._at += 1
        return "".join(parts)


def read(text: str) -> Any:
    """The one value of a text."""
    reader = Reader(text)
    found = reader.value()
    if not reader.end():
        raise ValueError("more than one value")
    return found
