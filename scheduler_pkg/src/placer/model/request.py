"""The request: the persisted object that says what somebody wants, and what became of it."""

from __future__ import annotations

import enum

from msgspec import Struct

from placer.errors import InvalidInput
from placer.model import resource_classes
from placer.model.records import MAX_INT

#: Bounds on one request; part of the API's contract.
CLASSES_MAX = 16
TRAITS_MAX = 64
ALTERNATES_MAX = 10
NAME_CHARS_MAX = 200


class Stage(enum.StrEnum):
    """Where a request is. ``placed`` and later carry a claim; ``refused`` carries a reason."""

    ACCEPTED = "accepted"
    PLACED = "placed"
    REFUSED = "refused"


class RequestSpec(Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """What the caller wants: amounts by resource class, and where they may come from.

    Without ``region``, ``cell`` or ``host`` the cell of the API server is used. ``host`` is a
    host's name and is looked up in ``cell`` (or in the API server's own cell).
    """

    resources: dict[str, int]
    name: str = ""
    project: str = "default"
    required_traits: tuple[str, ...] = ()
    forbidden_traits: tuple[str, ...] = ()
    region: str = ""
    cell: str = ""
    host: str = ""
    alternates: int = 0


class Choice(Struct, frozen=True, omit_defaults=True):
    """A host that was chosen; ``claim`` is empty for an alternate, which is not claimed."""

    cell: str
    host: str
    host_name: str
    claim: str = ""


class Reason(Struct, frozen=True, omit_defaults=True):
    """Why a request was refused. ``rejected`` counts hosts by the reason that removed them."""

    code: str
    message: str
    rejected: dict[str, int] = {}
    hosts_seen: int = 0


class Timings(Struct, frozen=True, omit_defaults=True):
    """Milliseconds: choosing (candidates and rows read), and the claim itself."""

    select_ms: float = 0.0
    claim_ms: float = 0.0


class Request(Struct, frozen=True, omit_defaults=True):
    """A request as stored. ``rev`` is its write timestamp in microseconds and only grows."""

    id: str
    rev: int
    home_cell: str
    spec: RequestSpec
    stage: Stage
    created_ms: int
    updated_ms: int
    instance: str = ""
    choice: Choice | None = None
    alternates: tuple[Choice, ...] = ()
    reason: Reason | None = None
    attempts: int = 0
    conflicts: int = 0
    timings: Timings = Timings()


def check_spec(spec: RequestSpec) -> RequestSpec:
    """``spec`` itself if it can be asked for at all; raises InvalidInput naming what is wrong."""
    if not 1 <= len(spec.resources) <= CLASSES_MAX:
        raise InvalidInput(
            f"A request names {len(spec.resources)} resource classes.",
            remedy=f"Name between 1 and {CLASSES_MAX}.",
            field="resources",
        )
    for name, amount in spec.resources.items():
        resource_classes.get(name)
        if not 1 <= amount <= MAX_INT:
            raise InvalidInput(
                f"The amount of {name} is {amount}.",
                remedy=f"Ask for a whole number from 1 to {MAX_INT}.",
                field=f"resources.{name}",
            )
    both = set(spec.required_traits) & set(spec.forbidden_traits)
    if both:
        raise InvalidInput(
            f"Trait {min(both)} is required and forbidden at once.",
            remedy="Leave it in one of the two lists.",
            field="forbidden_traits",
        )
    if len(spec.required_traits) + len(spec.forbidden_traits) > TRAITS_MAX:
        raise InvalidInput(
            "The request names too many traits.",
            remedy=f"Name at most {TRAITS_MAX}.",
            field="required_traits",
        )
    if not 0 <= spec.alternates <= ALTERNATES_MAX:
        raise InvalidInput(
            f"{spec.alternates} alternates are asked for.",
            remedy=f"Ask for 0 to {ALTERNATES_MAX}.",
            field="alternates",
        )
    if len(spec.name) > NAME_CHARS_MAX or not 1 <= len(spec.project) <= NAME_CHARS_MAX:
        raise InvalidInput(
            "The name or the project is too long, or the project is empty.",
            remedy=f"Use at most {NAME_CHARS_MAX} characters.",
            field="name",
        )
    return spec
