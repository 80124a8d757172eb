"""The workloads as data, and what measures each metric."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct

from .checking import growth, seconds_per_million
from .conflicts import conflict_fraction
from .decisions import cost_ratio
from .liveness import idle_writes
from .packing import stranded_ratio

FILE: Final = Path(__file__).parent / "workloads.yml"

_MEASURES: Final[dict[str, Callable[..., dict[str, float]]]] = {
    "cost_ratio": cost_ratio,
    "conflicts_per_success": conflict_fraction,
    "idle_writes_per_host_minute": idle_writes,
    "stranded_ratio": stranded_ratio,
    "cpu_s_per_million": seconds_per_million,
    "growth_ratio": growth,
}


class Workload(Struct, frozen=True):
    """One line of the file; ``arguments`` are what its metric's function takes."""

    name: str
    what: str
    labels: list[str]
    metric: str
    threshold: float
    last_measured: float
    arguments: dict[str, Any]


def load() -> list[Workload]:
    """All workloads, in the file's order."""
    own = set(Workload.__struct_fields__)
    return [
        msgspec.convert(
            {**line, "arguments": {k: v for k, v in line.items() if k not in own}}, Workload
        )
        for line in msgspec.yaml.decode(FILE.read_bytes())
    ]


def measure(workload: Workload) -> dict[str, float]:
    """The workload's figures; its metric is one of them."""
    return _MEASURES[workload.metric](**workload.arguments)
