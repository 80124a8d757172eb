"""Explore everything and print how many states that were: ``python -m scheduler_pkg.tests.model``."""

from __future__ import annotations

import sys

from .explore import Explorer, told
from .scenarios import COURTESIES, EXPLORED, MUTANTS


def main() -> int:
    total = wrong = 0
    for one in EXPLORED:
        result = Explorer(one.make(one.faults, "")).run()
        total, wrong = total + result.states, wrong + bool(result.violation)
        _say(f"{one.story}: {told(result)}")
    for mutant in (*MUTANTS, *COURTESIES):
        result = Explorer(mutant.make(mutant.faults, mutant.rule)).run()
        total, wrong = total + result.states, wrong + (mutant.wrong not in result.violation)
        _say(f"without {mutant.rule!r}: {told(result)}")
    _say(f"{total} states; {wrong} not as expected")
    return min(wrong, 1)


def _say(words: str) -> None:
    sys.stdout.write(f"{words}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
