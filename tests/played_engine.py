"""A Docker Engine that is played, for the modules of the roles as Ansible runs them."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

RUN_S = 60
VERSION = {"ApiVersion": "1.41", "Version": "20.10.24"}


class PlayedEngine(BaseHTTPRequestHandler):
    """What each part of Docker's API shares. Asked for its version, it is to ``answer`` with ``VERSION``."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None: ...

    def answer(self, status: int, content: object) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextlib.contextmanager
def serving(engine: type[PlayedEngine]) -> Iterator[str]:
    """The address of such an engine, for a module's ``docker_host``."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), engine)
    server.daemon_threads = True  # one may be asleep
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"tcp://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def run_module(module: Path, arguments: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """(status, answer) of a module that is given ``arguments``."""
    done = subprocess.run(
        [sys.executable, str(module)],
        input=json.dumps({"ANSIBLE_MODULE_ARGS": arguments}),
        capture_output=True,
        text=True,
        timeout=RUN_S,
        check=False,
    )
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)
