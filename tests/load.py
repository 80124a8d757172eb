"""A steady load of requests on a running deployment, as its clients see it: what was given, refused, lost, and how fast.

One client is a thread with a home, whose API it calls, and a target, where its claims are to be. It asks for little, waits for the
decision, gives back what it got and asks again. So the load is bounded by its clients and never fills the hosts. A call whose
connection breaks is repeated under the same idempotency key, as the documentation tells clients to do, and counted.
"""

from __future__ import annotations

import concurrent.futures
import itertools
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from client import WAIT_S, Api
from deployment import Deployment
from lab import until

#: Stages of a request that has its claims.
PLACED = ("placed", "built")
#: Between two requests of a client.
PAUSE_S = 0.2
#: The same while nodes start beside the load for minutes: it is to be there all the time, not to take their processors.
STEADY_PAUSE_S = 8.0
#: Between two tries of a call.
RETRY_S = 0.2
#: After it a client calls a call lost; longer than the API holds one back for the decision (WAIT_S).
CALL_S = 20
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
        return self.stage in PLACED


@dataclass
class Load:
    """Clients for all pairs of ``cells``, or for each cell at home; ``tries`` grows while it runs."""

    deployment: Deployment
    token: str
    pairs: Sequence[tuple[str, str]]
    resources: dict[str, int] = field(default_factory=lambda: {"VCPU": 1})
    #: How long a request may be tried; None: as long as one decision.
    deadline_s: int | None = None
    pause_s: float = PAUSE_S
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
                self._stop.wait(self.pause_s)

    def _one(self, client: httpx.Client, home: str, target: str) -> Try:
        began = time.monotonic()
        body: dict[str, Any] = {"resources": self.resources, "cell": target, "name": "load"}
        if self.deadline_s is not None:
            body["deadline_s"] = self.deadline_s
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
                time.sleep(RETRY_S)
        if answer.is_success and self.deadline_s is not None:
            answer = _decided(client, answer, began + self.deadline_s + WAIT_S)
        took_s = time.monotonic() - began
        stage, said = _read(answer)
        if answer.is_success:
            _give_back(client, answer.json()["id"])
        return Try(home, target, began, took_s, stage, said, repeats)


def every_pair(cells: Sequence[str]) -> list[tuple[str, str]]:
    """A client in each cell for each cell."""
    return list(itertools.product(cells, cells))


def all_pairs_claim(
    api: Api, deployment: Deployment, *, seconds: float = 60
) -> dict[tuple[str, str], float]:
    """(home, target) -> seconds until a claim from there was placed there, all asked for at the same time."""
    began = time.monotonic()

    def claim(pair: tuple[str, str]) -> float:
        home, target = pair
        until(
            lambda: api.ask(home, {"resources": {"VCPU": 1}, "cell": target})["stage"] in PLACED,
            seconds=seconds,
            what=f"{home} claims in {target}",
        )
        return time.monotonic() - began

    pairs = every_pair(deployment.cells)
    with concurrent.futures.ThreadPoolExecutor(len(pairs)) as pool:
        return dict(zip(pairs, pool.map(claim, pairs), strict=True))


def claimed(api: Api, home: str, target: str, name: str = "") -> str:
    """The id of a request that was asked for at ``home`` and placed in ``target``; empty if it was not."""
    body = {"resources": {"VCPU": 1}, "cell": target} | ({"name": name} if name else {})
    answer = api.call(home, "POST", f"/v1/requests?wait={WAIT_S}s", body)
    if not answer.is_success:
        return ""
    request: dict[str, Any] = answer.json()
    api.posted.append((home, request["id"]))
    return str(request["id"]) if request["stage"] in PLACED else ""


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


def _decided(client: httpx.Client, answer: httpx.Response, deadline: float) -> httpx.Response:
    """The request when it is decided, or as it is at the deadline; its API may go away meanwhile."""
    while answer.json()["stage"] == "accepted" and time.monotonic() < deadline:
        time.sleep(RETRY_S)
        try:
            again = client.get(f"/v1/requests/{answer.json()['id']}")
        except httpx.TransportError:
            continue
        answer = again if again.is_success else answer
    return answer


def _give_back(client: httpx.Client, request_id: str) -> None:
    """Cancel, several times if the API goes away just now; what is left then is found by the checker, not lost."""
    for _ in range(10):
        try:
            if not client.delete(f"/v1/requests/{request_id}").is_server_error:
                return
        except httpx.TransportError:
            pass
        time.sleep(RETRY_S)
