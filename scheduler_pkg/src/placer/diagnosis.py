"""What a process says of itself when something is wrong: for ``placer diag``, and on SIGUSR1.

Bounded in all its parts, made without waiting for anybody, and without secrets (placer.redaction).
"""

from __future__ import annotations

import asyncio
import itertools
import signal
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
import structlog
from msgspec import Struct

from placer import __version__, redaction
from placer.settings import Settings

log = structlog.get_logger(__name__)

_ERRORS_MAX: Final = 200
_ERROR_CHARS_MAX: Final = 4000
_TASKS_MAX: Final = 500
_FRAMES_MAX: Final = 20
_KEPT: Final = frozenset({"warning", "error", "critical", "exception"})

#: The last warnings and errors of this process, oldest first.
_errors: deque[dict[str, str]] = deque(maxlen=_ERRORS_MAX)

#: Numbers by name: how much waits where.
Depths = Callable[[], Mapping[str, int]]


class Diagnosis(Struct, frozen=True):
    """One process at one moment. ``views``: what it believes of others; ``tasks``: stacks by task."""

    process: str
    cell: str
    at_ms: int
    versions: dict[str, str]
    settings: dict[str, Any]
    depths: dict[str, int]
    views: dict[str, Any]
    errors: list[dict[str, str]]
    threads: dict[str, list[str]]
    tasks: list[list[str]]


def note(_: Any, method: str, event: Any) -> Any:
    """A step of logging: keeps what went wrong, and hands the line on as it is."""
    if method in _KEPT:
        line = {str(key): str(value)[:_ERROR_CHARS_MAX] for key, value in event.items()}
        if event.get("exc_info"):
            line["exc_info"] = _story(event["exc_info"])
        _errors.append({"level": method, **line})
    return event


def _story(error: Any) -> str:
    """The end of an exception's traceback: of ``error``, or of the one that is being handled."""
    lines = traceback.format_exception(
        error if isinstance(error, BaseException) else sys.exception()
    )
    return "".join(lines)[-_ERROR_CHARS_MAX:]


def diagnosis(settings: Settings, depths: Mapping[str, int], views: Mapping[str, Any]) -> Diagnosis:
    """This process now; to be called in its event loop."""
    plain = redaction.plain
    return Diagnosis(
        process=settings.process,
        cell=settings.cell,
        at_ms=time.time_ns() // 1_000_000,
        versions={"placer": __version__, "python": sys.version.split()[0]},
        settings=plain(msgspec.to_builtins(settings, enc_hook=str)),
        depths=dict(depths),
        views=plain(msgspec.to_builtins(dict(views))),
        errors=plain(list(_errors)),
        threads=plain(threads()),
        tasks=plain(tasks()),
    )


def threads() -> dict[str, list[str]]:
    """The stack of each thread by its name, the innermost frame last."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    return {
        f"{names.get(ident, '?')} ({ident})": _lines(traceback.extract_stack(frame))
        for ident, frame in sys._current_frames().items()
    }


def tasks() -> list[list[str]]:
    """Name and stack of each task of the running loop; of very many only some."""
    return [
        [task.get_name(), str(getattr(task.get_coro(), "__qualname__", "")), *_waits_at(task)]
        for task in itertools.islice(asyncio.all_tasks(), _TASKS_MAX)
    ]


def _waits_at(task: asyncio.Task[Any]) -> list[str]:
    """Where a task waits: through the coroutines that it awaits, the innermost last."""
    found: list[str] = []
    waits: Any = task.get_coro()
    while waits is not None and len(found) < _FRAMES_MAX:
        frame = getattr(waits, "cr_frame", None) or getattr(waits, "gi_frame", None)
        if frame is None:
            break
        found.append(f"{frame.f_code.co_filename}:{frame.f_lineno} {frame.f_code.co_name}")
        waits = getattr(waits, "cr_await", None) or getattr(waits, "gi_yieldfrom", None)
    return found


def _lines(stack: traceback.StackSummary) -> list[str]:
    return [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in stack[-_FRAMES_MAX:]]


def dump_on_signal(depths: Depths) -> None:
    """SIGUSR1 writes stacks and depths to the log from here on. To be called in the event loop.

    A loop that hangs runs no handler: then py-spy or a core tells where. Signals belong to the main
    thread: in another one nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, _dump, depths)


def _dump(depths: Depths) -> None:
    log.info(
        "diagnosis",
        depths=dict(depths()),
        threads=redaction.plain(threads()),
        tasks=redaction.plain(tasks()),
    )
