"""What an agent and its cell's scheduler say to each other over their one open connection (JSON).

The agent speaks first: Hello (``protocol.py``), then one Report for each batch of its hosts. From then on the
scheduler sends Orders (claims the agent does not know yet) and the agent sends Steps; each Step is
answered by a StepDone with the same ``seq``. States and Commands are about instances that are built:
what became of them, and what is to be done to them. Messages may be lost with the connection: after a
reconnect the agent reports again and gets every claim of its hosts again, so each is safe to repeat.
"""

from __future__ import annotations

import enum

from msgspec import Struct

from placer.model.protocol import VERSIONS
from placer.model.records import ClaimState, Inventory

#: Path of the agents' connection on a scheduler.
AGENT_PATH = "/v1/agent"
#: Largest message of either end: all claims of one batch of hosts.
MESSAGE_BYTES_MAX = 16 * 1024 * 1024

#: An agent lets a scheduler hear from it at least so often, by a websocket's ping. Only this end probes: a
#: scheduler of thousands only looks at when it last heard from each.
HEARTBEAT_S = 2.0

#: Reason of a StepDone that decides nothing: the agent asks again.
RETRY = "retry"


class ProviderReport(Struct, frozen=True, omit_defaults=True):
    """A provider inside a host: a NUMA node, a network card, a group of its functions.

    ``key`` is its name in the host's tree, ``parent`` the key of the provider it sits in (empty: the
    host itself).
    """

    key: str
    inventories: dict[str, Inventory]
    parent: str = ""
    traits: tuple[str, ...] = ()


class HostReport(Struct, frozen=True, omit_defaults=True):
    """What a host has, as its agent sees it: its own inventories, and those of what is inside it.

    ``aggregates`` are the groups of hosts that it belongs to: an availability zone, a storage net.
    """

    name: str
    inventories: dict[str, Inventory]
    traits: tuple[str, ...] = ()
    children: tuple[ProviderReport, ...] = ()
    aggregates: tuple[str, ...] = ()


class Hello(Struct, frozen=True, tag="hello"):
    """The agent's name, its cell, and the versions of these messages that it speaks."""

    agent: str
    cell: str
    protocol_min: int = VERSIONS.least
    protocol_max: int = VERSIONS.newest


class Report(Struct, frozen=True, tag="report"):
    """A batch of hosts. Answered by Reported once their rows hold these inventories."""

    seq: int
    hosts: tuple[HostReport, ...]


class StepKind(enum.StrEnum):
    """What an agent asks for: ADOPT (claimed -> building), BUILT, DELETING, GONE (removed)."""

    ADOPT = "adopt"
    BUILT = "built"
    DELETING = "deleting"
    GONE = "gone"


class CommandKind(enum.StrEnum):
    """What an instance can be told to do. LOGS answers with what it wrote last."""

    START = "start"
    STOP = "stop"
    REBOOT = "reboot"
    LOGS = "logs"


class GuestState(Struct, frozen=True, omit_defaults=True):
    """How an instance is: ``running``, ``stopped``, or ``lost`` (removed behind the agent's back).

    ``by``: who had it brought there; empty if nobody did. ``why`` is theirs, or the agent's own word.
    ``version`` grows with every change of this instance on this host, also when the agent's journal
    was lost in between: of two states the higher is the newer. It is below 2**44.
    """

    host: str
    claim: str
    state: str
    why: str = ""
    version: int = 0
    by: str = ""


class States(Struct, frozen=True, tag="states"):
    """Instances whose state changed, or is not ``running`` after a connect. Not answered.

    Sent again with every connection and periodic report that finds them so: one that is lost, or
    that the scheduler could not note, is not the last.
    """

    guests: tuple[GuestState, ...]


class CommandDone(Struct, frozen=True, tag="command_done", omit_defaults=True):
    """Answer to a Command with the same ``seq``. ``ok`` False: ``text`` says why, for people."""

    seq: int
    ok: bool
    text: str = ""


class Step(Struct, frozen=True, tag="step", omit_defaults=True):
    """``why``: with DELETING, what went wrong with the build."""

    seq: int
    host: str
    claim: str
    kind: StepKind
    why: str = ""


class Welcome(Struct, frozen=True, tag="welcome"):
    """The scheduler's name, the version that both speak from here on, and all schedulers of the cell.

    ``schedulers`` are URLs for agents, where else to connect; an agent that ignores them knows those of its settings.
    """

    scheduler: str
    protocol: int = VERSIONS.newest
    schedulers: tuple[str, ...] = ()


class Reported(Struct, frozen=True, tag="reported"):
    """Answer to a Report: the provider uuid of each host by its name."""

    seq: int
    hosts: dict[str, str]


class ClaimOrder(Struct, frozen=True, omit_defaults=True):
    """A claim of one of the agent's hosts, in the state the row has it.

    ``image``: what its instance is made from; empty: what the driver is set to. ``trace``: the trace
    id of its request.
    """

    claim: str
    host: str
    consumer: str
    state: ClaimState
    amounts: dict[str, int]
    units: dict[str, dict[str, int]] = {}
    image: str = ""
    trace: str = ""


class Command(Struct, frozen=True, tag="command", omit_defaults=True):
    """Something to be done to an instance. Answered by CommandDone; safe to repeat.

    ``lines``: with LOGS, how many of the last are wanted. ``by`` whom and ``why``: for its history.
    """

    seq: int
    host: str
    claim: str
    kind: CommandKind
    lines: int = 100
    by: str = ""
    why: str = ""


class Diagnose(Struct, frozen=True, tag="diagnose"):
    """What does this agent say of itself? Answered by Diagnosed; for version 2 and later."""

    seq: int


class Diagnosed(Struct, frozen=True, tag="diagnosed"):
    """Answer to a Diagnose with the same ``seq``: a ``placer.diagnosis.Diagnosis`` as JSON."""

    seq: int
    text: str


class Orders(Struct, frozen=True, tag="orders"):
    claims: tuple[ClaimOrder, ...]


class StepDone(Struct, frozen=True, tag="step_done", omit_defaults=True):
    """``ok`` False: the claim is gone or in a state that this step cannot follow; do not build."""

    seq: int
    ok: bool
    reason: str = ""


class Refused(Struct, frozen=True, tag="refused"):
    """The scheduler will not talk to this agent; ``message`` says why. The connection closes."""

    message: str


FromAgent = Hello | Report | Step | States | CommandDone | Diagnosed
ToAgent = Welcome | Reported | Orders | StepDone | Command | Diagnose | Refused
