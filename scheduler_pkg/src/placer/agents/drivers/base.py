"""What an agent asks of the thing that makes instances."""

from __future__ import annotations

import enum
from typing import Protocol

from msgspec import Struct

from placer.errors import PlacerError
from placer.model.messages import ClaimOrder, HostReport


class DriverError(PlacerError):
    """The driver could not do what it was asked; anything it did not say is left to its log."""

    code = "agent.driver"


class BuildFailed(DriverError):
    """The instance was not built and will not be; the claim is given back."""

    code = "agent.build_failed"


class DriverSilent(DriverError):
    """The driver did not answer in time, or cannot be reached; what it was asked may yet happen."""

    code = "agent.driver_silent"


class NoInstance(DriverError):
    """There is no instance of this claim."""

    code = "agent.no_instance"


class Life(enum.StrEnum):
    """What a driver knows of an instance."""

    UNFINISHED = "unfinished"  # left by a build that was cut short; it never ran
    RUNNING = "running"
    STOPPED = "stopped"  # it ran once, and somebody stopped it


class Guest(Struct, frozen=True):
    """An instance that a driver has. ``order`` is the one it was built for, as far as it is kept."""

    order: ClaimOrder
    life: Life


class Driver(Protocol):
    """Makes instances on the hosts of one agent process. The agent bounds the time of each call.

    What runs outlives the agent: after a crash ``guests`` says the truth, whatever was lost. Any
    call may be cut short by a crash or a cancellation and is then asked for again. All raise
    DriverError for what they could not do, DriverSilent where it may yet happen.
    """

    async def describe(self) -> list[HostReport]:
        """The hosts and what they have now. The list of hosts may change from call to call."""

    async def guests(self) -> list[Guest]:
        """Everything that is on the hosts for a claim, whatever became of it."""

    async def build(self, order: ClaimOrder) -> None:
        """Make the instance of ``order``, or raise BuildFailed.

        Removes first what an earlier attempt that was cut short may have left.
        """

    async def destroy(self, order: ClaimOrder) -> None:
        """Remove the instance and all that is left of it; nothing there is success."""

    async def resize(self, order: ClaimOrder) -> None:
        """Give the instance the amounts of ``order``; it has them already is success.

        Raises NoInstance.
        """

    async def start(self, claim: str) -> None:
        """Let a stopped instance run again; it does already is success. Raises NoInstance."""

    async def stop(self, claim: str) -> None:
        """Stop the instance and keep it; it is stopped already is success. Raises NoInstance."""

    async def reboot(self, claim: str) -> None:
        """Stop, then start. Raises NoInstance."""

    async def logs(self, claim: str, lines: int) -> str:
        """The last ``lines`` the instance has written. Raises NoInstance."""

    def close(self) -> None:
        """Let go of files and connections; instances stay."""
