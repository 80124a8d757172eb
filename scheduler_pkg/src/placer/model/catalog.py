"""Named parts of a request: flavors and images, and how they are merged into what was asked for.

A flavor is amounts, groups and traits under a name. An image says what its properties need of a
host: traits, and amounts that a request must not be below. Merging is repeatable: a merged request
merged again is itself, so that a stored request can be sent once more.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any, Final

import msgspec
import os_traits
from msgspec import Struct

from placer.errors import InvalidInput, UnknownTrait
from placer.model.records import MAX_INT
from placer.model.request import GroupPolicy, GroupSpec, RequestSpec, Strategy, check_spec, shown

NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
PROPERTIES_MAX: Final = 64
TEXT_CHARS_MAX: Final = 500

_CUSTOM: Final = re.compile(r"CUSTOM_[A-Z0-9_]{1,248}")
_TRAIT_PREFIX: Final = "trait:"
_REQUIRED, _FORBIDDEN = "required", "forbidden"

#: Image property -> the trait that its value (in capitals) is part of. Names are Glance's.
_TRAIT_OF: Final[dict[str, str]] = {
    "disk_format": "COMPUTE_IMAGE_TYPE_{}",
    "hw_architecture": "COMPUTE_ARCH_{}",
    "hw_cdrom_bus": "COMPUTE_STORAGE_BUS_{}",
    "hw_disk_bus": "COMPUTE_STORAGE_BUS_{}",
    "hw_tpm_version": "COMPUTE_SECURITY_TPM_{}",
    "hw_video_model": "COMPUTE_GRAPHICS_MODEL_{}",
    "hw_vif_model": "COMPUTE_NET_VIF_MODEL_{}",
    "hw_viommu_model": "COMPUTE_VIOMMU_MODEL_{}",
}
#: Image property and value -> trait, where the words differ.
_TRAITS: Final[dict[tuple[str, str], str]] = {
    ("hw_mem_encryption", "true"): "HW_CPU_X86_AMD_SEV",
    ("os_secure_boot", "required"): "COMPUTE_SECURITY_UEFI_SECURE_BOOT",
    ("hw_firmware_type", "uefi"): "COMPUTE_FIRMWARE_UEFI",
    ("hw_firmware_type", "bios"): "COMPUTE_FIRMWARE_BIOS",
}
#: Values that need nothing of a host.
_NEUTRAL: Final = frozenset(
    {("hw_mem_encryption", "false"), ("os_secure_boot", "disabled"), ("os_secure_boot", "optional")}
)


class FlavorSpec(Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """A flavor as it is put: the part of a request that it stands for."""

    resources: dict[str, int] = {}
    required_traits: tuple[str, ...] = ()
    forbidden_traits: tuple[str, ...] = ()
    any_traits: tuple[tuple[str, ...], ...] = ()
    groups: dict[str, GroupSpec] = {}
    group_policy: GroupPolicy = GroupPolicy.NONE
    strategy: Strategy | None = None
    weights: dict[str, float] = {}
    description: str = ""


class Flavor(FlavorSpec, frozen=True, omit_defaults=True, forbid_unknown_fields=True, kw_only=True):
    """A flavor as it is stored."""

    name: str


class ImageSpec(Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """An image as it is put. ``properties`` have Glance's names; ``trait:NAME`` is one of them."""

    min_disk_gb: int = 0
    min_ram_mb: int = 0
    properties: dict[str, str] = {}
    description: str = ""


class Image(ImageSpec, frozen=True, omit_defaults=True, forbid_unknown_fields=True, kw_only=True):
    """An image as it is stored, with the traits that its properties mean."""

    name: str
    required_traits: tuple[str, ...] = ()
    forbidden_traits: tuple[str, ...] = ()


@cache
def standard_traits() -> frozenset[str]:
    """The traits of the os-traits library."""
    return frozenset(os_traits.get_traits())


def check_traits(spec: RequestSpec | FlavorSpec) -> None:
    """Raises UnknownTrait for one that is neither standard nor of the form CUSTOM_NAME."""
    parts: list[tuple[str, RequestSpec | FlavorSpec | GroupSpec]] = [("", spec)]
    parts += [(f"groups.{name}.", group) for name, group in spec.groups.items()]
    for prefix, part in parts:
        for field in ("required_traits", "forbidden_traits"):
            _known(getattr(part, field), prefix + field)
        for choice in part.any_traits:
            _known(choice, f"{prefix}any_traits")


def _known(traits: tuple[str, ...], field: str) -> None:
    for trait in traits:
        if trait not in standard_traits() and not _CUSTOM.fullmatch(trait):
            raise UnknownTrait(
                f"{field}: unknown trait {trait[:100]!r}.",
                remedy="GET /v1/traits lists the standard ones; your own begin with CUSTOM_ "
                "and have capitals, digits and underscores.",
                field=field,
                trait=trait[:300],
            )


def new_flavor(name: str, spec: FlavorSpec) -> Flavor:
    """``spec`` under ``name``; raises InvalidInput if no request could have it as a part."""
    _check_name(name, spec.description)
    check_traits(spec)
    part = {key: getattr(spec, key) for key in _SHARED}
    if not spec.resources and not spec.groups:
        raise InvalidInput(
            "The flavor asks for nothing.", remedy="Name resources or groups.", field="resources"
        )
    check_spec(RequestSpec(**part))
    return msgspec.convert(msgspec.structs.asdict(spec) | {"name": name}, Flavor)


def new_image(name: str, spec: ImageSpec) -> Image:
    """``spec`` under ``name`` with its traits; raises InvalidInput for what cannot be understood."""
    _check_name(name, spec.description)
    for field, value in (("min_disk_gb", spec.min_disk_gb), ("min_ram_mb", spec.min_ram_mb)):
        if not 0 <= value <= MAX_INT:
            raise InvalidInput(
                f"{field} is {shown(value)}.", remedy=f"Use 0 to {MAX_INT}.", field=field
            )
    if len(spec.properties) > PROPERTIES_MAX:
        raise InvalidInput(
            f"The image has {len(spec.properties)} properties.",
            remedy=f"Use at most {PROPERTIES_MAX}.",
            field="properties",
        )
    required: set[str] = set()
    forbidden: set[str] = set()
    for key, text in spec.properties.items():
        trait, wanted = _trait_of(key, text)
        if trait:
            (required if wanted else forbidden).add(trait)
    if both := required & forbidden:
        raise InvalidInput(
            f"Trait {min(both)} is required and forbidden at once.",
            remedy="Leave one of the properties out.",
            field="properties",
        )
    return Image(
        name=name,
        required_traits=tuple(sorted(required)),
        forbidden_traits=tuple(sorted(forbidden)),
        **msgspec.structs.asdict(spec),
    )


def _check_name(name: str, description: str) -> None:
    if not NAME.fullmatch(name):
        raise InvalidInput(
            f"{name[:100]!r} cannot be a name.",
            remedy="Use 1 to 100 letters, digits, dots, hyphens and underscores, beginning with a "
            "letter or digit.",
            field="name",
        )
    if len(description) > TEXT_CHARS_MAX:
        raise InvalidInput(
            "The description is too long.",
            remedy=f"Use at most {TEXT_CHARS_MAX} characters.",
            field="description",
        )


def _trait_of(key: str, value: str) -> tuple[str, bool]:
    """The trait that a property means, and whether it is required; '' if it needs none."""
    field = f"properties.{key[:100]}"
    if key.startswith(_TRAIT_PREFIX):
        if value not in (_REQUIRED, _FORBIDDEN):
            raise InvalidInput(
                f"{field}: {value[:100]!r} is none of its values.",
                remedy=f"Use {_REQUIRED} or {_FORBIDDEN}.",
                field=field,
            )
        trait = key.removeprefix(_TRAIT_PREFIX)
        _known((trait,), field)
        return trait, value == _REQUIRED
    if (key, value.lower()) in _NEUTRAL:
        return "", True
    known = {*_TRAIT_OF, *(name for name, _ in _TRAITS)}
    if key not in known:
        raise InvalidInput(
            f"Unknown image property {key[:100]!r}.",
            remedy=f"Known: {', '.join(sorted(known))}, and trait:NAME = required or forbidden.",
            field=field,
        )
    form = _TRAIT_OF.get(key, "")
    trait = _TRAITS.get((key, value.lower())) or form.format(
        re.sub(r"[^A-Z0-9]", "_", value.upper())
    )
    if trait not in standard_traits():
        raise InvalidInput(
            f"{field}: {value[:100]!r} is none of its values.",
            remedy="Use " + ", ".join(_values_of(key)) + ".",
            field=field,
        )
    return trait, True


def _values_of(key: str) -> list[str]:
    """The values of a property that a trait exists for."""
    fixed = [value for name, value in (*_TRAITS, *_NEUTRAL) if name == key]
    prefix = _TRAIT_OF.get(key, "").partition("{")[0]
    found = [
        t.removeprefix(prefix).lower() for t in standard_traits() if prefix and t.startswith(prefix)
    ]
    return sorted({*fixed, *found})


# -- merging

_SHARED: Final = (
    "resources",
    "required_traits",
    "forbidden_traits",
    "any_traits",
    "groups",
    "group_policy",
    "strategy",
    "weights",
)


def merge(spec: RequestSpec, flavor: Flavor | None, image: Image | None) -> RequestSpec:
    """``spec`` with its flavor and image in it; raises InvalidInput where they contradict it."""
    if flavor is not None:
        spec = _with_flavor(spec, flavor)
    if image is not None:
        spec = _with_image(spec, image)
    return spec


def _with_flavor(spec: RequestSpec, flavor: Flavor) -> RequestSpec:
    """Amounts, groups and traits are joined; of preferences the request's own come first."""
    return msgspec.structs.replace(
        spec,
        resources=_joined(spec.resources, flavor.resources, "resources", flavor.name),
        groups=_joined(spec.groups, flavor.groups, "groups", flavor.name),
        required_traits=_union(spec.required_traits, flavor.required_traits),
        forbidden_traits=_union(spec.forbidden_traits, flavor.forbidden_traits),
        any_traits=_union(spec.any_traits, flavor.any_traits),
        group_policy=max(spec.group_policy, flavor.group_policy, key=list(GroupPolicy).index),
        strategy=spec.strategy or flavor.strategy,
        weights={**flavor.weights, **spec.weights},
    )


def _with_image(spec: RequestSpec, image: Image) -> RequestSpec:
    resources = dict(spec.resources)
    for name, least, field in (
        ("DISK_GB", image.min_disk_gb, "min_disk_gb"),
        ("MEMORY_MB", image.min_ram_mb, "min_ram_mb"),
    ):
        asked = resources.get(name, 0) + sum(g.resources.get(name, 0) for g in spec.groups.values())
        if asked == 0 and least:
            resources[name] = least
        elif asked < least:
            raise InvalidInput(
                f"Image {image.name} needs {least} {name} ({field}), and {shown(asked)} are asked "
                "for.",
                remedy=f"Ask for at least {least}, or leave {name} out.",
                field=f"resources.{name}",
            )
    return msgspec.structs.replace(
        spec,
        resources=resources,
        required_traits=_union(spec.required_traits, image.required_traits),
        forbidden_traits=_union(spec.forbidden_traits, image.forbidden_traits),
    )


def _joined(own: dict[str, Any], of_flavor: dict[str, Any], field: str, flavor: str) -> Any:
    """Both together; what both name must be the same in both."""
    for key, value in of_flavor.items():
        if key in own and own[key] != value:
            raise InvalidInput(
                f"{field}.{key} is in the request and, with another content, in flavor {flavor}.",
                remedy="Leave it out of the request, or leave the flavor out.",
                field=f"{field}.{key}",
            )
    return {**of_flavor, **own}


def _union(own: tuple[Any, ...], more: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(dict.fromkeys((*own, *more)))
