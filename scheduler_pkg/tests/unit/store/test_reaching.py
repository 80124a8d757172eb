"""How long a node that says nothing is waited for: by an attempt to connect, and on a connection that was fine."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cassandra import AuthenticationFailed, OperationTimedOut
from cassandra.connection import ConnectionException, DefaultEndPoint
from cassandra.protocol import ErrorMessage

from placer.settings import Store
from placer.store.cassandra import driver_cluster
from placer.store.reaching import reaching

REACH_S, CONNECT_S, USER_TIMEOUT_S = 0.3, 1.0, 0.5
#: More than the buffers of both ends of a connection take.
UNREAD_BYTES = 64 * 2**20
WAYS_IN_MAX = 64


@pytest.fixture
def silent_port() -> Iterator[int]:
    """Where packets that ask for a connection are lost: nobody accepts, and the queue of those who wait is full."""
    with contextlib.ExitStack() as open_:
        listener = open_.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(WAYS_IN_MAX):
            waiting = open_.enter_context(socket.socket())
            waiting.settimeout(0.2)
            try:
                waiting.connect(listener.getsockname())
            except TimeoutError:
                break
        else:
            pytest.fail("the queue does not fill")
        yield listener.getsockname()[1]


@pytest.fixture
def mute_port() -> Iterator[int]:
    """Where connections are accepted and nothing is ever said."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(8)
        taken: list[socket.socket] = []

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    taken.append(listener.accept()[0])

        threading.Thread(target=accept, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
    for one in taken:
        one.close()


def seconds_to_fail(port: int, why: type[Exception]) -> float:
    kind = reaching(REACH_S)
    kind.initialize_reactor()
    began = time.monotonic()
    with pytest.raises(why):
        kind.factory(DefaultEndPoint("127.0.0.1", port), CONNECT_S, protocol_version=5)
    return time.monotonic() - began


def test_node_that_says_nothing_is_given_up_early(silent_port: int) -> None:
    """So the next attempt begins before the kernel would have sent the packet of this one again."""
    assert REACH_S <= seconds_to_fail(silent_port, OSError) < CONNECT_S


def test_login_has_the_whole_time(mute_port: int) -> None:
    """A node that is there and slow is not given up by what bounds the first packet."""
    assert seconds_to_fail(mute_port, OperationTimedOut) >= CONNECT_S * 0.95


def test_node_that_acknowledges_nothing_is_given_up(mute_port: int) -> None:
    """Whatever it was sent: the kernel says so long before it would have ended its own tries."""
    store = Store("placer", Path("password"), tcp_user_timeout_s=USER_TIMEOUT_S)
    cluster = driver_cluster(["127.0.0.1"], "nyc1", store, "placer", "secret")
    kind = cluster.connection_class
    kind.initialize_reactor()
    connection = kind(
        DefaultEndPoint("127.0.0.1", mute_port),
        connect_timeout=CONNECT_S,
        protocol_version=5,
        sockopts=cluster.sockopts,
    )
    began = time.monotonic()
    connection.push(bytes(UNREAD_BYTES))
    while not connection.is_defunct and time.monotonic() < began + 10 * USER_TIMEOUT_S:
        time.sleep(0.01)
    connection.close()
    cluster.shutdown()
    assert isinstance(connection.last_error, TimeoutError), connection.last_error
    assert time.monotonic() - began >= USER_TIMEOUT_S


@pytest.mark.parametrize(
    ("said", "why"),
    [
        pytest.param(
            "Unable to perform authentication: Cannot achieve consistency level LOCAL_QUORUM",
            ConnectionException,
            id="it is alone",
        ),
        pytest.param(
            "Provided username placer and/or password are incorrect",
            AuthenticationFailed,
            id="wrong password",
        ),
    ],
)
def test_only_a_wrong_password_is_one(mute_port: int, said: str, why: type[Exception]) -> None:
    """The driver tries no node again that fails by AuthenticationFailed, and any other one."""
    kind = reaching(REACH_S)
    kind.initialize_reactor()
    connection = kind(
        DefaultEndPoint("127.0.0.1", mute_port), connect_timeout=CONNECT_S, protocol_version=5
    )
    connection._handle_auth_response(ErrorMessage(0x0100, said, None))
    assert connection.is_closed
    assert type(connection.last_error) is why
    assert said in str(connection.last_error)
