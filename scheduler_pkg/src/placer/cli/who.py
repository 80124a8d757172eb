"""Who calls, for histories: the name that this machine knows them by. It proves nothing."""

from __future__ import annotations

import getpass


def whoami() -> str:
    """The user's name; empty where there is none."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""
