"""What will be asked, of which cell's API, in which order: a pure function of the seed.

Most requests are for the cell they are posted to, some name another; some of those for GPUs name a
model by its trait; some ask for a whole bare-metal host; and a few cannot fit anywhere.
"""

from __future__ import annotations

import enum
import random
from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from placer.errors import InvalidInput
from placer.model import reports
from placer.model.request import RequestSpec
from placer.model.resource_classes import BAREMETAL, GPU_MILLI
from placer.replay.fleet import gpu_trait
from placer.replay.shapes import HOSTS, REQUESTS, HostShape, RequestShape

REQUESTS_DEFAULT: Final = 3_000
REQUESTS_MAX: Final = 1_000_000

#: Shares of the requests. GPU_BY_TRAIT is a share of those that ask for a GPU.
ELSEWHERE: Final = 0.15
GPU_BY_TRAIT: Final = 0.40
WHOLE_HOST: Final = 0.01
IMPOSSIBLE: Final = 0.02

#: Requests of the warm-up, for each cell.
WARM_UP_PER_CELL: Final = 30

PROJECT: Final = "replay"

#: No host has this trait, and none this many CPUs: such requests are refused with that reason.
#: A workload is for simulated hosts: thousands of real containers would measure the machine instead.
_REAL: Final = reports.driver_trait("docker")
_NOBODYS_TRAIT: Final = "CUSTOM_GPU_NOT_IN_THIS_FLEET"
_TOO_MANY_VCPUS: Final = 4_096


class Kind(enum.StrEnum):
    """What a request tries out."""

    PLAIN = "plain"
    GPU = "gpu"
    GPU_BY_TRAIT = "gpu_by_trait"
    WHOLE_HOST = "whole_host"
    IMPOSSIBLE = "impossible"


class Planned(Struct, frozen=True):
    """A request to be posted to the API of cell ``target``."""

    target: str
    kind: Kind
    spec: RequestSpec


def requests(
    cells: Sequence[str],
    count: int,
    seed: int,
    *,
    shapes: Sequence[RequestShape] | None = None,
    hosts: Sequence[HostShape] = HOSTS,
) -> list[Planned]:
    """``count`` requests to ``cells``, in the order they are posted.

    ``shapes`` are a trace's requests, taken in their order and from the start again when ``count``
    is larger; without them shapes are drawn from the built-in profile. ``hosts`` says which GPU
    models there are to name.
    """
    if not 1 <= count <= REQUESTS_MAX:
        raise InvalidInput(
            f"{count} requests are asked for.", remedy=f"Ask for 1 to {REQUESTS_MAX:,}."
        )
    rng = random.Random(f"{seed}/requests")
    names = sorted(cells)
    if shapes is None:
        drawn = rng.choices(REQUESTS, weights=[s.percent for s in REQUESTS], k=count)
    else:
        drawn = [shapes[i % len(shapes)] for i in range(count)]
    return [
        _one(rng, names, f"replay-{seed}-{number}", shape, hosts)
        for number, shape in enumerate(drawn, start=1)
    ]


def warm_up(cells: Sequence[str], seed: int) -> list[Planned]:
    """Small requests that every host can take, from each cell to itself and to each other in turn.

    So that every connection between two cells is open and every code path was run once.
    """
    names = sorted(cells)
    return [
        Planned(
            target=cell,
            kind=Kind.PLAIN,
            spec=RequestSpec(
                resources={"VCPU": 1, "MEMORY_MB": 512},
                forbidden_traits=(_REAL,),
                name=f"warm-up-{seed}-{number}",
                project=PROJECT,
                cell=names[(names.index(cell) + number) % len(names)],
            ),
        )
        for number in range(WARM_UP_PER_CELL)
        for cell in names
    ]


def _one(
    rng: random.Random,
    cells: list[str],
    name: str,
    shape: RequestShape,
    hosts: Sequence[HostShape],
) -> Planned:
    target = rng.choice(cells)
    others = [cell for cell in cells if cell != target]
    cell = rng.choice(others) if others and rng.random() < ELSEWHERE else ""
    kind, resources, traits = _wish(rng, shape, hosts)
    return Planned(
        target=target,
        kind=kind,
        spec=RequestSpec(
            resources=resources,
            name=name,
            project=PROJECT,
            required_traits=traits,
            forbidden_traits=(_REAL,),
            cell=cell,
            alternates=rng.choice((0, 0, 2)),
        ),
    )


def _wish(
    rng: random.Random, shape: RequestShape, hosts: Sequence[HostShape]
) -> tuple[Kind, dict[str, int], tuple[str, ...]]:
    """Kind, amounts and traits of one request."""
    dice = rng.random()
    resources = {"VCPU": shape.vcpus}
    if shape.memory_mib:
        resources["MEMORY_MB"] = shape.memory_mib
    if dice < IMPOSSIBLE / 2:
        return Kind.IMPOSSIBLE, resources, (_NOBODYS_TRAIT,)
    if dice < IMPOSSIBLE:
        return Kind.IMPOSSIBLE, {**resources, "VCPU": _TOO_MANY_VCPUS}, ()
    if dice < IMPOSSIBLE + WHOLE_HOST:
        return Kind.WHOLE_HOST, {BAREMETAL: 1}, ()
    if not shape.gpu_milli:
        return Kind.PLAIN, resources, ()
    resources[GPU_MILLI] = shape.gpu_milli
    models = _models_that_fit(shape, hosts)
    if models and rng.random() < GPU_BY_TRAIT:
        model = rng.choices(list(models), weights=list(models.values()))[0]
        return Kind.GPU_BY_TRAIT, resources, (gpu_trait(model),)
    return Kind.GPU, resources, ()


def _models_that_fit(shape: RequestShape, hosts: Sequence[HostShape]) -> dict[str, float]:
    """GPU models of hosts that can take ``shape``, weighted by how many such GPUs there are."""
    models: dict[str, float] = {}
    for host in hosts:
        if (
            host.gpus * 1000 >= shape.gpu_milli
            and host.gpus
            and host.vcpus >= shape.vcpus
            and host.memory_mib >= shape.memory_mib
        ):
            models[host.model] = models.get(host.model, 0.0) + host.percent * host.gpus
    return models
