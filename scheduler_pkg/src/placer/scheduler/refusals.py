"""Why a request was not placed: codes that never change, and the words that go with them.

What a cell lacks is explained by ``explain.py``; here is what else can go wrong on the way to a claim,
and how the reasons of several cells become one.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

import msgspec
from msgspec import Struct

from placer.claims.operations import Refusal
from placer.claims.quotas import EXCEEDED as QUOTA_EXCEEDED
from placer.errors import Conflict, InvalidInput, NotFound, Overloaded, StoreUnknown
from placer.model.groups import Policy
from placer.model.request import Reason, Request
from placer.scheduler import explain, groups
from placer.scheduler.claimer import Effort
from placer.scheduler.groups import GroupFacts
from placer.scheduler.network import NETWORK_UNKNOWN
from placer.scheduler.searching import Found

NO_VALID_HOST: Final = explain.NO_VALID_HOST
HOST_UNKNOWN: Final = "host_unknown"
CELL_UNREACHABLE: Final = "cell_unreachable"
CLAIM_UNKNOWN: Final = "claim_unknown"
CLAIM_CONTENDED: Final = "claim_contended"
OVERLOADED: Final = "overloaded"
INVALID_INPUT: Final = "invalid_input"
BUILD_FAILED: Final = "build_failed"
NETWORK_FULL: Final = "network_full"
SERVER_GROUP_UNKNOWN: Final = "server_group_unknown"

#: Nobody's fault and over in a moment: tried again until the request's deadline, asked for or not.
FLEETING: Final = frozenset({CLAIM_UNKNOWN, CLAIM_CONTENDED})
#: Outcomes that may be different later: waited out only by a request that asked for a deadline.
PASSING: Final = FLEETING | {
    NO_VALID_HOST,
    NETWORK_FULL,
    CELL_UNREACHABLE,
    OVERLOADED,
    QUOTA_EXCEEDED,
}


def worth_waiting(reason: Reason, request: Request) -> bool:
    """Whether a later try may end otherwise, and the caller wants to wait for it."""
    return reason.code in (PASSING if request.spec.deadline_s else FLEETING)


class Nowhere(Struct, frozen=True):
    """A cell in which no host was left to try. ``refused``: hosts whose own rows said no."""

    found: Found
    refused: dict[str, int]


def no_network(cell: str, network: str) -> Reason:
    return Reason(
        NETWORK_UNKNOWN,
        f"Cell {cell} has no network {network!r}.",
        remedy="GET /v1/networks lists them; an operator's PUT /v1/networks/{name} makes one.",
    )


def network_full(cell: str, network: str, refused: dict[str, int]) -> Reason:
    return Reason(
        NETWORK_FULL,
        f"Network {network} has no free address left in cell {cell}.",
        rejected=dict(refused),
        hosts_seen=sum(refused.values()),
        remedy=f"Delete instances that have its addresses, widen it (PUT /v1/networks/{network}), "
        "or name another network or cell. With deadline_s a request waits for an address.",
    )


def trouble(error: Exception) -> Reason:
    """What went wrong in a cell, as a reason."""
    text = str(error)
    if isinstance(error, StoreUnknown):
        return Reason(CLAIM_UNKNOWN, f"{text} A claim that was made ends with its lease.")
    if isinstance(error, Overloaded):
        return Reason(OVERLOADED, text)
    if isinstance(error, InvalidInput):
        return Reason(INVALID_INPUT, error.message, remedy=error.remedy)
    if isinstance(error, NotFound):
        return Reason(SERVER_GROUP_UNKNOWN, error.message, remedy=error.remedy)
    if isinstance(error, Conflict):
        return Reason(CLAIM_CONTENDED, text)
    return Reason(CELL_UNREACHABLE, text)


def not_built(why: str) -> Reason:
    """A host did not build it, and ``why``; another is looked for."""
    words = why[:1].upper() + why[1:].rstrip(".") + "."
    return Reason(BUILD_FAILED, words, remedy="Put that right, or ask again for another place.")


def after(earlier: Reason | None, reason: Reason) -> Reason:
    """``reason``, but for a request whose build failed before: then with why that was, first of all.

    That no other host can take it is the smaller part of the trouble.
    """
    if earlier is None or earlier.code != BUILD_FAILED:
        return reason
    return msgspec.structs.replace(
        reason,
        code=BUILD_FAILED,
        message=f"{earlier.message} {reason.message}",
        remedy=f"{earlier.remedy} {reason.remedy}".strip(),
    )


def no_alternates(request: Request) -> Reason:
    return Reason(
        BUILD_FAILED,
        f"No alternate is left after {len(request.tried)} hosts that failed it, and the request's "
        "deadline has passed.",
        remedy="Ask for alternates, or with a longer deadline_s.",
    )


def named(cell: str, host: str, refusal: Refusal) -> Reason:
    if refusal.reason == "host_unknown":
        return Reason(
            HOST_UNKNOWN,
            f"Cell {cell} has no host called {host!r}.",
            remedy="GET /v1/hosts lists them.",
        )
    return Reason(
        NO_VALID_HOST,
        f"Host {host} of cell {cell} cannot take it: {refusal.reason}.",
        rejected={refusal.reason: 1},
        hosts_seen=1,
    )


def contended(cell: str, effort: Effort, refusals: Counter[str], hosts: int) -> Reason:
    return Reason(
        CLAIM_CONTENDED,
        f"No claim succeeded in {effort.attempts} attempts in {cell}.",
        rejected=dict(refusals),
        hosts_seen=hosts,
        remedy="Ask again.",
    )


def group_gone(facts: GroupFacts) -> Reason:
    return Reason(
        SERVER_GROUP_UNKNOWN,
        f"The server group {facts.group.id} is deleted.",
        remedy="Make another with POST /v1/server-groups and name it.",
    )


def group_undecided(facts: GroupFacts) -> Reason:
    group = facts.group
    return Reason(
        CLAIM_CONTENDED,
        f"Members of group {group.name} are being decided; its {group.policy} leaves no other place.",
        remedy="Ask again.",
    )


def no_cell(facts: GroupFacts, cells: list[str]) -> Reason:
    group = facts.group
    why = groups.AFFINITY if group.policy is Policy.AFFINITY else groups.ANTI_AFFINITY
    return Reason(
        NO_VALID_HOST,
        f"No cell of {', '.join(cells)} suits the {group.policy} of group {group.name}.",
        rejected={why: len(cells)},
        remedy="Allow more cells, or use another group.",
    )


def joined(misses: list[Reason | Nowhere]) -> Reason:
    """One reason for all cells that were tried: what any of them lacks, and what went wrong."""
    nowhere = [miss for miss in misses if isinstance(miss, Nowhere)]
    reasons = [miss for miss in misses if isinstance(miss, Reason)]
    if nowhere:
        refused: Counter[str] = Counter()
        for miss in nowhere:
            refused.update(miss.refused)
        selections = [miss.found.selection for miss in nowhere]
        reasons.append(explain.refusal(nowhere[0].found.wanted, selections, dict(refused)))
    if not reasons:
        return Reason(
            NO_VALID_HOST,
            "Every cell that the request allows is to be avoided.",
            remedy="Allow another cell.",
        )
    # What may pass speaks for all: it is worth asking again.
    chief = min(reasons, key=lambda reason: reason.code not in PASSING)
    return msgspec.structs.replace(
        chief, message=" ".join(dict.fromkeys(reason.message for reason in reasons))
    )
