"""The words that requests are made of: resource classes and traits."""

from __future__ import annotations

from typing import Final

from litestar import get
from msgspec import Struct

from placer.model import catalog, resource_classes


class ResourceClassList(Struct, frozen=True):
    """All resource classes that this server knows, standard ones first."""

    resource_classes: list[str]


class TraitList(Struct, frozen=True):
    """All standard traits; a trait of your own begins with ``custom_prefix``."""

    traits: list[str]
    custom_prefix: str


_CUSTOM_PREFIX: Final = "CUSTOM_"


@get("/v1/resource-classes")
async def list_resource_classes() -> ResourceClassList:
    """Resource classes that a request may name."""
    return ResourceClassList(list(resource_classes.names()))


@get("/v1/traits")
async def list_traits() -> TraitList:
    """Traits that a request may name, beside your own, which begin with `CUSTOM_`."""
    return TraitList(sorted(catalog.standard_traits()), _CUSTOM_PREFIX)
