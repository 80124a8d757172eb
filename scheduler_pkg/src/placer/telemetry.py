"""Spans for OpenTelemetry, if the settings name where to send them: API calls, claims, builds, events.

Off, nothing of OpenTelemetry is imported and a span costs one comparison. On, every span has the trace id
that the call, the request and its claims carry anyway (``placer.tracing``): so what an API server, a
scheduler and an agent did for one request is one trace, although no two of them know of each other's
spans. Within a process a span that begins in another one is its child.

Spans leave in batches from a thread of their own, over HTTP as OTLP says; of more than wait for that
(``telemetry.queue_max``) the newest are dropped, and a collector that is away costs nothing else.
"""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Callable, Iterator
from typing import Any, Final, cast

from placer import __version__, tracing
from placer.errors import InvalidInput
from placer.settings import Settings

_EXTRA: Final = "placer-scheduler[telemetry]"

_tracer: Any = None
_end: Callable[[], None] | None = None


class _Ids:
    """What the SDK asks for ids: new traces have the id that the work has already.

    Not derived from its ``IdGenerator``, which is not to be imported while nothing is exported.
    """

    def generate_trace_id(self) -> int:
        return int(tracing.current() or tracing.new(), 16)

    def generate_span_id(self) -> int:
        return random.getrandbits(64) or 1

    def is_trace_id_random(self) -> bool:
        return False  # callers may bring theirs


def start(settings: Settings) -> None:
    """Export from here on, if ``telemetry.otlp_endpoint`` is set. Raises InvalidInput without the libraries."""
    global _tracer, _end
    wanted = settings.telemetry
    if not wanted.otlp_endpoint:
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise InvalidInput(
            f"telemetry.otlp_endpoint is set, and {error.name} is not installed.",
            remedy=f"Install {_EXTRA}, or leave the endpoint out.",
        ) from error

    resource = Resource(
        {
            "service.name": "placer",
            "service.version": __version__,
            "service.instance.id": settings.process,
            "service.namespace": settings.cluster.deployment,
            "placer.cell": settings.cell,
        }
    )
    exporter = OTLPSpanExporter(
        endpoint=f"{wanted.otlp_endpoint.rstrip('/')}/v1/traces", timeout=wanted.timeout_s
    )
    provider = TracerProvider(
        resource=resource, id_generator=cast(Any, _Ids()), shutdown_on_exit=False
    )
    provider.add_span_processor(
        BatchSpanProcessor(
            exporter,
            max_queue_size=wanted.queue_max,
            max_export_batch_size=min(512, wanted.queue_max),
            schedule_delay_millis=wanted.every_s * 1000,
            export_timeout_millis=wanted.timeout_s * 1000,
        )
    )
    _tracer = provider.get_tracer("placer", __version__)

    def end() -> None:
        # The provider would try each batch that waits until its own time is over: half a minute in all.
        given_up = threading.Timer(wanted.timeout_s, exporter.shutdown)
        given_up.start()
        provider.shutdown()
        given_up.cancel()

    _end = end


def stop() -> None:
    """Send what waits, within the exporter's timeout. To be called once, at the end of the process."""
    global _tracer, _end
    end, _tracer, _end = _end, None, None
    if end is not None:
        end()


@contextlib.contextmanager
def span(name: str, trace: str = "", **attributes: str | int | float | bool) -> Iterator[None]:
    """What is done inside is one span; an exception marks it as failed and goes on.

    It belongs to ``trace``, by default to the one that this task works for.
    """
    if _tracer is None:
        yield
        return
    with contextlib.ExitStack() as stack:
        if trace and trace != tracing.current():
            before = tracing.current()
            tracing.bind(trace)
            stack.callback(tracing.bind, before)
        parent = _parent()
        given = {f"placer.{key}": value for key, value in attributes.items() if value != ""}
        stack.enter_context(_tracer.start_as_current_span(name, context=parent, attributes=given))
        yield


def note(**attributes: str | int | float | bool) -> None:
    """Add what is known only later to the span that this task is in."""
    if _tracer is None:
        return
    from opentelemetry import trace

    for key, value in attributes.items():
        trace.get_current_span().set_attribute(f"placer.{key}", value)


def rename(name: str) -> None:
    """Name the span that this task is in by what is known only later."""
    if _tracer is not None:
        from opentelemetry import trace

        trace.get_current_span().update_name(name)


def _parent() -> Any:
    """The context of a new span: the present one, unless that is of another trace."""
    from opentelemetry import context, trace

    outer = trace.get_current_span().get_span_context()
    current = tracing.current()
    if current and outer.is_valid and f"{outer.trace_id:032x}" != current:
        return context.Context()
    return None
