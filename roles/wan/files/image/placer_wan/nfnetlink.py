"""The few messages of nfnetlink_queue that a delay needs, as bytes in and bytes out.

Source: include/uapi/linux/netfilter/nfnetlink_queue.h. Debian packages no Python binding for
libnetfilter_queue, and wheels cannot be fetched inside the image everywhere; five messages over a plain
netlink socket need neither.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import NamedTuple

NETLINK_NETFILTER = 12
ACCEPT, DROP = 1, 0

_SUBSYSTEM_QUEUE = 3 << 8
_PACKET, _VERDICT, _CONFIG = _SUBSYSTEM_QUEUE | 0, _SUBSYSTEM_QUEUE | 1, _SUBSYSTEM_QUEUE | 2
_NLMSG_ERROR = 2
_REQUEST, _ACK = 1, 4

_BIND, _UNBIND = 1, 2
_ATTR_COMMAND, _ATTR_PARAMS, _ATTR_MAXLEN, _ATTR_MASK, _ATTR_FLAGS = 1, 2, 3, 4, 5
_COPY_PACKET = 2
_FLAG_GSO = 4
"""Take large segments as they are: only the IP header is read, so nothing needs splitting first."""

_ATTR_PACKET_HEADER, _ATTR_PAYLOAD = 1, 10
IP_HEADER_BYTES = 20

_HEADER = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence, port
_GENERIC = struct.Struct(">BBH")  # nfgenmsg: family, version, queue number (network order)
_ATTRIBUTE = struct.Struct("=HH")  # nlattr: length with its own four bytes, type
_VERDICT_BODY = struct.Struct(">II")
_PACKET_START = _HEADER.size + _GENERIC.size
_VERDICT_BYTES = _PACKET_START + _ATTRIBUTE.size + _VERDICT_BODY.size


class Packet(NamedTuple):
    """A queued packet: the kernel's id for the verdict, its IPv4 addresses as four bytes each, what was copied of it."""

    id: int
    source: bytes
    destination: bytes
    content: bytes = b""


def configure(queue: int, held_max: int) -> list[bytes]:
    """Messages that bind the queue, ask for IP headers only and bound the packets it holds.

    Each asks for an acknowledgement: read one answer and give it to `failure` after sending each.
    """
    command = struct.pack(">BBH", _BIND, 0, 0)
    flags = struct.pack(">I", _FLAG_GSO)
    return [
        _message(_CONFIG, queue, [(_ATTR_COMMAND, command)], sequence=1),
        copying(queue, IP_HEADER_BYTES, _REQUEST | _ACK),
        _message(_CONFIG, queue, [(_ATTR_FLAGS, flags), (_ATTR_MASK, flags)], sequence=3),
        _message(_CONFIG, queue, [(_ATTR_MAXLEN, struct.pack(">I", held_max))], sequence=4),
    ]


def copying(queue: int, octets: int, flags: int = _REQUEST) -> bytes:
    """The message that says how much of each packet is copied; by itself it asks for no acknowledgement."""
    params = struct.pack(">IB", octets, _COPY_PACKET)
    return _message(_CONFIG, queue, [(_ATTR_PARAMS, params)], sequence=2, flags=flags)


def failure(answer: bytes) -> int:
    """The errno in an acknowledgement, 0 for success or for a message that is none."""
    _, kind, _, _, _ = _HEADER.unpack_from(answer)
    if kind != _NLMSG_ERROR:
        return 0
    (negative,) = struct.unpack_from("=i", answer, _HEADER.size)
    return -int(negative)


def packet(message: bytes) -> Packet | None:
    """Read a queued packet; None for any other message. What is not IPv4 has empty addresses."""
    length, kind, _, _, _ = _HEADER.unpack_from(message)
    if kind != _PACKET:
        return None
    packet_id = -1
    position = _PACKET_START
    while position + _ATTRIBUTE.size <= length:
        size, attribute = _ATTRIBUTE.unpack_from(message, position)
        if attribute == _ATTR_PACKET_HEADER:
            packet_id = int.from_bytes(message[position + 4 : position + 8], "big")
        elif attribute == _ATTR_PAYLOAD:
            start = position + 4
            if packet_id < 0 or size < 4 + IP_HEADER_BYTES or message[start] >> 4 != 4:
                break
            content = message[start : position + size]
            return Packet(packet_id, content[12:16], content[16:20], content)
        position += (size + 3) & ~3
    return Packet(packet_id, b"", b"") if packet_id >= 0 else None


def verdicts(queue: int, verdict: int, packet_ids: Iterable[int]) -> bytes:
    """Verdicts for many packets as one datagram: the kernel reads message after message."""
    header = _HEADER.pack(_VERDICT_BYTES, _VERDICT, _REQUEST, 0, 0)
    head = (
        header
        + _GENERIC.pack(0, 0, queue)
        + _ATTRIBUTE.pack(_ATTRIBUTE.size + _VERDICT_BODY.size, 2)
    )
    return b"".join(head + _VERDICT_BODY.pack(verdict, packet_id) for packet_id in packet_ids)


def _message(
    kind: int,
    queue: int,
    attributes: Iterable[tuple[int, bytes]],
    sequence: int,
    flags: int = _REQUEST | _ACK,
) -> bytes:
    body = _GENERIC.pack(0, 0, queue)
    for attribute, value in attributes:
        padding = b"\0" * (-len(value) % 4)
        body += _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), attribute) + value + padding
    return _HEADER.pack(_HEADER.size + len(body), kind, flags, sequence, 0) + body
