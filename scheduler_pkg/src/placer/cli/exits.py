"""Exit codes: what a script may branch on. docs/reference/cli.md is printed from this table."""

from __future__ import annotations

import enum
from typing import Final

from placer.errors import InvalidInput, NoScheduler, NotFound, Overloaded, PlacerError, StoreError


class Exit(enum.IntEnum):
    """How a command ended."""

    DONE = 0
    FAILED = 1
    INPUT = 2
    NOT_FOUND = 3
    REFUSED = 4
    UNAVAILABLE = 5
    TIME_UP = 6
    STOPPED = 130


MEANING: Final[dict[Exit, str]] = {
    Exit.DONE: "done",
    Exit.FAILED: "it could not be done; the message says why",
    Exit.INPUT: "the input is wrong; nothing happened",
    Exit.NOT_FOUND: "there is no such thing",
    Exit.REFUSED: "the request ended without a place: refused, failed or cancelled",
    Exit.UNAVAILABLE: "the API cannot be reached, or is too busy; try again",
    Exit.TIME_UP: "the time given was over first; what was asked for goes on",
    Exit.STOPPED: "stopped by Ctrl-C",
}


class Ended(PlacerError):
    """A command that ends with a code of its own."""

    def __init__(self, code: Exit, message: str, *, remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.exit = code


def of(error: PlacerError) -> Exit:
    """The code that a process ends with because of ``error``."""
    if isinstance(error, Ended):
        return error.exit
    if isinstance(error, InvalidInput):
        return Exit.INPUT
    if isinstance(error, NotFound):
        return Exit.NOT_FOUND
    if isinstance(error, (Overloaded, NoScheduler, StoreError)):
        return Exit.UNAVAILABLE
    return Exit.FAILED
