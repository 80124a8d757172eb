"""The delay process: its arithmetic, its messages to the kernel and its commands to tc and iptables."""

from __future__ import annotations

import random
import struct
from typing import Any

import pytest

from placer_wan import firewall, netem, nfnetlink, ping, twins
from placer_wan.daemon import answer, choose
from placer_wan.delay import Schedule
from placer_wan.errors import WanError
from placer_wan.filters import Drop, Filters
from placer_wan.paths import Config, Path, Wan, expand

NO_EXTRAS = {"jitter_ms": 0.0, "loss_percent": 0.0}
RAW: dict[str, Any] = {
    "deployment": "wantest",
    "bridge": "plw96",
    "queue": 1096,
    "backend": "auto",
    "regions": {"nyc": "10.97.1.0/24", "ams": "10.97.2.0/24", "sgp": "10.97.3.0/24"},
    "rtt_ms": {"nyc-ams": 80, "sgp-ams": 160, "nyc-sgp": 230},
}


@pytest.fixture
def wan() -> Wan:
    return Wan.of(Config.parse(RAW))


class Still:
    """A back end that only has a name."""

    name = "still"

    def ready(self) -> None: ...

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def fileno(self) -> int | None:
        return None

    def turn(self) -> float:
        return 1.0

    def figures(self) -> dict[str, int]:
        return {}


# --- paths -----------------------------------------------------------------------------------------


def test_each_direction_gets_half_of_the_round_trip(wan: Wan) -> None:
    """Three pairs make six paths; the key's order does not matter."""
    delays = {pair: path.delay_ms for pair, path in wan.paths.items()}
    assert delays == {
        ("nyc", "ams"): 40,
        ("ams", "nyc"): 40,
        ("nyc", "sgp"): 115,
        ("sgp", "nyc"): 115,
        ("ams", "sgp"): 80,
        ("sgp", "ams"): 80,
    }


def test_a_direction_may_differ_from_its_pair() -> None:
    """A row overrides what it names and keeps the rest."""
    rows = [{"from": "b", "to": "a", "delay_ms": 70, "loss_percent": 2}]
    paths = expand(["a", "b"], {"a-b": 100}, {"jitter_ms": 3.0, "loss_percent": 1.0}, rows)
    assert paths == [Path("a", "b", 50, 3, 1), Path("b", "a", 70, 3, 2)]


def test_default_jitter_never_exceeds_a_short_delay() -> None:
    """Regions of one campus would otherwise get negative delays."""
    assert expand(["a", "b"], {"a-b": 2}, {**NO_EXTRAS, "jitter_ms": 5.0}, [])[0].jitter_ms == 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param({"rtt_ms": {"nyc-ams": 80}}, "no RTT", id="a pair without RTT"),
        pytest.param(
            {"rtt_ms": {**RAW["rtt_ms"], "ams-nyc": 1}}, "two RTTs", id="a pair with two RTTs"
        ),
        pytest.param(
            {"rtt_ms": {**RAW["rtt_ms"], "nyc-syd": 1}}, "nyc-syd", id="an RTT of an unknown region"
        ),
        pytest.param({"rtt_ms": {**RAW["rtt_ms"], "nyc-ams": -1}}, "delay_ms", id="a negative RTT"),
        pytest.param({"loss_percent": 101}, "loss_percent", id="more lost than sent"),
        pytest.param(
            {"directions": [{"from": "nyc", "to": "syd", "delay_ms": 1}]},
            "nyc to syd",
            id="a direction of an unknown region",
        ),
        pytest.param(
            {"directions": [{"from": "nyc", "to": "ams", "delay": 1}]},
            "malformed",
            id="a misspelt property of a direction",
        ),
        pytest.param({"regions": {"nyc": "10.97.1.1/24"}}, "malformed", id="an address as network"),
    ],
)
def test_a_wrong_configuration_is_refused(change: dict[str, Any], said: str) -> None:
    """The message names the part that is wrong."""
    with pytest.raises(WanError, match=said):
        Config.parse({**RAW, **change})


# --- cut, heal, set --------------------------------------------------------------------------------


def tell(wan: Wan, request: dict[str, Any], now: float = 0.0) -> dict[str, Any]:
    return answer(wan, Still(), Filters("io.placer.deployment=wantest"), request, now)


def cut(wan: Wan) -> set[tuple[str, str]]:
    return {pair for pair, path in wan.paths.items() if path.cut}


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        pytest.param(
            {"from": "nyc", "to": "ams"}, {("nyc", "ams"), ("ams", "nyc")}, id="a pair both ways"
        ),
        pytest.param(
            {"from": "nyc", "to": "ams", "one_way": True}, {("nyc", "ams")}, id="one direction"
        ),
        pytest.param(
            {"from": "nyc"},
            {("nyc", "ams"), ("ams", "nyc"), ("nyc", "sgp"), ("sgp", "nyc")},
            id="a region from all others",
        ),
        pytest.param(
            {"from": "nyc", "one_way": True},
            {("nyc", "ams"), ("nyc", "sgp")},
            id="what a region sends",
        ),
    ],
)
def test_a_cut_takes_what_it_names(
    wan: Wan, request_: dict[str, Any], expected: set[tuple[str, str]]
) -> None:
    """And a heal without names takes everything back."""
    tell(wan, {"do": "cut", **request_})
    assert cut(wan) == expected
    reply = tell(wan, {"do": "heal"})
    assert not cut(wan)
    assert reply["backend"] == "still"


def test_the_version_grows_with_changes_only(wan: Wan) -> None:
    """A back end applies the paths anew when the version grows; a repeated request costs nothing."""
    tell(wan, {"do": "cut", "from": "nyc", "to": "ams"})
    tell(wan, {"do": "cut", "from": "nyc", "to": "ams"})
    tell(wan, {"do": "status"})
    assert wan.version == 1


def test_set_changes_a_running_path(wan: Wan) -> None:
    """A cut that was there before stays."""
    tell(wan, {"do": "cut", "from": "nyc", "to": "ams", "one_way": True})
    changes = {"delay_ms": 10.0, "jitter_ms": 1.0}
    tell(wan, {"do": "set", "from": "nyc", "to": "ams", "changes": changes})
    assert wan.paths["nyc", "ams"] == Path("nyc", "ams", 10, 1, 0, cut=True)
    assert wan.paths["ams", "nyc"] == Path("ams", "nyc", 10, 1, 0)


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param({"do": "cut", "from": "syd"}, id="an unknown region"),
        pytest.param({"do": "cut", "from": "nyc", "to": "nyc"}, id="a region and itself"),
        pytest.param({"do": "set", "changes": {"delay_ms": -1}}, id="a negative delay"),
        pytest.param({"do": "explode"}, id="an unknown action"),
        pytest.param({"do": "cut", "seconds": 0}, id="a cut of no time"),
        pytest.param({"do": "cut", "down_s": 2}, id="half of what flapping takes"),
        pytest.param({"do": "cut", "down_s": 0.01, "up_s": 1}, id="flapping too fast"),
        pytest.param({"do": "set", "changes": {"duplicate_percent": -1}}, id="less than single"),
        pytest.param(
            {"do": "set", "changes": {"reorder_percent": 101}}, id="more reordered than sent"
        ),
        pytest.param(
            {"do": "drop", "sources": [], "destinations": ["10.97.2.11"]}, id="a drop from nowhere"
        ),
        pytest.param(
            {"do": "drop", "sources": ["nyc"], "destinations": ["10.97.2.11"]},
            id="a drop of no address",
        ),
    ],
)
def test_a_wrong_request_changes_nothing(wan: Wan, request_: dict[str, Any]) -> None:
    """All or none."""
    before = dict(wan.paths)
    with pytest.raises(WanError):
        tell(wan, request_)
    assert (wan.paths, wan.version) == (before, 0)


def test_a_bounded_cut_ends_by_itself(wan: Wan) -> None:
    """Whoever asked for it may be gone; asking again under its name renews the time."""
    request = {"do": "cut", "from": "nyc", "to": "ams", "name": "f1", "seconds": 10}
    tell(wan, request, now=100.0)
    assert wan.apply(105.0) == 5
    tell(wan, request, now=105.0)
    wan.apply(114.9)
    assert cut(wan) == {("nyc", "ams"), ("ams", "nyc")}
    assert wan.apply(115.0) == float("inf")
    assert not cut(wan)


def test_a_flapping_path_is_cut_by_turns(wan: Wan) -> None:
    """Two seconds down, three up, and again, from when it was asked for until its time is over."""
    request = {"do": "cut", "from": "nyc", "seconds": 9, "down_s": 2, "up_s": 3}
    tell(wan, request, now=50.0)
    seen = []
    for second in (50.0, 51.9, 52.0, 54.9, 55.0, 57.0, 59.5):
        wan.apply(second)
        seen.append(bool(cut(wan)))
    assert seen == [True, True, False, False, True, False, False]
    assert wan.disturbances == []


def test_two_faults_heal_apart(wan: Wan) -> None:
    """Each is healed by its name; what the other does stays."""
    tell(wan, {"do": "cut", "from": "nyc", "to": "ams", "name": "a"})
    tell(wan, {"do": "cut", "from": "nyc", "to": "sgp", "name": "b"})
    tell(wan, {"do": "heal", "name": "a"})
    assert cut(wan) == {("nyc", "sgp"), ("sgp", "nyc")}


def test_a_heal_may_take_back_a_part(wan: Wan) -> None:
    """One direction of one pair of a region's cut."""
    tell(wan, {"do": "cut", "from": "nyc"})
    tell(wan, {"do": "heal", "from": "nyc", "to": "ams", "one_way": True})
    assert cut(wan) == {("ams", "nyc"), ("nyc", "sgp"), ("sgp", "nyc")}


def test_a_heal_takes_changes_back_as_well(wan: Wan) -> None:
    """After it the paths are as configured."""
    before = dict(wan.paths)
    tell(wan, {"do": "set", "changes": {"delay_ms": 500.0, "reorder_percent": 3.0}})
    assert wan.paths != before
    tell(wan, {"do": "heal"})
    assert wan.paths == before


def test_jitter_fits_what_is_left_of_two_changes(wan: Wan) -> None:
    """The delay that allowed for it ended first: 40 ms are left, and so at most 40 of jitter."""
    tell(wan, {"do": "set", "name": "slow", "seconds": 5, "changes": {"delay_ms": 200.0}})
    tell(wan, {"do": "set", "name": "uneven", "changes": {"jitter_ms": 150.0}})
    wan.apply(6.0)
    path = wan.paths["nyc", "ams"]
    assert (path.delay_ms, path.jitter_ms) == (40, 40)


def test_an_unknown_back_end_is_refused(wan: Wan) -> None:
    """Before anything is tried."""
    with pytest.raises(WanError, match="unknown back end warp"):
        choose(Config.parse({**RAW, "backend": "warp"}), wan)


# --- schedule --------------------------------------------------------------------------------------


def test_packets_leave_when_their_path_says() -> None:
    """A short path overtakes a long one; nothing leaves early."""
    schedule = Schedule(random.Random(1))
    assert schedule.admit(Path("a", "b", 100), packet_id=1, now=0.0)
    assert schedule.admit(Path("a", "c", 20), packet_id=2, now=0.010)
    assert schedule.next_due() == pytest.approx(0.030)
    assert schedule.release(0.029) == []
    assert schedule.release(0.030) == [2]
    assert schedule.release(0.099) == []
    assert schedule.release(0.101) == [1]
    assert schedule.next_due() is None


def test_a_path_keeps_order_under_jitter() -> None:
    """Jitter changes gaps, not the order; each packet stays within its bounds or waits for its elder."""
    schedule = Schedule(random.Random(7))
    path = Path("a", "b", 50, jitter_ms=40)
    for packet_id in range(200):
        schedule.admit(path, packet_id, now=packet_id * 0.001)
    assert schedule.release(0.009) == []
    released = [packet_id for step in range(400) for packet_id in schedule.release(step * 0.001)]
    assert released == list(range(200))


def test_a_shortened_delay_does_not_reorder_a_path() -> None:
    """What follows a packet held for long waits behind it."""
    schedule = Schedule(random.Random(1))
    schedule.admit(Path("a", "b", 100), 1, now=0.0)
    schedule.admit(Path("a", "b", 10), 2, now=0.0)
    assert schedule.release(0.2) == [1, 2]


def test_a_reordered_packet_overtakes() -> None:
    """It leaves at once, those before it when they are due."""
    schedule = Schedule(random.Random(1))
    schedule.admit(Path("a", "b", 100), 1, now=0.0)
    schedule.admit(Path("a", "b", 100, reorder_percent=100), 2, now=0.01)
    assert schedule.release(0.02) == [2]
    assert schedule.release(0.2) == [1]


def test_cut_and_loss_drop() -> None:
    """A cut path drops all; 30 % loss drops about 30 % (3 sigma of 10,000: 1.4 %)."""
    schedule = Schedule(random.Random(3))
    assert not schedule.admit(Path("a", "b", 1, cut=True), 0, now=0.0)
    lossy = Path("a", "b", 1, loss_percent=30)
    lost = sum(not schedule.admit(lossy, packet_id, now=0.0) for packet_id in range(10_000))
    assert 2860 <= lost <= 3140


# --- nfnetlink -------------------------------------------------------------------------------------


def message(*attributes: bytes, kind: int = 0x0300) -> bytes:
    """A netlink message as the kernel sends it, for queue 1096."""
    body = struct.pack(">BBH", 2, 0, 1096) + b"".join(attributes)
    return struct.pack("=IHHII", 16 + len(body), kind, 0, 0, 0) + body


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + b"\0" * (-len(value) % 4)


HEADER = attribute(1, struct.pack(">IHB", 77, 0x0800, 2))
IPV4 = bytes([0x45] + [0] * 11 + [10, 97, 1, 11] + [10, 97, 2, 11])


def test_a_packet_is_read_past_attributes_of_no_interest() -> None:
    """Header, an interface index, then the IP header."""
    read = nfnetlink.packet(message(HEADER, attribute(5, b"\0\0\0\7"), attribute(10, IPV4)))
    assert read == (77, bytes([10, 97, 1, 11]), bytes([10, 97, 2, 11]), IPV4)


@pytest.mark.parametrize(
    "attributes",
    [
        pytest.param((HEADER,), id="no payload"),
        pytest.param((HEADER, attribute(10, IPV4[:12])), id="half an IP header"),
        pytest.param((HEADER, attribute(10, b"\x60" + IPV4[1:])), id="another IP version"),
    ],
)
def test_what_is_no_ipv4_still_gets_a_verdict(attributes: tuple[bytes, ...]) -> None:
    """Without one it would fill the queue for ever."""
    assert nfnetlink.packet(message(*attributes)) == nfnetlink.Packet(77, b"", b"")


def test_other_messages_are_no_packets() -> None:
    """An acknowledgement carries its errno."""
    error = struct.pack("=IHHII", 36, 2, 0, 1, 0) + struct.pack("=i", -16) + b"\0" * 16
    assert nfnetlink.packet(error) is None
    assert nfnetlink.failure(error) == 16
    assert nfnetlink.failure(error[:16] + b"\0" * 20) == 0


def test_many_verdicts_are_one_datagram() -> None:
    """32 bytes each: header, queue, attribute 2 with verdict and id in network order."""
    datagram = nfnetlink.verdicts(1096, nfnetlink.ACCEPT, [77, 78])
    assert len(datagram) == 64
    length, kind, flags, _, _ = struct.unpack_from("=IHHII", datagram, 32)
    assert (length, kind, flags) == (32, 0x0301, 1)
    assert struct.unpack_from(">BBH", datagram, 48) == (0, 0, 1096)
    assert struct.unpack_from("=HH", datagram, 52) == (12, 2)
    assert struct.unpack_from(">II", datagram, 56) == (1, 78)


def test_the_queue_is_bound_bounded_and_asks_for_headers_only() -> None:
    """Each message asks for an acknowledgement."""
    bind, copy, flags, bound = nfnetlink.configure(1096, 500)
    assert all(struct.unpack_from("=IHH", one)[2] == 5 for one in (bind, copy, flags, bound))
    assert bind.endswith(attribute(1, struct.pack(">BBH", 1, 0, 0)))
    assert copy.endswith(attribute(2, struct.pack(">IB", 20, 2)))
    assert bound.endswith(attribute(3, struct.pack(">I", 500)))


def test_whole_packets_are_asked_for_without_an_answer() -> None:
    """The one that listens would take an acknowledgement for a packet."""
    asked = nfnetlink.copying(1096, 1500)
    assert struct.unpack_from("=IHH", asked)[2] == 1
    assert asked.endswith(attribute(2, struct.pack(">IB", 1500, 2)))


# --- packets that arrive twice ---------------------------------------------------------------------


def datagram(payload: bytes, protocol: int = 17) -> bytes:
    """An IPv4 packet with UDP or the like, whose checksums nobody has computed."""
    udp = struct.pack(">HHHH", 7000, 7001, 8 + len(payload), 0xABCD) + payload
    header = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(udp), 7, 0, 64, protocol, 0)
    return header + IPV4[12:20] + udp


@pytest.mark.parametrize("payload", [b"odd", b"even"])
def test_a_copy_has_its_checksum(payload: bytes) -> None:
    """As a receiver sums it up, with the checksum in it, it comes to nothing."""
    packet = twins.completed(datagram(payload))
    pseudo = packet[12:20] + struct.pack(">BBH", 0, 17, len(packet) - 20)
    assert twins.checksum(pseudo + packet[20:]) == 0
    assert packet.endswith(payload)


def test_what_has_no_checksum_of_its_own_stays_as_it_is() -> None:
    """A later fragment, another protocol, a segment that is cut off."""
    fragment = bytearray(datagram(b"x"))
    fragment[7] = 1
    for packet in (bytes(fragment), datagram(b"x", protocol=1), datagram(b"")[:24]):
        assert twins.completed(packet) == packet


def test_only_whole_packets_of_a_frame_are_doubled() -> None:
    """A part of one would arrive as something that was never sent."""
    assert twins.whole(datagram(b"x"))
    assert not twins.whole(datagram(b"x" * 100)[:60])
    assert not twins.whole(datagram(b"x" * 1473))
    assert not twins.whole(b"")


def test_chance_says_which_packets_arrive_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """30 % are about 30 % (3 sigma of 1,000: 4.3 %), each once and when its original is let go."""
    sent: list[bytes] = []

    class Raw:
        def setblocking(self, _: bool) -> None: ...

        def sendto(self, content: bytes, to: tuple[str, int]) -> None:
            assert to == ("10.97.2.11", 0)
            sent.append(content)

    monkeypatch.setattr("placer_wan.twins.socket.socket", lambda *_: Raw())
    kept = twins.Twins(random.Random(3))
    path, single = Path("a", "b", 1, duplicate_percent=30), Path("a", "b", 1)
    for packet_id in range(1000):
        packet = nfnetlink.Packet(packet_id, b"", b"", datagram(b"x"))
        kept.keep(path if packet_id < 900 else single, packet)
    assert kept.send(range(900, 1000)) == 0
    assert 229 <= kept.send(range(900)) == len(sent) <= 311
    assert kept.send(range(900)) == 0


# --- netem -----------------------------------------------------------------------------------------


def test_netem_gives_each_path_a_class_a_leaf_and_a_filter(wan: Wan) -> None:
    """One root and three lines a path; unfiltered traffic has no default class and passes at once."""
    lines = netem.setup("veth1", wan)
    assert len(lines) == 1 + 3 * 6
    assert lines[0] == "qdisc add dev veth1 root handle 1: htb r2q 100000"
    assert lines[1:4] == [
        "class add dev veth1 parent 1: classid 1:1 htb rate 10gbit",
        "qdisc add dev veth1 parent 1:1 handle 2: netem limit 65535 delay 40ms loss 0%",
        "filter add dev veth1 parent 1: protocol ip prio 1 u32"
        " match ip src 10.97.1.0/24 match ip dst 10.97.2.0/24 flowid 1:1",
    ]


def test_netem_changes_leaves_in_place(wan: Wan) -> None:
    """Classes and filters stay, so packets on their way are not lost; a cut is a loss of everything."""
    tell(wan, {"do": "cut", "from": "nyc", "to": "ams", "one_way": True})
    lines = netem.change("veth1", wan)
    assert len(lines) == 6
    assert lines[0].endswith("parent 1:1 handle 2: netem limit 65535 delay 40ms loss 100%")
    assert lines[1].endswith("parent 1:2 handle 3: netem limit 65535 delay 40ms loss 0%")


def test_numbers_of_classes_are_hexadecimal() -> None:
    """tc reads them so; with five regions there are twenty paths."""
    names = "abcde"
    regions = {name: f"10.97.{number}.0/24" for number, name in enumerate(names)}
    rtt = {f"{a}-{b}": 10 for at, a in enumerate(names) for b in names[at + 1 :]}
    lines = netem.setup("v", Wan.of(Config.parse({**RAW, "regions": regions, "rtt_ms": rtt})))
    assert lines[-3] == "class add dev v parent 1: classid 1:14 htb rate 10gbit"


def test_all_properties_are_part_of_the_leaf() -> None:
    """In tc's order: delay, jitter, loss, reordering, duplicates."""
    path = Path("a", "b", 12.5, 2, 0.5, reorder_percent=4, duplicate_percent=3)
    expected = "netem limit 65535 delay 12.5ms 2ms loss 0.5% reorder 4% duplicate 3%"
    assert netem.leaf(path) == expected


# --- firewall --------------------------------------------------------------------------------------


def test_only_rules_of_this_deployment_are_removed() -> None:
    """Other deployments and the operator's own rules stay, also those that mention the name."""
    listing = """-N DOCKER-USER
-A DOCKER-USER -i plw96 -o plw96 -m comment --comment "io.placer.deployment=wantest" -j NFQUEUE --queue-num 1096 --queue-bypass
-A DOCKER-USER -i plw91 -o plw91 -m comment --comment "io.placer.deployment=wantest2" -j NFQUEUE --queue-num 1091
-A DOCKER-USER -m comment --comment "not io.placer.deployment=wantest" -j DROP
-A DOCKER-USER -s 10.97.1.11/32 -d 10.97.2.11/32 -m comment --comment "io.placer.deployment=wantest drop=f1" -j DROP
-A DOCKER-USER -j RETURN
"""
    mark = firewall.comment("wantest")
    queue, drop = (line.removeprefix("-A") for line in (listing.splitlines()[at] for at in (1, 4)))
    assert firewall.matching(listing, mark) == [f"-D{queue}", f"-D{drop}"]
    assert firewall.matching(listing, mark, named_only=True) == [f"-D{drop}"]
    assert firewall.matching(listing, firewall.named(mark, "f1")) == [f"-D{drop}"]
    assert firewall.matching(listing, firewall.named(mark, "f")) == []


def test_a_drop_is_bounded() -> None:
    """101 addresses on either side, both ways, are 20,402 rules."""
    addresses = [f"10.97.1.{number}" for number in range(101)]
    with pytest.raises(WanError, match="20402 rules"):
        Drop.of({"sources": addresses, "destinations": addresses}, 0.0)


# --- ping ------------------------------------------------------------------------------------------


def test_the_median_leaves_out_the_echo_that_waited_for_arp() -> None:
    """200 is left out; of 80.1, 80.4, 80.6, 99 the median is (80.4 + 80.6) / 2."""
    lines = [f"64 bytes from 10.97.2.11: time={time} ms" for time in (200, 80.4, 99, 80.1, 80.6)]
    assert ping.median("\n".join(lines)) == 80.5
    assert ping.median("64 bytes from 10.97.2.11: time=81.0 ms") == 81.0
    assert ping.median("5 packets transmitted, 0 received, 100% packet loss") is None


def test_a_pair_is_reported_from_either_end(wan: Wan) -> None:
    """A round trip is the same both ways, and configured as the sum of both directions."""
    rows = ping.compare(wan, "nyc", {"ams": "10.97.2.11"}, {"10.97.2.11": 80.5})
    assert rows == [
        {"from": "nyc", "to": "ams", "configured": 80, "measured": 80.5},
        {"from": "ams", "to": "nyc", "configured": 80, "measured": 80.5},
    ]
