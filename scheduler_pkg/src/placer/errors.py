"""Everything that can go wrong, as a tree, with codes that never change.

    PlacerError
    ├── InvalidInput             the caller's words are wrong; nothing happened
    │   ├── UnknownResourceClass, UnknownTrait, UnknownCell, UnknownFlavor, UnknownImage,
    │   │   UnknownServerGroup
    │   ├── MethodNotAllowed     the address is right, the method is not
    │   ├── VersionNotSupported  this API version is not served here
    │   ├── MarkerExpired        what came after this marker is not kept any more
    │   ├── TooLarge             the body is longer than the bound
    │   └── UnsupportedMediaType the body is not JSON
    ├── NotFound                 there is no such thing
    ├── Unauthorized             no or a wrong token
    ├── Overloaded               a bound was reached; try again later
    ├── NoScheduler              no scheduler of the cell can be reached
    ├── Unreachable              a process does not answer
    ├── NoAgent                  no agent serves the host now
    ├── AgentSilent              UNKNOWN: an agent was asked and did not answer
    ├── Conflict                 the world moved; read again and decide again
    │   ├── IdempotencyConflict  a key was used before with another body
    │   └── ServerGroupInUse     a group that has members cannot be deleted
    ├── Internal                 a fault of the service
    └── StoreError               the store did not answer as hoped
        ├── StoreUnavailable     NOT_APPLIED: refused before anything was written
        │   └── StoreOverloaded  it is Overloaded too: the bound on statements under way
        └── StoreUnknown         UNKNOWN: the write may have happened and may yet happen

A caller branches on the class or on ``code``, never on the words. ``table()`` lists them all;
docs/reference/errors.md is printed from it, so a docstring here is what a user reads there.
"""

from __future__ import annotations

import enum
from typing import Any, ClassVar


class Outcome(enum.StrEnum):
    """What an error says about the write it interrupted. When in doubt: UNKNOWN."""

    NOT_APPLIED = "not_applied"
    UNKNOWN = "unknown"


class PlacerError(Exception):
    """Something could not be done. The message says what, the remedy what to do about it."""

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
    """The input cannot be used; ``field`` names the part that is wrong. Nothing was stored."""

    code = "placer.invalid_input"
    status = 400


class UnknownResourceClass(InvalidInput):
    """There is no resource class of this name; ``GET /v1/resource-classes`` lists them."""

    code = "placer.unknown_resource_class"


class UnknownTrait(InvalidInput):
    """The trait is neither a standard one (``GET /v1/traits``) nor of the form CUSTOM_NAME."""

    code = "placer.unknown_trait"


class UnknownCell(InvalidInput):
    """The deployment has no cell of this name; the remedy lists those it has."""

    code = "placer.unknown_cell"


class UnknownFlavor(InvalidInput):
    """The request names a flavor that does not exist."""

    code = "placer.unknown_flavor"


class UnknownImage(InvalidInput):
    """The request names an image that does not exist."""

    code = "placer.unknown_image"


class UnknownServerGroup(InvalidInput):
    """The request names a server group that its project does not have."""

    code = "placer.unknown_server_group"


class MethodNotAllowed(InvalidInput):
    """The address exists, but not with this method; the header Allow lists those it has."""

    code = "placer.method_not_allowed"
    status = 405


class VersionNotSupported(InvalidInput):
    """This version of the API is not served here; ``min_version`` and ``max_version`` are."""

    code = "placer.version_not_supported"
    status = 406


class MarkerExpired(InvalidInput):
    """The events after this marker are not kept any more: list the instances again."""

    code = "placer.marker_expired"
    status = 410


class TooLarge(InvalidInput):
    """The body is longer than this service reads."""

    code = "placer.too_large"
    status = 413


class UnsupportedMediaType(InvalidInput):
    """The body is announced as something else than JSON."""

    code = "placer.unsupported_media_type"
    status = 415


class Unauthorized(PlacerError):
    """The token is missing or wrong."""

    code = "placer.unauthorized"
    status = 401


class NotFound(PlacerError):
    """There is nothing of this name or at this address."""

    code = "placer.not_found"
    status = 404


class Conflict(PlacerError):
    """Somebody else wrote first, as often as the bound on attempts allows. Try again."""

    code = "placer.conflict"
    status = 409


class IdempotencyConflict(Conflict):
    """The Idempotency-Key was used before with another body. Nothing was stored."""

    code = "placer.idempotency_conflict"


class ServerGroupInUse(Conflict):
    """A server group that has members cannot be deleted."""

    code = "placer.server_group_in_use"


class Overloaded(PlacerError):
    """A bound was reached and nothing was done; try again after the seconds in Retry-After."""

    code = "placer.overloaded"
    status = 503


class NoScheduler(PlacerError):
    """No scheduler of the cell could be reached; nothing was claimed."""

    code = "placer.no_scheduler"
    status = 503


class Unreachable(PlacerError):
    """A process of the name service did not answer, or cannot be reached from here; nothing was done."""

    code = "placer.unreachable"
    status = 503


class NoAgent(PlacerError):
    """No agent serves the instance's host now; nothing was done. The host's status says more."""

    code = "placer.no_agent"
    status = 503


class AgentSilent(PlacerError):
    """The host's agent was asked and did not answer: it may have been done and may yet be done."""

    code = "placer.agent_silent"
    status = 504
    outcome = Outcome.UNKNOWN


class Internal(PlacerError):
    """A fault of the service; its log has more under the request id."""

    code = "placer.internal"


class StoreError(PlacerError):
    """The store rejected a statement."""

    code = "placer.store"
    status = 503


class StoreUnavailable(StoreError):
    """The store could not be reached, or too few of its replicas; nothing was written."""

    code = "placer.store_unavailable"


class StoreOverloaded(Overloaded, StoreUnavailable):
    """Too many statements to a cell are under way; this one was not sent. Its code is Overloaded's."""


class StoreUnknown(StoreError):
    """The store's answer was lost: the write may have happened and may yet happen."""

    # Settle it (claims/protocol.py) before anything depends on it.
    code = "placer.store_unknown"
    outcome = Outcome.UNKNOWN


def table() -> list[type[PlacerError]]:
    """Every class here that has a code of its own, the tree read from the top.

    What agents raise stays in their own log: no caller of an API meets it.
    """
    found: list[type[PlacerError]] = []
    waiting: list[type[PlacerError]] = [PlacerError]
    while waiting:
        kind = waiting.pop(0)
        if "code" in vars(kind) and kind.__module__ == __name__:
            found.append(kind)
        waiting[:0] = kind.__subclasses__()
    return found
