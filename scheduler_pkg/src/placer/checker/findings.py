"""What a check has found so far. All is counted; the first of each are kept with their stories."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from placer.checker.verdict import Incomplete, Kind, Violation

#: Stories kept of each sort.
STORIES_MAX: Final = 100


class Findings:
    """Violations and what could not be proved."""

    def __init__(self) -> None:
        self.violations: list[Violation] = []
        self.violations_total = 0
        self.double_bookings = 0
        self.incomplete: list[Incomplete] = []
        self.incomplete_total = 0

    def violated(
        self, kind: Kind, cell: str, host: str, rev: int, story: Callable[[], str] | str
    ) -> None:
        """A broken guarantee. A story that takes work to tell is only told if it is kept."""
        self.violations_total += 1
        self.double_bookings += kind is Kind.DOUBLE_BOOKING
        if len(self.violations) < STORIES_MAX:
            told = story if isinstance(story, str) else story()
            self.violations.append(Violation(kind=kind, cell=cell, host=host, rev=rev, story=told))

    def unproved(self, cell: str, host: str, rev: int, story: str) -> None:
        """Something that keeps the check from passing and breaks no guarantee."""
        self.incomplete_total += 1
        if len(self.incomplete) < STORIES_MAX:
            self.incomplete.append(Incomplete(cell=cell, host=host, rev=rev, story=story))
