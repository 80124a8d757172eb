"""Spans: off they cost nothing and import nothing; on, those of one request are one trace everywhere."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from placer import telemetry, tracing
from placer.model.request import Stage
from placer.settings import Cell, Cluster, Settings, Telemetry

from ...simulation.clock import run_simulated
from ...simulation.moving_world import MovingWorld
from ..agents.fakes import Bench, claim, until
from .conftest import Api

TRACE: Final = "4bf92f3577b34da6a3ce929d0e0e4736"


class Collector:
    """An OTLP receiver on a port of its own; ``spans`` are those that came, with their processes."""

    def __init__(self) -> None:
        self.spans: list[tuple[str, str, str]] = []
        self.children: dict[str, bool] = {}
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                collector.take(self.path, self.headers.get("Content-Encoding", ""), body)
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: Any) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def take(self, path: str, encoding: str, body: bytes) -> None:
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
            ExportTraceServiceRequest,
        )

        assert (path, encoding) == ("/v1/traces", "")
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            process = {a.key: a.value.string_value for a in resource.resource.attributes}
            for scope in resource.scope_spans:
                for span in scope.spans:
                    self.spans.append(
                        (process["service.instance.id"], span.name, span.trace_id.hex())
                    )
                    self.children[span.name] = bool(span.parent_span_id)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def settings(process: str, url: str = "") -> Settings:
    cluster = Cluster("test", (Cell("c1", "r1", "c1", ()),))
    return Settings(
        process, "c1", cluster, Path("unused"), telemetry=Telemetry(url, every_s=0.1, timeout_s=1.0)
    )


@pytest.fixture
def collector() -> Iterator[Collector]:
    pytest.importorskip("opentelemetry.sdk", reason="the extra telemetry is not installed")
    made = Collector()
    yield made
    made.close()


@contextmanager
def exporting(process: str, collector: Collector) -> Iterator[None]:
    """What is done inside is done by ``process``."""
    telemetry.start(settings(process, collector.url))
    try:
        yield
    finally:
        telemetry.stop()
        tracing.bind("")


def test_one_request_is_one_trace(api: Api, collector: Collector, tmp_path: Path) -> None:
    """Its call at the API, its claim and its events at a scheduler, its build at an agent."""
    header = {tracing.HEADER: f"00-{TRACE}-00f067aa0ba902b7-01"}
    with exporting("c1-api-1", collector):
        answer = api.client.post("/v1/requests", json={"resources": {"VCPU": 1}}, headers=header)
    assert answer.json()["trace"] == TRACE

    async def schedule() -> None:
        world = MovingWorld(1)
        world.start("c1", 0)
        loops = [asyncio.create_task(loop) for loop in (world.agents(), world.sweeps())]
        await world.host("h1")
        tracing.bind(TRACE)
        asked = await world.ask()
        await world.until(lambda: world.stored(asked).stage is Stage.BUILT, 20, "built")
        for task in loops:
            task.cancel()
        for process in world.processes.values():
            process.die()
        await asyncio.sleep(0)

    with exporting("c1-scheduler-1", collector):
        run_simulated(schedule())

    async def build() -> None:
        bench = Bench(tmp_path)
        bench.world.put("h1", msgspec.structs.replace(claim("k1"), trace=TRACE))
        async with bench.running():
            await until(lambda: ("built", "k1") in bench.listed, "k1 is built")

    with exporting("c1-agent-1", collector):
        asyncio.run(build())

    assert {
        ("c1-api-1", "POST /v1/requests", TRACE),
        ("c1-scheduler-1", "claim", TRACE),
        ("c1-scheduler-1", "event instance.running", TRACE),
        ("c1-agent-1", "build", TRACE),
    } <= set(collector.spans)
    assert not [s for s in collector.spans if s[1] in ("claim", "build") and s[2] != TRACE]


def test_spans_of_one_trace_are_nested_and_those_of_another_are_not(collector: Collector) -> None:
    """What belongs to another request is no child of the one that happened to write it."""
    other = tracing.new()
    with exporting("p", collector):
        tracing.bind(TRACE)
        with telemetry.span("outer"):
            with telemetry.span("inner"):
                telemetry.note(rows=3)
            with telemetry.span("another's", other):
                assert tracing.current() == other
            assert tracing.current() == TRACE
    assert sorted((name, trace) for _, name, trace in collector.spans) == [
        ("another's", other),
        ("inner", TRACE),
        ("outer", TRACE),
    ]
    assert collector.children == {"outer": False, "inner": True, "another's": False}


def test_a_collector_that_is_away_costs_nothing_else(collector: Collector) -> None:
    """The work goes on and its errors are its own; the process ends in time."""
    collector.close()
    started = time.monotonic()
    with exporting("p", collector):
        for number in range(5000):
            with telemetry.span("work", number=number):
                pass
        with pytest.raises(ValueError, match="mine"), telemetry.span("fails"):
            raise ValueError("mine")
    assert time.monotonic() - started < 10  # a container is given as long to stop


def test_off_it_imports_nothing() -> None:
    """Nor does a span do anything."""
    code = """if True:
        import sys
        from pathlib import Path
        from placer import telemetry
        from placer.settings import Cell, Cluster, Settings
        cluster = Cluster("test", (Cell("c1", "r1", "c1", ()),))
        telemetry.start(Settings("p", "c1", cluster, Path("unused")))
        with telemetry.span("x", number=1):
            telemetry.note(y=1)
            telemetry.rename("z")
        telemetry.stop()
        assert not [name for name in sys.modules if "opentelemetry" in name]
    """
    path = {"PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ | path)
