"""The ``docker`` driver: every instance is a container of the machine's Docker Engine.

The engine remembers what the agent may forget: a container carries its claim in its labels, and its
name is the claim's, so the engine refuses a second one for the same claim whoever asks. That makes
every step safe to repeat:

    create  the name is taken: what an attempt that was cut short left is removed, then again
    start   of a running container changes nothing
    remove  of a container that is not there changes nothing

The naive way to give up on an engine that hangs, to forget the call and go on, leaks: the creation
may still happen after the removal. Therefore a call that was given up keeps its thread until the
SDK's own timeout, and a removal waits for it first. What an engine does later than that (it was
stopped with our question in its socket) is found by the agent's next look at ``guests``: a container
whose claim is on no row is removed then. It was never started, so it used nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import docker
import msgspec
import structlog

from placer import failpoints
from placer.agents import division, machine
from placer.agents.drivers.base import BuildFailed, DriverError, Guest, NoInstance
from placer.agents.drivers.containers import Owner, Plan, guest, limits_of, name_of, plan
from placer.agents.drivers.engine import Engine, Exists, Missing
from placer.agents.machine import Machine
from placer.errors import InvalidInput
from placer.model import reports
from placer.model.ids import host_uuid
from placer.model.messages import ClaimOrder, HostReport
from placer.settings import Settings

log = structlog.get_logger(__name__)

T = TypeVar("T")

_TRAITS: Final = (reports.driver_trait("docker"),)
#: How long a program has to end at once; one that does was never an instance.
_SETTLE_S: Final = 0.1
_LOG_BYTES_MAX: Final = 64 * 1024
_LAST_WORDS: Final = 5
#: Tries to get a name that something left behind still has.
_CREATE_TRIES_MAX: Final = 3


class DockerHosts:
    """Hosts of one machine whose instances are containers; see the module."""

    def __init__(self, settings: Settings, *, root: Path = Path("/")) -> None:
        assert settings.agent is not None
        self._settings = settings.agent.docker
        self._root = root
        self._disk = settings.agent.journal_dir
        self._owner = Owner(settings.cluster.deployment, settings.cell)
        self._parts = (
            division.read(self._settings.hosts_file)
            if self._settings.hosts_file
            else (division.HostPart(name=settings.agent.name),)
        )
        self._hosts = {host_uuid(settings.cell, part.name) for part in self._parts}
        self._engine = Engine(self._settings)
        self._pulls: dict[str, asyncio.Lock] = {}
        self._machine = self._read()

    # -- what there is

    async def describe(self) -> list[HostReport]:
        self._machine = await asyncio.to_thread(self._read)
        return [division.report(part, self._machine, _TRAITS) for part in self._parts]

    def _read(self) -> Machine:
        """The machine without what no container can be given: cards' functions, GPUs without files."""
        self._disk.mkdir(parents=True, exist_ok=True)
        try:
            found = machine.read(self._root, self._disk)
        except (OSError, ValueError) as error:
            raise InvalidInput(
                f"Cannot see what this machine has: {error}.",
                remedy="Give every host of agent.docker.hosts_file its inventories.",
            ) from error
        gpus = tuple(gpu for gpu in found.gpus if gpu.files)
        return msgspec.structs.replace(found, gpus=gpus, cards=())

    async def guests(self) -> list[Guest]:
        labels = self._owner.filters()
        listed: list[dict[str, Any]] = await self._engine.ask(
            "", lambda api: api.containers(all=True, filters={"label": labels})
        )
        found = [one for one in map(guest, listed) if one is not None]
        return [one for one in found if one.order.host in self._hosts]

    # -- an instance's life

    async def build(self, order: ClaimOrder) -> None:
        wanted = plan(order, self._owner, self._settings, self._machine)
        await self._engine.settled(order.claim)
        await self._create(order.claim, wanted)
        failpoints.reach("agent.created")
        if wanted.joins:
            await self._ask(order.claim, lambda api: _join(api, wanted))
        try:
            await self._ask(order.claim, lambda api: api.start(wanted.name))
        except Missing as error:
            raise BuildFailed(f"The container vanished before it started. {error}") from error
        failpoints.reach("agent.started")
        await asyncio.sleep(_SETTLE_S)
        await self._check_runs(order.claim, wanted.name)

    async def _create(self, claim: str, wanted: Plan) -> None:
        """Make the container; pulls its image where that is not here. Raises BuildFailed."""
        pulled = False
        for _ in range(_CREATE_TRIES_MAX):
            try:
                await self._ask(
                    claim,
                    lambda api: api.create_container_from_config(wanted.body, wanted.name),
                )
                return
            except Exists:
                await self._remove(claim)
            except Missing as error:
                if pulled or "image" not in str(error).lower():
                    raise BuildFailed(str(error)) from error
                await self._pull(wanted.body["Image"])
                pulled = True
        raise BuildFailed(f"Another container called {wanted.name} does not go away.")

    async def _check_runs(self, claim: str, name: str) -> None:
        """Raises BuildFailed with the program's last words if it ended at once."""
        try:
            state = (await self._ask(claim, lambda api: api.inspect_container(name)))["State"]
        except Missing as error:
            raise BuildFailed("The container was removed while it started.") from error
        if state["Status"] == "running":
            return
        words = await self.logs(claim, _LAST_WORDS)
        raise BuildFailed(
            f"The instance ended at once with exit code {state['ExitCode']}: {words.strip()!r}.",
            remedy="Does its image have a command that goes on running?",
        )

    async def _pull(self, image: str) -> None:
        """Fetch ``image``, once for all that wait for it; raises BuildFailed."""
        if not self._settings.pull:
            raise BuildFailed(
                f"There is no image {image!r} on this machine, and agent.docker.pull is off.",
                remedy="Load it, or name one that is there.",
            )
        lock = self._pulls.setdefault(image, asyncio.Lock())
        async with lock:
            if await self._is_here(image):
                return
            log.info("image_pulled", image=image)
            deadline = time.monotonic() + self._settings.pull_timeout_s
            try:
                # About the image, not the claim: a pull that goes on holds up no removal.
                await self._engine.ask(image, lambda api: _pull_until(api, image, deadline))
            except DriverError as error:
                raise BuildFailed(
                    f"Image {image!r} is not on this machine and cannot be pulled. {error}",
                    remedy="Load it, or name one that is there.",
                ) from error

    async def _is_here(self, image: str) -> bool:
        try:
            await self._engine.ask(image, lambda api: api.inspect_image(image))
        except Missing:
            return False
        return True

    async def destroy(self, order: ClaimOrder) -> None:
        await self._engine.settled(order.claim)
        await self._remove(order.claim)

    async def _remove(self, claim: str) -> None:
        name = name_of(self._owner, claim)
        try:
            await self._ask(claim, lambda api: api.remove_container(name, v=True, force=True))
        except Missing:
            return
        except Exists as error:
            # The engine is at it already.
            raise DriverError(f"The removal of {name} is under way.") from error

    async def resize(self, order: ClaimOrder) -> None:
        limits = limits_of(order, self._settings, self._machine)
        await self._on(order.claim, lambda api, name: _update(api, name, limits))

    # -- an instance's power

    async def start(self, claim: str) -> None:
        await self._on(claim, lambda api, name: api.start(name))

    async def stop(self, claim: str) -> None:
        patience_s = int(self._settings.stop_timeout_s)
        await self._on(claim, lambda api, name: api.stop(name, timeout=patience_s))

    async def reboot(self, claim: str) -> None:
        patience_s = int(self._settings.stop_timeout_s)
        await self._on(claim, lambda api, name: api.restart(name, timeout=patience_s))

    async def logs(self, claim: str, lines: int) -> str:
        written: bytes = await self._on(
            claim, lambda api, name: api.logs(name, stdout=True, stderr=True, tail=lines)
        )
        return written[-_LOG_BYTES_MAX:].decode(errors="replace")

    def close(self) -> None:
        self._engine.close()

    # -- helpers

    async def _on(self, claim: str, call: Callable[[docker.APIClient, str], T]) -> T:
        name = name_of(self._owner, claim)
        try:
            # Not about the claim: a removal need not wait for it, as none of these makes anything.
            return await self._engine.ask(name, lambda api: call(api, name))
        except Missing as error:
            raise NoInstance(f"There is no instance of claim {claim} on this host.") from error

    async def _ask(self, claim: str, call: Callable[[docker.APIClient], T]) -> T:
        return await self._engine.ask(claim, call)


def _update(api: docker.APIClient, name: str, limits: dict[str, Any]) -> None:
    """Change a container's limits. The SDK's own call knows CPU quotas only, which the engine takes
    from no container that was made with ``NanoCpus``."""
    api._result(api._post_json(api._url("/containers/{0}/update", name), data=limits), True)


def _join(api: docker.APIClient, wanted: Plan) -> None:
    for network, address in wanted.joins.items():
        api.connect_container_to_network(wanted.name, network, ipv4_address=address)


def _pull_until(api: docker.APIClient, image: str, deadline: float) -> None:
    """Pull, and raise DriverError when ``deadline`` (monotonic) comes first."""
    repository, _, tag = image.partition("@")
    if not tag:
        head, colon, last = image.rpartition(":")
        repository, tag = (head, last) if colon and "/" not in last else (image, "latest")
    for line in api.pull(repository, tag=tag, stream=True, decode=True):
        if "error" in line:
            raise DriverError(f"The registry: {line['error']}.")
        if time.monotonic() > deadline:
            raise DriverError("The pull took too long (agent.docker.pull_timeout_s).")
