"""Connections that soon try again: where nothing answers at all, and where a node is not able to check a login.

The handshake of TCP is one round trip. Where its first packet is lost the kernel sends it again after
1, 3 and 7 seconds; so an attempt that began while a cell was cut off finds out up to four seconds late
that the cell is back. One that is given up sooner, and begun again, does not wait for that.

A node that comes back before the others of its cell refuses every login (lone_node.py). The driver takes
that for a wrong password and never tries the node again, so that a process lost it until its own end.
"""

from __future__ import annotations

from typing import Any

from cassandra.cluster import DefaultConnection
from cassandra.connection import ConnectionException

from placer.store.lone_node import could_not_ask


def reaching(reach_s: float) -> type[Any]:
    """The driver's kind of connection, which opens its socket within ``reach_s`` or raises OSError.

    What follows, the login with its round trips, has all of the driver's ``connect_timeout``.
    """

    class Reaching(DefaultConnection):  # type: ignore[misc]  # the driver has no types
        def _initiate_connection(self, sockaddr: Any) -> None:
            # The driver (3.30) has one timeout for both, and calls this to open the socket.
            self._socket.settimeout(min(reach_s, self.connect_timeout))
            super()._initiate_connection(sockaddr)

        def _handle_auth_response(self, auth_response: Any) -> None:
            # The driver calls this with the answer to the password. An error that is not AuthenticationFailed has
            # it try again.
            if could_not_ask(auth_response):
                why = f"Not able to check a login yet: {auth_response.message}"
                self.defunct(ConnectionException(why, self.endpoint))
            else:
                super()._handle_auth_response(auth_response)

    return Reaching
