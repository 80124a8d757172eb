"""Processes that die by their own hand at a named place (placer/failpoints.py): a copy that is told where."""

from __future__ import annotations

from faults import replacement
from faults.errors import FaultError, unknown
from faults.replacement import Difference
from faults.target import Member, Role

VARIABLE = "PLACER_FAIL_POINT"
ROLES = (Role.API, Role.SCHEDULER, Role.AGENT)


def crash(member: Member, point: str) -> str:
    """Have the process kill itself at ``point`` (``name`` or ``name:3``, the third time); the copy's name.

    The copy is not started again by the engine: who died at the point stays dead until healed.
    """
    if member.role not in ROLES:
        raise FaultError(
            f"{member.name} has no fail points.", f"Those have: {', '.join(ROLES)} processes."
        )
    name = point.partition(":")[0]
    known = points()
    if known and name not in known:
        raise unknown("fail point", name, known)
    return replacement.stand_in(member, Difference("crash", {VARIABLE: point}))


def points() -> dict[str, str]:
    """Every fail point and what has happened there; none where the package cannot be imported."""
    try:
        from placer import failpoints  # not there for ./demo's plain Python
    except ImportError:
        return {}
    return dict(failpoints.POINTS)
