"""Definitions by name in memory."""

from __future__ import annotations

from typing import Generic, TypeVar

import msgspec

from placer.model.quotas import Quota

T = TypeVar("T")


class MemoryNamed(Generic[T]):
    """A ``NamedStore``."""

    def __init__(self) -> None:
        self.values: dict[str, T] = {}

    async def get(self, name: str) -> T | None:
        return self.values.get(name)

    async def put(self, name: str, value: T) -> bool:
        known = self.values.get(name)
        self.values[name] = value
        return known != value

    async def drop(self, name: str) -> bool:
        return self.values.pop(name, None) is not None

    async def page(self, *, limit: int, after: str = "") -> list[T]:
        return [self.values[name] for name in sorted(self.values) if name > after][:limit]


class MemoryQuotas(MemoryNamed[Quota]):
    """Quotas by project; each change is a revision."""

    def __init__(self) -> None:
        super().__init__()
        self.rev = 0

    async def put(self, name: str, value: Quota) -> bool:
        known = self.values.get(name)
        if known is not None and msgspec.structs.replace(known, rev=0) == value:
            return False
        self.rev += 1
        return await super().put(name, msgspec.structs.replace(value, rev=self.rev))
