"""Which containers a deploy looks at more closely: the module labelled_info on an engine that is played here, and the action."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from roles.docker.action_plugins import labelled_container

MODULE = Path(__file__).resolve().parents[2] / "roles/docker/library/labelled_info.py"
LABELS = ["io.placer.deployment=demo", "io.placer.role=cassandra"]
ARGUMENTS: dict[str, Any] = {
    "name": "demo-nyc1-r1",
    "image": "placer/cassandra:5.0.9",
    "memory": "512m",
    "labels": {"io.placer.deployment": "demo"},
}


class Engine(BaseHTTPRequestHandler):
    """Docker's API as far as the module needs it: two containers of the image `node`, one of which goes away when it is looked at."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None: ...

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        path = url.path.removeprefix("/v1.41")
        asked = json.loads(parse_qs(url.query).get("filters", ["{}"])[0]).get("label")
        if path.endswith("/version"):
            self.answer({"ApiVersion": "1.41", "Version": "20.10.24"})
        elif path == "/containers/json":
            self.answer([{"Id": "1"}, {"Id": "2"}, {"Id": "3"}] if asked == LABELS else [])
        elif path in ("/containers/1/json", "/containers/2/json"):
            self.answer(container("node" if path == "/containers/1/json" else "gone"))
        elif path == "/images/node/json":
            self.answer({"Id": "sha256:new"})
        elif path == "/volumes":
            self.answer({"Volumes": [{"Name": "demo-nyc1-r1-data"}] if asked == LABELS else None})
        else:
            self.answer({"message": f"no such thing: {path}"}, 404)

    def answer(self, body: Any, status: int = 200) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def container(image: str) -> dict[str, Any]:
    """As the engine describes one that was made of the present image of this name."""
    return {
        "Name": f"/demo-{image}",
        "Image": "sha256:new",
        "State": {"Running": True, "StartedAt": "2026-01-31T12:00:00Z"},
        "Config": {"Image": image, "Labels": {"io.placer.role": "cassandra"}},
    }


@pytest.fixture
def engine() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Engine)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"tcp://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def asked(engine: str, labels: list[str]) -> dict[str, Any]:
    arguments = {"ANSIBLE_MODULE_ARGS": {"labels": labels, "docker_host": engine}}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(MODULE)],
        input=json.dumps(arguments),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    answer: dict[str, Any] = json.loads(done.stdout or done.stderr)
    return answer


def test_what_carries_the_labels_is_found(engine: str) -> None:
    answer = asked(engine, LABELS)
    assert answer["changed"] is False
    assert answer["volumes"] == ["demo-nyc1-r1-data"]
    assert set(answer["containers"]) == {"demo-node", "demo-gone"}
    assert answer["containers"]["demo-node"] == {
        "State": {"Running": True, "StartedAt": "2026-01-31T12:00:00Z"},
        "Labels": {"io.placer.role": "cassandra"},
        "image_current": True,
    }


def test_an_image_that_lost_its_name_is_not_current(engine: str) -> None:
    assert asked(engine, LABELS)["containers"]["demo-gone"]["image_current"] is False


def test_an_engine_without_any_has_none(engine: str) -> None:
    answer = asked(engine, ["io.placer.deployment=other"])
    assert (answer["containers"], answer["volumes"]) == ({}, [])


def test_an_engine_that_does_not_answer_is_a_failure() -> None:
    assert asked("tcp://127.0.0.1:1", LABELS)["failed"] is True


def found(**differences: Any) -> dict[str, Any]:
    """A container as labelled_info finds it, made of ARGUMENTS."""
    return {
        "State": {"Running": True},
        "Labels": {labelled_container.LABEL: labelled_container.digest(ARGUMENTS)},
        "image_current": True,
    } | differences


def test_a_container_that_was_made_of_the_same_is_as_it_should_be() -> None:
    wanted = labelled_container.digest(dict(reversed(ARGUMENTS.items())))
    assert labelled_container.as_it_should_be(found(), wanted)


@pytest.mark.parametrize(
    "there",
    [
        pytest.param(None, id="none"),
        pytest.param(found(State={"Running": False}), id="stopped"),
        pytest.param(found(image_current=False), id="of an older image"),
        pytest.param(found(Labels={}), id="of an unknown make"),
        pytest.param(found(Labels=None), id="without labels"),
    ],
)
def test_one_that_is_not_is_looked_at(there: dict[str, Any] | None) -> None:
    assert not labelled_container.as_it_should_be(there, labelled_container.digest(ARGUMENTS))


@pytest.mark.parametrize("name", sorted(ARGUMENTS))
def test_any_other_argument_is_another_make(name: str) -> None:
    other = labelled_container.digest(ARGUMENTS | {name: "other"})
    assert not labelled_container.as_it_should_be(found(), other)
    assert not labelled_container.as_it_should_be(
        found(), labelled_container.digest({k: v for k, v in ARGUMENTS.items() if k != name})
    )


def test_a_restart_does_not_make_it_another() -> None:
    asked_to_restart = labelled_container.digest(ARGUMENTS | {"restart": True})
    assert labelled_container.as_it_should_be(found(), asked_to_restart)
