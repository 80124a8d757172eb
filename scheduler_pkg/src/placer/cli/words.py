"""A request in words: where it is, how it got there, and why. Pure: the API's JSON in, lines out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from placer.cli.output import amounts, at

_STAGES: Final[dict[str, str]] = {
    "accepted": "is waiting for a place",
    "placed": "has its place and waits for its host to build",
    "built": "is built",
    "moving": "has its place, and an instance of it is on its way to another",
    "refused": "was refused: nothing was claimed",
    "failed": "failed: it had a place, and could not be built",
    "cancelling": "is being cancelled: what it holds is freed",
    "cancelled": "is cancelled: it holds nothing",
}
_REASONS: Final[dict[str, str]] = {
    "host_down": "were down",
    "host_disabled": "were disabled",
    "host_draining": "were being drained",
    "host_evacuating": "were being evacuated",
    "cell_not_named": "are in a cell that was not asked for",
    "region_not_named": "are in a region that was not asked for",
    "cell_avoided": "are in a cell to be avoided",
    "region_avoided": "are in a region to be avoided",
    "host_avoided": "were to be avoided",
    "tried_before": "had been tried before",
    "aggregate_not_named": "are in none of the aggregates asked for",
    "group_affinity": "are not where the server group is",
    "group_anti_affinity": "have a member of the server group already",
    "group_policy_isolate": "cannot give each group a provider of its own",
    "too_many_builds": "had too many builds under way",
    "builds_fail": "failed to build lately",
    "trait_missing": "lack the trait {about}",
    "trait_forbidden": "have the forbidden trait {about}",
    "image": "cannot run an image with {about}",
    "no_provider_has_all": "have no one provider with all of a group",
    "too_many_ways": "could be combined in too many ways",
    "no_provider": "have not reported what they have",
}
_OF_CLASS: Final[dict[str, str]] = {
    "no_capacity": "have too little {name} left",
    "not_offered": "offer no {name}",
    "below_min_unit": "give {name} only in larger amounts",
    "above_max_unit": "give less {name} to one claim",
    "not_a_step": "give {name} in other steps",
    "not_whole_devices": "give {name} by the device",
    "no_device_with_enough": "have no device with enough {name} left",
}


def why(request: dict[str, Any]) -> Iterator[str]:
    """The explanation, line by line."""
    yield f"Request {request['id']} {_STAGES.get(request['stage'], 'is ' + request['stage'])}."
    yield f"It asks for {wanted(request['spec'])}."
    for place in request.get("placements", []):
        yield _placed(place)
    for change in request.get("changes", []):
        said = f": {change['why']}" if change.get("why") else ""
        yield f"{at(change['at_ms'])}  {change['stage']}{said}"
    if reason := request.get("reason"):
        yield from explained(reason)
    if tried := request.get("tried"):
        yield f"Builds failed on {len(tried)} host{'s' * (len(tried) > 1)}."


def explained(reason: dict[str, Any]) -> Iterator[str]:
    """A reason, from what happened to what to change."""
    yield f"Why: {reason['message']}"
    if seen := reason.get("hosts_seen"):
        yield f"{_number(seen, 'host')} looked at:"
    rejected = reason.get("rejected", {})
    for code, count in sorted(rejected.items(), key=lambda pair: (-pair[1], pair[0])):
        yield f"  {count:>7,} {rejection(code)}"
    for name, count in reason.get("left", {}).items():
        yield f"  {count:>7,} left after {name}"
    for cell, count in reason.get("cells", {}).items():
        yield f"  {count:>7,} left in cell {cell}"
    if nearest := reason.get("nearest"):
        yield f"Nearest: {nearest}"
    if remedy := reason.get("remedy"):
        yield f"What to change: {remedy}"


def rejection(code: str) -> str:
    """Why hosts were rejected: ``VCPU:no_capacity`` as "have too little VCPU left"."""
    head, _, about = code.partition(":")
    if head in _REASONS:
        return _REASONS[head].format(about=about)
    if about in _OF_CLASS:
        return _OF_CLASS[about].format(name=head)
    return f"were rejected: {code}"


def wanted(spec: dict[str, Any]) -> str:
    """What a request asks for, on one line."""
    parts = [amounts(spec.get("resources", {}))]
    parts += [f"{name}({amounts(g['resources'])})" for name, g in spec.get("groups", {}).items()]
    parts += [f"with {trait}" for trait in spec.get("required_traits", [])]
    parts += [f"without {trait}" for trait in spec.get("forbidden_traits", [])]
    for field in ("flavor", "image", "network", "server_group", "region", "cell", "host"):
        if spec.get(field):
            parts.append(f"{field.replace('_', ' ')} {spec[field]}")
    if spec.get("count", 1) > 1:
        parts.insert(0, f"{spec['count']} times")
    return ", ".join(part for part in parts if part)


def _placed(place: dict[str, Any]) -> str:
    devices = [
        f"{slot} {', '.join(given)}" for slot, given in place.get("units", {}).items() if given
    ]
    had = f" with {'; '.join(devices)}" if devices else ""
    state = "built" if place.get("built") else "claimed"
    return (
        f"Instance {place['instance']} is {state} on {place['host_name']} of {place['cell']}{had}."
    )


def _number(count: int, noun: str) -> str:
    return f"{count:,} {noun} was" if count == 1 else f"{count:,} {noun}s were"
