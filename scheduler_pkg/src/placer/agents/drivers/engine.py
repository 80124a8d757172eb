"""One door to the Docker Engine: the SDK's blocking calls in a few threads, its errors as ours.

A call that is given up (cancelled, or the engine is silent) may still reach the engine: its thread
goes on until the SDK's own timeout. ``Engine.settled`` waits for it.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final, TypeVar

import docker
from docker.errors import APIError, DockerException
from requests.exceptions import RequestException

from placer.agents.drivers.base import BuildFailed, DriverError, DriverSilent
from placer.errors import InvalidInput
from placer.settings import Docker

T = TypeVar("T")

_NOT_FOUND: Final = 404
_CONFLICT: Final = 409
_FULL: Final = "no space left on device"


class Missing(DriverError):
    """The engine has no such thing."""


class Exists(DriverError):
    """The engine has such a thing already, or is about to remove it."""


class DiskFull(BuildFailed):
    """The disk of the engine is full; nothing was made."""

    code = "agent.disk_full"


class Engine:
    """A Docker Engine behind a local socket."""

    def __init__(self, settings: Docker) -> None:
        if not settings.url.startswith("unix://"):
            raise InvalidInput(
                f"agent.docker.url is {settings.url!r}.",
                remedy="Use the engine's local socket: unix:///var/run/docker.sock.",
            )
        self._settings = settings
        self._client: docker.APIClient | None = None
        self._connecting = threading.Lock()
        self._threads = ThreadPoolExecutor(settings.calls_max, thread_name_prefix="engine")
        # The last call for each thing that has one under way; bounded by ``calls_max`` and what waits.
        self._open: dict[str, Future[Any]] = {}

    async def ask(self, about: str, call: Callable[[docker.APIClient], T]) -> T:
        """What ``call`` returns. ``about`` names the thing it is about, for ``settled``."""
        future = self._threads.submit(self._do, call)
        self._open[about] = future
        try:
            return await asyncio.wrap_future(future)
        finally:
            if future.done() and self._open.get(about) is future:
                del self._open[about]

    async def settled(self, about: str) -> None:
        """Wait until no earlier call about this thing is under way, whoever gave it up."""
        future = self._open.get(about)
        if future is not None and not future.done():
            waiter = asyncio.wrap_future(future)
            waiter.add_done_callback(lambda done: done.cancelled() or done.exception())
            await asyncio.wait({waiter})
        if self._open.get(about) is future:
            self._open.pop(about, None)

    def close(self) -> None:
        """Wait for no thread: what is under way ends with the process."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        if self._client is not None:
            self._client.close()

    def _do(self, call: Callable[[docker.APIClient], T]) -> T:
        try:
            return call(self._connected())
        except (DockerException, RequestException, OSError) as error:
            raise self._translated(error) from error

    def _connected(self) -> docker.APIClient:
        """The client; made at the first call, as making it asks the engine for its version."""
        with self._connecting:
            if self._client is None:
                self._client = docker.APIClient(
                    base_url=self._settings.url,
                    version="auto",
                    timeout=self._settings.call_timeout_s,
                    max_pool_size=self._settings.calls_max,
                )
            return self._client

    def _translated(self, error: Exception) -> DriverError:
        """The one place where the SDK's errors become ours."""
        if not isinstance(error, APIError) or error.response is None:
            return DriverSilent(
                f"The Docker Engine at {self._settings.url} does not answer: {error}.",
                remedy="Is it running, and may this process use its socket?",
            )
        said = str(error.explanation or error).strip()
        if _FULL in said.lower():
            return DiskFull(
                f"The disk of the Docker Engine is full: {said}.",
                remedy="Free space below its root directory, e.g. by docker system prune.",
            )
        kinds = {_NOT_FOUND: Missing, _CONFLICT: Exists}
        return kinds.get(error.response.status_code, DriverError)(f"The Docker Engine: {said}.")
