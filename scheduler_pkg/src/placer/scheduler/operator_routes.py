"""The internal routes of operators' calls, for the API servers of the cell. All can be repeated."""

from __future__ import annotations

from typing import Final

from litestar import put
from litestar.datastructures import State
from litestar.params import FromPath

from placer.model.groups import ServerGroup
from placer.model.networks import NetworkSpec, NetworkView, PoolSpec, PoolView
from placer.scheduler.operator import Operator


@put("/internal/v1/pools/{name:str}")
async def put_pool(name: FromPath[str], data: PoolSpec, state: State) -> PoolView:
    """Make or change a sharing pool."""
    operator: Operator = state.process.operator
    return await operator.put_pool(name, data)


@put("/internal/v1/networks/{name:str}")
async def put_network(name: FromPath[str], data: NetworkSpec, state: State) -> NetworkView:
    """Make or change a network's addresses in a cell."""
    operator: Operator = state.process.operator
    return await operator.put_network(name, data)


@put("/internal/v1/server-groups")
async def put_group(data: ServerGroup, state: State) -> ServerGroup:
    """Make the group's row before anybody hears of the group."""
    operator: Operator = state.process.operator
    await operator.create_group(data)
    return data


OPERATOR_ROUTES: Final = (put_pool, put_network, put_group)
