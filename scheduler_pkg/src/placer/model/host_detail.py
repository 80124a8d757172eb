"""A host as an operator looks at it: its duty, what is on it, and how far its instances have gone."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from placer.model.host_view import HostView
from placer.model.records import ClaimState, HostDuty

#: What can be asked of a host, and the duty that it has then.
OPERATIONS: Final = {
    "enable": HostDuty.ENABLED,
    "disable": HostDuty.DISABLED,
    "drain": HostDuty.DRAINING,
    "evacuate": HostDuty.EVACUATING,
}


class HostOrder(Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """An operator's word on a host: ``why``, and ``by`` whom. Both are kept with the host."""

    why: str = ""
    by: str = ""


class HostClaim(Struct, frozen=True, omit_defaults=True):
    """One claim on a host. ``moving``: what kind of move its instance is in, ``to`` which host;
    ``said``: what the instance's request said of it last, such as why it could not be moved.
    ``stays``: why a drain or an evacuation leaves it here as it is now; empty if it goes."""

    claim: str
    instance: str
    request: str
    state: ClaimState
    moving: str = ""
    to: str = ""
    said: str = ""
    stays: str = ""


class HostDetail(Struct, frozen=True, omit_defaults=True):
    """A host, and every claim on it. ``left`` are those that a drain or an evacuation waits for,
    ``leaving`` those whose instances are only to be destroyed here, ``staying`` those that belong to
    no request: only who claimed them can take them away."""

    host: HostView
    claims: tuple[HostClaim, ...]
    left: int
    leaving: int
    staying: int = 0
