"""Flavors and images: named parts of requests, the same in all cells. PUT may be repeated."""

from __future__ import annotations

from litestar import delete, get, put
from litestar.datastructures import State
from litestar.params import FromPath, FromQuery, JSONBody
from msgspec import Struct

from placer.api.native import paging
from placer.api.native.context import Service
from placer.api.native.versions import Link
from placer.errors import NotFound
from placer.model import catalog
from placer.model.catalog import Flavor, FlavorSpec, Image, ImageSpec


class FlavorPage(Struct, frozen=True):
    """Flavors in the order of their names."""

    flavors: list[Flavor]
    links: list[Link]


class ImagePage(Struct, frozen=True):
    """Images in the order of their names."""

    images: list[Image]
    links: list[Link]


@get("/v1/flavors", query=("limit", "marker"))
async def list_flavors(
    state: State,
    limit: FromQuery[int] = paging.LIMIT_DEFAULT,
    marker: FromQuery[str] = "",
) -> FlavorPage:
    """All flavors."""
    service: Service = state.service
    limit = paging.limited(limit, service.api.page_max)
    after = paging.unpack(marker, str) or ""
    found = await service.catalog.flavors.page(limit=limit + 1, after=after)
    following = paging.pack(found[limit - 1].name) if len(found) > limit else ""
    return FlavorPage(found[:limit], paging.links("/v1/flavors", following, limit=limit))


@get("/v1/flavors/{name:str}")
async def show_flavor(name: FromPath[str], state: State) -> Flavor:
    """One flavor."""
    service: Service = state.service
    found = await service.catalog.flavors.get(name)
    if found is None:
        raise _missing("flavor", name)
    return found


@put("/v1/flavors/{name:str}", status_code=200)
async def put_flavor(name: FromPath[str], data: JSONBody[FlavorSpec], state: State) -> Flavor:
    """Make a flavor, or change what it stands for in requests to come."""
    service: Service = state.service
    flavor = catalog.new_flavor(name, data)
    await service.catalog.flavors.put(name, flavor)
    return flavor


@delete("/v1/flavors/{name:str}", status_code=204)
async def delete_flavor(name: FromPath[str], state: State) -> None:
    """Take a flavor away; requests that named it keep what they got of it."""
    service: Service = state.service
    if not await service.catalog.flavors.drop(name):
        raise _missing("flavor", name)


@get("/v1/images", query=("limit", "marker"))
async def list_images(
    state: State,
    limit: FromQuery[int] = paging.LIMIT_DEFAULT,
    marker: FromQuery[str] = "",
) -> ImagePage:
    """All images."""
    service: Service = state.service
    limit = paging.limited(limit, service.api.page_max)
    after = paging.unpack(marker, str) or ""
    found = await service.catalog.images.page(limit=limit + 1, after=after)
    following = paging.pack(found[limit - 1].name) if len(found) > limit else ""
    return ImagePage(found[:limit], paging.links("/v1/images", following, limit=limit))


@get("/v1/images/{name:str}")
async def show_image(name: FromPath[str], state: State) -> Image:
    """One image, with the traits that its properties need."""
    service: Service = state.service
    found = await service.catalog.images.get(name)
    if found is None:
        raise _missing("image", name)
    return found


@put("/v1/images/{name:str}", status_code=200)
async def put_image(name: FromPath[str], data: JSONBody[ImageSpec], state: State) -> Image:
    """Make an image, or change what it needs in requests to come."""
    service: Service = state.service
    image = catalog.new_image(name, data)
    await service.catalog.images.put(name, image)
    return image


@delete("/v1/images/{name:str}", status_code=204)
async def delete_image(name: FromPath[str], state: State) -> None:
    """Take an image away; requests that named it keep what it needed."""
    service: Service = state.service
    if not await service.catalog.images.drop(name):
        raise _missing("image", name)


def _missing(what: str, name: str) -> NotFound:
    return NotFound(
        f"There is no {what} {name[:100]!r}.", remedy=f"GET /v1/{what}s lists those there are."
    )
