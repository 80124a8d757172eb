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
        return super().select(0) if self.loop.threads else []


class SimulatedLoop(asyncio.SelectorEventLoop):
    """A selector loop on simulated time, which starts at an arbitrary positive instant.

    Without ``threads`` it never asks the system for anything, which is faster.
    """

    def __init__(self, *, threads: bool = True) -> None:
        self.threads = threads
        self.now_s = 1_000_000.0
        selector = _NoWait()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        return self.now_s


def run_simulated(work: Coroutine[Any, Any, T], *, threads: bool = True) -> T:
    """Run ``work`` to its end on a loop of its own; ``threads``: it may use some."""
    with asyncio.Runner(loop_factory=lambda: SimulatedLoop(threads=threads)) as runner:
        if threads:
            return runner.run(work)
        # The runner would watch for Ctrl-C through the system.
        return runner.get_loop().run_until_complete(work)
