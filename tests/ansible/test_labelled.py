"""Which containers a deploy looks at more closely: the module labelled_info on an engine that is played here, and the action."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from played_engine import VERSION, PlayedEngine, run_module, serving
from roles.docker.action_plugins import labelled_container

MODULE = Path(__file__).resolve().parents[2] / "roles/docker/library/labelled_info.py"
LABELS = ["io.placer.deployment=demo", "io.placer.role=cassandra"]
ARGUMENTS: dict[str, Any] = {
    "name": "demo-nyc1-r1",
    "image": "placer/cassandra:5.0.9",
    "memory": "512m",
    "labels": {"io.placer.deployment": "demo"},
}


class Engine(PlayedEngine):
    """Docker's API as far as the module needs it: a container of an image that is there, one of an image that has no name any more,
    and one that has gone away when it is looked at."""

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        path = url.path.removeprefix("/v1.41")
        asked = json.loads(parse_qs(url.query).get("filters", ["{}"])[0]).get("label")
        if path.endswith("/version"):
            self.answer(200, VERSION)
        elif path == "/containers/json":
            self.answer(200, [{"Id": "1"}, {"Id": "2"}, {"Id": "3"}] if asked == LABELS else [])
        elif path in ("/containers/1/json", "/containers/2/json"):
            self.answer(200, container("node" if path == "/containers/1/json" else "gone"))
        elif path == "/images/node/json":
            self.answer(200, {"Id": "sha256:new"})
        elif path == "/volumes":
            self.answer(
                200, {"Volumes": [{"Name": "demo-nyc1-r1-data"}] if asked == LABELS else None}
            )
        else:
            self.answer(404, {"message": f"no such thing: {path}"})


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
    with serving(Engine) as address:
        yield address


def asked(engine: str, labels: list[str]) -> dict[str, Any]:
    _, answer = run_module(MODULE, {"labels": labels, "docker_host": engine})
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
