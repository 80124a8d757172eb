"""The native API of a deployment as tests use it: every cell's, with what they made taken back.

What is asked of requests and answered goes into a history of this process, for ``placer check``: in the
directory that PLACER_TEST_HISTORY names, else with the results of the deployment's own check, if there
are any.
"""

from __future__ import annotations

import atexit
import concurrent.futures
import contextlib
import functools
import os
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from deployment import Deployment
from lab import until
from placer import tracing
from placer.history import Answer, ClientHistory, Operation, OperationKind

OPEN = ("accepted", "cancelling")
ENDED = ("refused", "failed", "cancelled")
CANCELS_AT_ONCE = 8
#: What a test's requests may take to go, all together.
GONE_S = 10.0
#: What one decision may take, waits for others included.
DECIDED_S = 30.0
DECIDED = ("placed", "built", "refused", "failed")
#: What the API holds a call back for the decision. Asking again and again would be a load of its own.
WAIT_S = 15
BUILT_S = 30.0
#: Until every process uses every node of a cluster that is whole.
USED_S = 15.0

#: One for all calls: each client of its own would read the authorities' certificates first, which takes twenty times what the
#: call does. A new connection for each call, as servers come and go here.
HTTP = httpx.Client(
    timeout=40, limits=httpx.Limits(max_connections=None, max_keepalive_connections=0)
)

#: Where the deployment's own check looks for histories of clients, below its run directory.
RESULTS = Path("services") / "results"


@functools.cache
def history(deployment: Deployment) -> ClientHistory:
    """This process's own; it writes nothing where there is no place for it."""
    given = os.environ.get("PLACER_TEST_HISTORY")
    results = deployment.run_dir / RESULTS
    directory = Path(given) if given else None
    if directory is None and os.access(results, os.W_OK):
        directory = results / "history"
    opened = ClientHistory(directory, f"tests-{secrets.token_hex(4)}")
    atexit.register(opened.close)
    return opened


def sent(deployment: Deployment, cell: str, method: str, path: str, body: Any) -> Operation | None:
    """A call of a request as its history has it; None for any other call."""
    before, _, request = path.partition("?")[0].partition("/v1/requests")
    if before or "/" in request.removeprefix("/") or (not request and method != "POST"):
        return None
    kinds = {
        "POST": OperationKind.CLAIM,
        "GET": OperationKind.READ,
        "DELETE": OperationKind.RELEASE,
    }
    asked = body if isinstance(body, dict) else {}
    resources, count = asked.get("resources"), asked.get("count", 1)
    return history(deployment).sent(
        kinds[method],
        cell,
        request=request.removeprefix("/"),
        resources=resources if isinstance(resources, dict) else {},
        of=count if isinstance(count, int) else 1,
    )


def answered(recorded: ClientHistory, operation: Operation, answer: httpx.Response) -> None:
    """What a request's call was told: a request, a no, or that nobody knows."""
    try:
        told = answer.json()
    except ValueError:
        told = {}
    if answer.is_success and "stage" in told:
        recorded.answered(
            operation,
            Answer.OK,
            request=told["id"],
            rev=told["rev"],
            stage=told["stage"],
            claims=tuple(placement["claim"] for placement in told.get("placements", ())),
        )
        return
    # What the API itself turns away was not done; of a failing service nobody knows.
    errors = told.get("errors", ()) if isinstance(told, dict) else ()
    code = errors[0].get("code", "") if errors else f"http_{answer.status_code}"
    no = answer.is_client_error or code == "placer.overloaded"
    recorded.answered(operation, Answer.REFUSED if no else Answer.UNKNOWN, code=code)


@dataclass
class Api:
    """Calls to the API of a cell; remembers the requests it posted."""

    deployment: Deployment
    token: str
    posted: list[tuple[str, str]] = field(default_factory=list)

    def call(
        self, cell: str, method: str, path: str, body: Any = None, **headers: str
    ) -> httpx.Response:
        operation = sent(self.deployment, cell, method, path, body)
        trace = {tracing.HEADER: tracing.header(operation.trace)} if operation else {}
        try:
            answer = HTTP.request(
                method,
                self.deployment.api_urls[cell] + path,
                json=body,
                headers={"Authorization": f"Bearer {self.token}"} | trace | headers,
            )
        except httpx.HTTPError as error:
            if operation:
                history(self.deployment).answered(
                    operation, Answer.UNKNOWN, code=type(error).__name__
                )
            raise
        if operation:
            answered(history(self.deployment), operation, answer)
        return answer

    def get(self, cell: str, path: str) -> Any:
        answer = self.call(cell, "GET", path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def put(self, cell: str, path: str, body: Any) -> Any:
        answer = self.call(cell, "PUT", path, body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(
        self, cell: str, body: dict[str, Any], query: str = "", **headers: str
    ) -> dict[str, Any]:
        """A request, as accepted, or as it is after the wait that ``query`` asks for."""
        answer = self.call(cell, "POST", f"/v1/requests{query}", body, **headers)
        assert answer.status_code in (200, 202), answer.text
        request: dict[str, Any] = answer.json()
        self.posted.append((cell, request["id"]))
        return request

    def request(self, cell: str, request_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.get(cell, f"/v1/requests/{request_id}")
        return found

    def reaches(
        self, cell: str, request_id: str, *stages: str, seconds: float = BUILT_S
    ) -> dict[str, Any]:
        """The request once it is in one of ``stages``."""

        def there() -> dict[str, Any] | None:
            found = self.request(cell, request_id)
            return found if found["stage"] in stages else None

        try:
            found: dict[str, Any] = until(
                there, seconds=seconds, what=f"{request_id} is {' or '.join(stages)}"
            )
        except AssertionError as error:
            error.add_note(f"it is {self.request(cell, request_id)}")
            raise
        return found

    def ask(self, cell: str, body: dict[str, Any], **headers: str) -> dict[str, Any]:
        """A request with its decision: placed, built, refused or failed."""
        asked = self.post(cell, body, f"?wait={WAIT_S}s", **headers)
        if asked["stage"] in DECIDED:
            return asked
        return self.reaches(cell, asked["id"], *DECIDED, seconds=DECIDED_S)

    def group(self, cell: str, policy: str, scope: str) -> str:
        """A new server group's id."""
        body = {"name": f"test-{policy}-{scope}", "policy": policy, "scope": scope}
        answer = self.call(cell, "POST", "/v1/server-groups", body)
        assert answer.status_code == 201, answer.text
        group: str = answer.json()["id"]
        return group

    def hosts(self, cell: str, trait: str) -> dict[str, dict[str, Any]]:
        """Hosts of ``cell`` that have ``trait``, by name."""
        found: dict[str, dict[str, Any]] = {}
        path = f"/v1/hosts?cell={cell}&limit=1000"
        while path:
            page = self.get(cell, path)
            for host in page["hosts"]:
                if any(trait in traits for traits in host.get("providers", {}).values()):
                    found[host["name"]] = host
            path = next((link["href"] for link in page["links"] if link["rel"] == "next"), "")
        return found

    def free(self, cell: str, trait: str, resource_class: str) -> int:
        """What is free of a class on all hosts of ``cell`` that have ``trait``."""
        return sum(
            amount
            for host in self.hosts(cell, trait).values()
            for slot, amount in host["free"].items()
            if slot.rpartition("/")[2] == resource_class
        )

    def unused_nodes(self, cell: str) -> dict[str, list[str]]:
        """Processes that still take a node for down after ``USED_S``, and these nodes, by their own account."""
        deadline = time.monotonic() + USED_S
        while True:
            found = self._down(cell)
            if not found or time.monotonic() >= deadline:
                return found
            time.sleep(0.5)

    def _down(self, cell: str) -> dict[str, list[str]]:
        found = {}
        for service in self.get(cell, "/v1/services")["services"]:
            if service["kind"] in ("api", "scheduler"):
                name = service["name"]
                said = self.get(cell, f"/v1/services/{name}/diagnosis")["views"]["cassandra"]
                found[name] = [
                    node for of in said.values() for node, is_up in of.items() if is_up == "down"
                ]
        assert found, "no process serves"
        return {name: nodes for name, nodes in found.items() if nodes}

    def cancel(self, cell: str, request_id: str) -> httpx.Response:
        return self.call(cell, "DELETE", f"/v1/requests/{request_id}")

    @contextlib.contextmanager
    def taking_back(self) -> Iterator[Api]:
        """Cancel on leaving whatever was posted, and wait a while until it is gone.

        What is left half cancelled is work that the next test's schedulers begin with. Where a test
        took an agent away for good there will be something left: nothing fails for that.
        """
        try:
            yield self
        finally:
            posted, self.posted = self.posted, []
            # Some at once: each is a transaction or two, in another region as often as not.
            with concurrent.futures.ThreadPoolExecutor(CANCELS_AT_ONCE) as pool:
                list(pool.map(lambda one: self.cancel(*one), posted))
            self._await_ends(posted)

    def _await_ends(self, posted: list[tuple[str, str]]) -> None:
        """Until all of these requests are at their end, or ``GONE_S`` are over."""
        deadline = time.monotonic() + GONE_S
        for cell, request_id in posted:
            while time.monotonic() < deadline:
                answer = self.call(cell, "GET", f"/v1/requests/{request_id}")
                if not answer.is_success or answer.json()["stage"] in ENDED:
                    break
                time.sleep(0.1)
