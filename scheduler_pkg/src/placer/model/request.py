"""The request: the persisted object that says what somebody wants, and what became of it."""

from __future__ import annotations

import enum
from typing import Final

import msgspec
from msgspec import Struct

from placer.errors import InvalidInput
from placer.model import resource_classes
from placer.model import weights as known_weights
from placer.model.fitting import Demand, Group
from placer.model.records import MAX_INT

#: Bounds on one request; part of the API's contract.
CLASSES_MAX: Final = 16
GROUPS_MAX: Final = 16
TRAITS_MAX: Final = 64
ALTERNATES_MAX: Final = 10
COUNT_MAX: Final = 64
PLACES_MAX: Final = 64
NAME_CHARS_MAX: Final = 200
TAGS_MAX: Final = 16
TAG_CHARS_MAX: Final = 64
DEADLINE_MAX_S: Final = 3600.0
PRIORITY_MAX: Final = 100
_DIGITS_MAX: Final = 24
#: Stage changes kept with a request, the first and the newest.
CHANGES_MAX: Final = 32


class Stage(enum.StrEnum):
    """Where a request is.

    accepted -> placed -> built, or refused; a failed build leads back to accepted (an alternate is
    tried) or to failed. cancelling leads to cancelled once everything it held is freed. moving: all
    is placed, and single instances are on their way to other claims.
    """

    ACCEPTED = "accepted"
    PLACED = "placed"
    BUILT = "built"
    MOVING = "moving"
    REFUSED = "refused"
    FAILED = "failed"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Nobody works on it any more, unless a build fails or somebody cancels it."""
        return self not in (Stage.ACCEPTED, Stage.MOVING, Stage.CANCELLING)


class Strategy(enum.StrEnum):
    """Which of the hosts that fit is best: the emptiest or the fullest."""

    SPREAD = "spread"
    PACK = "pack"


class GroupPolicy(enum.StrEnum):
    """Whether named groups may share a provider; Placement's ``group_policy``."""

    NONE = "none"
    ISOLATE = "isolate"


class GroupSpec(Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """A named group: all of it comes from one provider of the host's tree."""

    resources: dict[str, int]
    required_traits: tuple[str, ...] = ()
    forbidden_traits: tuple[str, ...] = ()
    any_traits: tuple[tuple[str, ...], ...] = ()


class RequestSpec(Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """What the caller wants: amounts by resource class, and where they may come from.

    ``resources`` and the traits beside it may be spread over a host's providers; each of ``groups``
    comes from one. ``flavor`` and ``image`` name stored parts, which are merged in.
    Without ``region``, ``cell``, ``cells`` or ``host`` the cell of the API server is used; ``cells``
    are tried in their order, or used together by a ``server_group`` that spreads over them. ``host``
    is a host's name in that cell. ``aggregates``: the host must be in one of them. ``tags`` are words to
    find its instances by.
    ``count`` instances are placed all or none, or with ``partial`` as many as there is room for.
    ``deadline_s``: how long to go on trying (0: as long as one decision may take).
    """

    resources: dict[str, int] = {}
    name: str = ""
    project: str = "default"
    tags: tuple[str, ...] = ()
    required_traits: tuple[str, ...] = ()
    forbidden_traits: tuple[str, ...] = ()
    any_traits: tuple[tuple[str, ...], ...] = ()
    groups: dict[str, GroupSpec] = {}
    group_policy: GroupPolicy = GroupPolicy.NONE
    flavor: str = ""
    image: str = ""
    network: str = ""
    region: str = ""
    cell: str = ""
    cells: tuple[str, ...] = ()
    host: str = ""
    aggregates: tuple[str, ...] = ()
    avoid_regions: tuple[str, ...] = ()
    avoid_cells: tuple[str, ...] = ()
    avoid_hosts: tuple[str, ...] = ()
    server_group: str = ""
    count: int = 1
    partial: bool = False
    strategy: Strategy | None = None
    weights: dict[str, float] = {}
    alternates: int = 0
    deadline_s: float = 0.0
    priority: int = 0

    @property
    def demand(self) -> Demand:
        """What one instance needs of its host. An address is one more resource of the tree."""
        unnamed = dict(self.resources)
        groups: dict[str, Group] = {}
        if unnamed or self.required_traits or self.forbidden_traits or self.any_traits:
            groups[""] = Group(
                unnamed, self.required_traits, self.forbidden_traits, self.any_traits
            )
        for name, group in self.groups.items():
            groups[name] = Group(
                group.resources, group.required_traits, group.forbidden_traits, group.any_traits
            )
        if self.network:
            groups[f"network:{self.network}"] = Group(
                {resource_classes.ADDRESS: 1}, required=(network_trait(self.network),)
            )
        return Demand(groups, isolate=self.group_policy is GroupPolicy.ISOLATE)


def network_trait(network: str) -> str:
    """The trait of a provider that holds addresses of ``network``."""
    return "CUSTOM_NETWORK_" + network.upper().replace("-", "_")


class Placement(Struct, frozen=True, omit_defaults=True):
    """One instance's place: its host and the claim that holds it there.

    ``units`` says which devices it was given ({slot: {device: amount}}), an address among them.
    ``epoch`` counts its earlier claims; ``resources`` is what it was resized to, if it was. ``by`` and
    ``why``: who had it brought here or resized, ``resizes`` how often it was, where it is.
    """

    cell: str
    host: str
    host_name: str
    claim: str
    instance: str
    units: dict[str, dict[str, int]] = {}
    built: bool = False
    epoch: int = 0
    resources: dict[str, int] = {}
    by: str = ""
    why: str = ""
    resizes: int = 0


class MoveKind(enum.StrEnum):
    """Why one instance leaves its claim.

    ``move``: to another host; ``resize``: to other amounts, where it is or elsewhere; ``evacuate``:
    away from a host that is down; ``delete``: for good.
    """

    MOVE = "move"
    RESIZE = "resize"
    EVACUATE = "evacuate"
    DELETE = "delete"


class Move(Struct, frozen=True, omit_defaults=True):
    """What one instance of a request is on its way to; ``by`` whom and ``why`` as they said.

    ``new`` is the claim that it is to have, once there is one; until that is built the instance stays
    what the request's placements say. ``old`` is the claim that it left, until that is given up.
    ``fenced``: its old claim is ``deleting`` already, there is no way back. ``tried`` are hosts that
    could not build it, ``epoch`` is that of the claim it leaves. ``cell`` and ``host`` (a name) say
    where to, ``resources`` how large.
    """

    instance: str
    kind: MoveKind
    asked_ms: int
    deadline_ms: int
    by: str = ""
    why: str = ""
    cell: str = ""
    host: str = ""
    resources: dict[str, int] = {}
    tried: tuple[str, ...] = ()
    epoch: int = 0
    fenced: bool = False
    new: Placement | None = None
    old: Placement | None = None


class Alternate(Struct, frozen=True, omit_defaults=True):
    """A further host of the same cell; it is not claimed."""

    cell: str
    host: str
    host_name: str


class Shortage(Struct, frozen=True):
    """What is left of a project's quota in ``cell``: less than was ``asked`` of one class."""

    cell: str
    resource_class: str
    asked: int
    left: int
    limit: int


class Reason(Struct, frozen=True, omit_defaults=True):
    """Why a request was refused or failed.

    ``rejected`` counts hosts by the reason that removed them, ``left`` those that each filter let
    through (in order), ``cells`` those left in the end by cell;
    ``nearest`` says which host came closest and what it lacks, ``remedy`` what to change. ``quota``
    is there when the project's quota was in the way.
    """

    code: str
    message: str
    rejected: dict[str, int] = {}
    hosts_seen: int = 0
    left: dict[str, int] = {}
    cells: dict[str, int] = {}
    nearest: str = ""
    remedy: str = ""
    quota: Shortage | None = None


class Timings(Struct, frozen=True, omit_defaults=True):
    """Milliseconds: choosing (candidates and rows read), and the claim itself."""

    select_ms: float = 0.0
    claim_ms: float = 0.0


class Change(Struct, frozen=True, omit_defaults=True):
    """A stage that a request entered, when, and why."""

    stage: Stage
    at_ms: int
    why: str = ""


class Request(Struct, frozen=True, omit_defaults=True):
    """A request as stored. Every change is an LWT on its row ``IF rev = ?``; ``rev`` only grows.

    ``owner`` is the scheduler process that changed it last. ``tried`` are hosts whose build failed.
    ``moves`` are instances on their way to another claim, ``ended`` how many are gone for good.
    ``asked`` is a digest of what was asked for under an idempotency key.
    """

    id: str
    rev: int
    home_cell: str
    spec: RequestSpec
    stage: Stage
    created_ms: int
    updated_ms: int
    owner: str = ""
    deadline_ms: int = 0
    placements: tuple[Placement, ...] = ()
    alternates: tuple[Alternate, ...] = ()
    tried: tuple[str, ...] = ()
    reason: Reason | None = None
    changes: tuple[Change, ...] = ()
    attempts: int = 0
    conflicts: int = 0
    timings: Timings = Timings()
    trace: str = ""
    asked: str = ""
    moves: tuple[Move, ...] = ()
    ended: int = 0

    @property
    def missing(self) -> int:
        """Instances that it has no claim for and wants one."""
        return max(0, self.spec.count - self.ended - len(self.placements))

    @property
    def held(self) -> tuple[Placement, ...]:
        """Everything it names: placements, and the claims that its moves come to and leave."""
        further = [p for move in self.moves for p in (move.new, move.old) if p is not None]
        own = {placement.claim for placement in self.placements}
        return *self.placements, *(p for p in further if p.claim not in own)

    def to(self, stage: Stage, now_ms: int, why: str = "", **changed: object) -> Request:
        """This request in ``stage`` at the next revision."""
        change = Change(stage, now_ms, why)
        kept = (*self.changes[:1], *self.changes[1:][-(CHANGES_MAX - 2) :])
        return msgspec.structs.replace(
            self,
            stage=stage,
            rev=self.rev + 1,
            updated_ms=now_ms,
            changes=(*kept, change),
            **changed,
        )


def check_spec(spec: RequestSpec) -> RequestSpec:
    """``spec`` itself if it can be asked for at all; raises InvalidInput naming what is wrong.

    To be called once flavor and image are merged in.
    """
    groups = {"": spec.resources} | {name: g.resources for name, g in spec.groups.items()}
    _amounts(groups)
    _traits(spec)
    _numbers(spec)
    _places(spec)
    if len(spec.name) > NAME_CHARS_MAX or not 1 <= len(spec.project) <= NAME_CHARS_MAX:
        raise _wrong(
            "The name or the project is too long, or the project is empty.",
            f"Use at most {NAME_CHARS_MAX} characters.",
            "name",
        )
    check_tags(spec.tags)
    return spec


def check_tags(tags: tuple[str, ...]) -> None:
    """Raises InvalidInput for tags that an instance cannot have."""
    if len(tags) > TAGS_MAX:
        raise _wrong(f"The request has {len(tags)} tags.", f"Use at most {TAGS_MAX}.", "tags")
    for tag in tags:
        if not 1 <= len(tag) <= TAG_CHARS_MAX or "," in tag:
            raise _wrong(
                f"{tag[:TAG_CHARS_MAX]!r} cannot be a tag.",
                f"Use 1 to {TAG_CHARS_MAX} characters without commas.",
                "tags",
            )


def _wrong(message: str, remedy: str, field: str) -> InvalidInput:
    return InvalidInput(message, remedy=remedy, field=field)


def shown(number: float) -> str:
    """A number as a message says it, however many digits it has."""
    text = str(number)
    return text if len(text) <= _DIGITS_MAX else f"{text[:_DIGITS_MAX]}…"


def _amounts(groups: dict[str, dict[str, int]]) -> None:
    if len(groups) - 1 > GROUPS_MAX:
        raise _wrong(
            f"The request has {len(groups) - 1} groups.", f"Use at most {GROUPS_MAX}.", "groups"
        )
    named = [name for resources in groups.values() for name in resources]
    if not 1 <= len(named) <= CLASSES_MAX:
        raise _wrong(
            f"A request names {len(named)} resource classes.",
            f"Name between 1 and {CLASSES_MAX}.",
            "resources",
        )
    for group, resources in groups.items():
        field = f"groups.{group}.resources" if group else "resources"
        if group and not resources:
            raise _wrong(f"Group {group!r} asks for nothing.", "Leave it out.", field)
        if "/" in group or ":" in group or len(group) > NAME_CHARS_MAX:
            raise _wrong(f"{group!r} cannot be a group's name.", "Use letters and digits.", field)
        for name, amount in resources.items():
            resource_classes.get(name)
            if not 1 <= amount <= MAX_INT:
                raise _wrong(
                    f"The amount of {name} is {shown(amount)}.",
                    f"Ask for a whole number from 1 to {MAX_INT}.",
                    f"{field}.{name}",
                )


def _traits(spec: RequestSpec) -> None:
    total = 0
    parts: dict[str, RequestSpec | GroupSpec] = {"": spec, **spec.groups}
    for name, part in parts.items():
        prefix = f"groups.{name}." if name else ""
        both = set(part.required_traits) & set(part.forbidden_traits)
        if both:
            raise _wrong(
                f"Trait {min(both)} is required and forbidden at once.",
                "Leave it in one of the two lists.",
                f"{prefix}forbidden_traits",
            )
        for choice in part.any_traits:
            if not choice or set(choice) <= set(part.forbidden_traits):
                raise _wrong(
                    "A list in any_traits is empty or forbidden as a whole.",
                    "Name at least one trait that is allowed.",
                    f"{prefix}any_traits",
                )
        total += len(part.required_traits) + len(part.forbidden_traits)
        total += sum(len(choice) for choice in part.any_traits)
    if total > TRAITS_MAX:
        raise _wrong(
            "The request names too many traits.", f"Name at most {TRAITS_MAX}.", "required_traits"
        )


def _numbers(spec: RequestSpec) -> None:
    bounds: list[tuple[str, float, float, float]] = [
        ("alternates", spec.alternates, 0, ALTERNATES_MAX),
        ("count", spec.count, 1, COUNT_MAX),
        ("deadline_s", spec.deadline_s, 0, DEADLINE_MAX_S),
        ("priority", spec.priority, 0, PRIORITY_MAX),
    ]
    for field, value, low, high in bounds:
        if not low <= value <= high:
            raise _wrong(f"{field} is {shown(value)}.", f"Use {low:g} to {high:g}.", field)
    known_weights.check(spec.weights)
    for name, weight in spec.weights.items():
        if not -1000 <= weight <= 1000:
            raise _wrong(
                f"The weight of {name} is {weight:g}.", "Use -1000 to 1000.", f"weights.{name}"
            )


def _places(spec: RequestSpec) -> None:
    for field in ("cells", "aggregates", "avoid_regions", "avoid_cells", "avoid_hosts"):
        if len(getattr(spec, field)) > PLACES_MAX:
            raise _wrong(f"{field} is too long.", f"Name at most {PLACES_MAX}.", field)
    if spec.cell and spec.cells and spec.cell not in spec.cells:
        raise _wrong(f"Cell {spec.cell} is not among cells.", "Name one of the two.", "cells")
    for field, inside, outside in (
        ("avoid_cells", {spec.cell, *spec.cells}, spec.avoid_cells),
        ("avoid_regions", {spec.region}, spec.avoid_regions),
        ("avoid_hosts", {spec.host}, spec.avoid_hosts),
    ):
        wanted = {name for name in inside if name}
        if wanted and wanted <= set(outside):
            raise _wrong(
                f"{min(wanted)} is asked for and to be avoided at once.",
                "Leave it in one of the two.",
                field,
            )
    if spec.host and spec.count > 1 and spec.server_group:
        raise _wrong(
            "count, host and server_group contradict each other.", "Leave one out.", "count"
        )
