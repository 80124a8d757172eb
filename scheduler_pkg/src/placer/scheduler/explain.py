"""Why there is no valid host, in words: what was left after each filter, who came closest, what to change.

Pure. Branch on the code or on the keys of ``rejected``, never on the words.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

from placer.model import fitting, records, resource_classes
from placer.model.host_view import HostView
from placer.model.request import Reason
from placer.scheduler.select import REASONS_MAX, Selection
from placer.scheduler.wanted import Wanted

NO_VALID_HOST: Final = "no_valid_host"
#: A host has nothing of the class before the colon.
NOT_OFFERED: Final = "not_offered"

#: What to change, by the part of a reason before its colon; {about} is the part after it.
_REMEDIES: Final[dict[str, str]] = {
    "host_down": "Bring hosts back up: their agents are not connected.",
    "host_disabled": "Enable hosts, or ask elsewhere.",
    "cell_not_named": "Name other cells, or leave the cells out.",
    "region_not_named": "Name another region, or leave it out.",
    "host_avoided": "Shorten avoid_hosts.",
    "cell_avoided": "Shorten avoid_cells.",
    "region_avoided": "Shorten avoid_regions.",
    "tried_before": "Every host that fits was tried already; ask again later.",
    "aggregate_not_named": "Name other aggregates, or leave them out.",
    "group_affinity": "The members of the server group leave no room beside them; use another group.",
    "group_anti_affinity": "Every other place has a member of the server group; use another group.",
    "group_policy_isolate": "Ask for fewer groups, or with group_policy none.",
    "too_many_builds": "Ask again when the builds under way are done.",
    "builds_fail": "Builds keep failing on these hosts; look at their agents.",
    "trait_missing": "Leave the trait {about} out, or ask a cell whose hosts have it.",
    "trait_forbidden": "Allow the trait {about}, or ask a cell with hosts that do not have it.",
    "no_provider_has_all": "Split the group: no one provider has all of its classes.",
    "too_many_ways": "Ask for fewer or simpler groups.",
    "no_provider": "Ask again once hosts have reported what they have.",
}

#: The same for reasons of a resource class, ``CLASS:reason``; {name}, {amount}, {most} fill in.
_CLASS_REMEDIES: Final[dict[str, str]] = {
    NOT_OFFERED: "No host that was seen offers {name}; ask another cell, or without it.",
    "below_min_unit": "Ask for more {name}: {amount} is below the smallest unit.",
    "above_max_unit": "Ask for at most {most} {name}: {amount} is above the largest unit.",
    "not_a_step": "Ask for {name} in the inventory's steps.",
    "not_whole_devices": "Ask for {name} in whole devices, or for a part of one.",
}
#: What the nearest host lacks, where that is no amount.
_LACKS: Final[dict[str, str]] = {
    "trait_missing": "it lacks the trait {about}",
    "trait_forbidden": "it has the forbidden trait {about}",
}
_NO_ROOM: Final = "Ask for at most {most} {name}, free some, or ask another cell."
_NO_HOSTS: Final = "Hosts appear once their agents connect: see GET /v1/hosts."


def refusal(
    wanted: Wanted, selections: Sequence[Selection], refused: dict[str, int] | None = None
) -> Reason:
    """Why none of ``selections`` (one a cell that was searched) has a host.

    ``refused``: how many hosts were chosen but refused by their own rows, by reason.
    """
    rejected: Counter[str] = Counter(refused or {})
    left: Counter[str] = Counter()
    cells: dict[str, int] = {}
    for selection in selections:
        rejected.update(selection.rejected)
        left.update(selection.left)
        cells.update(selection.cells)
    seen = sum(selection.hosts_seen for selection in selections)
    unread = sum(selection.hosts_unread for selection in selections)
    furthest = [view for selection in selections for view in selection.furthest]
    near = nearest(wanted, furthest)
    return Reason(
        code=NO_VALID_HOST,
        message=_message(seen, unread, cells, left),
        rejected=dict(rejected.most_common(REASONS_MAX)),
        hosts_seen=seen,
        left=dict(left),
        cells=cells,
        nearest=f"{near.name} of cell {near.cell}: {lacks(wanted, near)}" if near else "",
        remedy=_remedy(wanted, rejected, furthest) if seen else _NO_HOSTS,
    )


def nearest(wanted: Wanted, views: Iterable[HostView]) -> HostView | None:
    """The host of ``views`` that lacks least, each class measured by the share of what was asked."""
    return min(views, key=lambda view: (_distance(wanted, view), view.host), default=None)


def lacks(wanted: Wanted, view: HostView) -> str:
    """What ``view`` lacks of what is wanted, in words."""
    short = [
        f"{most} of {amount} {name}"
        for name, amount in wanted.amounts.items()
        if (most := _most(name, view)) < amount
    ]
    if short:
        return "it can give " + ", ".join(short)
    found = fitting.arrange(wanted.demand, view.tree)
    if not isinstance(found, str):
        return "it has room, and another filter rejects it"
    head, _, about = found.partition(":")
    return _LACKS.get(head, found).format(about=about)


def _message(seen: int, unread: int, cells: dict[str, int], left: dict[str, int]) -> str:
    if not seen:
        return "No hosts were found to choose from."
    where = f"cell {min(cells)}" if len(cells) == 1 else f"{len(cells)} cells"
    steps: list[str] = []
    before = seen
    for name, count in left.items():
        if count != before:
            steps.append(f"{count} left after {name}")
        before = count
    further = f" {unread} more are not worth a look, by what is known of them." if unread else ""
    return f"None of {seen} hosts of {where} can take it: {', '.join(steps)}.{further}"


def _remedy(wanted: Wanted, rejected: Counter[str], furthest: list[HostView]) -> str:
    """What to change: by the most frequent reason, then by the next of another kind."""
    said: list[str] = []
    for reason in sorted(rejected, key=lambda reason: (-rejected[reason], reason)):
        head, _, about = reason.partition(":")
        if about == NOT_OFFERED and any(
            other.startswith(f"{head}:") and other != reason for other in rejected
        ):
            continue  # some hosts have it: what is in the way there is more to the point
        text = _remedy_of(wanted, reason, furthest)
        if text and text not in said:
            said.append(text)
        if len(said) == 2:
            break
    return " Or: ".join(said)


def _remedy_of(wanted: Wanted, reason: str, furthest: list[HostView]) -> str:
    head, _, about = reason.partition(":")
    if head in _REMEDIES:
        return _REMEDIES[head].format(about=about)
    if head not in wanted.amounts:
        return ""
    most = max((_most(head, view) for view in furthest), default=0)
    if not most and about not in _CLASS_REMEDIES.keys() - {"above_max_unit"}:
        return f"Free some {head}, or ask another cell."
    text = _CLASS_REMEDIES.get(about, _NO_ROOM)
    return text.format(name=head, amount=wanted.amounts[head], most=most)


def _distance(wanted: Wanted, view: HostView) -> float:
    return sum(
        max(0.0, (amount - _most(name, view)) / amount) for name, amount in wanted.amounts.items()
    )


def _most(name: str, view: HostView) -> int:
    """The largest amount of ``name`` that one claim could take of one provider of the host."""
    kind = resource_classes.get(name)
    return max(
        (
            kind.largest(inventory, view.free.get(slot, 0), view.taken.get(slot, {}))
            for slot, inventory in view.offered.items()
            if records.class_of(slot) == name
        ),
        default=0,
    )
