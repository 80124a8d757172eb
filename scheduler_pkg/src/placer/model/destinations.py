"""The answer to programs that want only a scheduler: where a request would go, or went."""

from __future__ import annotations

from msgspec import Struct

from placer.model.request import Alternate, Reason, RequestSpec


class DestinationsSpec(
    RequestSpec, frozen=True, omit_defaults=True, forbid_unknown_fields=True, kw_only=True
):
    """A request; with ``claim`` it is stored and claimed like any other, without only looked up."""

    claim: bool = False


class Destination(Struct, frozen=True, omit_defaults=True):
    """One instance's host. ``claim``, ``instance`` and ``units`` only if it was claimed."""

    cell: str
    host: str
    host_name: str
    claim: str = ""
    instance: str = ""
    units: dict[str, dict[str, int]] = {}


class Destinations(Struct, frozen=True, omit_defaults=True):
    """A host for each instance and further hosts, or the reason why there are none.

    What was not claimed may be taken by the time it is used. ``request`` is the id of what was.
    """

    destinations: tuple[Destination, ...] = ()
    alternates: tuple[Alternate, ...] = ()
    reason: Reason | None = None
    request: str = ""
