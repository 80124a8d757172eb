"""What can be asked of an instance, and of a host; who asks, and why."""

from __future__ import annotations

import enum
from typing import Final

from msgspec import Struct

from placer.errors import InvalidInput
from placer.model import resource_classes
from placer.model.messages import CommandKind
from placer.model.records import MAX_INT
from placer.model.request import CLASSES_MAX, MoveKind

#: Characters of a name and of a reason.
BY_CHARS_MAX: Final = 100
WHY_CHARS_MAX: Final = 500


class ActionKind(enum.StrEnum):
    """What an instance is asked to do.

    stop, start and reboot are its agent's; delete, resize and move change what it has claimed.
    """

    STOP = "stop"
    START = "start"
    REBOOT = "reboot"
    DELETE = "delete"
    RESIZE = "resize"
    MOVE = "move"


class InstanceAction(Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """An action on one instance; ``by`` whom and ``why`` are for its history.

    ``resources``: with resize, the new amounts of the classes that change. ``host`` (a name) and
    ``cell``: with move, where to; without them to the best other host of its cell, or of the other
    cells that its request allows. ``deadline_s``: how long a move or resize may take.
    """

    action: ActionKind
    resources: dict[str, int] = {}
    host: str = ""
    cell: str = ""
    deadline_s: float = 0.0
    by: str = ""
    why: str = ""


class MoveOrder(Struct, frozen=True, omit_defaults=True):
    """A move that the scheduler of a request is to begin for one of its instances."""

    request: str
    instance: str
    kind: MoveKind
    resources: dict[str, int] = {}
    host: str = ""
    cell: str = ""
    deadline_s: float = 0.0
    by: str = ""
    why: str = ""


class GuestOrder(Struct, frozen=True, omit_defaults=True):
    """A command for the instance of ``claim`` on ``host`` (uuid); ``lines`` of its log with LOGS.

    ``by`` whom and ``why`` are for the instance's history.
    """

    host: str
    claim: str
    kind: CommandKind
    timeout_s: float
    lines: int = 100
    by: str = ""
    why: str = ""


#: What an action asks of the request's scheduler; the others are commands to an agent.
MOVES: Final = {
    ActionKind.DELETE: MoveKind.DELETE,
    ActionKind.RESIZE: MoveKind.RESIZE,
    ActionKind.MOVE: MoveKind.MOVE,
}


def check_action(action: InstanceAction, deadline_max_s: float) -> InstanceAction:
    """``action`` itself if it makes sense; raises InvalidInput naming the part that is wrong."""
    check_words(action.by, action.why)
    for field, kinds in (
        ("resources", (ActionKind.RESIZE,)),
        ("host", (ActionKind.MOVE,)),
        ("cell", (ActionKind.MOVE,)),
        ("deadline_s", (ActionKind.MOVE, ActionKind.RESIZE)),
    ):
        if getattr(action, field) and action.action not in kinds:
            raise InvalidInput(
                f"{field} has no meaning for {action.action}.", remedy="Leave it out.", field=field
            )
    if action.action is ActionKind.RESIZE and not 1 <= len(action.resources) <= CLASSES_MAX:
        raise InvalidInput(
            f"The resize names {len(action.resources)} resource classes.",
            remedy='Name between 1 and 16 with their new amounts, as {"VCPU": 2}.',
            field="resources",
        )
    for name, amount in action.resources.items():
        resource_classes.get(name)
        if not 1 <= amount <= MAX_INT:
            raise InvalidInput(
                f"The amount of {name} is {amount}.",
                remedy=f"Ask for a whole number from 1 to {MAX_INT}.",
                field=f"resources.{name}",
            )
    if not 0 <= action.deadline_s <= deadline_max_s:
        raise InvalidInput(
            f"deadline_s is {action.deadline_s:g}.",
            remedy=f"Use 0 (the default) to {deadline_max_s:g}.",
            field="deadline_s",
        )
    return action


def check_words(by: str, why: str) -> None:
    """Raises InvalidInput for a name or a reason that is too long."""
    for field, text, longest in (("by", by, BY_CHARS_MAX), ("why", why, WHY_CHARS_MAX)):
        if len(text) > longest or not text.isprintable():
            raise InvalidInput(
                f"{field} has {len(text)} characters, or some that cannot be shown.",
                remedy=f"Use at most {longest} printable characters.",
                field=field,
            )
