"""The module image_pull, as Ansible runs it, on an engine that is played here: slow, silent and refusing registries."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from played_engine import VERSION, PlayedEngine, run_module, serving

MODULE = Path(__file__).resolve().parents[2] / "roles/base_image/library/image_pull.py"
TIMEOUT_S = 1
LAYERS: list[dict[str, Any]] = [
    {"status": "Downloading", "id": "1f3a", "progress": str(part)} for part in range(6)
]


class Engine(PlayedEngine):
    """Docker's API as far as a pull needs it. What becomes of it is the image's name."""

    def do_GET(self) -> None:
        if urlsplit(self.path).path.endswith("/version"):
            self.answer(200, VERSION)
        else:  # it has no images
            self.answer(200, [])

    def do_POST(self) -> None:
        image = parse_qs(urlsplit(self.path).query)["fromImage"][0]
        if image == "unknown":
            self.answer(404, {"message": "manifest for unknown:1 not found: manifest unknown"})
        elif image == "unreachable":
            self.answer(500, {"message": 'Get "https://unreachable/v2/": dial tcp: no such host'})
        elif image == "mute":
            time.sleep(TIMEOUT_S + 2)
        else:
            self.stream(image)

    def stream(self, image: str) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for number, report in enumerate(LAYERS):
            time.sleep(TIMEOUT_S / 2)
            if number == 2 and image == "stalls":
                time.sleep(TIMEOUT_S + 2)
                return
            if number == 2 and image == "breaks":
                report = {"error": "unexpected EOF", "errorDetail": {"message": "unexpected EOF"}}
            self.chunk(json.dumps(report).encode() + b"\r\n")
        self.chunk(b"")

    def chunk(self, content: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(content), content))


@pytest.fixture(scope="module")
def engine() -> Iterator[str]:
    with serving(Engine) as address:
        yield address


def pull(engine: str, image: str, **options: object) -> dict[str, Any]:
    arguments = {"name": f"{image}:1", "docker_host": engine, "timeout": TIMEOUT_S, **options}
    status, said = run_module(MODULE, arguments)
    assert status == 0, said
    return said


def test_a_pull_that_goes_on_may_take_longer_than_the_timeout(engine: str) -> None:
    """The bound is between two reports: six of them, half of it apart, take three times as long."""
    began = time.monotonic()
    said = pull(engine, "slow")
    assert said["pulled"], said
    assert time.monotonic() - began > TIMEOUT_S * 2


@pytest.mark.parametrize(
    ("image", "answered", "reason"),
    [
        pytest.param(
            "stalls", False, "nothing was heard of it for 1 s", id="falls silent half way"
        ),
        pytest.param("mute", False, "nothing was heard of it for 1 s", id="never says anything"),
        pytest.param("unreachable", False, "no such host", id="cannot be reached"),
        pytest.param("breaks", False, "unexpected EOF", id="breaks off"),
        pytest.param("unknown", True, "manifest unknown", id="has no such image"),
    ],
)
def test_what_is_not_pulled_says_why(engine: str, image: str, answered: bool, reason: str) -> None:
    """No failure, so that the image can be built instead; only a registry that answered is worth asking again soon."""
    said = pull(engine, image)
    assert not said["pulled"]
    assert not said["changed"]
    assert said["answered"] == answered
    assert reason in said["reason"]


def test_check_mode_asks_nobody(engine: str) -> None:
    """What is only checked goes on as if the image had come."""
    said = pull(engine, "mute", _ansible_check_mode=True)
    assert said["pulled"]
    assert said["changed"]
