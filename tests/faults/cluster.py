"""The faults of a deployment in one place: make them, leave them to their time, heal them all.

Two ways for each: a context manager, which heals its own fault alone, and plain calls (``kill``, ``start``,
``heal``). Both bound the fault's time, so that nothing stays broken after a test that was killed.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from faults import clocks, crashes, disks, guard, health, processes, replacement, target
from faults.engine import inspect_all
from faults.errors import FaultError
from faults.network import Network
from faults.target import Member, Role

#: When a fault ends by itself, where a caller says nothing else.
BOUND_S = 300.0
HEALTHY_S = 180.0


class Deployed(Protocol):
    """What the faults need to know of a deployment; tests/deployment.py has it."""

    @property
    def name(self) -> str: ...

    @property
    def run_dir(self) -> Path: ...


class Cluster:
    """A deployment as somebody sees it who is about to break it. Looked at anew by every call."""

    def __init__(self, deployment: Deployed) -> None:
        self.name = deployment.name
        self.run_dir = deployment.run_dir
        self.network = Network(self.name, self.members)

    # --- who is there ----------------------------------------------------------------------------

    @property
    def notes(self) -> Path:
        """Where faults that a guard ends are noted."""
        return self.run_dir / "faults"

    @property
    def cache(self) -> Path:
        """Where what a fault needs and is made once is kept."""
        return self.run_dir / "cache"

    def members(self) -> list[Member]:
        """Everybody, as of now. Raises FaultError when nothing is deployed."""
        found = self._present()
        if not found:
            raise FaultError(
                f"Nothing of the deployment {self.name!r} is here.", "Deploy it first: ./demo"
            )
        return found

    def _present(self) -> list[Member]:
        return target.members(inspect_all(self.name), self.name)

    def nodes(
        self, *, region: str | None = None, cell: str | None = None, rack: str | None = None
    ) -> list[str]:
        """Containers of the nodes there, running or not."""
        return self.names("node", region=region, cell=cell, rack=rack)

    def regions(self) -> list[str]:
        return target.regions(self.members())

    def cells(self) -> list[str]:
        return target.cells(self.members())

    def names(
        self,
        role: str,
        *,
        region: str | None = None,
        cell: str | None = None,
        rack: str | None = None,
    ) -> list[str]:
        """Containers of a role (node, api, scheduler, agent) there, running or not."""
        among = target.select(
            self.members(), roles=(Role(role),), region=region, cell=cell, rack=rack
        )
        return [member.name for member in among]

    def known(self, names: Iterable[str]) -> list[str]:
        """Containers' full names; raises FaultError for one that is not there."""
        return [member.name for member in self._members(names)]

    def _members(self, names: Iterable[str]) -> list[Member]:
        return target.named(self.members(), names, self.name)

    # --- network ---------------------------------------------------------------------------------

    @contextmanager
    def cut(
        self, *, region: str | None = None, cell: str | None = None, seconds: float = BOUND_S
    ) -> Iterator[str]:
        """A region, or a cell also within its region, hears nobody outside and is heard by nobody."""
        with self._network_fault("cut") as name:
            self.network.cut(name, seconds, region=region, cell=cell)
            yield name

    @contextmanager
    def cut_one_way(
        self, *, source: str, target: str | None = None, seconds: float = BOUND_S
    ) -> Iterator[str]:
        """Nothing that a region sends reaches another one (any, without ``target``); what comes back does."""
        with self._network_fault("oneway") as name:
            self.network.one_way(name, seconds, source=source, goal=target)
            yield name

    @contextmanager
    def flapping(
        self, *, region: str, up_s: float, down_s: float, seconds: float = BOUND_S
    ) -> Iterator[str]:
        """A region is cut off for ``down_s``, there for ``up_s``, and so on; it begins cut."""
        with self._network_fault("flapping") as name:
            self.network.flap(name, seconds, region=region, up_s=up_s, down_s=down_s)
            yield name

    @contextmanager
    def ring(self, *, seconds: float = BOUND_S) -> Iterator[str]:
        """Each region hears only of the one before it."""
        with self._network_fault("ring") as name:
            self.network.ring(name, seconds)
            yield name

    @contextmanager
    def bridge(self, *, region: str, seconds: float = BOUND_S) -> Iterator[str]:
        """All regions reach ``region``, and none another."""
        with self._network_fault("bridge") as name:
            self.network.bridge(name, seconds, region=region)
            yield name

    @contextmanager
    def slow(
        self,
        *,
        source: str,
        target: str,
        changes: Mapping[str, float],
        one_way: bool = False,
        seconds: float = BOUND_S,
    ) -> Iterator[str]:
        """Another delay_ms, jitter_ms, loss_percent, reorder_percent or duplicate_percent between two regions."""
        with self._network_fault("slow") as name:
            self.network.slow(
                name, seconds, source=source, goal=target, changes=changes, one_way=one_way
            )
            yield name

    @contextmanager
    def _network_fault(self, kind: str) -> Iterator[str]:
        """A name for the fault; on leaving, an end to whatever has it, also to half of it."""
        name = fault_name(kind)
        try:
            yield name
        finally:
            self.network.heal(name)

    # --- processes -------------------------------------------------------------------------------

    def kill(self, *names: str, seconds: float = BOUND_S) -> None:
        """SIGKILL; they stay down until ``start``, ``heal``, or their time is over."""
        members = self._members(names)
        self._guarded("stopped", members, seconds)
        processes.kill(members)

    def pause(self, *names: str, seconds: float = BOUND_S) -> None:
        """Freeze; until ``start``, ``heal``, or their time is over."""
        members = self._members(names)
        self._guarded("paused", members, seconds)
        processes.pause(members)

    def start(self, *names: str) -> None:
        """Let them run, whatever was done to them."""
        members = self._members(names)
        among = self.members()
        for member in members:
            self._put_back(member.name, among)
        processes.start(self._members(names))
        for member in members:
            for kind in ("stopped", "paused", "replaced"):
                guard.drop(self.notes, _note_id(kind, member.name))

    def restart(self, *names: str) -> None:
        """Stop as an operator does, and start again."""
        processes.restart(self._members(names))

    def wipe(self, *names: str, seconds: float = BOUND_S) -> None:
        """Kill nodes and lose their disks; ``start`` has each replace the member that it was."""
        among = self.members()
        members = target.named(among, names, self.name)
        processes.may_wipe(members, among)
        self._guarded("stopped", members, seconds)
        processes.wipe(members, among)

    @contextmanager
    def stopped(self, names: Sequence[str], *, seconds: float = BOUND_S) -> Iterator[None]:
        """Killed, and started again on leaving."""
        try:
            self.kill(*names, seconds=seconds)
            yield
        finally:
            self.start(*names)

    @contextmanager
    def paused(self, names: Sequence[str], *, seconds: float = BOUND_S) -> Iterator[None]:
        """Frozen, and awake again on leaving."""
        try:
            self.pause(*names, seconds=seconds)
            yield
        finally:
            self.start(*names)

    @contextmanager
    def restarted(self, names: Sequence[str]) -> Iterator[None]:
        """Stopped as an operator does and started again; running on leaving, whatever came between."""
        try:
            self.restart(*names)
            yield
        finally:
            self.start(*names)

    # --- processes of another sort ---------------------------------------------------------------

    def crash(self, name: str, point: str, *, seconds: float = BOUND_S) -> str:
        """Have a service kill itself at a fail point, and stay dead; the name of who stands in for it."""
        return self._replaced(name, seconds, lambda member: crashes.crash(member, point))

    def skew(self, name: str, by_s: float, *, seconds: float = BOUND_S) -> str:
        """Have a process live in another time; the name of who stands in for it."""
        return self._replaced(name, seconds, lambda member: clocks.skew(member, by_s, self.cache))

    def fill(self, name: str, disk: str, *, seconds: float = BOUND_S) -> str:
        """Have a disk (data, commitlog, journal) full; the name of who stands in for its owner."""
        return self._replaced(name, seconds, lambda member: disks.fill(member, disk))

    @contextmanager
    def crashing(self, name: str, point: str, *, seconds: float = BOUND_S) -> Iterator[str]:
        """As ``crash``; on leaving the original runs again, whether the point was reached or not."""
        try:
            yield self.crash(name, point, seconds=seconds)
        finally:
            self.start(name)

    @contextmanager
    def skewed(self, name: str, by_s: float, *, seconds: float = BOUND_S) -> Iterator[str]:
        """As ``skew``; on leaving the original runs again, in everybody's time."""
        try:
            yield self.skew(name, by_s, seconds=seconds)
        finally:
            self.start(name)

    @contextmanager
    def full(self, name: str, disk: str, *, seconds: float = BOUND_S) -> Iterator[str]:
        """As ``fill``; on leaving the original runs again, on its own disk with what was written since."""
        try:
            yield self.fill(name, disk, seconds=seconds)
        finally:
            self.start(name)

    def _replaced(self, name: str, seconds: float, make: Callable[[Member], str]) -> str:
        (member,) = self._members([name])
        if member.stands_for:
            raise FaultError(
                f"{member.name} stands in for {member.stands_for}.", "Heal that first."
            )
        self._guarded("replaced", [member], seconds)
        return make(member)

    def _put_back(self, name: str, among: Iterable[Member]) -> bool:
        """Take away whoever stands in for ``name``, and its small disk; whether there was anybody."""
        there = {member.fault for member in among if member.stands_for == name}
        if "disk" in there:
            disks.unfill(name)
        elif there:
            replacement.remove(name)
        return bool(there)

    def _guarded(self, kind: str, members: Iterable[Member], seconds: float) -> None:
        """Before the fault is made: who ends it when nobody else does."""
        until = guard.bounded(seconds)
        for member in members:
            note_id = _note_id(kind, member.name)
            guard.write(
                self.notes,
                guard.Note(note_id, kind, member.name, f"{member.name} is {kind}", until),
            )
            guard.post(self.notes, self.name, note_id)

    # --- what is on, and its end -----------------------------------------------------------------

    def on(self) -> list[str]:
        """What is broken now, in words."""
        among = self.members()
        found = [f"{member.name} is paused" for member in among if member.state == "paused"]
        found += [
            f"{member.stands_for} is replaced ({member.fault})"
            for member in among
            if member.stands_for and member.fault != "disk"
        ]
        replaced = {member.stands_for for member in among}
        found += [
            f"{member.name} is down"
            for member in among
            if _is_down(member) and member.name not in replaced
        ]
        if any(member.role is Role.WAN and member.state == "running" for member in among):
            found += [f"{name} is on" for name in self.network.on()]
        return found

    def heal(self) -> list[str]:
        """End every fault, whoever made it, and say what there was.

        By what is broken, not by memory: whoever is frozen, or down though meant to run, is a fault.
        """
        done = self.on()
        among = self.members()
        for original in sorted({member.stands_for for member in among if member.stands_for}):
            self._put_back(original, among)
        among = self.members()
        processes.start([one for one in among if one.state == "paused" or _is_down(one)])
        for note in guard.notes(self.notes):
            self.heal_note(note)
        if any(member.role is Role.WAN for member in among):
            self.network.heal()
        return done

    def heal_note(self, note: guard.Note) -> None:
        """End the fault of a note, and take the note away."""
        if any(member.name == note.target for member in self._present()):
            self.start(note.target)
        guard.drop(self.notes, note.id)

    def wait_healthy(self, *, seconds: float = HEALTHY_S) -> float:
        """Wait until every node sees every node up, with one schema; how long that took."""
        nodes = target.select(self.members(), roles=(Role.NODE,))
        return health.wait_whole(nodes, self.run_dir, seconds)

    def wait_ready(self, *names: str, seconds: float = HEALTHY_S) -> float:
        """Wait until these services (all, if none is named) say that they serve; how long that took."""
        among = self.members()
        services = target.select(among, roles=(Role.API, Role.SCHEDULER))
        chosen = target.named(among, names, self.name) if names else services
        return health.wait_ready(chosen, seconds)


def fault_name(kind: str) -> str:
    """A name that no other fault has."""
    return f"{kind}-{uuid.uuid4().hex[:8]}"


def _is_down(member: Member) -> bool:
    """Whether it is meant to run and does not."""
    return member.kept and member.state in ("exited", "created", "dead")


def _note_id(kind: str, container: str) -> str:
    return f"{kind}-{container}"
