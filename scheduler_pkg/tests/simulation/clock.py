"""An event loop whose time jumps to the next timer: a simulated minute takes milliseconds.

With one thread, one seeded generator and no real waiting, a seed gives the same run every time.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class _NoWait(selectors.SelectSelector):
    """Instead of sleeping until the next timer it moves the loop's clock there."""

    loop: SimulatedLoop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("deadlock: every task waits and no timer is set")
        self.loop.now_s += timeout
        return super().select(0)


class SimulatedLoop(asyncio.SelectorEventLoop):
    """A selector loop on simulated time, which starts at an arbitrary positive instant."""

    def __init__(self) -> None:
        self.now_s = 1_000_000.0
        selector = _NoWait()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        return self.now_s


def run_simulated(work: Coroutine[Any, Any, T]) -> T:
    """Run ``work`` to its end on a loop of its own."""
    with asyncio.Runner(loop_factory=SimulatedLoop) as runner:
        return runner.run(work)
