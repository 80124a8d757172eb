"""Who speaks at the other end of an agent's connection: what its certificate says, and nothing else.

The deployment's authority gives each agent and each scheduler a certificate whose names are URIs:

    placer://<cell>/scheduler/<process>
    placer://<cell>/agent/<agent>
    placer://<cell>/host/<host>          a host that the agent may serve

A ``*`` at the end of a host's name stands for any rest, for an agent of many hosts. The naive way, one
secret that all of a deployment's agents know, lets each of them be any other. Both ends show a certificate
(mutual TLS, 1.3 only); the agent also compares the scheduler's address with those in its certificate.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any, Final

from msgspec import Struct

from placer.errors import InvalidInput
from placer.settings import Tls

_SCHEME: Final = "placer://"


class Identity(Struct, frozen=True):
    """An agent of one cell and the hosts that it may serve, by name; a ``*`` ends a prefix."""

    cell: str
    agent: str
    hosts: tuple[str, ...] = ()

    def may_serve(self, host: str) -> bool:
        """Whether the host called ``host`` is one of its own."""
        return any(
            host.startswith(name[:-1]) if name.endswith("*") else host == name
            for name in self.hosts
        )


def agent_of(certificate: Mapping[str, Any]) -> Identity:
    """The agent that a verified certificate names, as ``ssl`` decodes one; raises InvalidInput.

    Names of other forms are left alone. All that it has must be of one cell, and it names one agent.
    """
    names = [
        parts
        for kind, value in certificate.get("subjectAltName", ())
        if kind == "URI" and value.startswith(_SCHEME)
        for parts in [value.removeprefix(_SCHEME).split("/")]
        if len(parts) == 3 and all(parts)
    ]
    agents = {name for _, kind, name in names if kind == "agent"}
    cells = {cell for cell, _, _ in names}
    if len(agents) != 1 or len(cells) != 1:
        raise InvalidInput(
            "The certificate does not name one agent of one cell.",
            remedy="The playbook makes certificates; give the agent its own.",
        )
    hosts = tuple(name for _, kind, name in names if kind == "host")
    return Identity(cells.pop(), agents.pop(), hosts)


def server_context(tls: Tls | None) -> ssl.SSLContext:
    """For a scheduler: lets in who has a certificate of the authority. Raises InvalidInput."""
    context = _context(ssl.PROTOCOL_TLS_SERVER, tls)
    # Connections last for days: nobody comes back with a ticket, and each costs a message and memory.
    context.num_tickets = 0
    return context


def client_context(tls: Tls | None) -> ssl.SSLContext:
    """For an agent: speaks to who has a certificate for the address it asked. Raises InvalidInput."""
    return _context(ssl.PROTOCOL_TLS_CLIENT, tls)


def _context(protocol: int, tls: Tls | None) -> ssl.SSLContext:
    if tls is None:
        raise InvalidInput(
            "The settings of schedulers and agents need a [tls] part: they speak by TLS.",
            remedy="Give certificate, key and ca.",
        )
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    try:
        context.load_cert_chain(tls.certificate, tls.key)
        context.load_verify_locations(tls.ca)
    except (OSError, ssl.SSLError) as error:
        raise InvalidInput(
            f"Cannot use the certificate {tls.certificate}, its key {tls.key} or the authority's {tls.ca}: {error}.",
            remedy="The playbook writes all three; run it again.",
        ) from error
    return context
