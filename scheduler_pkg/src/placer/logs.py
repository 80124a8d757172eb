"""Logs: JSON lines on stderr for machines, coloured lines where a person looks on (structlog).

The standard library's loggers (the driver, uvicorn) come out in the same form.
"""

from __future__ import annotations

import logging
import sys
from typing import Any, Final

import msgspec
import structlog
from structlog.typing import Processor

from placer import diagnosis

#: Libraries that say much at INFO and nothing that an operator needs, and from where on they are heard.
#: A connection that fell silent is an error with a trace to websockets, one for each of thousands when a
#: scheduler dies; both ends say the same in a line of their own.
_QUIET: Final = {
    **dict.fromkeys(("cassandra", "httpx", "httpcore", "uvicorn"), logging.WARNING),
    "websockets": logging.CRITICAL,
}

_encode: Final = msgspec.json.Encoder(enc_hook=repr).encode


def _to_json(event: Any, **_: Any) -> str:
    return _encode(event).decode()


def configure(process: str, level: int = logging.INFO) -> None:
    """Set up logging for this process; ``process`` is on every line."""

    def name_process(_: Any, __: str, event: Any) -> Any:
        event["process"] = process
        return event

    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        diagnosis.note,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        name_process,
    ]
    ending: list[Processor] = (
        [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
        if sys.stderr.isatty()
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(_to_json)]
    )
    structlog.configure(
        processors=[*shared, *ending],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *ending],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name, heard in _QUIET.items():
        logging.getLogger(name).setLevel(heard)
