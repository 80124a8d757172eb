"""The internal routes of operators' calls, for the API servers of the cell. All can be repeated."""

from __future__ import annotations

from typing import Final

from litestar import get, post, put
from litestar.datastructures import State
from litestar.params import FromPath

from placer.model.actions import GuestOrder, MoveOrder
from placer.model.groups import ServerGroup
from placer.model.host_detail import HostDetail, HostOrder
from placer.model.messages import CommandDone
from placer.model.networks import NetworkSpec, NetworkView, PoolSpec, PoolView
from placer.model.request import Request
from placer.scheduler.actions import Actions
from placer.scheduler.agent_hub import AgentHub
from placer.scheduler.closing import Closing
from placer.scheduler.guest_commands import GuestCommand
from placer.scheduler.hosts import Hosts
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


@get("/internal/v1/hosts/{name:str}")
async def show_host(name: FromPath[str], state: State) -> HostDetail:
    """A host of this cell with what is on it."""
    hosts: Hosts = state.process.hosts
    return await hosts.show(name)


@post("/internal/v1/hosts/{name:str}/{operation:str}", status_code=200)
async def order_host(
    name: FromPath[str], operation: FromPath[str], data: HostOrder, state: State
) -> HostDetail:
    """Enable, disable, drain or evacuate a host of this cell."""
    hosts: Hosts = state.process.hosts
    return await hosts.order(name, operation, data)


@post("/internal/v1/moves", status_code=200)
async def begin_move(data: MoveOrder, state: State) -> Request:
    """Begin to move, resize or delete one instance of a request of this cell."""
    actions: Actions = state.process.actions
    return await actions.begin(data)


@post("/internal/v1/guests", status_code=200)
async def command_guest(data: GuestOrder, state: State) -> CommandDone:
    """Give a command to an instance of this cell, whichever process its agent is connected to."""
    hub: AgentHub = state.process.hub
    return await hub.command(
        GuestCommand(
            data.host, data.claim, data.kind, data.timeout_s, data.lines, data.by, data.why
        )
    )


@put("/internal/v1/closed-server-groups")
async def close_group(data: ServerGroup, state: State) -> ServerGroup:
    """See that the group has no members and gets none; its definition may go then."""
    closing: Closing = state.process.closing
    await closing.close(data)
    return data


OPERATOR_ROUTES: Final = (
    show_host,
    order_host,
    begin_move,
    command_guest,
    put_pool,
    put_network,
    put_group,
    close_group,
)
