"""The faults' pure parts: whom they are for, which paths they cut, and what the command line makes of words."""

from __future__ import annotations

import itertools
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from deployment import ROOT
from faults import crashes, guard, network, target
from faults.cluster import Cluster
from faults.command import Place, duration, main, parser, percent
from faults.errors import FaultError
from faults.replacement import Difference, arguments
from faults.target import Member, Role

PLACES = {"nyc1": "nyc", "nyc2": "nyc", "ams1": "ams", "sgp1": "sgp"}


def container(
    name: str,
    *,
    cell: str = "",
    kind: str = "",
    role: str = "",
    networks: dict[str, str] | None = None,
    state: str = "running",
    mounts: list[dict[str, str]] | None = None,
) -> dict[str, Any]:
    """What the engine says of a container, as far as it matters."""
    labels = {"io.placer.cell": cell, "io.placer.kind": kind, "io.placer.role": role}
    held = {
        net: {"IPAMConfig": {"IPv4Address": address}, "IPAddress": ""}
        for net, address in (networks or {}).items()
    }
    return {
        "Name": f"/{name}",
        "Config": {"Labels": {key: value for key, value in labels.items() if value}},
        "NetworkSettings": {"Networks": held},
        "State": {"Status": state},
        "HostConfig": {"RestartPolicy": {"Name": "unless-stopped"}},
        "Mounts": mounts or [],
    }


@pytest.fixture
def members() -> list[Member]:
    """Two nodes and a scheduler in each of four cells; nyc has two of the cells."""
    found = []
    for number, (cell, region) in enumerate(PLACES.items()):
        for rack in ("r1", "r2"):
            found.append(
                Member(
                    f"d-{cell}-{rack}",
                    Role.NODE,
                    cell,
                    region,
                    rack,
                    address=f"10.0.{number}.{rack[1]}",
                )
            )
        found.append(
            Member(
                f"d-{cell}-scheduler-1", Role.SCHEDULER, cell, region, address=f"10.0.{number}.9"
            )
        )
    return found


# --- who is there ------------------------------------------------------------------------------------


def test_a_member_is_read_from_labels_networks_and_mounts(tmp_path: Path) -> None:
    """A stopped node has no address but those that it asked for; its rack is in its configuration."""
    (tmp_path / "cassandra-rackdc.properties").write_text("dc=ams1\nrack=r7\n")
    node = container(
        "d-ams1-n4",
        cell="ams1",
        role="cassandra",
        networks={"d-ams": "10.90.2.14", "d-wan": "10.91.2.14"},
        state="exited",
        mounts=[{"Type": "bind", "Source": str(tmp_path)}],
    )
    assert target.members([node], "d") == [
        Member("d-ams1-n4", Role.NODE, "ams1", "ams", "r7", "exited", "10.90.2.14", "10.91.2.14")
    ]


@pytest.mark.parametrize(
    ("made", "role"),
    [
        pytest.param(container("d-a-api-1", kind="api"), Role.API, id="an API"),
        pytest.param(
            container("d-a-docker-1", kind="agent"), Role.AGENT, id="an agent of containers"
        ),
        pytest.param(container("d-wan"), Role.WAN, id="the delay process"),
        pytest.param(container("d-check"), Role.OTHER, id="a one-shot command"),
        pytest.param(container("placer-3f"), Role.OTHER, id="an instance"),
    ],
)
def test_roles_are_told_apart(made: dict[str, Any], role: Role) -> None:
    """What is nobody's target is there as well, so that heal can tell it from what is missing."""
    assert target.members([made], "d")[0].role is role


@pytest.mark.parametrize(
    ("asked", "names"),
    [
        pytest.param({"cell": "ams1"}, ["d-ams1-r1", "d-ams1-r2"], id="a cell's nodes"),
        pytest.param({"cell": "ams1", "rack": "r2"}, ["d-ams1-r2"], id="a rack of a cell"),
        pytest.param(
            {"region": "nyc", "rack": "r1"},
            ["d-nyc1-r1", "d-nyc2-r1"],
            id="a rack of a region's cells",
        ),
    ],
)
def test_nodes_are_chosen_by_place(
    members: list[Member], asked: dict[str, str], names: list[str]
) -> None:
    """Everything that is given has to match."""
    chosen = target.select(members, roles=[Role.NODE], **asked)
    assert [member.name for member in chosen] == names


def test_an_unknown_place_is_refused_with_those_that_are_known(members: list[Member]) -> None:
    """The message names the value and what there is."""
    with pytest.raises(FaultError, match=r"no region 'lon'. Known: ams, nyc, sgp"):
        target.select(members, region="lon")
    with pytest.raises(FaultError, match=r"no container 'ams1-r9'. Known: .*ams1-r1, ams1-r2"):
        target.named(members, ["ams1-r9"], "d")


def test_names_need_no_deployment_in_front(members: list[Member]) -> None:
    """Each is taken once."""
    chosen = target.named(members, ["ams1-r1", "d-ams1-r1", "d-nyc1-r2"], "d")
    assert [member.name for member in chosen] == ["d-ams1-r1", "d-nyc1-r2"]


# --- which paths -------------------------------------------------------------------------------------


def test_a_ring_leaves_one_direction_in_to_each_region(members: list[Member]) -> None:
    """Of six directions among ams, nyc, sgp these three stay: ams>nyc, nyc>sgp, sgp>ams."""
    assert set(network.ring_cuts(members)) == {("nyc", "ams"), ("sgp", "nyc"), ("ams", "sgp")}


def test_a_bridge_leaves_its_own_paths(members: list[Member]) -> None:
    """Of three pairs the one without the bridge is cut."""
    assert network.bridge_cuts(members, "nyc") == [("ams", "sgp")]


def test_two_regions_make_neither(members: list[Member]) -> None:
    """Nobody would be parted, so it is refused."""
    two = [member for member in members if member.region != "sgp"]
    with pytest.raises(FaultError, match="2 regions"):
        network.ring_cuts(two)
    with pytest.raises(FaultError, match="2 regions"):
        network.bridge_cuts(two, "nyc")


def test_a_cut_around_a_cell_reaches_into_its_region(members: list[Member]) -> None:
    """nyc1's three members on one side, the other nine on the other, those of nyc2 among them."""
    inside, outside = network.sides(members, target.select(members, cell="nyc1"))
    assert (len(inside), len(outside)) == (3, 9)
    assert "10.0.1.1" in outside
    with pytest.raises(FaultError, match="empty"):
        network.sides(members, members)


# --- guard -------------------------------------------------------------------------------------------


def test_a_guard_waits_for_the_notes_time(tmp_path: Path) -> None:
    """And has it then; a note that is taken away ends the wait with nothing to do."""
    note = guard.Note("stopped-d-a", "stopped", "d-a", "d-a is stopped", time.time() + 0.1)
    guard.write(tmp_path, note)
    assert guard.wait(tmp_path, note.id) == note
    guard.drop(tmp_path, note.id)
    assert guard.wait(tmp_path, note.id) is None


def test_a_note_that_is_torn_is_reported(tmp_path: Path) -> None:
    """Its fault is still on, so it is not passed over."""
    (tmp_path / "stopped-d-a.json").write_text('{"id": "sto')
    with pytest.raises(FaultError, match=r"stopped-d-a\.json is no note"):
        list(guard.notes(tmp_path))


@pytest.mark.parametrize("seconds", [0, -1, 86_401])
def test_every_fault_has_a_bound(seconds: float) -> None:
    """More than nothing, at most a day."""
    with pytest.raises(FaultError, match="Choose more than 0"):
        guard.bounded(seconds)


# --- command line ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        pytest.param("400ms", 0.4, id="milliseconds"),
        pytest.param("20", 20, id="a plain number"),
        pytest.param("1.5m", 90, id="minutes"),
    ],
)
def test_times_are_read(text: str, seconds: float) -> None:
    """With the units that people write."""
    assert duration(text) == pytest.approx(seconds)


def test_shares_are_read() -> None:
    """With and without the sign."""
    assert (percent("2%"), percent("0.5")) == (2, 0.5)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param(["explode"], "invalid choice: 'explode'", id="no such fault"),
        pytest.param(
            ["partition"], "one of the arguments --region --cell is required", id="nowhere"
        ),
        pytest.param(["kill", "--for", "soon"], "'soon' is no time", id="no time"),
        pytest.param(
            ["skew", "--process", "a", "--ahead", "5m", "--behind", "5m"],
            "not allowed with argument --ahead",
            id="two times at once",
        ),
        pytest.param(
            ["slow", "--from", "a", "--to", "b", "--loss", "120%"], "no share", id="no share"
        ),
    ],
)
def test_wrong_words_are_refused(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit status 2, and what is wrong."""
    with pytest.raises(SystemExit) as ended:
        parser().parse_args(arguments)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_the_list_needs_nothing_deployed(capsys: pytest.CaptureFixture[str]) -> None:
    """Each kind with a sentence."""
    assert main(["--list"]) == 0
    assert any(line.startswith("partition ") for line in capsys.readouterr().out.splitlines())


def test_without_a_deployment_faults_say_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit status 1 and what to type."""
    monkeypatch.setattr("faults.cluster.inspect_all", lambda _: [])
    assert main(["--run-dir", str(tmp_path), "kill", "--node", "ams1-r1"]) == 1
    assert "Deploy it first: ./demo" in capsys.readouterr().err


def test_a_bad_region_names_those_that_are_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything is asked of the delay process."""
    node = container(
        "demo-ams1-r1", cell="ams1", role="cassandra", networks={"demo-ams": "10.0.0.1"}
    )
    monkeypatch.setattr("faults.cluster.inspect_all", lambda _: [node])
    monkeypatch.setattr("faults.network.Network.heal", lambda *_: None)
    assert main(["--run-dir", str(tmp_path), "partition", "--region", "lon"]) == 1
    assert "There is no region 'lon'.\n  Known: ams." in capsys.readouterr().err


def test_the_package_needs_no_more_than_python() -> None:
    """./demo's environment has neither the Cassandra driver nor httpx."""
    code = "import sys; import faults.command; sys.exit(bool({'cassandra', 'httpx'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT / "tests", timeout=60, check=False)
    assert done.returncode == 0


def test_the_last_nodes_of_a_cell_are_not_wiped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody could give their data back."""
    nodes = [
        container(f"d-ams1-r{rack}", cell="ams1", role="cassandra", state=state)
        for rack, state in ((1, "running"), (2, "running"), (3, "exited"))
    ]
    monkeypatch.setattr("faults.cluster.inspect_all", lambda _: nodes)
    with pytest.raises(FaultError, match="No other node of cell ams1 is up"):
        Cluster(Place("d", tmp_path)).wipe("ams1-r1", "ams1-r2")
    assert not list(tmp_path.iterdir())


# --- stand-ins ---------------------------------------------------------------------------------------

SCHEDULER: dict[str, Any] = {
    "Name": "/d-nyc1-scheduler-1",
    "Config": {
        "Hostname": "nyc1-scheduler-1",
        "User": "10001",
        "Labels": {"io.placer.deployment": "d", "io.placer.kind": "scheduler"},
        "Env": ["PYTHONUNBUFFERED=1", "PLACER_FAIL_POINT=claim.before_lwt"],
        "Image": "placer/placer:0.1.0",
        "Cmd": ["scheduler"],
    },
    "Image": "sha256:0a",
    "HostConfig": {
        "Init": True,
        "ReadonlyRootfs": True,
        "Tmpfs": {"/tmp": ""},
        "CapDrop": ["ALL"],
        "Memory": 100,
        "MemorySwap": 100,
        "PortBindings": {"8700/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8801"}]},
    },
    "Mounts": [
        {
            "Type": "bind",
            "Source": "/run/x.toml",
            "Destination": "/etc/placer/placer.toml",
            "RW": False,
        },
        {
            "Type": "volume",
            "Name": "d-nyc1-history",
            "Source": "/v",
            "Destination": "/history",
            "RW": True,
        },
    ],
    "NetworkSettings": {
        "Networks": {
            "d-nyc": {"IPAMConfig": {"IPv4Address": "10.90.1.35"}},
            "d-wan": {"IPAMConfig": {"IPv4Address": "10.91.1.35"}},
        }
    },
}


def test_a_stand_in_is_the_original_but_for_what_differs() -> None:
    """Addresses, ports, mounts, rights and bounds, and the very image, whatever its name means by now.

    Labels tell whom it stands for; the variable that differs counts last.
    """
    difference = Difference(
        "crash", {"PLACER_FAIL_POINT": "claim.after_lwt"}, {"/history": "small"}
    )
    create, connect = arguments(SCHEDULER, "d-copy", difference)
    assert connect == ["network", "connect", "--ip", "10.91.1.35", "d-wan", "d-copy"]
    words = list(create)
    assert words[-2:] == ["sha256:0a", "scheduler"]
    pairs = set(itertools.pairwise(words))
    for pair in (
        ("--ip", "10.90.1.35"),
        ("--publish", "127.0.0.1:8801:8700/tcp"),
        ("--volume", "/run/x.toml:/etc/placer/placer.toml:ro"),
        ("--volume", "small:/history"),
        ("--label", "io.placer.fault.of=d-nyc1-scheduler-1"),
        ("--label", "io.placer.kind=scheduler"),
        ("--cap-drop", "ALL"),
        ("--user", "10001"),
    ):
        assert pair in pairs, pair
    assert "d-nyc1-history:/history" not in words
    settings = [value for flag, value in itertools.pairwise(words) if flag == "--env"]
    assert settings[-1] == "PLACER_FAIL_POINT=claim.after_lwt"


def test_a_stand_in_is_nobodys_target(members: list[Member]) -> None:
    """A fault of a kind of process hits the originals; the stand-in is known by its name alone."""
    copy = Member(
        "d-ams1-scheduler-1-skew", Role.SCHEDULER, "ams1", "ams", stands_for="d-ams1-scheduler-1"
    )
    chosen = target.select([*members, copy], roles=[Role.SCHEDULER], cell="ams1")
    assert [member.name for member in chosen] == ["d-ams1-scheduler-1"]


def test_only_services_have_fail_points(members: list[Member]) -> None:
    """And only those that the code knows."""
    scheduler = next(member for member in members if member.role is Role.SCHEDULER)
    with pytest.raises(FaultError, match=r"no fail point 'claim\.never'"):
        crashes.crash(scheduler, "claim.never")
    with pytest.raises(FaultError, match="has no fail points"):
        crashes.crash(members[0], "claim.after_lwt")
