"""Clients of all regions: claims at home and abroad, scarce ones, manifests, cancels, moves and deletes.

A client is a thread with a generator of its own, seeded, so that a seed asks for the same again. It holds
a bounded number of requests and gives back what is more. Nothing it holds outlives the run: everything is
of one project, whose requests are cancelled at the end, also those whose answer was lost.
"""

from __future__ import annotations

import random
import threading
import time
import uuid
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import httpx

from chaos.seen import Operation, Outcome
from client import ENDED, Api

#: What the API may hold a call back for its decision, and a client waits in all.
WAIT_S = 8
THINK_S = (0.05, 0.4)
HELD_MAX = 6
STOP_S = 60.0
#: Of a hundred operations; what is left of them are claims at home.
SHARES = {
    "claim-abroad": 14,
    "claim-scarce": 10,
    "manifest": 8,
    "cancel": 18,
    "move": 6,
    "delete": 6,
}
SCARCE = {"CUSTOM_BAREMETAL": 1}


@dataclass(frozen=True)
class Held:
    """A request that a client has got, and one of its instances."""

    id: str
    region: str
    instance: str


@dataclass
class Load:
    """``clients`` threads a cell; ``operations`` grows while it runs."""

    api: Api
    regions: Mapping[str, str]
    """Cell -> region."""
    project: str
    seed: int
    clients: int = 2
    operations: list[Operation] = field(default_factory=list)
    groups: list[tuple[str, str]] = field(default_factory=list)
    """Server groups that manifests were asked for with, each with its cell."""
    _stop: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def running(self) -> Iterator[Load]:
        """Under load; on leaving every client has ended its last operation."""
        threads = [
            threading.Thread(target=Client(self, cell, number).run, daemon=True)
            for cell in sorted(self.regions)
            for number in range(self.clients)
        ]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            deadline = time.monotonic() + STOP_S
            for thread in threads:
                thread.join(timeout=max(deadline - time.monotonic(), 0.1))

    @property
    def stopped(self) -> threading.Event:
        return self._stop

    def take_back(self, seconds: float) -> int:
        """Cancel every open request of the project, in every cell; how many are not at their end then."""
        deadline = time.monotonic() + seconds
        left = self._unfinished()
        while left and time.monotonic() < deadline:
            for cell, request_id in left:
                if request_id:
                    self._try(cell, f"/v1/requests/{request_id}")
            time.sleep(0.5)
            left = self._unfinished()
        for cell, group in self.groups:
            self._try(cell, f"/v1/server-groups/{group}")
        return len(left)

    def _try(self, cell: str, path: str) -> None:
        """Delete; whether it worked is seen in what is left."""
        with suppress(httpx.HTTPError):
            self.api.call(cell, "DELETE", path)

    def _unfinished(self) -> list[tuple[str, str]]:
        """Cell and id of each request that is not at its end; a cell that does not answer has one, without id."""
        found = []
        for cell in self.regions:
            try:
                found += [(cell, one) for one in self._open_in(cell)]
            except (httpx.HTTPError, AssertionError):
                found.append((cell, ""))
        return found

    def _open_in(self, cell: str) -> Iterator[str]:
        path = f"/v1/requests?project={self.project}&limit=1000"
        while path:
            page = self.api.get(cell, path)
            yield from (one["id"] for one in page["requests"] if one["stage"] not in ENDED)
            path = next((to["href"] for to in page["links"] if to["rel"] == "next"), "")


class Client:
    """One client: its home, its chances, what it holds."""

    def __init__(self, load: Load, home: str, number: int) -> None:
        self._load = load
        self._home = home
        self._region = load.regions[home]
        self._abroad = sorted(cell for cell in load.regions if cell != home)
        self._name = f"client-{home}-{number}"
        self._chance = random.Random(f"{load.seed} {self._name}")
        self._held: deque[Held] = deque()

    def run(self) -> None:
        """Operate until told to stop."""
        while not self._load.stopped.is_set():
            self._step()
            self._load.stopped.wait(self._chance.uniform(*THINK_S))

    def _step(self) -> None:
        match self._choose():
            case "claim-abroad" if self._abroad:
                self._claim("claim", [self._chance.choice(self._abroad)], {"VCPU": 1}, plenty=True)
            case "claim-scarce":
                self._claim(
                    "claim-scarce", [self._chance.choice(sorted(self._load.regions))], SCARCE
                )
            case "manifest" if self._abroad:
                self._manifest()
            case "cancel" if self._held:
                self._cancel(self._held.popleft())
            case "move" if self._held:
                self._act(self._held[0], "move")
            case "delete" if self._held:
                self._act(self._held.popleft(), "delete")
            case _:
                self._claim("claim", [self._home], {"VCPU": 1}, plenty=True)

    def _choose(self) -> str:
        if len(self._held) >= HELD_MAX:
            return "cancel"
        drawn = self._chance.randrange(100)
        for kind, share in SHARES.items():
            if drawn < share:
                return kind
            drawn -= share
        return "claim"

    def _claim(
        self, kind: str, cells: Sequence[str], resources: dict[str, int], *, plenty: bool = False
    ) -> None:
        self._ask(kind, cells, {"resources": resources, "cell": cells[0]}, plenty=plenty)

    def _manifest(self) -> None:
        """An instance in each cell, or none at all; in a group of its own, as one that is used is full."""
        body = {"name": self._name, "policy": "anti-affinity", "scope": "cell"}
        body["project"] = self._load.project
        made = self._call("group", (self._region,), "POST", "/v1/server-groups", body)
        if made is None:
            return
        self._load.groups.append((self._home, made["id"]))
        cells = sorted(self._load.regions)
        asked = {"cells": cells, "count": len(cells), "server_group": made["id"]}
        self._ask("manifest", cells, {"resources": {"VCPU": 1}, **asked})

    def _ask(
        self, kind: str, cells: Sequence[str], body: dict[str, Any], *, plenty: bool = False
    ) -> None:
        """Post a request, under a key of its own, and keep what was placed."""
        targets = tuple(self._load.regions[cell] for cell in cells)
        key = uuid.UUID(int=self._chance.getrandbits(128), version=4)
        answer = self._call(
            kind,
            targets,
            "POST",
            f"/v1/requests?wait={WAIT_S}s",
            body | {"project": self._load.project},
            plenty=plenty,
            headers={"Idempotency-Key": str(key)},
        )
        if answer is not None and answer.get("stage") in ("placed", "built"):
            first = answer["placements"][0]
            self._held.append(Held(answer["id"], targets[0], first["instance"]))

    def _cancel(self, held: Held) -> None:
        self._call("cancel", (held.region,), "DELETE", f"/v1/requests/{held.id}")

    def _act(self, held: Held, action: str) -> None:
        body = {"action": action, "by": self._name, "why": "chaos"}
        path = f"/v1/instances/{held.instance}/actions"
        self._call(action, (held.region,), "POST", path, body)

    def _call(
        self,
        kind: str,
        targets: tuple[str, ...],
        method: str,
        path: str,
        body: Any = None,
        *,
        plenty: bool = False,
        headers: Mapping[str, str] | None = None,
    ) -> dict[str, Any] | None:
        """One call, recorded; its answer if it was a yes."""
        began = time.monotonic()
        found: dict[str, Any] | None = None
        try:
            answer = self._load.api.call(self._home, method, path, body, **dict(headers or {}))
            outcome, code, found = judged(answer)
        except httpx.HTTPError as error:
            outcome, code = Outcome.UNKNOWN, type(error).__name__
        self._load.operations.append(
            Operation(
                self._name,
                self._region,
                kind,
                targets,
                began,
                time.monotonic(),
                outcome,
                code,
                plenty,
            )
        )
        return found if outcome is Outcome.OK else None


def judged(answer: httpx.Response) -> tuple[Outcome, str, dict[str, Any] | None]:
    """What an answer says: yes, no with its code, or nothing that could be relied on."""
    try:
        found = answer.json()
    except ValueError:
        return Outcome.UNKNOWN, f"{answer.status_code} without JSON", None
    if answer.is_success:
        stage = found.get("stage", "")
        if stage == "refused":
            return Outcome.REFUSED, str((found.get("reason") or {}).get("code", "")), found
        if stage in ("accepted", "failed"):
            return Outcome.UNKNOWN, stage, found
        return Outcome.OK, stage, found
    code = str((found.get("errors") or [{}])[0].get("code", answer.status_code))
    return (Outcome.UNKNOWN if answer.is_server_error else Outcome.REFUSED), code, None
