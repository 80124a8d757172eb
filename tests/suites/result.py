"""What a suite found: counts for its closing line, and the words to show when it failed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Result:
    passed: int
    failed: int
    output: str = ""
    skipped: int = 0

    def __add__(self, other: Result) -> Result:
        return Result(
            self.passed + other.passed,
            self.failed + other.failed,
            self.output + other.output,
            self.skipped + other.skipped,
        )

    @property
    def line(self) -> str:
        """``3 passed, 0 failed``, with the skipped ones when there are any."""
        skipped = f", {self.skipped} skipped" if self.skipped else ""
        return f"{self.passed} passed, {self.failed} failed{skipped}"
