"""Which version of the messages of ``messages.py`` an agent and a scheduler speak.

Each side knows a range of versions. The agent says its range in Hello, in words that no version
changes (``agent``, ``cell``, ``protocol_min``, ``protocol_max``); the scheduler chooses the highest
that both know and says it in Welcome. From then on each sends only what the chosen version has, so
agents and schedulers of neighbouring releases work together whichever is upgraded first.

A version grows when a message gets a new kind, or a field that may not be ignored. A field with a
default that may be ignored needs no new version: both sides ignore fields that they do not know.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct


class Versions(Struct, frozen=True):
    """The versions that one side speaks: all from ``least`` to ``newest``."""

    least: int
    newest: int

    def agree(self, other: Versions) -> int | None:
        """The version that both are to speak; None if they have none in common."""
        chosen = min(self.newest, other.newest)
        return chosen if chosen >= max(self.least, other.least) else None

    def __str__(self) -> str:
        return str(self.newest) if self.least == self.newest else f"{self.least} to {self.newest}"


#: From this version on an agent can be asked what it says of itself (Diagnose).
DIAGNOSE: Final = 2

#: What this release speaks.
VERSIONS: Final = Versions(1, 2)
