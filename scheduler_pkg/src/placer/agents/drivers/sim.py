"""The ``sim`` driver: hosts that exist on paper, instances that exist as lines of a file.

One process plays thousands of hosts. Like a hypervisor, what it runs outlives the agent: each
instance is a line appended to a file by one unbuffered write, so ``kill -9`` loses none (a power cut
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
from typing import BinaryIO

import msgspec

from placer.agents.drivers.base import BuildFailed
from placer.errors import InvalidInput
from placer.model import reports
from placer.model.messages import ClaimOrder, HostReport
from placer.settings import Agent

_BUILT = "+"
_DESTROYED = "-"


class Sim:
    """Simulated hosts. A build takes ``sim_build_s`` x 0.5 to 1.5; a destruction a tenth of it."""

    def __init__(self, settings: Agent) -> None:
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
        self._running = _read_instances(path)
        self._file = _compacted(path, self._running)

    async def describe(self) -> list[HostReport]:
        return self._hosts

    async def running(self) -> set[str]:
        return set(self._running)

    async def build(self, order: ClaimOrder) -> None:
        chance = random.Random(f"{self._settings.sim_seed}/{order.claim}")
        fails = chance.random() < self._settings.sim_failure_rate
        await asyncio.sleep(self._settings.sim_build_s * chance.uniform(0.5, 1.5))
        if fails:
            raise BuildFailed("The simulated build failed.", claim=order.claim)
        self._note(_BUILT, order.claim)
        self._running.add(order.claim)

    async def destroy(self, order: ClaimOrder) -> None:
        await asyncio.sleep(self._settings.sim_build_s / 10)
        if order.claim in self._running:
            self._note(_DESTROYED, order.claim)
            self._running.discard(order.claim)

    def close(self) -> None:
        self._file.close()

    def _note(self, what: str, claim: str) -> None:
        self._file.write(f"{what}{claim}\n".encode())


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


def _read_instances(path: Path) -> set[str]:
    """Claims whose last whole line says built. A line cut short by a crash was never finished."""
    running: set[str] = set()
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    for line in lines:
        if line.startswith(_BUILT):
            running.add(line[1:])
        else:
            running.discard(line[1:])
    return running


def _compacted(path: Path, running: set[str]) -> BinaryIO:
    """The file rewritten with only what runs, open for appending."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    fresh.write_text("".join(f"{_BUILT}{claim}\n" for claim in sorted(running)))
    os.replace(fresh, path)
    return path.open("ab", buffering=0)
