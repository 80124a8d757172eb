"""Microversions: a header chooses one version of an API, and each answer says which it is.

The idea is OpenStack's (a version's structure never changes; a change is a new version that only
those see who ask for it). Without the header the oldest version answers, so that an old program
goes on working; ``latest`` is for people.
"""

from __future__ import annotations

import re
from typing import Final

from msgspec import Struct

from placer.errors import VersionNotSupported

HEADER: Final = "Placer-API-Version"
LATEST: Final = "latest"

#: A version and a header's name as ASGI has them.
Header = tuple[bytes, bytes]

_FORM: Final = re.compile(r"(\d{1,4})\.(\d{1,4})")


class Microversions(Struct, frozen=True):
    """The versions of an API that are served: from ``lowest`` to ``highest``, as (major, minor)."""

    lowest: tuple[int, int]
    highest: tuple[int, int]

    @property
    def min_version(self) -> str:
        return _text(self.lowest)

    @property
    def max_version(self) -> str:
        return _text(self.highest)

    def choose(self, asked: str) -> tuple[int, int]:
        """The version that the header's value means; raises VersionNotSupported."""
        asked = asked.strip()
        if not asked:
            return self.lowest
        if asked.lower() == LATEST:
            return self.highest
        form = _FORM.fullmatch(asked)
        chosen = (int(form[1]), int(form[2])) if form else None
        if chosen is None or not self.lowest <= chosen <= self.highest:
            raise VersionNotSupported(
                f"{HEADER}: {asked[:40]!r} is not served here.",
                remedy=f"Ask for {self.min_version} to {self.max_version}, or for latest.",
                min_version=self.min_version,
                max_version=self.max_version,
            )
        return chosen

    @staticmethod
    def headers(chosen: tuple[int, int] | None) -> list[Header]:
        """What each answer carries; without a version where none could be chosen."""
        vary = [(b"vary", HEADER.encode())]
        if chosen is None:
            return vary
        return [(HEADER.lower().encode(), _text(chosen).encode()), *vary]


def asked_in(headers: list[Header]) -> str:
    """The header's value in a request; several are joined, and so refused."""
    name = HEADER.lower().encode()
    return ",".join(value.decode("latin-1") for key, value in headers if key == name)


def _text(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"
