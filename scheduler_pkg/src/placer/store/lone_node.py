"""What a node says that counts too few nodes of its cell as alive to know who may do what.

Roles and permissions are rows, which a node reads by a quorum of its cell. One that is alone, as the first is that comes back
after all of them were down, takes connections, and then refuses them with the codes of a wrong password (0100) and of a
missing permission (2100). Both are final for the driver (3.30): it never tries that node again, even when it is not alone any
more, and it asks no other node for what this one refused.
"""

from __future__ import annotations

from typing import Any, Final

from cassandra.protocol import ErrorMessage, IsBootstrappingErrorMessage, ProtocolHandler

#: How Cassandra (4.1, 5.0) begins each of these messages; one about a wrong password or a missing grant begins otherwise.
_COULD_NOT_ASK: Final = "Unable to perform auth"


class LoneNodeMessage(IsBootstrappingErrorMessage):  # type: ignore[misc]  # the driver has no types
    """A node could not find out whether a statement is allowed; nothing of the statement was done.

    One of those after which the driver asks its retry policy, as it does of a node that is not ready yet.
    """

    summary = "Too few nodes to know who may do what"
    # The code stays the other class's: the driver makes a message of the class that took a code last.
    error_code = None


def could_not_ask(message: Any) -> bool:
    """Whether ``message`` refuses only because the node could not ask a quorum."""
    return isinstance(message, ErrorMessage) and message.message.startswith(_COULD_NOT_ASK)


class Answers(ProtocolHandler):  # type: ignore[misc]  # the driver has no types
    """The driver's protocol handler for statements, with ``LoneNodeMessage`` where it applies."""

    @classmethod
    def decode_message(cls, *args: Any, **kwargs: Any) -> Any:
        message = super().decode_message(*args, **kwargs)
        if could_not_ask(message):
            lone = LoneNodeMessage(message.code, message.message, message.info)
            lone.__dict__.update(vars(message))
            return lone
        return message
