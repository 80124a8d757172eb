"""The versions of the native API, and the document that says which are served.

1.0  requests, destinations, hosts, instances, flavors, images, server groups, classes and traits.

A version's answers never change in structure: a change is a new minor version, and the routes ask
which one the caller chose. The contract tests keep each version as it was.
"""

from __future__ import annotations

from typing import Final

from litestar import get
from msgspec import Struct

from placer import __version__
from placer.http import Microversions

VERSIONS: Final = Microversions(lowest=(1, 0), highest=(1, 0))


class Link(Struct, frozen=True):
    """Where to go on from here."""

    rel: str
    href: str


class Version(Struct, frozen=True):
    """A major version of the API, with the microversions that the header may choose from."""

    id: str
    status: str
    min_version: str
    max_version: str
    software: str
    links: tuple[Link, ...]


class VersionList(Struct, frozen=True):
    """All major versions."""

    versions: tuple[Version, ...]


@get("/", public=True)
async def show_root() -> VersionList:
    """Which versions of the API are served here."""
    return _VERSION_LIST


@get("/v1", public=True)
async def show_versions() -> VersionList:
    """Which versions of the API are served here."""
    return _VERSION_LIST


_VERSION_LIST: Final = VersionList(
    (
        Version(
            id="v1",
            status="CURRENT",
            min_version=VERSIONS.min_version,
            max_version=VERSIONS.max_version,
            software=__version__,
            links=(Link("self", "/v1/"), Link("describedby", "/openapi.json")),
        ),
    )
)
