"""The commands that speak to an API, against a real server on a port of this machine."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from msgspec import Struct

from placer.cli import main
from placer.cli.exits import Exit
from placer.model import ids
from placer.model.request import Stage

from .. import factories
from ..api.live import Live, serving


class Ended(Struct):
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str


Run = Callable[..., Ended]


@pytest.fixture
def live(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Live]:
    with serving(tmp_path) as server:
        monkeypatch.setenv("PLACER_URL", server.url)
        monkeypatch.setenv("PLACER_TOKEN", server.token)
        yield server


@pytest.fixture
def placer(capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*argv: str) -> Ended:
        with pytest.raises(SystemExit) as ended:
            main.run(list(argv))
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return Ended(int(ended.value.code or 0), out, err)

    return run


def test_a_request_is_asked_for_and_shown(live: Live, placer: Run) -> None:
    """Ends with 0; the table has the host, the JSON what the API gave."""
    ended = placer("request", "create", "-r", "VCPU=2", "-r", "MEMORY_MB=512", "--json")
    assert ended.code == Exit.DONE
    request = json.loads(ended.out)
    assert request["spec"]["resources"] == {"VCPU": 2, "MEMORY_MB": 512}
    shown = placer("request", "show", request["id"])
    assert "VCPU=2 MEMORY_MB=512" in shown.out
    assert "nyc1/h1" in shown.out
    assert json.loads(placer("request", "show", request["id"], "--json").out)["id"] == request["id"]


def test_a_script_gets_the_id_alone(live: Live, placer: Run) -> None:
    """To be used as it is printed."""
    request = placer("request", "create", "-r", "VCPU=2", "--id").out.strip()
    assert placer("request", "show", request).code == Exit.DONE
    group = placer("server-group", "create", "web", "--policy", "affinity", "--id").out.strip()
    assert placer("server-group", "show", group).code == Exit.DONE


def test_a_request_from_a_file_with_options_on_top(live: Live, placer: Run, tmp_path: Path) -> None:
    """The file says most, the options the rest."""
    file = tmp_path / "request.json"
    file.write_text('{"resources": {"VCPU": 1}, "project": "red"}')
    ended = placer("request", "create", "-f", str(file), "--project", "blue", "--json")
    assert json.loads(ended.out)["spec"]["project"] == "blue"


def test_no_place_is_an_exit_code_and_words(live: Live, placer: Run) -> None:
    """Ends with 4; what to change is on stderr, and --why says it all."""
    ended = placer("request", "create", "-r", "VCPU=1000")
    assert ended.code == Exit.REFUSED
    assert "is refused: None of 2 hosts" in ended.err
    assert "Ask for at most 64 VCPU" in ended.err
    request_id = next(iter(live.stores.cells["nyc1"].requests))
    why = placer("request", "show", "--why", request_id)
    assert why.code == Exit.DONE
    assert "was refused: nothing was claimed" in why.out
    assert "2 hosts were looked at:" in why.out
    assert "2 have too little VCPU left" in why.out
    assert "Nearest: h1 of cell nyc1" in why.out
    assert "What to change: Ask for at most 64 VCPU" in why.out


def test_requests_are_listed(live: Live, placer: Run) -> None:
    """All pages of them, up to the limit."""
    for _ in range(3):
        placer("request", "create", "-r", "VCPU=1", "--project", "red")
    listed = placer("request", "list", "--project", "red")
    assert listed.out.count("nyc1/h1") == 3
    few = placer("request", "list", "--project", "red", "--limit", "2", "--json")
    assert len(json.loads(few.out)) == 2
    none = placer("request", "list", "--project", "red", "--stage", "refused", "--json")
    assert json.loads(none.out) == []


def test_watching_tells_each_stage_once(live: Live, placer: Run) -> None:
    """Until it is built; then it ends with 0."""
    request = json.loads(placer("request", "create", "-r", "VCPU=1", "--json").out)
    ended = placer("request", "watch", request["id"])
    assert ended.code == Exit.DONE
    stages = [line.split()[2] for line in ended.out.splitlines()]
    assert stages == ["accepted", "placed", "built"]


def test_watching_ends_when_the_time_is_over(live: Live, placer: Run) -> None:
    """With 6, and the command that goes on."""
    request = json.loads(
        placer("request", "create", "-r", "VCPU=1", "--name", "slow", "--json").out
    )
    started = time.monotonic()
    ended = placer("request", "watch", request["id"], "--timeout", "0.2")
    assert ended.code == Exit.TIME_UP
    assert time.monotonic() - started < 5
    assert f"placer request watch {request['id']}" in ended.err


def test_cancelling(live: Live, placer: Run) -> None:
    """It holds nothing any more; a second time changes nothing."""
    request = json.loads(placer("request", "create", "-r", "VCPU=1", "--json").out)
    for _ in range(2):
        ended = placer("request", "cancel", request["id"], "--json")
        assert ended.code == Exit.DONE
        assert json.loads(ended.out)["stage"] == "cancelled"
    assert live.stores.cells["nyc1"].requests[request["id"]].stage is Stage.CANCELLED


def test_select_claims_nothing_unless_told(live: Live, placer: Run) -> None:
    """Hosts and alternates in a table; with --claim there is a request."""
    ended = placer("select", "-r", "VCPU=1", "--count", "2", "--alternates", "1")
    assert ended.code == Exit.DONE
    assert ended.out.count("destination") == 2
    assert ended.out.count("alternate") == 1
    assert not live.stores.cells["nyc1"].requests
    claimed = placer("select", "-r", "VCPU=1", "--claim", "--json")
    assert json.loads(claimed.out)["request"] in live.stores.cells["nyc1"].requests
    nowhere = placer("select", "-r", "VCPU=1000")
    assert nowhere.code == Exit.REFUSED
    assert "have too little VCPU left" in nowhere.out


def test_hosts_and_instances_are_listed(live: Live, placer: Run) -> None:
    """What is left of what there is, and what was built."""
    view = msgspec.structs.replace(factories.view("h7", vcpu=8), cell="nyc1")
    live.stores.cells["nyc1"].views[ids.bucket_of(view.host, 4)] = [view]
    assert "VCPU=8/8" in placer("host", "list").out
    one = factories.instance(1, project="red", host_name="h7", created_ms=time.time_ns() // 10**6)
    asyncio.run(live.stores.globals.write_changes([factories.placed(one)]))
    assert "h7" in placer("instance", "list", "--project", "red").out


def test_flavors_images_and_groups_live_and_go(live: Live, placer: Run) -> None:
    """Made, shown, listed, named in a request, deleted; then they are not there."""
    made = placer(
        "flavor", "create", "m1", "-r", "VCPU=1", "-r", "DISK_GB=9", "--trait", "CUSTOM_A"
    )
    assert "VCPU=1 DISK_GB=9" in made.out
    placer("image", "create", "debian", "--property", "hw_disk_bus=virtio", "--min-ram", "64")
    group = json.loads(
        placer("server-group", "create", "web", "--policy", "anti-affinity", "--json").out
    )
    assert "CUSTOM_A" in placer("flavor", "list").out
    assert "COMPUTE_STORAGE_BUS_VIRTIO" in placer("image", "show", "debian").out
    assert "anti-affinity" in placer("server-group", "list").out
    asked = placer(
        *("request", "create", "--flavor", "m1", "--image", "debian"),
        *("--server-group", group["id"], "--json"),
    )
    assert json.loads(asked.out)["spec"]["resources"] == {"VCPU": 1, "DISK_GB": 9, "MEMORY_MB": 64}
    for noun, name in (("flavor", "m1"), ("image", "debian"), ("server-group", group["id"])):
        assert placer(noun, "delete", name).code == Exit.DONE
        assert placer(noun, "show", name).code == Exit.NOT_FOUND


def test_the_versions_of_both_sides(live: Live, placer: Run) -> None:
    """Without an API only the program's own."""
    assert json.loads(placer("version", "--json").out)["api_max"] == "1.0"
    assert "api" not in json.loads(placer("version", "--json", "--url", "").out)


@pytest.mark.parametrize(
    ("argv", "code", "words"),
    [
        pytest.param(["request", "create"], Exit.INPUT, "0 resource classes", id="nothing asked"),
        pytest.param(
            ["request", "create", "-r", "VCPU"], Exit.INPUT, "Write it as VCPU=2", id="no amount"
        ),
        pytest.param(
            ["request", "create", "-r", "VCPUS=1"], Exit.INPUT, "Unknown resource class", id="class"
        ),
        pytest.param(
            ["request", "create", "-r", "VCPU=1", "--until", "done"],
            Exit.INPUT,
            "placed or built",
            id="until",
        ),
        pytest.param(
            ["request", "create", "-r", "VCPU=1", "--wait", "1000"],
            Exit.INPUT,
            "Give seconds from 0 to 30",
            id="a long wait",
        ),
        pytest.param(
            ["request", "create", "-f", "/nowhere.json"], Exit.INPUT, "Cannot read", id="no file"
        ),
        pytest.param(["request", "show", "nyc1.0"], Exit.NOT_FOUND, "no request", id="no request"),
        pytest.param(
            ["flavor", "show", "a/b"], Exit.NOT_FOUND, "nothing at /v1/flavors/a/b", id="a slash"
        ),
        pytest.param(["host", "list", "--cell", "mars1"], Exit.INPUT, "Known cells", id="cell"),
        pytest.param(["host", "list", "--token", "x"], Exit.FAILED, "token is missing", id="token"),
        pytest.param(
            ["host", "list", "--token", "/nowhere"], Exit.INPUT, "no file /nowhere", id="token file"
        ),
        pytest.param(["host", "list", "--url", "ftp://x"], Exit.INPUT, "http://HOST", id="address"),
        pytest.param(["host", "list", "--url", ""], Exit.INPUT, "Set PLACER_URL", id="no address"),
        pytest.param(["image", "create", "x", "--property", "y"], Exit.INPUT, "NAME=VALUE", id="p"),
    ],
)
def test_what_is_wrong_is_said_with_what_to_do(
    live: Live, placer: Run, argv: list[str], code: Exit, words: str
) -> None:
    """On stderr, with the exit code of its kind; nothing on stdout, nothing stored."""
    ended = placer(*argv)
    assert ended.code == code
    assert words in ended.err
    assert ended.out == ""
    assert not live.stores.cells["nyc1"].requests


def test_an_api_that_is_not_there(placer: Run) -> None:
    """Ends with 5, which says: try again."""
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    ended = placer("host", "list", "--url", f"http://127.0.0.1:{port}", "--token", "x")
    assert ended.code == Exit.UNAVAILABLE
    assert "does not answer" in ended.err


def test_a_store_that_is_down_is_no_fault_of_the_input(live: Live, placer: Run) -> None:
    """Ends with 5, with the request id that the server's log has."""
    live.stores.cells["nyc1"].down = True
    ended = placer("host", "list")
    assert ended.code == Exit.UNAVAILABLE
    assert "request id cli-" in ended.err


def test_the_token_may_be_a_file(live: Live, placer: Run, tmp_path: Path) -> None:
    """So that it need not be in the environment."""
    file = tmp_path / "api-token"
    file.write_text(live.token + "\n")
    assert placer("host", "list", "--token", str(file)).code == Exit.DONE


def test_webhooks_and_events(live: Live, placer: Run) -> None:
    """A webhook is made with a secret that is shown once, listed and deleted; events are printed."""
    made = json.loads(
        placer("webhook", "create", "https://h/in", "--type", "instance", "--json").out
    )
    assert made["secret"]
    assert "secret" not in placer("webhook", "show", made["id"]).out
    assert "https://h/in" in placer("webhook", "list").out
    assert placer("webhook", "dead-letters", made["id"]).code == Exit.DONE
    assert placer("webhook", "delete", made["id"]).code == Exit.DONE
    assert placer("webhook", "show", made["id"]).code == Exit.NOT_FOUND
    marker = json.loads(placer("event", "list", "--json").out)["marker"]
    now_ms = time.time_ns() // 10**6
    one = factories.instance(1, created_ms=now_ms, updated_ms=now_ms, name="web-1")
    asyncio.run(live.stores.globals.write_changes([factories.placed(one, by="ann")]))
    asyncio.run(live.stores.globals.add_pulse("nyc1", now_ms - 4000))
    told = placer("event", "list", "--since", marker).out
    assert "instance.running  i1  in nyc1  by ann" in told
    shown = placer("instance", "show", "i1").out
    assert "web-1" in shown
    assert "ann" in shown
