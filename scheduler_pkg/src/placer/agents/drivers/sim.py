"""The ``sim`` driver: hosts that exist on paper, instances that exist as lines of a file.

One process plays thousands of hosts. Like a hypervisor, what it runs outlives the agent: each
instance is a line (what happened, claim, host) appended to a file by one unbuffered write, so ``kill -9`` loses none (a power cut
may, like that of a real host). How long a build takes and whether it fails depends on the seed and
the claim alone, so a run can be repeated whatever the order of its claims. A host of the file may
have providers inside, such as NUMA nodes and network cards whose functions lead to one physical
network each (a trait says which).
"""

from __future__ import annotations

import asyncio
import os
import random
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from placer.agents.drivers.base import BuildFailed, Guest, Life, NoInstance
from placer.errors import InvalidInput
from placer.model import reports
from placer.model.messages import ClaimOrder, HostReport
from placer.model.records import ClaimState
from placer.settings import Settings

_RUNS: Final = "+"
_STOPPED: Final = "o"
_DESTROYED: Final = "-"


class Sim:
    """Simulated hosts. A build takes ``sim_build_s`` x 0.5 to 1.5; a destruction a tenth of it."""

    def __init__(self, whole: Settings) -> None:
        settings = whole.agent
        assert settings is not None
        if settings.sim_hosts_file is None:
            raise InvalidInput(
                "The sim driver needs agent.sim_hosts_file.",
                remedy="Write one with placer workload, or choose another agent.driver.",
            )
        if not 0.0 <= settings.sim_failure_rate <= 1.0:
            raise InvalidInput("agent.sim_failure_rate must be 0.0 to 1.0.")
        self._settings = settings
        self._hosts = read_hosts(settings.sim_hosts_file)
        path = settings.journal_dir / "sim-instances"
        self._guests = _read_instances(path)
        self._file = _compacted(path, self._guests)

    async def describe(self) -> list[HostReport]:
        return self._hosts

    async def guests(self) -> list[Guest]:
        return [
            Guest(_order(claim, host), Life.RUNNING if what == _RUNS else Life.STOPPED)
            for claim, (what, host) in self._guests.items()
        ]

    async def build(self, order: ClaimOrder) -> None:
        chance = random.Random(f"{self._settings.sim_seed}/{order.claim}")
        fails = chance.random() < self._settings.sim_failure_rate
        await asyncio.sleep(self._settings.sim_build_s * chance.uniform(0.5, 1.5))
        if fails:
            raise BuildFailed("The simulated build failed.", claim=order.claim)
        self._note(_RUNS, order.claim, order.host)

    async def destroy(self, order: ClaimOrder) -> None:
        await asyncio.sleep(self._settings.sim_build_s / 10)
        if order.claim in self._guests:
            self._note(_DESTROYED, order.claim, order.host)

    async def resize(self, order: ClaimOrder) -> None:
        self._host_of(order.claim)

    async def start(self, claim: str) -> None:
        self._note(_RUNS, claim, self._host_of(claim))

    async def stop(self, claim: str) -> None:
        self._note(_STOPPED, claim, self._host_of(claim))

    async def reboot(self, claim: str) -> None:
        await self.start(claim)

    async def logs(self, claim: str, lines: int) -> str:
        return f"{claim} of host {self._host_of(claim)} is simulated and writes nothing.\n"

    def close(self) -> None:
        self._file.close()

    def _host_of(self, claim: str) -> str:
        if claim not in self._guests:
            raise NoInstance(f"There is no instance of claim {claim}.")
        return self._guests[claim][1]

    def _note(self, what: str, claim: str, host: str) -> None:
        self._file.write(_line(what, claim, host))
        _change(self._guests, what, claim, host)


def read_hosts(path: Path) -> list[HostReport]:
    """Hosts of a JSON file (a list of HostReport); raises InvalidInput that says what is wrong."""
    try:
        hosts = msgspec.json.decode(path.read_bytes(), type=list[HostReport])
    except OSError as error:
        raise InvalidInput(
            f"Cannot read the simulated hosts {path}: {error.strerror}.",
            remedy="Write the file with placer workload.",
        ) from error
    except msgspec.DecodeError as error:
        raise InvalidInput(
            f"The simulated hosts {path} are wrong: {error}.",
            remedy="Write the file with placer workload.",
        ) from error
    if len({host.name for host in hosts}) != len(hosts):
        raise InvalidInput(f"The simulated hosts {path} name a host twice.")
    for host in hosts:
        if wrong := reports.problem(host):
            raise InvalidInput(f"The simulated hosts {path} are wrong: {host.name!r}: {wrong}.")
    return hosts


def _order(claim: str, host: str) -> ClaimOrder:
    """What the file keeps of an instance's order."""
    return ClaimOrder(claim=claim, host=host, consumer="", state=ClaimState.BUILT, amounts={})


def _line(what: str, claim: str, host: str) -> bytes:
    return f"{what}{claim} {host}\n".encode()


def _change(guests: dict[str, tuple[str, str]], what: str, claim: str, host: str) -> None:
    if what == _DESTROYED:
        guests.pop(claim, None)
    else:
        guests[claim] = (what, host)


def _read_instances(path: Path) -> dict[str, tuple[str, str]]:
    """What happened last to each claim, and its host. A line cut short by a crash never happened."""
    guests: dict[str, tuple[str, str]] = {}
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    for line in lines:
        claim, _, host = line[1:].partition(" ")
        _change(guests, line[:1], claim, host)
    return guests


def _compacted(path: Path, guests: dict[str, tuple[str, str]]) -> BinaryIO:
    """The file rewritten with only what there is, open for appending."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    fresh.write_bytes(b"".join(_line(what, claim, host) for claim, (what, host) in guests.items()))
    os.replace(fresh, path)
    return path.open("ab", buffering=0)
