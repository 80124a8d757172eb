"""When a held packet may go on: a pure schedule, driven by the times it is told."""

from __future__ import annotations

import heapq
import random

from placer_wan.paths import Path


class Schedule:
    """Packets ordered by the time they are due. All times are seconds of one monotonic clock.

    Packets of one path leave in the order they came: jitter stretches and squeezes the gaps, as routers'
    queues do, and does not make TCP see reordering that nobody asked for (`reorder_percent` asks).
    """

    def __init__(self, generator: random.Random) -> None:
        self._random = generator
        self._held: list[tuple[float, int]] = []
        self._last_due: dict[tuple[str, str], float] = {}

    def __len__(self) -> int:
        return len(self._held)

    def admit(self, path: Path, packet_id: int, now: float) -> bool:
        """Hold the packet for its path's delay; False says that the path loses it.

        Packet ids grow, so that they break ties in order of arrival.
        """
        if path.cut or (path.loss_percent and self._random.random() * 100 < path.loss_percent):
            return False
        if path.reorder_percent and self._random.random() * 100 < path.reorder_percent:
            heapq.heappush(self._held, (now, packet_id))
            return True
        delay_ms = path.delay_ms
        if path.jitter_ms:
            delay_ms += self._random.uniform(-path.jitter_ms, path.jitter_ms)
        pair = (path.source, path.destination)
        due = max(now + delay_ms / 1000, self._last_due.get(pair, 0.0))
        self._last_due[pair] = due
        heapq.heappush(self._held, (due, packet_id))
        return True

    def next_due(self) -> float | None:
        return self._held[0][0] if self._held else None

    def release(self, now: float) -> list[int]:
        """Take out every packet that is due by `now`, oldest due time first."""
        held = self._held
        released = []
        while held and held[0][0] <= now:
            released.append(heapq.heappop(held)[1])
        return released
