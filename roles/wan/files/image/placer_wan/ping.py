"""Round-trip times as the nodes see them: ICMP echo from inside a node's network namespace."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

from placer_wan.errors import WanError
from placer_wan.paths import Wan

INTERVAL_S = 0.2
REPLY_TIMEOUT_S = 5
COUNT_MAX = 1000
_TIME = re.compile(r"time=([0-9.]+) ms")


def measure(addresses: Sequence[str], count: int) -> dict[str, float | None]:
    """The median RTT to each address in milliseconds, None where nothing came back.

    All addresses are asked at once; the whole takes about `count` times 0.2 s and an RTT.
    """
    if not 1 <= count <= COUNT_MAX:
        raise WanError(f"--count is {count}", f"choose 1 to {COUNT_MAX}")
    options = ["-n", "-c", str(count), "-i", str(INTERVAL_S), "-W", str(REPLY_TIMEOUT_S)]
    running = {
        address: subprocess.Popen(["ping", *options, address], stdout=subprocess.PIPE, text=True)
        for address in addresses
    }
    deadline_s = count * INTERVAL_S + 2 * REPLY_TIMEOUT_S
    return {
        address: median(process.communicate(timeout=deadline_s)[0])
        for address, process in running.items()
    }


def compare(
    wan: Wan, source: str, targets: Mapping[str, str], measured: Mapping[str, float | None]
) -> list[dict[str, Any]]:
    """Rows {from, to, configured, measured} of round trips from `source` to each region of `targets`.

    A round trip crosses both directions, so each pair makes two rows, one read from either end.
    """
    rows = []
    for region, address in targets.items():
        there, back = wan.select(source, region, one_way=False)
        configured = wan.paths[there].delay_ms + wan.paths[back].delay_ms
        for ends in (there, back):
            row = {
                "from": ends[0],
                "to": ends[1],
                "configured": configured,
                "measured": measured[address],
            }
            rows.append(row)
    return rows


def median(output: str) -> float | None:
    """The median of the times in ping's output. The first of several is left out: it waits for ARP."""
    times = [float(found) for found in _TIME.findall(output)]
    times = sorted(times[1:] or times)
    if not times:
        return None
    middle = len(times) // 2
    return times[middle] if len(times) % 2 else round((times[middle - 1] + times[middle]) / 2, 3)
