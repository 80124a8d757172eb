"""What the daemon needs of a back end, and how it finds the one that works here."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from typing import Protocol

from placer_wan.errors import WanError

COMMAND_TIMEOUT_S = 10.0


class Backend(Protocol):
    """Carries the paths out. Nothing of it outlives `stop`."""

    name: str

    def ready(self) -> None:
        """Raise `WanError` when the machine lacks something that the operator can mend."""

    def start(self) -> None:
        """Take over the bridge; safe after a run that was killed."""

    def stop(self) -> None:
        """Undo everything; safe to repeat and after a `start` that failed half way."""

    def fileno(self) -> int | None:
        """A descriptor whose readability means `turn` has work."""

    def turn(self) -> float:
        """Do what is due now; returns the seconds until the next turn at the latest."""

    def figures(self) -> dict[str, int]:
        """Counters for the status."""


def run(command: Sequence[str], *, text: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run a tool and hand back what it said, whatever its exit code."""
    return subprocess.run(
        command, input=text, capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S, check=False
    )


def must(command: Sequence[str], *, text: str | None = None, remedy: str) -> str:
    """Run a tool that has to succeed."""
    result = run(command, text=text)
    if result.returncode != 0:
        said = (result.stderr or result.stdout).strip().splitlines()
        raise WanError(f"{' '.join(command)}: {said[0] if said else 'failed'}", remedy)
    return result.stdout
