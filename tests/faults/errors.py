"""The one error of this package."""

from __future__ import annotations

from collections.abc import Iterable


class FaultError(Exception):
    """What is wrong, and what to do about it; shown to people as it is."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(f"{what} {remedy}")
        self.what = what
        self.remedy = remedy


def unknown(sort: str, value: str, known: Iterable[str]) -> FaultError:
    """A name that nothing has, with those that there are."""
    names = sorted(set(known))
    return FaultError(
        f"There is no {sort} {value!r}.", f"Known: {', '.join(names) or 'none at all'}."
    )
