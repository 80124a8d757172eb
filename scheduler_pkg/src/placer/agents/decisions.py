"""What an agent does next for a claim: the whole of its judgement, and nothing else.

Source: the claim protocol, section 6. Two accounts of the instance are told apart from the row's:
what the journal says was done, and what the driver has.
"""

from __future__ import annotations

import enum

from placer.agents.journal import Phase
from placer.model.records import ClaimState


class Action(enum.Enum):
    """What an order asks for, given what the agent has and did."""

    NOTHING = "nothing"
    ADOPT = "adopt"
    BUILD = "build"
    SAY_BUILT = "say built"
    REBUILD = "rebuild"
    DESTROY = "destroy"
    RESIZE = "resize"


def decide(state: ClaimState, phase: Phase | None, runs: bool, *, sized: bool = True) -> Action:
    """The next action for a claim that the row had in ``state``.

    ``phase`` is the journal's, ``runs`` the driver's word; ``sized``: the instance has the amounts
    that the order says, as far as the journal knows. The order may be older than all that: then
    nothing is done that the next report, which tells the truth anew, does not put right.
    """
    if state is ClaimState.DELETING:
        return Action.DESTROY
    if phase is Phase.DESTROYING:
        return Action.NOTHING
    if state is ClaimState.BUILT:
        if not runs:
            return Action.REBUILD
        # Built, but the answer to BUILT never came: who lists instances may not know it yet.
        if phase is not Phase.BUILT:
            return Action.SAY_BUILT
        return Action.NOTHING if sized else Action.RESIZE
    if phase is Phase.BUILT:
        return Action.NOTHING
    if state is ClaimState.BUILDING and runs:
        return Action.SAY_BUILT
    if state is ClaimState.BUILDING and phase is Phase.BUILDING:
        return Action.BUILD
    # Claimed; or building and the journal has never heard of it: the journal was lost, or the order
    # is older than the claim's end. Adopting again tells the two apart.
    return Action.ADOPT
