"""From the request that was sent to the one that is stored: flavor and image in it, all of it known."""

from __future__ import annotations

from placer.errors import UnknownFlavor, UnknownImage, UnknownServerGroup
from placer.model import catalog
from placer.model.request import RequestSpec, check_spec
from placer.store.base import Catalog


async def complete(spec: RequestSpec, definitions: Catalog) -> RequestSpec:
    """``spec`` with its flavor and image merged in, checked. Raises InvalidInput, StoreError."""
    flavor = image = None
    if spec.flavor:
        flavor = await definitions.flavors.get(spec.flavor)
        if flavor is None:
            raise UnknownFlavor(
                f"There is no flavor {spec.flavor[:100]!r}.",
                remedy="GET /v1/flavors lists those there are.",
                field="flavor",
            )
    if spec.image:
        image = await definitions.images.get(spec.image)
        if image is None:
            raise UnknownImage(
                f"There is no image {spec.image[:100]!r}.",
                remedy="GET /v1/images lists those there are.",
                field="image",
            )
    merged = check_spec(catalog.merge(spec, flavor, image))
    catalog.check_traits(merged)
    await _know_group(merged, definitions)
    return merged


async def _know_group(spec: RequestSpec, definitions: Catalog) -> None:
    if not spec.server_group:
        return
    group = await definitions.groups.get(spec.server_group)
    if group is None or group.project != spec.project:
        raise UnknownServerGroup(
            f"Project {spec.project} has no server group {spec.server_group[:100]!r}.",
            remedy="Give the id of one that GET /v1/server-groups lists for the project.",
            field="server_group",
        )
