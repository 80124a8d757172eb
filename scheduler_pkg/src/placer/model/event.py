"""The event: something that became of an instance or a host, when, by whom and why.

An event may be told more than once, always with the same ``id``: it is made from what happened, not
from when somebody wrote it down.
"""

from __future__ import annotations

import uuid
from typing import Final

from msgspec import Struct

_EVENTS: Final = uuid.UUID("0b3c1f6e-5c0e-4a0e-9a43-0c5f2f8b7a11")

#: The types there are: ``instance.<state>``, ``host.<status>``, that an agent wanted to serve a host that
#: is not its own, and that somebody wanted to be an agent of a cell and is none.
INSTANCE: Final = "instance."
HOST: Final = "host."
REFUSED: Final = "host.refused"
AGENT_REFUSED: Final = "agent.refused"


class Event(Struct, frozen=True, omit_defaults=True):
    """One event. ``by`` is who caused it (a process or an operator), ``why`` is for people."""

    id: str
    type: str
    at_ms: int
    region: str
    cell: str
    host: str = ""
    host_name: str = ""
    project: str = ""
    instance: str = ""
    request: str = ""
    by: str = ""
    why: str = ""
    trace: str = ""


def wanted(event: Event, types: tuple[str, ...], project: str) -> bool:
    """Whether a reader asked for it: any of ``types``, or of what begins with them; '' is any project."""
    return (not project or event.project == project) and (
        not types or any(event.type == kind or event.type.startswith(f"{kind}.") for kind in types)
    )


def event_id(subject: str, kind: str, order: int) -> str:
    """The same for the same happening: ``kind`` became of ``subject`` at ``order``."""
    return str(uuid.uuid5(_EVENTS, f"{subject}/{kind}/{order}"))
