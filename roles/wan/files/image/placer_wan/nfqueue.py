"""Back end without kernel help: hold each packet between regions in an NFQUEUE until it is due.

The naive loop wakes for each packet that comes and again for each that goes, two system calls and more
for either; at thousands of packets a second the wake-ups alone fill a processor. Here turns are at least a
millisecond apart: one reads whatever has come, releases whatever is due within half a turn, and sends all
verdicts in one datagram. A packet is at most a millisecond early or late, which no RTT of tens of
milliseconds shows. Between turns the loop sleeps until a packet comes or is due.

Overload: the queue is bounded. What does not fit is dropped by the kernel and counted, as a router would.
If this process dies, --queue-bypass lets packets through without delay.
"""

from __future__ import annotations

import errno
import ipaddress
import random
import socket
import time
from pathlib import Path as FilePath

from placer_wan import firewall, nfnetlink
from placer_wan.delay import Schedule
from placer_wan.errors import WanError
from placer_wan.paths import Config, Path, Wan
from placer_wan.twins import WHOLE_BYTES, Twins

TURN_S = 0.001
IDLE_S = 1.0
HELD_MAX = 65_535
ADDRESSES_MAX = 65_536
RECEIVE_BUFFER_BYTES = 16 * 1024 * 1024
MESSAGE_BYTES = 4096
READS_MAX = 2048
"""Packets read in one turn, so that a flood cannot keep those that are due waiting."""
VERDICTS_MAX = 1024
"""Verdicts in one datagram: 32 KiB, well inside the default send buffer."""
BRIDGE_FILTER = FilePath("/proc/sys/net/bridge/bridge-nf-call-iptables")
_SO_RCVBUFFORCE = 33
_SOL_NETLINK, _NETLINK_NO_ENOBUFS = 270, 5


class Nfqueue:
    """Delays every packet between two regions; packets inside a region pass at once."""

    name = "nfqueue"

    def __init__(self, config: Config, wan: Wan) -> None:
        self._config = config
        self._mark = firewall.comment(config.deployment)
        self._wan = wan
        self._schedule = Schedule(random.Random())
        self._twins = Twins(random.Random())
        self._version = 0
        self._socket: socket.socket | None = None
        self._regions: dict[bytes, str] = {}
        self._next_turn = 0.0
        self._counts = {"delayed": 0, "lost": 0, "passed": 0, "duplicated": 0}

    @staticmethod
    def works(config: Config) -> str:
        """Try the queue; returns why it cannot be used, or nothing."""
        try:
            _open(config.queue).close()
            firewall.variant()
        except (OSError, WanError) as reason:
            return str(reason)
        return ""

    def ready(self) -> None:
        try:
            filtered = BRIDGE_FILTER.read_text().strip() == "1"
        except OSError:
            filtered = False
        if not filtered:
            raise WanError(
                "bridged packets do not reach the firewall",
                "run: modprobe br_netfilter; sysctl -w net.bridge.bridge-nf-call-iptables=1",
            )

    def start(self) -> None:
        self.ready()
        firewall.remove(self._mark)
        self._socket = _open(self._config.queue)
        firewall.add(self._config.bridge, self._config.queue, self._mark)

    def stop(self) -> None:
        # The rule goes first: new packets take the direct way, then those held are let go.
        firewall.remove(self._mark)
        if self._socket is not None:
            self._verdict(nfnetlink.ACCEPT, self._schedule.release(float("inf")))
            self._socket.close()
            self._socket = None
        self._twins.close()

    def fileno(self) -> int | None:
        return self._socket.fileno() if self._socket is not None else None

    def turn(self) -> float:
        now = time.monotonic()
        if now < self._next_turn:
            time.sleep(self._next_turn - now)
        self._next_turn = time.monotonic() + TURN_S
        self._follow()
        passed, lost = self._read()
        released = self._schedule.release(time.monotonic() + TURN_S / 2)
        self._verdict(nfnetlink.ACCEPT, passed + released)
        self._verdict(nfnetlink.DROP, lost)
        self._counts["duplicated"] += self._twins.send(released)
        due = self._schedule.next_due()
        return IDLE_S if due is None else max(0.0, due - TURN_S / 2 - time.monotonic())

    def figures(self) -> dict[str, int]:
        return {
            **self._counts,
            "held": len(self._schedule),
            "overflowed": _overflowed(self._config.queue),
        }

    def _follow(self) -> None:
        """After a change of the paths: copy whole packets only while some are to arrive twice."""
        if self._version == self._wan.version:
            return
        self._version = self._wan.version
        doubled = any(path.duplicate_percent for path in self._wan.paths.values())
        octets = WHOLE_BYTES if doubled else nfnetlink.IP_HEADER_BYTES
        assert self._socket is not None
        self._socket.send(nfnetlink.copying(self._config.queue, octets))

    def _read(self) -> tuple[list[int], list[int]]:
        """Take in what has come: ids to let pass at once and ids to drop."""
        passed: list[int] = []
        lost: list[int] = []
        assert self._socket is not None
        for _ in range(READS_MAX):
            try:
                message = self._socket.recv(MESSAGE_BYTES)
            except BlockingIOError:
                break
            packet = nfnetlink.packet(message)
            if packet is None:
                continue
            path = self._path(packet)
            if path is None:
                passed.append(packet.id)
            # The time is read after the packet: on a busy machine much may pass in between, and a packet
            # that is stamped before it came would leave too early.
            elif not self._schedule.admit(path, packet.id, time.monotonic()):
                lost.append(packet.id)
            else:
                self._counts["delayed"] += 1
                self._twins.keep(path, packet)
        self._counts["passed"] += len(passed)
        self._counts["lost"] += len(lost)
        return passed, lost

    def _path(self, packet: nfnetlink.Packet) -> Path | None:
        """The path a packet takes, None inside a region or where an address belongs to none."""
        return self._wan.paths.get((self._region(packet.source), self._region(packet.destination)))

    def _region(self, address: bytes) -> str:
        """The region of an address, "" for none; remembered, as a deployment has only tens of them."""
        known = self._regions.get(address)
        if known is not None:
            return known
        if len(self._regions) >= ADDRESSES_MAX:
            self._regions.clear()
        found = ""
        if address:
            parsed = ipaddress.IPv4Address(address)
            found = next(
                (name for name, network in self._wan.regions.items() if parsed in network), ""
            )
        self._regions[address] = found
        return found

    def _verdict(self, verdict: int, packet_ids: list[int]) -> None:
        assert self._socket is not None
        for start in range(0, len(packet_ids), VERDICTS_MAX):
            part = packet_ids[start : start + VERDICTS_MAX]
            self._socket.send(nfnetlink.verdicts(self._config.queue, verdict, part))


def _open(queue: int) -> socket.socket:
    opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, nfnetlink.NETLINK_NETFILTER)
    try:
        opened.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, RECEIVE_BUFFER_BYTES)
        # A full buffer loses packets in the kernel, which counts them; reads need not fail as well.
        opened.setsockopt(_SOL_NETLINK, _NETLINK_NO_ENOBUFS, 1)
        opened.settimeout(5.0)
        for message in nfnetlink.configure(queue, HELD_MAX):
            opened.send(message)
            error = nfnetlink.failure(opened.recv(MESSAGE_BYTES))
            if error == errno.EBUSY:
                raise WanError(
                    f"queue {queue} belongs to another process",
                    "stop it, or choose another wan_queue",
                )
            if error:
                raise OSError(error, f"NFQUEUE {queue}: {errno.errorcode.get(error, error)}")
        opened.setblocking(False)
    except BaseException:
        opened.close()
        raise
    return opened


def _overflowed(queue: int) -> int:
    """Packets that the kernel dropped as queue or buffer were full, from its own table."""
    try:
        table = FilePath("/proc/net/netfilter/nfnetlink_queue").read_text()
    except OSError:
        return 0
    for row in (line.split() for line in table.splitlines()):
        # queue, port id, waiting, copy mode, copy range, queue dropped, user dropped, last id, 1
        if row and int(row[0]) == queue:
            return int(row[5]) + int(row[6])
    return 0
