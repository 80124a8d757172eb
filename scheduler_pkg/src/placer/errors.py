"""Everything that can go wrong, as a tree, with codes that never change.

    PlacerError
    ├── InvalidInput          the caller's words are wrong; nothing happened
    ├── NotFound              there is no such thing
    ├── Unauthorized          no or a wrong token
    ├── Overloaded            a bound was reached; try again later
    ├── Conflict              the world moved; read again and decide again
    └── StoreError            the store did not answer as hoped
        ├── StoreUnavailable  NOT_APPLIED: refused before anything was written
        └── StoreUnknown      UNKNOWN: the write may have happened and may yet happen

A caller branches on the class or on ``code``, never on the words.
"""

from __future__ import annotations

import enum
from typing import Any, ClassVar


class Outcome(enum.StrEnum):
    """What an error says about the write it interrupted. When in doubt: UNKNOWN."""

    NOT_APPLIED = "not_applied"
    UNKNOWN = "unknown"


class PlacerError(Exception):
    """Base of all errors: a stable code, what happened, what to do about it."""

    code: ClassVar[str] = "placer.error"
    status: ClassVar[int] = 500
    outcome: ClassVar[Outcome] = Outcome.NOT_APPLIED

    def __init__(self, message: str, *, remedy: str = "", **fields: Any) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        self.fields = fields

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}".strip()


class InvalidInput(PlacerError):
    """The caller's input cannot be used; ``code`` may be narrowed by the field that is wrong."""

    code = "placer.invalid_input"
    status = 400


class UnknownResourceClass(InvalidInput):
    code = "placer.unknown_resource_class"


class UnknownCell(InvalidInput):
    code = "placer.unknown_cell"


class Unauthorized(PlacerError):
    code = "placer.unauthorized"
    status = 401


class NotFound(PlacerError):
    code = "placer.not_found"
    status = 404


class Conflict(PlacerError):
    """Somebody else wrote first, as often as the bound on attempts allows."""

    code = "placer.conflict"
    status = 409


class Overloaded(PlacerError):
    code = "placer.overloaded"
    status = 503


class StoreError(PlacerError):
    code = "placer.store"
    status = 503


class StoreUnavailable(StoreError):
    """Too few replicas, no connection before sending, or a statement sent to the wrong cell."""

    code = "placer.store_unavailable"


class StoreUnknown(StoreError):
    """The answer was lost. Settle it (claims/protocol.py) before anything depends on it."""

    code = "placer.store_unknown"
    outcome = Outcome.UNKNOWN
