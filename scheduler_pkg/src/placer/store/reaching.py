"""Connections that soon try again where nothing answers at all.

The handshake of TCP is one round trip. Where its first packet is lost the kernel sends it again after
1, 3 and 7 seconds; so an attempt that began while a cell was cut off finds out up to four seconds late
that the cell is back. One that is given up sooner, and begun again, does not wait for that.
"""

from __future__ import annotations

from typing import Any

from cassandra.cluster import DefaultConnection


def reaching(reach_s: float) -> type[Any]:
    """The driver's kind of connection, which opens its socket within ``reach_s`` or raises OSError.

    What follows, the login with its round trips, has all of the driver's ``connect_timeout``.
    """

    class Reaching(DefaultConnection):  # type: ignore[misc]  # the driver has no types
        def _initiate_connection(self, sockaddr: Any) -> None:
            # The driver (3.30) has one timeout for both, and calls this to open the socket.
            self._socket.settimeout(min(reach_s, self.connect_timeout))
            super()._initiate_connection(sockaddr)

    return Reaching
