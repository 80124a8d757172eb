"""What an agent asks of the thing that makes instances."""

from __future__ import annotations

from typing import Protocol

from placer.errors import PlacerError
from placer.model.messages import ClaimOrder, HostReport


class DriverError(PlacerError):
    """The driver could not do what it was asked; anything it did not say is left to its log."""

    code = "agent.driver"


class BuildFailed(DriverError):
    """The instance was not built and will not be; the claim is given back."""

    code = "agent.build_failed"


class Driver(Protocol):
    """Makes instances on the hosts of one agent process. The agent bounds the time of each call.

    What runs outlives the agent: after a crash ``running`` says the truth, whatever was lost. Any
    call may be cut short by a crash or a cancellation and is then asked for again.
    """

    async def describe(self) -> list[HostReport]:
        """The hosts and what they have now. The list of hosts may change from call to call."""

    async def running(self) -> set[str]:
        """Claims whose instance is complete and runs."""

    async def build(self, order: ClaimOrder) -> None:
        """Make the instance of ``order``, or raise BuildFailed.

        Removes first what an earlier attempt that was cut short may have left.
        """

    async def destroy(self, order: ClaimOrder) -> None:
        """Remove the instance and all that is left of it; nothing there is success."""

    def close(self) -> None:
        """Let go of files and connections; instances stay."""
