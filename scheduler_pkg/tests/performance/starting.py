"""How long it takes from a claim to its running container, on a deployment.

python -m performance.starting [COUNT]   in scheduler_pkg/tests, with PLACER_URL and PLACER_TOKEN of `./demo env`

COUNT requests, one after the other, go to the hosts whose instances are containers of an image that the
engine has; each is cancelled when it runs. The times are those that the request's own changes bear.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from typing import Any, Final

import httpx

_BODY: Final = {
    "resources": {"VCPU": 1, "MEMORY_MB": 64},
    "required_traits": ["CUSTOM_DRIVER_DOCKER"],
}
_WAIT_S: Final = 30.0
_LOOK_S: Final = 0.05


def start_one(client: httpx.Client) -> dict[str, float]:
    """Milliseconds from the claim, and from the call, to the running container."""
    called = time.time()
    answer = client.post("/v1/requests", json=_BODY)
    answer.raise_for_status()
    path = f"/v1/requests/{answer.json()['id']}"
    try:
        while time.time() - called < _WAIT_S:
            request = client.get(path).raise_for_status().json()
            if request["stage"] == "built":
                at = {change["stage"]: change["at_ms"] for change in request["changes"]}
                return {
                    "claim_ms": at["built"] - at["placed"],
                    "call_ms": at["built"] - called * 1000,
                }
            time.sleep(_LOOK_S)
    finally:
        client.delete(path)
    raise TimeoutError(f"not running within {_WAIT_S:g} s: {request}")


def main(count: int) -> None:
    """Start, print."""
    headers = {"Authorization": f"Bearer {os.environ['PLACER_TOKEN']}"}
    with httpx.Client(
        base_url=os.environ["PLACER_URL"], headers=headers, timeout=_WAIT_S
    ) as client:
        start_one(client)  # the first finds nothing warm
        took: list[dict[str, Any]] = [start_one(client) for _ in range(count)]
    for what in ("claim_ms", "call_ms"):
        times = sorted(one[what] for one in took)
        print(  # noqa: T201
            f"{what:<10} p50 {statistics.median(times):.0f}, p95 {times[int(len(times) * 0.95)]:.0f}"
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
