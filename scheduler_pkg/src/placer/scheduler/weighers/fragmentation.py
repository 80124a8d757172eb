"""Fragmentation gradient descent for fractional GPUs.

Weng, Yang et al., "Beware of Fragmentation: Scheduling GPU-Sharing Workloads with Fragmentation
Gradient Descent", USENIX ATC 2023. A free part of a GPU is a *fragment* for a task of some kind if
no task of that kind could use it: the part is smaller than the task's share, or the host lacks the
cores for it. The fragmentation of a host is what is fragment on average over the kinds of tasks that
the cluster is asked for; a request goes where it makes that grow least, or shrink most.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Final

from msgspec import Struct

from placer.model import fitting, records, resource_classes
from placer.model.host_view import HostView
from placer.model.resource_classes import GPU_MILLI
from placer.model.resource_classes.devices import Devices
from placer.scheduler.wanted import Wanted

_CPU: Final = "VCPU"
_MEMORY: Final = "MEMORY_MB"


class TaskKind(Struct, frozen=True):
    """``share`` of all tasks ask for so many cores, so much memory and so many thousandths of GPUs."""

    share: float
    vcpus: int
    memory_mib: int
    gpu_milli: int


#: What GPU clusters are asked for, in a few kinds (the paper's trace, merged; the shares add up to 1).
#: Tasks without a GPU are left out: every free GPU is a fragment to them, on each host alike.
TASKS: Final = (
    TaskKind(0.06, 4, 28_672, 275),
    TaskKind(0.15, 10, 40_960, 450),
    TaskKind(0.05, 12, 49_152, 650),
    TaskKind(0.21, 4, 4_096, 800),
    TaskKind(0.20, 6, 12_288, 1000),
    TaskKind(0.31, 14, 53_248, 1000),
    TaskKind(0.02, 88, 327_680, 8000),
)


def fragmentation(rooms: list[int], cores: int, memory: int) -> float:
    """Expected thousandths of free GPU that a task cannot use. ``rooms``: free part of each GPU."""
    whole = 1000 * rooms.count(1000)
    served, share = 0, 0.0
    for bit, task in enumerate(TASKS):
        if (
            task.vcpus <= cores
            and task.memory_mib <= memory
            and (task.gpu_milli <= 1000 or task.gpu_milli <= whole)
        ):
            served |= 1 << bit
            share += task.share
    # What nobody can use at all, and of the rest what is too small for some.
    return (1.0 - share) * sum(rooms) + sum(room * _too_small(room, served) for room in rooms)


@lru_cache(maxsize=8192)
def _too_small(room: int, served: int) -> float:
    """Share of the tasks in the set of bits ``served`` that need more of one GPU than ``room``."""
    return sum(
        task.share
        for bit, task in enumerate(TASKS)
        if served >> bit & 1 and room < min(task.gpu_milli, 1000)
    )


class Fragmentation:
    """0.5 where fragmentation stays the same, up to 1.0 where it shrinks, down to 0.0 as it grows.

    A logistic curve over whole GPUs; applies to requests for GPUs.
    """

    def applies(self, wanted: Wanted) -> bool:
        return GPU_MILLI in wanted.amounts

    def score(self, wanted: Wanted, view: HostView) -> float:
        found = fitting.arrange(wanted.demand, view.tree)
        if isinstance(found, str):
            return 0.0
        kind = resource_classes.get(GPU_MILLI)
        assert isinstance(kind, Devices)
        before: list[int] = []
        after: list[int] = []
        for place, inventory in view.offered.items():
            if records.class_of(place) != GPU_MILLI:
                continue
            taken, given = view.taken.get(place, {}), found.units.get(place, {})
            for unit in inventory.units:
                room = kind.unit_capacity - taken.get(unit, 0)
                before.append(room)
                after.append(room - given.get(unit, 0))
        totals = view.totals()
        cores, memory = totals.get(_CPU, (0, 0))[0], totals.get(_MEMORY, (0, 0))[0]
        grows = fragmentation(
            after,
            cores - wanted.amounts.get(_CPU, 0),
            memory - wanted.amounts.get(_MEMORY, 0),
        ) - fragmentation(before, cores, memory)
        return 1.0 / (1.0 + math.exp(grows / 1000))
