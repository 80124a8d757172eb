"""A node that could not ask who may do what, told from one that says no."""

from __future__ import annotations

import struct

import pytest
from cassandra.protocol import (
    ErrorMessage,
    IsBootstrappingErrorMessage,
    UnauthorizedErrorMessage,
    error_classes,
)

from placer.store.lone_node import Answers, LoneNodeMessage

UNAUTHORIZED = 0x2100
ERROR, STREAM = 0x00, 7


def told(code: int, text: str) -> ErrorMessage:
    """What the driver makes of an error on the wire."""
    body = struct.pack(">iH", code, len(text)) + text.encode()
    message: ErrorMessage = Answers.decode_message(5, {}, STREAM, 0, ERROR, body, None, [])
    return message


@pytest.mark.parametrize(
    "what",
    [
        "authorization of permissions",
        "authorization of super-user permission",
        "authorization of login permission",
    ],
)
def test_what_could_not_be_asked_is_no_refusal(what: str) -> None:
    """Each way in which Cassandra 5.0.9 says it; the driver finds its answer by the stream."""
    message = told(
        UNAUTHORIZED, f"Unable to perform {what}: Cannot achieve consistency level LOCAL_QUORUM"
    )
    assert isinstance(message, LoneNodeMessage)
    assert message.stream_id == STREAM
    assert "LOCAL_QUORUM" in str(message)


def test_missing_permission_stays_one() -> None:
    message = told(UNAUTHORIZED, "User placer_api has no MODIFY permission on <table c1.host>")
    assert type(message) is UnauthorizedErrorMessage


def test_the_driver_keeps_its_own_codes() -> None:
    """It makes a message of the class that took the code last: ours takes none."""
    assert error_classes[IsBootstrappingErrorMessage.error_code] is IsBootstrappingErrorMessage
    assert LoneNodeMessage not in error_classes.values()
