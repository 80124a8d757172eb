"""Packets that arrive twice: copies of queued packets, sent beside the originals.

A verdict lets a packet go once. So a copy of the whole packet is kept while the original is held, and goes
out of a raw socket when that is let go. The machine itself is its sender then, so that it passes no queue
again. Segments that the kernel has merged to more than a frame are left single.
"""

from __future__ import annotations

import contextlib
import random
import socket
import struct
from collections.abc import Iterable

from placer_wan.nfnetlink import Packet
from placer_wan.paths import Path

WHOLE_BYTES = 1500
"""What an Ethernet frame carries, and so what one copy may be."""
KEPT_MAX = 10_000
_CHECKSUM_AT = {socket.IPPROTO_TCP: 16, socket.IPPROTO_UDP: 6}
_FRAGMENT = 0x3FFF
"""More fragments to come, or not the first: such a part has no checksum of its own."""


class Twins:
    """Copies of held packets by packet id."""

    def __init__(self, generator: random.Random) -> None:
        self._random = generator
        self._kept: dict[int, bytes] = {}
        self._socket: socket.socket | None = None

    def keep(self, path: Path, packet: Packet) -> None:
        """Keep a copy of a packet that was admitted, if chance wants it to arrive twice."""
        if not path.duplicate_percent or self._random.random() * 100 >= path.duplicate_percent:
            return
        if whole(packet.content) and len(self._kept) < KEPT_MAX:
            self._kept[packet.id] = packet.content

    def send(self, packet_ids: Iterable[int]) -> int:
        """Send what there is of packets that were let go; returns how many."""
        if not self._kept:
            return 0
        if self._socket is None:
            self._socket = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
            self._socket.setblocking(False)
        sent = 0
        for packet_id in packet_ids:
            content = self._kept.pop(packet_id, None)
            if content is None:
                continue
            # A full buffer or a receiver that is gone: a copy may be lost like any packet.
            with contextlib.suppress(OSError):
                self._socket.sendto(completed(content), (socket.inet_ntoa(content[16:20]), 0))
                sent += 1
        return sent

    def close(self) -> None:
        self._kept.clear()
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def whole(content: bytes) -> bool:
    """Whether this is all of an IPv4 packet, and small enough for a frame."""
    return len(content) >= 20 and int.from_bytes(content[2:4], "big") == len(content) <= WHOLE_BYTES


def completed(packet: bytes) -> bytes:
    """An IPv4 packet with the checksum of its TCP segment or UDP datagram.

    On its way to a network card a packet has only a part of it: the card does the rest. The kernel
    computes that of the IP header itself.
    """
    start = (packet[0] & 15) * 4
    at = _CHECKSUM_AT.get(packet[9])
    if at is None or int.from_bytes(packet[6:8], "big") & _FRAGMENT or len(packet) < start + at + 2:
        return packet
    segment = bytearray(packet[start:])
    segment[at : at + 2] = b"\0\0"
    pseudo = packet[12:20] + struct.pack(">BBH", 0, packet[9], len(segment))
    segment[at : at + 2] = struct.pack(">H", checksum(pseudo + bytes(segment)) or 0xFFFF)
    return packet[:start] + bytes(segment)


def checksum(content: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    if len(content) % 2:
        content += b"\0"
    total: int = sum(struct.unpack(f">{len(content) // 2}H", content))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
