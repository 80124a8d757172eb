"""Named places where a process can be made to die, for tests of recovery.

``PLACER_FAIL_POINT=name`` in the environment has the process kill itself (SIGKILL: nothing is
flushed, nothing is said) when it reaches that place; ``name:3`` when it reaches it the third time.
Without the variable a place costs one comparison. A simulation sets ``on_reach`` instead.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from typing import Final

from placer.errors import InvalidInput

VARIABLE: Final = "PLACER_FAIL_POINT"

#: Every place by name, and what has happened when it is reached.
POINTS: Final[dict[str, str]] = {
    "claim.before_lwt": "A host row's LWT is about to be sent.",
    "claim.after_lwt": "A host row's LWT was answered; nobody was told.",
    "writeset.before_record": "Nothing of the write set is written.",
    "writeset.record_made": "The record says preparing; no row has a tag.",
    "writeset.one_prepared": "One more row has the write set's tags.",
    "writeset.prepared": "All rows have the tags; the record says preparing.",
    "writeset.committed": "The record says committed; the caller was not told.",
    "writeset.aborted": "The record says aborted; the rows have tags.",
    "writeset.one_settled": "One more row is settled; the record is still there.",
    "writeset.settled": "All rows are settled; the record is still there.",
    "recovery.aborted": "Recovery aborted an old write set; its rows have tags.",
    "recovery.row_settled": "Recovery settled one more row of a write set.",
    "request.logged": "A new request and its work row are in the log; no scheduler was told.",
    "request.cancelling": "The log says that a request is to be cancelled; no scheduler was told.",
    "request.claimed": "The claims of a request stand; the request does not name them.",
    "request.placed": "The request names its claims; no agent was told.",
    "request.reopening": "A build failed; the request says nothing of it yet.",
    "request.reopened": "A build failed; the request is open again, nobody was woken.",
    "request.built": "The request says that an instance is built; its agent was not told.",
    "request.left": "The request does not name a claim any more that is still on its row.",
    "cancel.released": "A cancelled request's claims are given up; it still names them.",
    "move.claimed": "The new claim of a moving instance stands; the request does not name it.",
    "move.named": "The request names a moving instance's new claim; no agent was told.",
    "move.fenced": "The claim on a host that is down is deleting; the request does not say so.",
    "move.swapped": "The request says that an instance is where it moved to; its old claim stands.",
    "move.left": "The old claim of a moved instance is given up; the request still names it.",
    "move.grown": "A quota gave what a resize needs more; the claim has its old size.",
    "move.resized": "A claim has its new size; the request does not say so.",
    "recovery.before_take": "An open request was found that nobody works on.",
    "recovery.taken": "An open request was taken over; nobody works on it yet.",
    "network.taken": "A pool gave addresses to a host; the host's slice does not have them.",
    "network.returning": "A host's addresses are marked as going back; its slice has them.",
    "agent.adopted": "A claim is building; the agent's journal says nothing of it.",
    "agent.noted": "The journal says building; there is nothing of the instance.",
    "agent.created": "The container is made and was never started.",
    "agent.started": "The instance runs; nobody was told.",
    "agent.said_built": "The claim is built; the journal says building.",
    "agent.destroying": "The journal says destroying; the instance is there.",
    "agent.destroyed": "The instance is gone; the claim is deleting.",
    "agent.said_gone": "The claim has left its row; the journal says destroying.",
    "recovery.before_delete": "All rows of a decided write set are clean; its record is there.",
}

#: Called with each name that is reached. Tests of one process replace it; production never does.
on_reach: Callable[[str], None] | None = None


class _Armed:
    """The place to die at, and how many times it has yet to be reached."""

    def __init__(self) -> None:
        self.name = ""
        self.left = 0


_armed: Final = _Armed()


def arm(environment: Mapping[str, str]) -> None:
    """Read the variable, once at start; raises InvalidInput for a name that is not in ``POINTS``."""
    name, _, count = environment.get(VARIABLE, "").partition(":")
    if not name:
        _armed.name = ""
        return
    if name not in POINTS:
        raise InvalidInput(
            f"{VARIABLE} names {name!r}, which is no fail point.",
            remedy="Known: " + ", ".join(sorted(POINTS)) + ".",
        )
    if count and not (count.isascii() and count.isdigit() and int(count) > 0):
        raise InvalidInput(
            f"{VARIABLE} has the count {count!r}.", remedy="Use a whole number from 1."
        )
    _armed.name, _armed.left = name, int(count or 1)


def reach(name: str) -> None:
    """This place was reached. Dies here if it is the armed one."""
    if on_reach is not None:
        on_reach(name)
    if name == _armed.name:
        _armed.left -= 1
        if _armed.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
