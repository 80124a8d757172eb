"""A steady load of requests on a running deployment, as its clients see it: what was given, refused, lost, and how fast.

One client is a thread with a home, whose API it calls, and a target, where its claims are to be. It asks for little, waits for the
decision, gives back what it got and asks again. So the load is bounded by its clients and never fills the hosts. A call whose
connection breaks is repeated under the same idempotency key, as the documentation tells clients to do, and counted.
"""

from __future__ import annotations

import itertools
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from deployment import Deployment

#: What a call is held back for a decision, and after which a client calls it lost.
WAIT_S = 15
CALL_S = 20
PAUSE_S = 0.2
#: How long a call whose connection breaks is repeated.
REPEAT_S = 30
#: A load that nobody stops ends by itself.
RUN_S_MAX = 1800


@dataclass(frozen=True)
class Try:
    """One request of a client. ``at``: seconds of the monotonic clock; ``stage``: of the request, or ``lost``."""

    home: str
    target: str
    at: float
    took_s: float
    stage: str
    said: str
    repeats: int

    @property
    def placed(self) -> bool:
        return self.stage in ("placed", "built")


@dataclass
class Load:
    """Clients for all pairs of ``cells``, or for each cell at home; ``tries`` grows while it runs."""

    deployment: Deployment
    token: str
    pairs: Sequence[tuple[str, str]]
    resources: dict[str, int] = field(default_factory=lambda: {"VCPU": 1})
    tries: list[Try] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def running(self) -> Iterator[Load]:
        """Under load; on leaving every client has ended its last request and given back what it got."""
        self._stop.clear()
        urls = dict(self.deployment.api_urls)
        threads = [
            threading.Thread(target=self._client, args=(urls[home], home, target), daemon=True)
            for home, target in self.pairs
        ]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            for thread in threads:
                thread.join(timeout=REPEAT_S + 2 * CALL_S)

    def since(self, at: float, until: float | None = None) -> list[Try]:
        """Tries that began from ``at`` on and, with ``until``, had ended by then."""
        return [
            one
            for one in list(self.tries)
            if one.at >= at and (until is None or one.at + one.took_s <= until)
        ]

    def _client(self, url: str, home: str, target: str) -> None:
        ends = time.monotonic() + RUN_S_MAX
        headers = {"Authorization": f"Bearer {self.token}"}
        with httpx.Client(base_url=url, headers=headers, timeout=CALL_S) as client:
            while not self._stop.is_set() and time.monotonic() < ends:
                self.tries.append(self._one(client, home, target))
                self._stop.wait(PAUSE_S)

    def _one(self, client: httpx.Client, home: str, target: str) -> Try:
        began = time.monotonic()
        body = {"resources": self.resources, "cell": target, "name": "load"}
        key = {"Idempotency-Key": str(uuid.uuid4())}
        for repeats in itertools.count():
            try:
                answer = client.post(
                    "/v1/requests", params={"wait": f"{WAIT_S}s"}, json=body, headers=key
                )
                break
            except httpx.TransportError as error:
                took_s = time.monotonic() - began
                if took_s > REPEAT_S:
                    said = f"{type(error).__name__}: {error}"
                    return Try(home, target, began, took_s, "lost", said, repeats)
                time.sleep(PAUSE_S)
        took_s = time.monotonic() - began
        stage, said = _read(answer)
        if answer.is_success:
            _give_back(client, answer.json()["id"])
        return Try(home, target, began, took_s, stage, said, repeats)


def every_pair(deployment: Deployment) -> list[tuple[str, str]]:
    """A client in each cell for each cell."""
    return list(itertools.product(deployment.cells, deployment.cells))


def summary(tries: Sequence[Try]) -> str:
    """Counts, the slowest, and what the first of those that were not placed heard."""
    bad = [one for one in tries if not one.placed]
    slowest = max((one.took_s for one in tries), default=0.0)
    repeats = sum(one.repeats for one in tries)
    told = "".join(
        f"\n  {one.home} -> {one.target} after {one.took_s:.1f} s: {one.stage} {one.said}"
        for one in bad[:10]
    )
    return f"{len(tries)} asked, {len(bad)} not placed, {repeats} calls repeated, slowest {slowest:.2f} s{told}"


def _read(answer: httpx.Response) -> tuple[str, str]:
    """Stage and reason of what an API answered."""
    if not answer.is_success:
        return "error", f"{answer.status_code} {answer.text[:500]}"
    request: dict[str, Any] = answer.json()
    return request["stage"], str(request.get("reason") or "")


def _give_back(client: httpx.Client, request_id: str) -> None:
    """Cancel, several times if the API goes away just now; what is left then is found by the checker, not lost."""
    for _ in range(10):
        try:
            if not client.delete(f"/v1/requests/{request_id}").is_server_error:
                return
        except httpx.TransportError:
            pass
        time.sleep(PAUSE_S)
