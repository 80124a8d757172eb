"""The simulated hosts of a deployment: what each cell's ``sim`` agent is given to play.

The same arguments always give the same hosts, whichever cell asks for its part.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from typing import Final

from placer.errors import InvalidInput, UnknownCell
from placer.model.messages import HostReport
from placer.model.records import Inventory
from placer.model.resource_classes import BAREMETAL, GPU_MILLI
from placer.replay.shapes import HOSTS, HostShape

HOSTS_DEFAULT: Final = 1_523
HOSTS_MAX: Final = 1_000_000

#: Share of hosts that are let as a whole. Ours: the published cluster has no such hosts.
BAREMETAL_SHARE: Final = 0.05

#: Sizes of the bare-metal hosts, taken in turn.
_BAREMETAL_SIZES: Final = ("32C_256G", "96C_512G")


def gpu_trait(model: str) -> str:
    """The trait of hosts that have this GPU model, e.g. CUSTOM_GPU_T4."""
    return "CUSTOM_GPU_" + re.sub(r"[^A-Z0-9_]", "_", model.upper())


def built_in(cells: Sequence[str], hosts: int, seed: int) -> dict[str, list[HostReport]]:
    """``hosts`` hosts of the built-in profile, spread over ``cells`` so that each gets the same mix."""
    names = _check(cells, hosts)
    whole = _baremetal_count(hosts, len(names))
    deck: list[HostShape | str] = [
        _BAREMETAL_SIZES[i % len(_BAREMETAL_SIZES)] for i in range(whole)
    ]
    counts = apportion([shape.percent for shape in HOSTS], hosts - whole)
    for shape, count in zip(HOSTS, counts, strict=True):
        deck.extend([shape] * count)
    return _deal(names, deck, seed)


def from_shapes(
    cells: Sequence[str], shapes: Sequence[HostShape], seed: int
) -> dict[str, list[HostReport]]:
    """One host for each of ``shapes`` (a trace's hosts), spread over ``cells``."""
    return _deal(_check(cells, len(shapes)), list(shapes), seed)


def apportion(weights: Sequence[float], count: int) -> list[int]:
    """``count`` split by ``weights`` into whole numbers (largest remainder), sum exactly ``count``."""
    total = sum(weights)
    exact = [weight * count / total for weight in weights]
    parts = [int(share) for share in exact]
    by_remainder = sorted(range(len(exact)), key=lambda i: (parts[i] - exact[i], i))
    for i in by_remainder[: count - sum(parts)]:
        parts[i] += 1
    return parts


def _check(cells: Sequence[str], hosts: int) -> list[str]:
    names = sorted(set(cells))
    if not names or not all(names):
        raise InvalidInput("No cell is named.", remedy="Name the cells, e.g. --cells nyc1,ams1.")
    if not len(names) <= hosts <= HOSTS_MAX:
        raise InvalidInput(
            f"{hosts} hosts cannot be spread over {len(names)} cells.",
            remedy=f"Ask for {len(names)} to {HOSTS_MAX:,} hosts.",
        )
    return names


def _baremetal_count(hosts: int, cells: int) -> int:
    """About BAREMETAL_SHARE of the hosts, at least one a cell where there are hosts enough."""
    return max(round(hosts * BAREMETAL_SHARE), cells if hosts >= 5 * cells else 0)


def _deal(
    cells: Sequence[str], deck: Sequence[HostShape | str], seed: int
) -> dict[str, list[HostReport]]:
    """Deal the sorted deck round the cells, then shuffle inside each, then name the hosts."""
    fleet = {}
    for position, cell in enumerate(cells):
        hand = list(deck[position :: len(cells)])
        random.Random(f"{seed}/{cell}").shuffle(hand)
        fleet[cell] = [
            _host(f"{cell}-h{number:04d}", shape) for number, shape in enumerate(hand, start=1)
        ]
    return fleet


def _host(name: str, shape: HostShape | str) -> HostReport:
    if isinstance(shape, str):
        serial = Inventory(total=1, max_unit=1, units=(f"SN-{name}",))
        return HostReport(
            name=name, inventories={BAREMETAL: serial}, traits=(f"CUSTOM_BAREMETAL_{shape}",)
        )
    offered = {
        "VCPU": Inventory(total=shape.vcpus, max_unit=shape.vcpus),
        "MEMORY_MB": Inventory(total=shape.memory_mib, max_unit=shape.memory_mib),
    }
    if not shape.gpus:
        return HostReport(name=name, inventories=offered)
    milli = shape.gpus * 1000
    units = tuple(f"gpu{i}" for i in range(shape.gpus))
    offered[GPU_MILLI] = Inventory(total=milli, max_unit=milli, units=units)
    return HostReport(name=name, inventories=offered, traits=(gpu_trait(shape.model),))


def of_cell(fleet: dict[str, list[HostReport]], cell: str) -> list[HostReport]:
    """The hosts of ``cell``; raises UnknownCell."""
    try:
        return fleet[cell]
    except KeyError:
        raise UnknownCell(
            f"Cell {cell!r} is not among the cells.",
            remedy="Cells given: " + ", ".join(sorted(fleet)) + ".",
            cell=cell,
        ) from None
